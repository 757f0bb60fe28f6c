"""The secret's envelope: flattened JWE JSON to the guest's key (RFC 7516 section 7.2.2, RFC 7518 sections 4.3 and 4.6).

``{protected, encrypted_key, iv, ciphertext, tag}``, base64url without padding, nothing else. ``protected`` holds
``alg``, ``enc`` and for EC keys ``epk``, nothing else: no ``zip``, no ``crit``, no unprotected header. Additional data
are the ASCII bytes of ``protected`` as they stand. ``enc`` is A256GCM: fresh 32-byte key, 12-byte IV, 16-byte tag.

    ECDH-ES+A256KW   Concat KDF (SHA-256, empty party info, 256 bits) over the shared x, then AES-256 key wrap
    RSA-OAEP-256     OAEP with SHA-256 and MGF1-SHA-256

The opener takes the algorithm from its own key; the header must agree.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from msgspec import Meta

from kbs.errors import MalformedAnswer, MalformedRequest, SetupError
from kbs.protocol import wire
from kbs.protocol.messages import MAX_RESOURCE_BYTES
from kbs.protocol.tee_pubkey import (
    CURVES,
    ECDH_ES_A256KW,
    RSA1_5,
    RSA_OAEP_256,
    TeePublicKey,
    ec_point,
    parse_ec_point,
)
from verifier.formats.strict import base64url

ENC = "A256GCM"
# Base64 makes four characters of three bytes; the remaining members stay far below the rest.
MAX_JWE_BYTES = MAX_RESOURCE_BYTES // 3 * 4 + 16 * 1024

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
T = TypeVar("T")

_CEK_BYTES, _WRAPPED_BYTES, _IV_BYTES, _TAG_BYTES = 32, 40, 12, 16
_OAEP = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)


class FlattenedJwe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The five members, each base64url."""

    protected: Annotated[str, Meta(max_length=4096)]
    encrypted_key: Annotated[str, Meta(max_length=2048)]
    iv: Annotated[str, Meta(max_length=16)]
    ciphertext: str
    tag: Annotated[str, Meta(max_length=22)]


class EphemeralPublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``epk``: a point on the recipient's curve."""

    kty: str
    crv: str
    x: str
    y: str


