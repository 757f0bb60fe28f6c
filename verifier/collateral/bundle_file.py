"""One file with everything that a site without a network needs: ``site.attestkit-collateral``.

    {"format": "attestkit-collateral/1",
     "items": [{"name", "source", "fetched", "parts": {name: base64}, "sha256"}, …],
     "told":  {name: {"issuer", "number", "issued", "expires", "sha256"}, …},
     "floors": {name: {"number", "issued"}, …}}

It is JSON with sorted keys: the same objects give the same bytes. ``told`` is for people who look into it, and for
programs that only want to know what expires when; nobody believes it. Whoever imports a bundle judges every object at
his own moment, under his own roots, against his own floors. ``floors`` are what whoever exported it had reached; they
are not signed by anybody and are taken over only when that is asked for by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from verifier.collateral import floors as floor_files
from verifier.collateral.floors import Floor
from verifier.collateral.item import Item
from verifier.collateral.judge import Judged
from verifier.endorsements.window import rfc3339
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats.strict import json_object

FORMAT = "attestkit-collateral/1"
SUFFIX = ".attestkit-collateral"
MAX_BYTES = 256 * 1024 * 1024
MAX_ITEMS = 100_000


@dataclass(frozen=True)
class Bundle:
    """Objects, nothing believed. ``told`` and ``floors`` as in the file."""

    items: tuple[Item, ...]
    told: Mapping[str, Any] = field(default_factory=dict)
    floors: Mapping[str, Floor] = field(default_factory=dict)

    @classmethod
    def of(cls, judged: Iterable[tuple[Item, Judged]], floors: Mapping[str, Floor]) -> Bundle:
        """Of objects that were just judged; of two of one name the later."""
        by_name: dict[str, tuple[Item, Judged]] = {}
        for item, found in judged:
            before = by_name.get(item.name.text)
            if before is None or floor_files.measure(found) >= floor_files.measure(before[1]):
                by_name[item.name.text] = item, found
        pairs = [pair for _, pair in sorted(by_name.items())]
        return cls(tuple(item for item, _ in pairs), {item.name.text: told(item, found) for item, found in pairs},
                   dict(floors))

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """A whole file. Raises `MalformedCollateral`, also for an object whose digest does not fit."""
        if len(data) > MAX_BYTES:
            raise _malformed("the bundle is too large", expected=f"<= {MAX_BYTES} bytes", got=f"{len(data)} bytes")
        try:
            members = json_object(data, "bundle")
        except MalformedEvidence as error:
            raise _malformed(error.detail) from None
        if members.get("format") != FORMAT or set(members) != {"format", "items", "told", "floors"}:
            raise _malformed("not a bundle of collateral", expected=FORMAT, got=str(members.get("format"))[:80])
        listed, descriptions = members["items"], members["told"]
        if not isinstance(listed, list) or len(listed) > MAX_ITEMS or not isinstance(descriptions, Mapping):
            raise _malformed("items must be a list and told an object", expected=f"<= {MAX_ITEMS}")
        items = tuple(map(Item.from_object, listed))
        if len({item.name for item in items}) != len(items):
            raise _malformed("an object occurs twice")
        return cls(items, descriptions, floor_files.from_object(members["floors"]))

    def to_bytes(self) -> bytes:
        """The file."""
        members = {"format": FORMAT, "items": [item.to_object() for item in self.items], "told": dict(self.told),
                   "floors": floor_files.to_object(self.floors)}
        return (json.dumps(members, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def told(item: Item, judged: Judged) -> dict[str, Any]:
    """What is said of an object to people: dates RFC 3339, ``expires`` the last second in which it is good."""
    return {"issuer": judged.issuer, "number": judged.number, "issued": rfc3339(judged.own.not_before),
            "expires": rfc3339(judged.own.not_after), "sha256": item.digest.hex()}


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedCollateral:
    return MalformedCollateral("collateral.bundle_file", detail, expected=expected, got=got)
