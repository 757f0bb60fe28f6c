"""Opening a sealed file into a plaintext file: chunk by chunk, and under the target's name only when all of it held."""

from __future__ import annotations

from pathlib import Path

from attestation.models.files import new_file
from attestation.models.keys import KeySource
from attestation.models.reader import SealedReader, open_sealed
from attestation.models.seal import Progress
from attestation.models.sealed_file import Header


def unseal_file(source: Path, target: Path, keys: KeySource, *, progress: Progress | None = None) -> Header:
    """Open the sealed file ``source`` as the new file ``target`` (mode 0600).

    Raises as `open_sealed` and `SealedReader`.
    """
    with open_sealed(source, keys) as reader:
        write_plaintext(reader, target, progress)
        return reader.header


def write_plaintext(reader: SealedReader, target: Path, progress: Progress | None) -> None:
    """All of ``reader`` into the new file ``target``."""
    with new_file(target) as out:
        for chunk in reader.chunks():
            out.write(chunk)
            if progress is not None:
                progress(len(chunk))
