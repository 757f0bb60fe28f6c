"""``verifier``: show, verify and replay evidence.

Rules of the room: thin; parse, call, print. Results go to stdout and talk to stderr; with ``--json`` exactly one JSON
document is on stdout. Exit status: 0 accepted, 1 rejected, 2 could not be decided (or the call was wrong).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verifier.errors import EvidenceError, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.strict import hex_bytes
from verifier.presentation import print_fields, print_replays, print_verdict
from verifier.results.verdict import Verdict, jsonable, undecided

if TYPE_CHECKING:
    from verifier.recording import Replay

PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)?\Z", re.ASCII)


class Moment(click.ParamType[int]):
    """RFC 3339 with a zone, or Unix seconds."""

    name = "rfc3339|unix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Unix seconds."""
        if isinstance(value, int):
            return value
        if value.isascii() and value.isdigit() and len(value) <= 12:
            return int(value)
        try:
            if not _RFC3339.match(value):
                raise ValueError
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            self.fail(f"{value!r} is neither RFC 3339 nor Unix seconds, e.g. 2026-03-05T10:50:03Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; append Z for UTC", param, ctx)
        return int(moment.timestamp())


class Octets(click.ParamType[bytes]):
    """Hexadecimal text, either case."""

    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes."""
        if isinstance(value, bytes):
            return value
        try:
            return hex_bytes(value, "the value")
        except VerifierError as error:
            self.fail(error.detail, param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attestkit")
def main() -> None:
    """Is this evidence true?

    \b
    Shell completion: eval "$(_VERIFIER_COMPLETE=bash_source verifier)"   (or zsh_source, fish_source)
    """


@main.command()
@click.argument("path", type=PATH)
@click.option("--tee", type=click.Choice([tee.value for tee in Tee]), help="Take the evidence as this TEE's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def show(path: Path, tee: str | None, as_json: bool) -> None:
    """The fields of evidence, or the events of a log; nothing is believed.

    PATH is raw evidence, evidence JSON, an event log, a recording folder, or a folder of captured evidence.
    """
    with _told_as_errors():
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
        evidence = _read_evidence(path, tee)
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


@main.command()
@click.argument("path", type=PATH)
@click.option("--tee", type=click.Choice([tee.value for tee in Tee]), help="Take the evidence as this TEE's.")
@click.option("--collateral", "collateral", type=PATH, multiple=True,
              help="A folder, certificates or CRLs (DER or PEM), or a JSON bundle; may be repeated.")
@click.option("--at", type=Moment(), help="The moment of judgement; now when left out (a recording has its own).")
@click.option("--expect", type=FILE, help="Expectations, as JSON or TOML: measurements, masks, minimum TCB, platforms.")
@click.option("--report-data", type=Octets(), help="The report data that must have been bound (64 bytes).")
@click.option("--init-data", type=Octets(), help="The init data field that must have been bound (32, 48 or 64 bytes).")
@click.option("--roots", type=FILE, multiple=True, help="Trust these roots as well; results are marked software.")
@click.option("--provisioned", type=FILE, multiple=True, help="A key that hardware of ours is known to hold, where the "
              "maker publishes no root: a CCA platform's (CPAK) or a TPM's (AK), as PEM or JWK.")
@click.option("--offline", is_flag=True, help="Fetch nothing.")
@click.option("--explain", is_flag=True, help="Print every check, not only those that failed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def verify(path: Path, tee: str | None, as_json: bool, explain: bool, **options: Any) -> None:
    """Is the evidence authentic, and is it within expectations?

    PATH is raw evidence, evidence JSON, a recording folder, or a folder of captured evidence. Exit status: 0 accepted,
    1 rejected, 2 could not be decided.
    """
    try:
        verdict = _judge(path, Tee(tee) if tee else None, options)
    except VerifierError as error:
        verdict = undecided(tee or "unknown", error)
    if as_json:
        click.echo(json.dumps(verdict.to_dict(), indent=2))
    else:
        print_verdict(verdict, explain=explain)
    sys.exit(verdict.exit_code)


def _judge(path: Path, tee: Tee | None, options: dict[str, Any]) -> Verdict:
    """The verdict on ``path``; what the options leave open comes from the recording, if it is one."""
    from verifier.appraisal.expectations import Expectations
    from verifier.collateral.files import load, read_bounded
    from verifier.endorsements.collateral import Collateral
    from verifier.recording import Recording
    from verifier.verify import Verifier

    recording = Recording.load(path, tee) if path.is_dir() else Recording(_read_evidence(path, tee), Collateral.none())
    at = options["at"] if options["at"] is not None else recording.at
    expectations = recording.expectations
    if options["expect"]:
        expectations = Expectations.from_file(read_bounded(options["expect"]))
    roots = recording.roots.with_software([read_bounded(item) for item in options["roots"]])
    roots = roots.with_provisioned([read_bounded(item) for item in options["provisioned"]])
    verifier = Verifier(roots, expectations)
    given = {name: options[name] for name in ("report_data", "init_data") if options[name] is not None}
    binding = replace(recording.binding, **given)
    collateral = load(options["collateral"]) if options["collateral"] else recording.collateral
    return verifier.verify(recording.evidence, binding=binding, collateral=collateral,
                           at=int(time.time()) if at is None else at)


def _read_evidence(path: Path, tee: Tee | None) -> Evidence:
    from verifier.collateral.files import read_bounded
    from verifier.formats import coco_evidence
    from verifier.recording import Recording

    if path.is_dir():
        return Recording.load(path, tee).evidence
    return coco_evidence.read(read_bounded(path), tee)


@main.command()
@click.argument("folders", type=click.Path(path_type=Path, exists=True, file_okay=False), nargs=-1, required=True)
@click.option("--at", type=Moment(), help="Judge at this moment instead of each recording's own; nothing is compared.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
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


@contextmanager
def _told_as_errors() -> Iterator[None]:
    """A `VerifierError` becomes one line on stderr and exit status 2."""
    try:
        yield
    except VerifierError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


def _add_software_tee() -> None:
    from verifier.software_tee.commands import software_tee

    main.add_command(software_tee)


_add_software_tee()
