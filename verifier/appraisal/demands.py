"""The kinds of demands that can be made on claims, and how each is read from a file.

    one_of       byte strings of the field's size (or sizes)   masked      claim & mask == value
    minimum      a number or byte string, each byte at least   components  numbers of a TCB by name, each at least
    integers     numbers                                       names       texts
    registers    register number to byte strings               devices     texts, one of which each device must have
    set_bits     names of bits, each of which must be set

A member's ``claim`` is the path of the claim that it is about; of several, the first that the evidence has. None is
the member's own name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from verifier.errors import SetupError
from verifier.formats.strict import hex_bytes

TCB_COMPONENTS = ("fmc", "bootloader", "tee", "snp", "microcode")
MAX_REGISTER = 31

OneOf = tuple[bytes, ...] | None
Registers = Mapping[int, tuple[bytes, ...]] | None
Paths = str | tuple[str, ...] | None

LISTS = ("one_of", "integers", "names", "devices", "set_bits")


@dataclass(frozen=True, slots=True)
class Masked:
    """``claim & mask == value``; both as long as the claim."""

    value: bytes
    mask: bytes

    def __post_init__(self) -> None:
        if len(self.value) != len(self.mask) or any(v & ~m for v, m in zip(self.value, self.mask, strict=True)):
            raise SetupError("expect.masked", "value and mask must be equally long, and value within mask",
                             expected=self.mask, got=self.value)


def one_of(size: int | tuple[int, ...], claim: Paths = None) -> Any:
    """Byte strings of ``size`` bytes, or of one of several sizes."""
    return _demand("one_of", claim, sizes=(size,) if isinstance(size, int) else size)


def masked(size: int, claim: Paths = None) -> Any:
    """Bits of a field of ``size`` bytes."""
    return _demand("masked", claim, sizes=(size,))


def minimum(claim: str, size: int | None = None) -> Any:
    """A number; with ``size`` a byte string of that many numbers."""
    return _demand("minimum", claim, sizes=() if size is None else (size,))


def integers(claim: Paths = None) -> Any:
    """Numbers."""
    return _demand("integers", claim)


def names(claim: str) -> Any:
    """Texts."""
    return _demand("names", claim)


def set_bits(claim: str) -> Any:
    """Names of bits, each of which must be set."""
    return _demand("set_bits", claim)


def components(claim: str) -> Any:
    """Numbers of a TCB by `TCB_COMPONENTS`."""
    return _demand("components", claim)


def registers(claim: Paths) -> Any:
    """Values of registers of 32 or 48 bytes."""
    return _demand("registers", claim, sizes=(32, 48))


def devices(claim: str, *, besides: str = "") -> Any:
    """Texts, about every device of NVIDIA evidence but those of the architecture ``besides``."""
    return _demand("devices", claim, besides=besides)


def _demand(kind: str, claim: Paths, **more: Any) -> Any:
    return field(default=None, metadata={"kind": kind, "claim": claim, **more})


def read(kind: str, value: Any, meta: Mapping[str, Any]) -> Any:
    """A member's value from JSON or TOML. Raises `MalformedEvidence`, `SetupError`, TypeError, ValueError, KeyError."""
    return _READERS[kind](value, meta)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _octets(value: Any, sizes: tuple[int, ...]) -> bytes:
    data = hex_bytes(value, "value", sizes[0] if len(sizes) == 1 else None)
    if len(data) not in sizes:
        raise ValueError(f"must have one of {', '.join(map(str, sizes))} bytes")
    return data


def _read_bytes(value: Any, meta: Mapping[str, Any]) -> tuple[bytes, ...]:
    return tuple(_octets(item, meta["sizes"]) for item in _listed(value))


def _read_masked(value: Any, meta: Mapping[str, Any]) -> Masked:
    if not isinstance(value, Mapping) or set(value) != {"value", "mask"}:
        raise ValueError("needs exactly value and mask")
    return Masked(_octets(value["value"], meta["sizes"]), _octets(value["mask"], meta["sizes"]))


def _read_minimum(value: Any, meta: Mapping[str, Any]) -> int | bytes:
    return _octets(value, meta["sizes"]) if meta["sizes"] else _whole(value)


def _read_components(value: Any, _: Mapping[str, Any]) -> dict[str, int]:
    if not isinstance(value, Mapping) or not value or set(value) - set(TCB_COMPONENTS):
        raise ValueError(f"needs one or more of {', '.join(TCB_COMPONENTS)}")
    return {name: _whole(item) for name, item in value.items()}


def _read_registers(value: Any, meta: Mapping[str, Any]) -> dict[int, tuple[bytes, ...]]:
    if not isinstance(value, Mapping) or not value or set(value) - _NUMBERS.keys():
        raise ValueError(f"needs one or more numbers from 0 to {MAX_REGISTER}")
    return {_NUMBERS[number]: _read_bytes(item, meta) for number, item in value.items()}


def _read_integers(value: Any, _: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(_whole(item) for item in _listed(value))


def _read_names(value: Any, _: Mapping[str, Any]) -> tuple[str, ...]:
    items = _listed(value)
    if not all(isinstance(item, str) for item in items):
        raise TypeError("must be text")
    return tuple(items)


def _read_bool(value: Any, _: Mapping[str, Any]) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise TypeError("must be a non-negative integer of at most 64 bits")
    return value


_NUMBERS = {str(number): number for number in range(MAX_REGISTER + 1)}
_READERS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "one_of": _read_bytes, "masked": _read_masked, "minimum": _read_minimum, "components": _read_components,
    "integers": _read_integers, "names": _read_names, "devices": _read_names, "set_bits": _read_names,
    "registers": _read_registers, "bool": _read_bool,
}
