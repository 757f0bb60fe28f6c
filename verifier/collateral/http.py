"""The one door to the network: bounded in time, bytes, hosts and patience.

Rules of the room: whoever calls says which configured source to ask; an answer never leads anywhere else. Redirects are
followed only to ``https`` on the source's own host. Nothing is decompressed. A request ends when its total time is
over, whatever the other side does: also while it drips headers or a body. What is temporary is tried again, after full
jitter over exponentially growing spans or after what the server asks for (RFC 9110 section 10.2.3), within the total.

Every failure is a `FetchFailed` with an id under ``collateral.fetch``:

    connect   no connection              status      an answer other than 200     redirect  elsewhere than the source
    timeout   out of time                not_found   404                          size      more bytes than allowed
    tls       certificate or handshake   busy        429 or 503                   encoding  compressed, unasked
    broken    no whole HTTP answer
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, ProxyError, SSLError
from urllib3.exceptions import TimeoutError as PoolTimeout

from verifier.errors import MissingCollateral, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3.response import BaseHTTPResponse

MAX_REDIRECTS = 2
_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 503})
_TEMPORARY = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Times in seconds.

    connect, read: of one attempt until connected, and between two arrivals of bytes. total: of everything, further
    attempts and waiting included. max_bytes: of a body. attempts: the most that are made. backoff, backoff_cap: the
    span from which the first wait is drawn, and the longest. retry_after_cap: the longest wait that a server may ask
    for; if it asks for more, the request fails at once and says when to come back.
    """

    connect: float = 3.0
    read: float = 5.0
    total: float = 15.0
    max_bytes: int = 8 * 1024 * 1024
    attempts: int = 3
    backoff: float = 0.3
    backoff_cap: float = 4.0
    retry_after_cap: float = 10.0

    def __post_init__(self) -> None:
        times = (self.connect, self.read, self.total, self.backoff, self.backoff_cap, self.retry_after_cap)
        if not all(0 < value <= 3600 for value in times) or not 1 <= self.attempts <= 20 or self.max_bytes < 1:
            raise SetupError("sources.limits", "limits are out of range", got=str(self))


class FetchFailed(MissingCollateral):
    """Nothing could be fetched. ``temporary``: another attempt may succeed. ``retry_after``: seconds, None unasked."""

    def __init__(self, reason: str, detail: str, *, expected: Any = None, got: Any = None, temporary: bool = False,
                 retry_after: float | None = None) -> None:
        super().__init__(f"collateral.fetch.{reason}", detail, expected=expected, got=got)
        self.temporary = temporary
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source is. ``path``: in front of every path asked for, without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> Origin:
        """From ``http(s)://host[:port][/path]``. Raises `SetupError` for everything else."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise SetupError("sources.url", "not a URL", got=url[:80]) from None
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain or not url.isascii():
            raise SetupError("sources.url", "a source is http(s)://host[:port][/path]", got=parts.hostname or url[:80])
        return cls(parts.scheme, parts.hostname, port or _default_port(parts.scheme), parts.path.rstrip("/"))

    def url(self, path: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """The URL of ``path`` here; names and values of ``query`` are escaped."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _default_port(self.scheme) else f":{self.port}"
        asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
        return f"{self.scheme}://{host}{port}{self.path}{path}" + (f"?{asked}" if asked else "")

    def leads_here(self, url: str) -> bool:
        """Whether a redirect to ``url`` stays: ``https``, this host, and this port unless it upgrades from ``http``."""
        try:
            target = urlsplit(url)
            port = target.port or _default_port(target.scheme)
        except ValueError:
            return False
        same_port = port == self.port or (self.scheme == "http" and port == _default_port("https"))
        return (target.scheme == "https" and target.hostname == self.host and same_port
                and not (target.username or target.password))


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


