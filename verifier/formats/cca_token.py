"""The attestation token of an Arm CCA realm: two signed halves in one collection.

    399({44234: bstr(COSE_Sign1 of platform claims), 44241: bstr(COSE_Sign1 of realm claims)})

Each half names its profile, and each is read by its own: the halves of one token may follow different ones. The legacy
profile has no name in the realm's half and gives the realm's key as a bare point, the profile of 2023 has one and gives
a COSE_Key. Claims outside the profile are refused. Source: Arm "Realm Management Monitor specification" (DEN0137),
section A7.2, and draft-ffm-rats-cca-token-00.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from verifier.errors import UnsupportedEvidence
from verifier.formats import cbor
from verifier.formats.cbor import Members, Tagged
from verifier.formats.cose import CoseSign1

WHAT = "cca_token"
TAG_COLLECTION, PLATFORM, REALM = 399, 44234, 44241
MAX_SIZE = 64 * 1024
MAX_COMPONENTS = 64

HASH_SIZES = (32, 48, 64)
IMPLEMENTATION_ID_SIZE, INSTANCE_ID_SIZE = 32, 33
CHALLENGE_SIZE, PERSONALIZATION_SIZE, REM_COUNT = 64, 64, 4
UEID_RANDOM = 0x01
RAK_POINT_SIZE = 97

# Claim keys (DEN0137 A7.2; IANA "CBOR Web Token Claims").
_CHALLENGE, _INSTANCE_ID, _PROFILE = 10, 256, 265
_LIFECYCLE, _IMPLEMENTATION_ID, _COMPONENTS, _SERVICE, _CONFIG, _HASH = 2395, 2396, 2399, 2400, 2401, 2402
_PERSONALIZATION, _REALM_HASH, _RAK, _RIM, _REMS, _RAK_HASH = 44235, 44236, 44237, 44238, 44239, 44240

_STATES = {
    0x00: "unknown", 0x10: "assembly-and-test", 0x20: "cca-platform-rot-provisioning", 0x30: "secured",
    0x40: "non-cca-platform-rot-debug", 0x50: "recoverable-cca-platform-rot-debug", 0x60: "decommissioned",
}


class PlatformProfile(StrEnum):
    """How a platform's half is laid out. Both have the same claims."""

    LEGACY = "http://arm.com/CCA-SSD/1.0.0"
    V2023 = "tag:arm.com,2023:cca_platform#1.0.0"


