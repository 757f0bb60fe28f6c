"""Finds any change, removal, reordering or truncation of the log.

What it cannot find: whoever holds both the database and the audit key can write another log, and whoever puts back a
whole earlier state of the database with its head puts back an honest shorter log. Against both, note the head's hash
elsewhere from time to time and give it here as ``known``: a log that does not contain it was rewritten or shortened.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from kbs.audit.record import GENESIS, Head, Record, record_hash

MAX_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold; ``seq`` is the record where it shows, None for the log as a whole."""

    id: str
    detail: str
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """``records``: how many were read. ``head``: the last hash found, 32 bytes. An empty ``findings`` is the proof."""

    records: int
    head: bytes
    findings: tuple[Finding, ...]

    @property
    def intact(self) -> bool:
        """Nothing was found."""
        return not self.findings


def check(records: Iterable[Record], head: Head, key: bytes | None, known: Iterable[bytes] = ()) -> Report:
    """Walk the whole chain.

    key: the audit key; None leaves the head's MAC unchecked, for copies checked elsewhere, and says so as a finding
    unless ``known`` holds the head's hash. known: hashes noted elsewhere, each of which must be in the chain.
    """
    findings: list[Finding] = []
    missing = set(known)
    trusted = head.hash in missing
    previous, seq = GENESIS, 0
    for record in records:
        findings += _examine(record, seq + 1, previous)
        missing.discard(record.hash)
        previous, seq = record.hash, seq + 1
        if len(findings) > MAX_FINDINGS:
            break
    else:
        findings += _examine_end(head, seq, previous)
    findings += _examine_mac(head, key, trusted)
    findings += [Finding("audit.known.absent", f"no record has the hash noted elsewhere, {hash.hex()}")
                 for hash in sorted(missing)]
    return Report(seq, previous, tuple(findings[:MAX_FINDINGS]))


def _examine(record: Record, expected: int, previous: bytes) -> list[Finding]:
    found = []
    if record.seq != expected:
        found.append(Finding("audit.record.sequence", f"expected record {expected}, found {record.seq}", record.seq))
    if not hmac.compare_digest(record.previous, previous):
        found.append(Finding("audit.record.previous", "does not follow the record before it", record.seq))
    try:
        fresh = record_hash(record.previous, record.seq, record.at, record.kind, record.body)
    except (OverflowError, UnicodeEncodeError):
        fresh = b""
    if not hmac.compare_digest(fresh, record.hash):
        found.append(Finding("audit.record.hash", "was changed after it was written", record.seq))
    return found


def _examine_end(head: Head, count: int, hash: bytes) -> list[Finding]:
    found = []
    if head.count != count:
        found.append(Finding("audit.head.count", f"the head counts {head.count} records, there are {count}"))
    if not hmac.compare_digest(head.hash, hash):
        found.append(Finding("audit.head.hash", "the last record is not the one the head names"))
    return found


def _examine_mac(head: Head, key: bytes | None, trusted: bool) -> list[Finding]:
    if key is None:
        return [] if trusted else [Finding("audit.head.unproved", "without the audit key or the head's hash noted "
                                           "elsewhere, the end of the log is not proved")]
    if head.vouched_by(key):
        return []
    return [Finding("audit.head.mac", "the head was not made with this audit key")]
