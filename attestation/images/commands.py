"""The commands ``encrypt-image``, ``decrypt-image`` and ``key-provider``: parse, call, print.

Exit codes: 0 done, 1 the image was refused or no key opens it, 2 usage, unreadable or unwritable files. Results go to
stdout, everything else to stderr. Keys are given as files only: arguments can be read by every process.

The key broker comes in from outside. A parent command sets ``ctx.obj = BrokerKeys(source=…, sink=…)``; both are called
only when a key is needed, so a command that needs none attests to nobody.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from attestation.errors import AttestationError, SetupError
from attestation.images.decrypt import decrypt_image
from attestation.images.encrypt import encrypt_image
from attestation.images.jwe_keys import JwePrivateKey, JweRecipient
from attestation.images.key_provider import MAX_REQUEST_BYTES, KeyProvider
from attestation.images.key_sources import KeyFiles, KeySink, KeySource, KeySources, own_kid, read_kek
from attestation.images.layer_keys import KbsRecipient, Recipient
from attestation.images.rewrite import ManifestOutcome, Progress
from verifier.errors import readable

REFUSED, UNUSABLE = 1, 2


@dataclass(frozen=True, slots=True)
class BrokerKeys:
    """How these commands reach the key broker; None: they do not."""

    source: Callable[[], KeySource] | None = None
    sink: Callable[[], KeySink] | None = None


_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_ZSTD = click.option("--allow-unchecked-zstd", is_flag=True,
                     help="Let zstd layers through where this Python cannot decompress them to check their diff_id.")
_SKIP = click.option("--insecure-skip-diff-ids", is_flag=True,
                     help="Do not compare layers with the image's configuration: they may have been swapped.")
_KEY_FILES = click.option("--key-file", "key_files", metavar="KBS-URI=FILE", multiple=True,
                          help="A key of the broker that is at hand: FILE holds its 32 raw bytes.")


@click.command("encrypt-image")
@click.argument("source", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--recipient", "recipients", metavar="jwe:FILE", multiple=True,
              help="Public key (PEM or JWK) of somebody who may open the image.")
@click.option("--kbs-key", "kids", metavar="KBS-URI", multiple=True,
              help="Key of the key broker, kbs:///repository/type/tag, whose holders may open the image.")
@click.option("--key-file", "files", type=_PATH, multiple=True,
              help="Its 32 raw bytes, one file for each --kbs-key in the same order; "
                   "without any, new keys are made and stored at the broker.")
@_ZSTD
@_SKIP
@_JSON
@click.pass_context
def encrypt_command(context: click.Context, source: Path, target: Path, recipients: Sequence[str], kids: Sequence[str],
                    files: Sequence[Path], allow_unchecked_zstd: bool, insecure_skip_diff_ids: bool,
                    as_json: bool) -> None:
    """Encrypt all layers of the OCI image layout SOURCE into the new layout TARGET."""
    with _told(as_json), _bar("encrypting") as progress:
        found = encrypt_image(source, target, recipients=_recipients(context, recipients, kids, files),
                              allow_unchecked_zstd=allow_unchecked_zstd,
                              insecure_skip_diff_ids=insecure_skip_diff_ids, progress=progress)
    _report(found, target, as_json)


@click.command("decrypt-image")
@click.argument("source", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--private-key", "private_keys", type=_PATH, multiple=True,
              help="Private key of a recipient: PEM or JWK.")
@_KEY_FILES
@click.option("--digest", metavar="sha256:HEX", help="Digest that index.json must name, and nothing else.")
@click.option("--allow-plain-layers", is_flag=True, help="Copy layers that are not encrypted.")
@_ZSTD
@_SKIP
@_JSON
@click.pass_context
def decrypt_command(context: click.Context, source: Path, target: Path, private_keys: Sequence[Path],
                    key_files: Sequence[str], digest: str | None, allow_plain_layers: bool, allow_unchecked_zstd: bool,
                    insecure_skip_diff_ids: bool, as_json: bool) -> None:
    """Decrypt the OCI image layout SOURCE into the new layout TARGET."""
    with _told(as_json), _bar("decrypting") as progress:
        found = decrypt_image(source, target, private_keys=[JwePrivateKey.from_file(path) for path in private_keys],
                              key_source=_key_source(context, key_files), expected_digest=digest,
                              require_all_encrypted=not allow_plain_layers, allow_unchecked_zstd=allow_unchecked_zstd,
                              insecure_skip_diff_ids=insecure_skip_diff_ids, progress=progress)
    _report(found, target, as_json)


@click.command("key-provider")
@_KEY_FILES
@click.pass_context
def key_provider_command(context: click.Context, key_files: Sequence[str]) -> None:
    """Answer one request of ocicrypt's key provider protocol: JSON on stdin, JSON on stdout."""
    with _told(as_json=False):
        provider = KeyProvider(_key_source(context, key_files), allow_key_paths=True)
        click.echo(provider.answer(sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)))


