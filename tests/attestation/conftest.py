"""A small real broker on a real socket, which can be told to misbehave, and a guest to talk to it."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from attestation.kbc.backoff import Clock
from attestation.kbc.client import BrokerClient
from attestation.kbc.transport import Transport, Trust
from kbs.protocol import jwe, messages, tee_pubkey
from kbs.protocol.runtime_data import HashAlgorithm, primary_digest, report_data_for
from verifier.evidence import Evidence, Tee


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(claims: dict[str, Any]) -> str:
    return ".".join(base64url(part) for part in (b'{"alg":"none"}', json.dumps(claims).encode(), b"signature"))


@dataclass
class Reply:
    """What the broker is about to send."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    seconds_before: float = 0.0
    cut_after: int | None = None


def problem(status: int, variant: str, **more: str) -> Reply:
    body = messages.ErrorBody(type=messages.ERROR_TYPE_PREFIX + variant, detail=f"because of {variant}", **more)
    return Reply(status, messages.encode(body))


@dataclass
class Broker:
    """A broker by the book. ``changes``: called in turn with (path, reply) before a reply leaves; may return another.

    requests: method and path of everything that came. attested: how many attestations were accepted.
    """

    lifetime: float = 300.0
    hash: HashAlgorithm | None = None
    secrets: dict[str, bytes] = field(default_factory=lambda: {"default/key/1": b"the secret"})
    changes: list[Callable[[str, Reply], Reply | None]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    nonces: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    attested: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        with self.lock:
            self.requests.append((method, path, headers))
            self.bodies.append(body)
            reply = self._route(method, path, headers, body)
            for change in list(self.changes):
                reply = change(path, reply) or reply
            return reply

    def of(self, ending: str) -> list[tuple[str, str, dict[str, str]]]:
        return [request for request in self.requests if request[1].endswith(ending)]

    def once(self, ending: str, make: Callable[[Reply], Reply], times: int = 1) -> None:
        """The next ``times`` replies to paths with this ending are what ``make`` makes of them."""
        left = [None] * times

        def change(path: str, reply: Reply) -> Reply | None:
            if path.endswith(ending) and left:
                left.pop()
                return make(reply)
            return None

        self.changes.append(change)

    def always(self, ending: str, make: Callable[[Reply], Reply]) -> None:
        self.changes.append(lambda path, reply: make(reply) if path.endswith(ending) else None)

    def _route(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if (method, path) == ("POST", "/kbs/v0/auth"):
            return self._auth(body)
        if (method, path) == ("POST", "/kbs/v0/attest"):
            return self._attest(headers, body)
        return self._resource(path.removeprefix("/kbs/v0/resource/"), headers)

    def _auth(self, body: bytes) -> Reply:
        request = messages.decode_request(body)
        session = f"session{len(self.of('/auth')) - 1}"
        nonce = base64.b64encode(hashlib.sha256(session.encode()).digest()).decode()
        self.nonces[session] = nonce
        extra: Any = {"selected-hash-algorithm": str(self.hash)} if self.hash else ""
        assert request.extra_params == {"supported-hash-algorithms": ["sha384", "sha512"]}
        challenge = messages.encode(messages.Challenge(nonce=nonce, extra_params=extra))
        return Reply(200, challenge, {"Set-Cookie": f"kbs-session-id={session}; Expires=never"})

    def _attest(self, headers: dict[str, str], body: bytes) -> Reply:
        attestation = messages.decode_attestation(body)
        nonce = self.nonces.pop(headers["Cookie"].removeprefix("kbs-session-id="), None)
        jwk = attestation.runtime_data.tee_pubkey
        algorithm = self.hash or HashAlgorithm.SHA384
        expected = report_data_for("tdx", primary_digest(nonce or "", jwk, "", algorithm))
        quote = base64.b64decode(attestation.tee_evidence.primary_evidence["quote"])
        if nonce is None or nonce != attestation.runtime_data.nonce or expected not in quote:
            return problem(401, "AttestationFailed", id="kbs.attestation.refused", reference="R-17")
        self.attested += 1
        token = jwt({"iat": 1000 * self.attested, "exp": 1000 * self.attested + self.lifetime})
        self.tokens[token] = tee_pubkey.parse(jwk)
        return Reply(200, messages.encode(messages.TokenAnswer(token)))

    def _resource(self, path: str, headers: dict[str, str]) -> Reply:
        key = self.tokens.get(headers.get("Authorization", "").removeprefix("Bearer "))
        if key is None:
            return problem(401, "TokenNotFound")
        if path not in self.secrets:
            return problem(404, "ResourceNotFound", id="kbs.resource.absent", reference="R-4")
        return Reply(200, jwe.encrypt(self.secrets[path], key))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.server.broker.answer(self.command, self.path, dict(self.headers), body)  # type: ignore[attr-defined]
        time.sleep(reply.seconds_before)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: reply.cut_after])
        if reply.cut_after is not None:
            self.close_connection = True

    do_GET = do_POST = _serve

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A guest that hangs up is no news."""


def serving(broker: Broker, context: ssl.SSLContext | None = None) -> Iterator[Broker]:
    server = Server(("127.0.0.1", 0), Handler)
    server.broker = broker  # type: ignore[attr-defined]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    broker.url = f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    yield broker
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def broker() -> Iterator[Broker]:
    yield from serving(Broker())


@dataclass
class Guest:
    """An attester that notes what it bound, and a clock that sleeps in no time.

    now: the present in the clock's terms. slept: what was slept. asked: report data the attester was asked for.
    """

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    tee: Tee = Tee.TDX
    jitter: float = 0.0

    def evidence(self, report_data: bytes) -> Evidence:
        self.asked.append(report_data)
        return Evidence(self.tee, b"quote:" + report_data)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep, lambda: self.jitter)

    def client(self, url: str, trust: Trust | None = None, **options: Any) -> BrokerClient:
        transport = Transport(url, trust or Trust(), self.clock.now)
        return BrokerClient(transport, self, clock=self.clock, **options)


@pytest.fixture
def guest() -> Guest:
    return Guest()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture(name="problem")
def problem_fixture() -> Callable[..., Reply]:
    return problem


@pytest.fixture(name="jwt")
def jwt_fixture() -> Callable[[dict[str, Any]], str]:
    return jwt


@dataclass
class Identity:
    """A self-signed certificate for 127.0.0.1 and the pin of its key."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        now = datetime.now(UTC)
        is_address = self.name[0].isdigit()
        san = x509.SubjectAlternativeName([
            x509.IPAddress(ipaddress.ip_address(self.name)) if is_address else x509.DNSName(self.name)])
        certificate = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(self.key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1)).add_extension(san, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(self.key, SHA256()))
        self.pem = certificate.public_bytes(Encoding.PEM).decode()
        self.certificate = self.folder / f"{self.name}.pem"
        self.certificate.write_text(self.pem)
        key = self.folder / f"{self.name}.key"
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.certificate, key)

    @property
    def pin(self) -> str:
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return "sha256//" + base64.b64encode(hashlib.sha256(spki).digest()).decode()


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path, "127.0.0.1")


@pytest.fixture
def other_identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path, "kbs.other")


@pytest.fixture
def tls_broker(identity: Identity) -> Iterator[Broker]:
    yield from serving(Broker(), identity.context)


@pytest.fixture
def other_tls_broker(other_identity: Identity) -> Iterator[Broker]:
    yield from serving(Broker(), other_identity.context)
