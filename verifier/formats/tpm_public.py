"""TPMT_PUBLIC: a key's public area, and the name that it gives the key.

Big-endian. RSA and ECC keys only. Source: TCG TPM 2.0 Library part 2, section 12.2.4; names: part 1, section 16.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from verifier.errors import UnsupportedEvidence
from verifier.formats.reader import Reader
from verifier.formats.tpm import HashAlg, hash_alg, sized, to_sized

NULL = 0x0010
DEFAULT_EXPONENT = 65537

_SYMMETRIC = (0x0006, 0x0013, 0x0026)  # AES, SM4, Camellia
_RSAES, _ECDAA = 0x0015, 0x001A
_HASHED = (0x0014, 0x0016, 0x0017, 0x0018, 0x0019, 0x001B, 0x001C, 0x001D)  # schemes whose detail is a hash
_KDFS = (0x0007, 0x0020, 0x0021, 0x0022)


class KeyType(IntEnum):
    """TPM_ALG_ID of key types (section 6.3)."""

    RSA = 0x0001
    ECC = 0x0023


class Attributes(IntFlag):
    """TPMA_OBJECT (section 8.3), the bits that attestation looks at."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


# P-224 to P-521 (section 6.4); which of them may attest is for the checks.
_CURVES: dict[int, ec.EllipticCurve] = {2: ec.SECP224R1(), 3: ec.SECP256R1(), 4: ec.SECP384R1(), 5: ec.SECP521R1()}


@dataclass(frozen=True, slots=True)
class Scheme:
    """TPMT_RSA_SCHEME, TPMT_ECC_SCHEME or TPMT_KDF_SCHEME. ``hash`` None where there is none; ``count`` ECDAA's."""

    alg: int = NULL
    hash: HashAlg | None = None
    count: int | None = None

    @classmethod
    def read(cls, reader: Reader, known: tuple[int, ...], field: str) -> Scheme:
        """The next fields; ``known`` are the schemes that carry a hash."""
        alg = reader.uint(2, field)
        if alg in (NULL, _RSAES):
            return cls(alg)
        if alg not in (*known, _ECDAA):
            raise UnsupportedEvidence("tpm.public.scheme", f"unknown {field}", got=hex(alg))
        digest = hash_alg(reader.uint(2, f"{field} hash"), f"a {field}")
        return cls(alg, digest, reader.uint(2, "count") if alg == _ECDAA else None)

    def to_bytes(self) -> bytes:
        """As on the wire."""
        tail = b"" if self.hash is None else self.hash.to_bytes(2, "big")
        return self.alg.to_bytes(2, "big") + tail + (b"" if self.count is None else self.count.to_bytes(2, "big"))


@dataclass(frozen=True, slots=True)
class RsaUnique:
    """RSA: modulus bits, exponent (0 stands for 65537), modulus."""

    bits: int
    exponent: int
    modulus: bytes

    def to_bytes(self) -> bytes:
        """The modulus as TPM2B."""
        return to_sized(self.modulus)


