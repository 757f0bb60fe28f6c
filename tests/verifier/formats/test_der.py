"""The DER reader: one encoding of each value, and nothing beyond its end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader
from verifier.software_tee import der as writer


def elements(data: bytes) -> list[tuple[int, bytes]]:
    reader, found = Reader(data, "thing", order="big"), []
    while reader.remaining:
        found.append(der.element(reader))
    return found


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_of_every_form_are_read(size):
    assert elements(writer.octet_string(bytes(size)) * 2) == [(4, bytes(size))] * 2


@pytest.mark.parametrize("data", [
    b"\x04", b"\x04\x01", b"\x04\x80", b"\x04\x80\x00\x00", b"\x04\x81\x05hello", b"\x04\x81\x7f", b"\x04\x82\x00\x80",
    b"\x04\x84\x00\x00\x00\x01x", b"\x04\x85\x00\x00\x00\x00\x01x", b"\x04\xff", b"\x04\x84\xff\xff\xff\xff",
    b"\x1f\x01\x00", b"\xbf\x1f\x00",
])
def test_other_lengths_and_tags_are_refused(data):
    with pytest.raises(MalformedEvidence) as caught:
        elements(data)
    assert caught.value.id == "format.thing"


@pytest.mark.parametrize("data", [b"", b"\x30\x00\x00", b"\x30\x01", b"\x31\x00", b"\x30\x00\x30\x00"])
def test_one_element_of_one_tag_means_exactly_that(data):
    with pytest.raises(MalformedEvidence) as caught:
        der.only(data, "thing", Tag.SEQUENCE)
    assert caught.value.id == "format.thing"


@given(st.integers(0, 1 << 80))
def test_every_unsigned_integer_has_one_encoding(value):
    content = der.only(writer.integer(value), "thing", Tag.INTEGER)
    assert der.unsigned(content, "thing") == value
    with pytest.raises(MalformedEvidence):
        der.unsigned(b"\x00" + content, "thing")


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff", b"\xff\x7f", b"\x00\x00", b"\x00\x7f"])
def test_negative_and_padded_integers_are_refused(content):
    with pytest.raises(MalformedEvidence) as caught:
        der.unsigned(content, "thing")
    assert caught.value.id == "format.thing"


@pytest.mark.parametrize("byte", range(256))
def test_a_boolean_is_all_ones_or_all_zeros(byte):
    if byte in (0, 0xFF):
        assert der.boolean(bytes((byte,)), "thing") is (byte == 0xFF)
    else:
        with pytest.raises(MalformedEvidence) as caught:
            der.boolean(bytes((byte,)), "thing")
        assert caught.value.id == "format.thing"


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"\xff\xff"])
def test_a_boolean_has_one_byte(content):
    with pytest.raises(MalformedEvidence, match=r"^format\.thing: "):
        der.boolean(content, "thing")


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_are_elements_that_are_written_the_same_or_refused(data):
    try:
        found = elements(data)
    except MalformedEvidence:
        return
    assert b"".join(writer.element(tag, content) for tag, content in found) == data
