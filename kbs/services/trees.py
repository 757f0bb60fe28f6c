"""Decision trees for the audit log: verdicts and attestation results as plain JSON.

A verdict on a TDX quote lists a hundred checks, and all but a few are the very objects of the quote before, kept with
the trust that was prepared. Each is written out once and remembered by identity, and a run of such checks is written
into the log once, as a record of its own that later ones refer to. A check that failed stands in the decision itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple, cast

import msgspec

from kbs.audit.established import reference
from kbs.audit.record import plain
from kbs.services.verification import Submodule
from verifier.results.attestation_result import AttestationResult
from verifier.trail import Check

MAX_KEPT = 8192
# Shorter runs are not worth a reference.
MIN_RUN = 12


class Run(NamedTuple):
    """Checks that several decisions share.

    text: their JSON list. digest: its SHA-256, hexadecimal. reference: what stands for it in a decision.
    """

    digest: str
    text: bytes
    reference: bytes


class _Known:
    """Texts of checks by identity, and runs of them.

    A check is held as long as its text is, so no other object can have its id meanwhile; all is forgotten together.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: list[Check] = []
        self._runs: dict[tuple[int, ...], Run | None] = {}
        self._generation = 0
        self.texts: dict[int, bytes] = {}

    def of(self, check: Check) -> bytes:
        return self.texts.get(id(check)) or self.written(check)

    def written(self, check: Check) -> bytes:
        """The check's JSON, kept from now on, with the check itself so that its identity stays its own."""
        text = _write(check)
        with self._lock:
            if len(self._held) >= MAX_KEPT:
                self._generation += 1
                for kept in (self._runs, self.texts, self._held):
                    kept.clear()
            self._held.append(check)
            self.texts[id(check)] = text
        return text

    def run(self, ids: tuple[int, ...], checks: Sequence[Check], texts: Sequence[bytes]) -> Run | None:
        """None where one of them failed."""
        if ids in self._runs:
            return self._runs.get(ids)
        generation = self._generation
        made = _run(texts) if all(check.ok for check in checks) else None
        with self._lock:
            if generation == self._generation and all(id in self.texts for id in ids):
                self._runs[ids] = made
        return made


_known = _Known()


def of_verdicts(submodules: Sequence[Submodule], established: dict[str, bytes]) -> dict[str, Any]:
    """Every check that was made, by submodule. What runs are referred to is put into ``established``, by digest."""
    return {s.name: {
        "tee": s.verdict.tee, "authentic": s.verdict.authentic, "accepted": s.verdict.accepted,
        "status": s.verdict.status, "advisory_ids": s.verdict.advisory_ids, "flags": s.verdict.flags,
        "checks": _list(_parts(s.verdict.checks, established)),
        "error": {"id": s.verdict.error.id, "detail": s.verdict.error.detail} if s.verdict.error else None,
    } for s in submodules}


def of_result(result: AttestationResult) -> dict[str, Any]:
    """What the policies said of each part, and why."""
    return {part.name: {
        "tee": part.tee, "status": part.status, "software": part.software, "vector": part.vector.to_dict(),
        "policy": part.policy_id, "policy_digest": part.policy_digest,
        "rules": _list(map(_known.of, part.explanation)),
    } for part in result.submods}


def _parts(checks: Sequence[Check], established: dict[str, bytes]) -> Iterator[bytes]:
    """Each check's text in order; a long run of known ones as its reference."""
    ids = tuple(map(id, checks))
    texts = [*map(_known.texts.get, ids), None]
    start = 0
    while start < len(checks):
        end = texts.index(None, start)
        known = cast(list[bytes], texts[start:end])
        run = _known.run(ids[start:end], checks[start:end], known) if len(known) >= MIN_RUN else None
        if run is not None:
            established[run.digest] = run.text
            yield run.reference
        else:
            yield from known
        if end < len(checks):
            yield _known.written(checks[end])
        start = end + 1


def _run(texts: Sequence[bytes]) -> Run:
    text = b"[" + b",".join(texts) + b"]"
    digest = hashlib.sha256(text).hexdigest()
    return Run(digest, text, reference(digest, len(texts)))


def _list(parts: Iterator[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(parts) + b"]")


def _write(check: Check) -> bytes:
    """A check without what says nothing: the expected value of one that held is the one that was found."""
    told = {name: value for name, value in zip(Check._fields, check, strict=True) if value is not None}
    if check.ok and check.expected == check.got:
        told.pop("expected", None)
    return msgspec.json.encode(plain(told), order="sorted")