@dataclass(frozen=True, slots=True)
class EccUnique:
    """ECC: TPM_ECC_CURVE, key derivation, and the point. Leading zeros of x and y may be missing."""

    curve: int
    kdf: Scheme
    x: bytes
    y: bytes

    def to_bytes(self) -> bytes:
        """The point as two TPM2B."""
        return to_sized(self.x) + to_sized(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmPublic:
    """A public area.

    attributes: the whole TPMA_OBJECT; see `Attributes`. auth_policy: digest or empty. symmetric: (algorithm, bits,
    mode) of a storage key, None for keys that sign.
    """

    name_alg: HashAlg
    attributes: int
    auth_policy: bytes = b""
    symmetric: tuple[int, int, int] | None = None
    scheme: Scheme
    unique: RsaUnique | EccUnique

    @property
    def type(self) -> KeyType:
        """RSA or ECC."""
        return KeyType.RSA if isinstance(self.unique, RsaUnique) else KeyType.ECC

    @classmethod
    def from_bytes(cls, data: bytes) -> TpmPublic:
        """The whole of ``data`` (TPMT_PUBLIC). Raises `MalformedEvidence` or `UnsupportedEvidence`."""
        reader = Reader(data, "tpmt_public", order="big")
        kind = reader.uint(2, "type")
        if kind not in (*KeyType,):
            raise UnsupportedEvidence("tpm.public.type", "neither an RSA nor an ECC key", got=hex(kind))
        name_alg = hash_alg(reader.uint(2, "nameAlg"), "a public area")
        attributes, policy = reader.uint(4, "objectAttributes"), sized(reader, "authPolicy")
        symmetric = _symmetric(reader)
        scheme = Scheme.read(reader, _HASHED, "scheme")
        unique = _rsa(reader) if kind == KeyType.RSA else _ecc(reader)
        reader.end()
        return cls(name_alg=name_alg, attributes=attributes, auth_policy=policy, symmetric=symmetric, scheme=scheme,
                   unique=unique)

    @classmethod
    def from_sized(cls, data: bytes) -> TpmPublic:
        """As `from_bytes`, from a TPM2B_PUBLIC: the same behind two bytes of length, as tpm2-tools write it."""
        reader = Reader(data, "tpm2b_public", order="big")
        inner = sized(reader, "publicArea")
        reader.end()
        return cls.from_bytes(inner)

    def to_bytes(self) -> bytes:
        """TPMT_PUBLIC."""
        symmetric = b"".join(word.to_bytes(2, "big") for word in self.symmetric or (NULL,))
        head = self.type.to_bytes(2, "big") + self.name_alg.to_bytes(2, "big") + self.attributes.to_bytes(4, "big")
        if isinstance(self.unique, RsaUnique):
            detail = self.unique.bits.to_bytes(2, "big") + self.unique.exponent.to_bytes(4, "big")
        else:
            detail = self.unique.curve.to_bytes(2, "big") + self.unique.kdf.to_bytes()
        return (head + to_sized(self.auth_policy) + symmetric + self.scheme.to_bytes() + detail
                + self.unique.to_bytes())

    @property
    def name(self) -> bytes:
        """nameAlg and the digest of the public area. Raises `UnsupportedEvidence` for SM3."""
        if self.name_alg is HashAlg.SM3:
            raise UnsupportedEvidence("tpm.hash", "names by SM3 are not computed")
        return self.name_alg.to_bytes(2, "big") + hashlib.new(self.name_alg.bank, self.to_bytes()).digest()

    def public_key(self) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
        """The key itself. Raises `MalformedEvidence` when the numbers are no key."""
        try:
            if isinstance(self.unique, RsaUnique):
                exponent = self.unique.exponent or DEFAULT_EXPONENT
                return rsa.RSAPublicNumbers(exponent, int.from_bytes(self.unique.modulus, "big")).public_key()
            x, y = (int.from_bytes(value, "big") for value in (self.unique.x, self.unique.y))
            return ec.EllipticCurvePublicNumbers(x, y, _CURVES[self.unique.curve]).public_key()
        except ValueError:
            raise Reader(b"", "tpmt_public").malformed("the numbers are no public key") from None


def _symmetric(reader: Reader) -> tuple[int, int, int] | None:
    alg = reader.uint(2, "symmetric")
    if alg == NULL:
        return None
    if alg not in _SYMMETRIC:
        raise UnsupportedEvidence("tpm.public.symmetric", "unknown symmetric algorithm", got=hex(alg))
    return alg, reader.uint(2, "symmetric bits"), reader.uint(2, "symmetric mode")


def _rsa(reader: Reader) -> RsaUnique:
    bits, exponent, modulus = reader.uint(2, "keyBits"), reader.uint(4, "exponent"), sized(reader, "modulus")
    if bits != 8 * len(modulus) or not modulus or not modulus[0] & 0x80:
        raise reader.malformed("the modulus does not have the bits it claims", expected=bits, got=8 * len(modulus))
    return RsaUnique(bits, exponent, modulus)


def _ecc(reader: Reader) -> EccUnique:
    curve = reader.uint(2, "curve")
    if curve not in _CURVES:
        raise UnsupportedEvidence("tpm.public.curve", "unknown curve", expected=list(_CURVES), got=hex(curve))
    kdf = Scheme.read(reader, _KDFS, "kdf")
    x, y = sized(reader, "x"), sized(reader, "y")
    if max(len(x), len(y)) > (_CURVES[curve].key_size + 7) // 8:
        raise reader.malformed("a coordinate is longer than the curve's", got=[len(x), len(y)])
    return EccUnique(curve, kdf, x, y)
