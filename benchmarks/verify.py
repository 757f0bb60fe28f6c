"""How long does one verification take, beside dcap-qvl and beside the bare signature checks it needs?

All rows are taken in one run, interleaved, on the same evidence: a software TEE's, so that nothing has to be fetched;
``--evidence QUOTE --collateral JSON --at UNIX`` takes a recorded TDX quote instead. *Warm* means that trust was
prepared by an earlier quote: "known attestation key" is the next quote of a machine that has attested before, "new
attestation key" the first one that a quoting enclave signs with another key. *Cold* prepares everything anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import dcap_qvl
from _report import Bar, Report, machine, say
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verifier, load_collateral
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import AmdCollateral, IntelCollateral
from verifier.software_tee.intel import collateral_json
from verifier.software_tee.maker import SoftwareTee

ROUNDS = 40
CALLS = 50
UNBOUND = Binding.insecure_unbound()


def main() -> int:
    """Measure and print."""
    options = _options()
    subjects = _recorded(options) if options.evidence else _software()
    say("measuring …")
    figures = _interleaved(subjects)
    report = Report("One verification, median and minimum of interleaved rounds, microseconds per call")
    report.facts |= {"evidence": str(options.evidence or "software TEE"), "rounds": ROUNDS, "calls a round": CALLS,
                     **machine("cryptography", "dcap-qvl")}
    bare = {"TDX": figures["two bare P-256 checks"], "SNP": figures.get("one bare P-384 check")}
    for name, times in figures.items():
        base = bare["SNP"] if name.startswith(("SNP", "one bare P-384")) else bare["TDX"]
        report.rows.append({"what": name, "median": round(statistics.median(times), 1), "min": round(min(times), 1),
                            "against its bare checks": round(statistics.median(times) / statistics.median(base or [1]),
                                                             2)})
    report.bars += _bars(figures)
    report.notes += ["The bare checks are OpenSSL's, through the same library, on keys already loaded.",
                     "With a known attestation key one P-256 check is left; a new key costs a second one.",
                     "dcap-qvl verifies chains and collateral at every call; it has no warm mode."]
    return report.show(as_json=options.json)


def _bars(figures: dict[str, list[float]]) -> list[Bar]:
    median = {name: statistics.median(times) for name, times in figures.items()}
    bars = [Bar("TDX warm is at least 3 times as fast as dcap-qvl",
                median["TDX dcap-qvl"] / median["TDX warm, known attestation key"], 3, at_most=False)]
    if "SNP warm" in median:
        bars.append(Bar("SNP warm against one bare P-384 check", median["SNP warm"] / median["one bare P-384 check"],
                        1.25))
    return bars


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--evidence", type=Path, help="a recorded TDX quote")
    parser.add_argument("--collateral", type=Path, help="its collateral bundle")
    parser.add_argument("--at", type=int, help="its moment, Unix seconds")
    return parser.parse_args()


def _interleaved(subjects: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Microseconds per call for each subject, ``ROUNDS`` times in turn, so that a slow moment hits all alike."""
    figures: dict[str, list[float]] = {name: [] for name in subjects}
    for subject in subjects.values():
        subject()
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            calls = CALLS if "cold" not in name else 5
            start = time.perf_counter()
            for _ in range(calls):
                subject()
            figures[name].append((time.perf_counter() - start) / calls * 1e6)
    return figures


def _software() -> dict[str, Callable[[], object]]:
    at = int(time.time())
    tee = SoftwareTee.create(at=at)
    roots = Roots.only_software(tee.roots())
    intel = Collateral(intel=IntelCollateral(**tee.intel_collateral("tdx")))
    quotes = [tee.evidence("tdx", bytes([n]) * 64).quote for n in range(16)]
    subjects = _tdx(quotes, intel, roots, at, collateral_json(tee.intel_collateral("tdx")), tee.roots())
    subjects |= _new_keys(tee, intel, roots, at)
    amd = Collateral(amd=AmdCollateral(**tee.amd_collateral()))
    reports = [tee.evidence("snp", bytes([n]) * 64) for n in range(16)]
    return subjects | _snp(reports, amd, roots, at) | _bare()


