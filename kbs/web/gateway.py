"""From granian's requests (RSGI) to Flask's (WSGI).

A body is read here, before anything else is done for its request: whole, bounded in size, in time and in what all
bodies together may hold. However slowly somebody sends, no thread waits for them. With one thread the application runs
between the reads of bodies, on the loop's own thread, so that nothing is handed over, and an answer that rests on a
commit is held back until the disk has it, while others are served; with more threads, a pool runs it and each waits.

What is wrong with a body is put into the environment as `FAULT`, and becomes the answer where every other refusal does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, cast

from kbs.errors import KbsError, RateLimited, StorageError, TooLarge, TooSlow
from kbs.protocol.messages import MAX_RESOURCE_BYTES
from kbs.storage.base import Disk

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Answered = tuple[int, list[tuple[str, str]], bytes]

FAULT = "kbs.fault"

# No route takes more; each has its own bound below this one.
MAX_BODY_BYTES = MAX_RESOURCE_BYTES
MAX_HELD_BYTES = 8 * MAX_BODY_BYTES
BODY_SECONDS = 10.0


class Headers(Protocol):
    """Of a request, names in lower case; several of one name come one by one."""

    def items(self) -> list[tuple[str, str]]:
        """Name and value."""


class Scope(Protocol):
    """A request without its body. ``path`` is percent-decoded; ``client`` and ``server`` are ``address:port``."""

    method: str
    path: str
    query_string: str
    scheme: str
    client: str
    server: str
    http_version: str

    @property
    def headers(self) -> Headers:
        """All of them."""


class Exchange(Protocol):
    """The body to be read, piece by piece, and the way to answer."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body's pieces."""

    async def __call__(self) -> bytes:
        """The whole body."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""


class Gateway:
    """Serves ``application`` with ``threads`` threads.

    disk: where what was committed is waited for while others are served, None where commits wait themselves.
    body_seconds: how long a body may take to arrive.
    """

    def __init__(self, application: WSGIApplication, threads: int, *, disk: Disk | None = None,
                 body_seconds: float = BODY_SECONDS) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(threads, "kbs") if threads > 1 else None
        self._disk = disk
        self._disk_thread = ThreadPoolExecutor(1, "kbs-disk")
        self._flushing: asyncio.Future[None] | None = None
        self._bodies = Bodies(body_seconds)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the first request."""
        self._bodies.watch(loop)

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """One request."""
        environ = environment(scope)
        size = environ.get("CONTENT_LENGTH")
        if size is None and scope.http_version[0] == "1" and "HTTP_TRANSFER_ENCODING" not in environ:
            body = None
        else:
            body = await self._bodies.read(exchange, size)
            environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(len(body.data)), BytesIO(body.data)
            environ[FAULT] = body.fault
        try:
            answer = await self._answered(environ)
        finally:
            if body is not None:
                self._bodies.release(body)
        exchange.response_bytes(*answer)

    async def _answered(self, environ: WSGIEnvironment) -> Answered:
        if self._pool is not None:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, environ)
        if self._disk is None:
            return self._answer(environ)
        answer, commit = self._disk.put_off(lambda: self._answer(environ))
        try:
            while not self._disk.is_durable(commit):
                await asyncio.shield(self._flush(self._disk, commit))
        except OSError as error:
            environ[FAULT] = StorageError("storage.disk", f"the disk failed ({type(error).__name__})")
            return self._answer(environ)
        return answer

    def _flush(self, disk: Disk, commit: int) -> asyncio.Future[None]:
        """The one wait for the disk that is going on, or a new one."""
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().run_in_executor(self._disk_thread, disk.sync, commit)
        return self._flushing

    def _answer(self, environ: WSGIEnvironment) -> Answered:
        told: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], None]:
            told[:] = int(status[:3]), headers
            return _no_write

        pieces = self._application(environ, start_response)
        try:
            body = b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        status, headers = told
        return status, headers, body


class Body:
    """What was read; ``reserved``: how much of what may be held it counts for; ``fault``: why it is not whole."""

    __slots__ = ("data", "fault", "reserved")

    def __init__(self) -> None:
        self.data = b""
        self.reserved = 0
        self.fault: KbsError | None = None


class Bodies:
    """Reads them within the bounds of this module's head. Lives on the loop's thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held = 0
        self._waiting: dict[asyncio.Task[Any], float] = {}

    async def read(self, exchange: Exchange, size: str | None) -> Body:
        """A whole body, or why there is none; to be given to `release`. ``size``: what the request says of it."""
        body = Body()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            self._reserve(body, 0 if size is None else _number(size))
            self._waiting[task] = time.monotonic() + self._seconds
            body.data = await (self._pieces(exchange, body) if size is None else exchange())
        except asyncio.CancelledError:
            if task in self._waiting:
                raise
            body.fault = TooSlow("request.slow", f"the body did not arrive within {self._seconds:g} seconds")
        except KbsError as error:
            body.fault = error
        finally:
            self._waiting.pop(task, None)
        return body

    def release(self, body: Body) -> None:
        """The request is answered."""
        self._held -= body.reserved
        body.reserved = 0

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Now and from time to time, end the waits that last too long: a clock for all costs less than one for each."""
        now = time.monotonic()
        for task, end in list(self._waiting.items()):
            if now >= end:
                del self._waiting[task]
                task.cancel()
        loop.call_later(min(1.0, self._seconds / 2), self.watch, loop)

    async def _pieces(self, exchange: Exchange, body: Body) -> bytes:
        data = bytearray()
        async for piece in exchange:
            self._reserve(body, len(piece))
            data += piece
        return bytes(data)

    def _reserve(self, body: Body, size: int) -> None:
        """Count ``size`` more bytes. Raises `TooLarge` for one body, `RateLimited` for all together."""
        if body.reserved + size > MAX_BODY_BYTES:
            raise TooLarge("request.size", "the body is too large", expected=f"<= {MAX_BODY_BYTES} bytes")
        if self._held + size > MAX_HELD_BYTES:
            raise RateLimited("request.busy", "too many large requests at a time")
        body.reserved += size
        self._held += size


def environment(scope: Scope) -> WSGIEnvironment:
    """The request as WSGI has it (PEP 3333), its body still missing."""
    host, _, port = scope.server.rpartition(":")
    environ: WSGIEnvironment = {
        **_SAME_FOR_ALL, "REQUEST_METHOD": scope.method, "PATH_INFO": scope.path.encode().decode("latin-1"),
        "QUERY_STRING": scope.query_string, "SERVER_NAME": host.strip("[]"), "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}", "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.url_scheme": scope.scheme, "wsgi.input": BytesIO(),
    }
    for name, value in scope.headers.items():
        key = _key(name)
        if key in environ:
            value = f"{environ[key]}{'; ' if name == 'cookie' else ','}{value}"
        if key:
            environ[key] = value
    return environ


_SAME_FOR_ALL = {"SCRIPT_NAME": "", "wsgi.version": (1, 0), "wsgi.errors": sys.stderr, "wsgi.multithread": True,
                 "wsgi.multiprocess": True, "wsgi.run_once": False}


@lru_cache(256)
def _key(name: str) -> str:
    """A header's name in the environment; empty for one with an underscore, which would pose as one with a hyphen."""
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def _number(text: str) -> int:
    """Bytes that a request announces. Raises `TooLarge` for a number of no sensible length."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TooLarge("request.size", "the body's length is no number that fits", got=text[:40])
    return int(text)


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("an application answers with what it returns")
