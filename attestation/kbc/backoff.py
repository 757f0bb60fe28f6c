"""Trying again: how often, how long apart, and when no more."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from attestation.errors import BrokerError

FIRST_DELAY = 0.25
LONGEST_DELAY = 10.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Transient(Exception):
    """What failed may succeed later. ``error`` is what to raise when it never does; ``retry_after`` in seconds."""

    def __init__(self, error: BrokerError, retry_after: float = 0.0) -> None:
        self.error = error
        self.retry_after = retry_after
        super().__init__(str(error))


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the client sees it; tests replace it. ``now`` is monotonic; ``jitter`` gives numbers from 0 to 1."""

    now: Callable[[], float]
    sleep: Callable[[float], None]
    jitter: Callable[[], float] = random.random


def keep_trying(operation: Callable[[], T], clock: Clock, deadline: float) -> T:
    """The result of ``operation``, called again after each `Transient` until ``deadline`` (in ``clock.now`` terms).

    Pauses double from `FIRST_DELAY` to `LONGEST_DELAY`, each shortened by up to a half at random so that many guests do
    not come back together; a longer Retry-After of the broker is obeyed. A pause that would end after the deadline is
    not begun: the error is raised at once.
    """
    delay = FIRST_DELAY
    while True:
        try:
            return operation()
        except Transient as failure:
            pause = max(delay * (1 - clock.jitter() / 2), failure.retry_after)
            if clock.now() + pause >= deadline:
                raise failure.error from failure.__cause__
            _log.warning("%s; trying again in %.1f s", failure.error.detail, pause)
        clock.sleep(pause)
        delay = min(delay * 2, LONGEST_DELAY)
