"""``kbs resource``: the secrets."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click

from kbs.cli.options import Target, as_json_option, moment, show, table, targeted
from kbs.errors import TooLarge
from kbs.protocol.messages import MAX_RESOURCE_BYTES
from kbs.protocol.resource_uri import ResourcePath


class _Path(click.ParamType[ResourcePath]):
    """``repository/type/tag`` or ``kbs:///repository/type/tag``."""

    name = "path"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> ResourcePath:
        del param, ctx
        return value if isinstance(value, ResourcePath) else ResourcePath.parse(str(value))


PATH = _Path()


@click.group()
def resource() -> None:
    """Secrets: set, look at, list, delete. Values go in and come out only for attested guests."""


@resource.command("set")
@click.argument("path", type=PATH)
@click.argument("file", type=click.File("rb"), default="-")
@as_json_option
@targeted
def set_(target: Target, path: ResourcePath, file: BinaryIO, as_json: bool) -> None:
    """Store the content of FILE (default: standard input) as a new version of PATH."""
    value = file.read(MAX_RESOURCE_BYTES + 1)
    if len(value) > MAX_RESOURCE_BYTES:
        raise TooLarge("admin.resource.size", "the secret is too large", expected=f"<= {MAX_RESOURCE_BYTES} bytes")
    stored = target.set_resource(path, value)
    if as_json:
        show(stored)
    else:
        click.echo(f"{path}: version {stored['version']}, {len(value)} bytes")


@resource.command("get")
@click.argument("path", type=PATH)
@click.option("--version", "version", type=int, help="With --reveal: which version.")
@click.option("--reveal", is_flag=True, help="Write the secret itself to standard output; on the broker's machine "
              "only, and noted in the audit log.")
@click.option("--rollback", type=int, metavar="VERSION", help="Make VERSION's value the newest version again.")
@as_json_option
@targeted
def get(target: Target, path: ResourcePath, version: int | None, reveal: bool, rollback: int | None,
        as_json: bool) -> None:
    """The versions of PATH, without their values."""
    if reveal:
        sys.stdout.buffer.write(target.reveal(path, version))
        return
    if rollback is not None:
        target.roll_back(path, rollback)
    rows = target.versions(path)
    if as_json:
        show(rows)
    else:
        table(({**row, "stored": moment(row["stored_at"])} for row in rows), ("version", "size", "stored"))


@resource.command("list")
@click.argument("prefix", default="")
@as_json_option
@targeted
def list_(target: Target, prefix: str, as_json: bool) -> None:
    """The secrets whose path begins with PREFIX."""
    rows = target.resources(prefix)
    if as_json:
        show(rows)
    else:
        table(({**row, "path": row["key"], "stored": moment(row["stored_at"])} for row in rows),
              ("path", "version", "size", "stored"))


@resource.command("delete")
@click.argument("path", type=PATH)
@targeted
def delete(target: Target, path: ResourcePath) -> None:
    """Forget PATH with all its versions."""
    target.delete_resource(path)
    click.echo(f"{path}: deleted")
