"""What `benchmarks/verify.py` times: one verification of each TEE, warm and cold, and the bare checks it needs.

Evidence is the software makers', sixteen pieces in turn, so that no answer is that of the call before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import cycle

import dcap_qvl
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verifier
from verifier.checks.prepared import Prepared
from verifier.collateral.files import recognise
from verifier.endorsements.collateral import AmdCollateral, IntelCollateral
from verifier.endorsements.sm2 import Sm2PublicKey
from verifier.software_tee.intel import collateral_json
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.maker import OWN, SoftwareTee
from verifier.software_tee.makers import MAKERS, REPORT_DATA_SIZES
from verifier.software_tee.sm2 import Sm2Key

PIECES = 16
UNBOUND = Binding.insecure_unbound()

Subjects = dict[str, Callable[[], object]]

# Which bare checks a warm verification of each TEE needs.
BARE = {
    "TDX": ("P-256",), "SGX": ("P-256",), "SNP": ("P-384",), "AZ-SNP-VTPM": ("RSA-2048", "P-384"),
    "AZ-TDX-VTPM": ("RSA-2048", "P-256"), "TPM": ("P-256",), "NITRO": ("P-384",), "CCA": ("P-384",),
    "CSV": ("SM2",), "NVIDIA": ("P-384",),
}


def compared(unseen: int) -> Subjects:
    """Intel's and AMD's, and what they are compared with.

    unseen: how many calls may ask for a quoting enclave that nobody knows.
    """
    at = int(time.time())
    tee = SoftwareTee.create(at=at, tees=OWN)
    subjects = _all_of(tee, [Tee.TDX], at) | _dcap_qvl(tee, at)
    subjects |= _new_keys(tee, _collateral(tee, Tee.TDX), Roots.only_software(tee.roots()), at, unseen)
    return subjects | _all_of(tee, [Tee.SNP], at) | bare("P-256", "P-384")


def others() -> Subjects:
    """The other TEEs'."""
    at = int(time.time())
    kinds = (Tee.SGX, *MAKERS)
    return _all_of(SoftwareTee.create(at=at, tees=kinds), kinds, at) | bare("RSA-2048", "SM2")


def _all_of(tee: SoftwareTee, kinds: Iterable[Tee], at: int) -> Subjects:
    roots = Roots.only_software(tee.roots())
    subjects: Subjects = {}
    for kind in kinds:
        subjects |= _of(kind.value.upper(), _evidences(tee, kind), _collateral(tee, kind), roots, at)
    return subjects


def _evidences(tee: SoftwareTee, kind: Tee) -> list[Evidence]:
    size = REPORT_DATA_SIZES.get(kind, 64)
    return [tee.evidence(kind, bytes([number]) * size) for number in range(PIECES)]


def recorded(quote: bytes, bundle: str, collateral: Collateral, at: int) -> Subjects:
    """One recorded TDX quote."""
    theirs = dcap_qvl.QuoteCollateralV3.from_json(bundle)
    subjects = _of("TDX", [Evidence(Tee.TDX, quote)], collateral, Roots.makers(), at, demand=False)
    return subjects | {"TDX dcap-qvl": lambda: dcap_qvl.verify(quote, theirs, at)} | bare("P-256")


def bare(*names: str) -> Subjects:
    """The signature checks alone, over as many bytes as a quote or report has signed, on keys already loaded."""
    return {f"bare {name}": _BARE[name](bytes(672)) for name in names}


def _collateral(tee: SoftwareTee, kind: Tee) -> Collateral:
    if kind is Tee.SNP:
        return Collateral(amd=AmdCollateral(**tee.amd_collateral()))
    if kind in (Tee.TDX, Tee.SGX):
        return Collateral(intel=IntelCollateral(**tee.intel_collateral(kind)))
    pieces = [recognise(data) for data in tee.maker(kind).collateral_files().values()]
    return Collateral.none().joined([piece for piece in pieces if piece is not None])


def _of(name: str, evidences: list[Evidence], collateral: Collateral, roots: Roots, at: int, *,
        demand: bool = True) -> Subjects:
    verifier = Verifier(roots, collateral=collateral)
    turn = cycle(evidences)

    def warm() -> None:
        _judge(verifier, next(turn), at, demand=demand)

    def cold() -> None:
        _judge(Verifier(roots, collateral=collateral, prepared=Prepared(0)), next(turn), at, demand=demand)

    return {f"{name} warm": warm, f"{name} cold": cold}


def _judge(verifier: Verifier, evidence: Evidence, at: int, *, demand: bool = True) -> None:
    verdict = verifier.verify(evidence, binding=UNBOUND, at=at)
    if not verdict.accepted if demand else not verdict.authentic:
        raise SystemExit(f"not accepted, nothing to measure: {verdict.error or verdict.mismatches}")


def _dcap_qvl(tee: SoftwareTee, at: int) -> Subjects:
    theirs = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral_json(tee.intel_collateral("tdx"))))
    root = x509.load_pem_x509_certificate(tee.intel.chain("root")).public_bytes(Encoding.DER)
    turn = cycle([evidence.quote for evidence in _evidences(tee, Tee.TDX)])
    return {"TDX dcap-qvl": lambda: dcap_qvl.verify_with_root_ca(next(turn), theirs, root, at)}


def _new_keys(tee: SoftwareTee, collateral: Collateral, roots: Roots, at: int, unseen: int) -> Subjects:
    """Each call takes a quote whose QE report nobody has seen, under a PCK chain that is known."""
    verifier = Verifier(roots, collateral=collateral)
    turn = iter([Evidence(Tee.TDX, _quote_of_another_enclave(tee, number)) for number in range(unseen)])
    return {"TDX warm, new attestation key": lambda: _judge(verifier, next(turn), at)}


def _quote_of_another_enclave(tee: SoftwareTee, number: int) -> bytes:
    key = tee.intel.attestation_key.public_xy
    enclave = tee.intel.altered(
        qe_report=lambda report: replace(report, auth_data=number.to_bytes(32, "big")).bound(key))
    return enclave.quote(tee.guest.td_report(bytes(64), bytes(48)))


def _bare_ecdsa(curve: ec.EllipticCurve, digest: hashes.HashAlgorithm, message: bytes) -> Callable[[], object]:
    key, scheme = ec.generate_private_key(curve), ec.ECDSA(digest)
    signature, public = key.sign(message, scheme), key.public_key()
    return lambda: public.verify(signature, message, scheme)


def _bare_rsa(message: bytes) -> Callable[[], object]:
    key, scheme, digest = rsa.generate_private_key(65537, 2048), padding.PKCS1v15(), hashes.SHA256()
    signature, public = key.sign(message, scheme, digest), key.public_key()
    return lambda: public.verify(signature, message, scheme, digest)


def _bare_sm2(message: bytes) -> Callable[[], object]:
    """The verifier's own: no library has one."""
    key = Sm2Key.of(KeyRing(None), "bare", b"HYGON-SSD-PEK")
    (r, s), public = key.sign(message), Sm2PublicKey(*key.public)
    return lambda: public.verify(r, s, message, key.user_id)


_BARE: dict[str, Callable[[bytes], Callable[[], object]]] = {
    "P-256": lambda message: _bare_ecdsa(ec.SECP256R1(), hashes.SHA256(), message[:632]),
    "P-384": lambda message: _bare_ecdsa(ec.SECP384R1(), hashes.SHA384(), message),
    "RSA-2048": lambda message: _bare_rsa(message[:160]),
    "SM2": lambda message: _bare_sm2(message[:180]),
}
