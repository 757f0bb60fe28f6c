"""The runtime claims of an HCL report: keys of the virtual TPM and how the VM was configured, as JSON (RFC 8259).

    {"keys": [{"kid": "HCLAkPub", "kty": "RSA", "n", "e", "key_ops"}, {"kid": "HCLEkPub", …}],
     "vm-configuration": {"secure-boot": true, "vmUniqueId": …}, "user-data": hexadecimal}

Keys are JWKs (RFC 7517). What ``key_ops`` says is not used: the paravisor's first releases wrote ``encrypt`` for both
keys. Nothing is believed until the hash of the exact bytes was found in a genuine hardware report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, hex_bytes, json_object

ATTESTATION_KEY = "HCLAkPub"
ENDORSEMENT_KEY = "HCLEkPub"
MAX_KEYS = 8
MAX_MODULUS_BYTES = 512
USER_DATA_SIZE = 64


@dataclass(frozen=True, slots=True)
class HclKey:
    """An RSA key. ``modulus`` is big-endian without leading zeros; ``exponent`` a number."""

    kid: str
    modulus: bytes
    exponent: int

    def public_key(self) -> rsa.RSAPublicKey | None:
        """The key; None for numbers that are no RSA key's."""
        modulus = int.from_bytes(self.modulus, "big")
        try:
            return rsa.RSAPublicNumbers(self.exponent, modulus).public_key() if modulus & 1 else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class RuntimeClaims:
    """The claims that mean something here. ``user_data``: 64 bytes, what the guest wrote to NV index 0x01400002; None
    in reports of early releases, which have none."""

    keys: tuple[HclKey, ...]
    vm_configuration: Mapping[str, Any]
    user_data: bytes | None

    @classmethod
    def from_bytes(cls, data: bytes) -> RuntimeClaims:
        """Strict JSON, exactly as hashed: members that are not known are left alone. Raises `MalformedEvidence`."""
        members = json_object(data, "runtime claims")
        keys, configuration = members.get("keys"), members.get("vm-configuration", {})
        if not isinstance(keys, list) or len(keys) > MAX_KEYS:
            raise _malformed("keys must be a short list", expected=f"<= {MAX_KEYS}", got=type(keys).__name__)
        if not isinstance(configuration, Mapping):
            raise _malformed("vm-configuration must be an object", got=type(configuration).__name__)
        told = members.get("user-data")
        user_data = None if told is None else hex_bytes(told, "user-data", USER_DATA_SIZE)
        return cls(tuple(map(_key, keys)), configuration, user_data)

    def named(self, kid: str) -> tuple[HclKey, ...]:
        """Every key of that name; one is right."""
        return tuple(key for key in self.keys if key.kid == kid)


def _key(value: object) -> HclKey:
    if not isinstance(value, Mapping) or not isinstance(value.get("kid"), str) or value.get("kty") != "RSA":
        raise _malformed("a key must be an RSA key with a name", got=type(value).__name__)
    modulus, exponent = (base64_bytes(value.get(name), name, url=True) for name in ("n", "e"))
    if not 0 < len(modulus) <= MAX_MODULUS_BYTES or modulus[0] == 0:
        raise _malformed("a modulus must have no leading zero and a size", expected=f"<= {MAX_MODULUS_BYTES} bytes",
                         got=len(modulus))
    if not 0 < len(exponent) <= 8 or exponent[0] == 0:
        raise _malformed("an exponent must have no leading zero and a size", expected="<= 8 bytes", got=len(exponent))
    return HclKey(value["kid"], modulus, int.from_bytes(exponent, "big"))


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("format.runtime_claims", detail, expected=expected, got=got)
