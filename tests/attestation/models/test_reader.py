"""Chunks: every byte that comes out was authenticated in its place, and a refusal names the chunk."""

from __future__ import annotations

import os
import random
import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestation.errors import SealedFileError, SetupError
from attestation.models.reader import open_sealed

CHUNK = 4096
STEP = CHUNK + 16
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 7]


def start(key_uri: str, index: int) -> int:
    """Offset of a sealed chunk in the file."""
    return 90 + len(key_uri) + index * STEP


def refusal(path, keys) -> SealedFileError:
    """The error that reading everything ends in."""
    with pytest.raises(SealedFileError) as caught, open_sealed(path, keys) as reader:
        reader.read(0, len(reader))
    return caught.value


@pytest.mark.parametrize("size", SIZES)
def test_sealed_file_reads_back(seal, noise, keys, size):
    with open_sealed(seal(noise(size)), keys) as reader:
        assert len(reader) == size
        assert reader.read(0, size) == noise(size)
        assert b"".join(bytes(chunk) for chunk in reader.chunks()) == noise(size)


@pytest.mark.parametrize("size", SIZES)
def test_file_sealed_by_the_document_opens(tmp_path, reference, noise, keys, size):
    path = tmp_path / "file.sealed"
    path.write_bytes(reference.seal(noise(size)))
    with open_sealed(path, keys) as reader:
        assert reader.read(0, size) == noise(size)


@pytest.mark.parametrize("chunk_bytes", [1 << 12, 1 << 16, 1 << 20, 1 << 26])
def test_every_chunk_size_reads_back(seal, noise, keys, chunk_bytes):
    data = noise(3 * (1 << 16) + 11)
    with open_sealed(seal(data, chunk_bytes=chunk_bytes), keys) as reader:
        assert reader.read(0, len(data)) == data


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.data())
def test_any_range_equals_the_plaintext(ranged, data):
    reader, plaintext = ranged
    offset = data.draw(st.integers(0, len(plaintext)))
    size = data.draw(st.integers(0, len(plaintext) - offset))
    assert reader.read(offset, size) == plaintext[offset : offset + size]
    buffer = bytearray(b"x" * size)
    reader.readinto(offset, buffer)
    assert buffer == plaintext[offset : offset + size]


@pytest.fixture
def ranged(seal, noise, keys):
    with open_sealed(seal(noise(7 * CHUNK + 123)), keys) as reader:
        yield reader, noise(7 * CHUNK + 123)


def test_large_read_through_several_threads_equals_the_plaintext(seal, noise, keys):
    data = noise(9_000_001)
    with open_sealed(seal(data, chunk_bytes=1 << 16), keys, workers=4) as reader:
        assert reader.read(0, len(data)) == data
        assert reader.read(100_003, 8_500_000) == data[100_003:8_600_003]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, -1), (0, 101), (101, 0), (100, 1), (1 << 62, 1 << 62)])
def test_range_outside_the_file_is_refused(seal, noise, keys, offset, size):
    with open_sealed(seal(noise(100)), keys) as reader:
        with pytest.raises(SetupError) as caught:
            reader.read(offset, size)
        assert caught.value.id == "models.range"


@pytest.mark.parametrize("where", ["first byte", "last byte", "tag"])
@pytest.mark.parametrize("index", range(6))
def test_altered_chunk_is_refused_by_name(seal, noise, keys, key_uri, index, where):
    path = seal(noise(5 * CHUNK + 7))
    whole = bytearray(path.read_bytes())
    size = CHUNK if index < 5 else 7
    whole[start(key_uri, index) + {"first byte": 0, "last byte": size - 1, "tag": size + 15}[where]] ^= 1
    path.write_bytes(whole)
    error = refusal(path, keys)
    assert error.id == "models.chunk"
    assert f"chunk {index} of 6" in error.detail


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 3), (2, 4)])
def test_exchanged_chunks_are_refused(seal, noise, keys, key_uri, first, second):
    path = seal(noise(5 * CHUNK))
    whole = path.read_bytes()
    places = [slice(start(key_uri, index), start(key_uri, index + 1)) for index in (first, second)]
    altered = bytearray(whole)
    altered[places[0]], altered[places[1]] = whole[places[1]], whole[places[0]]
    path.write_bytes(altered)
    error = refusal(path, keys)
    assert error.id == "models.chunk"
    assert f"chunk {first} of 5" in error.detail


