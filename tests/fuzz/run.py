#!/usr/bin/env python3
"""Fuzz one target with libFuzzer, guided by coverage of this project's own code.

    python tests/fuzz/run.py --list
    python tests/fuzz/run.py formats.quote                       until something is found, or Ctrl-C
    python tests/fuzz/run.py formats.quote -max_total_time=60    any option of libFuzzer; the last of two counts
    python tests/fuzz/run.py formats.quote path/to/reproducer    that input alone
    python tests/fuzz/run.py --seconds 60 --all                  every target in turn, one line each
    python tests/fuzz/run.py --brief formats.quote eventlog      what the test suite does; a room is all its targets

The first inputs (recorded evidence read in place, and what the software makers make) are written into a temporary
folder that is removed afterwards; ``--corpus FOLDER`` keeps what was found interesting. An input that breaks a
property is written into ``--reproducers FOLDER`` (by default a new temporary folder). Exit status: 0 nothing found,
1 a finding, 2 not run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz.targets import ROOMS, load, room_of  # noqa: E402 - the path comes first

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.harness import Target

PACKAGES = ["verifier", "kbs", "attestation"]
# Makers and their arithmetic are tools here; what they write is what is read.
NOT_INSTRUMENTED = ["verifier.software_tee", "verifier.testing"]
BRIEF_SEED, BRIEF_SEEDS, BRIEF_SEED_BYTES = 20260528, 8, 32 * 1024
TIMEOUT, BRIEF_SECONDS, MEMORY_MB = 30, 60, 2048


@dataclass(frozen=True)
class Options:
    """What was asked for. seconds: for each target, None without end. flags: libFuzzer's own, and reproducers."""

    reproducers: Path
    corpus: Path | None
    seconds: int | None
    brief: bool
    flags: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    asked, flags = _parser().parse_known_args(arguments)
    if asked.list:
        print("\n".join(load(ROOMS)))
        return 0
    inputs = [name for name in asked.targets if Path(name).is_file()]
    told = list(ROOMS) if asked.all else [name for name in asked.targets if name not in inputs]
    unknown = [name for name in told if room_of(name) not in ROOMS]
    if unknown or not told:
        print(f"no such room: {', '.join(unknown)}" if unknown else "say which target, a room, or --all",
              file=sys.stderr)
        return 2
    try:
        import atheris
    except ImportError:
        print("needs the package atheris: pip install --group fuzz", file=sys.stderr)
        return 2
    targets = _load(atheris, told)
    if not targets:
        return 2
    reproducers = asked.reproducers or Path(tempfile.mkdtemp(prefix="attestkit-fuzz-"))
    reproducers.mkdir(parents=True, exist_ok=True)
    print(f"reproducers go to {reproducers}", flush=True)
    options = Options(reproducers, asked.corpus, asked.seconds, asked.brief, tuple(flags + inputs))
    return max([_run(atheris, target, options) for target in targets])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Fuzz the parsers. Options of libFuzzer (-runs=…) are passed on.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="targets, rooms, or one reproducer's path")
    parser.add_argument("--list", action="store_true", help="tell the targets and end")
    parser.add_argument("--all", action="store_true", help="every target")
    parser.add_argument("--seconds", type=int, help="for each target")
    parser.add_argument("--brief", action="store_true", help="few inputs, always the same: for the test suite")
    parser.add_argument("--reproducers", type=Path, metavar="FOLDER", help="default: a new temporary folder")
    parser.add_argument("--corpus", type=Path, metavar="FOLDER", help="keep interesting inputs in FOLDER/TARGET")
    return parser


def _load(atheris: Any, told: Sequence[str]) -> list[Target]:
    """The targets of these names, with the project's modules instrumented as they are imported."""
    with _silent(), atheris.instrument_imports(include=PACKAGES, exclude=NOT_INSTRUMENTED):
        table = load(dict.fromkeys(map(room_of, told)))
    unknown = [name for name in told if name not in ROOMS and name not in table]
    if unknown:
        print(f"no such target: {', '.join(unknown)}", file=sys.stderr)
        return []
    return [target for name, target in table.items() if name in told or room_of(name) in told]


