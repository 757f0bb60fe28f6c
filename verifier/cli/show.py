"""``verifier show``: what evidence and event logs say of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from verifier.cli.options import PATH, json_option, read_evidence, tee_option, told_as_errors
from verifier.errors import EvidenceError, VerifierError
from verifier.evidence import Tee
from verifier.presentation import print_fields
from verifier.results.verdict import jsonable


@click.command()
@click.argument("path", type=PATH)
@tee_option
@json_option
def show(path: Path, tee: str | None, as_json: bool) -> None:
    """The fields of evidence, or the events of a log; nothing is believed.

    PATH is raw evidence, evidence JSON, an event log, a recording folder, or a folder of captured evidence.
    """
    with told_as_errors():
        kind, found = _shown(path, Tee(tee) if tee else None)
        fields = jsonable(found)
    if as_json:
        click.echo(json.dumps({"tee": kind, "unverified": fields}, indent=2))
    else:
        print_fields(kind, fields)


def _shown(path: Path, tee: Tee | None) -> tuple[str, dict[str, Any]]:
    """What ``path`` is (a TEE's name, or ``event-log``) and what it says."""
    from verifier.verify import inspect

    try:
        evidence = read_evidence(path, tee)
    except VerifierError:
        found = _event_log(path) if tee is None else None
        if found is None:
            raise
        return "event-log", found
    return evidence.tee.value, inspect(evidence)


def _event_log(path: Path) -> dict[str, Any] | None:
    """The events in ``path``, or in the log in that folder; None when there is none."""
    from verifier.collateral.files import read_bounded
    from verifier.eventlog.show import describe
    from verifier.loose.folder import EVENT_LOGS

    logs = [path / name for name in EVENT_LOGS if (path / name).is_file()] if path.is_dir() else [path]
    try:
        return describe(read_bounded(logs[0])) if logs else None
    except EvidenceError:
        return None