class RealmProfile(StrEnum):
    """How a realm's half is laid out; a half without a profile is legacy."""

    V2023 = "tag:arm.com,2023:realm#1.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareComponent:
    """One measured part of the platform. measurement_value and signer_id: 32, 48 or 64 bytes; the rest may be None."""

    measurement_value: bytes
    signer_id: bytes
    measurement_type: str | None = None
    version: str | None = None
    hash_algo_id: str | None = None

    @classmethod
    def from_value(cls, value: object) -> SoftwareComponent:
        """From a decoded map. Raises `MalformedEvidence`."""
        members = Members(value, WHAT)
        component = cls(
            measurement_type=members.text_if_any(1, "measurement type", 64),
            measurement_value=members.octets(2, "measurement value", HASH_SIZES),
            version=members.text_if_any(4, "version", 64), signer_id=members.octets(5, "signer id", HASH_SIZES),
            hash_algo_id=members.text_if_any(6, "component's hash algorithm", 16))
        members.end()
        return component

    def to_value(self) -> dict[int, Any]:
        """The map, members that are None left out."""
        return _present({1: self.measurement_type, 2: self.measurement_value, 4: self.version, 5: self.signer_id,
                         6: self.hash_algo_id})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformClaims:
    """What the platform's root of trust says.

    challenge: 32, 48 or 64 bytes, a hash of the realm's key. implementation_id: 32 bytes, the kind of platform.
    instance_id: 33 bytes, a UEID (first byte 1), this very platform. config: up to 1024 bytes. lifecycle: 16 bits.
    hash_algo_id: of components that do not name their own. verification_service: an address, None where there is none.
    """

    profile: PlatformProfile
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    hash_algo_id: str
    sw_components: tuple[SoftwareComponent, ...]
    verification_service: str | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> PlatformClaims:
        """Exactly one map of claims. Raises `EvidenceError`."""
        members = Members(cbor.decode(data, WHAT, max_size=MAX_SIZE), WHAT)
        claims = cls(
            profile=_profile(members, PlatformProfile),
            challenge=members.octets(_CHALLENGE, "platform challenge", HASH_SIZES),
            implementation_id=members.octets(_IMPLEMENTATION_ID, "implementation id", (IMPLEMENTATION_ID_SIZE,)),
            instance_id=members.octets(_INSTANCE_ID, "instance id", (INSTANCE_ID_SIZE,)),
            config=members.octets(_CONFIG, "platform config", range(1025)),
            lifecycle=members.unsigned(_LIFECYCLE, "lifecycle", 16),
            hash_algo_id=members.text(_HASH, "platform hash algorithm", 16),
            sw_components=tuple(map(SoftwareComponent.from_value, members.array(
                _COMPONENTS, "software components", range(1, MAX_COMPONENTS + 1)))),
            verification_service=members.text_if_any(_SERVICE, "verification service", 1024))
        members.end()
        if claims.instance_id[0] != UEID_RANDOM:
            members.malformed("the instance id is no UEID of the random kind", expected=UEID_RANDOM,
                              got=claims.instance_id[0])
        return claims

    def to_bytes(self) -> bytes:
        """The map as platforms write it."""
        return cbor.encode(_present({
            _PROFILE: str(self.profile), _CHALLENGE: self.challenge, _IMPLEMENTATION_ID: self.implementation_id,
            _INSTANCE_ID: self.instance_id, _CONFIG: self.config, _LIFECYCLE: self.lifecycle, _HASH: self.hash_algo_id,
            _COMPONENTS: tuple(component.to_value() for component in self.sw_components),
            _SERVICE: self.verification_service}))

    @property
    def lifecycle_name(self) -> str:
        """The state by Arm's name; ``invalid`` for a number that is in no state's range."""
        return _STATES.get(self.lifecycle >> 8, "invalid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmClaims:
    """What the realm management monitor says of one realm.

    challenge: 64 bytes, the caller's. personalization_value: 64 bytes (RPV), set by whoever made the realm.
    initial_measurement (RIM) and the four extensible_measurements (REM): 32, 48 or 64 bytes. public_key: the realm's
    attestation key (RAK) as the claim holds it: a bare point (04 || x || y on P-384, 97 bytes) without a profile, else
    a COSE_Key. public_key_hash_algo_id: how that content is hashed into the platform's challenge.
    """

    profile: RealmProfile | None
    challenge: bytes
    personalization_value: bytes
    hash_algo_id: str
    public_key: bytes
    public_key_hash_algo_id: str
    initial_measurement: bytes
    extensible_measurements: tuple[bytes, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> RealmClaims:
        """Exactly one map of claims; the key is read by `cose_key`. Raises `EvidenceError`."""
        value = cbor.decode(data, WHAT, max_size=MAX_SIZE)
        members = Members(value, WHAT)
        profile = _profile(members, RealmProfile) if _PROFILE in value else None
        sizes = (RAK_POINT_SIZE,) if profile is None else range(1, 257)
        rems = members.array(_REMS, "extensible measurements", (REM_COUNT,))
        claims = cls(
            profile=profile, challenge=members.octets(_CHALLENGE, "realm challenge", (CHALLENGE_SIZE,)),
            personalization_value=members.octets(_PERSONALIZATION, "personalization value", (PERSONALIZATION_SIZE,)),
            hash_algo_id=members.text(_REALM_HASH, "realm hash algorithm", 16),
            public_key=members.octets(_RAK, "realm public key", sizes),
            public_key_hash_algo_id=members.text(_RAK_HASH, "realm public key hash algorithm", 16),
            initial_measurement=members.octets(_RIM, "initial measurement", HASH_SIZES),
            extensible_measurements=tuple(_measurement(members, rem) for rem in rems))
        members.end()
        return claims

    def to_bytes(self) -> bytes:
        """The map as monitors write it."""
        return cbor.encode(_present({
            _PROFILE: None if self.profile is None else str(self.profile), _CHALLENGE: self.challenge,
            _PERSONALIZATION: self.personalization_value, _RAK: self.public_key, _REALM_HASH: self.hash_algo_id,
            _RAK_HASH: self.public_key_hash_algo_id, _RIM: self.initial_measurement,
            _REMS: self.extensible_measurements}))


@dataclass(frozen=True, slots=True)
class CcaToken:
    """Both halves, nothing verified: the signed messages and what their payloads say."""

    platform: CoseSign1
    realm: CoseSign1
    platform_claims: PlatformClaims
    realm_claims: RealmClaims

    @classmethod
    def from_bytes(cls, data: bytes) -> CcaToken:
        """Exactly one token. Raises `EvidenceError`."""
        value = cbor.decode(data, WHAT, max_size=MAX_SIZE, tags=(TAG_COLLECTION,))
        members = Members(value.value if isinstance(value, Tagged) else None, WHAT)
        platform, realm = (
            CoseSign1.from_bytes(members.octets(key, name, range(1, MAX_SIZE)), WHAT, must_be_tagged=True)
            for key, name in ((PLATFORM, "platform token"), (REALM, "realm token")))
        members.end()
        return cls(platform, realm, PlatformClaims.from_bytes(platform.payload), RealmClaims.from_bytes(realm.payload))

    def to_bytes(self) -> bytes:
        """The collection of the two messages; their payloads are the bytes that were signed."""
        return cbor.encode(Tagged(TAG_COLLECTION, {PLATFORM: self.platform.to_bytes(), REALM: self.realm.to_bytes()}))


def _profile(members: Members, known: Callable[[str], Any]) -> Any:
    name = members.text(_PROFILE, "profile", 128)
    try:
        return known(name)
    except ValueError:
        raise UnsupportedEvidence(f"format.{WHAT}.profile", "a profile that is not known here", got=name) from None


def _measurement(members: Members, value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) not in HASH_SIZES:
        members.malformed("an extensible measurement is no hash", expected=f"{HASH_SIZES} bytes",
                          got=type(value).__name__)
    return value


def _present(claims: dict[int, Any]) -> dict[int, Any]:
    return {key: value for key, value in claims.items() if value is not None}
