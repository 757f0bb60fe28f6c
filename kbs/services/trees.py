"""Decision trees for the audit log: verdicts and attestation results as plain JSON.

A verdict on a TDX quote lists a hundred checks, and all but a few are the very objects of the quote before, kept with
the trust that was prepared. Each is written out once and remembered by identity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from kbs.audit.record import plain
from kbs.services.verification import Submodule
from verifier.results.attestation_result import AttestationResult
from verifier.trail import Check

MAX_KEPT = 8192

# A check is held beside its text, so no other object can have its id while the entry stands.
_kept: dict[int, tuple[Check, bytes]] = {}


def of_verdicts(submodules: Sequence[Submodule]) -> dict[str, Any]:
    """Every check that was made, by submodule."""
    return {s.name: {
        "tee": s.verdict.tee, "authentic": s.verdict.authentic, "accepted": s.verdict.accepted,
        "status": s.verdict.status, "advisory_ids": s.verdict.advisory_ids, "flags": s.verdict.flags,
        "checks": of_checks(s.verdict.checks),
        "error": {"id": s.verdict.error.id, "detail": s.verdict.error.detail} if s.verdict.error else None,
    } for s in submodules}


def of_result(result: AttestationResult) -> dict[str, Any]:
    """What the policies said of each part, and why."""
    return {part.name: {
        "tee": part.tee, "status": part.status, "software": part.software, "vector": part.vector.to_dict(),
        "policy": part.policy_id, "policy_digest": part.policy_digest, "rules": of_checks(part.explanation),
    } for part in result.submods}


def of_checks(checks: Iterable[Check]) -> msgspec.Raw:
    """A JSON list, already written out."""
    return msgspec.Raw(b"[" + b",".join(map(_written, checks)) + b"]")


def _written(check: Check) -> bytes:
    kept = _kept.get(id(check))
    if kept is not None and kept[0] is check:
        return kept[1]
    if len(_kept) >= MAX_KEPT:
        _kept.clear()
    text = _write(check)
    _kept[id(check)] = check, text
    return text


def _write(check: Check) -> bytes:
    """A check without what says nothing: the expected value of one that held is the one that was found."""
    told = {name: plain(value) for name, value in check._asdict().items()
            if value is not None and not (name == "expected" and check.ok and value == check.got)}
    return msgspec.json.encode(told, order="sorted")
