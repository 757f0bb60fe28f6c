"""How long does one verification take, beside dcap-qvl and beside the bare signature checks it needs?

All rows are taken in one run on the same evidence: a software TEE's, so that nothing has to be fetched; TDX, SEV-SNP
and what they are compared with interleaved, then the other TEEs with their bare checks. ``--evidence QUOTE --collateral
JSON --at UNIX`` takes a recorded TDX quote instead. *Warm* means that trust was prepared by an earlier quote: the next
quote of a machine that has attested before; "new attestation key" is the first one that a quoting enclave signs with
another key. *Cold* prepares everything anew.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from _report import Bar, Report, machine, say
from _subjects import BARE, PIECES, Subjects, compared, others, recorded

from verifier import load_collateral

ROUNDS = 40
CALLS = 50
SLOW = 0.002  # seconds a call, beyond which fewer calls make a round


def main() -> int:
    """Measure and print."""
    options = _options()
    say("making evidence …")
    first = _recorded(options) if options.evidence else compared(unseen=ROUNDS * CALLS + 3)
    figures = _interleaved(first, options.rounds)
    if not options.evidence:
        say("making the other TEEs' evidence …")
        figures |= _interleaved(others(), options.rounds)
    median = {name: statistics.median(times) for name, times in figures.items()}
    report = Report("One verification, median and minimum of interleaved rounds, microseconds per call")
    report.facts |= {"evidence": str(options.evidence or f"software TEE, {PIECES} pieces in turn"),
                     "rounds": options.rounds, **machine("cryptography", "dcap-qvl")}
    report.rows += [{"what": name, "median": round(median[name], 1), "min": round(min(times), 1),
                     "bare checks": _named(name), "against them": _ratio(name, median)}
                    for name, times in figures.items()]
    report.bars += _bars(figures)
    report.notes += ["The bare checks are OpenSSL's, through the same library, on keys already loaded; SM2's is ours.",
                     "A warm TDX verification knows the attestation key, so one P-256 check is left of two.",
                     "Bars are medians of the ratios in each round; the table's ratios are of medians.",
                     "dcap-qvl verifies chains and collateral at every call; it has no warm mode."]
    return report.show(as_json=options.json)


def _named(name: str) -> str:
    return " + ".join(BARE.get(name.split()[0], ()))


def _ratio(name: str, median: Mapping[str, float]) -> float | None:
    checks = BARE.get(name.split()[0], ())
    return round(median[name] / sum(median[f"bare {check}"] for check in checks), 2) if checks else None


def _bars(figures: Mapping[str, list[float]]) -> list[Bar]:
    bars = [Bar("TDX warm is at least 3 times as fast as dcap-qvl", _paired(figures, "TDX dcap-qvl", "TDX warm"), 3,
                at_most=False)]
    if "SNP warm" in figures:
        bars.append(Bar("SNP warm against one bare P-384 check", _paired(figures, "SNP warm", "bare P-384"), 1.25))
    return bars


def _paired(figures: Mapping[str, list[float]], one: str, other: str) -> float:
    """The median of the ratios in each round: both saw the same slow moments."""
    return statistics.median(a / b for a, b in zip(figures[one], figures[other], strict=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--evidence", type=Path, help="a recorded TDX quote")
    parser.add_argument("--collateral", type=Path, help="its collateral bundle")
    parser.add_argument("--at", type=int, help="its moment, Unix seconds")
    parser.add_argument("--rounds", type=int, default=ROUNDS, choices=range(1, ROUNDS + 1), metavar="N")
    return parser.parse_args()


def _recorded(options: argparse.Namespace) -> Subjects:
    bundle = options.collateral.read_text()
    return recorded(options.evidence.read_bytes(), bundle, load_collateral([options.collateral]), options.at)


def _interleaved(subjects: Subjects, rounds: int) -> dict[str, list[float]]:
    """Microseconds per call for each subject, ``rounds`` times in turn, so that a slow moment hits all alike."""
    gc.collect()  # this and the next two as kbs serve has it
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    say("measuring …")
    for subject in subjects.values():
        subject()  # prepares
    calls = {name: CALLS if _timed(subject, 2) < SLOW else 5 for name, subject in subjects.items()}
    figures: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            figures[name].append(_timed(subject, calls[name]) * 1e6)
    return figures


def _timed(subject: Callable[[], object], calls: int) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(calls):
        subject()
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    sys.exit(main())
