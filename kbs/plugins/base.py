"""The port: first say what would be released, then open it.

`locate` is asked before the decision is written down and must not touch the secret; `open` is asked afterwards and must
return exactly what was located.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Located:
    """What would be released. ``name``: for the audit log. ``version``: which of its versions, 0 where it has none."""

    name: str
    version: int


class Plugin(Protocol):
    """One kind of secret, under ``/kbs/v0/<name>/…``."""

    name: str

    def locate(self, path: tuple[str, ...], query: str) -> Located:
        """What ``path`` names. Raises `MalformedRequest` or `ResourceNotFound`."""

    def open(self, located: Located) -> bytes:
        """The secret itself. Raises `ResourceNotFound` when it was deleted meanwhile, or `StorageError`."""
