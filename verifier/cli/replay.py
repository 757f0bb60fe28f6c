"""``verifier replay``: recordings judged again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verifier.cli.options import Moment, json_option
from verifier.presentation import print_replays

if TYPE_CHECKING:
    from verifier.recording import Replay


@click.command()
@click.argument("folders", type=click.Path(path_type=Path, exists=True, file_okay=False), nargs=-1, required=True)
@click.option("--at", type=Moment(), help="Judge at this moment instead of each recording's own; nothing is compared.")
@json_option
def replay(folders: tuple[Path, ...], at: int | None, as_json: bool) -> None:
    """Replay recordings at their own moment; exit 1 if any verdict differs from the recorded one."""
    from verifier.recording import replay_folder

    rows: list[Replay] = []
    with click.progressbar(folders, label="replaying", file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:
        rows.extend(replay_folder(folder, at) for folder in shown)
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    else:
        print_replays(rows)
    sys.exit(max(row.exit_code for row in rows))
