"""COSE_Sign1 and COSE_Key: what is taken, and each thing that is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.formats import cose_key
from verifier.formats.cbor import Tagged, encode
from verifier.formats.cose import MAX_SIZE, SIGNATURE_SIZES, Algorithm, CoseSign1
from verifier.formats.cose_key import EcPoint

ES384 = encode({1: -35})
GOOD = (ES384, {}, b"payload", bytes(96))


def read(*parts: object, tag: int | None = None, **options: bool) -> CoseSign1:
    return CoseSign1.from_bytes(encode(parts if tag is None else Tagged(tag, parts)), "message", **options)


def refusal(*parts: object, **options: object) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        read(*parts, **options)
    assert caught.value.id == "format.message"
    return caught.value.detail


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("tag", [None, 18])
def test_a_message_is_read_and_written(algorithm, tag):
    parts = (encode({1: int(algorithm)}), {}, b"payload", bytes(SIGNATURE_SIZES[algorithm]))
    message = read(*parts, tag=tag)
    assert (message.algorithm, message.payload, message.tagged) == (algorithm, b"payload", tag == 18)
    assert message.to_bytes() == encode(parts if tag is None else Tagged(18, parts))


def test_what_is_signed_is_the_received_header_and_payload_with_no_external_data():
    """RFC 9052 section 4.4, written out by hand."""
    assert read(*GOOD).signed_bytes == bytes.fromhex("84" "6a5369676e617475726531" "44a1013822" "40" "47") + b"payload"


def test_the_tag_may_be_demanded():
    assert read(*GOOD, tag=18, must_be_tagged=True).tagged is True
    assert refusal(*GOOD, must_be_tagged=True) == "not under tag 18"


@pytest.mark.parametrize("tag", [16, 17, 19, 61, 97, 98, 399])
def test_another_tag_is_refused(tag):
    assert refusal(*GOOD, tag=tag) == "unexpected tag"


def test_a_tag_within_the_tag_is_refused():
    with pytest.raises(MalformedEvidence, match="not an array of four"):
        CoseSign1.from_bytes(encode(Tagged(18, Tagged(18, GOOD))), "message")


@pytest.mark.parametrize("parts", [GOOD[:3], (*GOOD, b""), (), GOOD[:1]])
def test_there_are_four_parts(parts):
    assert refusal(*parts) == "not an array of four items"


@pytest.mark.parametrize("value", [{}, b"", 1, None, "text"])
def test_a_message_is_an_array(value):
    with pytest.raises(MalformedEvidence, match="not an array of four"):
        CoseSign1.from_bytes(encode(value), "message")


def test_a_detached_payload_is_refused():
    assert refusal(ES384, {}, None, bytes(96)) == "the payload is detached"


@pytest.mark.parametrize(("index", "name"), [(0, "protected header"), (2, "payload"), (3, "signature")])
@pytest.mark.parametrize("value", ["text", (), {}, 7, Tagged(18, b"")])
def test_header_payload_and_signature_are_byte_strings(index, name, value):
    assert refusal(*GOOD[:index], value, *GOOD[index + 1:]) == f"the {name} is not a byte string"


@pytest.mark.parametrize("value", [b"", None, (), {4: b"kid"}, {1: -35}, {2: (1,)}, {"x": 1}])
def test_the_unprotected_header_is_an_empty_map(value):
    assert refusal(ES384, value, b"payload", bytes(96)) == "the unprotected header is not an empty map"


@pytest.mark.parametrize(("header", "detail"), [
    (b"", "CBOR item runs past the end"), (encode({}), "algorithm is missing"), (encode(()), "not a map"),
    (encode({1: "ES384"}), "algorithm has the wrong type"), (encode({1: None}), "algorithm has the wrong type"),
    (encode({1: -35, 4: b"kid"}), "unknown members"), (encode({1: -35, 3: 0}), "unknown members"),
    (encode({1: -35, "alg": -7}), "unknown members"), (encode({1: -35, 2: (4,), 4: b""}),
                                                      "a critical header cannot be honoured"),
    (encode({2: (1,)}), "a critical header cannot be honoured"), (encode({4: b"kid"}), "algorithm is missing"),
    (bytes.fromhex("a201382201 26".replace(" ", "")), "a key occurs twice"),
    (bytes.fromhex("bf013822ff"), "indefinite length"), (ES384 + b"\x00", "unexpected bytes at the end"),
    (bytes.fromhex("a1013900 22".replace(" ", "")), "a number is not in its shortest form"),
    (bytes.fromhex("a118013822"), "a number is not in its shortest form"),
])
def test_the_protected_header_names_the_algorithm_and_nothing_else(header, detail):
    assert refusal(header, {}, b"payload", bytes(96)) == detail


@pytest.mark.parametrize("number", [0, 1, 5, -6, -8, -34, -37, -47, -257, -65535, 35, 7, 2**64 - 1])
def test_another_algorithm_is_not_supported(number):
    with pytest.raises(UnsupportedEvidence) as caught:
        read(encode({1: number}), {}, b"payload", bytes(96))
    assert (caught.value.id, caught.value.got) == ("format.message.algorithm", number)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_signature_has_the_length_of_its_algorithm(algorithm):
    header, right = encode({1: int(algorithm)}), SIGNATURE_SIZES[algorithm]
    for size in {0, 1, 64, 96, 132, right - 1, right + 1, 2 * right} - {right}:
        assert refusal(header, {}, b"payload", bytes(size)) == "the signature has the wrong length"


def test_a_message_is_bounded():
    fixed = len(encode(GOOD)) - len(b"payload")
    biggest = MAX_SIZE - fixed - 2
    assert len(read(ES384, {}, bytes(biggest), bytes(96)).payload) == biggest
    assert refusal(ES384, {}, bytes(biggest + 1), bytes(96)) == "too large"


@pytest.mark.parametrize("tag", [None, 18])
def test_every_truncation_is_refused(tag):
    data = encode(GOOD if tag is None else Tagged(tag, GOOD))
    for size in range(len(data)):
        with pytest.raises(MalformedEvidence):
            CoseSign1.from_bytes(data[:size], "message")
    with pytest.raises(MalformedEvidence, match=r"^format\.message: "):
        CoseSign1.from_bytes(data + b"\x00", "message")


@given(st.binary(max_size=300))
def test_no_input_raises_anything_else(data):
    for read_one in (CoseSign1.from_bytes, cose_key.read):
        try:
            value = read_one(data, "message")
        except EvidenceError:
            continue
        assert (value.to_bytes() if isinstance(value, CoseSign1) else cose_key.write(value)) == data


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(1, 255)), min_size=1, max_size=3))
def test_an_altered_message_is_refused_or_is_the_same_encoding_of_another(changes):
    data = bytearray(encode(Tagged(18, GOOD)))
    for position, change in changes:
        data[position % len(data)] ^= change
    try:
        message = CoseSign1.from_bytes(bytes(data), "message")
    except EvidenceError:
        return
    assert message.to_bytes() == bytes(data)


# -- keys ------------------------------------------------------------------------------------------------------------

POINT = {1: 2, -1: 2, -2: bytes(48), -3: bytes(48)}


@pytest.mark.parametrize(("number", "name", "size"), [(1, "secp256r1", 32), (2, "secp384r1", 48), (3, "secp521r1", 66)])
def test_a_key_is_read_and_written(number, name, size):
    data = encode({1: 2, -1: number, -2: b"\x01" * size, -3: b"\x02" * size})
    point = cose_key.read(data, "key")
    assert point == EcPoint(name, b"\x04" + b"\x01" * size + b"\x02" * size)
    assert cose_key.write(point) == data


@pytest.mark.parametrize(("members", "detail"), [
    ({}, "key type is missing"), ({1: 2}, "curve is missing"),
    ({**POINT, 1: 1}, "not an elliptic-curve key of a known curve"),
    ({**POINT, 1: 4}, "not an elliptic-curve key of a known curve"),
    ({**POINT, -1: 8}, "not an elliptic-curve key of a known curve"),
    ({**POINT, -1: 1}, "x has the wrong length"), ({**POINT, -1: 3}, "x has the wrong length"),
    ({**POINT, -2: bytes(47)}, "x has the wrong length"), ({**POINT, -3: bytes(49)}, "y has the wrong length"),
    ({**POINT, -3: None}, "y has the wrong type"), ({**POINT, -4: bytes(48)}, "unknown members"),
    ({**POINT, 2: b"kid"}, "unknown members"), ({**POINT, 3: -35}, "unknown members"), (7, "not a map"),
    ({k: v for k, v in POINT.items() if k != -3}, "y is missing"),
])
def test_a_key_has_kind_curve_and_both_coordinates_and_nothing_else(members, detail):
    with pytest.raises(MalformedEvidence) as caught:
        cose_key.read(encode(members), "key")
    assert (caught.value.id, caught.value.detail) == ("format.key", detail)


def test_a_compressed_point_is_refused():
    data = bytes.fromhex("a4010220022158 30".replace(" ", "")) + bytes(48) + bytes.fromhex("22f5")
    with pytest.raises(MalformedEvidence, match=r"^format\.key: "):
        cose_key.read(data, "key")
