"""``kbs audit``: what was decided, and whether the log of it is whole."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbs.cli.options import Target, as_json_option, configured, moment, show, table, targeted
from kbs.config import Config, load
from kbs.errors import SetupError

if TYPE_CHECKING:
    from kbs.audit.check import Report
    from kbs.audit.record import Head, Record

_DIGEST = re.compile(r"[0-9a-f]{64}")


@click.group()
def audit() -> None:
    """The log of every attestation, release and change; each record holds the one before it."""


@audit.command("list")
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many records.")
@click.option("--kind", type=click.Choice(["attestation", "release", "admin", "trust"]),
              help="Only these, among the last.")
@click.option("--outcome", type=click.Choice(["allowed", "refused", "failed"]), help="Only these, among the last.")
@click.option("--reference", metavar="REF", help="The record that a refused guest was told, with its whole tree.")
@click.option("--head", "head", is_flag=True, help="Only where the log stands: note the hash elsewhere, and give it to "
              "kbs audit verify --head later.")
@as_json_option
@targeted
def list_(target: Target, last: int, kind: str | None, outcome: str | None, reference: str | None, head: bool,
          as_json: bool) -> None:
    """The newest records, oldest of them first."""
    if head:
        found = target.head()
        show(found) if as_json else click.echo(f"{found['head']}  after {found['count']} records")
        return
    rows = [row for row in target.records(1000 if reference else last)
            if kind in (None, row["kind"]) and outcome in (None, row["outcome"])
            and (reference is None or row["reference"] == reference)]
    if as_json:
        show(rows)
    elif reference:
        _one(rows, reference)
    else:
        table(map(_row, rows), ("seq", "at", "kind", "outcome", "what", "error", "reference"))


@audit.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@configured
def export(config: Path | None, state: Path | None, file: Path) -> None:
    """Write a copy of the log to FILE as JSON lines, the head last."""
    from kbs.audit import export as copies
    from kbs.cli.target import local

    with local(load(config, state=state)) as target, file.open("xb") as copy:
        log = target.broker.audit
        with target.broker.handshake.transactions():
            copy.writelines(copies.write(log.records(), log.head()))
    click.echo(f"copied to {file}", err=True)


@audit.command("verify")
@click.option("--head", "heads", multiple=True, metavar="HEX", help="A hash noted earlier, which the log must contain.")
@click.option("--copy", "copy", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="A copy made by kbs audit export, instead of the log itself.")
@as_json_option
@configured
def verify(config: Path | None, state: Path | None, heads: tuple[str, ...], copy: Path | None, as_json: bool) -> None:
    """Walk the whole log: exit 0 when nothing was changed, removed, reordered or cut off, 1 when something was."""
    from kbs.audit import check as checking

    known = [_digest(head) for head in heads]
    try:
        with _log(load(config, state=state), copy) as (records, head, key):
            report = checking.check(records, head, key, known)
    except SetupError as error:
        if not error.id.startswith("audit.copy."):
            raise
        report = checking.Report(0, b"", (checking.Finding(error.id, error.detail),))
    _tell(report, as_json)
    sys.exit(0 if report.intact else 1)


@contextmanager
def _log(settings: Config, copy: Path | None) -> Iterator[tuple[Iterable[Record], Head, bytes | None]]:
    """Records, head, and the audit key if it is here."""
    from kbs.audit import export as copies
    from kbs.audit.sql import SqlAuditLog
    from kbs.storage import keyfile
    from kbs.storage.database import Database
    from kbs.storage.engine import sqlite_url

    path = settings.state / "keys" / "audit.key"
    key = keyfile.read(path) if path.exists() else None
    if copy is not None:
        with copy.open("rb") as file:
            yield *copies.read(file), key
        return
    path = settings.state / "kbs.sqlite"
    if key is None or not (settings.database or path.exists()):
        raise SetupError("cli.state", f"there is no broker in {settings.state}")
    database = Database(settings.database or sqlite_url(path))
    try:
        log = SqlAuditLog(database, key)
        yield log.records(), log.head(), key
    finally:
        database.close()


def _tell(report: Report, as_json: bool) -> None:
    findings = [{"id": f.id, "seq": f.seq, "detail": f.detail} for f in report.findings]
    if as_json:
        show({"intact": report.intact, "records": report.records, "head": report.head.hex(), "findings": findings})
    elif report.intact:
        click.echo(f"intact: {report.records} records, head {report.head.hex()}")
    else:
        click.echo(f"BROKEN after {report.records} records read:")
        table(findings, ("seq", "id", "detail"))


def _digest(text: str) -> bytes:
    if _DIGEST.fullmatch(text.lower()) is None:
        raise click.UsageError(f"{text} is not a SHA-256 digest in hexadecimal")
    return bytes.fromhex(text)


def _one(rows: list[dict[str, Any]], reference: str) -> None:
    from kbs.errors import ResourceNotFound

    if not rows:
        raise ResourceNotFound("cli.reference", "no record among the last thousand has this reference", got=reference)
    show(rows[0])


def _row(record: dict[str, Any]) -> dict[str, Any]:
    subject = record["subject"]
    what = next((subject[name] for name in ("resource", "tee", "action", "digest") if subject.get(name)), None)
    return {**record, "at": moment(record["at"]), "what": what}
