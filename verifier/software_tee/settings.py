"""Flat dataclasses as JSON members and back.

Byte strings are lower-case hex. What is read must have the type, and byte strings and lists the length, that the
default has; what is left out keeps the default; an unknown name refuses.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.strict import hex_bytes

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

V = TypeVar("V", bound="DataclassInstance")


def to_object(value: DataclassInstance) -> dict[str, Any]:
    """Integers, texts, flags, byte strings and tuples of integers by name."""
    return {member.name: _plain(getattr(value, member.name)) for member in fields(value)}


def _plain(item: Any) -> Any:
    if isinstance(item, bytes):
        return item.hex()
    return list(item) if isinstance(item, tuple) else item


def from_object(default: V, told: object, what: str) -> V:
    """``default`` with what ``told`` says. Raises `SetupError` naming the member."""
    if not isinstance(told, dict):
        raise SetupError("software_tee.settings", f"{what} must be an object", got=type(told).__name__)
    known = {member.name for member in fields(default)}
    changes = {}
    for name, value in told.items():
        if name not in known:
            raise SetupError("software_tee.settings", f"{what} has no member {name}", expected=sorted(known), got=name)
        changes[name] = _read(getattr(default, name), value, f"{what}.{name}")
    return replace(default, **changes)


def _read(default: Any, value: object, what: str) -> Any:
    if isinstance(default, bytes):
        try:
            return hex_bytes(value, what, len(default))
        except MalformedEvidence as error:
            raise SetupError("software_tee.settings", error.detail, expected=error.expected, got=error.got) from None
    if isinstance(default, tuple):
        if not isinstance(value, list) or len(value) != len(default) or any(type(item) is not int for item in value):
            raise SetupError("software_tee.settings", f"{what} must be a list of {len(default)} integers")
        return tuple(value)
    if type(value) is not type(default):
        raise SetupError("software_tee.settings", f"{what} has the wrong type", expected=type(default).__name__,
                         got=type(value).__name__)
    return value
