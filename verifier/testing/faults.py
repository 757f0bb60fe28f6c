"""Ways in which a service can be wrong, each as a value: on which answers it falls is `StandIn.break_`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to be. ``headers`` in the order and spelling that they are sent in."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Rewrite = Callable[[Reply], Reply]


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of a reply.

    delay: seconds before anything is sent. rewrite: another reply. drip: seconds before each byte of the body.
    drip_head: seconds before each byte of a head that never ends. flood: bytes that follow the body, announced as part
    of it. cut: bytes of the body that are announced and never sent. close: the connection ends without an answer.
    """

    delay: float = 0.0
    rewrite: Rewrite | None = None
    drip: float = 0.0
    drip_head: float = 0.0
    flood: int = 0
    cut: int = 0
    close: bool = False


def slow(seconds: float) -> Fault:
    """Answers late."""
    return Fault(delay=seconds)


def dripping(seconds: float) -> Fault:
    """Answers one byte at a time."""
    return Fault(drip=seconds)


def dripping_head(seconds: float) -> Fault:
    """Sends headers for ever, one byte at a time."""
    return Fault(drip_head=seconds)


def oversized(more: int) -> Fault:
    """Answers with so many bytes more."""
    return Fault(flood=more)


def cut_short(missing: int = 1) -> Fault:
    """Ends before the body does."""
    return Fault(cut=missing)


def down() -> Fault:
    """Ends the connection without a word."""
    return Fault(close=True)


def failing(status: int, retry_after: str | None = None) -> Fault:
    """Answers with another status; ``retry_after`` as in the header of that name."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault(rewrite=lambda _: Reply(status, headers, b"no"))


def redirecting(location: str, status: int = 302) -> Fault:
    """Sends elsewhere."""
    return Fault(rewrite=lambda _: Reply(status, {"Location": location}))


def rewritten(body: Callable[[bytes], bytes]) -> Fault:
    """Answers with another body."""
    return Fault(rewrite=lambda reply: replace(reply, body=body(reply.body)))


def forged() -> Fault:
    """Answers as it should, with the last digit or byte of what is signed, or of its signature, changed."""
    return rewritten(_one_off)


def with_headers(change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> Fault:
    """Answers with other headers."""
    return Fault(rewrite=lambda reply: replace(reply, headers=change(reply.headers)))


def _one_off(body: bytes) -> bytes:
    """The last hexadecimal digit of a JSON answer, the last byte of any other."""
    tail = b'"}' if body.endswith(b'"}') else b""
    kept, last = body[: -len(tail) - 1], body[len(body) - len(tail) - 1]
    changed = (b"0" if last != ord("0") else b"1") if tail else bytes([last ^ 1])
    return kept + changed + tail
