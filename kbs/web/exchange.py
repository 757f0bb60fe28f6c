"""One HTTP request and its answer: Flask's own, with what the broker knows of them.

Views and hooks take the request from `call` once, and say what they answer with an `Answer`, which is whole when it is
made: nothing is added to it later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import msgspec
from flask import Request, Response, request
from werkzeug.sansio.http import parse_cookie

from kbs.config import is_loopback
from kbs.errors import TooLarge
from kbs.protocol.messages import SESSION_COOKIE
from kbs.services.admin_tokens import Administrator
from kbs.web.gateway import BODY

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

JSON = "application/json"

# A proxy in front of the broker calls from this machine on behalf of others.
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")


class Call(Request):
    """A request. ``at``: the moment it is judged at, Unix seconds; ``administrator``: whose token let it in, where one
    was needed; ``started``: `time.perf_counter` when it was taken up."""

    at: int
    administrator: Administrator

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.started = time.perf_counter()

    @property
    def peer(self) -> str:
        """The address that the connection came from; what headers say of others is not believed."""
        return self.remote_addr or "unknown"

    @property
    def is_local(self) -> bool:
        """Whether the caller is on this machine and speaks for itself."""
        return is_loopback(self.peer) and not any(name in self.headers for name in FORWARDING_HEADERS)

    @property
    def bearer_token(self) -> str | None:
        """The token of ``Authorization: Bearer``; None without one."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    @property
    def session_cookie(self) -> str | None:
        """The session's cookie; None without one."""
        return parse_cookie(self.environ.get("HTTP_COOKIE")).get(SESSION_COOKIE)

    @property
    def target(self) -> str:
        """Path and query as roles' patterns see them: decoded once."""
        query = unquote(self.query_string.decode("latin-1"))
        return f"{self.path}?{query}" if query else self.path

    @property
    def blueprints(self) -> list[str]:
        """As Flask's, which would split the name anew at each look."""
        return _blueprints(self.endpoint)

    def body(self, limit: int) -> bytes:
        """The whole body, at most ``limit`` bytes. Raises `TooLarge`; never more than one byte too many is read."""
        data: bytes | None = self.environ.get(BODY)
        if data is None:
            self.max_content_length = limit + 1  # a body without a stated length is cut here, and the cut must show
            data = self.get_data(cache=False)
        if len(data) > limit:
            raise TooLarge("request.size", "the body is too large", expected=f"<= {limit} bytes")
        return data


class Answer(Response):
    """``body`` under ``status``, kept out of caches; ``headers`` beside the ones that every answer has."""

    def __init__(self, body: bytes, status: int = 200, content_type: str = JSON,
                 headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__([body], status, [
            ("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"), *headers])

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As Response's, which would look for headers to mend."""
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return cast(list[bytes], self.response)


def call() -> Call:
    """The request that is being answered."""
    return cast(Call, request._get_current_object())  # type: ignore[attr-defined]


def whose() -> tuple[Administrator, int]:
    """The administrator who asks, and the moment."""
    asked = call()
    return asked.administrator, asked.at


def json_answer(value: Any, status: int = 200) -> Answer:
    """``value`` as JSON."""
    return Answer(msgspec.json.encode(value), status)


@lru_cache
def _blueprints(endpoint: str | None) -> list[str]:
    name = (endpoint or "").rpartition(".")[0]
    return [name] if name else []
