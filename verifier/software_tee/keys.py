"""The makers' private keys: from a seed, the same for ever, or at random.

Rules of the room: these keys exist to be trusted by nobody who has not said so. Signatures are deterministic (ECDSA by
RFC 6979; RSASSA-PSS with a salt derived from key and message), so that a seed determines every byte that is made from
it. The RSA arithmetic is Python's own and not hardened against anybody who can time it: fit for a maker of test
evidence, unfit for anything else. Keys are written to files of mode 0600 and never printed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from threading import RLock
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from verifier.errors import SetupError
from verifier.software_tee import der
from verifier.software_tee.primes import derive_rsa_key

_HASH_OIDS = {"sha256": "2.16.840.1.101.3.4.2.1", "sha384": "2.16.840.1.101.3.4.2.2"}
_ECDSA_OIDS = {"sha1": "1.2.840.10045.4.1", "sha256": "1.2.840.10045.4.3.2", "sha384": "1.2.840.10045.4.3.3"}
_RSASSA_PSS, _MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
_HASHES: dict[str, Callable[[], hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384}

MIN_SEED_BYTES = 16


class SigningKey(Protocol):
    """What can sign a certificate or a revocation list."""

    @property
    def algorithm(self) -> bytes:
        """The AlgorithmIdentifier of its signatures, DER."""

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""

    def sign(self, message: bytes) -> bytes:
        """The content of the signature BIT STRING."""


@dataclass(frozen=True, eq=False)
class EcKey:
    """A key on P-256 or P-384; ``digest`` names the hash it signs with."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)
    digest: str = "sha256"

    @cached_property
    def algorithm(self) -> bytes:
        """ecdsa-with-SHA…, without parameters (RFC 5758)."""
        return der.sequence(der.oid(_ECDSA_OIDS[self.digest]))

    @cached_property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER, named curve."""
        return _public_bytes(self.private.public_key())

    @cached_property
    def public_xy(self) -> bytes:
        """x || y, big-endian."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)[1:]

    @cached_property
    def _scheme(self) -> ec.ECDSA:
        return ec.ECDSA(_HASHES[self.digest](), deterministic_signing=True)

    def sign(self, message: bytes) -> bytes:
        """ECDSA, DER."""
        return self.private.sign(message, self._scheme)

    def sign_raw(self, message: bytes) -> bytes:
        """ECDSA as r || s, big-endian, each as long as the curve's order."""
        r, s = decode_dss_signature(self.sign(message))
        size = (self.private.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


@dataclass(frozen=True, eq=False)
class RsaKey:
    """An RSA key that signs by RSASSA-PSS with MGF1 over the same hash and a salt of the hash's length."""

    private: rsa.RSAPrivateKey = field(repr=False)
    digest: str = "sha384"

    @cached_property
    def algorithm(self) -> bytes:
        """rsassaPss with its parameters (RFC 4055)."""
        hash_id = der.sequence(der.oid(_HASH_OIDS[self.digest]), der.NULL)
        mask_id = der.sequence(der.oid(_MGF1), hash_id)
        salt = der.integer(hashlib.new(self.digest).digest_size)
        return der.sequence(der.oid(_RSASSA_PSS), der.sequence(
            der.explicit(0, hash_id), der.explicit(1, mask_id), der.explicit(2, salt)))

    @cached_property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER, rsaEncryption."""
        return _public_bytes(self.private.public_key())

    @cached_property
    def _numbers(self) -> rsa.RSAPrivateNumbers:
        return self.private.private_numbers()

    def sign(self, message: bytes) -> bytes:
        """RSASSA-PSS (RFC 8017 section 8.1.1), as long as the modulus."""
        size = self.private.key_size
        value = int.from_bytes(self._encode(message, size - 1), "big")
        return _private_operation(self._numbers, value).to_bytes(size // 8, "big")

    def _encode(self, message: bytes, bits: int) -> bytes:
        """EMSA-PSS-ENCODE (RFC 8017 section 9.1.1)."""
        hashed = hashlib.new(self.digest, message).digest()
        secret = self._numbers.d.to_bytes(self.private.key_size // 8, "big")
        salt = hmac.digest(secret, hashed, self.digest)
        seal = hashlib.new(self.digest, bytes(8) + hashed + salt).digest()
        size = (bits + 7) // 8
        block = b"\x01" + salt
        block = bytes(size - len(seal) - 1 - len(block)) + block
        masked = bytearray(a ^ b for a, b in zip(block, self._mask(seal, len(block)), strict=True))
        masked[0] &= 0xFF >> (8 * size - bits)
        return bytes(masked) + seal + b"\xbc"

    def _mask(self, seal: bytes, size: int) -> bytes:
        """MGF1 (RFC 8017 appendix B.2.1)."""
        mask, counter = b"", 0
        while len(mask) < size:
            mask += hashlib.new(self.digest, seal + counter.to_bytes(4, "big")).digest()
            counter += 1
        return mask[:size]


@lru_cache(maxsize=256)
def _private_operation(key: rsa.RSAPrivateNumbers, value: int) -> int:
    """RSASP1 by the Chinese remainder theorem (RFC 8017 section 5.2.1). Kept, because altering one artefact of a maker
    signs all the others again as they were."""
    m_p, m_q = pow(value, key.dmp1, key.p), pow(value, key.dmq1, key.q)
    return m_q + key.q * (key.iqmp * (m_p - m_q) % key.p)


def key_identifier(key: EcKey | RsaKey) -> bytes:
    """SHA-1 of the public key's bits, 20 bytes, as both makers identify keys (RFC 5280 section 4.2.1.2, method 1)."""
    return x509.SubjectKeyIdentifier.from_public_key(key.private.public_key()).digest


PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyRing:
    """A maker's keys by label (``intel/root``), made or read when first asked for. Safe to share between threads.

    ``seed`` of at least 16 bytes determines all of them; None draws them at random.
    """

    def __init__(self, seed: bytes | None) -> None:
        if seed is not None and len(seed) < MIN_SEED_BYTES:
            raise SetupError("software_tee.seed", "the seed is too short", expected=f">= {MIN_SEED_BYTES} bytes",
                             got=f"{len(seed)} bytes")
        self._seed = seed
        self._folder: Path | None = None
        self._keys: dict[str, PrivateKey] = {}
        self._lock = RLock()

    @classmethod
    def load(cls, folder: Path) -> KeyRing:
        """The keys that `save` wrote, and no others."""
        ring = cls(None)
        ring._folder = folder
        return ring

    def save(self, folder: Path) -> None:
        """Every key made so far as PKCS#8 PEM, one file per label (0600), in ``folder`` (0700), which is made."""
        folder.mkdir(mode=0o700)
        for label, key in self._keys.items():
            pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
            handle = os.open(_file(folder, label), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(pem)

    def p256(self, label: str) -> EcKey:
        """The P-256 key of that label, signing with SHA-256."""
        return EcKey(self._ec(label, ec.SECP256R1()), "sha256")

    def p384(self, label: str) -> EcKey:
        """The P-384 key of that label, signing with SHA-384."""
        return EcKey(self._ec(label, ec.SECP384R1()), "sha384")

    def rsa_pss(self, label: str, bits: int = 4096) -> RsaKey:
        """The RSA key of that label, signing with SHA-384. From a seed, 4096 bits take about two seconds."""
        key = self._get(label, lambda: self._make_rsa(label, bits))
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != bits:
            raise SetupError("software_tee.key", f"the key {label} is not RSA with {bits} bits")
        return RsaKey(key)

    def _ec(self, label: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        key = self._get(label, lambda: self._make_ec(label, curve))
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve.name:
            raise SetupError("software_tee.key", f"the key {label} is not on {curve.name}")
        return key

    def _get(self, label: str, make: Callable[[], PrivateKey]) -> PrivateKey:
        with self._lock:
            if label not in self._keys:
                self._keys[label] = make() if self._folder is None else _read(self._folder, label)
            return self._keys[label]

    def _make_ec(self, label: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
        if self._seed is None:
            return ec.generate_private_key(curve)
        size = curve.key_size // 8 + 16  # 128 bits beyond the order, so that the remainder is unbiased
        drawn = int.from_bytes(derive(self._seed, f"ec {curve.name} {label}", size), "big")
        return ec.derive_private_key(drawn % (curve.group_order - 1) + 1, curve)

    def _make_rsa(self, label: str, bits: int) -> rsa.RSAPrivateKey:
        if self._seed is None:
            return rsa.generate_private_key(public_exponent=65537, key_size=bits)
        return derive_rsa_key(derive(self._seed, f"rsa {bits} {label}", 32), bits)


def _file(folder: Path, label: str) -> Path:
    return folder / (label.replace("/", "_") + ".pem")


def _read(folder: Path, label: str) -> PrivateKey:
    path = _file(folder, label)
    try:
        # Checking an RSA key takes a quarter of a second; these were written by `save`.
        key = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, OSError, UnsupportedAlgorithm) as error:
        raise SetupError("software_tee.key", f"{path} cannot be read ({type(error).__name__})") from None
    if not isinstance(key, PrivateKey):
        raise SetupError("software_tee.key", f"{path} is neither an EC nor an RSA key")
    return key


def derive(seed: bytes, label: str, size: int) -> bytes:
    """``size`` bytes that belong to ``label`` (HKDF-SHA-256, RFC 5869)."""
    info = b"attestkit software tee: " + label.encode()
    return HKDF(hashes.SHA256(), size, None, info).derive(seed)


def _public_bytes(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
