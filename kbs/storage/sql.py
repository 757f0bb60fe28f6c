"""Storage in a `Database`: SQLite or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import BindParameter, and_, bindparam, delete, func, insert, select, update

from kbs.errors import Conflict
from kbs.storage.base import Encode, Entry, Record, check_name
from kbs.storage.blocks import Link
from kbs.storage.database import Database
from kbs.storage.schema import GENERATION, ITEM, ITEM_VERSION

_SPACE: BindParameter[str] = bindparam("s")
_KEY: BindParameter[str] = bindparam("k")
_VERSION: BindParameter[int] = bindparam("n")
_ITEM = and_(ITEM.c.space == _SPACE, ITEM.c.key == _KEY)
_VERSIONS = and_(ITEM_VERSION.c.space == _SPACE, ITEM_VERSION.c.key == _KEY)
_OF_ITEM = and_(ITEM_VERSION.c.space == ITEM.c.space, ITEM_VERSION.c.key == ITEM.c.key,
                ITEM_VERSION.c.version == ITEM.c.version)
_ENTRY = (ITEM_VERSION.c.key, ITEM_VERSION.c.version, ITEM_VERSION.c.size, ITEM_VERSION.c.stored_at)
_RECORD = (ITEM_VERSION.c.key, ITEM_VERSION.c.version, ITEM_VERSION.c.value, ITEM_VERSION.c.stored_at)

_GET = select(*_RECORD).join(ITEM, _OF_ITEM).where(_ITEM, ITEM.c.live)
_GET_VERSION = select(*_RECORD).where(_VERSIONS, ITEM_VERSION.c.version == _VERSION)
_PRESENT = select(ITEM.c.version, ITEM.c.live).where(_ITEM).with_for_update()
_ADVANCE = update(ITEM).where(_ITEM).values(version=_VERSION, live=True)
_STORE = insert(ITEM_VERSION)
_BURY = update(ITEM).where(_ITEM).values(live=False)
_FORGET = delete(ITEM_VERSION).where(_VERSIONS)
_LIST = (select(*_ENTRY).join(ITEM, _OF_ITEM)
         .where(ITEM.c.space == _SPACE, ITEM.c.live,
                func.substr(ITEM.c.key, 1, bindparam("length")) == bindparam("prefix")))
_LIST_VERSIONS = select(*_ENTRY).where(_VERSIONS).order_by(ITEM_VERSION.c.version)
_GENERATIONS = select(GENERATION.c.space, GENERATION.c.number)


class SqlStorage:
    """Items in two tables: the newest number per key, and every version's value. ``clock`` gives Unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        counted = database.insert(GENERATION).values(space=_SPACE, number=1)
        self._count = counted.on_conflict_do_update(index_elements=["space"],
                                                    set_={"number": GENERATION.c.number + 1})
        self._create = database.insert(ITEM).on_conflict_do_nothing()

    def get(self, space: str, key: str, version: int | None = None) -> Record | None:
        """See `Storage.get`."""
        check_name(space, key)
        with self._database.reading() as link:
            if version is None:
                row = link.one(_GET, {"s": space, "k": key})
            else:
                row = link.one(_GET_VERSION, {"s": space, "k": key, "n": version})
        return Record(row[0], row[1], bytes(row[2]), row[3]) if row else None

    def put(self, space: str, key: str, value: bytes, *, expect: int | None = None,
            encode: Encode | None = None) -> int:
        """See `Storage.put`."""
        check_name(space, key)
        with self._database.writing() as link:
            version = self._next(link, space, key, expect)
            stored = encode(version, value) if encode else value
            link.run(_STORE, {"space": space, "key": key, "version": version, "value": stored, "size": len(value),
                              "stored_at": int(self._clock())})
            link.run(self._count, {"s": space})
        return version

    def delete(self, space: str, key: str, *, expect: int | None = None) -> bool:
        """See `Storage.delete`."""
        check_name(space, key)
        named = {"s": space, "k": key}
        with self._database.writing() as link:
            row = link.one(_PRESENT, named)
            _demand(expect, row)
            if row is None or not row[1]:
                return False
            link.run(_BURY, named)
            link.run(_FORGET, named)
            link.run(self._count, {"s": space})
        return True

    def list(self, space: str, prefix: str = "") -> tuple[Entry, ...]:
        """See `Storage.list`."""
        with self._database.reading() as link:
            rows = link.all(_LIST, {"s": space, "prefix": prefix, "length": len(prefix)})
        return tuple(sorted((Entry(*row) for row in rows), key=lambda entry: entry.key))

    def versions(self, space: str, key: str) -> tuple[Entry, ...]:
        """See `Storage.versions`."""
        check_name(space, key)
        with self._database.reading() as link:
            return tuple(Entry(*row) for row in link.all(_LIST_VERSIONS, {"s": space, "k": key}))

    def generations(self) -> Mapping[str, int]:
        """See `Storage.generations`."""
        with self._database.reading() as link:
            return dict(link.all(_GENERATIONS, {}))

    def _next(self, link: Link, space: str, key: str, expect: int | None) -> int:
        """Claim the next version number; whoever claims second waits for the first, or finds it gone."""
        named = {"s": space, "k": key}
        link.run(self._create, {"space": space, "key": key, "version": 0, "live": False})
        row = link.one(_PRESENT, named)
        _demand(expect, row)
        version = int(row[0]) + 1 if row else 1
        link.run(_ADVANCE, {**named, "n": version})
        return version


def _demand(expect: int | None, row: Any) -> None:
    present = int(row[0]) if row and row[1] else 0
    if expect is not None and present != expect:
        raise Conflict("storage.version", "the value has changed meanwhile", expected=expect, got=present)
