from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from attestation.errors import SealedFileError
from attestation.models.memory_file import memory_file


def test_library_reads_the_sealed_file_through_memory(seal, keys):
    tensors = {"a": np.arange(10_000, dtype="f4"), "b": np.ones((3, 2), "i2")}
    with memory_file(seal(save(tensors)), keys) as path, safe_open(path, "np") as model:
        assert np.array_equal(model.get_tensor("a"), tensors["a"])
        assert np.array_equal(model.get_tensor("b"), tensors["b"])


@pytest.mark.parametrize("size", [0, 5, 10_000])
def test_memory_holds_the_plaintext_and_cannot_change(seal, noise, keys, size):
    with memory_file(seal(noise(size)), keys) as path:
        assert Path(path).read_bytes() == noise(size)
        fd = os.open(path, os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(fd, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 1)
        os.close(fd)


@pytest.mark.parametrize("size", [0, 10_000])
def test_altered_file_gives_no_memory(seal, noise, keys, size, entries):
    sealed = seal(noise(size))
    whole = bytearray(sealed.read_bytes())
    whole[-1] ^= 1
    sealed.write_bytes(whole)
    before = entries("/proc/self/fd")
    with pytest.raises(SealedFileError) as caught, memory_file(sealed, keys):
        pytest.fail("yielded a path")
    assert caught.value.id == "models.chunk"
    del caught  # whose traceback holds on to the memory
    assert entries("/proc/self/fd") == before


def test_errors_of_the_block_are_its_own(seal, keys):
    with pytest.raises(FileNotFoundError), memory_file(seal(b"data"), keys):
        raise FileNotFoundError
