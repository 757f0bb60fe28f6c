"""A small Arm: one CCA platform with its attestation key (CPAK), and one realm on it with its own (RAK).

    arm = SmallArm.create(at=1_780_000_000)
    evidence = arm.evidence(challenge, personalization_value)
    roots = Roots.only_software(arm.roots().values())

Tokens have the layout of Arm's legacy profile or of that of 2023, each half its own. The platform's challenge is made
from the realm's claims as they have become, so that only an alteration of the platform's claims breaks the binding:

    arm.altered(platform_claims=lambda claims: replace(claims, lifecycle=0x5000))
    arm.altered(realm=lambda message: replace(message, signer=somebody))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, TypeVar, Unpack

from verifier.errors import SetupError
from verifier.evidence import Evidence, Tee
from verifier.formats import cbor, cose_key
from verifier.formats.cbor import Tagged
from verifier.formats.cca_token import (
    CHALLENGE_SIZE,
    PERSONALIZATION_SIZE,
    PLATFORM,
    REALM,
    TAG_COLLECTION,
    PlatformClaims,
    PlatformProfile,
    RealmClaims,
    RealmProfile,
    SoftwareComponent,
)
from verifier.formats.cose import Algorithm
from verifier.formats.cose_key import EcPoint
from verifier.formats.strict import base64url
from verifier.software_tee.certificates import Alteration, composed, unchanged
from verifier.software_tee.cose import Message, protected_header
from verifier.software_tee.keys import EcKey, KeyRing

T = TypeVar("T")

SECURED = 0x3003

_HASHES = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}
_ALGORITHMS = {"secp256r1": Algorithm.ES256, "secp384r1": Algorithm.ES384}
_JWK_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384"}


class ArmAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    platform_claims: Alteration[PlatformClaims]
    realm_claims: Alteration[RealmClaims]
    platform: Alteration[Message]
    realm: Alteration[Message]


def _measured(name: str) -> SoftwareComponent:
    digest = hashlib.sha256(f"software {name}".encode()).digest()
    return SoftwareComponent(measurement_type=name, measurement_value=digest, version="1.0.0", hash_algo_id="sha-256",
                             signer_id=hashlib.sha256(b"software signer").digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class CcaPlatform:
    """One platform. small_key: its CPAK is on P-256 instead of P-384."""

    profile: PlatformProfile = PlatformProfile.V2023
    implementation_id: bytes = hashlib.sha256(b"software CCA implementation").digest()
    instance_id: bytes = b"\x01" + hashlib.sha256(b"software CCA instance").digest()
    config: bytes = b"\xcf\xcf\xcf\xcf"
    lifecycle: int = SECURED
    hash_algo_id: str = "sha-256"
    components: tuple[SoftwareComponent, ...] = (_measured("RSE_BL2"), _measured("AP_BL31"), _measured("RMM"))
    verification_service: str | None = "https://software-tee.invalid/verify"
    small_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Realm:
    """What runs. profile: None writes the legacy layout. rak_hash: how the realm's key is bound to the platform."""

    profile: RealmProfile | None = RealmProfile.V2023
    hash_algo_id: str = "sha-256"
    initial_measurement: bytes = hashlib.sha256(b"software realm").digest()
    extensible_measurements: tuple[bytes, ...] = (bytes(32),) * 4
    rak_hash: str = "sha-256"


