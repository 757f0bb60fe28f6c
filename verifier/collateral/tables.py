"""What people see of collateral on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from verifier.collateral.forecast import Forecast, Outlook
from verifier.collateral.imports import Standing, expiring_first
from verifier.endorsements.window import rfc3339

_HEADINGS = ("object", "issuer", "number", "issued", "expires", "in", "digest")
_SOON = 7
_DAY = 86_400


def print_standings(standings: Sequence[Standing], at: int) -> None:
    """A line per object, what ends first on top; then what does not hold, with the reason."""
    ordered = expiring_first(standings)
    good = [one for one in ordered if one.judged is not None]
    _print_table([_HEADINGS, *(_row(one, at) for one in good)], [None, *(_colour(one, at) for one in good)])
    for one in ordered:
        if one.judged is None:
            click.echo(f"{click.style('refused', fg='red')}  {one.item.name}  {_reason(one)}")


def _row(one: Standing, at: int) -> tuple[str, ...]:
    judged = one.judged
    if judged is None:
        return (one.item.name.text, *[""] * (len(_HEADINGS) - 1))
    return (_short(one.item.name.text), judged.issuer, "-" if judged.number is None else str(judged.number),
            rfc3339(judged.own.not_before), rfc3339(judged.own.not_after), _days(judged.own.not_after, at),
            one.item.digest.hex()[:12])


def _colour(one: Standing, at: int) -> str | None:
    soon = one.judged is not None and one.judged.own.not_after - at < _SOON * _DAY
    return "yellow" if soon else None


def _days(end: int, at: int) -> str:
    return f"{(end - at) // _DAY} days"


def _short(text: str) -> str:
    """A name in which long hexadecimal words are cut."""
    return "/".join(word if len(word) <= 24 else word[:16] + "…" for word in text.split("/"))


def _reason(one: Standing) -> str:
    return "" if one.error is None else f"{one.error.id}: {one.error.detail}"


def standing_object(one: Standing, at: int) -> dict[str, Any]:
    """One object for JSON."""
    judged = one.judged
    told: dict[str, Any] = {"object": one.item.name.text, "source": one.item.source, "sha256": one.item.digest.hex(),
                            "fetched": rfc3339(one.item.fetched), "good": judged is not None}
    if judged is None:
        return told | {"error": None if one.error is None else {"id": one.error.id, "detail": one.error.detail}}
    return told | {"issuer": judged.issuer, "number": judged.number, "issued": rfc3339(judged.own.not_before),
                   "expires": rfc3339(judged.own.not_after), "days": (judged.own.not_after - at) // _DAY}


def print_forecasts(rows: Sequence[tuple[str, Forecast]]) -> None:
    """A line per piece of evidence, and below it why it would stop passing or what changes."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, row in rows:
        click.echo(f"{name:<{width}}  {_word(row)}  {_told(row.now)} -> {_told(row.next)}")
        for before, after in row.worsened:
            click.echo(f"{'':<{width}}    {after.component}: {before.status} ({before.date[:10]}) -> {after.status} "
                       f"({after.date[:10]})")
        if row.new_advisories:
            click.echo(f"{'':<{width}}    new advisories: {', '.join(row.new_advisories)}")
        for outlook in (row.now, row.next):
            if outlook.error is not None:
                click.echo(f"{'':<{width}}    {outlook.error.id}: {outlook.error.detail}")
    stopping = sum(row.stops_passing for _, row in rows)
    click.echo(f"{len(rows)} judged, {stopping} would stop passing")


def _word(row: Forecast) -> str:
    if not row.decided:
        return click.style("undecided", fg="yellow")
    if row.stops_passing:
        return click.style("STOPS    ", fg="red")
    return click.style("passes   " if row.passes_next else "fails    ", fg="green" if row.passes_next else None)


def _told(outlook: Outlook) -> str:
    number = "" if outlook.number is None else f" ({outlook.number})"
    return f"{outlook.status or 'undecided'}{number}"


def _print_table(rows: Sequence[Sequence[str]], colours: Sequence[str | None]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row, colour in zip(rows, colours, strict=True):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(click.style(line, fg=colour) if colour else line)
