"""Who may call a route, declared where it is registered; there is no default.

    PUBLIC       anybody: handshake, discovery, health
    GUEST        anybody as far as HTTP goes: the release gate looks at session or token itself
    ADMIN        an admin token whose role reaches this path
    OPERATIONS   this machine without a token, everybody else as ADMIN
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any
from urllib.parse import unquote

from flask import Flask, Request, Response, abort, g, request
from werkzeug.routing import MapAdapter

from kbs.config import is_loopback
from kbs.errors import SetupError
from kbs.services.broker import Broker


class Access(Enum):
    """The access classes."""

    PUBLIC = "public"
    GUEST = "guest"
    ADMIN = "admin"
    OPERATIONS = "operations"


# A proxy in front of the broker calls from this machine on behalf of others.
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


class GuardedFlask(Flask):
    """A Flask in which every route says who may call it."""

    def __init__(self, name: str) -> None:
        self.access: dict[str, Access] = {}
        super().__init__(name, static_folder=None)
        # One spelling per path: no merged slashes, no redirects, no automatic OPTIONS.
        self.url_map.merge_slashes = False
        self.url_map.strict_slashes = True
        self.provide_automatic_options = False

    def add_url_rule(self, rule: str, endpoint: str | None = None, view_func: Any = None,
                     provide_automatic_options: bool | None = None, **options: Any) -> None:
        """As Flask's, with ``access``. Raises `SetupError` without it, and for automatic options."""
        access = options.pop("access", None)
        if provide_automatic_options:
            raise SetupError("web.options", f"the route {rule} would answer OPTIONS by itself")
        if not isinstance(access, Access) or endpoint is None:
            raise SetupError("web.access", f"the route {rule} declares no access class")
        self.access[endpoint] = access
        super().add_url_rule(rule, endpoint, view_func, provide_automatic_options=False, **options)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Routes depend on method and path alone: which host was asked for is nobody's business here."""
        if request is None:
            return None
        environ = request.environ
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        return MapAdapter(self.url_map, "kbs", "/", "", environ["wsgi.url_scheme"], path, environ["REQUEST_METHOD"])

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Every view here is an ordinary function; Flask would look anew at each call."""
        return func


def guard(app: GuardedFlask, broker: Broker) -> None:
    """Have every request pass its route's access class before its view is called."""

    @app.before_request
    def check() -> Response | None:
        g.at = int(broker.clock())
        if request.url_rule is None:
            return None  # answered with 404 or 405, which tell nothing
        if request.method == "HEAD":
            abort(405)  # Flask adds it to GET, and a release must not run for a body that nobody gets
        access = app.access[request.url_rule.endpoint]
        if access is Access.ADMIN or (access is Access.OPERATIONS and not is_local()):
            g.administrator = broker.admin_tokens.authorise(bearer_token(), target(), g.at)
        return None


def bearer_token() -> str | None:
    """The token of ``Authorization: Bearer``; None without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def target() -> str:
    """Path and query as roles' patterns see them: decoded once."""
    query = unquote(request.query_string.decode("latin-1"))
    return f"{request.path}?{query}" if query else request.path


def peer() -> str:
    """The address that the connection came from; what headers say of others is not believed."""
    return request.remote_addr or "unknown"


def is_local() -> bool:
    """Whether the caller is on this machine and speaks for itself."""
    return is_loopback(peer()) and not any(name in request.headers for name in FORWARDING_HEADERS)
