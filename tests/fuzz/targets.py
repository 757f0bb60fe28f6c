"""Every target there is: one table for each room, each in a file of its own.

A room's file offers ``TARGETS``. It imports what it fuzzes at its top, so that whoever loads it under Atheris' import
hook instruments just that room and what it stands on.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.harness import Target

ROOMS = {
    "formats": "tests.fuzz.targets_formats",            # verifier.formats: structures of hardware
    "evidence": "tests.fuzz.targets_evidence",          # verifier.formats' JSON, verifier.loose, verifier.recording
    "eventlog": "tests.fuzz.targets_eventlog",          # verifier.eventlog
    "endorsements": "tests.fuzz.targets_endorsements",  # verifier.endorsements
    "collateral": "tests.fuzz.targets_collateral",      # verifier.collateral, appraisal, reference_values
    "verdicts": "tests.fuzz.targets_verdicts",          # verifier.verify, whole, per TEE
    "protocol": "tests.fuzz.targets_protocol",          # kbs.protocol
    "broker": "tests.fuzz.targets_broker",              # kbs: sessions, services, audit, configuration; policies
    "images": "tests.fuzz.targets_images",              # attestation.images
    "models": "tests.fuzz.targets_models",              # attestation.models
    "guest": "tests.fuzz.targets_guest",                # attestation: secrets, init data, attesters, client
}


def room_of(name: str) -> str:
    """The room of a target, or the room itself."""
    return name.partition(".")[0]


def load(rooms: Iterable[str]) -> dict[str, Target]:
    """The targets of ``rooms`` by name."""
    table: dict[str, Target] = {}
    for room in rooms:
        for target in import_module(ROOMS[room]).TARGETS:
            if target.name in table or room_of(target.name) != room:
                raise ValueError(f"{target.name} is named twice, or in the wrong room")
            table[target.name] = target
    return table