def _run(atheris: Any, target: Target, options: Options) -> int:
    """One target in a process of its own: libFuzzer ends the process that it runs in, and may be ended by memory."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attestkit-fuzz-seeds-") as folder:
        seeds, scratch = Path(folder, "seeds"), Path(folder, "scratch")
        count = _write_seeds(target, seeds, brief=options.brief)
        scratch.mkdir()
        log = options.reproducers / f"{target.name}.log"
        child = os.fork()
        if child == 0:
            tempfile.tempdir = str(scratch)  # libFuzzer ends the process at once: nothing there is tidied up
            _fuzz(atheris, target, seeds, log, options)
        status = _ended(child)
    _tell(target.name, status or 0, count, log, time.monotonic() - started, options)
    if status is None:
        sys.exit(130)
    return int(status != 0)


def _ended(child: int) -> int | None:
    """Its exit status; None when the user had enough."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        return None


def _fuzz(atheris: Any, target: Target, seeds: Path, log: Path, options: Options) -> None:
    """Ends the process, by an exit that libFuzzer notices: then it writes the reproducer."""
    from tests.fuzz.mutators import Mutator

    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    inputs = [flag for flag in options.flags if Path(flag).is_file()]
    folders = [] if inputs else [str(seeds)]
    if options.corpus is not None and not inputs:
        kept = options.corpus / target.name
        kept.mkdir(parents=True, exist_ok=True)
        folders.insert(0, str(kept))
    longest = max((path.stat().st_size for path in seeds.iterdir()), default=0)
    flags = [f"-artifact_prefix={options.reproducers}/{target.name}-", f"-timeout={TIMEOUT}",
             f"-rss_limit_mb={MEMORY_MB}", f"-max_len={max(4096, longest + longest // 4)}", "-print_final_stats=1"]
    if options.brief:
        flags += [f"-runs={target.brief_runs}", f"-seed={BRIEF_SEED}", f"-max_total_time={BRIEF_SECONDS}"]
    elif options.seconds is not None:
        flags.append(f"-max_total_time={options.seconds}")
    # Atheris puts the function itself in its place when fuzzing begins: it is looked up at each call.
    mutator = Mutator(lambda data, size: atheris.Mutate(data, size))
    atheris.Setup(["run.py", *flags, *options.flags, *folders], lambda data: _try(target, data), custom_mutator=mutator)
    atheris.Fuzz()


def _try(target: Target, data: bytes) -> None:
    """One input. Atheris does not tell what stands behind an exception."""
    try:
        target(data)
    except Exception:
        traceback.print_exc()
        raise


def _write_seeds(target: Target, folder: Path, *, brief: bool) -> int:
    """Each seed once, under its digest. A brief run takes the shortest few."""
    seeds = sorted(set(target.seeds()), key=lambda seed: (len(seed), seed))
    if brief:
        seeds = [seed for seed in seeds if len(seed) <= BRIEF_SEED_BYTES][:BRIEF_SEEDS] or seeds[:1]
    folder.mkdir()
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:32]).write_bytes(seed)
    return len(seeds)


def _tell(name: str, status: int, seeds: int, log: Path, seconds: float, options: Options) -> None:
    text = log.read_text("utf-8", "replace")
    runs = re.findall(r"stat::number_of_executed_units: (\d+)", text)
    coverage = re.findall(r"cov: (\d+)", text)
    tried, reached = runs[-1] if runs else "?", coverage[-1] if coverage else "?"
    print(f"{name:<36} {tried:>9} runs {seeds:>4} seeds  cov {reached:>5} {seconds:6.1f} s  "
          f"{'ok' if status == 0 else 'FOUND'}", flush=True)
    if status == 0:
        log.unlink()
        return
    found = sorted(map(str, options.reproducers.glob(f"{name}-*")))
    print(f"  {', '.join(found) or 'no reproducer was written'}\n  {log}", flush=True)
    begin = text.find("Traceback (most recent call last)")
    trouble = text[begin:].partition("=== Uncaught")[0] if begin >= 0 else text[-2000:]
    print("\n".join(f"    {line}" for line in trouble.splitlines()[:80]), flush=True)


@contextmanager
def _silent() -> Iterator[None]:
    """Atheris tells of every module that it instruments."""
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    os.dup2(sink, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


if __name__ == "__main__":
    sys.exit(main())
