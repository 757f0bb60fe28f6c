"""The command ``kbs``: parse, call, print.

Results go to stdout, talk to stderr; ``--json`` prints one JSON document and nothing else. Exit codes: 0 done, allowed,
intact; 1 refused, absent, broken; 2 wrong usage or set-up. What a command needs is loaded when it runs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from kbs.errors import (
    AuthenticationError,
    Conflict,
    KbsError,
    PolicyDenied,
    ProtocolError,
    ResourceNotFound,
    TooLarge,
)

REFUSED, WRONG = 1, 2

_REFUSALS = (AuthenticationError, Conflict, PolicyDenied, ProtocolError, ResourceNotFound, TooLarge)

# The module under kbs.cli and the name in it, by command.
_COMMANDS = {
    "serve": "serve:serve", "init": "init:init", "resource": "resource:resource", "policy": "policy:policy",
    "reference-value": "reference_value:reference_value", "audit": "audit:audit", "token": "token:token",
    "admin-token": "init:admin_token", "completion": "completion:completion",
}


class _Commands(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        home = _COMMANDS.get(cmd_name)
        if home is None:
            return None
        module, name = home.split(":")
        command: click.Command = getattr(import_module(f"kbs.cli.{module}"), name)
        return command


@click.group(cls=_Commands)
@click.version_option(package_name="attestkit")
def cli() -> None:
    """The key broker service: it releases a secret to a pod only after verifying the pod's evidence."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors become one line and an exit code."""
    from verifier.errors import VerifierError

    try:
        return cli.main(args=arguments, prog_name="kbs")
    except KbsError as error:
        click.echo(f"kbs: {error}", err=True)
        sys.exit(REFUSED if isinstance(error, _REFUSALS) else WRONG)
    except VerifierError as error:
        click.echo(f"kbs: {error}", err=True)
        sys.exit(WRONG)
