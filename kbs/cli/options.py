"""Options that commands share, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from kbs.cli.target import Target

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)


def configured(command: F) -> F:
    """``--config`` and ``--state``: which broker on this machine."""
    command = click.option("--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                           help="The broker's state folder.")(command)
    return click.option("--config", type=_FILE, envvar="KBS_CONFIG", metavar="FILE",
                        help="kbs.toml; without it, defaults and KBS_* variables.")(command)


def targeted(command: F) -> F:
    """`configured`, or ``--url`` with an admin token: which broker, here or elsewhere. Passes a `Target`."""
    @click.option("--url", metavar="URL", envvar="KBS_URL", help="A broker elsewhere instead of the one here.")
    @click.option("--admin-token-file", type=_FILE, envvar="KBS_ADMIN_TOKEN_FILE", metavar="FILE",
                  help="For --url: the file that holds an admin token.")
    @click.option("--ca", type=_FILE, envvar="KBS_CA", metavar="FILE",
                  help="For --url: the certificate authority to trust, PEM.")
    @configured
    def wrapped(*, url: str | None, admin_token_file: Path | None, ca: Path | None, config: Path | None,
                state: Path | None, **arguments: Any) -> Any:
        from kbs.cli.target import open_target

        with open_target(url, admin_token_file, ca, config, state) as target:
            return command(target=target, **arguments)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = getattr(command, "__click_params__", []) + wrapped.__click_params__  # type: ignore[attr-defined]
    return wrapped  # type: ignore[return-value]


def as_json_option(command: F) -> F:
    """``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def show(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Rows under their columns' names; a line of advice to stderr when there is none."""
    found, names = list(rows), list(columns)
    if not found:
        click.echo("(nothing)", err=True)
        return
    cells = [names, *([_cell(row.get(name)) for name in names] for row in found)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(names))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def moment(seconds: int | None) -> str:
    """Unix seconds for people; ``-`` for None."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def warn(warnings: Iterable[str]) -> None:
    """Say each on stderr."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _cell(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


__all__ = ["Target", "as_json_option", "configured", "moment", "show", "table", "targeted", "warn"]