@dataclass(frozen=True, slots=True)
class Answer:
    """A body with status 200. ``headers``: the last of each name, in lower case."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Door:
    """Asks sources. Safe to share between threads.

    ca_file: certificates (PEM) to trust for TLS instead of the system's, for caching services with certificates of
    their own. proxy: URL of an HTTP proxy. sleep, clock, draw are the world's, for tests.
    """

    def __init__(self, limits: Limits | None = None, *, ca_file: str | None = None, proxy: str | None = None,
                 sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic,
                 draw: Callable[[float, float], float] = random.uniform) -> None:
        self.limits = limits or Limits()
        self._sleep, self._clock, self._draw = sleep, clock, draw
        options: dict[str, Any] = {"num_pools": 8, "maxsize": 4, "retries": False}
        if ca_file is not None:
            options["ca_certs"] = ca_file
        self._pools = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
        self._pools.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def get(self, origin: Origin, path: str, query: Sequence[tuple[str, str]] = ()) -> Answer:
        """The answer of ``origin``. Raises `FetchFailed`."""
        return self._patiently("GET", origin, path, query, None, {})

    def post(self, origin: Origin, path: str, body: bytes, content_type: str) -> Answer:
        """As `get`, sending ``body``; only for services where asking twice does no harm."""
        return self._patiently("POST", origin, path, (), body, {"Content-Type": content_type})

    def _patiently(self, method: str, origin: Origin, path: str, query: Sequence[tuple[str, str]], body: bytes | None,
                   headers: dict[str, str]) -> Answer:
        deadline = self._clock() + self.limits.total
        sent = {"User-Agent": "attestkit", "Accept": "*/*", "Accept-Encoding": "identity"} | headers
        for attempt in range(self.limits.attempts):
            try:
                return self._once(method, origin, origin.url(path, query), body, sent, deadline)
            except FetchFailed as error:
                last = attempt + 1 == self.limits.attempts
                wait = self._wait(attempt, error)
                if last or not error.temporary or wait is None or self._clock() + wait >= deadline:
                    raise
            self._sleep(wait)
        raise FetchFailed("connect", "no attempt was made")  # attempts is at least 1

    def _wait(self, attempt: int, error: FetchFailed) -> float | None:
        """Seconds before the next attempt; None when the server wants more than is allowed."""
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.limits.retry_after_cap else None
        return self._draw(0, min(self.limits.backoff_cap, self.limits.backoff * 2**attempt))

    def _once(self, method: str, origin: Origin, url: str, body: bytes | None, headers: dict[str, str],
              deadline: float) -> Answer:
        """One attempt, with the redirects that stay at the source."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, url, body, headers, deadline)
            try:
                if response.status not in _REDIRECTS:
                    return self._read(url, response, deadline)
                target = urljoin(url, response.headers.get("Location", ""))
            finally:
                response.close()
            if not origin.leads_here(target):
                raise FetchFailed("redirect", f"{url} leads away from its source", expected=f"https://{origin.host}",
                                  got=target[:200])
            url = target
        raise FetchFailed("redirect", f"{url} leads on and on", expected=f"<= {MAX_REDIRECTS} redirects")

    def _send(self, method: str, url: str, body: bytes | None, headers: dict[str, str],
              deadline: float) -> BaseHTTPResponse:
        left = deadline - self._clock()
        if left <= 0:
            raise FetchFailed("timeout", f"{url} took too long", expected=f"<= {self.limits.total} s")
        timeout = urllib3.Timeout(connect=min(self.limits.connect, left), read=min(self.limits.read, left))
        with _bounded(left), self._told(url, deadline):
            response: BaseHTTPResponse = self._pools.urlopen(
                method, url, body=body, headers=headers, redirect=False, preload_content=False,
                decode_content=False, timeout=timeout)
        if self._clock() >= deadline:  # a head that was cut off looks like one that ended
            response.close()
            raise FetchFailed("timeout", f"{url} took too long", expected=f"<= {self.limits.total} s")
        return response

    def _read(self, url: str, response: BaseHTTPResponse, deadline: float) -> Answer:
        _check_status(url, response)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchFailed("encoding", f"{url} answers compressed", expected="identity",
                              got=response.headers["Content-Encoding"][:40])
        found = bytearray()
        with self._told(url, deadline):
            while chunk := response.read1(_CHUNK):
                found += chunk
                if len(found) > self.limits.max_bytes:
                    raise FetchFailed("size", f"{url} answers with too much",
                                      expected=f"<= {self.limits.max_bytes} bytes")
                if self._clock() >= deadline:
                    raise FetchFailed("timeout", f"{url} took too long", expected=f"<= {self.limits.total} s")
        return Answer(url, {name.lower(): value for name, value in response.headers.items()}, bytes(found))

    @contextmanager
    def _told(self, url: str, deadline: float) -> Iterator[None]:
        """Whatever the library raises becomes a `FetchFailed`."""
        try:
            yield
        except (NewConnectionError, ProxyError) as error:  # the first counts as a timeout to the library
            raise FetchFailed("connect", f"no connection to {url}: {_reason(error)}", temporary=True) from None
        except PoolTimeout:
            raise FetchFailed("timeout", f"{url} does not answer in time", temporary=True) from None
        except SSLError as error:
            raise FetchFailed("tls", f"no trusted connection to {url}: {_reason(error)}") from None
        except (HTTPError, OSError, ValueError) as error:
            if self._clock() >= deadline:
                raise FetchFailed("timeout", f"{url} took too long", expected=f"<= {self.limits.total} s") from None
            raise FetchFailed("broken", f"{url} gives no whole answer: {_reason(error)}", temporary=True) from None


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _check_status(url: str, response: BaseHTTPResponse) -> None:
    status = response.status
    if status == 200:
        return
    wait = _retry_after(response.headers.get("Retry-After")) if status in _BUSY else None
    reason = "not_found" if status == 404 else "busy" if status in _BUSY else "status"
    raise FetchFailed(reason, f"{url} answers {status}", expected=200, got=status, temporary=status in _TEMPORARY,
                      retry_after=wait)


def _retry_after(value: str | None) -> float | None:
    """Seconds from now; None where the header is absent or says nothing."""
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) <= 9:
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


# -- the end of patience ----------------------------------------------------------------------------------------------

_patience = threading.local()


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Within this, a connection waits at most so long for the whole head of an answer."""
    _patience.seconds = seconds
    try:
        yield
    finally:
        _patience.seconds = None


class _Impatient:
    """A connection whose socket is shut down when the head of the answer does not end in time.

    Socket timeouts start again with every byte; this does not.
    """

    sock: socket.socket | None

    def getresponse(self) -> Any:
        seconds, sock = getattr(_patience, "seconds", None), self.sock
        if seconds is None or sock is None:
            return super().getresponse()  # type: ignore[misc]
        watch = threading.Timer(seconds, _shut, (sock,))
        watch.daemon = True
        watch.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            watch.cancel()


def _shut(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, whose own shutdown would wait for the other side
    except OSError:
        return  # it has ended by itself


class _HttpConnection(_Impatient, HTTPConnection):
    pass


class _HttpsConnection(_Impatient, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
