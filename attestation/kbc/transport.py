"""One broker over HTTP: who it is, what it may send, how long it may take.

The broker is known by TLS: the system's authorities, those of a file, or its pinned key. A pin alone suffices, for the
handshake proves possession of the key; a pin with authorities demands both. Plain HTTP is for this machine, or for
whoever asks for it by name. Redirects, compressed answers and answers larger than asked for are refused; proxies of the
environment are not used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from attestation.errors import BrokerError, SetupError
from attestation.kbc.backoff import Transient

CONNECT_SECONDS = 10.0
# A broker may need to fetch collateral before it answers.
READ_SECONDS = 60.0
PIN_PREFIX = "sha256//"
USER_AGENT = "attestkit-guest/0.1"


@dataclass(frozen=True, slots=True)
class Trust:
    """How the broker is recognised; all None is the system's authorities. See `GuestConfig`."""

    ca_file: Path | None = None
    ca_pem: str | None = None
    pinned_key: str | None = None
    insecure_http: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. ``cookies``: the ``Set-Cookie`` headers as they came. The body may be a secret's envelope."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    cookies: tuple[str, ...] = field(default=(), repr=False)


class Transport:
    """Requests to one broker. Safe to use from several threads."""

    def __init__(self, url: str, trust: Trust, now: Callable[[], float]) -> None:
        """``url``: ``https://host[:port][/prefix]``. Raises `SetupError` for other URLs and for unusable trust."""
        scheme, host, port, self._prefix = _split(url)
        if scheme == "http" and not (trust.insecure_http or _is_loopback(host)):
            raise SetupError("kbc.insecure_http", "a broker on another machine needs https: without it anybody on the "
                             "way can feed this guest secrets of his own (or allow insecure_http by name)")
        self.now = now
        try:
            self._pool = _pool(scheme, host, port, trust)
        except LocationValueError:  # the library looks at hosts more closely
            raise _no_url() from None

    def send(self, method: str, path: str, *, limit: int, deadline: float, body: bytes | None = None,
             headers: Mapping[str, str] | None = None) -> Answer:
        """The broker's answer to one request, whatever its status; ``path`` with its query below the URL's prefix.

        limit: bytes of body that are read at most. deadline: in the terms of ``now``. Raises `Transient` when the
        broker cannot be reached or breaks off, `BrokerError` when it is another broker or breaks the rules above.
        """
        remaining = deadline - self.now()
        if remaining <= 0:
            raise Transient(BrokerError("kbc.deadline", "the broker did not answer in time"))
        timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, remaining), read=min(READ_SECONDS, remaining))
        try:
            response = self._pool.urlopen(
                method, self._prefix + path, body=body, timeout=timeout, retries=False, redirect=False,
                preload_content=False, decode_content=False,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})})
            return self._read(response, limit, deadline)
        except SSLError as error:
            raise BrokerError("kbc.tls", f"the broker could not be authenticated: {error}") from error
        except (HTTPError, OSError) as error:
            told = BrokerError("kbc.unreachable", f"the broker cannot be reached: {_reason(error)}")
            raise Transient(told) from error

    def _read(self, response: urllib3.BaseHTTPResponse, limit: int, deadline: float) -> Answer:
        try:
            if 300 <= response.status < 400:
                raise BrokerError("kbc.redirect", "the broker redirects, and no redirect is followed",
                                  got=response.status)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise BrokerError("kbc.encoding", "the broker's answer is compressed", expected="identity")
            body = self._read_body(response, limit, deadline)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return Answer(response.status, body, response.headers.get("Retry-After"),
                      tuple(response.headers.getlist("Set-Cookie")))

    def _read_body(self, response: urllib3.BaseHTTPResponse, limit: int, deadline: float) -> bytes:
        body = bytearray()
        while chunk := response.read1(min(65536, limit + 1 - len(body))):
            body += chunk
            if len(body) > limit:
                raise BrokerError("kbc.answer.size", "the broker's answer is too large", expected=f"<= {limit} bytes")
            if self.now() > deadline:
                raise Transient(BrokerError("kbc.deadline", "the broker did not answer in time"))
        return bytes(body)


def _split(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_url() from None
    if parts.scheme not in ("https", "http") or not host or parts.username or parts.password or parts.query \
            or parts.fragment or not url.isascii() or any(character.isspace() for character in url):
        raise _no_url()
    return parts.scheme, host, port, parts.path.rstrip("/")


def _no_url() -> SetupError:
    return SetupError("kbc.url", "this is no broker's URL", expected="https://host[:port][/prefix]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pool(scheme: str, host: str, port: int | None, trust: Trust) -> urllib3.HTTPConnectionPool:
    if scheme == "http":
        if trust.pinned_key or trust.ca_file or trust.ca_pem:
            raise SetupError("kbc.url", "the broker is to be recognised by its certificate, and its URL is not https")
        return urllib3.HTTPConnectionPool(host, port, maxsize=8)
    pool = urllib3.HTTPSConnectionPool(host, port, maxsize=8, ssl_context=_context(trust),
                                       assert_hostname=None if _has_authorities(trust) else False)
    if trust.pinned_key is not None:
        pool.ConnectionCls = _pinning(_pin(trust.pinned_key))
    return pool


def _has_authorities(trust: Trust) -> bool:
    return trust.pinned_key is None or trust.ca_file is not None or trust.ca_pem is not None


def _context(trust: Trust) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=trust.ca_file, cadata=trust.ca_pem)
    except (OSError, ValueError) as error:
        raise SetupError("kbc.ca", f"the broker's authorities could not be read: {_reason(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not _has_authorities(trust):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _pin(text: str) -> bytes:
    try:
        pin = base64.b64decode(text.removeprefix(PIN_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        pin = b""
    if not text.startswith(PIN_PREFIX) or len(pin) != hashlib.sha256().digest_size:
        raise SetupError("kbc.pin", "the pinned key is malformed",
                         expected=f"{PIN_PREFIX} and base64 of SHA-256 over the SubjectPublicKeyInfo")
    return pin


def _pinning(pin: bytes) -> Any:
    """A connection that is made only with the holder of the pinned key."""

    class PinnedConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            certificate = self.sock.getpeercert(binary_form=True) or b""  # type: ignore[union-attr]
            if not hmac.compare_digest(_key_digest(certificate), pin):
                self.close()
                raise SSLError("its key is not the pinned one")
            self.is_verified = True

    return PinnedConnection


def _key_digest(certificate: bytes) -> bytes:
    """SHA-256 over the SubjectPublicKeyInfo of a DER certificate; nothing for one that cannot be read."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return b""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _reason(error: BaseException) -> str:
    """What went wrong, without addresses of objects."""
    return str(error).rpartition(": ")[2][:200] or type(error).__name__
