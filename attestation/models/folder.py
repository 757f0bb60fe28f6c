"""Sealed folders: a model's shards, tokenizer and configuration sealed file by file, held together by a manifest.

A folder is flat: every entry but the manifest is a sealed file that the manifest names, and nothing else may lie there.
Symbolic links are refused, in the source as in the sealed folder. Hard links are not: another name of the same file can
change its bytes, and then its chunks no longer authenticate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from attestation.errors import ModelError, SetupError
from attestation.models.files import io_errors, new_file, new_folder, open_regular
from attestation.models.keys import KeySource
from attestation.models.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SEALED_SUFFIX,
    Manifest,
    ManifestFile,
    new_manifest,
    parse_manifest,
)
from attestation.models.reader import SealedReader, open_sealed
from attestation.models.seal import Progress, seal_file
from attestation.models.sealed_file import DEFAULT_CHUNK_BYTES
from attestation.models.unseal import write_plaintext


class SealedFolder:
    """An open sealed folder whose manifest is authentic and which holds exactly what the manifest names."""

    def __init__(self, fd: int, manifest: Manifest, keys: KeySource) -> None:
        """Takes over ``fd``, the folder's descriptor. Raises `ModelError`."""
        self.manifest = manifest
        self._fd = fd
        self._keys = keys
        self._files: Mapping[str, ManifestFile] = {file.name: file for file in manifest.files}
        _check_entries(fd, manifest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the plaintext files, sorted."""
        return tuple(self._files)

    def open(self, name: str) -> SealedReader:
        """The file ``name``, in the sealing that the manifest names. Raises as `open_sealed`."""
        if name not in self._files:
            raise SetupError("models.folder.unknown", f"the folder holds no {name}")
        file = self._files[name]
        try:
            return open_sealed(name + SEALED_SUFFIX, self._keys, folder=self._fd,
                               header_digest=bytes.fromhex(file.header_sha256))
        except ModelError as error:
            raise type(error)(error.id, f"{name}: {error.detail}", expected=error.expected, got=error.got) from None


def open_folder(folder: Path, keys: KeySource, *, manifest_digest: bytes | None = None) -> SealedFolder:
    """Open a sealed folder; ``manifest_digest`` as in `open_model`.

    Its manifest and list of entries are checked, not yet its files: each is checked when it is opened and read. Raises
    `ModelError`, `KeyUnavailable` or `SetupError`.
    """
    with io_errors(f"cannot open {folder}"):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        stated = parse_manifest(_read_manifest(fd))
        manifest = stated.authenticate(keys.get(stated.key_uri), digest=manifest_digest)
        return SealedFolder(fd, manifest, keys)
    except BaseException:
        os.close(fd)
        raise


def seal_folder(source: Path, target: Path, *, key_uri: str, keys: KeySource, chunk_bytes: int = DEFAULT_CHUNK_BYTES,
                progress: Progress | None = None) -> Manifest:
    """Seal every file of the folder ``source`` into the new folder ``target`` (mode 0700), all under one key.

    Raises `SetupError`, `KeyUnavailable`, or `ModelError` for an entry that is not a regular file, or whose name a
    manifest does not hold.
    """
    names = _list_files(source)
    files = []
    with new_folder(target) as folder:
        for name in names:
            header = seal_file(source / name, folder / (name + SEALED_SUFFIX), key_uri=key_uri, keys=keys,
                               chunk_bytes=chunk_bytes, progress=progress)
            files.append(ManifestFile(name, key_uri, header.file_bytes, header.digest.hex()))
        manifest = new_manifest(keys.get(key_uri), key_uri, files)
        with new_file(folder / MANIFEST_NAME) as out:
            out.write(manifest.encoded)
    return manifest


def unseal_folder(source: Path, target: Path, keys: KeySource, *, manifest_digest: bytes | None = None,
                  progress: Progress | None = None) -> Manifest:
    """Open every file of a sealed folder into the new folder ``target`` (mode 0700, files 0600), or none.

    Raises as `open_folder` and `SealedReader`.
    """
    with open_folder(source, keys, manifest_digest=manifest_digest) as sealed, new_folder(target) as folder:
        for name in sealed.names:
            with sealed.open(name) as reader:
                write_plaintext(reader, folder / name, progress)
        return sealed.manifest


def _list_files(source: Path) -> list[str]:
    """Names of the regular files in a folder about to be sealed, sorted. Raises `ModelError` for any other entry."""
    with io_errors(f"cannot read {source}"), os.scandir(source) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if not entry.is_file(follow_symlinks=False):
                raise ModelError("models.folder.entry", f"{entry.name!a} is not a file; sealed folders are flat")
    return [entry.name for entry in found]


def _read_manifest(folder: int) -> bytes:
    with ExitStack() as resources:
        fd = open_regular(MANIFEST_NAME, folder=folder)
        resources.callback(os.close, fd)
        with io_errors("cannot read the manifest"):
            # One byte more than allowed, so that the parser sees that there is more.
            return os.pread(fd, MAX_MANIFEST_BYTES + 1, 0)


def _check_entries(folder: int, manifest: Manifest) -> None:
    """Exactly the named files, of the named lengths, none of them a link. Raises `ModelError`, naming the file."""
    expected = {file.name + SEALED_SUFFIX: file for file in manifest.files}
    with io_errors("cannot read the folder"), os.scandir(folder) as entries:
        found = {entry.name: entry for entry in entries if entry.name != MANIFEST_NAME}
        for name in sorted(expected.keys() ^ found.keys()):
            what = "is missing" if name in expected else "is not in the manifest"
            raise ModelError("models.folder.entries", f"{ascii(name)[:80]} {what}")
        for name, file in expected.items():
            if not found[name].is_file(follow_symlinks=False):
                raise ModelError("models.folder.entry", f"{name} is not a regular file")
            size = found[name].stat(follow_symlinks=False).st_size
            if size != file.sealed_bytes:
                raise ModelError("models.folder.length", f"{name} has the wrong length",
                                 expected=f"{file.sealed_bytes} bytes", got=f"{size} bytes")
