"""Spans of time in which something may be believed."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple


class Window(NamedTuple):
    """Unix seconds, both ends inclusive."""

    not_before: int
    not_after: int

    def contains(self, at: int) -> bool:
        """True when ``at`` lies inside, ends included."""
        return self.not_before <= at <= self.not_after

    def meet(self, *others: Window) -> Window:
        """The span common to all; empty (``not_before`` > ``not_after``) when there is none."""
        spans = (self, *others)
        return Window(max(span.not_before for span in spans), min(span.not_after for span in spans))


ALWAYS = Window(0, 253_402_300_799)


def unix(moment: datetime) -> int:
    """Whole Unix seconds of an aware datetime."""
    return int(moment.timestamp())


@lru_cache(maxsize=1024)
def rfc3339(moment: int) -> str:
    """Unix seconds as RFC 3339 in UTC; before 1970 its first second, beyond year 9999 its last."""
    shown = min(max(moment, ALWAYS.not_before), ALWAYS.not_after)
    return datetime.fromtimestamp(shown, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
