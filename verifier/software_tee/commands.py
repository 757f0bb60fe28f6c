"""``verifier software-tee``: make a software TEE, and renew its collateral."""

from __future__ import annotations

import time
from pathlib import Path

import click

from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.snp_report import ProductLine
from verifier.formats.strict import hex_bytes
from verifier.software_tee.maker import OWN, TEES, SoftwareTee


@click.group("software-tee")
def software_tee() -> None:
    """Makers in miniature: real cryptography under roots that nobody trusts until told to."""


@software_tee.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", metavar="HEX", envvar="ATTESTKIT_SOFTWARE_TEE_SEED", show_envvar=True,
              help="Derive all keys from this (16 bytes or more), for reproducible tests; whoever knows it knows the "
              "keys. Default: random keys.")
@click.option("--tee", "tees", metavar="NAME,...", default=",".join(OWN), show_default=True,
              help=f"What to make: all, or some of {', '.join(TEES)}.")
@click.option("--line", type=click.Choice([line.value for line in ProductLine]), default=ProductLine.MILAN.value,
              show_default=True, help="Product line of the small AMD.")
def init(folder: Path, seed: str | None, tees: str, line: str) -> None:
    """Make a software TEE in DIR, which must not exist."""
    try:
        key = None if seed is None else hex_bytes(seed, "--seed")
        made = SoftwareTee.create(key, at=int(time.time()), tees=TEES if tees == "all" else tees.split(","), line=line)
        made.save(folder)
    except (SetupError, MalformedEvidence) as error:
        raise click.UsageError(str(error)) from None
    _tell(folder, made)


@software_tee.command("refresh")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
def refresh(folder: Path) -> None:
    """Make the collateral in DIR anew, good from now on, with its present settings."""
    try:
        made = SoftwareTee.load(folder).refresh(int(time.time()))
        made.rewrite(folder)
    except SetupError as error:
        raise click.UsageError(str(error)) from None
    _tell(folder, made)


def _tell(folder: Path, made: SoftwareTee) -> None:
    tee = made.tees[0]
    click.echo(f"software TEE in {folder}: {', '.join(made.tees)}")
    click.echo(f"  settings    {folder}/software-tee.json")
    click.echo(f"  keys        {folder}/keys (private)")
    for path in sorted((folder / "roots").iterdir()):
        click.echo(f"  root        {path}")
    for path in sorted((folder / "collateral").glob("*")):
        click.echo(f"  collateral  {path}")
    click.echo("Nothing trusts these roots until they are named. Next:")
    click.echo(f"  echo hello | attestation evidence --tee software --software-tee {folder} --software-kind {tee} "
               "--runtime-data - > evidence.json")
    roots = " ".join(f"--roots {folder}/roots/{name}" for name in made.root_names(tee))
    collateral = f" --collateral {folder}/collateral/{tee}" if (folder / "collateral" / tee).exists() else ""
    click.echo(f"  verifier verify evidence.json --tee {tee} {roots}{collateral}")
