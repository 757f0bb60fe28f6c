"""The header: what is refused before a single chunk is looked at."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import KeyUnavailable, SealedFileError, SetupError
from attestation.models.keys import HeldKeys, PinnedKeys
from attestation.models.reader import open_sealed
from attestation.models.sealed_file import MAX_HEADER_BYTES, derive, new_header, parse_header


class AnyKey:
    """Answers every name with the same key, so that a changed name alone is no reason to refuse."""

    def __init__(self, key):
        self.key = key

    def get(self, kid):
        return self.key


@pytest.fixture
def header(reference):
    return reference.header(10_000)


def test_header_written_by_the_document_is_read(reference, dek, key_uri):
    found = parse_header(reference.header(10_000)).authenticate(dek)
    assert (found.chunk_bytes, found.plaintext_bytes, found.key_uri) == (4096, 10_000, key_uri)
    assert (found.chunk_count, found.chunk_plaintext_bytes(2)) == (3, 10_000 - 2 * 4096)
    assert found.file_bytes == len(reference.seal(bytes(10_000)))


def test_header_made_here_is_the_documents(reference, dek, key_uri):
    made = new_header(dek, key_uri=key_uri, plaintext_bytes=10_000, chunk_bytes=4096, salt=b"s" * 32)
    assert made.encoded == reference.header(10_000)


def test_every_flipped_bit_of_the_header_is_refused(seal, noise, dek, key_uri):
    path = seal(noise(100))
    whole = path.read_bytes()
    size = 90 + len(key_uri)
    for bit in range(size * 8):
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << bit % 8
        path.write_bytes(altered)
        with pytest.raises(SealedFileError) as caught:
            open_sealed(path, AnyKey(dek))
        assert caught.value.id.startswith("models.header."), bit


def test_header_cut_anywhere_is_refused(header, dek):
    for size in range(len(header)):
        with pytest.raises(SealedFileError) as caught:
            parse_header(header[:size])
        assert caught.value.id == "models.header.short"


@pytest.mark.parametrize(("values", "rule"), [
    ({"magic": b"ATKSEAL\1"}, "magic"),
    ({"magic": b"\0\0\0\0\0\0\0\0"}, "magic"),
    ({"version": 0}, "version"),
    ({"version": 2}, "version"),
    ({"suite": 0}, "suite"),
    ({"suite": 2}, "suite"),
    ({"chunk": 0}, "chunk_size"),
    ({"chunk": 2048}, "chunk_size"),
    ({"chunk": 4097}, "chunk_size"),
    ({"chunk": 1 << 27}, "chunk_size"),
    ({"uri": b""}, "key_uri"),
    ({"uri": b"kbs:///a/b"}, "key_uri"),
    ({"uri": b"kbs:///a/b/../c"}, "key_uri"),
    ({"uri": b"kbs://host/a/b/c"}, "key_uri"),
    ({"uri": b"kbs:///a/b/c\n"}, "key_uri"),
    ({"uri": "kbs:///a/b/é".encode()}, "key_uri"),
    ({"uri": b"kbs:///" + b"a" * 768}, "key_uri"),
])
def test_header_with_values_outside_the_format_is_refused_though_its_hmac_holds(reference, values, rule):
    with pytest.raises(SealedFileError) as caught:
        parse_header(reference.header(10, **values))
    assert caught.value.id == f"models.header.{rule}"


def test_length_beyond_the_limit_is_refused(reference):
    with pytest.raises(SealedFileError) as caught:
        parse_header(reference.header((1 << 44) + 1))
    assert caught.value.id == "models.header.length"
    assert parse_header(reference.header(1 << 44))


def test_key_uri_length_that_reaches_past_the_file_is_refused(header):
    altered = header[:56] + struct.pack(">H", 774) + header[58:]
    with pytest.raises(SealedFileError) as caught:
        parse_header(altered)
    assert caught.value.id == "models.header.short"


def test_longest_key_uri_round_trips(reference, dek):
    uri = b"kbs:///" + b"/".join([b"a" * 255] * 3)
    header = reference.header(5, uri=uri)
    assert len(header) == MAX_HEADER_BYTES
    assert parse_header(header + b"more").authenticate(dek).key_uri == uri.decode()


def test_header_under_another_key_is_refused(header, dek):
    with pytest.raises(SealedFileError) as caught:
        parse_header(header).authenticate(bytes(32))
    assert caught.value.id == "models.header.hmac"
    assert dek.hex() not in str(caught.value)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_key_of_wrong_length_is_refused(header, size):
    with pytest.raises(KeyUnavailable) as caught:
        parse_header(header).authenticate(bytes(size))
    assert caught.value.id == "models.key.length"


@pytest.mark.parametrize("values", [
    {"chunk_bytes": 4095}, {"chunk_bytes": 0}, {"chunk_bytes": -4096}, {"plaintext_bytes": (1 << 44) + 1},
    {"key_uri": "kbs:///a"}, {"key_uri": "team/models/tiny"}, {"salt": bytes(31)}, {"salt": bytes(33)},
])
def test_header_outside_the_format_is_not_made(dek, key_uri, values):
    fields = {"key_uri": key_uri, "plaintext_bytes": 1, "chunk_bytes": 4096, "salt": os.urandom(32)} | values
    with pytest.raises(SetupError) as caught:
        new_header(dek, **fields)
    assert caught.value.id.startswith("models.header.")


def test_keys_for_different_purposes_differ(dek):
    made = {derive(dek, label, salt, context) for label in (b"a", b"b") for salt in (b"1", b"2")
            for context in ((b"x", b"yz"), (b"xy", b"z"), (b"xyz",))}
    assert len(made) == 12


@given(st.binary(max_size=900))
def test_no_bytes_raise_anything_but_a_refusal(data):
    with pytest.raises(SealedFileError):
        parse_header(data)


@given(st.data())
def test_no_altered_header_raises_anything_but_a_refusal(reference, dek, data):
    header = bytearray(reference.header(10_000))
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(header) != reference.header(10_000):
        with pytest.raises(SealedFileError):
            parse_header(bytes(header)).authenticate(dek)


def test_huge_length_in_an_authentic_header_allocates_nothing(tmp_path, reference, keys):
    path = tmp_path / "bomb.sealed"
    path.write_bytes(reference.header(1 << 44, chunk=1 << 26) + b"0123456789")
    with pytest.raises(SealedFileError) as caught:
        open_sealed(path, keys)
    assert caught.value.id == "models.length"
    assert "chunk 0" in caught.value.detail


def test_unknown_key_is_unavailable(seal):
    with pytest.raises(KeyUnavailable) as caught:
        open_sealed(seal(b"data"), HeldKeys({}))
    assert caught.value.id == "models.key.unknown"


def test_pinned_keys_ask_for_no_other(keys, dek, key_uri):
    assert PinnedKeys(keys, [key_uri]).get(key_uri) == dek
    with pytest.raises(KeyUnavailable) as caught:
        PinnedKeys(AnyKey(dek), ["kbs:///other/models/tiny"]).get(key_uri)
    assert (caught.value.id, caught.value.got) == ("models.key.pinned", key_uri)


def test_keys_do_not_show(keys, dek):
    assert dek.hex() not in repr(keys)
    assert repr(dek) not in repr(keys)
