"""How decisions are written down, and how a refusal reaches the guest.

A service notes in a `Case` what it learns, and ends with exactly one record in the audit log. The guest is told the
error's id and the record's reference; the tree stays in the log.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kbs.audit.record import Entry, Kind, Outcome
from kbs.errors import KbsError, SetupError
from verifier.errors import VerifierError
from verifier.formats.strict import base64url

_LOG = logging.getLogger("kbs.decisions")


class Refused(Exception):
    """A refusal that is in the audit log. ``reference`` finds it there."""

    def __init__(self, error: KbsError, reference: str) -> None:
        super().__init__(error.id)
        self.error = error
        self.reference = reference


@dataclass(slots=True)
class Case:
    """What is known so far of one request. ``subject`` says who and what, ``decision`` what was weighed.

    established: lists of checks that the decision refers to, by digest.
    """

    kind: Kind
    subject: dict[str, Any]
    decision: dict[str, Any] = field(default_factory=dict)
    established: dict[str, bytes] = field(default_factory=dict)

    def entry(self, error: KbsError | None = None, outcome: Outcome | None = None) -> Entry:
        """The audit entry with which the case ends: refused by ``error``, or allowed when there is none."""
        if error is not None:
            self.decision["error"] = {"detail": error.detail, "expected": error.expected, "got": error.got}
        ended = outcome or (Outcome.REFUSED if error else Outcome.ALLOWED)
        return Entry(self.kind, ended, error.id if error else None, self.subject, self.decision)


def as_kbs_error(error: Exception) -> KbsError:
    """``error`` as one of the broker's own; whatever is not expected is a fault of ours, without details."""
    if isinstance(error, KbsError):
        return error
    if isinstance(error, VerifierError):
        return SetupError(error.id, error.detail)
    # Where it happened, not what it said: messages of foreign exceptions may quote what they choked on.
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    _LOG.error("unexpected %s at %s", type(error).__name__, where)
    return SetupError("kbs.internal", f"the broker itself failed ({type(error).__name__})")


def thumbprint(jwk: Mapping[str, str]) -> str:
    """A public key's RFC 7638 thumbprint: what the audit log calls it."""
    members = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    digest = hashlib.sha256(msgspec.json.encode(members, order="sorted")).digest()
    return base64url(digest)
