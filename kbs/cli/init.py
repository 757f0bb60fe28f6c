"""``kbs init`` and ``kbs admin-token``: the state folder and its first administrator."""

from __future__ import annotations

import time
from pathlib import Path

import click

from kbs.cli.options import as_json_option, configured, show
from kbs.config import Config, load

MAX_MINUTES = 24 * 60


@click.command()
@configured
@as_json_option
def init(config: Path | None, state: Path | None, as_json: bool) -> None:
    """Make the state folder: keys, database, and an administrator's key pair. What exists is kept."""
    settings = load(config, state=state)
    made = _administrator(settings)
    told = {"state": str(settings.state), "admin_key": str(settings.state / "admin.key"),
            "admin_public_key": str(settings.state / "admin.pem"), "made": made}
    if as_json:
        show(told)
        return
    click.echo(f"broker in {settings.state}" + ("" if made else " (its administrator existed already)"))
    click.echo(f"  keys                 {settings.state}/keys (private; brokers that share a database share them)")
    click.echo(f"  administrator's key  {told['admin_key']} (private; signs admin tokens)")
    click.echo("Next:")
    click.echo("  kbs serve")
    click.echo("  kbs resource set default/key/one FILE")


@click.command("admin-token")
@configured
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="An administrator's private key, PEM; by default the one that kbs init made.")
@click.option("--role", default="admin", show_default=True)
@click.option("--minutes", type=click.IntRange(1, MAX_MINUTES), default=10, show_default=True)
@click.option("--subject", default="", help="Who asks, for the audit log.")
def admin_token(config: Path | None, state: Path | None, key: Path | None, role: str, minutes: int,
                subject: str) -> None:
    """Print an admin token. It is a bearer credential: write it to a file, not to a terminal that is watched."""
    import jwt
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from kbs.errors import SetupError
    from kbs.storage import keyfile

    path = key or load(config, state=state).state / "admin.key"
    try:
        private = load_pem_private_key(keyfile.read(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SetupError("cli.admin_key", f"{path} is not an unencrypted PEM private key") from None
    algorithms = {ed25519.Ed25519PrivateKey: "EdDSA", ec.EllipticCurvePrivateKey: "ES256", rsa.RSAPrivateKey: "RS256"}
    algorithm = next((name for kind, name in algorithms.items() if isinstance(private, kind)), None)
    if algorithm is None:
        raise SetupError("cli.admin_key", f"{path} is of a kind that signs no admin tokens")
    now = int(time.time())
    claims = {"role": role, "iat": now, "exp": now + 60 * minutes} | ({"sub": subject} if subject else {})
    click.echo(jwt.encode(claims, private, algorithm))  # type: ignore[arg-type]


def _administrator(settings: Config) -> bool:
    """Open the state once, which makes it, and give it an administrator; False when it has one."""
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    from kbs.app import create_broker
    from kbs.storage import keyfile

    keyfile.private_folder(settings.state)
    private = ed25519.Ed25519PrivateKey.generate()
    made = not (settings.state / "admin.pem").exists() and keyfile.create(
        settings.state / "admin.key", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if made:
        keyfile.create(settings.state / "admin.pem",
                       private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    create_broker(settings).close()
    return made
