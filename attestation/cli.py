"""``attestation``: evidence, tokens and secrets for the guest; images and models in the rooms of their own.

Rules of the room: thin; parse, call, print. Results go to stdout and talk to stderr; with ``--json`` exactly one JSON
document is on stdout. Exit status: 0 done, 1 refused (by the broker, or because what was asked for is not to be had),
2 could not be decided, or the call was wrong. Rooms are imported when a command needs them, so the rest starts fast.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from attestation.errors import AttestationError, ImageError, KeyUnavailable, ModelError, SetupError
from verifier.errors import readable

if TYPE_CHECKING:
    from attestation.config import GuestConfig
    from attestation.secrets.keys import KeySource

REFUSED, UNDECIDED = 1, 2
MAX_RUNTIME_DATA_BYTES = 1024 * 1024

# Commands of other rooms: module, attribute, short help.
_LATER = {
    "decrypt-image": ("attestation.images.commands", "decrypt_command", "Decrypt the layers of an OCI image layout."),
    "encrypt-image": ("attestation.images.commands", "encrypt_command", "Encrypt the layers of an OCI image layout."),
    "key-provider": ("attestation.images.commands", "key_provider_command", "Answer ocicrypt's key provider protocol."),
    "open-model": ("attestation.models.commands", "open_command", "Check or unseal a sealed model."),
    "seal-model": ("attestation.models.commands", "seal_command", "Seal a model's weights."),
}

# What to do about an error, by its id.
_WAY_OUT = {
    "attester.none": "on a machine without a TEE: --tee software --software-tee DIR "
                     "(made by `verifier software-tee init DIR`)",
    "attester.tsm.io": "run as root inside the confidential guest",
    "config.kbs_url": "give --kbs-url, ATTESTATION_KBS_URL, kbs_url in a --config file, or init data that names it",
    "config.software_tee": "give --software-tee DIR together with --tee software",
    "kbc.attestation_refused": "the broker's operator finds the failed check in its audit log, under the reference",
    "kbc.denied": "the broker's operator finds the reason in its audit log, under the reference",
    "kbc.insecure_http": "use https with --ca FILE or --pin, or say --insecure-http",
    "kbc.not_found": "the owner stores it with `kbs resource set`",
    "kbc.tls": "give the broker's authority with --ca FILE, or its key with --pin sha256//…",
    "kbc.unreachable": "is the broker running, and is its address right?",
}

F = TypeVar("F", bound=Callable[..., Any])


class LazyGroup(click.Group):
    """A group whose commands of other rooms are imported when they are invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Those of this room and the others, sorted."""
        return sorted([*super().list_commands(ctx), *_LATER])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, imported now if it is of another room. Raises `click.UsageError` when its parts are missing."""
        if cmd_name not in _LATER:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = _LATER[cmd_name]
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ImportError as error:
            if ctx.resilient_parsing:  # completion offers what there is
                return None
            raise click.UsageError(f"{cmd_name} needs a part that is not installed: {error}") from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Help without importing anything."""
        own = {name: command.get_short_help_str(80) for name, command in self.commands.items()}
        helps = own | {name: told for name, (_, _, told) in _LATER.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(helps.items()))


_OPTIONS = (
    click.option("--config", type=click.Path(path_type=Path), help="TOML file: kbs_url, tee, ca_file, pinned_key …"),
    click.option("--kbs-url", metavar="URL", help="The key broker: https://host[:port]."),
    click.option("--tee", type=click.Choice(["auto", "tdx", "snp", "software"]),
                 help="Which TEE gives the evidence; auto finds hardware only."),
    click.option("--software-tee", metavar="DIR", help="Folder of a software TEE, for --tee software."),
    click.option("--software-kind", type=click.Choice(["tdx", "sgx", "snp"]), help="What it imitates; default tdx."),
    click.option("--init-data", metavar="FILE", help="Init data this guest is bound to: TOML, or the device."),
    click.option("--ca", "ca_file", metavar="FILE", help="PEM certificates that may vouch for the broker."),
    click.option("--pin", "pinned_key", metavar="sha256//BASE64", help="SHA-256 of the broker's public key (SPKI)."),
    click.option("--insecure-http", is_flag=True, default=None, help="Allow a remote broker without TLS."),
    click.option("--deadline", type=float, metavar="SECONDS", help="For one request with its retries; default 60."),
)


def broker_options(command: F) -> F:
    """The options of `GuestConfig`; given before or after the command's name, the latter wins."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=LazyGroup,
             context_settings={"auto_envvar_prefix": "ATTESTATION", "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attestkit", prog_name="attestation")
@broker_options
@click.pass_context
def main(ctx: click.Context, /, **given: Any) -> None:
    """Prove what runs here, fetch what that earns, unlock what was encrypted for it.

    Every option can be set in the environment: ATTESTATION_KBS_URL, ATTESTATION_TEE and so on.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="attestation: %(message)s")
    ctx.obj = _broker_keys(ctx, given)


@main.command("evidence")
@broker_options
@click.option("--report-data", metavar="HEX", help="The 64 bytes to bind, as they stand.")
@click.option("--runtime-data", metavar="FILE", help="Bind the digest of this file (- is stdin), as a workload's.")
@click.option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="With TEE and report data around the evidence.")
@click.pass_context
def evidence_command(ctx: click.Context, /, report_data: str | None, runtime_data: str | None, output: str | None,
                     as_json: bool, **given: Any) -> None:
    """Print this guest's evidence as JSON."""
    if (report_data is None) == (runtime_data is None):
        raise click.UsageError("give either --report-data HEX or --runtime-data FILE")
    with _told(as_json):
        from attestation.attesters.base import to_json
        from attestation.init_data import require_bound
        from attestation.kbc.connect import attester_for, read_init_data

        config = _settings(ctx, given)
        document = read_init_data(config)
        attester = attester_for(config, document)
        bound = _report_data(attester.tee, report_data, runtime_data)
        evidence = attester.evidence(bound)
        if document is not None:
            require_bound(document, evidence)
        value: Any = to_json(evidence)
        if as_json:
            value = {"tee": str(attester.tee), "report_data": bound.hex(), "evidence": value}
        _put(json.dumps(value).encode() + b"\n", output)


