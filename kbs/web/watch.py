"""Every request is timed, counted and logged."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import NamedTuple

from flask import Response
from prometheus_client import Counter, Histogram

from kbs import metrics
from kbs.web.exchange import call

_LOG = logging.getLogger("kbs.requests")


class Seen(NamedTuple):
    """A request that was answered. ``seconds``: how long that took."""

    method: str
    route: str
    status: int
    seconds: float
    peer: str


class Watch:
    """Tells of each request when it is answered; while it ``gathers``, of all together when `tell` is called."""

    def __init__(self) -> None:
        self.gathers = False
        self._seen: list[Seen] = []

    def answered(self, response: Response) -> Response:
        """The present request gets ``response``."""
        asked = call()
        seen = Seen(asked.method, asked.url_rule.rule if asked.url_rule else "unknown", response.status_code,
                    time.perf_counter() - asked.started, asked.peer)
        if self.gathers:
            self._seen.append(seen)
        else:
            _tell(seen)
        return response

    def tell(self) -> None:
        """Count and log what was gathered. Who gathers is the only one to answer requests."""
        seen, self._seen = self._seen, []
        for each in seen:
            _tell(each)


def _tell(seen: Seen) -> None:
    requests, timer = _counters(seen.route, seen.status)
    requests.inc()
    timer.observe(seen.seconds)
    _LOG.info("request", extra={"method": seen.method, "route": seen.route, "status": seen.status,
                                "milliseconds": round(seen.seconds * 1000, 2), "peer": seen.peer})


@cache
def _counters(route: str, status: int) -> tuple[Counter, Histogram]:
    """Routes and statuses are few, and looking counters up by their labels is not free."""
    return metrics.REQUESTS.labels(route, str(status)), metrics.SECONDS.labels(route)
