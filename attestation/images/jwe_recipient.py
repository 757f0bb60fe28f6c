"""Layer keys wrapped for JWE recipients (RFC 7516, 7518), as ocicrypt's scheme ``jwe`` does it.

One recipient is written in the flattened JSON serialization, with everything in the protected header. Several are
written in the general one, where ``alg`` and ``epk`` stand in a header of their own for each recipient: those nothing
authenticates, so they only ever select among `KeyAlgorithm`, and a changed one unwraps nothing. The content is always
A256GCM. Header parameters other than ``alg``, ``enc``, ``epk`` and ``kid`` are refused: no ``crit``, no ``zip``, no
keys or addresses from the header.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from attestation.errors import ImageIntegrityError, MalformedImage, SetupError, UnsupportedImage
from attestation.images.documents import malformed_as, only_members, read_object, shown, text_member, write_object
from attestation.images.jwe_keys import ECDH_ALGORITHMS, JwePrivateKey, JweRecipient, KeyAlgorithm, ec_public
from kbs.protocol.jwe import concat_kdf
from kbs.protocol.tee_pubkey import CURVES, ec_point
from verifier.formats import strict
from verifier.formats.strict import base64url

CONTENT_ENCRYPTION = "A256GCM"
CEK_BYTES, IV_BYTES, TAG_BYTES = 32, 12, 16
MAX_JWE_BYTES = 192 * 1024
MAX_RECIPIENTS = 64

_ID = "image.jwe"
_CONTENT = ("protected", "iv", "ciphertext", "tag")
_HEADER = ("alg", "enc", "epk", "kid")


def wrap(plaintext: bytes, recipients: Sequence[JweRecipient]) -> bytes:
    """``plaintext`` for each of 1 to 64 recipients, as JSON."""
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise SetupError("image.recipients", "a JWE needs recipients", expected=f"1 to {MAX_RECIPIENTS}",
                         got=len(recipients))
    cek, iv = secrets.token_bytes(CEK_BYTES), secrets.token_bytes(IV_BYTES)
    wrapped = [_wrap_key(cek, recipient) for recipient in recipients]
    alone = len(wrapped) == 1
    header = {"enc": CONTENT_ENCRYPTION} | (wrapped[0][0] if alone else {})
    protected = base64url(write_object(dict(sorted(header.items()))))
    sealed = AESGCM(cek).encrypt(iv, plaintext, protected.encode("ascii"))
    keys: dict[str, Any] = {"encrypted_key": base64url(wrapped[0][1])} if alone else {
        "recipients": [{"header": entry, "encrypted_key": base64url(key)} for entry, key in wrapped]}
    return write_object({"protected": protected, **keys, "iv": base64url(iv),
                         "ciphertext": base64url(sealed[:-TAG_BYTES]), "tag": base64url(sealed[-TAG_BYTES:])})


def unwrap(data: bytes, private_keys: Sequence[JwePrivateKey]) -> bytes | None:
    """The plaintext of the JWE in ``data``; None when it is for none of ``private_keys``.

    Raises `MalformedImage` or `UnsupportedImage` for a JWE of another form, whoever it is for, and
    `ImageIntegrityError` when the content key unwraps and the content does not open.
    """
    jwe = _parse(data)
    for private_key in private_keys:
        for header, encrypted_key in jwe.recipients:
            cek = _unwrap_key(header, encrypted_key, private_key)
            if cek is not None:
                return _open(jwe, cek)
    return None


@dataclass(frozen=True, slots=True)
class _Header:
    algorithm: KeyAlgorithm
    epk: EllipticCurvePublicKey | None


@dataclass(frozen=True, slots=True)
class _Jwe:
    protected: str
    recipients: tuple[tuple[_Header, bytes], ...]
    iv: bytes
    sealed: bytes


def _parse(data: bytes) -> _Jwe:
    document = read_object(data, "the JWE", _ID, limit=MAX_JWE_BYTES)
    general = "recipients" in document
    if general:
        only_members(document, "the JWE", _ID, required=(*_CONTENT, "recipients"), optional=("encrypted_key",))
    else:
        only_members(document, "the JWE", _ID, required=(*_CONTENT, "encrypted_key"))
    protected = text_member(document, "protected", "the JWE", _ID)
    shared = read_object(_base64url(document, "protected"), "the protected header", _ID, limit=MAX_JWE_BYTES)
    recipients = _recipients(document, shared) if general else (
        (_header(shared), _base64url(document, "encrypted_key")),)
    return _Jwe(protected, recipients, _base64url(document, "iv", IV_BYTES),
                _base64url(document, "ciphertext") + _base64url(document, "tag", TAG_BYTES))


def _recipients(document: Mapping[str, Any], shared: Mapping[str, Any]) -> tuple[tuple[_Header, bytes], ...]:
    """The entries of the general serialization. go-jose repeats the first entry's key at the top."""
    entries = document["recipients"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_RECIPIENTS:
        raise MalformedImage(_ID, "recipients must be a list", expected=f"1 to {MAX_RECIPIENTS} entries")
    found = tuple(_recipient(entry, shared) for entry in entries)
    if "encrypted_key" in document and _base64url(document, "encrypted_key") != found[0][1]:
        raise MalformedImage(_ID, "encrypted_key beside recipients is not that of the first")
    return found


def _recipient(entry: object, shared: Mapping[str, Any]) -> tuple[_Header, bytes]:
    if not isinstance(entry, dict) or not isinstance(entry.get("header"), dict):
        raise MalformedImage(_ID, "a recipient must be an object with a header")
    only_members(entry, "a recipient", _ID, required=("header", "encrypted_key"))
    own = entry["header"]
    if any(name in shared for name in own):
        raise MalformedImage(_ID, "a header parameter stands in two headers (RFC 7516 section 7.2.1)")
    return _header({**shared, **own}), _base64url(entry, "encrypted_key")


def _header(merged: Mapping[str, Any]) -> _Header:
    """The whole header of one recipient."""
    only_members(merged, "the JWE header", "image.jwe.header", required=("alg", "enc"), optional=_HEADER)
    if merged["enc"] != CONTENT_ENCRYPTION:
        raise UnsupportedImage("image.jwe.enc", "content encryption is not allowed", expected=CONTENT_ENCRYPTION,
                               got=shown(str(merged["enc"])))
    algorithm = _algorithm(merged["alg"])
    if (algorithm in ECDH_ALGORITHMS) != ("epk" in merged):
        raise MalformedImage("image.jwe.header", "epk belongs to ECDH-ES, and only there")
    return _Header(algorithm, _epk(merged["epk"]) if "epk" in merged else None)


def _algorithm(name: object) -> KeyAlgorithm:
    for algorithm in KeyAlgorithm:
        if name == algorithm.value:
            return algorithm
    raise UnsupportedImage("image.jwe.alg", "key management algorithm is not allowed",
                           expected=", ".join(KeyAlgorithm), got=shown(str(name)))


def _epk(value: object) -> EllipticCurvePublicKey:
    if not isinstance(value, dict):
        raise MalformedImage("image.jwe.epk", "epk must be an object")
    only_members(value, "epk", "image.jwe.epk", required=("kty", "crv", "x", "y"))
    return ec_public(value)


def _wrap_key(cek: bytes, recipient: JweRecipient) -> tuple[dict[str, Any], bytes]:
    """The header parameters for one recipient, and the content key wrapped for them."""
    header: dict[str, Any] = {"alg": recipient.algorithm.value}
    if isinstance(recipient.key, RSAPublicKey):
        return header, recipient.key.encrypt(cek, _oaep(recipient.algorithm))
    ephemeral = generate_private_key(recipient.key.curve)
    numbers = ephemeral.public_key().public_numbers()
    crv = next(name for name, curve in CURVES.items() if curve.name == recipient.key.curve.name)
    header["epk"] = {"kty": "EC", "crv": crv, **ec_point(numbers)}
    return header, aes_key_wrap(_agree(ephemeral, recipient.key, recipient.algorithm), cek)


def _unwrap_key(header: _Header, encrypted_key: bytes, private_key: JwePrivateKey) -> bytes | None:
    """The content key, or None when this entry is not for this key."""
    key = private_key.key
    try:
        if isinstance(key, RSAPrivateKey):
            return key.decrypt(encrypted_key, _oaep(header.algorithm)) if header.epk is None else None
        if header.epk is None or header.epk.curve.name != key.curve.name:
            return None
        return aes_key_unwrap(_agree(key, header.epk, header.algorithm), encrypted_key)
    except (ValueError, InvalidUnwrap):
        return None


def _open(jwe: _Jwe, cek: bytes) -> bytes:
    if len(cek) != CEK_BYTES:
        raise MalformedImage(_ID, "the content key has the wrong length", expected=f"{CEK_BYTES} bytes",
                             got=f"{len(cek)} bytes")
    try:
        return AESGCM(cek).decrypt(jwe.iv, jwe.sealed, jwe.protected.encode("ascii"))
    except InvalidTag:
        raise ImageIntegrityError("image.jwe.tag", "the wrapped key was altered: its tag does not hold") from None


def _oaep(algorithm: KeyAlgorithm) -> OAEP:
    # RFC 7518 section 4.3 fixes SHA-1 for RSA-OAEP; OAEP does not lean on collision resistance.
    digest = SHA1() if algorithm is KeyAlgorithm.RSA_OAEP else SHA256()  # noqa: S303
    return OAEP(MGF1(digest), digest, None)


def _agree(private: EllipticCurvePrivateKey, public: EllipticCurvePublicKey, algorithm: KeyAlgorithm) -> bytes:
    """The key that wraps the content key: ECDH, then Concat KDF without party information (RFC 7518 section 4.6.2)."""
    return concat_kdf(private.exchange(ECDH(), public), algorithm.value, ECDH_ALGORITHMS[algorithm] * 8)


def _base64url(document: Mapping[str, Any], name: str, size: int | None = None) -> bytes:
    with malformed_as(_ID):
        data = strict.base64_bytes(text_member(document, name, "the JWE", _ID), name, url=True)
    if size is not None and len(data) != size:
        raise MalformedImage(_ID, f"{name} has the wrong length", expected=f"{size} bytes", got=f"{len(data)} bytes")
    return data
