"""What was fetched, on disk, shared by processes.

    <folder>/items/ab/<digest of the name>    one object: bytes and where they came from, under a digest
    <folder>/floors/ab/<digest of the name>   `verifier.collateral.floors`; never evicted
    <folder>/locks/                           advisory locks

Rules of the room: the cache hands out bytes, and what is torn, altered or named otherwise is as if it were not there.
Whether bytes are good is for `verifier.collateral.supply`, which judges whatever comes from here as it judges what
comes from the network. Objects beyond the bounds go, those least recently used first; floors stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from verifier.collateral import durable
from verifier.collateral.floors import FloorFiles
from verifier.collateral.item import MAX_PART_BYTES, Item, Name
from verifier.errors import MalformedCollateral, MalformedEvidence, SetupError
from verifier.formats.strict import json_object

_MAX_FILE_BYTES = 2 * MAX_PART_BYTES
_STRIPES = 1024
_KEPT = 0.9  # of the bounds, after making room
_PATIENCE = 10.0
_STALE = 3600  # seconds after which a temporary file belongs to nobody


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: objects, and bytes of their files. Several processes together may exceed them by a tenth each
    before one of them makes room."""

    entries: int = 200_000
    bytes: int = 4 * 1024 * 1024 * 1024


def default_folder() -> Path:
    """``ATTESTKIT_COLLATERAL``, or ``attestkit/collateral`` where the user's programs keep their state.

    State and not cache: floors must outlive whatever cleans caches.
    """
    told = os.environ.get("ATTESTKIT_COLLATERAL")
    if told:
        return Path(told)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "attestkit" / "collateral"


class Cache:
    """A folder of objects. Safe to share between threads; any number of processes may share the folder."""

    def __init__(self, folder: Path | str, bounds: Bounds | None = None) -> None:
        self.folder = Path(folder)
        self.floors = FloorFiles(self.folder / "floors")
        self._bounds = bounds or Bounds()
        self._items = self.folder / "items"
        self._room: int | None = None  # how many may be put before looking at what there is
        self._lock = Lock()

    @classmethod
    def default(cls) -> Cache:
        """The user's own."""
        return cls(default_folder())

    def get(self, name: Name) -> Item | None:
        """The object of that name, nothing believed; None when there is none that is whole."""
        path = self._path(name)
        item = _load(path)
        if item is None or item.name != name:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used just now
        return item

    def put(self, item: Item, *, durable_now: bool = True) -> None:
        """Keep ``item`` in the place of whatever has its name. Raises `SetupError` when nothing can be written."""
        data = json.dumps(item.to_object()).encode()
        durable.write(self._path(item.name), data, durable=durable_now)
        self._make_room()

    def remove(self, name: Name) -> None:
        """Forget the object, not its floor."""
        self._path(name).unlink(missing_ok=True)

    def items(self) -> Iterator[Item]:
        """Every whole object, by name's digest."""
        for path in sorted(self._items.glob("[0-9a-f][0-9a-f]/*")):
            item = None if path.name.startswith(durable.TEMPORARY) else _load(path)
            if item is not None and item.name.digest == path.name:
                yield item

    def flight(self, name: Name, patience: float) -> AbstractContextManager[bool]:
        """Held while one process fetches an object, so that the others wait for what it finds; False: not in time."""
        return durable.locked(self.folder / "locks" / f"{int(name.digest[:8], 16) % _STRIPES:03x}", patience)

    @contextlib.contextmanager
    def storing(self, name: Name) -> Iterator[None]:
        """Held from looking at what there is until something else has taken its place. Raises `SetupError`."""
        path = self.folder / "locks" / f"store-{int(name.digest[:8], 16) % _STRIPES:03x}"
        with durable.locked(path, _PATIENCE) as held:
            if not held:
                raise SetupError("collateral.cache.locked", f"{path} is held by somebody for too long")
            yield

    def _path(self, name: Name) -> Path:
        return self._items / name.digest[:2] / name.digest

    # -- bounds --------------------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Look at what there is at the first put and whenever a tenth of the bound has been put since."""
        with self._lock:
            if self._room is not None and self._room > 0:
                self._room -= 1
                return
            used = self._used()
            entries, size = len(used), sum(row[1] for row in used)
            if entries > self._bounds.entries or size > self._bounds.bytes:
                entries = self._evict(used, entries, size)
            self._room = min(self._bounds.entries - entries, self._bounds.entries // 10)

    def _used(self) -> list[tuple[float, int, Path]]:
        """When each object was last used, its size, and where it is; temporary files of the dead are removed."""
        found, now = [], time.time()
        for path in self._items.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if not path.name.startswith(durable.TEMPORARY):
                    found.append((status.st_mtime, status.st_size, path))
                elif now - status.st_mtime > _STALE:
                    path.unlink()
        return found

    def _evict(self, used: list[tuple[float, int, Path]], entries: int, size: int) -> int:
        for _, length, path in sorted(used):
            if entries <= self._bounds.entries * _KEPT and size <= self._bounds.bytes * _KEPT:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            entries, size = entries - 1, size - length
        return entries


def _load(path: Path) -> Item | None:
    data = durable.read(path, _MAX_FILE_BYTES)
    if data is None:
        return None
    try:
        return Item.from_object(json_object(data, "item"))
    except (MalformedEvidence, MalformedCollateral):
        return None