@dataclass(frozen=True)
class SmallArm:
    """A maker with one platform and one realm. ``issued`` is kept for its fellows' sake: nothing here has dates."""

    keys: KeyRing = field(repr=False)
    issued: int
    platform: CcaPlatform = field(default_factory=CcaPlatform)
    realm: Realm = field(default_factory=Realm)
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int) -> SmallArm:
        """A maker; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at)

    def altered(self, **alterations: Unpack[ArmAlterations]) -> SmallArm:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=composed(self.alterations, alterations))

    def on(self, platform: CcaPlatform | None = None, realm: Realm | None = None) -> SmallArm:
        """This maker with another platform, another realm, or both."""
        return replace(self, platform=platform or self.platform, realm=realm or self.realm)

    # -- keys ----------------------------------------------------------------------------------------------------------

    @property
    def cpak(self) -> EcKey:
        """The platform's attestation key."""
        return self.keys.p256("arm/cpak-p256") if self.platform.small_key else self.keys.p384("arm/cpak")

    @property
    def rak(self) -> EcKey:
        """The realm's attestation key."""
        return self.keys.p384("arm/rak")

    def cpak_jwk(self, *, named: bool) -> bytes:
        """The CPAK as JWK; ``named`` adds of which platform it is."""
        told: dict[str, str] = jwk(self.cpak)
        if named:
            told |= {"implementation_id": self.platform.implementation_id.hex(),
                     "instance_id": self.platform.instance_id.hex()}
        return (json.dumps(told, indent=2) + "\n").encode()

    # -- tokens --------------------------------------------------------------------------------------------------------

    def realm_claims(self, challenge: bytes, personalization_value: bytes) -> RealmClaims:
        """The realm's half, altered."""
        realm, point = self.realm, EcPoint("secp384r1", b"\x04" + self.rak.public_xy)
        return self._alter("realm_claims", RealmClaims(
            profile=realm.profile, challenge=challenge, personalization_value=personalization_value,
            hash_algo_id=realm.hash_algo_id,
            public_key=point.encoded if realm.profile is None else cose_key.write(point),
            public_key_hash_algo_id=realm.rak_hash, initial_measurement=realm.initial_measurement,
            extensible_measurements=realm.extensible_measurements))

    def platform_claims(self, realm: RealmClaims) -> PlatformClaims:
        """The platform's half for that realm's key, altered. A hash that nobody knows is taken for SHA-256."""
        platform, hasher = self.platform, _HASHES.get(realm.public_key_hash_algo_id, hashlib.sha256)
        return self._alter("platform_claims", PlatformClaims(
            profile=platform.profile, challenge=hasher(realm.public_key).digest(),
            implementation_id=platform.implementation_id, instance_id=platform.instance_id, config=platform.config,
            lifecycle=platform.lifecycle, hash_algo_id=platform.hash_algo_id, sw_components=platform.components,
            verification_service=platform.verification_service))

    def halves(self, challenge: bytes, personalization_value: bytes) -> tuple[bytes, bytes]:
        """Both signed messages: platform, realm."""
        realm = self.realm_claims(challenge, personalization_value)
        platform = self.platform_claims(realm)
        return self._message("platform", platform.to_bytes(), self.cpak), self._message(
            "realm", realm.to_bytes(), self.rak)

    def _message(self, name: str, payload: bytes, signer: EcKey) -> bytes:
        header = protected_header(_ALGORITHMS[signer.private.curve.name])
        return self._alter(name, Message(payload=payload, signer=signer, protected=header, tagged=True)).issue()

    def token(self, challenge: bytes, personalization_value: bytes = bytes(PERSONALIZATION_SIZE)) -> bytes:
        """Both halves in their collection."""
        return collection(*self.halves(challenge, personalization_value))

    def evidence(self, report_data: bytes, init_data: bytes = bytes(PERSONALIZATION_SIZE)) -> Evidence:
        """A token with ``report_data`` as challenge and ``init_data`` as personalization value, 64 bytes each."""
        for name, value, size in (("report_data", report_data, CHALLENGE_SIZE),
                                  ("init_data", init_data, PERSONALIZATION_SIZE)):
            if len(value) != size:
                raise SetupError(f"software_tee.{name}", f"{name} has the wrong length", expected=f"{size} bytes",
                                 got=f"{len(value)} bytes")
        return Evidence(Tee.CCA, self.token(report_data, init_data))

    def roots(self) -> dict[str, bytes]:
        """What a verifier must be told to trust: file names and contents."""
        return {"arm-cpak.json": self.cpak_jwk(named=True)}

    def collateral_files(self) -> dict[str, bytes]:
        """The CPAK as people lay it beside a token; it proves nothing."""
        return {"cpak.jwk.json": self.cpak_jwk(named=False)}

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, unchanged)(artefact)
        return altered


def collection(platform: bytes, realm: bytes) -> bytes:
    """A token of two messages, whosever they are."""
    return cbor.encode(Tagged(TAG_COLLECTION, {PLATFORM: platform, REALM: realm}))


def jwk(key: EcKey) -> dict[str, str]:
    """The public half (RFC 7518 section 6.2.1)."""
    half = len(key.public_xy) // 2
    x, y = (base64url(part) for part in (key.public_xy[:half], key.public_xy[half:]))
    return {"kty": "EC", "crv": _JWK_CURVES[key.private.curve.name], "x": x, "y": y}
