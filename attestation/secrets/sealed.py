"""Sealed secrets: ``sealed.`` and a compact JWS (ES256) over what the secret is and where its key lies.

    header    {"alg": "ES256", "kid": …}
    vault     {"version": "0.1.0", "type": "vault", "name": <resource URI>, "provider": "kbs", …}
    envelope  {"version": "0.1.0", "type": "envelope", "provider": "kbs", "key_id": <resource URI>,
               "encrypted_key": …, "encrypted_data": …, "wrap_type": "A256GCM", "iv": …, …}

both with ``provider_settings`` and ``annotations``. ``kid`` selects among keys that this guest was told to trust
(`TrustedSigners`); it is never looked up where the author says. In an envelope the resource under ``key_id`` is a
32-byte key that wraps the data key (AES key wrap, RFC 3394: 40 bytes); ``encrypted_data`` is ciphertext and 16-byte tag
under the data key, ``iv`` 12 bytes, no additional data, for the signature covers all of it. Base64 inside is standard.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from attestation.errors import AttestationError, SetupError
from attestation.secrets.keys import KeySource
from kbs.errors import KbsError
from kbs.protocol.tee_pubkey import parse_ec_point
from verifier.errors import MalformedEvidence
from verifier.formats import strict
from verifier.formats.strict import base64url

PREFIX = "sealed."
MAX_SEALED_CHARACTERS = 1024 * 1024
MAX_JWK_BYTES = 4096

_KEY_BYTES, _WRAPPED_BYTES, _IV_BYTES, _SIGNATURE_BYTES, _HALF = 32, 40, 12, 64, 32

T = TypeVar("T")


class SealedSecretError(AttestationError):
    """A sealed secret is malformed, not signed by a trusted key, or does not open."""


class Vault(msgspec.Struct, frozen=True, kw_only=True, tag="vault", forbid_unknown_fields=True):
    """The secret is the resource ``name`` itself."""

    version: Literal["0.1.0"] = "0.1.0"
    name: str
    provider: Literal["kbs"] = "kbs"
    provider_settings: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


class Envelope(msgspec.Struct, frozen=True, kw_only=True, tag="envelope", forbid_unknown_fields=True):
    """The secret travels along, encrypted."""

    version: Literal["0.1.0"] = "0.1.0"
    provider: Literal["kbs"] = "kbs"
    key_id: str
    encrypted_key: str
    encrypted_data: str
    wrap_type: Literal["A256GCM"] = "A256GCM"
    iv: str
    provider_settings: dict[str, Any] = {}
    annotations: dict[str, Any] = {}


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["ES256"]
    kid: str


class _Jwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    alg: Literal["ES256"] = "ES256"
    use: Literal["sig"] = "sig"
    kid: str = ""


@dataclass(frozen=True, slots=True)
class TrustedSigners:
    """The P-256 keys whose secrets this guest opens, by the ``kid`` their signatures name."""

    keys: Mapping[str, ec.EllipticCurvePublicKey]

    @classmethod
    def from_files(cls, paths: Mapping[str, Path]) -> TrustedSigners:
        """Public JWKs, one in each file. Raises `SetupError`."""
        return cls({kid: _read_jwk(path) for kid, path in paths.items()})


def unseal(text: str, signers: TrustedSigners, keys: KeySource) -> bytes:
    """The secret in ``text``. Raises `SealedSecretError`, or what ``keys`` raises."""
    secret = verify(text, signers)
    if isinstance(secret, Vault):
        return keys.get(secret.name)
    iv = _bytes(secret.iv, "iv", _IV_BYTES)
    wrapped = _bytes(secret.encrypted_key, "encrypted_key", _WRAPPED_BYTES)
    sealed = _bytes(secret.encrypted_data, "encrypted_data")
    wrapping_key = keys.get(secret.key_id)
    if len(wrapping_key) != _KEY_BYTES:
        raise SealedSecretError("sealed.key", "the key of the envelope has the wrong length",
                                expected=f"{_KEY_BYTES} bytes", got=f"{len(wrapping_key)} bytes")
    try:
        return AESGCM(aes_key_unwrap(wrapping_key, wrapped)).decrypt(iv, sealed, None)
    except (InvalidUnwrap, InvalidTag):
        raise SealedSecretError("sealed.decrypt", "the envelope was made with another key, or was altered") from None


def verify(text: str, signers: TrustedSigners) -> Vault | Envelope:
    """What ``text`` says, signed by a trusted key. Raises `SealedSecretError`; nothing of it is used before that."""
    signed, payload, signature, header = _split(text)
    key = signers.keys.get(header.kid)
    if key is None:
        raise SealedSecretError("sealed.signer", "the secret names a key that this guest was not told to trust",
                                got=header.kid[:256])
    r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise SealedSecretError("sealed.signature", "the secret's signature does not hold") from None
    return _read_payload(payload)


def seal(secret: Vault | Envelope, kid: str, key: ec.EllipticCurvePrivateKey) -> str:
    """The sealed form of ``secret``, signed by ``key``, which guests trust under the name ``kid``."""
    header = base64url(msgspec.json.encode(_Header("ES256", kid)))
    signed = f"{header}.{base64url(msgspec.json.encode(secret))}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    signature = r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
    return f"{PREFIX}{signed}.{base64url(signature)}"


def envelope(plaintext: bytes, key_id: str, wrapping_key: bytes) -> Envelope:
    """``plaintext`` encrypted for whoever may fetch the 32-byte ``wrapping_key`` under the resource URI ``key_id``."""
    data_key, iv = os.urandom(_KEY_BYTES), os.urandom(_IV_BYTES)
    return Envelope(
        key_id=key_id, encrypted_key=_base64(aes_key_wrap(wrapping_key, data_key)), iv=_base64(iv),
        encrypted_data=_base64(AESGCM(data_key).encrypt(iv, plaintext, None)))


def _split(text: str) -> tuple[bytes, bytes, bytes, _Header]:
    """What was signed, payload, signature (64 bytes) and header."""
    parts = text.removeprefix(PREFIX).split(".") if text.startswith(PREFIX) else []
    if len(parts) != 3 or len(text) > MAX_SEALED_CHARACTERS:
        raise SealedSecretError("sealed.form", "no sealed secret", expected="sealed.<header>.<payload>.<signature>")
    header, payload = (_bytes(part, name, url=True) for part, name in zip(parts, ("header", "payload"), strict=False))
    signature = _bytes(parts[2], "signature", _SIGNATURE_BYTES, url=True)
    return f"{parts[0]}.{parts[1]}".encode(), payload, signature, _convert(header, _Header, "header")


def _read_payload(payload: bytes) -> Vault | Envelope:
    secret: Vault | Envelope = _convert(payload, Vault | Envelope, "payload")
    if secret.provider_settings:
        raise SealedSecretError("sealed.payload", "provider settings are given, and the provider kbs has none")
    return secret


def _convert(text: bytes, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(strict.json_object(text, what), kind)
    except (MalformedEvidence, msgspec.ValidationError) as error:
        raise SealedSecretError(f"sealed.{what}", f"the {what} is malformed: {error}") from None


def _read_jwk(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JWK_BYTES + 1)
        if len(text) > MAX_JWK_BYTES:
            raise SetupError("sealed.trusted_key", f"{path} is too large", expected=f"<= {MAX_JWK_BYTES} bytes")
        jwk = msgspec.convert(strict.json_object(text, str(path)), _Jwk)
        return parse_ec_point({"x": jwk.x, "y": jwk.y}, ec.SECP256R1())
    except OSError as error:
        raise SetupError("sealed.trusted_key", f"{path} could not be read: {error.strerror}") from None
    except (MalformedEvidence, msgspec.ValidationError, KbsError) as error:
        raise SetupError("sealed.trusted_key", f"{path} is no public P-256 JWK: {error}") from None


def _bytes(text: str, field: str, size: int | None = None, *, url: bool = False) -> bytes:
    try:
        data = strict.base64_bytes(text, field, url=url)
    except MalformedEvidence as error:
        raise SealedSecretError(f"sealed.{field}", error.detail) from None
    if size is not None and len(data) != size:
        raise SealedSecretError(f"sealed.{field}", f"{field} has the wrong length", expected=f"{size} bytes",
                                got=f"{len(data)} bytes")
    return data


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