def _recorded(options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    quote, bundle = options.evidence.read_bytes(), options.collateral.read_text()
    collateral = load_collateral([options.collateral])
    verifier = Verifier(collateral=collateral)
    theirs = dcap_qvl.QuoteCollateralV3.from_json(bundle)
    evidence = Evidence(Tee.TDX, quote)
    return {
        "TDX warm, known attestation key": lambda: verifier.verify(evidence, binding=UNBOUND, at=options.at),
        "TDX cold": lambda: _cold(Roots.makers(), collateral, evidence, options.at),
        "TDX dcap-qvl": lambda: dcap_qvl.verify(quote, theirs, options.at),
    } | _bare()


def _tdx(quotes: list[bytes], collateral: Collateral, roots: Roots, at: int, bundle: dict[str, str],
         root_pems: list[bytes]) -> dict[str, Callable[[], object]]:
    verifier = Verifier(roots, collateral=collateral)
    evidences = cycle([Evidence(Tee.TDX, quote) for quote in quotes])
    theirs = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(bundle))
    root = next(c for pem in root_pems for c in x509.load_pem_x509_certificates(pem) if "SGX" in str(c.subject))
    root_der = root.public_bytes(Encoding.DER)
    turn = cycle(quotes)
    return {
        "TDX warm, known attestation key": lambda: _accepted(verifier, next(evidences), at),
        "TDX cold": lambda: _cold(roots, collateral, next(evidences), at),
        "TDX dcap-qvl": lambda: dcap_qvl.verify_with_root_ca(next(turn), theirs, root_der, at),
    }


def _new_keys(tee: SoftwareTee, collateral: Collateral, roots: Roots,
              at: int) -> dict[str, Callable[[], object]]:
    """Each call takes a quote whose QE report nobody has seen, under a PCK chain that is known."""
    verifier = Verifier(roots, collateral=collateral)
    unseen = iter([Evidence(Tee.TDX, _quote_of_another_enclave(tee, number)) for number in range(ROUNDS * CALLS + 1)])
    return {"TDX warm, new attestation key": lambda: _accepted(verifier, next(unseen), at)}


def _quote_of_another_enclave(tee: SoftwareTee, number: int) -> bytes:
    key = tee.intel.attestation_key.public_xy
    enclave = tee.intel.altered(
        qe_report=lambda report: replace(report, auth_data=number.to_bytes(32, "big")).bound(key))
    return enclave.quote(tee.guest.td_report(bytes(64), bytes(48)))


def _snp(reports: list[Evidence], collateral: Collateral, roots: Roots, at: int) -> dict[str, Callable[[], object]]:
    verifier = Verifier(roots, collateral=collateral)
    turn = cycle(reports)
    return {"SNP warm": lambda: _accepted(verifier, next(turn), at),
            "SNP cold": lambda: _cold(roots, collateral, next(turn), at)}


def _accepted(verifier: Verifier, evidence: Evidence, at: int) -> None:
    verdict = verifier.verify(evidence, binding=UNBOUND, at=at)
    if not verdict.accepted:
        raise SystemExit(f"not accepted, nothing to measure: {verdict.error or verdict.mismatches}")


def _cold(roots: Roots, collateral: Collateral, evidence: Evidence, at: int) -> None:
    _accepted(Verifier(roots, collateral=collateral, prepared=Prepared(0)), evidence, at)


def _bare() -> dict[str, Callable[[], object]]:
    """The signature checks alone: two over a TD quote's 632 bytes, one over an SNP report's 672."""
    p256, p384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
    quote, report = bytes(632), bytes(672)
    by256, by384 = ec.ECDSA(hashes.SHA256()), ec.ECDSA(hashes.SHA384())
    signed256, signed384 = p256.sign(quote, by256), p384.sign(report, by384)
    public256, public384 = p256.public_key(), p384.public_key()

    def two() -> None:
        public256.verify(signed256, quote, by256)
        public256.verify(signed256, quote, by256)

    return {"two bare P-256 checks": two,
            "one bare P-384 check": lambda: public384.verify(signed384, report, by384)}


if __name__ == "__main__":
    sys.exit(main())
