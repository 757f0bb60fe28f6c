"""Who may call a route, declared where it is registered; there is no default.

    PUBLIC       anybody: handshake, discovery, health
    GUEST        anybody as far as HTTP goes: the release gate looks at session or token itself
    ADMIN        an admin token whose role reaches this path
    OPERATIONS   this machine without a token, everybody else as ADMIN
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, cast

from flask import Request, abort
from werkzeug.routing import MapAdapter, Rule

from kbs.errors import SetupError
from kbs.services.broker import Broker
from kbs.web.exchange import Call, call
from kbs.web.gateway import FAULT
from kbs.web.lean import LeanFlask
from kbs.web.watch import Watch


class Access(Enum):
    """The access classes."""

    PUBLIC = "public"
    GUEST = "guest"
    ADMIN = "admin"
    OPERATIONS = "operations"


# Longer paths are looked up anew each time, so that what is remembered of them is bounded.
MAX_REMEMBERED_PATH = 256
MAX_REMEMBERED_PATHS = 1024


class GuardedFlask(LeanFlask):
    """A Flask in which every route says who may call it."""

    request_class = Call

    def __init__(self, name: str) -> None:
        self.access: dict[str, Access] = {}
        self.watch = Watch()
        super().__init__(name)
        self._routes = _Routes(self.url_map.bind("kbs"))
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
        return cast(MapAdapter, _Route(self._routes, request.method, request.path))

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is around requests that are answered one after another: one application context (nothing here is kept
        in `flask.g`), and at the end they are told of."""
        self.watch.gathers = True
        try:
            with self.app_context():
                yield
        finally:
            self.watch.gathers = False
            self.watch.tell()


def guard(app: GuardedFlask, broker: Broker) -> None:
    """Have every request pass its route's access class before its view is called."""

    @app.before_request
    def check() -> None:
        asked = call()
        asked.at = int(broker.clock())
        if (fault := asked.environ.get(FAULT)) is not None:
            raise fault
        if asked.url_rule is None:
            return  # answered with 404 or 405, which tell nothing
        if asked.method == "HEAD":
            abort(405)  # Flask adds it to GET, and a release must not run for a body that nobody gets
        access = app.access[asked.url_rule.endpoint]
        if access is Access.ADMIN or (access is Access.OPERATIONS and not asked.is_local):
            asked.administrator = broker.admin_tokens.authorise(asked.bearer_token, asked.target, asked.at)


class _Routes:
    """Finds the rule and the arguments of a method and path, and remembers what it found."""

    def __init__(self, adapter: MapAdapter) -> None:
        self._adapter = adapter
        self._remembered = lru_cache(MAX_REMEMBERED_PATHS)(self._find)

    def match(self, method: str, path: str) -> tuple[Rule, dict[str, Any]]:
        """Raises as `MapAdapter.match` does; only what is there is remembered."""
        find = self._remembered if len(path) <= MAX_REMEMBERED_PATH else self._find
        rule, arguments = find(method, path)
        return rule, dict(arguments)

    def _find(self, method: str, path: str) -> tuple[Rule, Mapping[str, Any]]:
        return self._adapter.match(path, method, return_rule=True)


class _Route:
    """What Flask asks about one request's route; it asks nothing else of a `MapAdapter`."""

    __slots__ = ("_method", "_path", "_routes")

    def __init__(self, routes: _Routes, method: str, path: str) -> None:
        self._routes, self._method, self._path = routes, method, path

    def match(self, *, return_rule: Literal[True]) -> tuple[Rule, dict[str, Any]]:  # noqa: ARG002 - Flask's one way
        return self._routes.match(self._method, self._path)
