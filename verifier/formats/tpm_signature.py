"""TPMT_SIGNATURE: scheme, hash, and an RSA number or a pair (r, s).

Big-endian. Source: TCG TPM 2.0 Library part 2, section 11.3.4. Some clients send the RSA number alone, which names
neither scheme nor hash; those of Azure's vTPM mean RSASSA with SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from verifier.errors import UnsupportedEvidence
from verifier.formats.reader import Reader
from verifier.formats.tpm import HashAlg, hash_alg, sized, to_sized

MAX_RSA_BYTES = 512


class SignatureScheme(IntEnum):
    """TPM_ALG_ID of the schemes that attestation keys use (section 6.3)."""

    RSASSA = 0x0014
    RSAPSS = 0x0016
    ECDSA = 0x0018


@dataclass(frozen=True, slots=True)
class TpmSignature:
    """One signature. ``parts``: the RSA number (as long as the modulus), or r and s (big-endian, at most as long as the
    curve's order: a TPM may leave leading zeros out)."""

    scheme: SignatureScheme
    hash: HashAlg
    parts: tuple[bytes, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> TpmSignature:
        """The whole of ``data``. Raises `MalformedEvidence`; `UnsupportedEvidence` for another scheme or hash."""
        reader = Reader(data, "tpmt_signature", order="big")
        number = reader.uint(2, "signature scheme")
        if number not in (*SignatureScheme,):
            raise UnsupportedEvidence("tpm.signature.scheme", "no attestation key signs like this",
                                      expected=[hex(scheme) for scheme in SignatureScheme], got=hex(number))
        scheme = SignatureScheme(number)
        digest = hash_alg(reader.uint(2, "signature hash"), "a signature")
        names = ("r", "s") if scheme is SignatureScheme.ECDSA else ("signature",)
        parts = tuple(sized(reader, name) for name in names)
        reader.end()
        if any(not 0 < len(part) <= MAX_RSA_BYTES for part in parts):
            raise reader.malformed("a signature has an impossible length", got=[len(part) for part in parts])
        return cls(scheme, digest, parts)

    @classmethod
    def raw_rsassa_sha256(cls, signature: bytes) -> TpmSignature:
        """The RSA number alone, as clients of Azure's vTPM send it."""
        return cls(SignatureScheme.RSASSA, HashAlg.SHA256, (signature,))

    def to_bytes(self) -> bytes:
        """As on the wire."""
        return (self.scheme.to_bytes(2, "big") + self.hash.to_bytes(2, "big")
                + b"".join(to_sized(part) for part in self.parts))
