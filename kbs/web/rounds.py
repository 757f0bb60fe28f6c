"""Requests that are ready, answered in rounds: those of one path after another, in the order in which they came.

Answering one request touches more code and data than a processor's inner caches hold, and the next of its kind touches
nearly the same. Whatever became ready during one round makes the next, so nobody is overtaken for longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

T = TypeVar("T")

_PATH = itemgetter(0)


class Rounds(Generic[T]):
    """Lives on the loop's thread. ``answer`` is what is done for a request, ``around`` what each round is put
    into; its answers leave after it."""

    def __init__(self, answer: Callable[[WSGIEnvironment], T],
                 around: Callable[[], AbstractContextManager[None]]) -> None:
        self._answer, self._around = answer, around
        self._ready: list[tuple[str, WSGIEnvironment, asyncio.Future[T]]] = []

    def answered(self, environ: WSGIEnvironment) -> asyncio.Future[T]:
        """Of the next round."""
        loop = asyncio.get_running_loop()
        if not self._ready:
            loop.call_soon(self._round)
        coming: asyncio.Future[T] = loop.create_future()
        self._ready.append((environ["PATH_INFO"], environ, coming))
        return coming

    def _round(self) -> None:
        ready, self._ready = self._ready, []
        ready.sort(key=_PATH)
        try:
            with self._around():
                for _, environ, coming in ready:
                    if not coming.done():  # whoever asked may be gone
                        self._settle(environ, coming)
        except Exception as error:
            for _, _, coming in ready:
                if not coming.done():  # nobody waits for ever
                    coming.set_exception(error)
            raise

    def _settle(self, environ: WSGIEnvironment, coming: asyncio.Future[T]) -> None:
        try:
            coming.set_result(self._answer(environ))
        except Exception as error:  # noqa: BLE001 - of this request, not of those after it
            coming.set_exception(error)
