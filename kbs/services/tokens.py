"""Attestation tokens: issued by this broker, and accepted back from nobody else.

A token verifies only if its header is, member for member, the header of one of our keys: the key inside it is for
other relying parties and is never used here, ``crit`` and every other member refuse, and the algorithm belongs to the
key. The guest's key is read from one place, the primary TEE's verified runtime data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from jwt.algorithms import ECAlgorithm

from kbs.errors import MalformedRequest, TokenInvalid
from kbs.protocol import tee_pubkey
from kbs.protocol.tee_pubkey import TeePublicKey
from kbs.services.remembered import Remembered
from kbs.services.token_keys import TokenKey
from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, base64url, json_object
from verifier.results.ear import ANNOTATED_EVIDENCE, EAT_PROFILE

MAX_TOKEN_CHARACTERS = 512 * 1024
CLOCK_SKEW = 60
CACHED_TOKENS = 4096

_ES256 = ECAlgorithm(ECAlgorithm.SHA256)
_PAYLOAD = msgspec.json.Decoder(dict[str, Any])
_KEY_PATH = ("submods", "cpu0", ANNOTATED_EVIDENCE, "runtime_data_claims", "tee-pubkey")
_TEXTS = ("iss", "aud", "jti", "eat_profile")
_NUMBERS = ("iat", "exp")


@dataclass(frozen=True, slots=True)
class GuestToken:
    """A token that verified.

    id: its ``jti``. kid: which of our keys signed it. expires_at: Unix seconds, exclusive. jwk and key: the guest's.
    """

    id: str
    kid: str
    expires_at: int
    claims: Mapping[str, Any] = field(repr=False)
    jwk: Mapping[str, str] = field(repr=False)
    key: TeePublicKey = field(repr=False)


class Tokens:
    """``keys`` gives the present keys, the signing one first; ``issuer`` and ``audience`` are texts to be matched."""

    def __init__(self, keys: Callable[[], Sequence[TokenKey]], *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._verified: Remembered[GuestToken] = Remembered(CACHED_TOKENS)

    def issue(self, claims: Mapping[str, Any]) -> str:
        """``claims`` signed with the present key."""
        key = self._keys()[0]
        payload = msgspec.json.encode(claims)
        signed = f"{base64url(msgspec.json.encode(key.header))}.{base64url(payload)}"
        token = f"{signed}.{base64url(_ES256.sign(signed.encode(), key.private))}"
        self._verified.put(_digest(token), self._read(key, payload))  # what was just signed needs no verifying
        return token

    def verify(self, token: str, at: int) -> GuestToken:
        """What ``token`` says of its bearer. Raises `TokenInvalid`."""
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            raise TokenInvalid("token.shape", "not a token of this broker")
        digest = _digest(token)
        found = self._known(digest)
        if found is None:
            found = self._verify(token)
            self._verified.put(digest, found)
        if at >= found.expires_at:
            raise TokenInvalid("token.expired", "the token has expired", expected=f"before {found.expires_at}", got=at)
        if at < found.claims["iat"] - CLOCK_SKEW:
            raise TokenInvalid("token.not_yet", "the token is of the future", got=found.claims["iat"])
        return found

    def _verify(self, token: str) -> GuestToken:
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        key = self._key_of(header)
        if not _ES256.verify(signed.encode(), key.public, _octets(signature)):
            raise TokenInvalid("token.signature", "the token's signature does not hold")
        return self._read(key, _octets(payload))

    def _read(self, key: TokenKey, payload: bytes) -> GuestToken:
        """What a payload that ``key`` signed says."""
        claims = _claims(payload)
        if claims["iss"] != self._issuer:
            raise TokenInvalid("token.iss", "the token is of another issuer", expected=self._issuer)
        if claims["aud"] != self._audience:
            raise TokenInvalid("token.aud", "the token is for somebody else", expected=self._audience)
        return GuestToken(claims["jti"], key.kid, claims["exp"], claims, *_guest_key(claims))

    def _key_of(self, encoded: str) -> TokenKey:
        try:
            header = json_object(_octets(encoded), "header")
        except MalformedEvidence:
            raise TokenInvalid("token.shape", "not a token of this broker") from None
        key = next((key for key in self._keys() if key.kid == header.get("kid")), None)
        if key is None or header != key.header:
            raise TokenInvalid("token.header", "the token's header is not one that this broker writes",
                               expected="a header of one of our keys", got=", ".join(sorted(header))[:80])
        return key

    def _known(self, digest: bytes) -> GuestToken | None:
        """What verified before under a key that is still ours."""
        found = self._verified.get(digest)
        return found if found and any(key.kid == found.kid for key in self._keys()) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _octets(text: str) -> bytes:
    try:
        return base64_bytes(text, "token", url=True)
    except MalformedEvidence:
        raise TokenInvalid("token.shape", "not a token of this broker") from None


def _claims(payload: bytes) -> dict[str, Any]:
    """The claims with everything that is required of them, each of exactly its type."""
    try:
        claims: dict[str, Any] = _PAYLOAD.decode(payload)
    except (ValueError, RecursionError):
        raise TokenInvalid("token.shape", "not a token of this broker") from None
    for name in _TEXTS:
        value = claims.get(name)
        if type(value) is not str or not value:
            raise TokenInvalid(f"token.{name}", f"{name} must be a text", got=type(value).__name__)
    if claims["eat_profile"] != EAT_PROFILE:
        raise TokenInvalid("token.eat_profile", "the token is of another profile", expected=EAT_PROFILE)
    for name in _NUMBERS:
        value = claims.get(name)
        if type(value) is not int or not 0 <= value < 2**53:
            raise TokenInvalid(f"token.{name}", f"{name} must be a number of seconds", got=type(value).__name__)
    return claims


def _guest_key(claims: Mapping[str, Any]) -> tuple[dict[str, str], TeePublicKey]:
    found: Any = claims
    for step in _KEY_PATH:
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TokenInvalid("token.tee_pubkey", "the token binds no key of the guest")
    try:
        return found, tee_pubkey.parse(found)
    except MalformedRequest as error:
        raise TokenInvalid("token.tee_pubkey", error.detail) from None
