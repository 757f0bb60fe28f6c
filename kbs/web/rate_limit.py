"""A token bucket per address, in bounded memory. This machine is not bounded: a proxy on it speaks for everybody."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from flask import Flask

from kbs.config import is_loopback
from kbs.errors import RateLimited
from kbs.web.exchange import call

MAX_ADDRESSES = 8192


class Buckets:
    """``rate`` requests per second after a burst of ``burst``; ``clock`` gives seconds."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether one more request of ``address`` fits now."""
        now = self._clock()
        with self._lock:
            level, since = self._kept.get(address, (float(self._burst), now))
            level = min(float(self._burst), level + (now - since) * self._rate)
            self._kept[address] = (level - 1 if level >= 1 else level, now)
            self._kept.move_to_end(address)
            if len(self._kept) > MAX_ADDRESSES:
                self._kept.popitem(last=False)
        return level >= 1


def bound(app: Flask, buckets: Buckets) -> None:
    """Refuse what does not fit before anything but reading its body is done for it."""

    @app.before_request
    def check() -> None:
        address = call().peer
        if not is_loopback(address) and not buckets.take(address):
            raise RateLimited("request.rate", "too many requests from this address")
