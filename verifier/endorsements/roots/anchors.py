"""Pinned anchors as values."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property
from importlib import resources

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from verifier.endorsements.chain import public_key_of, read_certificates
from verifier.endorsements.roots import hygon
from verifier.endorsements.roots.hygon import HygonRoot
from verifier.endorsements.roots.keys import ProvisionedKey, is_key, read_key
from verifier.endorsements.schemes import PublicKey
from verifier.errors import SetupError


@dataclass(frozen=True, slots=True)
class Anchor:
    """One pinned key.

    maker: ``intel``, ``amd``, ``aws``, ``nvidia``, ``microsoft`` or ``google``; None for a root added by configuration,
    which is then ``software``. role: ``root``; AMD's ``ark``, ``ask``, ``asvk``; NVIDIA's ``rim``, which signs
    reference values; Microsoft's ``intermediate``. product: AMD's product line (``Milan`` …), else None.
    not_before / not_after: Unix seconds, both inclusive. public_key: the loaded key.
    """

    name: str
    maker: str | None
    role: str
    product: str | None
    subject: str
    serial: int
    not_before: int
    not_after: int
    sha256_certificate: bytes
    sha256_public_key: bytes
    public_key: PublicKey = field(repr=False, compare=False)
    published: str | None = None
    certificate: x509.Certificate | None = field(default=None, repr=False, compare=False)

    @property
    def software(self) -> bool:
        """True unless a hardware maker's key is pinned here."""
        return self.maker is None


@dataclass(frozen=True)
class Roots:
    """The anchors that one verifier trusts. Made by `makers`, extended only by `with_software` and `with_provisioned`.

    keys: what is trusted without a certificate. hygon: roots that are not X.509. insecure_sample: True lets unsigned
    sample evidence through, marked ``software``.
    """

    anchors: tuple[Anchor, ...]
    insecure_sample: bool = False
    keys: tuple[ProvisionedKey, ...] = ()
    hygon: tuple[HygonRoot, ...] = ()

    @classmethod
    def makers(cls) -> Roots:
        """Every maker's, as shipped."""
        return cls(_shipped(), hygon=hygon.shipped())

    @classmethod
    def only_software(cls, certificates: Iterable[bytes]) -> Roots:
        """No maker at all: just the given roots (PEM, possibly several per item, or DER)."""
        return cls(()).with_software(certificates)

    def with_software(self, certificates: Iterable[bytes]) -> Roots:
        """These and the given self-signed roots (Hygon's too) or bare keys, marked ``software``.

        Raises `SetupError` when an item holds no certificate or one that does not sign itself.
        """
        items = tuple(certificates)
        known = {anchor.sha256_certificate for anchor in self.anchors}
        given = {anchor.sha256_certificate: anchor for item in items if not (is_key(item) or hygon.is_hygon(item))
                 for anchor in _from_file(item)}
        added = tuple(anchor for digest, anchor in given.items() if digest not in known)
        keys = tuple(read_key(item, software=True) for item in items if is_key(item))
        return replace(self, anchors=self.anchors + added, keys=self.keys + keys,
                       hygon=hygon.extended(self.hygon, filter(hygon.is_hygon, items)))

    def with_provisioned(self, keys: Iterable[bytes]) -> Roots:
        """These, and the given attestation keys of machines whose maker publishes no root (CCA, bare TPMs).

        Whoever calls this says that hardware holds these keys: nothing else does, and results are not marked
        ``software``. Raises `SetupError` for what is no key.
        """
        return replace(self, keys=self.keys + tuple(read_key(item, software=False) for item in keys))

    def with_insecure_sample(self) -> Roots:
        """These, and unsigned sample evidence is let through. For clients under test, where there is no TEE."""
        return replace(self, insecure_sample=True)

    def by_certificate(self, der: bytes, maker: str) -> Anchor | None:
        """The anchor whose whole certificate is ``der``, among ``maker``'s and the software roots."""
        digest = hashlib.sha256(der).digest()
        for anchor in self.anchors:
            if anchor.sha256_certificate == digest and anchor.maker in (maker, None):
                return anchor
        return None

    def key(self, sha256_public_key: bytes) -> ProvisionedKey | None:
        """The key of that name among those that are trusted without a certificate; software ones come last."""
        return next((key for key in sorted(self.keys, key=lambda key: key.software)
                     if key.sha256_public_key == sha256_public_key), None)

    def of_role(self, maker: str, role: str, product: str) -> Anchor | None:
        """The maker's own pinned anchor for a role of a product line, or None."""
        for anchor in self.anchors:
            if (anchor.maker, anchor.role, anchor.product) == (maker, role, product):
                return anchor
        return None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over each anchor's certificate hash and what it is trusted as: the name of this set of anchors."""
        return hashlib.sha256(b"".join(
            f"{anchor.maker}|{anchor.role}|{anchor.product}|".encode() + anchor.sha256_certificate
            for anchor in self.anchors) + b"".join(
            f"|key|{key.software}|{key.implementation_id!r}|{key.instance_id!r}|".encode() + key.sha256_public_key
            for key in self.keys) + b"".join(
            f"|hygon|{root.maker}|".encode() + root.sha256_certificate for root in self.hygon)).digest()


@cache
def _shipped() -> tuple[Anchor, ...]:
    text = resources.files(__package__).joinpath("anchors.json").read_text("utf-8")
    return tuple(_from_row(row) for row in json.loads(text))


def _from_row(row: dict[str, str]) -> Anchor:
    spki = base64.b64decode(row["public_key"])
    if hashlib.sha256(spki).hexdigest() != row["sha256_public_key"]:
        raise SetupError("roots.shipped", f"the shipped anchor {row['name']} does not match its own hash")
    key = load_der_public_key(spki)
    return Anchor(
        name=row["name"], maker=row["maker"], role=row["role"], product=row["product"], subject=row["subject"],
        serial=int(row["serial"], 16), not_before=_unix(row["not_before"]), not_after=_unix(row["not_after"]),
        sha256_certificate=bytes.fromhex(row["sha256_certificate"]),
        sha256_public_key=bytes.fromhex(row["sha256_public_key"]),
        public_key=public_key_of(key), published=row["published"],
    )


def _unix(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _from_file(data: bytes) -> list[Anchor]:
    certificates = read_certificates(data, "roots")
    if not certificates:
        raise SetupError("roots.empty", "the roots file holds no certificate")
    return [_from_certificate(certificate) for certificate in certificates]


def _from_certificate(certificate: x509.Certificate) -> Anchor:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, Exception) as error:  # noqa: BLE001 - any failure means "not self-signed"
        raise SetupError("roots.self_signed", "a root must sign itself", got=type(error).__name__) from None
    key = public_key_of(certificate.public_key())
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Anchor(
        name=f"configured:{certificate.subject.rfc4514_string()}", maker=None, role="root", product=None,
        subject=certificate.subject.rfc4514_string(), serial=certificate.serial_number,
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        sha256_certificate=hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest(),
        sha256_public_key=hashlib.sha256(spki).digest(), public_key=key, certificate=certificate,
    )
