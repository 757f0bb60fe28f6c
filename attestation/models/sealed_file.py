"""The sealed file, version 1: its header, its key schedule and where each chunk lies (docs/formats/sealed-file.md).

    offset  size  field                     all numbers unsigned, big-endian
    0       8     magic                     "ATKSEAL" and a zero byte
    8       2     version                   1
    10      2     suite                     1: AES-256-GCM, HKDF-SHA256, HMAC-SHA256
    12      4     chunk size, bytes         a power of two, 4 KiB to 64 MiB
    16      8     plaintext length, bytes   at most 2^44
    24      32    salt                      random, fresh for each sealing
    56      2     key URI length u, bytes   at most 774
    58      u     key URI                   ASCII, kbs:///<repository>/<type>/<tag>
    58+u    32    HMAC-SHA256               over all bytes before it, under the header key
    90+u          chunks, each followed by its 16-byte tag; the last may be shorter, and is empty for an empty file

Parsing gives an `UnverifiedHeader`, which tells only which key to fetch; `UnverifiedHeader.authenticate` gives a
`Header`, which everything else asks for. Chunks are counted from 0.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from attestation.errors import AttestationError, KeyUnavailable, SealedFileError, SetupError
from attestation.models.keys import DEK_BYTES, MAX_KEY_URI_BYTES, is_key_uri
from verifier.errors import MalformedEvidence
from verifier.formats.reader import Reader

MAGIC = b"ATKSEAL\0"
VERSION = 1
SALT_BYTES = 32
TAG_BYTES = 16
DEFAULT_CHUNK_BYTES = 1 << 20
MIN_CHUNK_BYTES = 1 << 12
MAX_CHUNK_BYTES = 1 << 26
# 2^40 AES blocks under one key, far below where GCM's bounds matter, and at most 2^32 chunks.
MAX_PLAINTEXT_BYTES = 1 << 44

_FIXED_BYTES = 58
_HMAC_BYTES = 32
MAX_HEADER_BYTES = _FIXED_BYTES + MAX_KEY_URI_BYTES + _HMAC_BYTES

# One label for each key ever derived from a DEK: no two purposes share a key.
_HEADER_LABEL = b"attestkit sealed-file v1 header"
_CHUNK_LABEL = b"attestkit sealed-file v1 chunks"


class Suite(IntEnum):
    """The algorithms of a sealed file; there is one suite so far."""

    AES_256_GCM_HKDF_SHA256 = 1


@dataclass(frozen=True, slots=True)
class Header:
    """A header that is ours to believe: made here, or authenticated under its DEK.

    encoded: its bytes as they stand in the file, HMAC included. chunk_bytes, plaintext_bytes: in bytes.
    """

    chunk_bytes: int
    plaintext_bytes: int
    salt: bytes
    key_uri: str
    encoded: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the encoded header: the public name of this sealing, bound into every chunk."""
        return hashlib.sha256(self.encoded).digest()

    @property
    def chunk_count(self) -> int:
        """At least 1: an empty file has one empty chunk, so that its end is authenticated too."""
        return max(1, -(-self.plaintext_bytes // self.chunk_bytes))

    @property
    def file_bytes(self) -> int:
        """The exact length of the sealed file."""
        return len(self.encoded) + self.plaintext_bytes + self.chunk_count * TAG_BYTES

    def chunk_plaintext_bytes(self, index: int) -> int:
        """Plaintext length of a chunk; only the last differs from `chunk_bytes`."""
        return min(self.chunk_bytes, self.plaintext_bytes - index * self.chunk_bytes)

    def chunk_offset(self, index: int) -> int:
        """Where in the file a chunk's ciphertext begins."""
        return len(self.encoded) + index * (self.chunk_bytes + TAG_BYTES)

    def chunk_key(self, dek: bytes) -> bytes:
        """The 32-byte key of the chunks: single-use, because no other sealing has this salt."""
        return derive(dek, _CHUNK_LABEL, self.salt, _context(self.key_uri))


@dataclass(frozen=True, slots=True)
class UnverifiedHeader:
    """A header of the right shape that nobody vouched for.

    key_uri: tells which key could. encoded: as in `Header`.
    """

    key_uri: str
    encoded: bytes = field(repr=False)
    _stated: Header = field(repr=False)

    @property
    def digest(self) -> bytes:
        """As `Header.digest`."""
        return self._stated.digest

    def authenticate(self, dek: bytes) -> Header:
        """The header, once its HMAC holds. Raises `SealedFileError`: altered, or sealed under another key."""
        expected = _hmac(dek, self._stated.salt, self.key_uri, self.encoded[:-_HMAC_BYTES])
        if not hmac.compare_digest(expected, self.encoded[-_HMAC_BYTES:]):
            raise SealedFileError("models.header.hmac",
                                  f"the header was altered, or sealed under another key than is now at {self.key_uri}")
        return self._stated


def new_header(dek: bytes, *, key_uri: str, plaintext_bytes: int, chunk_bytes: int, salt: bytes) -> Header:
    """The header of a file about to be sealed; ``salt``: `SALT_BYTES` random bytes, never used before with this DEK.

    Raises `SetupError` for values that the format does not hold.
    """
    _check_values(chunk_bytes, plaintext_bytes, key_uri, SetupError)
    _require(len(salt) == SALT_BYTES, "salt", "the salt has the wrong length", SALT_BYTES, len(salt), SetupError)
    fields = b"".join((
        MAGIC, VERSION.to_bytes(2, "big"), Suite.AES_256_GCM_HKDF_SHA256.to_bytes(2, "big"),
        chunk_bytes.to_bytes(4, "big"), plaintext_bytes.to_bytes(8, "big"), salt,
        len(key_uri).to_bytes(2, "big"), key_uri.encode("ascii"),
    ))
    return Header(chunk_bytes, plaintext_bytes, salt, key_uri, fields + _hmac(dek, salt, key_uri, fields))


def parse_header(start: bytes) -> UnverifiedHeader:
    """The header at the start of a sealed file; ``start``: its first `MAX_HEADER_BYTES` bytes, or all if it has fewer.

    Raises `SealedFileError`.
    """
    try:
        return _parse(Reader(start, "sealed_file", order="big"), start)
    except MalformedEvidence as error:
        raise SealedFileError("models.header.short", error.detail, expected=error.expected, got=error.got) from None


def derive(dek: bytes, label: bytes, salt: bytes, context: Sequence[bytes]) -> bytes:
    """A 32-byte key by HKDF-SHA256 (RFC 5869); info is ``label`` and ``context``, each after its length (2 bytes).

    Raises `KeyUnavailable` for a DEK of another length than `DEK_BYTES`.
    """
    if len(dek) != DEK_BYTES:
        raise KeyUnavailable("models.key.length", "the key has the wrong length", expected=f"{DEK_BYTES} bytes",
                             got=f"{len(dek)} bytes")
    info = b"".join(len(part).to_bytes(2, "big") + part for part in (label, *context))
    return HKDF(SHA256(), 32, salt, info).derive(dek)


def _parse(reader: Reader, start: bytes) -> UnverifiedHeader:
    magic = reader.take(len(MAGIC), "magic")
    _require(magic == MAGIC, "magic", "not a sealed file", MAGIC, magic)
    version = reader.uint(2, "version")
    _require(version == VERSION, "version", "this version of the format is not read here", VERSION, version)
    suite = reader.uint(2, "suite")
    _require(suite == Suite.AES_256_GCM_HKDF_SHA256, "suite", "this suite is not known", list(map(int, Suite)), suite)
    chunk_bytes = reader.uint(4, "chunk size")
    plaintext_bytes = reader.uint(8, "plaintext length")
    salt = reader.take(SALT_BYTES, "salt")
    key_uri = _key_uri(reader)
    _check_values(chunk_bytes, plaintext_bytes, key_uri, SealedFileError)
    reader.take(_HMAC_BYTES, "HMAC")
    encoded = start[: reader.position]
    return UnverifiedHeader(key_uri, encoded, Header(chunk_bytes, plaintext_bytes, salt, key_uri, encoded))


def _key_uri(reader: Reader) -> str:
    size = reader.uint(2, "key URI length")
    _require(size <= MAX_KEY_URI_BYTES, "key_uri", "the key URI is too long", f"<= {MAX_KEY_URI_BYTES} bytes",
             f"{size} bytes")
    # Any byte is a character here; the pattern admits ASCII only.
    return reader.take(size, "key URI").decode("latin-1")


def _check_values(chunk_bytes: int, plaintext_bytes: int, key_uri: str, fault: type[AttestationError]) -> None:
    power_of_two = chunk_bytes & (chunk_bytes - 1) == 0
    _require(power_of_two and MIN_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES, "chunk_size",
             "the chunk size is not allowed", f"a power of two, {MIN_CHUNK_BYTES} to {MAX_CHUNK_BYTES}", chunk_bytes,
             fault)
    _require(plaintext_bytes <= MAX_PLAINTEXT_BYTES, "length", "the file is too long for one sealing",
             f"<= {MAX_PLAINTEXT_BYTES} bytes", plaintext_bytes, fault)
    _require(is_key_uri(key_uri), "key_uri", "not a resource URI", "kbs:///<repository>/<type>/<tag>", ascii(key_uri),
             fault)


def _require(ok: bool, name: str, detail: str, expected: object, got: object,
             fault: type[AttestationError] = SealedFileError) -> None:
    if not ok:
        raise fault(f"models.header.{name}", detail, expected=expected, got=got)


def _context(key_uri: str) -> tuple[bytes, bytes]:
    return Suite.AES_256_GCM_HKDF_SHA256.to_bytes(2, "big"), key_uri.encode("ascii")


def _hmac(dek: bytes, salt: bytes, key_uri: str, fields: bytes) -> bytes:
    return hmac.digest(derive(dek, _HEADER_LABEL, salt, _context(key_uri)), fields, "sha256")
