"""COSE_Sign1, narrowed to what attestation uses (RFC 9052 section 4.2, RFC 9053 section 2.1).

    [protected: bstr(map), unprotected: map, payload: bstr, signature: bstr], under tag 18 or bare

Rules of the room: the protected header and the payload are kept as the bytes that were received, and the signature is
over those. The algorithm is read from the protected header, which may hold nothing else; the unprotected header must be
empty. So there is nothing to ignore, nothing critical (``crit``) to misunderstand, and nothing unsigned that could
differ between two copies of one message. The payload is inside: null, which means that it travels elsewhere, is
refused. Signatures are r || s at the length of the curve's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from verifier.errors import MalformedEvidence, UnsupportedEvidence
from verifier.formats import cbor
from verifier.formats.cbor import Tagged

TAG_SIGN1 = 18
MAX_SIZE = 64 * 1024

_ALGORITHM, _CRITICAL = 1, 2


class Algorithm(IntEnum):
    """ECDSA with the hash that goes with its curve (RFC 9053 section 2.1, curves by `checks.cose_signature`)."""

    ES256 = -7
    ES384 = -35
    ES512 = -36


SIGNATURE_SIZES = {Algorithm.ES256: 64, Algorithm.ES384: 96, Algorithm.ES512: 132}


@dataclass(frozen=True, slots=True)
class CoseSign1:
    """One signed message, nothing verified.

    protected: the protected header as received, without its outer head. signature: 64, 96 or 132 bytes by `algorithm`.
    tagged: whether it stood under tag 18.
    """

    protected: bytes
    payload: bytes
    signature: bytes
    tagged: bool = False

    @classmethod
    def from_bytes(cls, data: bytes, what: str, *, must_be_tagged: bool = False) -> CoseSign1:
        """Exactly one message of at most `MAX_SIZE` bytes; ``what`` names it in errors (``format.<what>``).

        must_be_tagged: False takes both forms. Raises `MalformedEvidence`, and `UnsupportedEvidence` for an algorithm
        that is not in `Algorithm`.
        """
        value = cbor.decode(data, what, max_size=MAX_SIZE, tags=(TAG_SIGN1,))
        tagged = isinstance(value, Tagged)
        if must_be_tagged and not tagged:
            raise _malformed(what, "not under tag 18")
        message = cls(*_parts(value.value if tagged else value, what), tagged)
        size = SIGNATURE_SIZES[algorithm_of(message.protected, what)]
        if len(message.signature) != size:
            raise _malformed(what, "the signature has the wrong length", expected=f"{size} bytes",
                             got=f"{len(message.signature)} bytes")
        return message

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads."""
        parts: tuple[Any, ...] = (self.protected, {}, self.payload, self.signature)
        return cbor.encode(Tagged(TAG_SIGN1, parts) if self.tagged else parts)

    @property
    def algorithm(self) -> Algorithm:
        """As the protected header says."""
        return algorithm_of(self.protected, "cose")

    @property
    def signed_bytes(self) -> bytes:
        """Sig_structure with empty external data (RFC 9052 section 4.4)."""
        return cbor.encode(("Signature1", self.protected, b"", self.payload))


def _parts(value: Any, what: str) -> tuple[bytes, bytes, bytes]:
    if not isinstance(value, tuple) or len(value) != 4:
        raise _malformed(what, "not an array of four items", got=type(value).__name__)
    protected, unprotected, payload, signature = value
    if payload is None:
        raise _malformed(what, "the payload is detached")
    for name, part in (("protected header", protected), ("payload", payload), ("signature", signature)):
        if not isinstance(part, bytes):
            raise _malformed(what, f"the {name} is not a byte string", got=type(part).__name__)
    if not isinstance(unprotected, dict) or unprotected:
        raise _malformed(what, "the unprotected header is not an empty map", got=type(unprotected).__name__)
    return protected, payload, signature


def algorithm_of(protected: bytes, what: str) -> Algorithm:
    """The one member of a protected header. Raises `MalformedEvidence` or `UnsupportedEvidence`."""
    header = cbor.decode(protected, what, max_size=MAX_SIZE)
    if isinstance(header, dict) and _CRITICAL in header:
        raise _malformed(what, "a critical header cannot be honoured")
    members = cbor.Members(header, what)
    number = members.integer(_ALGORITHM, "algorithm")
    members.end()
    if number not in SIGNATURE_SIZES:
        raise UnsupportedEvidence(f"format.{what}.algorithm", "not a signature algorithm that attestation uses",
                                  expected=[*SIGNATURE_SIZES], got=number)
    return Algorithm(number)


def _malformed(what: str, detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence(f"format.{what}", detail, expected=expected, got=got)
