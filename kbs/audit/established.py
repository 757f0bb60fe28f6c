"""Checks that many decisions share: written down once, in a record of kind ``trust``, and referred to.

    the record       subject {"digest": SHA-256 of the list as it was written}, decision [check, …]
    the reference    {"established": digest, "rules": how many}, in the place of those checks

The record comes before every record that refers to it, in the same transaction or an earlier one. Whoever shows records
puts the checks back with `whole`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kbs.audit.record import AuditLog, Entry, Kind, Outcome, Record

MAX_REMEMBERED = 10_000


class Established:
    """What of all this process has written into ``audit`` already, and need not write again."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._written: set[str] = set()

    def missing(self, wanted: Mapping[str, bytes]) -> dict[str, bytes]:
        """Those of ``wanted`` (lists of checks by digest) that are not in the log yet, as far as is known here."""
        return {digest: text for digest, text in wanted.items() if digest not in self._written}

    def append(self, missing: Mapping[str, bytes], at: int) -> None:
        """Write them down, in the open transaction."""
        for digest, text in missing.items():
            self._audit.append(Entry(Kind.TRUST, Outcome.ALLOWED, None, {"digest": digest}, msgspec.Raw(text)), at)

    def note(self, written: Iterable[str]) -> None:
        """The transaction that appended these was committed."""
        if len(self._written) > MAX_REMEMBERED:
            self._written.clear()
        self._written.update(written)


def reference(digest: str, rules: int) -> bytes:
    """What stands in the place of ``rules`` checks."""
    return b'{"established":"%b","rules":%d}' % (digest.encode(), rules)


def whole(records: Iterable[Record], audit: AuditLog) -> list[dict[str, Any]]:
    """``records`` for people and JSON, each reference replaced by the checks that it stands for."""
    told = [record.told() for record in records]
    lists = [submodule["checks"] for record in told for submodule in _verdicts(record)]
    wanted = {digest for checks in lists for check in checks if (digest := check.get("established"))}
    if wanted:
        found = _found(wanted, audit)
        for checks in lists:
            checks[:] = [back for check in checks for back in found.get(check.get("established"), [check])]
    return told


def _verdicts(record: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    decision = record["decision"]
    found: dict[str, dict[str, Any]] = decision.get("verification", {}) if isinstance(decision, dict) else {}
    return found.values()


def _found(wanted: set[str], audit: AuditLog) -> dict[str | None, list[dict[str, Any]]]:
    found: dict[str | None, list[dict[str, Any]]] = {}
    for record in audit.of_kind(Kind.TRUST):
        body = msgspec.json.decode(record.body)
        if body["subject"]["digest"] in wanted:
            found[body["subject"]["digest"]] = body["decision"]
    return found
