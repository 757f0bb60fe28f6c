"""COSE_Sign1 messages as parameters, signed at the end, whatever they have become (RFC 9052 section 4.2).

Nothing is validated here: a maker of faulty messages must be able to write what no reader takes. What is not on these
pages is read by the verifier's own reader and by another library in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from verifier.formats import cbor
from verifier.formats.cose import TAG_SIGN1, Algorithm

EMPTY_MAP = cbor.encode({})


class RawSigner(Protocol):
    """What can sign a message: an `EcKey`."""

    def sign_raw(self, message: bytes) -> bytes:
        """ECDSA as r || s."""


def protected_header(algorithm: int) -> bytes:
    """The header that names an algorithm and nothing else."""
    return cbor.encode({1: int(algorithm)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to be. protected: content of the header's byte string. unprotected: one CBOR item, as written.

    signature: bytes instead of the signer's. external: what is signed along and not sent; empty for all makers.
    """

    payload: bytes
    signer: RawSigner
    protected: bytes = protected_header(Algorithm.ES384)
    unprotected: bytes = EMPTY_MAP
    tagged: bool = False
    external: bytes = b""
    signature: bytes | None = None

    def issue(self) -> bytes:
        """The message."""
        to_be_signed = cbor.encode(("Signature1", self.protected, self.external, self.payload))
        signature = self.signer.sign_raw(to_be_signed) if self.signature is None else self.signature
        parts = (cbor.encode(self.protected), self.unprotected, cbor.encode(self.payload), cbor.encode(signature))
        # Tag and array by hand: the parts are written already, rightly or wrongly.
        return (bytes((0xC0 | TAG_SIGN1,)) if self.tagged else b"") + bytes((0x80 | len(parts),)) + b"".join(parts)
