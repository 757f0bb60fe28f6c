"""``kbs reference-value``: what genuine evidence looks like."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from kbs.cli.options import Target, as_json_option, moment, show, table, targeted
from kbs.errors import MalformedRequest
from verifier.reference_values.provider import MESSAGE_VERSION


@click.group("reference-value")
def reference_value() -> None:
    """Reference values: a name and the values that are good under it."""


@reference_value.command("set")
@click.argument("name", required=False)
@click.argument("values", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="A JSON object of names and values, instead of NAME and VALUES.")
@click.option("--number", is_flag=True, help="The one VALUE is a whole number, such as a minimum version.")
@click.option("--expires", metavar="RFC3339|UNIX", help="When they cease to be good.")
@as_json_option
@targeted
def set_(target: Target, name: str | None, values: tuple[str, ...], file: Path | None, number: bool,
         expires: str | None, as_json: bool) -> None:
    """Register VALUES (texts; byte strings in lower-case hexadecimal) under NAME, in the place of what was there."""
    payload = file.read_bytes() if file else json.dumps(_given(name, values, number)).encode()
    message: dict[str, Any] = {"version": MESSAGE_VERSION, "type": "sample",
                               "payload": base64.b64encode(payload).decode()}
    if expires is not None:
        message["expires"] = _moment(expires)
    stored = target.register(json.dumps(message).encode())
    if as_json:
        show(stored)
    else:
        table(stored, ("name", "version"))


@reference_value.command("list")
@as_json_option
@targeted
def list_(target: Target, as_json: bool) -> None:
    """Every reference value, expired ones included."""
    rows = target.reference_values()
    if as_json:
        show(rows)
    else:
        table(({**row, "expires": _expiry(row["expires"])} for row in rows), ("name", "value", "expires"))


@reference_value.command("delete")
@click.argument("name")
@targeted
def delete(target: Target, name: str) -> None:
    """Forget NAME."""
    target.delete_reference_value(name)
    click.echo(f"{name}: deleted")


def _given(name: str | None, values: tuple[str, ...], number: bool) -> dict[str, Any]:
    if not name or not values or (number and len(values) != 1):
        raise click.UsageError("give NAME and VALUES, or --file")
    if not number:
        return {name: list(values)}
    if not values[0].isascii() or not values[0].isdigit():
        raise click.UsageError(f"{values[0]} is not a whole number")
    return {name: int(values[0])}


def _moment(text: str) -> int:
    try:
        return int(text) if text.isascii() and text.isdigit() else int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise MalformedRequest("cli.expires", "not a moment", expected="RFC 3339 or Unix seconds", got=text) from None


def _expiry(seconds: int | None) -> str:
    return moment(seconds) + (" (expired)" if seconds is not None and seconds <= time.time() else "")
