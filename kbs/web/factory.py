"""The Flask application around a broker."""

from __future__ import annotations

import logging
import time
from functools import cache

from flask import Response, g, request
from prometheus_client import Counter, Histogram

from kbs import metrics
from kbs.services.broker import Broker
from kbs.web import admin, handshake, operations, problems, rate_limit, resource
from kbs.web.access import GuardedFlask, guard, peer
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
    """Time, count and log every request, and keep every answer out of caches."""

    @app.before_request
    def started() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def answered(response: Response) -> Response:
        rule = request.url_rule
        route = rule.rule if rule else "unknown"
        seconds = time.perf_counter() - g.started
        requests, timer = _counters(route, response.status_code)
        requests.inc()
        timer.observe(seconds)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        _LOG.info("request", extra={"method": request.method, "route": route, "status": response.status_code,
                                    "milliseconds": round(seconds * 1000, 2), "peer": peer()})
        return response
