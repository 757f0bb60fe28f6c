"""Does a verification cost the same beside one known platform and beside a hundred thousand, and is memory bounded?

Each platform is a TDX machine of its own: its PCK certificate, signed by a small Intel, and a quote. One verifier meets
more and more of them, and at each size it judges, in turn, the last ones that it met, some from all that it met, and
some that are new to it. It keeps what it prepared for as many as it has room for: once with room for all of them, once
with the room that it has by default. The quotes are made by other processes, since that takes longer than judging.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.pool import Pool
from pathlib import Path

from _report import Bar, Report, machine, say

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verifier
from verifier.checks.prepared import DEFAULT_CAPACITY, Prepared
from verifier.endorsements.collateral import IntelCollateral
from verifier.software_tee.maker import SoftwareTee

SIZES = (1, 100, 10_000, 100_000)
KEPT_PER_PLATFORM = 4  # chain, attestation key, platform, and what is shared
FLAT = 1.5
SAMPLES, ROUNDS = 50, 10
BLOCK = 1000  # quotes made ahead at most: they would count as memory
NEW = 2**32  # machines of higher numbers are nobody's acquaintance
UNBOUND = Binding.insecure_unbound()


def main() -> int:
    """Measure and print."""
    options = _options()
    world = World()
    report = Report("One TDX verification beside N known platforms, microseconds, and what they take in memory")
    report.facts |= machine("cryptography")
    sizes = sorted(options.platforms)
    with multiprocessing.get_context("fork").Pool(2, MAKING.append, (world,)) as pool:
        for room, capacity in (("default", DEFAULT_CAPACITY), ("for all", KEPT_PER_PLATFORM * sizes[-1] + 16)):
            report.rows += Room(world, pool, room, capacity).met(sizes)
    cost = [row["any us"] for row in report.rows if row["room"] == "for all"]
    report.bars.append(Bar("cost of any, beside the most against the fewest", round(cost[-1] / cost[0], 2), FLAT))
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


MAKING: list[World] = []  # in the processes that make quotes: what they were started with


def _quote(number: int) -> Evidence:
    return MAKING[0].quote(number)


class Room:
    """A verifier with room for ``capacity`` objects, and what it has met."""

    def __init__(self, world: World, pool: Pool, name: str, capacity: int) -> None:
        self.world, self.pool, self.name = world, pool, name
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what an earlier room gave back
        self.before, self.prepared, self.known = _resident(), Prepared(capacity), 0
        self.verifier = Verifier(world.roots, collateral=world.collateral, prepared=self.prepared)

    def met(self, sizes: Iterable[int]) -> Iterator[dict[str, object]]:
        """One row at each of ``sizes``, which grow."""
        for size in sizes:
            while self.known < size:
                block = range(self.known, min(size, self.known + BLOCK))
                for evidence in self.pool.imap(_quote, block, chunksize=50):
                    self._judge(evidence)
                self.known = block.stop
                if self.known % 10_000 == 0:
                    say(f"  {self.name}: {self.known:,} platforms …")
            yield self._row()

    def _row(self) -> dict[str, object]:
        grown, kept = max(0, _resident() - self.before), len(self.prepared)
        last = range(max(0, self.known - SAMPLES), self.known)
        anywhere = range(0, self.known, max(1, self.known // SAMPLES))
        strangers = range(NEW + self.known, NEW + self.known + SAMPLES)
        return {"platforms": self.known, "room": self.name, "last us": self._microseconds(last, ROUNDS),
                "any us": self._microseconds(anywhere, ROUNDS), "new us": self._microseconds(strangers, 1),
                "kept": kept, "MiB": round(grown / 2**20, 1), "KiB per platform": round(grown / 1024 / self.known, 1)}

    def _judge(self, evidence: Evidence) -> None:
        verdict = self.verifier.verify(evidence, binding=UNBOUND, at=self.world.at)
        if not verdict.accepted:
            raise SystemExit(f"not accepted, nothing to measure: {verdict.error or verdict.mismatches}")

    def _microseconds(self, numbers: range, rounds: int) -> float:
        """The median over all of these machines and rounds."""
        quotes, times = self.pool.map(_quote, numbers), []
        for quote in quotes * rounds:
            start = time.perf_counter()
            self._judge(quote)
            times.append((time.perf_counter() - start) * 1e6)
        return round(statistics.median(times), 1)


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
