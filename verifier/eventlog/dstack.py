"""dstack's event log: a JSON array of objects in the order of extension.

    {"imr": 0..3, "event_type": u32, "digest": hex 48 bytes, "event": text, "event_payload": hex}

imr 0 to 3 are RTMR0 to RTMR3. Events of firmware carry the TCG type, data and digest. A run-time event has type
0x08000001 and digest SHA-384(type u32 little-endian || ":" || event || ":" || payload); an empty digest is computed.
Source: Dstack-TEE/dstack, cc-eventlog.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from verifier.errors import MalformedEvidence
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.events import MAX_EVENTS, MAX_LOG_BYTES, Event, EventType
from verifier.formats.reader import Reader
from verifier.formats.strict import hex_bytes, json_object, json_value

_MEMBERS = {"imr", "event_type", "digest", "event", "event_payload"}
_PREFIX = int(EventType.EV_DSTACK_RUNTIME).to_bytes(4, "little") + b":"


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A run-time event: ``name`` has no colon, since the first one ends it in the hashed bytes."""

    name: str
    payload: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> RuntimeEvent:
        """The hashed bytes. Raises `MalformedEvidence`."""
        reader = Reader(data, "dstack")
        if reader.take(len(_PREFIX), "event type") != _PREFIX:
            raise reader.malformed("not a run-time event", expected=_PREFIX, got=data[: len(_PREFIX)])
        name, colon, payload = reader.rest().partition(b":")
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            raise reader.malformed("the name is not UTF-8") from None
        if not text or not colon:
            raise reader.malformed("a run-time event has a name and a payload")
        return cls(text, payload)

    def to_bytes(self) -> bytes:
        """The hashed bytes."""
        return _PREFIX + self.name.encode() + b":" + self.payload


@dataclass(frozen=True, slots=True)
class DstackLog:
    """The events; the data of a run-time event are its hashed bytes."""

    events: tuple[Event, ...]

    form = "dstack"

    @classmethod
    def from_bytes(cls, data: bytes) -> DstackLog:
        """The JSON array. Raises `MalformedEvidence`."""
        if len(data) > MAX_LOG_BYTES:
            raise _malformed("the log is too large", expected=f"<= {MAX_LOG_BYTES} bytes", got=len(data))
        entries = json_value(data, "event log")
        if not isinstance(entries, list) or len(entries) > MAX_EVENTS:
            raise _malformed("the log must be an array", expected=f"<= {MAX_EVENTS} events", got=type(entries).__name__)
        return cls(tuple(map(_event, entries)))

    def to_bytes(self) -> bytes:
        """The JSON array, with every digest."""
        return json.dumps([_entry(event) for event in self.events], separators=(",", ":")).encode()


def log_of_answer(answer: bytes) -> bytes:
    """The log inside the JSON object that dstack's GetQuote answers. Raises `MalformedEvidence`."""
    log = json_object(answer, "GetQuote answer").get("event_log")
    if not isinstance(log, str):
        raise _malformed("the answer holds no event log", expected="event_log: text", got=type(log).__name__)
    return log.encode()


def _event(entry: Any) -> Event:
    if not isinstance(entry, dict) or set(entry) != _MEMBERS:
        raise _malformed("an event has these members", expected=sorted(_MEMBERS))
    imr, type, name = entry["imr"], entry["event_type"], entry["event"]
    if not _is_uint(imr, 3) or not _is_uint(type, 0xFFFFFFFF) or not isinstance(name, str):
        raise _malformed("an event's register is 0 to 3, its type 32 bits, its name text", got=[imr, type])
    payload, digest = hex_bytes(entry["event_payload"], "event_payload"), hex_bytes(entry["digest"], "digest")
    if type == EventType.EV_DSTACK_RUNTIME:
        data = RuntimeEvent(name, payload).to_bytes()
        if RuntimeEvent.from_bytes(data).name != name:
            raise _malformed("the name of a run-time event must not hold a colon", got=name[:64])
        computed = Algorithm.SHA384.digest(data)
        if digest not in (b"", computed):
            raise _malformed("the digest is not that of the event", expected=computed, got=digest)
        return Event(imr + 1, type, ((int(Algorithm.SHA384), computed),), data, name)
    if len(digest) != Algorithm.SHA384.size:
        raise _malformed("an event of firmware must carry its digest", expected="48 bytes", got=len(digest))
    return Event(imr + 1, type, ((int(Algorithm.SHA384), digest),), payload, name)


def _entry(event: Event) -> dict[str, Any]:
    runtime = event.type == EventType.EV_DSTACK_RUNTIME
    payload = RuntimeEvent.from_bytes(event.data).payload if runtime else event.data
    return {"imr": event.index - 1, "event_type": event.type, "digest": event.digests[0][1].hex(),
            "event": event.label, "event_payload": payload.hex()}


def _is_uint(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("format.dstack", detail, expected=expected, got=got)
