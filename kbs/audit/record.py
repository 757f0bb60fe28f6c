"""What is written down, and how each record holds the one before it (docs/formats/audit-log.md).

    hash(n) = SHA-256(lp("attestkit kbs audit record v1") || lp(hash(n-1)) || lp(seq) || lp(at) || lp(kind) || lp(body))
    mac     = HMAC-SHA256(audit key, lp("attestkit kbs audit head v1") || lp(count) || lp(hash))

``lp(x)`` is x after its length in 4 bytes, big-endian; numbers are 8 bytes, big-endian; ``body`` is JSON with sorted
keys, kept and hashed as the very bytes that were written. The record before the first counts as 32 zero bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, Protocol

import msgspec

GENESIS = bytes(32)

# Longer texts are cut: a record may quote what a guest sent, and no guest may fill the disk with one call.
MAX_TEXT = 2048
MAX_ITEMS = 512
MAX_DEPTH = 16

# Larger integers lose digits in other languages' JSON; they are written as text.
MAX_INTEGER = 2**53 - 1

_AS_THEY_ARE = frozenset((type(None), bool, float, msgspec.Raw))
_COLLECTIONS = (dict, list, tuple, set, frozenset, Mapping)

_RECORD_TAG = b"attestkit kbs audit record v1"
_HEAD_TAG = b"attestkit kbs audit head v1"
_REFERENCE_CHARACTERS = 16


class Kind(StrEnum):
    """What a record is about."""

    ATTESTATION = "attestation"
    RELEASE = "release"
    ADMIN = "admin"
    TRUST = "trust"


class Outcome(StrEnum):
    """How it ended. ``failed``: it was allowed, and then the broker itself could not."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be written down.

    error: the id of what refused, None when allowed. subject: who and what (TEE, key thumbprint, resource, token id …).
    decision: the tree of everything that was weighed, as plain JSON values.
    """

    kind: Kind
    outcome: Outcome
    error: str | None = None
    subject: Mapping[str, Any] = field(default_factory=dict)
    decision: Any = None
    _written: bytes | None = field(default=None, repr=False, compare=False)

    def written(self) -> Entry:
        """This with its body made now: before a transaction is opened that others wait for."""
        return Entry(self.kind, self.outcome, self.error, self.subject, self.decision, self.body())

    def body(self) -> bytes:
        """The record's body: JSON with sorted keys, within the bounds above."""
        if self._written is not None:
            return self._written
        told = {"outcome": self.outcome.value, "error": self.error, "subject": plain(self.subject),
                "decision": plain(self.decision)}
        return msgspec.json.encode(told, order="sorted")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was written. ``at`` Unix seconds; ``previous`` and ``hash`` 32 bytes."""

    seq: int
    at: int
    kind: str
    body: bytes
    previous: bytes
    hash: bytes

    @property
    def reference(self) -> str:
        """What a refused guest is told, by which operators find the record."""
        return self.hash.hex()[:_REFERENCE_CHARACTERS]

    def told(self) -> dict[str, Any]:
        """The record for people and JSON: the body's members beside its place in the chain."""
        return {"seq": self.seq, "at": self.at, "kind": self.kind, "reference": self.reference,
                **msgspec.json.decode(self.body), "previous": self.previous.hex(), "hash": self.hash.hex()}


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log stands: how many records, the hash of the last, and the MAC that vouches for both."""

    count: int
    hash: bytes
    mac: bytes

    @classmethod
    def at(cls, count: int, hash: bytes, key: bytes) -> Head:
        """The head that whoever holds ``key`` states."""
        return cls(count, hash, _head_mac(count, hash, key))

    def vouched_by(self, key: bytes) -> bool:
        """Whether ``key`` made the MAC; in constant time."""
        if not 0 <= self.count < 2**63:
            return False
        return hmac.compare_digest(self.mac, _head_mac(self.count, self.hash, key))


class AuditLog(Protocol):
    """The port. Appending joins the transaction that is open on this thread."""

    def append(self, entry: Entry, at: int) -> Record:
        """Write ``entry`` down at the end, at moment ``at`` (Unix seconds). Raises `StorageError`."""

    def head(self) -> Head:
        """Where the log stands. Raises `StorageError` when it was never begun or its head was removed."""

    def records(self, first: int = 1) -> Iterator[Record]:
        """Every record from number ``first`` on, in order, unchecked."""

    def of_kind(self, kind: Kind) -> Iterator[Record]:
        """Every record of one kind, in order, unchecked."""

    def last(self, count: int) -> tuple[Record, ...]:
        """The newest ``count`` records, oldest of them first, unchecked."""

    def find(self, reference: str) -> Record | None:
        """The record whose hash begins with ``reference`` (hexadecimal), unchecked."""


def next_record(previous: bytes, seq: int, at: int, kind: str, body: bytes) -> Record:
    """The record that follows the one with hash ``previous``."""
    return Record(seq, at, kind, body, previous, record_hash(previous, seq, at, kind, body))


def record_hash(previous: bytes, seq: int, at: int, kind: str, body: bytes) -> bytes:
    """See the module's head."""
    parts = (_RECORD_TAG, previous, seq.to_bytes(8, "big"), at.to_bytes(8, "big"), kind.encode(), body)
    return hashlib.sha256(_prefixed(parts)).digest()


def plain(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON can hold it: bytes as hexadecimal, long texts and lists cut, the depth bounded.

    A `msgspec.Raw` is what this function once made, already written out.
    """
    kind = type(value)
    if kind is str:
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
    if kind in _AS_THEY_ARE or (kind is int and -MAX_INTEGER <= value <= MAX_INTEGER):
        return value
    if kind is bytes:
        return plain(value.hex())
    if depth < MAX_DEPTH and isinstance(value, _COLLECTIONS):
        if isinstance(value, dict | Mapping):
            return _members(value, depth + 1)
        return [plain(item, depth + 1) for item in islice(value, MAX_ITEMS)]
    return plain(str(value))


def _members(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    """Most are short texts and the like, which are not worth a call each."""
    told = {}
    for key, item in islice(value.items(), MAX_ITEMS):
        kind = type(item)
        simple = kind in _AS_THEY_ARE or (kind is str and len(item) <= MAX_TEXT)
        told[key if type(key) is str and len(key) <= MAX_TEXT else str(key)[:MAX_TEXT]] = (
            item if simple else plain(item, depth))
    return told


def _head_mac(count: int, hash: bytes, key: bytes) -> bytes:
    return hmac.digest(key, _prefixed((_HEAD_TAG, count.to_bytes(8, "big"), hash)), "sha256")


def _prefixed(parts: tuple[bytes, ...]) -> bytes:
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])
