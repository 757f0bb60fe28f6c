"""Tensors out of sealed safetensors files, with the interface of ``safetensors.safe_open`` for numpy.

    with open_model("model.safetensors.sealed", keys) as model:
        weights = model.get_tensor("layer.0.weight")        # decrypts only the chunks that hold it
        rows = model.get_slice("embedding")[10:20]          # only the chunks that hold these rows

    tensors = load_file("model.safetensors.sealed", keys)   # everything, as views into one block of memory

The source is one sealed file, or a sealed folder (`folder`), whose ``*.safetensors`` files together are the model.
dtypes that numpy lacks (BF16, F8_*) come as their `ml_dtypes` types where that package is installed, otherwise as
unsigned integers of the same width; F4 and F6_*, which are packed, come as a flat array of bytes. For other frameworks
see `memory_file`.
"""

from __future__ import annotations

import importlib
import importlib.util
import operator
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from attestation.errors import ModelError, SetupError
from attestation.models.folder import open_folder
from attestation.models.keys import KeySource
from attestation.models.reader import SealedReader, open_sealed
from attestation.models.safetensors_header import DTYPE_BITS, SUFFIX, SafetensorsHeader, TensorInfo, read_header

Array = npt.NDArray[Any]
Index = int | slice | EllipsisType

_NUMPY = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}
_ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_UNSIGNED = {16: "<u2", 8: "u1"}


@dataclass(frozen=True, slots=True)
class _TensorFile:
    reader: SealedReader
    header: SafetensorsHeader

    def tensor(self, info: TensorInfo) -> Array:
        memory = _memory(info.end - info.start)
        self.reader.readinto(info.start, memory.data)
        return _view(memory, info, 0)

    def rows(self, info: TensorInfo, start: int, end: int) -> Array:
        """Rows ``start`` up to ``end`` along the first axis; none of the axes may be empty."""
        row_bytes = (info.end - info.start) // info.shape[0]
        memory = _memory((end - start) * row_bytes)
        self.reader.readinto(info.start + start * row_bytes, memory.data)
        return memory.view(numpy_dtype(info.dtype)).reshape(end - start, *info.shape[1:])

    def all_tensors(self) -> dict[str, Array]:
        start = self.header.data_start
        memory = _memory(len(self.reader) - start)
        self.reader.readinto(start, memory.data)
        return {info.name: _view(memory, info, info.start - start) for info in self.header.tensors}


class SealedModel:
    """The tensors of a sealed file or folder; use `open_model`. Safe to share between threads."""

    def __init__(self, files: Iterable[_TensorFile], resources: ExitStack) -> None:
        """Takes over ``resources``: what `close` closes."""
        self._files = tuple(files)
        self._tensors = _by_name(self._files)
        self._resources = resources.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. Arrays that were handed out stay good."""
        self._resources.close()

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._tensors)

    def offset_keys(self) -> list[str]:
        """The tensors' names, in the order of files and of data in them: the fastest order to read in."""
        return list(self._tensors)

    def metadata(self) -> dict[str, str]:
        """The free texts of the header; of several files, those that all of them agree on."""
        first, *others = (file.header.metadata for file in self._files)
        return {key: text for key, text in first.items() if all(other.get(key) == text for other in others)}

    def info(self, name: str) -> TensorInfo:
        """dtype, shape and place of a tensor. Raises `SetupError` for an unknown name."""
        return self._find(name)[1]

    def get_tensor(self, name: str) -> Array:
        """One tensor, in memory of its own. Raises `SetupError` for an unknown name, or what `SealedReader` raises."""
        file, info = self._find(name)
        return file.tensor(info)

    def get_slice(self, name: str) -> TensorSlice:
        """A tensor to be indexed: what the first index leaves out along the first axis is not decrypted."""
        return TensorSlice(*self._find(name))

    def get_tensors(self) -> dict[str, Array]:
        """Every tensor, as writable views into one block of memory per file, which lives as long as any of them."""
        return {name: array for file in self._files for name, array in file.all_tensors().items()}

    def _find(self, name: str) -> tuple[_TensorFile, TensorInfo]:
        if name not in self._tensors:
            raise SetupError("models.tensor.unknown", f"the model has no tensor named {name!r}")
        return self._tensors[name]


