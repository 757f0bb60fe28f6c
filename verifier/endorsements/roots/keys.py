"""Keys that no certificate vouches for, trusted because a configuration names them.

Some makers publish no root: a CCA platform's attestation key (CPAK) and a bare TPM's attestation key (AK) are handed to
whoever verifies by whoever provisioned the machine. A file holds one such key: PEM, or a JWK (RFC 7517), which may say
in members of its own (``implementation_id``, ``instance_id``, hexadecimal) of which CCA platform it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from verifier.endorsements.schemes import PublicKey
from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.strict import base64_bytes, hex_bytes, json_object

PEM_LABEL = b"-----BEGIN PUBLIC KEY-----"

_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48), "P-521": (ec.SECP521R1(), 66)}


@dataclass(frozen=True, slots=True)
class ProvisionedKey:
    """One key. ``software``: it was named as a root, not as provisioned hardware's.

    implementation_id (32 bytes), instance_id (33 bytes): the CCA platform that it belongs to, None where the file does
    not say.
    """

    public_key: PublicKey = field(repr=False, compare=False)
    sha256_public_key: bytes
    software: bool
    implementation_id: bytes | None = None
    instance_id: bytes | None = None


def spki_digest(key: PublicKey) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo (DER): the name that a key goes by here."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def read_key(data: bytes, *, software: bool) -> ProvisionedKey:
    """From PEM, DER (SubjectPublicKeyInfo) or JWK. Raises `SetupError` for anything else."""
    try:
        if data.lstrip()[:1] == b"{":
            return _from_jwk(json_object(data, "key"), software)
        load = load_pem_public_key if data.lstrip().startswith(PEM_LABEL) else load_der_public_key
        key = load(data)
    except (MalformedEvidence, ValueError, UnsupportedAlgorithm) as error:
        raise SetupError("roots.key", "not a public key (PEM, DER or JWK)", got=type(error).__name__) from None
    return ProvisionedKey(_usable(key), spki_digest(_usable(key)), software)


def is_key(data: bytes) -> bool:
    """Whether ``data`` looks like a key file rather than a certificate."""
    head = data.lstrip()
    return head.startswith(PEM_LABEL) or head[:1] == b"{"


def _from_jwk(members: dict[str, Any], software: bool) -> ProvisionedKey:
    key = jwk_key(members)
    ids = {name: hex_bytes(members[name], name, size) for name, size in (("implementation_id", 32), ("instance_id", 33))
           if name in members}
    return ProvisionedKey(key, spki_digest(key), software, **ids)


def jwk_key(members: dict[str, Any]) -> PublicKey:
    """The public key in a JWK of kind EC (P-256, P-384, P-521) or RSA. Raises `MalformedEvidence` or ValueError."""
    if members.get("kty") == "RSA":
        n, e = (int.from_bytes(base64_bytes(members.get(name), name, url=True), "big") for name in ("n", "e"))
        return rsa.RSAPublicNumbers(e, n).public_key()
    curve, size = _CURVES.get(str(members.get("crv")), (None, 0))
    if members.get("kty") != "EC" or curve is None:
        raise ValueError("not an EC or RSA key")
    x, y = (base64_bytes(members.get(name), name, url=True) for name in ("x", "y"))
    if len(x) != size or len(y) != size:
        raise ValueError("coordinates have the wrong length")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)


def _usable(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key
    raise SetupError("roots.key", "only EC and RSA keys attest", got=type(key).__name__)
