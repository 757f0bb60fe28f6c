"""Init data: the document that configures a pod and that its TEE binds.

TOML with ``version = "0.1.0"``, ``algorithm`` and a table ``[data]`` of texts; nothing else. The digest is taken over
the exact bytes of the document. Where the hardware field is shorter, the digest is cut at its end, where it is longer,
zeros are appended: with SHA-384 on SNP only 32 of 48 bytes bind, so SHA-256 is the natural choice there. A TPM has no
field: the guest extends PCR 8 of the SHA-256 bank with the digest once, which only a SHA-256 digest fits.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kbs.errors import MalformedRequest, TooLarge, UnsupportedTee
from kbs.protocol.resource_uri import require_segment
from kbs.protocol.runtime_data import HashAlgorithm

VERSION = "0.1.0"
MAX_INIT_DATA_BYTES = 1024 * 1024
MAX_ENTRIES = 256

# The hardware fields: MRCONFIGID, HOST_DATA, CONFIGID, personalization value, HOST_DATA (report version 3).
FIELD_BYTES = {"tdx": 48, "snp": 32, "sgx": 64, "cca": 64, "csv": 64}
# Whose guests extend PCR 8 instead.
PCR_TEES = frozenset({"tpm", "az-snp-vtpm", "az-tdx-vtpm"})
_PCR_SIZE = 32

_ALGORITHMS = {spelling: algorithm for algorithm in HashAlgorithm
               for spelling in (str(algorithm), f"sha-{algorithm.removeprefix('sha')}")}

# A string or comment as TOML has them, or what stands between: the structure. Whatever fits none of these is not TOML.
# How each kind of text ends, longest opening first; after the end of a long one up to two quotes more are its content.
# Possessive groups would say it in one pattern, but Python before 3.11.5 matches them wrongly.
_ENDS = {
    '"""': re.compile(r'(?:\\.|"""(?P<end>"{0,2}))', re.DOTALL), "'''": re.compile(r"'''(?P<end>'{0,2})"),
    '"': re.compile(r'(?:\\.|(?P<end>"))', re.DOTALL), "'": re.compile(r"(?P<end>')"),
    "#": re.compile(r"(?P<end>\n|$)"),
}
_OPENING = re.compile(r"""\"{3}|'{3}|["'#]""")
_MAX_STRUCTURE, _MAX_DOTS, _MAX_BRACKETS = 32 * 1024, 64, 16


@dataclass(frozen=True, slots=True)
class InitData:
    """A parsed document. ``data`` maps names (each a valid file name) to texts; ``body`` is the document itself."""

    algorithm: HashAlgorithm
    data: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def digest(self) -> bytes:
        """The digest of ``body`` by the algorithm it names: 32, 48 or 64 bytes."""
        return hashlib.new(self.algorithm, self.body).digest()

    def field_for(self, tee: str) -> bytes:
        """The digest as the TEE's init-data field (`field_for`)."""
        return field_for(tee, self.digest)


def parse(body: bytes) -> InitData:
    """Raises `TooLarge` or `MalformedRequest`, ids ``protocol.init_data.*``."""
    if len(body) > MAX_INIT_DATA_BYTES:
        raise TooLarge("protocol.init_data.size", "the document is too large",
                       expected=f"<= {MAX_INIT_DATA_BYTES} bytes", got=f"{len(body)} bytes")
    document = _load(body)
    unknown = sorted(set(document) - {"version", "algorithm", "data"})
    if unknown:
        raise _malformed("members", "the document has unknown members", got=", ".join(unknown)[:64])
    if document.get("version") != VERSION:
        raise _malformed("version", "this version is not understood", expected=VERSION)
    algorithm = document.get("algorithm")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise _malformed("algorithm", "this hash is not accepted", expected=", ".join(sorted(_ALGORITHMS)))
    return InitData(_ALGORITHMS[algorithm], MappingProxyType(_texts(document.get("data", {}))), body)


def field_for(tee: str, digest: bytes) -> bytes:
    """``digest`` as the init-data field of ``tee``: TDX 48, SNP 32, SGX, CCA and CSV 64 bytes, cut at the end or padded
    with zeros; for TPMs the 32 bytes of PCR 8 after it was extended with the digest.

    Raises `UnsupportedTee` for a TEE whose field is not defined here (there is no TEE for which binding is skipped) and
    `MalformedRequest` for a digest that a TPM's register cannot be extended with.
    """
    if tee in PCR_TEES:
        if len(digest) != _PCR_SIZE:
            raise _malformed("algorithm", "only a SHA-256 digest can be extended into a TPM's register",
                             expected="sha256", got=f"{len(digest)} bytes")
        return hashlib.sha256(bytes(_PCR_SIZE) + digest).digest()
    size = FIELD_BYTES.get(tee)
    if size is None:
        raise UnsupportedTee("protocol.init_data.tee", "no init-data field is defined for this TEE", got=tee[:32])
    return digest[:size].ljust(size, b"\0")


def _load(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
        _bound_structure(text)
        return tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError):
        raise _malformed("toml", "the document is not TOML") from None


def _bound_structure(text: str) -> None:
    """Keys of many parts and nested arrays cost `tomllib` quadratic time; a document of this kind has few of either."""
    structure, at = "", 0
    while (opening := _OPENING.search(text, at)) and len(structure) <= _MAX_STRUCTURE:
        structure += text[at:opening.start()]
        at = _end_of(text, opening)
    structure += text[at:]
    brackets = structure.count("[") + structure.count("{")
    if len(structure) > _MAX_STRUCTURE or structure.count(".") > _MAX_DOTS or brackets > _MAX_BRACKETS:
        raise _malformed("structure", "the document has more structure than two values and one table of texts need")


def _end_of(text: str, opening: re.Match[str]) -> int:
    """Behind the text or comment that begins there. Raises `ValueError`."""
    at = opening.end()
    while (part := _ENDS[opening[0]].search(text, at)) is not None:
        if part["end"] is not None:
            return part.end()
        at = part.end()
    raise ValueError("a text has no end")


def _texts(table: object) -> dict[str, str]:
    if not isinstance(table, dict) or len(table) > MAX_ENTRIES:
        raise _malformed("data", "data must be a table", expected=f"<= {MAX_ENTRIES} entries")
    for name, text in table.items():
        require_segment(name, "init_data_name")
        if not isinstance(text, str):
            raise _malformed("data", f"{name[:64]} must be a text", expected="string", got=type(text).__name__)
    return table


def _malformed(what: str, detail: str, *, expected: str | None = None, got: str | None = None) -> MalformedRequest:
    return MalformedRequest(f"protocol.init_data.{what}", detail, expected=expected, got=got)