COMMANDS: tuple[click.Command, ...] = (encrypt_command, decrypt_command, key_provider_command)


def _recipients(context: click.Context, texts: Sequence[str], kids: Sequence[str], files: Sequence[Path],
                ) -> list[Recipient]:
    found: list[Recipient] = [JweRecipient.from_file(_jwe_file(text)) for text in texts]
    if files and len(files) != len(kids):
        raise SetupError("image.usage", "--key-file is given once for each --kbs-key, or never", expected=len(kids),
                         got=len(files))
    if files:
        return found + [KbsRecipient.of(kid, read_kek(path)) for kid, path in zip(kids, files, strict=True)]
    return found + _stored(context, kids) if kids else found


def _stored(context: click.Context, kids: Sequence[str]) -> list[Recipient]:
    """A new key at the broker for each kid."""
    broker = context.find_object(BrokerKeys)
    if broker is None or broker.sink is None:
        raise SetupError("image.usage", "without --key-file a new key has to be stored, and no broker is configured")
    sink = broker.sink()
    return [KbsRecipient.create(kid, sink) for kid in kids]


def _jwe_file(text: str) -> Path:
    scheme, _, path = text.partition(":")
    if scheme != "jwe" or not path:
        raise SetupError("image.usage", "a recipient is given as jwe:FILE", got=text)
    return Path(path)


def _key_source(context: click.Context, key_files: Sequence[str]) -> KeySource:
    """Key files first, then the broker, which is called on first use."""
    paths: dict[str, Path] = {}
    for text in key_files:
        kid, _, path = text.partition("=")
        if not path:
            raise SetupError("image.usage", "a key file is given as kbs:///repository/type/tag=FILE", got=text)
        paths[own_kid(kid)] = Path(path)
    broker = context.find_object(BrokerKeys)
    sources: list[KeySource] = [KeyFiles(paths)]
    if broker is not None and broker.source is not None:
        sources.append(_Later(broker.source))
    return KeySources(sources)


class _Later:
    """A `KeySource` that is made when the first key is asked for."""

    def __init__(self, make: Callable[[], KeySource]) -> None:
        self._make = make
        self._made: KeySource | None = None

    def get(self, kid: str) -> bytes:
        if self._made is None:
            self._made = self._make()
        return self._made.get(kid)


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Errors inside the block are told and become exit codes."""
    try:
        yield
    except AttestationError as error:
        if as_json:
            click.echo(json.dumps({"error": _as_json(error)}))
        else:
            click.echo(f"refused: {error}" if not isinstance(error, SetupError) else str(error), err=True)
        raise SystemExit(UNUSABLE if isinstance(error, SetupError) else REFUSED) from None


def _as_json(error: AttestationError) -> dict[str, Any]:
    values = {name: getattr(error, name) for name in ("expected", "got")}
    return {"id": error.id, "detail": error.detail,
            **{name: None if value is None else readable(value) for name, value in values.items()}}


def _report(found: Sequence[ManifestOutcome], target: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"target": str(target), "manifests": [asdict(outcome) for outcome in found]}))
        return
    for outcome in found:
        click.echo(f"{outcome.source} -> {outcome.target}")
        for layer in outcome.layers:
            click.echo(f"  {layer.source} -> {layer.target}  {layer.media_type}  {layer.size} bytes")


@contextmanager
def _bar(doing: str) -> Iterator[Progress | None]:
    """A progress bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(doing, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
