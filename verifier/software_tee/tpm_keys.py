"""Attestation keys of a small TPM: they sign as a TPM does, and know their public area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from verifier.formats.tpm import HashAlg
from verifier.formats.tpm_public import Attributes, EccUnique, RsaUnique, Scheme, TpmPublic
from verifier.formats.tpm_signature import SignatureScheme, TpmSignature
from verifier.software_tee.keys import EcKey, KeyRing, RsaKey

Algorithm = Literal["p256", "p384", "rsa"]

AK_ATTRIBUTES = (Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN
                 | Attributes.USER_WITH_AUTH | Attributes.RESTRICTED | Attributes.SIGN)
EK_ATTRIBUTES = (Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN
                 | Attributes.RESTRICTED | Attributes.DECRYPT)
KEY_ATTRIBUTES = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN | Attributes.SIGN

_AES_128_CFB = (0x0006, 128, 0x0043)
_CURVES = {"secp256r1": 3, "secp384r1": 4, "secp224r1": 2}
_HASHES: dict[HashAlg, hashes.HashAlgorithm] = {
    HashAlg.SHA1: hashes.SHA1(), HashAlg.SHA256: hashes.SHA256(),  # noqa: S303 - TPMs still do
    HashAlg.SHA384: hashes.SHA384(), HashAlg.SHA512: hashes.SHA512()}


@dataclass(frozen=True, eq=False)
class TpmKey:
    """A key with the scheme that it is bound to."""

    key: EcKey | RsaKey
    scheme: SignatureScheme
    hash: HashAlg = HashAlg.SHA256

    @classmethod
    def of(cls, keys: KeyRing, label: str, algorithm: Algorithm = "p256",
           scheme: SignatureScheme | None = None) -> TpmKey:
        """The key of that label: ECDSA for curves, RSASSA with 2048 bits unless ``scheme`` says RSAPSS."""
        if algorithm == "rsa":
            return cls(keys.rsa_pss(f"{label}/rsa", 2048), scheme or SignatureScheme.RSASSA)
        curve = keys.p256 if algorithm == "p256" else keys.p384
        return cls(curve(f"{label}/{algorithm}"), SignatureScheme.ECDSA)

    def sign(self, message: bytes) -> TpmSignature:
        """TPMT_SIGNATURE; always the same for one message."""
        if isinstance(self.key, EcKey):
            raw = EcKey(self.key.private, self.hash.bank).sign_raw(message)
            parts: tuple[bytes, ...] = (raw[: len(raw) // 2], raw[len(raw) // 2 :])
        elif self.scheme is SignatureScheme.RSAPSS:
            parts = (RsaKey(self.key.private, self.hash.bank).sign(message),)
        else:
            parts = (self.key.private.sign(message, padding.PKCS1v15(), _HASHES[self.hash]),)
        return TpmSignature(self.scheme, self.hash, parts)

    def public_area(self, attributes: int = AK_ATTRIBUTES) -> TpmPublic:
        """TPMT_PUBLIC, named by SHA-256; a key that decrypts is a storage key and has no scheme of its own."""
        storage = bool(attributes & Attributes.DECRYPT)
        return TpmPublic(name_alg=HashAlg.SHA256, attributes=int(attributes),
                         symmetric=_AES_128_CFB if storage else None,
                         scheme=Scheme() if storage else Scheme(self.scheme, self.hash), unique=self._unique())

    def _unique(self) -> EccUnique | RsaUnique:
        if isinstance(self.key, EcKey):
            point = self.key.public_xy
            curve = _CURVES[self.key.private.curve.name]
            return EccUnique(curve, Scheme(), point[: len(point) // 2], point[len(point) // 2 :])
        numbers = self.key.private.public_key().public_numbers()
        return RsaUnique(self.key.private.key_size, 0, numbers.n.to_bytes(self.key.private.key_size // 8, "big"))
