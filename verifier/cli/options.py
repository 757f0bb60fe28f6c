"""How moments, byte strings and files are given on a command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.strict import hex_bytes

PATH = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

tee_option = click.option("--tee", type=click.Choice([tee.value for tee in Tee]),
                          help="Take the evidence as this TEE's.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")

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


def read_evidence(path: Path, tee: Tee | None) -> Evidence:
    """The evidence in a file or folder. Raises `VerifierError`."""
    from verifier.collateral.files import read_bounded
    from verifier.formats import coco_evidence
    from verifier.recording import Recording

    if path.is_dir():
        return Recording.load(path, tee).evidence
    return coco_evidence.read(read_bounded(path), tee)


@contextmanager
def told_as_errors() -> Iterator[None]:
    """A `VerifierError` becomes one line on stderr and exit status 2."""
    try:
        yield
    except VerifierError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
