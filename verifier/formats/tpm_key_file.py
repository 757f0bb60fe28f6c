"""A public key as people keep it in a file: PEM or DER (SubjectPublicKeyInfo), TPMT_PUBLIC, or TPM2B_PUBLIC."""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from verifier.errors import EvidenceError, MalformedEvidence
from verifier.formats.tpm_public import TpmPublic

_PEM = b"-----BEGIN"
_DER = b"\x30"  # no public area begins like this: its type is below 0x0100, its length below 0x3000


class KeyFile(NamedTuple):
    """The key; area: TPMT_PUBLIC, None where the file holds the bare key."""

    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
    area: bytes | None

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_key_file(data: bytes) -> KeyFile:
    """Told by the first bytes. Raises `EvidenceError`."""
    if not data.lstrip().startswith(_PEM) and data[:1] != _DER:
        area = _area(data)
        return KeyFile(area.public_key(), area.to_bytes())
    try:
        key = load_der_public_key(data) if data[:1] == _DER else load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise malformed("not a public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise malformed("neither an RSA nor an EC key")
    return KeyFile(key, None)


def read_spki(data: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """From SubjectPublicKeyInfo, in the one encoding that DER has. Raises `MalformedEvidence`."""
    if data[:1] != _DER:
        raise malformed("not DER")
    found = read_key_file(data)
    if found.spki != data:
        raise malformed("not the key's own encoding")
    return found.key


def malformed(detail: str) -> MalformedEvidence:
    """An error about a key."""
    return MalformedEvidence("format.tpm_key", detail)


def _area(data: bytes) -> TpmPublic:
    try:
        return TpmPublic.from_bytes(data)
    except EvidenceError:
        return TpmPublic.from_sized(data)
