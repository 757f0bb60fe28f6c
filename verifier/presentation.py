"""What people see on a terminal: verdicts, fields, replays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from verifier.endorsements.window import rfc3339
from verifier.recording import Replay
from verifier.results.verdict import Verdict, jsonable
from verifier.trail import Check

# Rules about moments, which are Unix seconds to everybody but people.
_MOMENTS = re.compile(r"\.(validity|issue_date|next_update|timestamp)$")
_SECONDS = re.compile(r"\b\d{9,12}\b")

_MAX_WIDTH = 100
_MAX_VALUE = 400


def print_verdict(verdict: Verdict, *, explain: bool) -> None:
    """One headline, then the reasons, then what was proved."""
    click.echo(_headline(verdict))
    if verdict.error:
        click.echo(f"  {verdict.error.id}: {verdict.error.detail}")
    for check in verdict.checks if explain else verdict.mismatches:
        _print_check(check)
    if verdict.claims:
        click.echo("claims")
        _print_mapping(jsonable(verdict.claims.named()), 1)
    elif verdict.unverified and explain:
        click.echo("unverified: what the evidence says of itself")
        _print_mapping(jsonable(verdict.unverified), 1)


def _headline(verdict: Verdict) -> str:
    word, colour = {
        0: ("ACCEPTED", "green"), 1: ("REJECTED", "red"), 2: ("UNDECIDED", "yellow"),
    }[verdict.exit_code]
    authentic = {True: "authentic", False: "not authentic", None: "authenticity not decided"}[verdict.authentic]
    parts = [click.style(word, fg=colour, bold=True), verdict.tee, authentic]
    parts += [part for part in (verdict.status, ", ".join(verdict.flags), ", ".join(verdict.advisory_ids)) if part]
    if verdict.claims and verdict.claims.software:
        parts.append(click.style("software roots, not hardware", fg="yellow"))
    if verdict.valid_until:
        parts.append(f"until {rfc3339(verdict.valid_until)}")
    return "  ".join(parts)


def _print_check(check: Check) -> None:
    mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
    told = f"  {mark} {check.id}"
    if not check.ok and check.expected is not None:
        told += f"\n         expected {_side(check, check.expected)}\n         got      {_side(check, check.got)}"
    elif check.detail:
        told += f": {check.detail}"
    click.echo(told)


def _side(check: Check, value: Any) -> str:
    told = _short(value)
    if _MOMENTS.search(check.id):
        return _SECONDS.sub(lambda found: rfc3339(int(found[0])), told)
    return told


def print_fields(tee: str, fields: Mapping[str, Any]) -> None:
    """Unverified fields, one a line."""
    click.echo(f"{click.style('unverified', fg='yellow')} {tee} evidence")
    _print_mapping(fields, 1)


def _print_mapping(mapping: Mapping[str, Any], depth: int) -> None:
    indent = "  " * depth
    width = max((len(name) for name in mapping), default=0)
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            click.echo(f"{indent}{name}")
            _print_mapping(value, depth + 1)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            click.echo(f"{indent}{name}  ({len(value)})")
            for item in value:
                click.echo(f"{indent}  {_line(item)}")
        elif value is not None:
            click.echo(f"{indent}{name:<{width}}  {_cut(_plain(value), _MAX_VALUE)}")


def _line(item: Any) -> str:
    """One of many: its members on one line, without those that would fill it."""
    if not isinstance(item, Mapping):
        return _short(item)
    told = [f"{name} {_plain(value)}" for name, value in _flat(item) if value is not None]
    return _cut("  ".join(part for part in told if len(part) <= _MAX_WIDTH), _MAX_VALUE)


def _flat(mapping: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield name, value


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(value: Any) -> str:
    return _cut(_plain(jsonable(value)), _MAX_WIDTH)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}… ({len(text)} characters; --json has all)"


def print_replays(rows: Sequence[Replay]) -> None:
    """A table of recordings with what was recorded and what came out now."""
    width = max(len(str(row.folder)) for row in rows)
    for row in rows:
        mark = {0: click.style("same", fg="green"), 1: click.style("DIFFERS", fg="red"),
                2: click.style("unreadable", fg="yellow")}[row.exit_code]
        click.echo(f"{row.folder!s:<{width}}  {mark:<16}  {row.told}")
    differing = sum(row.exit_code != 0 for row in rows)
    click.echo(f"{len(rows)} replayed, {differing} differ" if differing else f"{len(rows)} replayed, all as recorded")
