"""Does a verification cost the same beside one known platform and beside a hundred thousand, and is memory bounded?

Each platform is a TDX machine of its own: its PCK certificate, signed by a small Intel, and a quote. All attest to one
verifier; then the first one, the last one and a stranger are timed. The verifier keeps what it prepared for as many as
it has room for: with room for all, and with the room that it has by default.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from _report import Bar, Report, machine, say

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verifier
from verifier.checks.prepared import DEFAULT_CAPACITY, Prepared
from verifier.endorsements.collateral import IntelCollateral
from verifier.software_tee.maker import SoftwareTee

SIZES = (1, 100, 10_000, 100_000)
KEPT_PER_PLATFORM = 4  # chain, attestation key, platform, and what is shared
FLAT = 1.5
UNBOUND = Binding.insecure_unbound()


def main() -> int:
    """Measure and print."""
    options = _options()
    world = World()
    report = Report("One warm TDX verification beside N known platforms, microseconds, and what they take in memory")
    report.facts |= machine("cryptography")
    for size in options.platforms:
        for room, capacity in (("for all", KEPT_PER_PLATFORM * size + 16), ("default", DEFAULT_CAPACITY)):
            report.rows.append(world.measure(size, room, capacity))
    warm = [row["known us"] for row in report.rows if row["room"] == "for all"]
    report.bars.append(Bar("cost beside the most platforms against the fewest", round(warm[-1] / warm[0], 2), FLAT))
    kept = [row["kept"] for row in report.rows if row["room"] == "default"]
    report.bars.append(Bar("objects kept with the default room", max(kept), DEFAULT_CAPACITY))
    return report.show(as_json=options.json)


class World:
    """A small Intel and its machines."""

    def __init__(self) -> None:
        self.at = int(time.time())
        self.tee = SoftwareTee.create(at=self.at, tees=("tdx",))
        self.roots = Roots.only_software(self.tee.roots())
        self.collateral = Collateral(intel=IntelCollateral(**self.tee.intel_collateral("tdx")))
        self.report = self.tee.guest.td_report(bytes(64), bytes(48))

    def quote(self, number: int) -> Evidence:
        """Of machine ``number``."""
        platform = replace(self.tee.intel.platform, ppid=number.to_bytes(16, "big"))
        return Evidence(Tee.TDX, self.tee.intel.on(platform).quote(self.report))

    def measure(self, size: int, room: str, capacity: int) -> dict[str, object]:
        """One row."""
        gc.collect()
        before, prepared = _resident(), Prepared(capacity)
        verifier = Verifier(self.roots, collateral=self.collateral, prepared=prepared)
        first = self.quote(0)
        for number in range(size):
            self._judge(verifier, self.quote(number))
            if number and number % 10_000 == 0:
                say(f"  {number:,} of {size:,} platforms …")
        self._judge(verifier, first)
        known = _microseconds(lambda: self._judge(verifier, first))
        grown = max(0, _resident() - before)
        return {"platforms": size, "room": room, "known us": known, "kept": len(prepared),
                "MiB": round(grown / 2**20, 1), "KiB per platform": round(grown / 1024 / size, 1)}

    def _judge(self, verifier: Verifier, evidence: Evidence) -> None:
        verdict = verifier.verify(evidence, binding=UNBOUND, at=self.at)
        if not verdict.accepted:
            raise SystemExit(f"not accepted, nothing to measure: {verdict.error or verdict.mismatches}")


def _microseconds(call: Callable[[], None]) -> float:
    rounds = []
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(50):
            call()
        rounds.append((time.perf_counter() - start) / 50 * 1e6)
    return round(statistics.median(rounds), 1)


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--platforms", type=int, nargs="+", default=SIZES, metavar="N", help="how many, several times")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
