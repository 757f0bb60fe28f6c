"""A local stand-in for the makers' services, over HTTP or HTTPS on 127.0.0.1.

    with StandIn(Services(intel=SmallIntel.create(at=now), amd=(SmallAmd.create(at=now),))) as service:
        gathered = gather(evidence, now, service.sources(), roots=roots)
        assert service.count("/sgx/certification/v4/tcb") == 1

It serves what `verifier.testing.services` answers, counts what it is asked, and breaks where it is told to:

    service.break_("/vcek/v1/", failing(429, "2"), times=1)      # once, then as it should
    service.break_("/IntelSGXRootCA.der", down())                # for good, until `mend`
    service.serve(Services(intel=older))                         # other documents from now on
"""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from verifier.collateral.http import Limits
from verifier.collateral.sources import STANDARD, Sources
from verifier.testing.faults import Fault, Reply
from verifier.testing.services import Services

_CHUNK = 64 * 1024
_MAX_BODY = 1024 * 1024
# Short pauses, and all the patience that a busy machine needs with a service that is well.
QUICK = Limits(connect=20.0, read=20.0, total=60.0, attempts=2, backoff=0.01, backoff_cap=0.05, retry_after_cap=2.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that came."""

    method: str
    path: str
    query: str


@dataclass
class _Break:
    prefix: str
    fault: Fault
    times: int | None
    after: int


class StandIn:
    """The server. ``tls`` serves HTTPS under a certificate of its own, which `sources` says to trust."""

    def __init__(self, services: Services | None = None, *, tls: bool = False) -> None:
        self._services = services or Services()
        self._breaks: list[_Break] = []
        self._requests: list[Request] = []
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stand_in = self
        self._folder = tempfile.TemporaryDirectory(prefix="attestkit-stand-in-")
        self.ca_file = ""
        if tls:
            self.ca_file = self._encrypt()
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,), name="stand-in", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self.ca_file else ''}://127.0.0.1:{self._server.server_address[1]}"

    def sources(self, *, pccs: bool = False, update: str = STANDARD, limits: Limits = QUICK) -> Sources:
        """Sources that lead here; ``pccs`` has Intel's documents asked for as of a caching service."""
        return Sources(pcs=self.url, root_crl=f"{self.url}/IntelSGXRootCA.der", pccs=self.url if pccs else "",
                       kds=self.url, rim=self.url, ocsp=self.url, update=update, ca_file=self.ca_file, limits=limits)

    def serve(self, services: Services) -> None:
        """Other services from now on."""
        self._services = services

    def break_(self, prefix: str, fault: Fault, *, times: int | None = None, after: int = 0) -> None:
        """Let ``fault`` befall answers to paths with that prefix: ``times`` of them (None for ever), after ``after``
        that go well. Earlier breaks go first."""
        with self._lock:
            self._breaks.append(_Break(prefix, fault, times, after))

    def mend(self) -> None:
        """All is well again."""
        with self._lock:
            self._breaks.clear()

    @property
    def requests(self) -> tuple[Request, ...]:
        """All that came, in order."""
        with self._lock:
            return tuple(self._requests)

    def count(self, prefix: str = "/") -> int:
        """How many requests came for paths with that prefix."""
        return sum(request.path.startswith(prefix) for request in self.requests)

    def forget(self) -> None:
        """Count from zero."""
        with self._lock:
            self._requests.clear()

    def meet(self, method: str, target: str, body: bytes) -> tuple[Reply, Fault]:
        """The reply to a request, and what befalls it."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        with self._lock:
            self._requests.append(Request(method, parts.path, parts.query))
            fault = self._fault(parts.path)
        reply = self._services.answer(method, parts.path, query, body)
        return (fault.rewrite(reply) if fault.rewrite else reply), fault

    def _fault(self, path: str) -> Fault:
        for rule in self._breaks:
            if not path.startswith(rule.prefix):
                continue
            if rule.after > 0:
                rule.after -= 1
                return Fault()
            if rule.times is None:
                return rule.fault
            if rule.times > 0:
                rule.times -= 1
                return rule.fault
        return Fault()

    def _encrypt(self) -> str:
        certificate, key = _certificate()
        folder = Path(self._folder.name)
        (folder / "ca.pem").write_bytes(certificate)
        (folder / "key.pem").write_bytes(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        return str(folder / "ca.pem")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    stand_in: StandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 10
    server: _Server

    def do_GET(self) -> None:
        """One request."""
        self._meet(b"")

    def do_POST(self) -> None:
        """One request with a body."""
        size = self.headers.get("Content-Length", "")
        self._meet(self.rfile.read(min(int(size), _MAX_BODY)) if size.isdigit() else b"")

    def _meet(self, body: bytes) -> None:
        reply, fault = self.server.stand_in.meet(self.command, self.path, body)
        time.sleep(fault.delay)
        if fault.close:
            return
        with _gone_is_fine():
            if fault.drip_head:
                self._drip_head(fault.drip_head)
            else:
                self._send(reply, fault)

    def _send(self, reply: Reply, fault: Fault) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) + fault.flood))
        self.end_headers()
        body = reply.body[: len(reply.body) - fault.cut]
        if fault.drip:
            for byte in body:
                time.sleep(fault.drip)
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        else:
            self.wfile.write(body)
        for _ in range(0, fault.flood, _CHUNK):
            self.wfile.write(bytes(_CHUNK))

    def _drip_head(self, seconds: float) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Drip: ")
        while True:
            time.sleep(seconds)
            self.wfile.write(b"a")
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: `StandIn.requests` has it all."""


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    with suppress(ConnectionError, ssl.SSLError, TimeoutError):
        yield


def _certificate() -> tuple[bytes, bytes]:
    """A certificate for 127.0.0.1 that signs itself, and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "attestkit stand-in")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256()))
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