def test_duplicated_chunk_is_refused(seal, noise, keys, key_uri):
    path = seal(noise(5 * CHUNK))
    whole = bytearray(path.read_bytes())
    whole[start(key_uri, 2) : start(key_uri, 3)] = whole[start(key_uri, 1) : start(key_uri, 2)]
    path.write_bytes(whole)
    assert "chunk 2 of 5" in refusal(path, keys).detail


def test_inserted_chunk_is_refused(seal, noise, keys, key_uri):
    path = seal(noise(5 * CHUNK))
    whole = path.read_bytes()
    path.write_bytes(whole[: start(key_uri, 2)] + whole[start(key_uri, 1) :])
    assert refusal(path, keys).id == "models.length"


def test_chunk_of_another_file_under_the_same_key_is_refused(seal, noise, keys, key_uri):
    path, other = seal(noise(5 * CHUNK)), seal(noise(5 * CHUNK), name="other.sealed")
    place = slice(start(key_uri, 3), start(key_uri, 4))
    whole = bytearray(path.read_bytes())
    whole[place] = other.read_bytes()[place]
    path.write_bytes(whole)
    error = refusal(path, keys)
    assert (error.id, "chunk 3 of 5" in error.detail) == ("models.chunk", True)


def test_new_header_on_the_body_before_is_refused(seal, noise, keys, key_uri):
    old, new = seal(noise(5 * CHUNK)), seal(noise(5 * CHUNK + 0), name="new.sealed")
    size = start(key_uri, 0)
    new.write_bytes(new.read_bytes()[:size] + old.read_bytes()[size:])
    assert "chunk 0 of 5" in refusal(new, keys).detail


def test_stripped_header_is_refused(seal, noise, keys, key_uri):
    path = seal(noise(5 * CHUNK))
    path.write_bytes(path.read_bytes()[start(key_uri, 0) :])
    assert refusal(path, keys).id == "models.header.magic"


@pytest.mark.parametrize(("kept", "chunk"), [
    (5 * STEP + 7 + 15, 5), (5 * STEP, 5), (5 * STEP - 1, 4), (STEP, 1), (STEP - 1, 0), (0, 0),
])
def test_truncated_file_is_refused_naming_the_chunk(seal, noise, keys, key_uri, kept, chunk):
    path = seal(noise(5 * CHUNK + 7))
    os.truncate(path, start(key_uri, 0) + kept)
    error = refusal(path, keys)
    assert (error.id, f"chunk {chunk} of 6" in error.detail) == ("models.length", True)


@pytest.mark.parametrize("extra", [b"\0", b"x" * STEP])
def test_extended_file_is_refused(seal, noise, keys, extra):
    path = seal(noise(5 * CHUNK))
    path.write_bytes(path.read_bytes() + extra)
    error = refusal(path, keys)
    assert (error.id, "chunk 4" in error.detail) == ("models.length", True)


def test_file_shortened_at_a_chunk_border_does_not_pass_as_shorter(reference, tmp_path, keys):
    """The header is re-made for the shorter length: the last chunk is then not marked as the last."""
    whole = reference.seal(b"a" * 3 * CHUNK)
    header = reference.header(2 * CHUNK)
    path = tmp_path / "short.sealed"
    path.write_bytes(header + whole[len(header) : len(header) + 2 * STEP])
    assert "chunk 0 of 2" in refusal(path, keys).detail


def test_empty_file_is_authenticated(seal, keys):
    path = seal(b"")
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert "chunk 0 of 1" in refusal(path, keys).detail


