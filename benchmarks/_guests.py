"""The load of `broker.py`: guests that make whole handshakes, and check what they get."""

from __future__ import annotations

import json
import multiprocessing
import re
import selectors
import socket
import time
from collections.abc import Generator
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from kbs.protocol import jwe
from kbs.protocol.runtime_data import primary_digest, report_data_for
from kbs.protocol.tee_pubkey import jwk_of
from verifier.formats.coco_evidence import evidence_to_json
from verifier.software_tee.maker import SoftwareTee

SECRET = bytes(range(32))
RESOURCE = "/kbs/v0/resource/benchmark/key/one"

Wanted = tuple[str, str, bytes | None, dict[str, str]]
Steps = Generator[Wanted, tuple[bytes, str], None]


def handshake(tee: SoftwareTee) -> Steps:
    """A whole one as a guest makes it, checking what it gets: yields each request (method, path, body, headers) and
    takes its answer (body, cookie)."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwk_of(key.public_key())
    answer, cookie = yield "POST", "/kbs/v0/auth", b'{"version":"0.4.0","tee":"tdx","extra-params":""}', {}
    nonce = json.loads(answer)["nonce"]
    report_data = report_data_for("tdx", primary_digest(nonce, jwk))
    message = {"init-data": None, "runtime-data": {"nonce": nonce, "tee-pubkey": jwk}, "tee-evidence": {
        "primary_evidence": evidence_to_json(tee.evidence("tdx", report_data)), "additional_evidence": ""}}
    yield "POST", "/kbs/v0/attest", json.dumps(message).encode(), {"Cookie": cookie}
    sealed, _ = yield "GET", RESOURCE, None, {"Cookie": cookie}
    if jwe.decrypt(sealed, key) != SECRET:
        raise SystemExit("the broker released something else")


class Guest:
    """One connection (HTTP/1.1, kept alive) with handshake after handshake on it until ``end``."""

    def __init__(self, tee: SoftwareTee, port: int, end: float) -> None:
        self._tee, self._end = tee, end
        self.times: list[tuple[float, float]] = []
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._begin()

    def proceed(self) -> bool:
        """Take what has arrived; False when the last handshake is done."""
        data = self.socket.recv(65536)
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
        if not data or (length and len(body) > int(length[1])):
            raise SystemExit("the broker answers something else")
        if length is None or len(body) < int(length[1]):
            return True
        self._received = b""
        if head.split(b" ", 2)[1] != b"200":
            raise SystemExit(f"the broker answers {head!r} {body[:300]!r}")
        return self._next(head, body)

    def _next(self, head: bytes, body: bytes) -> bool:
        cookie = re.search(rb"(?i)\nset-cookie: *([^;]+)", head)
        try:
            self._request(*self._steps.send((body, cookie[1].decode() if cookie else "")))
        except StopIteration:
            now = time.monotonic()
            self.times.append((self._begun, now))
            if now >= self._end:
                return False
            self._begin()
        return True

    def _begin(self) -> None:
        self._begun = time.monotonic()
        self._steps = handshake(self._tee)
        self._request(*next(self._steps))

    def _request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        fields = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nHost: kbs\r\nContent-Length: {len(body or b'')}\r\n{fields}\r\n"
        self.socket.sendall(head.encode() + (body or b""))


def _load(tee: SoftwareTee, port: int, connections: int, seconds: float, results: Any) -> None:
    """The load generator's process: many guests in one thread, so that the machine is left to the broker."""
    end = time.monotonic() + seconds
    guests = [Guest(tee, port, end) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for guest in guests:
            selector.register(guest.socket, selectors.EVENT_READ, guest)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.proceed():
                    selector.unregister(key.fileobj)
    results.put(([times for guest in guests for times in guest.times], time.process_time()))


def run(tee: SoftwareTee, port: int, connections: int, seconds: float) -> tuple[list[tuple[float, float]], float]:
    """When each handshake began and ended (`time.monotonic`), and the seconds of CPU the load took in its process."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_load, args=(tee, port, connections, seconds, results))
    process.start()
    found: tuple[list[tuple[float, float]], float] = results.get(timeout=seconds + 60)
    process.join()
    if process.exitcode != 0 or not found[0]:
        raise SystemExit("the load generator failed")
    return found
