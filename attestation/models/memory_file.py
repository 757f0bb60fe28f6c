"""A sealed file opened into memory, under a path that any loader can read: for frameworks other than numpy.

    with memory_file("model.safetensors.sealed", keys) as path, safetensors.safe_open(path, framework="pt") as model:
        weights = model.get_tensor("layer.0.weight")

The memory lies in no file system, and once it is filled the kernel refuses every change to it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attestation.models.files import io_errors
from attestation.models.keys import KeySource
from attestation.models.reader import SealedReader, open_sealed


@contextmanager
def memory_file(source: str | Path, keys: KeySource) -> Iterator[str]:
    """The path of an anonymous file in memory holding the plaintext of ``source``.

    The path leads there from within this process only, until the block ends; memory is given back when nothing maps it
    any more. Raises as `open_sealed` and `SealedReader`.
    """
    with io_errors("cannot hold the file in memory"):
        fd = os.memfd_create("unsealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open_sealed(source, keys) as reader, io_errors("cannot hold the file in memory"):
            _fill(fd, reader)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _fill(fd: int, reader: SealedReader) -> None:
    os.ftruncate(fd, len(reader))
    if len(reader):
        memory = mmap.mmap(fd, len(reader))
        reader.readinto(0, memoryview(memory))
        memory.close()  # the kernel does not seal what is still mapped for writing
    else:
        reader.readinto(0, bytearray())  # authenticates the end of an empty file
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
