"""How each maker signs its certificates: one algorithm, one kind of key, no choice left to whoever is judged."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Scheme:
    """One signature algorithm with the keys that may use it.

    told: in words. oids: as certificates name the algorithm. curve: for ECDSA, else None. bits: smallest and largest
    RSA modulus, else None. hash: of the signed bytes. salt: of RSASSA-PSS in bytes, None for PKCS #1 v1.5.
    """

    told: str
    oids: tuple[x509.ObjectIdentifier, ...]
    hash: hashes.HashAlgorithm
    curve: type[ec.EllipticCurve] | None = None
    bits: tuple[int, int] | None = None
    salt: int | None = None

    def fits(self, key: PublicKey, algorithm: x509.ObjectIdentifier) -> bool:
        """Whether ``key`` is of the kind, and ``algorithm`` the one, that this scheme demands."""
        if algorithm not in self.oids:
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            return self.curve is not None and isinstance(key.curve, self.curve)
        return self.bits is not None and self.bits[0] <= key.key_size <= self.bits[1]

    def verify(self, key: PublicKey, signature: bytes, signed: bytes) -> None:
        """Raises `cryptography.exceptions.InvalidSignature`. ``key`` must fit."""
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(self.hash))
        elif self.salt is not None:
            key.verify(signature, signed, padding.PSS(padding.MGF1(self.hash), self.salt), self.hash)
        else:
            key.verify(signature, signed, padding.PKCS1v15(), self.hash)


INTEL = Scheme("ECDSA P-256 with SHA-256", (SignatureAlgorithmOID.ECDSA_WITH_SHA256,), hashes.SHA256(),
               curve=ec.SECP256R1)
AMD = Scheme("RSASSA-PSS with a 4096-bit key", (SignatureAlgorithmOID.RSASSA_PSS,), hashes.SHA384(), bits=(4096, 4096),
             salt=48)
P384 = Scheme("ECDSA P-384 with SHA-384", (SignatureAlgorithmOID.ECDSA_WITH_SHA384,), hashes.SHA384(),
              curve=ec.SECP384R1)
RSA_SHA256 = Scheme("RSASSA-PKCS1-v1_5 with SHA-256 and a key of 2048 to 4096 bits",
                    (SignatureAlgorithmOID.RSA_WITH_SHA256,), hashes.SHA256(), bits=(2048, 4096))
RSA_SHA384 = Scheme("RSASSA-PKCS1-v1_5 with SHA-384 and a key of 2048 to 4096 bits",
                    (SignatureAlgorithmOID.RSA_WITH_SHA384,), hashes.SHA384(), bits=(2048, 4096))
