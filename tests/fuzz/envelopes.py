"""Envelopes and signatures that are the same every time, where the project's own rightly differ with every call.

An input that a fuzzer found must break the same property tomorrow, and a short run must try the same inputs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from kbs.protocol.jwe import concat_kdf
from kbs.protocol.tee_pubkey import ECDH_ES_A256KW, ec_point
from verifier.formats.strict import base64url

_CEK, _IV = bytes(range(100, 132)), bytes(12)


@cache
def p256(number: int) -> ec.EllipticCurvePrivateKey:
    """The key whose secret is ``number``."""
    return ec.derive_private_key(number, ec.SECP256R1())


def es256(key: ec.EllipticCurvePrivateKey, signed: bytes) -> str:
    """A deterministic ES256 signature (RFC 6979, RFC 7518 section 3.4), base64url."""
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def jwe(plaintext: bytes, *recipients: ec.EllipticCurvePublicKey) -> bytes:
    """ECDH-ES+A256KW with A256GCM: flattened for one recipient, in the general serialization for several."""
    entries = [({"alg": ECDH_ES_A256KW, "epk": epk}, base64url(wrapped)) for epk, wrapped in map(_wrap, recipients)]
    alone = len(entries) == 1
    protected = base64url(json.dumps({"enc": "A256GCM"} | (entries[0][0] if alone else {})).encode())
    sealed = AESGCM(_CEK).encrypt(_IV, plaintext, protected.encode())
    keys = {"encrypted_key": entries[0][1]} if alone else {
        "recipients": [{"header": header, "encrypted_key": key} for header, key in entries]}
    return _json({"protected": protected, **keys, "iv": base64url(_IV), "ciphertext": base64url(sealed[:-16]),
                  "tag": base64url(sealed[-16:])})


def _wrap(recipient: ec.EllipticCurvePublicKey) -> tuple[dict[str, str], bytes]:
    ephemeral = p256(0xE)
    wrapping = concat_kdf(ephemeral.exchange(ec.ECDH(), recipient), ECDH_ES_A256KW, 256)
    point = ec_point(ephemeral.public_key().public_numbers())
    return {"kty": "EC", "crv": "P-256", **point}, aes_key_wrap(wrapping, _CEK)


def jws(key: ec.EllipticCurvePrivateKey, parts: Sequence[object]) -> str:
    """A compact JWS of header and payload."""
    signed = ".".join(base64url(_json(part)) for part in parts)
    return f"{signed}.{es256(key, signed.encode())}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
