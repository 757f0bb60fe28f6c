"""Nitro documents and CCA tokens of small makers, and all that a verdict on them depends on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import ArmCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.nitro_document import NitroDocument
from verifier.results.verdict import Verdict
from verifier.software_tee.arm import CcaPlatform, Realm, SmallArm
from verifier.software_tee.aws import SmallAws
from verifier.verify import verify

AT = 1_780_000_000
UNBOUND = Binding.insecure_unbound()
NONCE, CHALLENGE, RPV = bytes(range(32)), bytes(range(64)), bytes(range(64, 128))

AWS = SmallAws.create(b"the small AWS of these tests", at=AT)
OTHER_AWS = SmallAws.create(b"another AWS with the same names", at=AT)
ARM = SmallArm.create(b"the small Arm of these tests", at=AT)
OTHER_ARM = SmallArm.create(b"another Arm of the same platform", at=AT)


@cache
def roots_of(*files: bytes) -> Roots:
    return Roots.only_software(files)


@dataclass(frozen=True)
class NitroCase:
    """One document; each method gives a case that differs. raw: the bytes; None has ``maker`` sign ``body``."""

    maker: SmallAws = AWS
    fields: dict[str, Any] = field(default_factory=lambda: {"nonce": NONCE})
    raw: bytes | None = None
    roots: Roots | None = None
    at: int = AT + 10
    binding: Binding = UNBOUND
    expectations: Expectations | None = None
    tee: Tee = Tee.NITRO

    def altered(self, **alterations: Any) -> NitroCase:
        return replace(self, maker=self.maker.altered(**alterations))

    def says(self, **fields: Any) -> NitroCase:
        return replace(self, fields=self.fields | fields)

    def payload(self, change: Any) -> NitroCase:
        """The document's bytes changed before they are signed."""
        return self.altered(document=lambda m: replace(m, payload=change(m.payload)))

    @property
    def body(self) -> NitroDocument:
        return replace(self.maker.body(), **self.fields)

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.tee, self.maker.document(self.body) if self.raw is None else self.raw)

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        roots = roots_of(AWS.certificate("root")) if self.roots is None else self.roots
        return verify(self.evidence, collateral=Collateral.none(), roots=roots, at=self.at, binding=self.binding,
                      expectations=self.expectations, prepared=prepared)


@dataclass(frozen=True)
class CcaCase:
    """One token. cpaks: laid beside it. roots: None trusts the unaltered maker's key for its platform."""

    maker: SmallArm = ARM
    raw: bytes | None = None
    cpaks: tuple[bytes, ...] = ()
    roots: Roots | None = None
    at: int = AT + 10
    binding: Binding = UNBOUND
    expectations: Expectations | None = None
    challenge: bytes = CHALLENGE
    tee: Tee = Tee.CCA

    def altered(self, **alterations: Any) -> CcaCase:
        return replace(self, maker=self.maker.altered(**alterations))

    def on(self, platform: CcaPlatform | None = None, realm: Realm | None = None) -> CcaCase:
        return replace(self, maker=self.maker.on(platform, realm))

    def realm_says(self, **fields: Any) -> CcaCase:
        return self.altered(realm_claims=lambda c: replace(c, **fields))

    def platform_says(self, **fields: Any) -> CcaCase:
        return self.altered(platform_claims=lambda c: replace(c, **fields))

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.tee, self.maker.token(self.challenge, RPV) if self.raw is None else self.raw)

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        roots = roots_of(ARM.cpak_jwk(named=True)) if self.roots is None else self.roots
        collateral = Collateral(arm=ArmCollateral(self.cpaks)) if self.cpaks else Collateral.none()
        return verify(self.evidence, collateral=collateral, roots=roots, at=self.at, binding=self.binding,
                      expectations=self.expectations, prepared=prepared)


class Es512Signer:
    """A P-521 key, which no small maker has."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self.private = ec.generate_private_key(ec.SECP521R1())

    def sign_raw(self, message: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA512())))
        return r.to_bytes(66, "big") + s.to_bytes(66, "big")
