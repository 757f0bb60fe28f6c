"""Filling a folder with as many objects as a large fleet has, for measurements."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from verifier.collateral.cache import Cache
from verifier.collateral.item import Item, Kind, Name


def populate(cache: Cache, like: Item, count: int) -> None:
    """``count`` copies of a chip's certificate under the names of other chips, not made durable one by one.

    They lie beside the genuine object as those of a fleet would, and would be refused if anybody asked for them. Raises
    ValueError for anything but a VCEK.
    """
    if like.name.kind is not Kind.VCEK:
        raise ValueError("only a chip's certificate stands for a fleet's")
    line, hwid, tcb = like.name.about
    for number in range(count):
        other = hashlib.shake_256(f"chip {number}".encode()).hexdigest(len(hwid) // 2)
        cache.put(replace(like, name=Name(Kind.VCEK, (line, other, tcb))), durable_now=False)
