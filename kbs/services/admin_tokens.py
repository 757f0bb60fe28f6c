"""Who an administrator is: a JWT signed by a configured key, and a role that the request must fit.

The algorithm belongs to the key (Ed25519: EdDSA, P-256: ES256, RSA from 2048 bits: RS256), so a token cannot choose how
it is verified. ``exp`` and ``role`` are required and of exact type; ``iss`` and ``aud`` are demanded where the identity
names them. A role that is not configured may do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms

from kbs.errors import AdminDenied, PolicyDenied, SetupError
from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, json_object

MAX_TOKEN_CHARACTERS = 16 * 1024
CLOCK_SKEW = 60

AdminKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class AdminIdentity:
    """One key that may sign admin tokens; empty ``issuer`` and ``audience`` leave those claims unchecked."""

    name: str
    algorithm: str
    key: AdminKey = field(repr=False)
    issuer: str = ""
    audience: str = ""

    @classmethod
    def from_pem(cls, name: str, pem: bytes, issuer: str = "", audience: str = "") -> AdminIdentity:
        """Raises `SetupError` for a key of a kind that signs no admin tokens."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            raise SetupError("admin.key", f"the key of {name} is not a PEM public key") from None
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(name, "EdDSA", key, issuer, audience)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(name, "ES256", key, issuer, audience)
        if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 8192:
            return cls(name, "RS256", key, issuer, audience)
        raise SetupError("admin.key", f"the key of {name} is of a kind that signs no admin tokens",
                         expected="Ed25519, P-256 or RSA of 2048 to 8192 bits", got=type(key).__name__)


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who asks: the identity whose key signed, the role, and the token's ``sub`` where it has one."""

    identity: str
    role: str
    subject: str = ""


class AdminTokens:
    """``roles``: role to a pattern over the whole request path and query."""

    def __init__(self, identities: Iterable[AdminIdentity], roles: Mapping[str, str]) -> None:
        self._identities = tuple(identities)
        self._roles = {role: re.compile(pattern) for role, pattern in roles.items()}

    def authorise(self, token: str | None, target: str, at: int) -> Administrator:
        """Who may do ``target`` (decoded path, and ``?query`` where there is one).

        Raises `AdminDenied` when the token does not verify, `PolicyDenied` when its role does not reach so far.
        """
        if not token:
            raise AdminDenied("admin.token.missing", "an admin token is needed")
        identity, claims = self._verify(token)
        _check_times(claims, at)
        role = claims["role"]
        pattern = self._roles.get(role)
        if pattern is None or pattern.fullmatch(target) is None:
            raise PolicyDenied("admin.role", "the role does not reach so far", got=role[:64])
        subject = claims.get("sub")
        return Administrator(identity.name, role, subject[:256] if isinstance(subject, str) else "")

    def _verify(self, token: str) -> tuple[AdminIdentity, dict[str, Any]]:
        algorithm = _algorithm_of(token)
        for identity in self._identities:
            if identity.algorithm == algorithm:
                claims = _claims(identity, token)
                if claims is not None:
                    return identity, _checked(identity, claims)
        raise AdminDenied("admin.token.signature", "no configured key signed this token")


def _algorithm_of(token: str) -> str:
    try:
        if len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 2:
            raise MalformedEvidence("admin.token.shape", "no compact JWT")
        header = json_object(base64_bytes(token.partition(".")[0], "header", url=True), "header")
    except MalformedEvidence:
        raise AdminDenied("admin.token.shape", "not an admin token") from None
    if "crit" in header or header.get("typ", "JWT") not in ("JWT", "jwt") or "b64" in header:
        raise AdminDenied("admin.token.header", "the token's header asks for what is not understood here")
    return str(header.get("alg"))


def _claims(identity: AdminIdentity, token: str) -> dict[str, Any] | None:
    """The claims, None when another key signed them; nothing but the signature is judged here."""
    signed, _, signature = token.rpartition(".")
    algorithm: Any = get_default_algorithms()[identity.algorithm]
    try:
        if not algorithm.verify(signed.encode(), identity.key, base64_bytes(signature, "signature", url=True)):
            return None
        return json_object(base64_bytes(signed.partition(".")[2], "claims", url=True), "claims")
    except MalformedEvidence:
        return None


def _checked(identity: AdminIdentity, claims: dict[str, Any]) -> dict[str, Any]:
    role = claims.get("role")
    if not isinstance(role, str) or not role:
        raise AdminDenied("admin.token.role", "the token names no role")
    if identity.issuer and claims.get("iss") != identity.issuer:
        raise AdminDenied("admin.token.iss", "the token is of another issuer", expected=identity.issuer)
    audience = claims.get("aud")
    if identity.audience and identity.audience not in (audience if isinstance(audience, list) else [audience]):
        raise AdminDenied("admin.token.aud", "the token is for somebody else", expected=identity.audience)
    return claims


def _check_times(claims: Mapping[str, Any], at: int) -> None:
    for name, required in (("exp", True), ("nbf", False), ("iat", False)):
        value = claims.get(name)
        if (name in claims or required) and (type(value) is not int or not 0 <= value < 2**53):
            raise AdminDenied(f"admin.token.{name}", f"{name} must be a number of seconds", got=type(value).__name__)
    if at >= claims["exp"]:
        raise AdminDenied("admin.token.expired", "the admin token has expired", expected=f"before {claims['exp']}",
                          got=at)
    if at < claims.get("nbf", 0) or at + CLOCK_SKEW < claims.get("iat", 0):
        raise AdminDenied("admin.token.not_yet", "the admin token is of the future")
