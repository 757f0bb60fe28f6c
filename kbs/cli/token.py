"""``kbs token``: the keys of attestation tokens, and tokens that must not be served any more."""

from __future__ import annotations

from pathlib import Path

import click

from kbs.cli.options import Target, configured, targeted
from kbs.config import load
from kbs.errors import SetupError


@click.group()
def token() -> None:
    """Attestation tokens."""


@token.command("revoke")
@click.argument("id")
@targeted
def revoke(target: Target, id: str) -> None:
    """Release nothing more to the token whose `jti` is ID (the audit log names it)."""
    target.revoke_token(id)
    click.echo(f"{id}: revoked")


@token.command("rotate-key")
@configured
@click.option("--keep", type=click.IntRange(1, 8), default=2, show_default=True,
              help="How many keys stay in all; 1 makes every present token invalid.")
def rotate_key(config: Path | None, state: Path | None, keep: int) -> None:
    """Sign with a new key from now on. Running brokers notice within a second."""
    from kbs.services import token_keys
    from kbs.storage import keyfile

    path = load(config, state=state).state / "keys" / "token.pem"
    if not path.exists():
        raise SetupError("cli.state", f"there is no broker in {path.parent.parent}")
    fresh = token_keys.rotated(keyfile.read(path), keep)
    keyfile.replace(path, fresh)
    for number, key in enumerate(token_keys.read(fresh)):
        click.echo(f"{key.kid}  {'signs' if number == 0 else 'verifies'}")
