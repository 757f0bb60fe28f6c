"""Whose turn it is to write to an SQLite file.

SQLite has one writer at a time, and whoever finds it busy sleeps in steps and tries again: under load a writer may
sleep a hundred milliseconds beside a free database. Writers queue here first, threads at a lock and processes at a
lock on a file of its own, and are woken when their turn comes. It is a courtesy: SQLite's own lock still decides.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path


class Turn:
    """``path``: the lock's file, made when missing (0600); None for threads of one process only."""

    def __init__(self, path: Path | None) -> None:
        self._threads = threading.Lock()
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> None:
        """Wait until nobody else has it."""
        self._threads.acquire()
        if self._file is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            except BaseException:
                self._threads.release()
                raise

    def give(self) -> None:
        """Let the next one have it."""
        try:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
