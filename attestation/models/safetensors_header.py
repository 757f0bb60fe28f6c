"""The header of a safetensors file, read strictly.

    8 bytes   header length n, little-endian
    n bytes   JSON object: tensor name -> dtype, shape, data_offsets; "__metadata__" -> text values; padded with spaces
    the rest  tensor data; offsets count from its first byte

Tensors must fill the data without gap or overlap, and each must be exactly as long as its dtype and shape say, so that
no small file can claim much memory and no byte is read under two names. Raises `ModelError` for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from attestation.errors import ModelError
from attestation.models.reader import SealedReader
from verifier.errors import MalformedEvidence
from verifier.formats import strict

SUFFIX = ".safetensors"
LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
MAX_RANK = 32

# Bits per element.
DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}

_METADATA = "__metadata__"
_MEMBERS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: ``start`` and ``end`` are offsets in the file, not in its data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """``tensors``: in the order of their data. ``data_start``: offset in the file at which tensor data begins."""

    tensors: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    data_start: int


def read_header(reader: SealedReader) -> SafetensorsHeader:
    """The safetensors header inside a sealed file. Raises what `SealedReader` raises, too."""
    size = header_length(reader.read(0, min(LENGTH_BYTES, len(reader))), len(reader))
    return parse_header(reader.read(LENGTH_BYTES, size), len(reader))


def header_length(prefix: bytes, file_bytes: int) -> int:
    """The header's length in bytes, from the file's first 8 (or fewer, if the file has no more)."""
    if len(prefix) != LENGTH_BYTES:
        raise _fault("length", "the file is too short for safetensors", f"{LENGTH_BYTES} bytes", f"{len(prefix)} bytes")
    size = int.from_bytes(prefix, "little")
    limit = min(MAX_HEADER_BYTES, file_bytes - LENGTH_BYTES)
    if not 2 <= size <= limit:
        raise _fault("length", "the header's length is impossible", f"2 to {limit} bytes", f"{size} bytes")
    return size


def parse_header(text: bytes, file_bytes: int) -> SafetensorsHeader:
    """The header whose JSON is ``text``, of a file of ``file_bytes`` bytes."""
    members = _object(text)
    metadata = _metadata(members.pop(_METADATA, {}))
    data_start = LENGTH_BYTES + len(text)
    tensors = [_tensor(name, value, data_start) for name, value in members.items()]
    # By end as well: an empty tensor stands before the one that begins where it does.
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    _check_contiguous(tensors, data_start, file_bytes)
    return SafetensorsHeader(tuple(tensors), metadata, data_start)


def _object(text: bytes) -> dict[str, Any]:
    if text[:1] != b"{" or text.rstrip(b" ")[-1:] != b"}":
        raise _fault("json", "the header is not a JSON object padded with spaces")
    try:
        return strict.json_object(text, "the safetensors header")
    except MalformedEvidence as error:
        raise _fault("json", error.detail, error.expected, error.got) from None


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _fault("metadata", f"{_METADATA} must map names to texts")
    return value


def _tensor(name: str, value: object, data_start: int) -> TensorInfo:
    with _named(name):
        if not isinstance(value, dict) or value.keys() != _MEMBERS:
            raise _fault("tensor", "must have exactly these members", sorted(_MEMBERS), _shown(value))
        dtype, shape = _dtype(value["dtype"]), _numbers(value["shape"], "shape")
        offsets = _numbers(value["data_offsets"], "data_offsets")
        _check_size(dtype, shape, offsets)
    return TensorInfo(name, dtype, shape, data_start + offsets[0], data_start + offsets[1])


def _dtype(value: object) -> str:
    if not isinstance(value, str) or value not in DTYPE_BITS:
        raise _fault("dtype", "unknown dtype", sorted(DTYPE_BITS), _shown(value))
    return value


def _numbers(value: object, field: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(number) is int and 0 <= number < 1 << 63 for number in value):
        raise _fault(field, f"{field} must be a list of whole numbers", "0 to 2^63 - 1 each")
    return tuple(value)


def _check_size(dtype: str, shape: tuple[int, ...], offsets: tuple[int, ...]) -> None:
    if len(shape) > MAX_RANK:
        raise _fault("shape", "the shape has too many dimensions", MAX_RANK, len(shape))
    # Zeros are left out: what loaders compute on the way must not overflow either.
    if math.prod(filter(None, shape)) * DTYPE_BITS[dtype] >= 1 << 63:
        raise _fault("shape", "the shape is too large", "< 2^63 bits", shape)
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if len(offsets) != 2 or bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise _fault("data_offsets", "the data is not as long as dtype and shape say", f"{bits} bits", offsets[:3])


def _check_contiguous(tensors: list[TensorInfo], data_start: int, file_bytes: int) -> None:
    end = data_start
    for tensor in tensors:
        if tensor.start != end:
            raise _fault("contiguous", f"tensor {_shown(tensor.name)} does not begin where the one before it ends",
                         end, tensor.start)
        end = tensor.end
    if end != file_bytes:
        raise _fault("contiguous", "the file does not end where its last tensor does", end, file_bytes)


@contextmanager
def _named(tensor: str) -> Iterator[None]:
    """Refusals inside the block say which tensor they are about."""
    try:
        yield
    except ModelError as error:
        raise ModelError(error.id, f"tensor {_shown(tensor)}: {error.detail}", expected=error.expected,
                         got=error.got) from None


def _shown(value: object) -> str:
    """For messages: a header may be 100 MB long, and so may anything in it."""
    return ascii(value)[:80]


def _fault(rule: str, detail: str, expected: object = None, got: object = None) -> ModelError:
    return ModelError(f"models.safetensors.{rule}", detail, expected=expected, got=got)
