"""The cursor that counts bytes: nothing reaches past a region, nothing in it stays unread."""

from __future__ import annotations

from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.formats.reader import Reader


def test_bytes_come_in_order_and_integers_in_the_readers_order():
    reader = Reader(bytes(range(8)), "thing")
    assert reader.take(2, "a") == b"\x00\x01"
    assert (reader.uint(2, "b"), reader.position, reader.remaining) == (0x0302, 4, 4)
    assert Reader(b"\x01\x02", "thing", order="big").uint(2, "c") == 0x0102
    assert reader.rest() == bytes(range(4, 8))
    reader.end()


@pytest.mark.parametrize("read", [
    lambda r: r.take(5, "x"), lambda r: r.take(-1, "x"), lambda r: r.uint(5, "x"), lambda r: r.take(1 << 40, "x"),
    lambda r: r.unpack(Struct("<5s"), "x"), lambda r: r.end(),
])
def test_what_is_not_there_is_refused_under_the_structures_name(read):
    reader = Reader(b"1234", "thing")
    with pytest.raises(MalformedEvidence) as caught:
        read(reader)
    assert caught.value.id == "format.thing"
    assert reader.position == 0


@pytest.mark.parametrize("size", [-1, 5, 1 << 40])
def test_a_region_lies_within_its_parent(size):
    reader = Reader(b"1234", "thing")
    with pytest.raises(MalformedEvidence) as caught, reader.region(size, "part"):
        pytest.fail("the region must not open")
    assert caught.value.id == "format.thing"


def test_a_region_is_consumed_exactly():
    reader = Reader(b"1234", "thing")
    with pytest.raises(MalformedEvidence, match="not consumed exactly"), reader.region(3, "part"):
        reader.take(2, "x")
    reader = Reader(b"1234", "thing")
    with pytest.raises(MalformedEvidence, match="runs past the end"), reader.region(3, "part"):
        reader.take(4, "x")


def test_after_a_region_the_rest_can_be_read_whether_it_failed_or_not():
    reader = Reader(b"1234", "thing")
    with reader.region(2, "part"):
        reader.take(2, "x")
    assert reader.rest() == b"34"
    reader = Reader(b"1234", "thing")
    with pytest.raises(MalformedEvidence), reader.region(2, "part"):
        reader.take(3, "x")
    assert reader.remaining == 4


@given(st.binary(max_size=60), st.lists(st.integers(-2, 20), max_size=12))
def test_no_sequence_of_reads_gives_a_byte_twice_or_one_that_is_not_there(data, sizes):
    reader, read = Reader(data, "thing"), b""
    for size in sizes:
        try:
            read += reader.take(size, "x")
        except MalformedEvidence:
            continue
    assert data.startswith(read)
    assert reader.position == len(read)