@main.command("token")
@broker_options
@click.option("--output", "-o", metavar="FILE", help="Write there (mode 0600) instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def token_command(ctx: click.Context, /, output: str | None, as_json: bool, **given: Any) -> None:
    """Attest to the broker and print the token it gives."""
    with _told(as_json):
        from attestation.kbc.connect import connect

        token = connect(_settings(ctx, given)).token()
        _put((json.dumps({"token": token}) if as_json else token).encode() + b"\n", output)


@main.command("resource")
@broker_options
@click.argument("uri", metavar="URI")
@click.option("--output", "-o", metavar="FILE", help="Write there (mode 0600, at once) instead of stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, the secret in base64.")
@click.pass_context
def resource_command(ctx: click.Context, /, uri: str, output: str | None, as_json: bool, **given: Any) -> None:
    """Attest to the broker and print the secret under URI: kbs:///repository/type/tag."""
    with _told(as_json):
        from attestation.kbc.connect import connect

        secret = connect(_settings(ctx, given)).resource(uri)
        if as_json:
            secret = json.dumps({"uri": uri, "data": base64.b64encode(secret).decode()}).encode() + b"\n"
        _put(secret, output)


@main.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print SHELL's completion script.

    To use it now: eval "$(attestation completion bash)".
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(kind(main, {}, "attestation", "_ATTESTATION_COMPLETE").source())


def _broker_keys(ctx: click.Context, given: dict[str, Any]) -> Any:
    """What commands of other rooms find in ``ctx.obj``: ``source`` makes a key source at the broker, or is None."""
    def source() -> KeySource:
        from attestation.kbc.connect import connect
        from attestation.secrets.keys import BrokerKeySource

        return BrokerKeySource(connect(_merged(given, {})))

    named = any(given[name] is not None for name in ("kbs_url", "config", "init_data"))
    if _LATER.get(ctx.invoked_subcommand or "", ("",))[0] == "attestation.images.commands":
        from attestation.images.commands import BrokerKeys

        return BrokerKeys(source=source if named else None)
    return SimpleNamespace(source=source if named else None, given=given)


def _settings(ctx: click.Context, given: dict[str, Any]) -> GuestConfig:
    return _merged(ctx.obj.given, given)


def _merged(before: dict[str, Any], after: dict[str, Any]) -> GuestConfig:
    """File, then options before the command, then options after it."""
    from attestation.config import GuestConfig, load

    options = before | {name: value for name, value in after.items() if value is not None}
    path = options.pop("config", None)
    return (load(path) if path is not None else GuestConfig()).told(**options)


def _report_data(tee: str, report_data: str | None, runtime_data: str | None) -> bytes:
    from kbs.protocol.runtime_data import report_data_for, workload_digest

    if report_data is None:
        return report_data_for(tee, workload_digest(_read(runtime_data or "-")))
    try:
        return bytes.fromhex(report_data)
    except ValueError:
        raise click.UsageError("--report-data is not hexadecimal") from None


def _read(path: str) -> bytes:
    try:
        with click.open_file(path, "rb") as file:
            data: bytes = file.read(MAX_RUNTIME_DATA_BYTES + 1)
    except OSError as error:
        raise SetupError("cli.read", f"{path} could not be read: {error.strerror}") from None
    if len(data) > MAX_RUNTIME_DATA_BYTES:
        raise SetupError("cli.read", f"{path} is too large", expected=f"<= {MAX_RUNTIME_DATA_BYTES} bytes")
    return data


def _put(data: bytes, output: str | None) -> None:
    if output is None:
        click.echo(data, nl=False)
        return
    try:
        _write_at_once(Path(output), data)
    except OSError as error:
        raise SetupError("cli.write", f"{output} could not be written: {error.strerror}") from None


def _write_at_once(path: Path, data: bytes) -> None:
    """A file of mode 0600 that appears whole or not at all."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Errors inside the block are told in one line, with the way out, and become exit codes."""
    try:
        yield
    except AttestationError as error:
        if as_json:
            click.echo(json.dumps({"error": _as_json(error)}))
        told = "".join(character if character.isprintable() else "?" for character in str(error))
        click.echo(f"attestation: {told}", err=True)
        if error.id in _WAY_OUT:
            click.echo(f"  {_WAY_OUT[error.id]}", err=True)
        raise SystemExit(_status(error)) from None


def _status(error: AttestationError) -> int:
    from attestation.kbc.refusals import BrokerRefusedError

    if isinstance(error, BrokerRefusedError):
        return UNDECIDED if error.id == "kbc.unavailable" else REFUSED
    return REFUSED if isinstance(error, KeyUnavailable | ImageError | ModelError) else UNDECIDED


def _as_json(error: AttestationError) -> dict[str, Any]:
    """The error as JSON, with what the broker told where it did."""
    told: dict[str, Any] = {"id": error.id, "detail": error.detail}
    for name in ("expected", "got"):
        value = getattr(error, name)
        told[name] = None if value is None else readable(value)
    for name in ("broker_id", "reference"):
        if getattr(error, name, None) is not None:
            told[name] = getattr(error, name)
    return told
