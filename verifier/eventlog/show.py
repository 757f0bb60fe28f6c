"""A log as fields for people: what it says, and what its registers would hold. Nothing is believed.

For a log without evidence beside it: there is no signed value to compare with, so nothing here is a fact.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from verifier.eventlog import ccel
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.events import Event, ParsedLog, type_name
from verifier.eventlog.registers import PCRS
from verifier.eventlog.replay import replay
from verifier.eventlog.tcg import TcgLog
from verifier.eventlog.trustee import describe as describe_data


def describe(data: bytes) -> dict[str, Any]:
    """The fields of a log in any form, or of the ACPI table that locates one; byte strings as ``bytes``.

    ``replayed`` maps each bank that every event has a digest for to register index (of the log) to value. Raises
    `EvidenceError`.
    """
    if data.startswith(b"CCEL"):
        return {"form": "acpi-ccel"} | asdict(ccel.CcelTable.from_bytes(data))
    log = ccel.parse(data)
    told: dict[str, Any] = {"form": log.form, "replayed": _replayed(log)}
    if isinstance(log, TcgLog):
        told |= {"spec_id": None if log.spec_id is None else asdict(log.spec_id), "padding_bytes": len(log.padding)}
    return told | {"events": [_told(number, event) for number, event in enumerate(log.events)]}


def _replayed(log: ParsedLog) -> dict[str, dict[int, bytes]]:
    """With the numbering of PCRs, which no MR index exceeds; every register that has events starts the same way."""
    extending = [event for event in log.events if event.extends]
    banks = [algorithm for algorithm in Algorithm
             if extending and all(event.digest(algorithm) is not None for event in extending)]
    return {bank.bank: dict(sorted(replay(log.events, bank, PCRS).items())) for bank in banks}


def _told(number: int, event: Event) -> dict[str, Any]:
    digests = {Algorithm(alg).bank if alg in set(Algorithm) else f"{alg:#06x}": value for alg, value in event.digests}
    told = {"number": number, "index": event.index, "type": type_name(event.type), "digests": digests,
            "size": len(event.data)} | describe_data(event.type, event.data)
    return told | ({"label": event.label} if event.label else {})
