"""The message that registers reference values, and a provider that keeps them in memory.

The message is the one of the Reference Value Provider Service: ``{"version": "0.1.0", "type": …, "payload": base64}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Any, Protocol

from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, json_object
from verifier.reference_values.extractors import extract
from verifier.reference_values.model import ReferenceValue, ReferenceValueError, ReferenceValues

MESSAGE_VERSION = "0.1.0"
MAX_MESSAGE_BYTES = 2 * 1024 * 1024


class ReferenceValueProvider(Protocol):
    """Whoever keeps reference values."""

    def values(self) -> ReferenceValues:
        """All of them, as they are now."""


class InMemoryProvider:
    """Reference values for as long as the process lives. Safe to share between threads."""

    def __init__(self, entries: Iterable[ReferenceValue] = ()) -> None:
        self._lock = Lock()
        self._values = ReferenceValues(entries)

    def values(self) -> ReferenceValues:
        """All of them, as they are now; later changes make a new object."""
        return self._values

    def register(self, entries: Iterable[ReferenceValue]) -> None:
        """Add ``entries``, replacing those of the same name."""
        with self._lock:
            self._values = ReferenceValues((*self._values.entries, *entries))

    def delete(self, name: str) -> bool:
        """Forget ``name``; False when there is none."""
        with self._lock:
            found = name in self._values
            self._values = ReferenceValues(entry for entry in self._values.entries if entry.name != name)
            return found


def read_message(body: bytes) -> tuple[ReferenceValue, ...]:
    """The reference values in a registration message.

    Beside Trustee's members the message may carry ``expires`` (Unix seconds). Raises `ReferenceValueError`, and
    `UnsupportedReferenceValues` for a type without an extractor.
    """
    if len(body) > MAX_MESSAGE_BYTES:
        raise ReferenceValueError("reference_value.size", "the message is too large",
                                  expected=f"<= {MAX_MESSAGE_BYTES} bytes", got=f"{len(body)} bytes")
    try:
        message = json_object(body, "message")
    except MalformedEvidence as error:
        raise ReferenceValueError("reference_value.message", error.detail) from None
    unknown = sorted(set(message) - {"version", "type", "payload", "expires"})
    if unknown:
        raise ReferenceValueError("reference_value.message", "unknown members",
                                  expected=["version", "type", "payload"], got=unknown[:5])
    if message.get("version") != MESSAGE_VERSION:
        raise ReferenceValueError("reference_value.version", "unknown message version", expected=MESSAGE_VERSION,
                                  got=str(message.get("version"))[:40])
    return extract(_text(message, "type"), _payload(message), expires=message.get("expires"))


def _text(message: dict[str, Any], member: str) -> str:
    value = message.get(member)
    if not isinstance(value, str):
        raise ReferenceValueError("reference_value.message", f"{member} must be text", got=type(value).__name__)
    return value


def _payload(message: dict[str, Any]) -> bytes:
    try:
        return base64_bytes(_text(message, "payload"), "payload")
    except MalformedEvidence as error:
        raise ReferenceValueError("reference_value.payload", error.detail) from None
