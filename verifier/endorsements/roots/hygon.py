"""Hygon's root, which is not X.509: the HRK, an SM2 key in a structure of Hygon's own.

The maker's is pinned by key id, name and public key; a configured one is read from its certificate, which must sign
itself. Neither has dates.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from cryptography.exceptions import InvalidSignature

from verifier.endorsements.sm2 import Sm2PublicKey
from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.hygon_cert import CA_SIZE, CaCertificate, Usage, resembles_ca


@dataclass(frozen=True, slots=True)
class HygonRoot:
    """One HRK. maker: ``hygon``; None for one added by configuration, which is then ``software``.

    key_id: 16 bytes, which an HSK names. user_id: the name that goes into its signatures (Z_A of GB/T 32918.2).
    sha256_certificate: of the 832 bytes. sha256_public_key: of the SubjectPublicKeyInfo (91 bytes).
    """

    name: str
    maker: str | None
    key_id: bytes
    user_id: bytes
    sha256_certificate: bytes
    sha256_public_key: bytes
    public_key: Sm2PublicKey = field(repr=False)
    published: str | None = None

    @property
    def software(self) -> bool:
        """True unless the maker's key is pinned here."""
        return self.maker is None


def is_hygon(data: bytes) -> bool:
    """Whether ``data`` looks like an HRK's certificate rather than an X.509 certificate or a key file."""
    return len(data) == CA_SIZE and resembles_ca(data)


@cache
def shipped() -> tuple[HygonRoot, ...]:
    """Hygon's own."""
    text = resources.files(__package__).joinpath("hygon.json").read_text("utf-8")
    return tuple(_from_row(row) for row in json.loads(text))


def _from_row(row: dict[str, str]) -> HygonRoot:
    spki = base64.b64decode(row["public_key"])
    if hashlib.sha256(spki).hexdigest() != row["sha256_public_key"]:
        raise SetupError("roots.shipped", f"the shipped anchor {row['name']} does not match its own hash")
    return HygonRoot(
        name=row["name"], maker=row["maker"], key_id=bytes.fromhex(row["key_id"]), user_id=row["user_id"].encode(),
        sha256_certificate=bytes.fromhex(row["sha256_certificate"]),
        sha256_public_key=bytes.fromhex(row["sha256_public_key"]), public_key=Sm2PublicKey.from_spki(spki),
        published=row["published"],
    )


def extended(roots: tuple[HygonRoot, ...], certificates: Iterable[bytes]) -> tuple[HygonRoot, ...]:
    """``roots`` and, of the given HRKs, those that are not among them. Raises `SetupError`."""
    found = {root.sha256_certificate: root for root in roots}
    for data in certificates:
        root = from_certificate(data)
        found.setdefault(root.sha256_certificate, root)
    return tuple(found.values())


def from_certificate(data: bytes) -> HygonRoot:
    """A configured root. Raises `SetupError` unless it is an HRK's certificate that signs itself."""
    try:
        certificate = CaCertificate.from_bytes(data)
        x, y, r, s = (int.from_bytes(value, "little") for value in (
            certificate.x, certificate.y, certificate.signature_r, certificate.signature_s))
        key = Sm2PublicKey(x, y)
        key.verify(r, s, certificate.signed_bytes, certificate.user_id)
    except (MalformedEvidence, ValueError, InvalidSignature) as error:
        raise SetupError("roots.self_signed", "a root must sign itself", got=type(error).__name__) from None
    if certificate.usage != Usage.HRK or certificate.signer_key_id != certificate.key_id or any(certificate.reserved):
        raise SetupError("roots.self_signed", "a root must be an HRK that names itself as its issuer",
                         expected=[hex(Usage.HRK), certificate.key_id],
                         got=[hex(certificate.usage), certificate.signer_key_id])
    return HygonRoot(
        name=f"configured:{certificate.key_id.hex()}", maker=None, key_id=certificate.key_id,
        user_id=certificate.user_id, sha256_certificate=hashlib.sha256(data).digest(),
        sha256_public_key=hashlib.sha256(key.spki).digest(), public_key=key)
