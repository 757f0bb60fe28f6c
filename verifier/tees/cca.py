"""Arm CCA: the token of a realm, whose platform vouches for the realm's key, which signs for the realm.

    1  a key that somebody vouches for (CPAK) signed the platform's half      platform.cpak, platform.signature
    2  the platform is in a state in which that means something               platform.lifecycle
    3  the realm's key (RAK) is a key, and signed the realm's half            realm.public_key, realm.signature
    4  the platform's half speaks of that very key                            platform.challenge

Nothing in a token has dates: what verifies does so for ever, and freshness is the challenge. `Claims.report_data` is
the realm's challenge (64 bytes), `Claims.init_data` the personalization value (RPV, 64 bytes).

Lifecycle: ``secured`` is what a platform in use says. In ``non-cca-platform-rot-debug`` only parts outside the CCA
platform can be debugged, so the token is authentic and carries the flag ``CCA_NOT_SECURED``. In every other state
somebody may have been where the keys are, and the token is refused.

Trust in the CPAK: ``cpak_trust`` is ``provisioned`` for a key in `Roots`, and ``unproven`` for one that only lay beside
the token; then the flag is ``CPAK_UNPROVEN`` and the evidence counts as software. With neither, nothing is decided.

A platform signs its half once per boot, so the outcome of steps 1 and 2 is kept under its bytes. Source: Arm "Realm
Management Monitor specification" (DEN0137), section A7; draft-ffm-rats-cca-token-00.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from verifier.checks.cose_signature import check_signature
from verifier.claims import Claims
from verifier.endorsements.arm import Cpak, Trust, candidates
from verifier.endorsements.collateral import ArmCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import ALWAYS, Window
from verifier.errors import CheckFailed, MissingCollateral
from verifier.evidence import Evidence, Tee
from verifier.formats import cose_key
from verifier.formats.cca_token import WHAT, CcaToken, PlatformClaims, RealmClaims, SoftwareComponent
from verifier.formats.cose import CoseSign1
from verifier.formats.cose_key import EcPoint
from verifier.tees.base import Context
from verifier.trail import Check, Trail

# By their names in claim 44240 (IANA "Named Information Hash Algorithm").
HASHES = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}
SECURED, APPLICATION_DEBUG = "secured", "non-cca-platform-rot-debug"

_CURVES: dict[str, ec.EllipticCurve] = {
    curve.name: curve for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())}


@dataclass(frozen=True, slots=True)
class _Platform:
    """Steps 1 and 2: whose key signed the platform's half, and the checks that say so."""

    checks: tuple[Check, ...]
    window: Window
    cpak: Cpak


class CcaRecipe:
    """The recipe for CCA tokens."""

    tee = Tee.CCA

    def parse(self, evidence: Evidence) -> CcaToken:
        """Exactly one collection of two messages, each half by its own profile."""
        return CcaToken.from_bytes(evidence.quote)

    def inspect(self, quote: CcaToken) -> dict[str, Any]:
        """The claims of both halves."""
        return body_claims(quote)

    def verify(self, quote: CcaToken, context: Context) -> Claims:
        """Steps 1 to 4. Raises `MissingCollateral` when there is no key that may be the platform's."""
        trail, realm = context.trail, quote.realm_claims
        platform = _platform(quote, context)
        check_signature(trail, "realm.signature", quote.realm, _realm_key(trail, realm))
        _check_binding(trail, quote.platform_claims, realm)
        cpak = platform.cpak
        return Claims(
            tee=self.tee, body=body_claims(quote),
            endorsement={"cpak_trust": cpak.trust.value, "cpak_sha256": cpak.sha256_public_key},
            software=cpak.software, report_data=realm.challenge, init_data=realm.personalization_value,
            valid_until=platform.window.not_after, flags=_flags(quote.platform_claims, cpak),
        )


def _platform(token: CcaToken, context: Context) -> _Platform:
    trail, arm = context.trail, context.collateral.arm
    name = (trail.prefix, hashlib.sha256(token.platform.to_bytes()).digest(), context.roots.digest,
            arm.digest if arm else None)
    return context.prepared.establish(trail, _Platform, name, context.at,
                                      lambda own: _verify_platform(own, token, context.roots, arm))


