"""The port: which challenges were taken.

*Take* is atomic: of any number of callers, in any number of processes, one takes a challenge and all others are
refused. Taking states the outcome, so there is no moment at which a challenge is taken and its outcome unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from kbs.errors import SessionInvalid


@dataclass(frozen=True, slots=True)
class Taken:
    """A challenge that was taken. ``outcome``: the sealed token, None after a refusal."""

    outcome: bytes | None = field(repr=False)


class Sessions(Protocol):
    """What every adapter promises; one contract suite is run over all of them."""

    def take(self, id: bytes, *, expires_at: int, outcome: bytes | None) -> None:
        """Take the challenge ``id`` (32 bytes) for ever. Raises `SessionInvalid` when it was taken before.

        It need not be remembered beyond ``expires_at`` (Unix seconds): from then on its cookie is refused. Joins the
        transaction that is open on this thread.
        """

    def find(self, id: bytes) -> Taken | None:
        """What became of a challenge; None when it was not taken."""

    def sweep(self, at: int) -> int:
        """Forget what had expired by ``at``, less `SWEEP_MARGIN`; how many those were."""


# Clocks of several brokers on one database may differ by this much, in seconds.
SWEEP_MARGIN = 300


def spent() -> SessionInvalid:
    """The refusal of whoever comes second."""
    return SessionInvalid("session.spent", "the challenge was used already; ask for a new one")
