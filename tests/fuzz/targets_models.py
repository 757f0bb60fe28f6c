"""Sealed models: `attestation.models`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from attestation.errors import (
    KeyUnavailable,
    ModelError,
    SealedFileError,
    SetupError,
)
from attestation.models import safetensors_header
from attestation.models.chunks import ChunkCipher
from attestation.models.keys import HeldKeys
from attestation.models.manifest import ManifestFile, new_manifest, parse_manifest
from attestation.models.reader import open_sealed
from attestation.models.sealed_file import TAG_BYTES, new_header, parse_header
from tests.fuzz.harness import Finding, Target, of_file
from tests.fuzz.seeds import lazily

KID = "kbs:///default/key/1"
_OFFSETS = re.compile(r'data_offsets"\s*:\s*\[\s*\d{1,20}\s*,\s*(\d{1,20})', re.ASCII)
KEY, NONCE = bytes(range(32)), bytes(range(16))
PLAINTEXT = b"the owner's secret weights" * 400


@cache
def _sealed_model() -> bytes:
    header = new_header(KEY, key_uri=KID, plaintext_bytes=len(PLAINTEXT), chunk_bytes=4096, salt=KEY)
    cipher, found = ChunkCipher(header, KEY), bytearray(header.encoded)
    for index in range(header.chunk_count):
        piece = PLAINTEXT[index * 4096:(index + 1) * 4096]
        chunk = bytearray(len(piece) + TAG_BYTES)
        cipher.seal_into(index, piece, chunk)
        found += chunk
    return bytes(found)


def _model(path: Path) -> bytes:
    with open_sealed(path, HeldKeys({KID: KEY}), workers=1) as reader:
        found = reader.read(0, len(reader))
    if found != PLAINTEXT:
        raise Finding("a sealed file that was altered opens")
    return found


def _header(data: bytes) -> object:
    found = parse_header(data)
    if not data.startswith(found.encoded):
        raise Finding("a header is not what stands in the file")
    return found


def _authenticated(_: bytes, found: Any) -> None:
    try:
        header = found.authenticate(KEY)
    except SealedFileError:
        return
    if header.encoded != new_header(KEY, key_uri=header.key_uri, plaintext_bytes=header.plaintext_bytes,
                                    chunk_bytes=header.chunk_bytes, salt=header.salt).encoded:
        raise Finding("a header is authentic and written otherwise")


@cache
def _manifest() -> bytes:
    return new_manifest(KEY, KID, [ManifestFile(name, KID, 4096, hashlib.sha256(name.encode()).hexdigest())
                                   for name in ("model.safetensors", "config.json")]).encoded


def _authentic_manifest(data: bytes, found: Any) -> None:
    try:
        found.authenticate(KEY)
    except ModelError:
        return
    if data != _manifest():
        raise Finding("a manifest that was altered is authentic")


def _tensors() -> Iterator[bytes]:
    yield b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}   '
    yield b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}'


def _safetensors(data: bytes) -> object:
    size = safetensors_header.header_length(data[:8], len(data))
    return safetensors_header.parse_header(data[8:8 + size], len(data))


def _safetensors_text(header: bytes) -> object:
    """With as many bytes after it as its last offset says."""
    ends = [int(found) for found in _OFFSETS.findall(header.decode("ascii", "replace"))][-1:] or [0]
    return safetensors_header.parse_header(header, 8 + len(header) + min(ends[0], 1 << 62))


TARGETS = (
    Target("models.manifest", parse_manifest, (ModelError,), lazily(lambda: [_manifest()]), (_authentic_manifest,)),
    Target("models.safetensors", _safetensors, (ModelError,), lazily(lambda: [
        len(header).to_bytes(8, "little") + header + bytes(24) for header in _tensors()])),
    Target("models.safetensors_header", _safetensors_text, (ModelError,), lazily(_tensors)),
    Target("models.sealed_header", _header, (SealedFileError,), lazily(lambda: [_sealed_model()[:300]]),
           (_authenticated,)),
    Target("models.sealed_model", of_file("model.sealed", _model), (SealedFileError, KeyUnavailable, SetupError),
           lazily(lambda: [_sealed_model()]), brief_runs=600),
)
