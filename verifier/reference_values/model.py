"""Reference values, frozen.

A name stands for the values that are good: a list of them, or a single one, kept as it was registered because policies
written for Trustee ask both ways (``x in query_reference_value(…)``, ``x == query_reference_value(…)``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from verifier.errors import SetupError

MAX_NAME_LENGTH = 256
MAX_VALUE_BYTES = 1024 * 1024
MAX_DEPTH = 16

_LAST_MOMENT = 253_402_300_799  # 9999-12-31T23:59:59Z


class ReferenceValueError(SetupError):
    """A reference value or the message that brings it is not usable: ``reference_value.<what>``."""


class UnsupportedReferenceValues(ReferenceValueError):
    """Reference values in a form that has no extractor; ``got`` names the form."""


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """One name with what is good under it.

    value: text, whole number, finite number, boolean, list or object of these, without null; lists come out as tuples
        and objects read-only. Byte strings are lower-case hex text, as in the claims they are compared with.
    expires: Unix seconds, the first moment at which it is no longer good; None for never.

    Raises `ReferenceValueError`.
    """

    name: str
    value: Any
    expires: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= MAX_NAME_LENGTH or not self.name.isprintable():
            raise ReferenceValueError("reference_value.name", "a name is printable text",
                                      expected=f"1 to {MAX_NAME_LENGTH} characters", got=type(self.name).__name__)
        expires = self.expires
        if expires is not None and (type(expires) is not int or not 0 <= expires <= _LAST_MOMENT):
            raise ReferenceValueError("reference_value.expires", f"{self.name}: expiry is a moment in Unix seconds",
                                      expected=f"0 to {_LAST_MOMENT}", got=str(expires)[:40])
        object.__setattr__(self, "value", _frozen(self.value, self.name, 0))
        size = len(json.dumps(self.plain()))
        if size > MAX_VALUE_BYTES:
            raise ReferenceValueError("reference_value.size", f"{self.name} is too large",
                                      expected=f"<= {MAX_VALUE_BYTES} bytes", got=f"{size} bytes")

    @property
    def values(self) -> tuple[Any, ...]:
        """The values that are good: a list's items, or the one value."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def plain(self) -> Any:
        """The value as JSON has it."""
        return _plain(self.value)

    def good_at(self, moment: int) -> bool:
        """True until it expires."""
        return self.expires is None or moment < self.expires


class ReferenceValues(Mapping[str, tuple[Any, ...]]):
    """A frozen set of reference values: name to the values that are good. Later entries replace earlier ones."""

    def __init__(self, entries: Iterable[ReferenceValue] = ()) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._first_expiry = min((e.expires for e in self._entries.values() if e.expires is not None), default=None)

    @classmethod
    def of(cls, values: Mapping[str, Any], *, expires: int | None = None) -> ReferenceValues:
        """From names and JSON values. Raises `ReferenceValueError`."""
        return cls(ReferenceValue(name, value, expires) for name, value in values.items())

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        return self._entries[name].values

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"ReferenceValues({sorted(self._entries)})"

    @property
    def entries(self) -> tuple[ReferenceValue, ...]:
        """Every reference value, expired ones included."""
        return tuple(self._entries.values())

    @property
    def first_expiry(self) -> int | None:
        """The first moment at which one of them is no longer good; None when none ever expires."""
        return self._first_expiry

    @cached_property
    def json(self) -> str:
        """The JSON object that policies ask: name to value as registered."""
        plain = {name: entry.plain() for name, entry in sorted(self._entries.items())}
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def at(self, moment: int) -> ReferenceValues:
        """Those that are good at ``moment`` (Unix seconds); the very same object when all are."""
        if self._first_expiry is None or moment < self._first_expiry:
            return self
        return ReferenceValues(entry for entry in self._entries.values() if entry.good_at(moment))


def _frozen(value: Any, name: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ReferenceValueError("reference_value.value", f"{name} nests too deeply", expected=f"<= {MAX_DEPTH}")
    if isinstance(value, list | tuple):
        return tuple(_frozen(item, name, depth + 1) for item in value)
    if isinstance(value, Mapping) and all(isinstance(key, str) and _is_unicode(key) for key in value):
        return MappingProxyType({key: _frozen(item, name, depth + 1) for key, item in value.items()})
    if isinstance(value, str) and _is_unicode(value):
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ReferenceValueError("reference_value.value", f"{name} holds something that cannot be compared with evidence",
                              expected="text, numbers, booleans, lists and objects of these", got=type(value).__name__)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
