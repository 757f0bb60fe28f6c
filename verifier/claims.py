"""What a TEE has proved, typed.

Rules of the room: only a recipe in `verifier.tees` makes these, after every signature, chain and TCB rule held. Names
are those of the makers' specifications in snake case; `Claims.named` gives them as plain values, byte strings as
``bytes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verifier.evidence import Tee


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What holds of one attester at one moment.

    body: the fields of the signed structure by name (``mr_td``, ``report_data``, ``measurement`` …); integers and
        ``bytes`` (register order as on the wire).
    endorsement: what the maker says of the platform (``fmspc``, ``ppid``, ``chip`` …) from verified certificates.
    software: True when the chain ends in a root that is not a hardware maker's; such evidence never counts as hardware.
    status: the maker's TCB status (``UpToDate`` …), None where the maker has no such thing (SEV-SNP).
    tcb: the maker's appraisal in detail (dates, evaluation numbers, per-component status); empty where there is none.
    flags: properties that a policy may object to (``TD_DEBUG``, ``VMPL1`` …).
    valid_until: Unix seconds, inclusive: the earliest end of everything this rests on.
    report_data / init_data: the two fields a guest binds its own values into (64 bytes; 32, 48 or 64 bytes).
    """

    tee: Tee
    body: Mapping[str, Any]
    endorsement: Mapping[str, Any]
    software: bool
    report_data: bytes
    init_data: bytes
    valid_until: int
    status: str | None = None
    advisory_ids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    tcb: Mapping[str, Any] = field(default_factory=dict)

    def named(self) -> dict[str, Any]:
        """All claims as one flat mapping of names to values, the body's names first."""
        return {**self.body, **self.endorsement, **self.tcb, "software": self.software}
