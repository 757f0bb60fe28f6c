"""The Flask application around a broker."""

from __future__ import annotations

import logging
import time
from functools import cache

from flask import Response
from prometheus_client import Counter, Histogram

from kbs import metrics
from kbs.services.broker import Broker
from kbs.web import admin, handshake, operations, problems, rate_limit, resource
from kbs.web.access import GuardedFlask, guard
from kbs.web.exchange import call
from kbs.web.rate_limit import Buckets

_LOG = logging.getLogger("kbs.requests")


def create_web(broker: Broker, *, url: str, secure_cookies: bool, buckets: Buckets | None = None) -> GuardedFlask:
    """``url``: how others reach this broker. ``buckets`` None bounds nobody."""
    app = GuardedFlask("kbs")
    _watch(app)
    if buckets is not None:
        rate_limit.bound(app, buckets)
    guard(app, broker)
    problems.handle(app)
    app.register_blueprint(handshake.blueprint(broker, secure_cookies=secure_cookies))
    app.register_blueprint(resource.blueprint(broker))
    app.register_blueprint(admin.blueprint(broker))
    app.register_blueprint(operations.blueprint(broker, url=url))
    return app


@cache
def _counters(route: str, status: int) -> tuple[Counter, Histogram]:
    """Routes and statuses are few, and looking counters up by their labels is not free."""
    return metrics.REQUESTS.labels(route, str(status)), metrics.SECONDS.labels(route)


def _watch(app: GuardedFlask) -> None:
    """Time, count and log every request."""

    @app.after_request
    def answered(response: Response) -> Response:
        asked, status = call(), response.status_code
        route = asked.url_rule.rule if asked.url_rule else "unknown"
        seconds = time.perf_counter() - asked.started
        requests, timer = _counters(route, status)
        requests.inc()
        timer.observe(seconds)
        _LOG.info("request", extra={"method": asked.method, "route": route, "status": status,
                                    "milliseconds": round(seconds * 1000, 2), "peer": asked.peer})
        return response