class Header(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The protected header."""

    alg: str
    enc: str
    epk: EphemeralPublicKey | None = None


def encrypt(plaintext: bytes, recipient: TeePublicKey) -> bytes:
    """``plaintext`` as a JWE that only the holder of ``recipient``'s private half can open.

    Raises `SetupError` for a plaintext beyond `MAX_RESOURCE_BYTES`.
    """
    if len(plaintext) > MAX_RESOURCE_BYTES:
        raise SetupError("protocol.jwe.size", "the secret is too large to be released",
                         expected=f"<= {MAX_RESOURCE_BYTES} bytes", got=f"{len(plaintext)} bytes")
    cek, iv = os.urandom(_CEK_BYTES), os.urandom(_IV_BYTES)
    header, encrypted_key = _seal_key(cek, recipient)
    protected = base64url(msgspec.json.encode(header))
    sealed = AESGCM(cek).encrypt(iv, plaintext, protected.encode())
    return msgspec.json.encode(FlattenedJwe(
        protected=protected, encrypted_key=base64url(encrypted_key), iv=base64url(iv),
        ciphertext=base64url(sealed[:-_TAG_BYTES]), tag=base64url(sealed[-_TAG_BYTES:]),
    ))


def decrypt(body: bytes, key: PrivateKey) -> bytes:
    """The plaintext of ``body``. Raises `TooLarge` or `MalformedAnswer`, ``protocol.jwe.decrypt`` when it was made for
    another key or altered.
    """
    jwe = wire.decode(_JWE, body, "jwe", MAX_JWE_BYTES, MalformedAnswer)
    header = wire.decode(_HEADER, _octets(jwe.protected, "protected"), "jwe.header", 4096, MalformedAnswer)
    _require("enc", header.enc, ENC)
    encrypted_key, iv = _octets(jwe.encrypted_key, "encrypted_key"), _octets(jwe.iv, "iv", _IV_BYTES)
    sealed = _octets(jwe.ciphertext, "ciphertext") + _octets(jwe.tag, "tag", _TAG_BYTES)
    try:
        cek = _open_key(encrypted_key, header, key)
        return AESGCM(cek).decrypt(iv, sealed, jwe.protected.encode())
    except (InvalidUnwrap, InvalidTag, ValueError):
        raise MalformedAnswer("protocol.jwe.decrypt", "was made for another key, or was altered") from None


def _seal_key(cek: bytes, recipient: TeePublicKey) -> tuple[Header, bytes]:
    if isinstance(recipient.key, rsa.RSAPublicKey):
        scheme: padding.AsymmetricPadding = padding.PKCS1v15() if recipient.alg == RSA1_5 else _OAEP
        return Header(alg=recipient.alg, enc=ENC), recipient.key.encrypt(cek, scheme)
    ephemeral = ec.generate_private_key(recipient.key.curve)
    wrapping_key = _agree(ephemeral, recipient.key)
    numbers = ephemeral.public_key().public_numbers()
    crv = next(name for name, curve in CURVES.items() if curve.name == numbers.curve.name)
    epk = EphemeralPublicKey(kty="EC", crv=crv, **ec_point(numbers))
    return Header(alg=ECDH_ES_A256KW, enc=ENC, epk=epk), aes_key_wrap(wrapping_key, cek)


def _open_key(encrypted_key: bytes, header: Header, key: PrivateKey) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        _require("alg", header.alg, RSA_OAEP_256)
        _require("epk", header.epk, None)
        cek = key.decrypt(encrypted_key, _OAEP)
    else:
        _require("alg", header.alg, ECDH_ES_A256KW)
        _require("encrypted_key", len(encrypted_key), _WRAPPED_BYTES)
        cek = aes_key_unwrap(_agree(key, _ephemeral(header, key.curve)), encrypted_key)
    _require("encrypted_key", len(cek), _CEK_BYTES)
    return cek


def _ephemeral(header: Header, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    epk = header.epk
    if epk is None or epk.kty != "EC" or epk.crv not in CURVES or CURVES[epk.crv].name != curve.name:
        raise MalformedAnswer("protocol.jwe.epk", "epk is missing or on another curve than the guest's key",
                              expected=curve.name, got=None if epk is None else epk.crv[:32])
    try:
        return parse_ec_point({"x": epk.x, "y": epk.y}, curve)
    except MalformedRequest as error:
        raise MalformedAnswer("protocol.jwe.epk", error.detail) from None


def _agree(private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey) -> bytes:
    return concat_kdf(private.exchange(ec.ECDH(), public), ECDH_ES_A256KW, 256)


def concat_kdf(shared: bytes, algorithm_id: str, bits: int, apu: bytes = b"", apv: bytes = b"") -> bytes:
    """The key of ``bits`` bits that RFC 7518 section 4.6.2 derives from the shared secret ``shared``."""
    fields = (algorithm_id.encode(), apu, apv)
    other_info = b"".join(len(field).to_bytes(4, "big") + field for field in fields) + bits.to_bytes(4, "big")
    return ConcatKDFHash(SHA256(), bits // 8, other_info).derive(shared)


def _octets(text: str, field: str, size: int | None = None) -> bytes:
    return wire.base64_bytes(text, f"protocol.jwe.{field}", field, MalformedAnswer, url=True, size=size)


def _require(field: str, got: Any, expected: Any) -> None:
    if got != expected:
        told = got[:32] if isinstance(got, str) else got
        raise MalformedAnswer(f"protocol.jwe.{field}", f"{field} is not what this guest's key calls for",
                              expected=expected, got=told)


_JWE = msgspec.json.Decoder(FlattenedJwe)
_HEADER = msgspec.json.Decoder(Header)
