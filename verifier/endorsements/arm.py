"""Who may have signed a CCA platform's token: the platform's attestation keys (CPAK) that somebody vouches for.

Rules of the room: nothing in a token names or carries this key and Arm publishes no root, so the key is looked up by
the platform's implementation id and instance id among what the verifier was given. In this order:

    a  keys in `Roots` whose file names this platform: if there are any, no other key will do
    b  keys in `Roots` whose file names no platform, and keys that were laid beside the token as collateral

A key that names another platform is never used, from wherever it came. What was laid beside a token proves only that
the two belong together; such a key is ``unproven``. Source: Arm "Realm Management Monitor specification" (DEN0137)
section A7.1; draft-ffm-rats-cca-token-00 section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec

from verifier.endorsements.collateral import ArmCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.roots.keys import ProvisionedKey, jwk_key, read_key
from verifier.errors import MalformedCollateral, MalformedEvidence, SetupError
from verifier.formats.cca_token import PlatformClaims
from verifier.formats.strict import base64_bytes, json_object

MAX_SUPPLIED = 64
MAX_KEY_BYTES = 4 * 1024

_COORDINATES = {"P-256": 32, "P-384": 48, "P-521": 66}


class Trust(StrEnum):
    """Why a key is believed."""

    PROVISIONED = "provisioned"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class Cpak:
    """One key that may be the platform's. public_key: None where the given coordinates are no point of their curve."""

    public_key: ec.EllipticCurvePublicKey | None
    sha256_public_key: bytes | None
    trust: Trust
    software: bool


def candidates(platform: PlatformClaims, roots: Roots, supplied: ArmCollateral | None) -> tuple[Cpak, ...]:
    """The keys that may have signed for ``platform``, hardware's first; none when nobody vouches for any.

    Raises `MalformedCollateral` for supplied keys that cannot be read.
    """
    known = [key for key in sorted(roots.keys, key=lambda key: key.software) if _is_of(key, platform)]
    named = [key for key in known if not _is_anonymous(key)]
    provisioned = [cpak for key in named or known for cpak in _cpaks(key, Trust.PROVISIONED)]
    return tuple(provisioned) if named else (*provisioned, *_supplied(platform, roots, supplied))


def _is_of(key: ProvisionedKey, platform: PlatformClaims) -> bool:
    return (key.implementation_id in (None, platform.implementation_id)
            and key.instance_id in (None, platform.instance_id))


def _is_anonymous(key: ProvisionedKey) -> bool:
    return key.implementation_id is None and key.instance_id is None


def _cpaks(key: ProvisionedKey, trust: Trust) -> list[Cpak]:
    """``key`` if it is on a curve; keys of other kinds of machines lie in the same places and are passed over."""
    if not isinstance(key.public_key, ec.EllipticCurvePublicKey):
        return []
    return [Cpak(key.public_key, key.sha256_public_key, trust, key.software)]


def _supplied(platform: PlatformClaims, roots: Roots, supplied: ArmCollateral | None) -> list[Cpak]:
    """What was laid beside the token, but for keys that `Roots` speaks of: as a platform's own, or another's."""
    items = supplied.cpaks if supplied else ()
    if len(items) > MAX_SUPPLIED:
        raise _malformed("too many keys", expected=f"<= {MAX_SUPPLIED}", got=len(items))
    found: list[Cpak] = []
    for data in items:
        key = _read(data)
        if key is None:
            found.append(Cpak(None, None, Trust.UNPROVEN, software=True))
        elif _is_of(key, platform) and roots.key(key.sha256_public_key) is None:
            found += _cpaks(key, Trust.UNPROVEN)
    return found


def _read(data: bytes) -> ProvisionedKey | None:
    """None for coordinates that are no point: nobody can have signed with that."""
    if len(data) > MAX_KEY_BYTES:
        raise _malformed("a key is too large", expected=f"<= {MAX_KEY_BYTES} bytes", got=f"{len(data)} bytes")
    try:
        return read_key(data, software=True)
    except SetupError as error:
        if _is_off_curve(data):
            return None
        raise _malformed(error.detail, got=error.got) from None


def _is_off_curve(data: bytes) -> bool:
    """Whether ``data`` is an EC key as JWK that has everything but a point of its curve."""
    shaped = False
    try:
        members = json_object(data, "key")
        sizes = {len(base64_bytes(members.get(name), name, url=True)) for name in ("x", "y")}
        shaped = members.get("kty") == "EC" and sizes == {_COORDINATES.get(str(members.get("crv")))}
        jwk_key(members)
    except MalformedEvidence:
        return False
    except ValueError:
        return shaped
    return False


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedCollateral:
    return MalformedCollateral("collateral.arm.cpak", detail, expected=expected, got=got)
