"""The manifest of a sealed folder: which sealed files belong together, and which sealing of each.

``manifest.json`` is canonical JSON (RFC 8785):

    format   "attestkit-sealed-folder"
    version  1
    key_uri  resource URI of the key that ``hmac`` is made under
    files    sorted by name; each: name (of the plaintext file), key_uri, sealed_bytes, header_sha256 (hex)
    hmac     hex HMAC-SHA256 over the same document without this member, under a key derived from the DEK

The HMAC keeps whoever has no key from leaving files out, exchanging them, or putting older sealings in the place of
single ones. It cannot tell an older folder as a whole from the newest: for that, a policy pins the manifest's digest,
the SHA-256 of the file's bytes. Neither tells key holders apart: who may open a model could also have sealed it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import rfc8785
from msgspec import Meta

from attestation.errors import ModelError
from attestation.models.keys import is_key_uri
from attestation.models.sealed_file import derive

MANIFEST_NAME = "manifest.json"
SEALED_SUFFIX = ".sealed"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_FILES = 4096

_LABEL = b"attestkit sealed-folder v1 manifest"
_Sha256Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
# Plain and ASCII: nothing that could mean another path, or another name on another file system.
_Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.+=@-]{0,199}\Z")]


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sealed file, in the folder as ``name`` + `SEALED_SUFFIX`.

    name: at most 200 ASCII letters, digits and ``_.+=@-``, beginning with a letter, a digit or ``_``. sealed_bytes: the
    length of the sealed file. header_sha256: hex, see `Header.digest`.
    """

    name: _Name
    key_uri: str
    sealed_bytes: Annotated[int, Meta(gt=0, lt=1 << 53)]
    header_sha256: _Sha256Hex


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: Literal["attestkit-sealed-folder"] = "attestkit-sealed-folder"
    version: Literal[1] = 1
    key_uri: str
    files: Annotated[tuple[ManifestFile, ...], Meta(min_length=1, max_length=MAX_FILES)]
    hmac: _Sha256Hex


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that is ours to believe: made here, or authenticated. ``encoded``: the bytes of its file."""

    key_uri: str
    files: tuple[ManifestFile, ...]
    encoded: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the manifest's file: what a policy pins."""
        return hashlib.sha256(self.encoded).digest()


@dataclass(frozen=True, slots=True)
class UnverifiedManifest:
    """A manifest of the right shape that nobody vouched for; ``key_uri`` tells which key could."""

    key_uri: str
    _document: _Document
    _encoded: bytes

    def authenticate(self, dek: bytes, *, digest: bytes | None = None) -> Manifest:
        """The manifest, once its HMAC holds and its SHA-256 is ``digest`` (None: any). Raises `ModelError`."""
        if not hmac.compare_digest(_hmac(dek, self._document), bytes.fromhex(self._document.hmac)):
            raise ModelError("models.manifest.hmac",
                             f"the manifest was altered, or made under another key than the one now at {self.key_uri}")
        manifest = Manifest(self.key_uri, self._document.files, self._encoded)
        if digest is not None and not hmac.compare_digest(manifest.digest, digest):
            raise ModelError("models.manifest.digest", "this is another manifest than the one pinned", expected=digest,
                             got=manifest.digest)
        return manifest


def new_manifest(dek: bytes, key_uri: str, files: Iterable[ManifestFile]) -> Manifest:
    """The manifest of ``files``, authenticated under ``dek``. Raises `ModelError` for what a manifest does not hold."""
    ordered = tuple(sorted(files, key=lambda file: file.name))
    document = _Document(key_uri=key_uri, files=ordered, hmac="0" * 64)
    document = msgspec.structs.replace(document, hmac=_hmac(dek, document).hex())
    encoded = rfc8785.dumps(_members(document))
    parse_manifest(encoded)  # what cannot be read back must not be written
    return Manifest(key_uri, ordered, encoded)


def parse_manifest(data: bytes) -> UnverifiedManifest:
    """The manifest in ``data``. Raises `ModelError`."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise _malformed("too large", f"<= {MAX_MANIFEST_BYTES} bytes", f"{len(data)} bytes")
    try:
        document = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(str(error)) from None
    # One reading only: equal members, escapes, white space and other spellings of a number end here.
    if rfc8785.dumps(_members(document)) != data:
        raise _malformed("not canonical JSON (RFC 8785)")
    _check_files(document)
    return UnverifiedManifest(document.key_uri, document, data)


def _check_files(document: _Document) -> None:
    names = [file.name for file in document.files]
    if names != sorted(names) or len({name.casefold() for name in names}) != len(names):
        raise _malformed("the files are not sorted by name, or two names differ by letter case at most")
    for key_uri in (document.key_uri, *(file.key_uri for file in document.files)):
        if not is_key_uri(key_uri):
            raise _malformed("not a resource URI", "kbs:///<repository>/<type>/<tag>", ascii(key_uri))


def _members(document: _Document) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(document)
    return members


def _hmac(dek: bytes, document: _Document) -> bytes:
    unsigned = {name: value for name, value in _members(document).items() if name != "hmac"}
    # No salt: an HMAC under the same key may repeat.
    key = derive(dek, _LABEL, b"", (document.key_uri.encode(),))
    return hmac.digest(key, rfc8785.dumps(unsigned), "sha256")


def _malformed(detail: str, expected: object = None, got: object = None) -> ModelError:
    return ModelError("models.manifest.malformed", f"the manifest: {detail}", expected=expected, got=got)


_DECODER = msgspec.json.Decoder(_Document)
