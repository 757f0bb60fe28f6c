"""Decision trees for the audit log: verdicts and attestation results as plain JSON.

A verdict on a TDX quote lists a hundred checks, and all but a few are the very objects of the quote before, kept with
the trust that was prepared. Each is written out once and remembered by identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import msgspec

from kbs.audit.record import plain
from kbs.services.verification import Submodule
from verifier.results.attestation_result import AttestationResult
from verifier.trail import Check

MAX_KEPT = 8192

# By identity. A check is held as long as its text is, so no other object can have its id meanwhile.
_texts: dict[int, bytes] = {}
_held: list[Check] = []
_lock = Lock()


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


def of_checks(checks: Sequence[Check]) -> msgspec.Raw:
    """A JSON list, already written out."""
    texts = list(map(_texts.get, map(id, checks)))
    return msgspec.Raw(b"[" + b",".join(text or _written(check) for text, check in zip(texts, checks, strict=True))
                       + b"]")


def _written(check: Check) -> bytes:
    text = _write(check)
    with _lock:
        if len(_held) >= MAX_KEPT:
            _texts.clear()
            _held.clear()
        _held.append(check)
        _texts[id(check)] = text
    return text


def _write(check: Check) -> bytes:
    """A check without what says nothing: the expected value of one that held is the one that was found."""
    told = {name: plain(value) for name, value in check._asdict().items()
            if value is not None and not (name == "expected" and check.ok and value == check.got)}
    return msgspec.json.encode(told, order="sorted")