def test_file_truncated_after_it_was_opened_is_refused(seal, noise, keys, key_uri):
    path = seal(noise(5 * CHUNK))
    with open_sealed(path, keys) as reader:
        os.truncate(path, start(key_uri, 3) + 9)
        assert reader.read(0, 3 * CHUNK) == noise(5 * CHUNK)[: 3 * CHUNK]
        with pytest.raises(SealedFileError) as caught:
            reader.read(0, 5 * CHUNK)
    assert (caught.value.id, caught.value.got) == ("models.chunk", "9 bytes")
    assert "chunk 3 of 5 (counted from 0) is cut short" in caught.value.detail


@pytest.mark.parametrize(("offset", "size"), [(0, 5 * CHUNK), (3 * CHUNK + 5, 100), (CHUNK + 1, 3 * CHUNK)])
def test_failed_read_leaves_zeros_only(seal, noise, keys, key_uri, offset, size):
    path = seal(noise(5 * CHUNK))
    whole = bytearray(path.read_bytes())
    whole[start(key_uri, 3) + 50] ^= 1
    path.write_bytes(whole)
    buffer = bytearray(b"\xff" * size)
    with open_sealed(path, keys) as reader:
        with pytest.raises(SealedFileError):
            reader.readinto(offset, buffer)
        assert not any(buffer)
        assert reader.read(0, 3 * CHUNK) == noise(5 * CHUNK)[: 3 * CHUNK]


def test_view_kept_from_an_earlier_chunk_shows_nothing_of_a_refused_one(seal, noise, keys, key_uri):
    path = seal(noise(2 * CHUNK))
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with open_sealed(path, keys) as reader:
        chunks = reader.chunks()
        view = next(chunks)
        assert view == noise(2 * CHUNK)[:CHUNK]
        with pytest.raises(SealedFileError):
            next(chunks)
        assert not any(view)


def test_first_of_several_bad_chunks_is_named_whatever_the_threads_do(seal, noise, keys, key_uri):
    chunk = 1 << 16
    path = seal(noise(100 * chunk), chunk_bytes=chunk)
    whole = bytearray(path.read_bytes())
    for index in (37, 38, 70, 99):
        whole[90 + len(key_uri) + index * (chunk + 16)] ^= 1
    path.write_bytes(whole)
    for _ in range(20):
        with pytest.raises(SealedFileError) as caught, open_sealed(path, keys, workers=4) as reader:
            reader.readinto(0, bytearray(len(reader)))
        assert "chunk 37 of 100" in caught.value.detail


@pytest.mark.parametrize("rounds", [600, pytest.param(100_000, marks=pytest.mark.slow)])
def test_writer_racing_with_reads_never_gets_a_wrong_byte_out(seal, noise, keys, key_uri, rounds):
    data = noise(40 * CHUNK)
    path = seal(data)
    original, stop = path.read_bytes(), threading.Event()

    def disturb() -> None:
        dice = random.Random(1)
        with path.open("r+b") as file:
            while not stop.is_set():
                at = dice.randrange(start(key_uri, 0), len(original))
                for byte in (original[at] ^ 1, original[at]):
                    os.pwrite(file.fileno(), bytes([byte]), at)

    thread = threading.Thread(target=disturb)
    with open_sealed(path, keys) as reader:
        thread.start()
        for _ in range(rounds):
            with suppress(SealedFileError):
                assert reader.read(0, len(data)) == data
        stop.set()
        thread.join()
        path.write_bytes(original)
        assert reader.read(0, len(data)) == data


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_what_is_not_a_regular_file_is_not_opened(tmp_path, keys, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(SetupError) as caught:
        open_sealed(path, keys)
    assert caught.value.id == ("models.io" if kind == "missing" else "models.path")


def test_reading_after_close_fails(seal, noise, keys):
    reader = open_sealed(seal(noise(100)), keys)
    assert reader.read(0, 10) == noise(100)[:10]
    reader.close()
    reader.close()
    with pytest.raises(SetupError) as caught:
        reader.read(0, 10)
    assert caught.value.id == "models.io"


def test_refused_file_leaves_no_descriptor_open(seal, noise, keys, entries):
    path = seal(noise(100))
    path.write_bytes(path.read_bytes()[:-1])
    before = entries("/proc/self/fd")
    for _ in range(5):
        with pytest.raises(SealedFileError):
            open_sealed(path, keys)
    assert entries("/proc/self/fd") == before
