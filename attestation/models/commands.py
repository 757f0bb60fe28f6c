"""The commands ``seal-model`` and ``open-model``: parse, call, print.

Exit codes: 0 done, 1 the model was refused or no key opens it, 2 usage, unreadable or unwritable files, no broker.
Results go to stdout, everything else to stderr. Keys are given as files only: arguments can be read by every process.

The key broker comes in from outside. A parent command sets ``ctx.obj`` to an object whose ``source`` makes a
`KeySource`, or is None; it is called when the first key is needed that no ``--key-file`` holds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import msgspec

from attestation.errors import AttestationError, KeyUnavailable, ModelError
from attestation.models.folder import open_folder, seal_folder, unseal_folder
from attestation.models.keys import HeldKeys, KeySource, PinnedKeys, generate_key_file, is_key_uri, read_key_file
from attestation.models.manifest import Manifest
from attestation.models.reader import SealedReader, open_sealed
from attestation.models.safetensors_header import SUFFIX, read_header
from attestation.models.seal import Progress, seal_file
from attestation.models.sealed_file import DEFAULT_CHUNK_BYTES, Header
from attestation.models.unseal import unseal_file
from verifier.errors import MalformedEvidence, readable
from verifier.formats.strict import hex_bytes

REFUSED, UNUSABLE = 1, 2

# Given a file's name and its open reader: members to add to what is told about it.
Look = Callable[[str, SealedReader], dict[str, Any]]

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.command("seal-model")
@click.argument("source", type=_PATH)
@click.argument("target", type=_PATH)
@click.option("--key-uri", required=True, metavar="KBS-URI",
              help="Where openers will fetch the key: kbs:///repository/type/tag.")
@click.option("--key-file", required=True, type=_PATH, help="The key: a file of 32 raw bytes.")
@click.option("--generate-key", is_flag=True, help="Make a new key first and write it to the key file.")
@click.option("--chunk-size", type=int, default=DEFAULT_CHUNK_BYTES, show_default=True, metavar="BYTES",
              help="A power of two, 4096 to 67108864.")
@_JSON
def seal_command(source: Path, target: Path, key_uri: str, key_file: Path, generate_key: bool, chunk_size: int,
                 as_json: bool) -> None:
    """Seal the file or folder SOURCE as the new file or folder TARGET."""
    if not is_key_uri(key_uri):
        raise click.UsageError("a key URI is given as kbs:///repository/type/tag")
    with _told(as_json), _bar("sealing", source) as progress:
        if generate_key:
            generate_key_file(key_file)
        keys = HeldKeys({key_uri: read_key_file(key_file)})
        if source.is_dir():
            found = _of_folder(seal_folder(source, target, key_uri=key_uri, keys=keys, chunk_bytes=chunk_size,
                                           progress=progress))
        else:
            found = _of_file(source.name, seal_file(source, target, key_uri=key_uri, keys=keys, chunk_bytes=chunk_size,
                                                    progress=progress))
    _report(found | {"target": str(target)}, as_json)


@click.command("open-model")
@click.argument("source", type=_PATH)
@click.argument("target", type=_PATH, required=False)
@click.option("--check", is_flag=True, help="Authenticate every byte and write nothing.")
@click.option("--list", "list_tensors", is_flag=True, help="List the files and, of safetensors files, the tensors.")
@click.option("--key-file", "key_files", metavar="KBS-URI=FILE", multiple=True,
              help="A key of the broker that is at hand: FILE holds its 32 raw bytes.")
@click.option("--key-uri", "key_uris", metavar="KBS-URI", multiple=True,
              help="Believe only models sealed under this key; without it, under any key that can be had.")
@click.option("--manifest-digest", metavar="HEX", help="SHA-256 that the manifest of the folder SOURCE must have.")
@_JSON
@click.pass_context
def open_command(context: click.Context, source: Path, target: Path | None, check: bool, list_tensors: bool,
                 key_files: Sequence[str], key_uris: Sequence[str], manifest_digest: str | None,
                 as_json: bool) -> None:
    """Open the sealed file or folder SOURCE as the new file or folder TARGET, or look into it."""
    if [target is not None, check, list_tensors].count(True) != 1:
        raise click.UsageError("give exactly one of TARGET, --check and --list")
    if manifest_digest is not None and not source.is_dir():
        raise click.UsageError("--manifest-digest is for folders")
    pinned = _digest(manifest_digest)
    with _told(as_json), _bar("opening", source) as progress:
        keys: KeySource = _keys(context, key_files)
        keys = PinnedKeys(keys, key_uris) if key_uris else keys
        if target is None:
            found = _look(source, keys, pinned, _tensors if list_tensors else partial(_read_all, progress))
        elif source.is_dir():
            found = _of_folder(unseal_folder(source, target, keys, manifest_digest=pinned, progress=progress))
        else:
            found = _of_file(source.name, unseal_file(source, target, keys, progress=progress))
    _report(found | {"target": str(target) if target else None}, as_json)


COMMANDS: tuple[click.Command, ...] = (seal_command, open_command)


def _look(source: Path, keys: KeySource, pinned: bytes | None, look: Look) -> dict[str, Any]:
    """What ``look`` finds in each file, added to what the headers say."""
    if not source.is_dir():
        with open_sealed(source, keys) as reader:
            found = _of_file(source.name, reader.header)
            found["files"][0].update(look(source.name, reader))
        return found
    with open_folder(source, keys, manifest_digest=pinned) as folder:
        found = _of_folder(folder.manifest)
        for entry in found["files"]:
            with folder.open(entry["name"]) as reader:
                entry.update(look(entry["name"], reader))
    return found


def _read_all(progress: Progress | None, _: str, reader: SealedReader) -> dict[str, Any]:
    for chunk in reader.chunks():
        if progress is not None:
            progress(len(chunk))
    return {"plaintext_bytes": len(reader)}


def _tensors(name: str, reader: SealedReader) -> dict[str, Any]:
    if SUFFIX not in Path(name).suffixes:
        return {}
    tensors = read_header(reader).tensors
    return {"tensors": [{"name": info.name, "dtype": info.dtype, "shape": info.shape} for info in tensors]}


def _of_file(name: str, header: Header) -> dict[str, Any]:
    entry = {"name": name, "key_uri": header.key_uri, "sealed_bytes": header.file_bytes,
             "header_sha256": header.digest.hex()}
    return {"files": [entry], "manifest_sha256": None}


def _of_folder(manifest: Manifest) -> dict[str, Any]:
    return {"files": [msgspec.to_builtins(file) for file in manifest.files], "manifest_sha256": manifest.digest.hex()}


def _digest(text: str | None) -> bytes | None:
    try:
        return None if text is None else hex_bytes(text, "the manifest digest", 32)
    except MalformedEvidence as error:
        raise click.UsageError(str(error)) from None


def _keys(context: click.Context, key_files: Sequence[str]) -> KeySource:
    """Key files first, then the broker."""
    paths: dict[str, Path] = {}
    for text in key_files:
        key_uri, _, path = text.partition("=")
        if not path or not is_key_uri(key_uri):
            raise click.UsageError("a key file is given as kbs:///repository/type/tag=FILE")
        paths[key_uri] = Path(path)
    held = HeldKeys.from_files(paths)
    broker: Callable[[], KeySource] | None = getattr(context.obj, "source", None)
    return held if broker is None else _HeldThenBroker(held, broker)


class _HeldThenBroker:
    def __init__(self, held: HeldKeys, broker: Callable[[], KeySource]) -> None:
        self._held = held
        self._broker = cache(broker)

    def get(self, kid: str) -> bytes:
        return self._held.get(kid) if kid in self._held else self._broker().get(kid)


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Errors inside the block are told and become exit codes."""
    try:
        yield
    except AttestationError as error:
        if as_json:
            values = {name: _shown(getattr(error, name)) for name in ("expected", "got")}
            click.echo(json.dumps({"error": {"id": error.id, "detail": error.detail, **values}}))
        else:
            click.echo(str(error), err=True)
        raise SystemExit(REFUSED if isinstance(error, ModelError | KeyUnavailable) else UNUSABLE) from None


def _shown(value: object) -> str | None:
    return None if value is None else readable(value)


def _report(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found | {"error": None}))
        return
    for entry in found["files"]:
        click.echo(f"{entry['name']}  {entry['sealed_bytes']} bytes sealed  {entry['key_uri']}  "
                   f"header {entry['header_sha256']}")
        for tensor in entry.get("tensors", ()):
            click.echo(f"  {tensor['name']}  {tensor['dtype']}  {list(tensor['shape'])}")
    if found["manifest_sha256"]:
        click.echo(f"manifest {found['manifest_sha256']}")


@contextmanager
def _bar(doing: str, source: Path) -> Iterator[Progress | None]:
    """A progress bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(doing, total=_total_bytes(source))
        yield partial(bars.advance, task)


def _total_bytes(source: Path) -> int | None:
    """Bytes to go through, by the files' sizes; None where they cannot be seen. For the bar only."""
    try:
        files = source.iterdir() if source.is_dir() else (source,)
        return sum(path.stat().st_size for path in files)
    except OSError:
        return None
