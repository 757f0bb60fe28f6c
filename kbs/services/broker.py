"""Everything the broker offers, for whoever serves it: the web room, the command line, a program that embeds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from kbs.audit.record import AuditLog
from kbs.errors import StorageError
from kbs.services.admin import Administration
from kbs.services.admin_tokens import AdminTokens
from kbs.services.handshake import Handshake
from kbs.services.release import ReleaseGate
from kbs.services.shelf import Shelf
from kbs.services.token_keys import TokenKey
from kbs.storage.base import Disk


@dataclass(frozen=True, kw_only=True)
class Broker:
    """The services of one broker. ``clock`` gives Unix seconds; ``token_keys`` the present keys, the signing one
    first; ``close`` gives back what the adapters hold; ``disk`` is where commits become durable, None where each
    waits itself. ``one_moment``: what a thread that is alone may put requests into which had all arrived before it, so
    that storage is asked once for all of them."""

    handshake: Handshake
    gate: ReleaseGate
    administration: Administration
    admin_tokens: AdminTokens
    shelf: Shelf
    audit: AuditLog
    token_keys: Callable[[], Sequence[TokenKey]]
    clock: Callable[[], float]
    close: Callable[[], None]
    disk: Disk | None = None
    one_moment: Callable[[], AbstractContextManager[None]] = nullcontext

    def check_ready(self) -> None:
        """Whether requests can be served: storage answers, policies compile, the audit log can be appended to,
        and the disk has not failed.

        Raises `KbsError`.
        """
        self.shelf.in_force()
        self.audit.head()
        self.token_keys()
        if self.disk is not None and self.disk.failed:
            raise StorageError("storage.disk", "the disk failed; the worker must be started anew")
