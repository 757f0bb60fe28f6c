"""The signature of a COSE_Sign1 message under a key that the caller has reason to believe.

The algorithm is the protected header's, and each algorithm has its one curve and hash; a key on another curve is
refused before any arithmetic. Source: RFC 9053 section 2.1.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.formats.cose import Algorithm, CoseSign1
from verifier.trail import Trail

_SCHEMES: dict[Algorithm, tuple[ec.EllipticCurve, ec.ECDSA]] = {
    Algorithm.ES256: (ec.SECP256R1(), ec.ECDSA(hashes.SHA256())),
    Algorithm.ES384: (ec.SECP384R1(), ec.ECDSA(hashes.SHA384())),
    Algorithm.ES512: (ec.SECP521R1(), ec.ECDSA(hashes.SHA512())),
}


def check_signature(trail: Trail, rule: str, message: CoseSign1, key: object) -> None:
    """``message`` must be signed by ``key``; notes ``<rule>.curve``, ``<rule>.range`` and ``<rule>``.

    Whether ``key`` deserves belief, and whether its maker uses this algorithm at all, is the caller's to know.
    """
    curve, scheme = _SCHEMES[message.algorithm]
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve.name:
        got = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
        raise trail.fail(f"{rule}.curve", "each algorithm has its one curve", expected=curve.name, got=got)
    trail.passed(f"{rule}.curve", got=curve.name)
    half = len(message.signature) // 2
    pair = int.from_bytes(message.signature[:half], "big"), int.from_bytes(message.signature[half:], "big")
    trail.require(f"{rule}.range", all(0 < value < curve.group_order for value in pair), "r and s must lie in 1..n-1")
    try:
        key.verify(encode_dss_signature(*pair), message.signed_bytes, scheme)
    except InvalidSignature:
        raise trail.fail(rule, "the message is not signed by this key") from None
    trail.passed(rule)
