"""What was accepted once is not undercut later: the highest number of each guarded object, kept for good.

An older document or list stays correctly signed and in date for weeks. Whoever can choose what a verifier is served
would offer the last one in which a platform was still fine, or a certificate not yet revoked. So every guarded object
has a floor: tcbEvaluationDataNumber per (TEE, FMSPC, evaluation set) for TCB info and per (TEE, evaluation set) for QE
identities, CRL number for lists, with the issue date deciding among lists that have no number. Floors are kept per
root, so that the numbers of a software maker mean nothing for hardware. They only rise, are durable before the object
that raised them is used, and survive it: a cache that is emptied of objects keeps them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

from verifier.collateral import durable
from verifier.collateral.item import Item
from verifier.collateral.judge import Judged
from verifier.errors import CollateralError, MalformedEvidence, SetupError
from verifier.formats.strict import json_object

FORMAT = "attestkit-floors/1"
_MAX_BYTES = 4096
_STRIPES = 256
_PATIENCE = 10.0


class Floor(NamedTuple):
    """``number``: the highest seen, 0 where the kind of list has none; ``issued``: Unix seconds of that one's date."""

    number: int
    issued: int


class RolledBack(CollateralError):
    """Correctly signed, in date, and older than what was accepted before."""

    def __init__(self, item: Item, floor: Floor, found: Floor) -> None:
        by_number = found.number != floor.number
        super().__init__("collateral.rollback",
                         f"{item.name} from {item.source} is older than what was accepted before",
                         expected=f">= {floor.number if by_number else floor.issued}",
                         got=found.number if by_number else found.issued)


class Floors(Protocol):
    """Where floors are kept."""

    def get(self, name: str) -> Floor | None:
        """The floor of that name; None when there is none. Raises `SetupError` for one that cannot be read."""

    def raise_to(self, name: str, floor: Floor) -> Floor:
        """Raise the floor of that name, never lower it; gives the one that now stands."""

    def export(self) -> dict[str, Floor]:
        """All of them."""


def floor_name(item: Item, judged: Judged) -> str:
    """Under which name an object's floor is kept: the object's, and the key of the root that vouches for it."""
    return f"{item.name}@{judged.anchor}"


def check(floors: Floors, item: Item, judged: Judged) -> None:
    """``item`` may be used: it is not below its floor. Raises `RolledBack`."""
    floor = floors.get(floor_name(item, judged)) if judged.guarded else None
    if floor is not None and _below(measure(judged), floor):
        raise RolledBack(item, floor, measure(judged))


def accept(floors: Floors, item: Item, judged: Judged) -> None:
    """`check`, and from now on this is the floor."""
    if judged.guarded:
        floor = floors.raise_to(floor_name(item, judged), measure(judged))
        if _below(measure(judged), floor):
            raise RolledBack(item, floor, measure(judged))


def measure(judged: Judged) -> Floor:
    """What is compared with a floor."""
    return Floor(judged.number or 0, judged.own.not_before)


def _below(found: Floor, floor: Floor) -> bool:
    """Numbers decide; among objects without one, their dates do."""
    return found.number < floor.number or (floor.number == 0 and found.issued < floor.issued)


class MemoryFloors:
    """Floors of one process, for as long as it runs."""

    def __init__(self) -> None:
        self._floors: dict[str, Floor] = {}
        self._lock = Lock()

    def get(self, name: str) -> Floor | None:
        """As `Floors`."""
        return self._floors.get(name)

    def raise_to(self, name: str, floor: Floor) -> Floor:
        """As `Floors`."""
        with self._lock:
            standing = self._floors[name] = _higher(self._floors.get(name), floor)
            return standing

    def export(self) -> dict[str, Floor]:
        """As `Floors`."""
        return dict(sorted(self._floors.items()))


class FloorFiles:
    """Floors in a folder, one small durable file each, shared between processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Floor | None:
        """As `Floors`. A floor that is there and unreadable is not taken for absent: that would lower it."""
        path = self._path(name)
        data = durable.read(path, _MAX_BYTES)
        if data is None and os.path.lexists(path):
            data = durable.read(path, _MAX_BYTES)  # it may have come into being just now, and then it is whole
            if data is None:
                raise _unreadable(path)
        return None if data is None else _read(path, data, name)

    def raise_to(self, name: str, floor: Floor) -> Floor:
        """As `Floors`; durable on return."""
        path = self._path(name)
        lock = self._folder / "locks" / f"{int(path.name[:2], 16) % _STRIPES:02x}"
        with durable.locked(lock, _PATIENCE) as held:
            if not held:
                raise SetupError("collateral.floors.locked", f"{lock} is held by somebody for too long")
            before = self.get(name)
            standing = _higher(before, floor)
            if standing != before:
                told = {"name": name, "number": standing.number, "issued": standing.issued}
                durable.write(path, json.dumps(told).encode())
            return standing

    def export(self) -> dict[str, Floor]:
        """As `Floors`."""
        return dict(sorted(self._all()))

    def _all(self) -> Iterator[tuple[str, Floor]]:
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            data = durable.read(path, _MAX_BYTES)
            if path.name.startswith(durable.TEMPORARY):
                continue
            if data is None:
                raise _unreadable(path)
            name = _name(path, data)
            yield name, _read(path, data, name)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._folder / digest[:2] / digest


def _higher(before: Floor | None, floor: Floor) -> Floor:
    return floor if before is None else max(before, floor)


def _unreadable(path: Path) -> SetupError:
    return SetupError("collateral.floors.unreadable", f"{path} was altered or torn; restore it, or remove it knowing "
                      "that older collateral of that kind will then be accepted again")


def _name(path: Path, data: bytes) -> str:
    try:
        name = json_object(data, "floor").get("name")
    except MalformedEvidence:
        raise _unreadable(path) from None
    if not isinstance(name, str):
        raise _unreadable(path)
    return name


def _read(path: Path, data: bytes, name: str) -> Floor:
    try:
        told = json_object(data, "floor")
    except MalformedEvidence:
        raise _unreadable(path) from None
    if told.get("name") != name or not _is_floor(told.get("number"), told.get("issued")):
        raise _unreadable(path)
    return Floor(told["number"], told["issued"])


def _is_floor(number: object, issued: object) -> bool:
    return type(number) is int and type(issued) is int and number >= 0 and issued >= 0


def to_object(floors: Mapping[str, Floor]) -> dict[str, Any]:
    """Floors for JSON."""
    return {name: {"number": floor.number, "issued": floor.issued} for name, floor in sorted(floors.items())}


def from_object(told: object) -> dict[str, Floor]:
    """From `to_object`. Raises `SetupError`."""
    if not isinstance(told, Mapping):
        raise SetupError("collateral.floors.file", "floors must be an object", got=type(told).__name__)
    found = {}
    for name, value in told.items():
        if not (isinstance(value, Mapping) and set(value) == {"number", "issued"}
                and _is_floor(value["number"], value["issued"]) and len(str(name)) <= 2000):
            raise SetupError("collateral.floors.file", "not a floor", got=str(name)[:80])
        found[str(name)] = Floor(value["number"], value["issued"])
    return found
