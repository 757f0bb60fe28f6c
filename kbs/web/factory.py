"""The Flask application around a broker."""

from __future__ import annotations

from kbs.services.broker import Broker
from kbs.web import admin, handshake, operations, problems, rate_limit, resource
from kbs.web.access import GuardedFlask, guard
from kbs.web.rate_limit import Buckets


def create_web(broker: Broker, *, url: str, secure_cookies: bool, buckets: Buckets | None = None) -> GuardedFlask:
    """``url``: how others reach this broker. ``buckets`` None bounds nobody."""
    app = GuardedFlask("kbs")
    app.after_request(app.watch.answered)
    if buckets is not None:
        rate_limit.bound(app, buckets)
    guard(app, broker)
    problems.handle(app)
    app.register_blueprint(handshake.blueprint(broker, secure_cookies=secure_cookies))
    app.register_blueprint(resource.blueprint(broker))
    app.register_blueprint(admin.blueprint(broker))
    app.register_blueprint(operations.blueprint(broker, url=url))
    return app
