"""Keys, sealed files, and the sealed-file format written a second time, straight from docs/formats/sealed-file.md."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.models.keys import HeldKeys
from attestation.models.seal import seal_file

KEY_URI = "kbs:///team/models/tiny"
DEK = bytes(range(32))
CHUNK = 4096


@dataclass(frozen=True)
class Reference:
    """The format by its document, sharing no code with the package: HKDF is RFC 5869 on `hmac`."""

    dek: bytes = DEK

    def key(self, label: bytes, salt: bytes, suite: int, uri: bytes) -> bytes:
        info = b"".join(struct.pack(">H", len(part)) + part for part in (label, struct.pack(">H", suite), uri))
        pseudo_random_key = hmac.digest(salt, self.dek, "sha256")
        return hmac.digest(pseudo_random_key, info + b"\x01", "sha256")

    def header(self, length: int, *, magic: bytes = b"ATKSEAL\0", version: int = 1, suite: int = 1, chunk: int = CHUNK,
               salt: bytes = b"s" * 32, uri: bytes = KEY_URI.encode()) -> bytes:
        """A header with any values and an HMAC that holds."""
        fields = struct.pack(">8sHHIQ32sH", magic, version, suite, chunk, length, salt, len(uri)) + uri
        return fields + hmac.digest(self.key(b"attestkit sealed-file v1 header", salt, suite, uri), fields, "sha256")

    def seal(self, data: bytes, **values: Any) -> bytes:
        """A whole sealed file."""
        header = self.header(len(data), **values)
        chunk, salt = values.get("chunk", CHUNK), values.get("salt", b"s" * 32)
        cipher = AESGCM(self.key(b"attestkit sealed-file v1 chunks", salt, 1, values.get("uri", KEY_URI.encode())))
        pieces = [data[start : start + chunk] for start in range(0, len(data), chunk)] or [b""]
        body = b""
        for index, piece in enumerate(pieces):
            nonce = index.to_bytes(11, "big") + bytes([index == len(pieces) - 1])
            place = hashlib.sha256(header).digest() + struct.pack(">QQ", index, len(pieces))
            body += cipher.encrypt(nonce, piece, place)
        return header + body


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="session")
def key_uri() -> str:
    return KEY_URI


@pytest.fixture(scope="session")
def dek() -> bytes:
    return DEK


@pytest.fixture(scope="session")
def keys() -> HeldKeys:
    return HeldKeys({KEY_URI: DEK})


@pytest.fixture
def seal(tmp_path: Path, keys: HeldKeys) -> Callable[..., Path]:
    """Seals bytes under `DEK` in chunks of 4096; a name gives the target's name."""

    def sealed(data: bytes, name: str = "file.sealed", chunk_bytes: int = CHUNK) -> Path:
        source = tmp_path / (name + ".source")
        source.write_bytes(data)
        seal_file(source, tmp_path / name, key_uri=KEY_URI, keys=keys, chunk_bytes=chunk_bytes)
        return tmp_path / name

    return sealed


@pytest.fixture(scope="session")
def entries() -> Callable[[str | Path], list[str]]:
    """The sorted names in a folder; of ``/proc/self/fd``, the open descriptors."""
    return lambda folder: sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture(scope="session")
def noise() -> Callable[[int], bytes]:
    """The same bytes for the same length, with no pattern that could hide an exchange."""
    return lambda size: random.Random(size).randbytes(size)


@pytest.fixture(scope="session")
def safetensors_bytes() -> Callable[..., bytes]:
    """A safetensors file from a header object (or its text) and data, however wrong."""

    def build(header: dict[str, Any] | bytes, data: bytes = b"", length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + data

    return build
