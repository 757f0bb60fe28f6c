"""Bodies of requests, read whole on the event loop: bounded in size, in time and in what all together may hold.

However slowly somebody sends, nobody else waits for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol, cast

from kbs.errors import KbsError, RateLimited, TooLarge, TooSlow
from kbs.protocol.messages import MAX_RESOURCE_BYTES

# No route takes more; each has its own bound below this one.
MAX_BODY_BYTES = MAX_RESOURCE_BYTES
# Larger bodies than small ones share a bound, so that a flood of them keeps only others of their size out. Bytes count
# when they have arrived: what somebody merely announces keeps nobody out.
SMALL_BYTES = 128 * 1024
MAX_HELD_BYTES = 8 * MAX_BODY_BYTES
BODY_SECONDS = 10.0


class Pieces(Protocol):
    """A body that is still to come."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Its pieces."""

    async def __call__(self) -> bytes:
        """The whole of it."""


class Body:
    """What was read; ``reserved``: how many bytes of what may be held it takes; ``fault``: why it is not whole."""

    __slots__ = ("data", "fault", "reserved")

    def __init__(self) -> None:
        self.data = b""
        self.reserved = 0
        self.fault: KbsError | None = None


class Bodies:
    """Reads them. Lives on the loop's thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held = 0
        self._waiting: dict[asyncio.Task[Any], float] = {}

    async def read(self, coming: Pieces, size: str | None) -> Body:
        """A whole body, or why there is none; to be given to `release`. ``size``: what the request says of it."""
        body = Body()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            small = size is not None and _number(size) <= SMALL_BYTES
            self._waiting[task] = time.monotonic() + self._seconds
            body.data = await (coming() if small else self._pieces(coming, body))
        except asyncio.CancelledError:
            if task in self._waiting:
                self.release(body)
                raise
            body.fault = TooSlow("request.slow", f"the body did not arrive within {self._seconds:g} seconds")
        except KbsError as error:
            body.fault = error
        except BaseException:  # the guest is gone
            self.release(body)
            raise
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

    async def _pieces(self, coming: Pieces, body: Body) -> bytes:
        data = bytearray()
        async for piece in coming:
            self._reserve(body, len(piece))
            data += piece
        return bytes(data)

    def _reserve(self, body: Body, size: int) -> None:
        """Count ``size`` more bytes. Raises `TooLarge` for one body, `RateLimited` for all together."""
        if body.reserved + size > MAX_BODY_BYTES:
            raise _too_large()
        if self._held + size > MAX_HELD_BYTES:
            raise RateLimited("request.busy", "too many large requests at a time")
        body.reserved += size
        self._held += size


def _number(text: str) -> int:
    """Bytes that a request announces. Raises `TooLarge`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_BODY_BYTES):
        raise _too_large()
    return int(text)


def _too_large() -> TooLarge:
    return TooLarge("request.size", "the body is too large", expected=f"<= {MAX_BODY_BYTES} bytes")
