"""The CBOR reader: what it takes is one item in its one encoding, and everything else is refused by name."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.formats.cbor import MAX_DEPTH, Members, Tagged, decode, encode, encode_open_map

SIZE = 1 << 16
UINTS, NINTS = st.integers(0, 2**64 - 1), st.integers(-(2**64), -1)
KEYS = UINTS | NINTS | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | UINTS | NINTS | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5).map(tuple) | st.dictionaries(KEYS, inner, max_size=5)
    | st.builds(Tagged, st.sampled_from((18, 399)), inner), max_leaves=12)


def read(data: bytes, **options: object) -> object:
    return decode(data, "item", **{"max_size": SIZE, **options})


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        read(data, **options)
    assert caught.value.id == "format.item"
    return caught.value.detail


# RFC 8949 appendix A, as much of it as is read here.
VECTORS = [
    ("00", 0), ("17", 23), ("1818", 24), ("1864", 100), ("1903e8", 1000), ("1a000f4240", 1_000_000),
    ("1b000000e8d4a51000", 1_000_000_000_000), ("1bffffffffffffffff", 2**64 - 1), ("20", -1), ("3863", -100),
    ("3903e7", -1000), ("3bffffffffffffffff", -(2**64)), ("f6", None), ("40", b""), ("4401020304", bytes((1, 2, 3, 4))),
    ("60", ""), ("6449455446", "IETF"), ("62c3bc", "ü"), ("64f0908591", "\U00010151"),
    ("80", ()), ("83010203", (1, 2, 3)),
    ("8301820203820405", (1, (2, 3), (4, 5))), ("a0", {}), ("a201020304", {1: 2, 3: 4}),
    ("a26161016162820203", {"a": 1, "b": (2, 3)}), ("826161a161626163", ("a", {"b": "c"})),
]


@pytest.mark.parametrize(("text", "value"), VECTORS)
def test_the_vectors_of_the_specification_are_read_and_written(text, value):
    assert read(bytes.fromhex(text)) == value
    assert encode(value) == bytes.fromhex(text)


REFUSED = {text: detail for detail, texts in {
    "a number is not in its shortest form": (
        "1800", "1817", "190017", "1900ff", "1a0000ffff", "1b00000000ffffffff", "3800", "5800", "580161", "780161",
        "9800", "b800", "b90001 0102", "d812 80", "d90012 80",),
    "indefinite length": (
        "5f42010243030405ff", "7f657374726561646d696e67ff", "9fff", "bfff", "1f", "3f", "df00",),
    "only null is read of floats and simple values": (
        "ff", "f4", "f5", "f7", "f90000", "fa47c35000", "fb7e37e43c8800759c", "f818", "f0",),
    "reserved CBOR head": (
        "1c", "3d", "5e", "9c",),
    "unexpected tag": (
        "c074323031332d30332d32315432303a30343a30305a", "c249010000000000000000", "d81c80", "d81d00", "d9d9f700",
        "d28400",),
    "a key occurs twice": (
        "a2 0101 0102", "a2 616101 616102", "a2 2001 2002",),
    "a key is neither an integer nor text": (
        "a1 4101 01", "a1 80 01", "a1 f6 01",),
    "text is not UTF-8": (
        "61ff", "62c0af", "63eda080", "61c3",),
    "CBOR item runs past the end": (
        "",),
    "CBOR head runs past the end": (
        "18",),
    "CBOR string runs past the end": (
        "41", "5bffffffffffffffff", "7b7fffffffffffffff",),
    "more members are announced than bytes are left": (
        "9bffffffffffffffff", "81", "bb7fffffffffffffff", "a101",),
    "unexpected bytes at the end": (
        "0000", "f6f6", "8000",),
}.items() for text in texts}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_the_one_encoding_of_one_item_is_refused(text):
    assert refusal(bytes.fromhex(text)) == REFUSED[text]


def test_tags_are_read_where_they_are_asked_for():
    assert read(bytes.fromhex("d28100"), tags=(18,)) == Tagged(18, (0,))
    assert refusal(bytes.fromhex("d3 8100".replace(" ", "")), tags=(18,)) == "unexpected tag"
    assert read(bytes.fromhex("d9018fa0"), tags=(18, 399)) == Tagged(399, {})


def test_only_the_outermost_container_may_be_of_indefinite_length_and_only_where_it_is_allowed():
    opened = {"9f0102ff": (1, 2), "bf01026161f6ff": {1: 2, "a": None}, "9fff": (), "bfff": {}}
    for text, value in opened.items():
        data = bytes.fromhex(text)
        assert read(data, indefinite_top=True) == value
        assert refusal(data) == "indefinite length"
    for text in ("819fff", "9f9fffff", "a101bfff", "bf01bfffff", "bf015f4100ffff", "5f4100ff", "7f6161ff", "d29fff"):
        assert refusal(bytes.fromhex(text), indefinite_top=True, tags=(18,)) == "indefinite length"
    assert read(b"\x01", indefinite_top=True) == 1


@pytest.mark.parametrize("text", ["bf0102", "bf01", "bf01ff", "9f", "bf", "9f01", "bf0102ff00", "9fff01",
                                  "bf01020103ff"])
def test_an_open_container_ends_once_and_holds_whole_members(text):
    assert refusal(bytes.fromhex(text), indefinite_top=True) in (
        "CBOR item runs past the end", "only null is read of floats and simple values", "unexpected bytes at the end",
        "a key occurs twice")


@pytest.mark.parametrize("nest", [b"\x81", b"\xa1\x01", b"\xd2"], ids=["arrays", "maps", "tags"])
def test_depth_is_bounded(nest):
    assert read(nest * (MAX_DEPTH - 1) + b"\x00", tags=(18,)) is not None
    for depth in (MAX_DEPTH, MAX_DEPTH + 1, 1000, 30_000):
        assert refusal(nest * depth + b"\x00", tags=(18,)) == "nests too deeply"
    assert refusal(b"\x9f" + nest * MAX_DEPTH + b"\x00\xff", tags=(18,), indefinite_top=True) == "nests too deeply"


def test_size_is_bounded_before_anything_is_read():
    assert read(bytes.fromhex("4100"), max_size=2) == b"\x00"
    assert refusal(bytes.fromhex("4100"), max_size=1) == "too large"
    assert refusal(b"\xff" * 10, max_size=9) == "too large"


def test_a_long_array_of_short_items_is_no_trouble():
    data = b"\x99" + (60_000).to_bytes(2, "big") + bytes(60_000)
    assert read(data) == (0,) * 60_000


@given(VALUES)
def test_what_is_written_is_read_back(value):
    assert decode(encode(value), "item", max_size=SIZE, tags=(18, 399)) == value


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_an_open_map_is_read_back(value):
    assert decode(encode_open_map(value), "item", max_size=SIZE, tags=(18, 399), indefinite_top=True) == value


@given(st.binary(max_size=200))
def test_whatever_is_read_is_written_the_same(data):
    try:
        value = decode(data, "item", max_size=SIZE, tags=(18, 399))
    except MalformedEvidence:
        return
    assert encode(value) == data


def plain(value: object) -> object:
    """As the other library has it: it tells 18 and 399 by its own tag class."""
    if isinstance(value, Tagged):
        return ("tag", value.tag, plain(value.value))
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def theirs(value: object) -> object:
    if isinstance(value, cbor2.CBORTag):
        return ("tag", value.tag, theirs(value.value))
    if isinstance(value, list | tuple):
        return tuple(theirs(item) for item in value)
    return {key: theirs(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(VALUES)
def test_another_library_reads_and_writes_the_same(value):
    assert theirs(cbor2.loads(encode(value))) == plain(value)
    if not contains_tag(value):
        assert read(cbor2.dumps(value)) == value


def contains_tag(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(contains_tag, value.values()))
    return isinstance(value, Tagged) or (isinstance(value, tuple) and any(map(contains_tag, value)))


@given(VALUES, st.data())
def test_every_truncation_and_every_surplus_byte_is_refused(value, data):
    encoded = encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    refusal(encoded[:cut], tags=(18, 399))
    refusal(encoded + data.draw(st.binary(min_size=1, max_size=4)), tags=(18, 399))


@pytest.mark.parametrize("value", [1.5, True, [1], {1, 2}, bytearray(b"x"), object(), 2**64, -(2**64) - 1])
def test_what_is_never_read_is_never_written(value):
    with pytest.raises(TypeError):
        encode(value)


# -- members ---------------------------------------------------------------------------------------------------------


def members(value: object) -> Members:
    return Members(value, "item")


def complaint(call: object) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        call()
    assert caught.value.id == "format.item"
    return caught.value.detail


@pytest.mark.parametrize("value", [None, 1, (), b"", "text", Tagged(18, {})])
def test_members_are_those_of_a_map(value):
    assert complaint(lambda: members(value)) == "not a map"


def test_members_are_taken_once_and_none_may_be_left():
    found = members({1: b"ab", "t": "text", 3: 5, 4: -7, 5: (1, 2), 6: {1: 2}, 7: None, 8: None})
    assert (found.octets(1, "bytes", (2,)), found.text("t", "text", 4)) == (b"ab", "text")
    assert found.unsigned(3, "uint", 3) == 5
    assert (found.integer(4, "int"), found.array(5, "array", (2,)), found.table(6, "table")) == (-7, (1, 2), {1: 2})
    assert (found.octets_or_none(7, "null", (1,)), found.octets_or_none(9, "absent", (1,))) == (None, None)
    assert found.text_if_any(10, "absent", 4) is None
    assert complaint(found.end) == "unknown members"
    assert complaint(lambda: found.octets(1, "bytes", (2,))) == "bytes is missing"


@pytest.mark.parametrize(("value", "take", "detail"), [
    (b"abc", lambda m: m.octets(1, "x", (2,)), "x has the wrong length"),
    (b"", lambda m: m.octets_or_none(1, "x", (2,)), "x has the wrong length"),
    ("abc", lambda m: m.octets(1, "x", (3,)), "x has the wrong type"),
    (b"abc", lambda m: m.text(1, "x", 3), "x has the wrong type"),
    ("", lambda m: m.text(1, "x", 3), "x has the wrong length"),
    ("abcd", lambda m: m.text_if_any(1, "x", 3), "x has the wrong length"),
    (None, lambda m: m.text_if_any(1, "x", 3), "x has the wrong type"),
    (-1, lambda m: m.unsigned(1, "x", 8), "x is out of range"),
    (256, lambda m: m.unsigned(1, "x", 8), "x is out of range"),
    ("1", lambda m: m.unsigned(1, "x", 8), "x has the wrong type"),
    (b"1", lambda m: m.integer(1, "x"), "x has the wrong type"),
    ((1,), lambda m: m.array(1, "x", (0, 2)), "x has the wrong number of items"),
    ({}, lambda m: m.array(1, "x", (0,)), "x has the wrong type"),
    ((), lambda m: m.table(1, "x"), "x has the wrong type"),
    (None, lambda m: m.octets(1, "x", (0,)), "x has the wrong type"),
])
def test_members_of_another_type_or_size_are_refused(value, take, detail):
    assert complaint(lambda: take(members({1: value}))) == detail
