"""What every benchmark prints: a table for people or, with ``--json``, one JSON document on stdout and nothing else.

Rows are measurements. Bars are what the project promises of them: each compares one figure with its limit in the same
run, and a benchmark whose bar does not hold exits 1. Progress goes to stderr.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise: ``value`` may be at most (``at_most``) or must be at least (otherwise) ``limit``."""

    name: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        """Whether the promise was kept in this run."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(slots=True)
class Report:
    """One benchmark's outcome. ``rows`` share their keys, which become columns; ``facts`` say what was run on what."""

    question: str
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def show(self, *, as_json: bool) -> int:
        """Print, and return the exit code: 0 when every bar holds, otherwise 1."""
        print(self._json() if as_json else self._text())
        return 0 if all(bar.holds for bar in self.bars) else 1

    def _json(self) -> str:
        document = asdict(self) | {"bars": [asdict(bar) | {"holds": bar.holds} for bar in self.bars]}
        return json.dumps(document, indent=2)

    def _text(self) -> str:
        parts = [self.question, *(f"  {name}: {value}" for name, value in self.facts.items()), "", *_table(self.rows)]
        if self.bars:
            parts += ["", *map(_bar_line, self.bars)]
        return "\n".join([*parts, "", *(f"- {note}" for note in self.notes)]).rstrip()


def machine(*distributions: str) -> dict[str, Any]:
    """Processor, usable cores, kernel, Python, and the installed versions of ``distributions``."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in distributions},
    }


def say(text: str) -> None:
    """Talk about progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _bar_line(bar: Bar) -> str:
    sign = "<=" if bar.at_most else ">="
    return f"{'holds' if bar.holds else 'FAILS'}  {bar.name}: {_cell(bar.value)} ({sign} {_cell(bar.limit)})"


def _table(rows: list[dict[str, Any]]) -> Iterable[str]:
    if not rows:
        return
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [isinstance(value, int | float) for value in rows[0].values()]
    for number, line in enumerate(cells):
        yield "  ".join(cell.rjust(width) if flush else cell.ljust(width)
                        for cell, width, flush in zip(line, widths, right, strict=True)).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
