"""From granian's requests (RSGI) to Flask's (WSGI).

A body is read before anything else is done for its request (`kbs.web.bodies`). With one thread the application runs
between the reads of bodies, on the loop's own thread (`kbs.web.rounds`), so that nothing is handed over, and an answer
that rests on a commit is held back until the disk has it, while others are served; with more threads, a pool runs it
and each waits.

A body is put into the environment as `BODY`, beside WSGI's way; what is wrong with it as `FAULT`, which becomes the
answer where every other refusal does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from kbs.errors import StorageError
from kbs.storage.base import Disk
from kbs.web.bodies import BODY_SECONDS, Bodies, Pieces
from kbs.web.rounds import Rounds

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Answered = tuple[int, list[tuple[str, str]], bytes]

FAULT = "kbs.fault"
BODY = "kbs.body"


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


class Exchange(Pieces, Protocol):
    """The body to be read, and the way to answer."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer."""


class Gateway:
    """Serves ``application`` with ``threads`` threads.

    disk: where what was committed is waited for while others are served, None where commits wait themselves.
    body_seconds: how long a body may take to arrive. around: with one thread, what requests that are answered one
    after another are put into; their answers leave after it.
    """

    def __init__(self, application: WSGIApplication, threads: int, *, disk: Disk | None = None,
                 body_seconds: float = BODY_SECONDS,
                 around: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(threads, "kbs") if threads > 1 else None
        self._disk = disk
        self._rounds = Rounds(self._put_off, around)
        self._disk_thread = ThreadPoolExecutor(1, "kbs-disk")
        self._flushing: asyncio.Future[None] | None = None
        self._bodies = Bodies(body_seconds)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Before the first request."""
        self._bodies.watch(loop)

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        """One request."""
        environ = environment(scope)
        in_pieces = environ.pop("HTTP_TRANSFER_ENCODING", None) is not None or scope.http_version[0] != "1"
        size = environ.get("CONTENT_LENGTH")
        body = None
        if in_pieces or size is not None:
            body = await self._bodies.read(exchange, None if in_pieces else size)
            environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(len(body.data)), BytesIO(body.data)
            environ[BODY], environ[FAULT] = body.data, body.fault
        try:
            answer = await self._answered(environ)
        finally:
            if body is not None:
                self._bodies.release(body)
        exchange.response_bytes(*answer)

    async def _answered(self, environ: WSGIEnvironment) -> Answered:
        if self._pool is not None:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, environ)
        answer, commit = await self._rounds.answered(environ)
        try:
            while self._disk and not self._disk.is_durable(commit):
                await asyncio.shield(self._flush(self._disk, commit))
        except OSError as error:
            environ[FAULT] = StorageError("storage.disk", f"the disk failed ({type(error).__name__})")
            return (await self._rounds.answered(environ))[0]
        return answer

    def _put_off(self, environ: WSGIEnvironment) -> tuple[Answered, int]:
        """The answer, and the commit it rests on; 0 for none that is to be waited for."""
        if self._disk is None:
            return self._answer(environ), 0
        return self._disk.put_off(lambda: self._answer(environ))

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


def _no_write(_data: bytes) -> None:
    raise RuntimeError("an application answers with what it returns, not through write()")
