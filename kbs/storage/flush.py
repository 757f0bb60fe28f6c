"""When what was committed to an SQLite file is on the disk.

SQLite's own way is to wait for the disk within each commit, while nobody else can write. Here a commit is written and
the next writer let in; then whoever committed waits until the disk has the write-ahead log up to there, one wait
serving everybody whose commit came before it. Until then nothing that rests on the commit leaves the process.

SQLite's ``synchronous=NORMAL`` is what makes this whole (https://www.sqlite.org/pragma.html#pragma_synchronous): the
log is appended to, so whatever brings a commit to the disk brings every earlier one; and it begins anew only after a
checkpoint, before which the log was synced and after which the database was.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Flush:
    """``log``: the write-ahead log's file. A connection to its database must be open while somebody waits: the last one
    that is closed takes the file with it, and whoever waits then is refused."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._here = threading.local()
        self._written = 0
        self._durable = 0
        self.failed = False

    def written(self) -> int:
        """The number of a commit that was just made; to be called before anybody else can write."""
        self._written += 1
        return self._written

    def wait(self, number: int) -> None:
        """Return when the disk has the commit ``number``, at once within `put_off`. Raises `OSError`."""
        if getattr(self._here, "last", None) is None:
            self.sync(number)
        else:
            self._here.last = number

    def put_off(self, act: Callable[[], T]) -> tuple[T, int]:
        """See `Disk.put_off`."""
        self._here.last = 0
        try:
            return act(), self._here.last
        finally:
            self._here.last = None

    def is_durable(self, number: int) -> bool:
        """See `Disk.is_durable`."""
        return self._durable >= number

    def sync(self, number: int) -> None:
        """See `Disk.sync`; whatever else was written comes with it."""
        with self._lock:
            if self._durable >= number:
                return
            if self.failed:  # what the disk did not take then is forgotten by the system: a sync now would say nothing
                raise OSError("the disk failed before")
            reached, self.failed = self._written, True
            file = os.open(self._log, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)
            self._durable, self.failed = reached, False
