"""``verifier``: show, verify and replay evidence; fetch and keep what it is judged with.

Rules of the room: thin; parse, call, print. Results go to stdout and talk to stderr; with ``--json`` exactly one JSON
document is on stdout. Exit status: 0 accepted, 1 rejected, 2 could not be decided (or the call was wrong). A command is
loaded when it is called for.
"""

from __future__ import annotations

from importlib import import_module

import click

from verifier.cli.options import Moment, read_evidence

__all__ = ["Moment", "main"]

_COMMANDS = {
    "replay": "verifier.cli.replay:replay", "show": "verifier.cli.show:show",
    "software-tee": "verifier.software_tee.commands:software_tee", "verify": "verifier.cli.verify:verify",
}


class _Main(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        return sorted([*_COMMANDS, "collateral"])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - as click has it
        if name == "collateral":
            from verifier.collateral.commands import collateral_commands

            return collateral_commands(lambda path: read_evidence(path, None), Moment())
        if name not in _COMMANDS:
            return None
        module, _, command = _COMMANDS[name].partition(":")
        found: click.Command = getattr(import_module(module), command)
        return found


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attestkit")
def main() -> None:
    """Is this evidence true?

    \b
    Shell completion: eval "$(_VERIFIER_COMPLETE=bash_source verifier)"   (or zsh_source, fish_source)
    """