class TensorSlice:
    """A tensor not yet read. Index it as a numpy array, with whole numbers, slices and an ellipsis."""

    __slots__ = ("_file", "_info")

    def __init__(self, file: _TensorFile, info: TensorInfo) -> None:
        self._file = file
        self._info = info

    def get_shape(self) -> list[int]:
        """Elements along each axis."""
        return list(self._info.shape)

    def get_dtype(self) -> str:
        """The dtype by its safetensors name."""
        return self._info.dtype

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Array:
        first, *rest = (index if isinstance(index, tuple) else (index,)) or (...,)
        shape = self._info.shape
        if first is Ellipsis or not shape or 0 in shape or _is_packed(self._info):
            return self._of(self._file.tensor(self._info), index)
        if isinstance(first, slice):
            wanted = range(shape[0])[first]
            rows = self._file.rows(self._info, min(wanted, default=0), max(wanted, default=-1) + 1)
            return self._of(rows, (slice(None, None, wanted.step), *rest))
        row = range(shape[0])[operator.index(first)]
        return self._of(self._file.rows(self._info, row, row + 1), (0, *rest))

    @staticmethod
    def _of(array: Array, index: Index | tuple[Index, ...]) -> Array:
        found: Array = array[index]
        return found


def open_model(source: str | Path, keys: KeySource, *, manifest_digest: bytes | None = None) -> SealedModel:
    """Open a sealed safetensors file, or a sealed folder of them, for reading tensor by tensor.

    keys: every key it gives is believed; see `PinnedKeys`. manifest_digest: SHA-256 that a folder's manifest must have,
    as pinned by a policy; None believes any manifest made by a holder of its key.

    Raises `SealedFileError`, `ModelError`, `KeyUnavailable` or `SetupError`.
    """
    with ExitStack() as resources:
        if Path(source).is_dir():
            folder = resources.enter_context(open_folder(Path(source), keys, manifest_digest=manifest_digest))
            names = [name for name in folder.names if name.endswith(SUFFIX)]
            readers = [resources.enter_context(folder.open(name)) for name in names]
        elif manifest_digest is not None:
            raise SetupError("models.manifest", "a manifest digest was given, but the source is a single file")
        else:
            readers = [resources.enter_context(open_sealed(source, keys))]
        if not readers:
            raise ModelError("models.folder.tensors", f"the folder holds no {SUFFIX} file")
        return SealedModel([_TensorFile(reader, read_header(reader)) for reader in readers], resources)


def load_file(source: str | Path, keys: KeySource) -> dict[str, Array]:
    """Every tensor of a sealed file or folder, by name: the fast way to load a whole model. Raises as `open_model`."""
    with open_model(source, keys) as model:
        return model.get_tensors()


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy type that stands for a safetensors dtype (see the module's text)."""
    if dtype in _ML_DTYPES and importlib.util.find_spec("ml_dtypes"):
        found: np.dtype[Any] = np.dtype(getattr(importlib.import_module("ml_dtypes"), _ML_DTYPES[dtype]))
        return found
    return np.dtype(_NUMPY.get(dtype) or _UNSIGNED.get(DTYPE_BITS[dtype], "u1"))


def _by_name(files: Iterable[_TensorFile]) -> dict[str, tuple[_TensorFile, TensorInfo]]:
    found: dict[str, tuple[_TensorFile, TensorInfo]] = {}
    for file in files:
        for info in file.header.tensors:
            if info.name in found:
                raise ModelError("models.tensor.duplicate", f"two files hold a tensor named {info.name!r}")
            found[info.name] = (file, info)
    return found


def _view(memory: Array, info: TensorInfo, offset: int) -> Array:
    flat = memory[offset : offset + info.end - info.start].view(numpy_dtype(info.dtype))
    # A file may hold, say, an odd number of bytes before a tensor of floats.
    flat = flat if flat.flags.aligned else flat.copy()
    return flat if _is_packed(info) else flat.reshape(info.shape)


def _is_packed(info: TensorInfo) -> bool:
    return DTYPE_BITS[info.dtype] % 8 != 0


def _memory(size: int) -> Array:
    # numpy asks the kernel for huge pages from 4 MiB on; `prefault` takes that back where they turn out slow.
    return np.empty(size, np.uint8)
