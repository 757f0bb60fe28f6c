"""``kbs policy``: who is judged how, and who may have what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TextIO

import click

from kbs.cli.options import Target, as_json_option, configured, show, table, targeted, warn
from kbs.config import load
from kbs.errors import MalformedRequest

_KINDS = {"resource": "resource-policy", "attestation": "attestation-policy"}
_MAX_CHARACTERS = 1024 * 1024
# Classes of which one maker's policy is shipped.
_OF_CLASS = {"gpu": "nvidia", "switch": "nvidia"}

kind_argument = click.argument("kind", type=click.Choice(list(_KINDS)))
id_option = click.option("--id", "name", default=None, metavar="ID",
                         help="Of an attestation policy: default_tdx, default_snp … or default_cpu, default_gpu, "
                              "default_switch for all of a class.")


@click.group()
def policy() -> None:
    """Policies in Rego: `attestation` judges evidence, `resource` decides on release."""


@policy.command("set")
@kind_argument
@click.argument("file", type=click.File("r", encoding="utf-8"))
@id_option
@as_json_option
@targeted
def set_(target: Target, kind: str, file: TextIO, name: str | None, as_json: bool) -> None:
    """Store the policy in FILE. It is compiled and tried out first."""
    stored = target.set_policy(_KINDS[kind], _name(kind, name), file.read(_MAX_CHARACTERS))
    warn(stored["warnings"])
    if as_json:
        show(stored)
    else:
        click.echo(f"{stored['name']}: version {stored['version']} is in force")


@policy.command("get")
@kind_argument
@id_option
@click.option("--default", "shipped", is_flag=True, help="The shipped policy instead of the stored one.")
@targeted
def get(target: Target, kind: str, name: str | None, shipped: bool) -> None:
    """Print a policy: the stored one, else the shipped one that holds in its place."""
    found = _name(kind, name)
    if shipped or found not in target.policies(_KINDS[kind]):
        click.echo(_shipped(kind, found), nl=False)
    else:
        click.echo(target.policy(_KINDS[kind], found), nl=False)


@policy.command("list")
@as_json_option
@targeted
def list_(target: Target, as_json: bool) -> None:
    """The stored policies; where there is none, a shipped one holds."""
    rows = [{"kind": kind, "id": name} for kind, space in _KINDS.items() for name in target.policies(space)]
    if as_json:
        show(rows)
    else:
        table(rows, ("kind", "id"))


@policy.command("delete")
@kind_argument
@id_option
@targeted
def delete(target: Target, kind: str, name: str | None) -> None:
    """Go back to the shipped policy."""
    target.delete_policy(_KINDS[kind], _name(kind, name))
    click.echo(f"{_name(kind, name)}: the shipped policy is in force")


@policy.command("test")
@kind_argument
@click.argument("input", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--policy", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="Try this policy instead of the one in force.")
@click.option("--path", "asked", default="default/key/one", metavar="PATH", show_default=True,
              help="Of a resource policy: what is asked for.")
@id_option
@as_json_option
@configured
def test(config: Path | None, state: Path | None, kind: str, input: Path, file: Path | None, asked: str,
         name: str | None, as_json: bool) -> None:
    """Try a policy on INPUT without changing anything: exit 0 for yes, 1 for no.

    INPUT is JSON. For a resource policy: a token's claims. For an attestation policy: the policy input, as tokens carry
    it under ear.veraison.annotated-evidence.
    """
    from kbs.cli.policy_test import try_attestation, try_release
    from kbs.cli.target import local

    document = _document(input)
    own = file.read_text("utf-8") if file else None
    with local(load(config, state=state)) as target:
        if kind == "resource":
            told = try_release(target.broker, document, asked, own)
        else:
            told = try_attestation(target.broker, document, _name(kind, name), own)
    _tell(told, as_json)
    sys.exit(0 if told["yes"] else 1)


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(told)
        return
    click.echo(f"{'yes' if told['yes'] else 'no'}: {told['answer']}")
    if told["rules"]:
        table(({**rule, "ok": "ok" if rule["ok"] else "NO"} for rule in told["rules"]), ("ok", "id", "expected", "got"))


def _name(kind: str, name: str | None) -> str:
    if kind == "resource":
        if name not in (None, "resource-policy"):
            raise MalformedRequest("cli.policy_id", "there is one resource policy; it has no other id")
        return "resource-policy"
    return name or "default_cpu"


def _shipped(kind: str, name: str) -> str:
    from verifier.policy.defaults import SHIPPED, shipped

    wanted = "release" if kind == "resource" else name.removeprefix("default_")
    wanted = _OF_CLASS.get(wanted, wanted)
    if wanted not in SHIPPED:
        raise MalformedRequest("cli.policy_id", f"no policy {name} is stored or shipped",
                               expected=", ".join(f"default_{tee}" for tee in SHIPPED if tee != "release"))
    return shipped(wanted)


def _document(path: Path) -> dict[str, Any]:
    from verifier.collateral.files import read_bounded
    from verifier.errors import MalformedEvidence
    from verifier.formats.strict import json_object

    try:
        return json_object(read_bounded(path), str(path))
    except MalformedEvidence as error:
        raise MalformedRequest("cli.input", error.detail) from None