def _verify_platform(trail: Trail, token: CcaToken, roots: Roots, supplied: ArmCollateral | None) -> _Platform:
    keys = candidates(token.platform_claims, roots, supplied)
    if not keys:
        raise MissingCollateral("collateral.arm.cpak", "no key of this platform is provisioned, and none was supplied")
    cpak = _choose(keys, token.platform)
    trail.require("platform.cpak", cpak.public_key is not None, "the key must be a point of its curve")
    check_signature(trail, "platform.signature", token.platform, cpak.public_key)
    _check_lifecycle(trail, token.platform_claims)
    return _Platform(trail.own_checks, ALWAYS, cpak)


def _choose(keys: Sequence[Cpak], message: CoseSign1) -> Cpak:
    """The first that signed; the first of all where none did. A hint: whichever it is goes through every rule."""
    return keys[0] if len(keys) == 1 else next((key for key in keys if _signed(key, message)), keys[0])


def _signed(key: Cpak, message: CoseSign1) -> bool:
    try:
        check_signature(Trail("hint"), "signature", message, key.public_key)
    except CheckFailed:
        return False
    return True


def _check_lifecycle(trail: Trail, platform: PlatformClaims) -> None:
    trail.require("platform.lifecycle", platform.lifecycle_name in (SECURED, APPLICATION_DEBUG),
                  "the platform's keys are only good while it is secured", expected=[SECURED, APPLICATION_DEBUG],
                  got=platform.lifecycle_name)


def _realm_key(trail: Trail, realm: RealmClaims) -> ec.EllipticCurvePublicKey:
    """The RAK: a bare P-384 point in the legacy profile, else a COSE_Key."""
    bare = realm.profile is None
    point = EcPoint("secp384r1", realm.public_key) if bare else cose_key.read(realm.public_key, WHAT)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[point.curve], point.encoded)
    except ValueError:
        raise trail.fail("realm.public_key", "not a point of its curve", expected=point.curve) from None
    trail.passed("realm.public_key", got=point.curve)
    return key


def _check_binding(trail: Trail, platform: PlatformClaims, realm: RealmClaims) -> None:
    """The platform's challenge is the hash of the content of the realm's key claim, by the realm's claim 44240."""
    hasher = HASHES.get(realm.public_key_hash_algo_id)
    if hasher is None:
        raise trail.fail("platform.challenge.algorithm", "not a hash that binds a realm's key", expected=[*HASHES],
                         got=realm.public_key_hash_algo_id)
    trail.passed("platform.challenge.algorithm", got=realm.public_key_hash_algo_id)
    trail.equal("platform.challenge", expected=hasher(realm.public_key).digest(), got=platform.challenge,
                detail="the platform must vouch for the key that signed for the realm")


def body_claims(token: CcaToken) -> dict[str, Any]:
    """Both halves under ``platform`` and ``realm``, names as in Arm's specification; what is absent is None."""
    return {"platform": _platform_claims(token.platform_claims), "realm": _realm_claims(token.realm_claims)}


def _platform_claims(claims: PlatformClaims) -> dict[str, Any]:
    return {
        "profile": claims.profile.value, "challenge": claims.challenge,
        "implementation_id": claims.implementation_id, "instance_id": claims.instance_id, "config": claims.config,
        "lifecycle": hex(claims.lifecycle), "lifecycle_name": claims.lifecycle_name,
        "sw_components": tuple(_component(component) for component in claims.sw_components),
        "verification_service": claims.verification_service, "hash_algo_id": claims.hash_algo_id,
    }


def _component(component: SoftwareComponent) -> dict[str, Any]:
    names = ("measurement_type", "signer_id", "version", "measurement_value", "hash_algo_id")
    return {name: value for name in names if (value := getattr(component, name)) is not None}


def _realm_claims(claims: RealmClaims) -> dict[str, Any]:
    bare = claims.profile is None
    return {
        "profile": None if claims.profile is None else claims.profile.value, "challenge": claims.challenge,
        "personalization_value": claims.personalization_value, "hash_algo_id": claims.hash_algo_id,
        "public_key": claims.public_key,
        "public_key_form": "raw SEC1 uncompressed point (97 bytes)" if bare else "COSE_Key",
        "initial_measurement": claims.initial_measurement,
        "extensible_measurements": claims.extensible_measurements,
        "public_key_hash_algo_id": claims.public_key_hash_algo_id,
    }


def _flags(platform: PlatformClaims, cpak: Cpak) -> tuple[str, ...]:
    """What a policy may object to: a key that nobody vouches for, and a platform whose other parts can be debugged."""
    found = [("CPAK_UNPROVEN", cpak.trust is Trust.UNPROVEN),
             ("CCA_NOT_SECURED", platform.lifecycle_name != SECURED)]
    return tuple(name for name, holds in found if holds)
