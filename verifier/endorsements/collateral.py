"""Endorsement bytes as they were fetched or supplied: still unbelieved.

A `Collateral` carries whatever the caller has for any maker. Recipes take what they need from it and raise
`MissingCollateral` for what is not there; nothing in here is parsed until a recipe verifies it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple


class Family(NamedTuple):
    """Hints for choosing among sets of Intel's collateral. The chosen one is verified and compared again.

    tee: ``SGX`` or ``TDX``. fmspc: 6 bytes. issued, next_update: RFC 3339 as stated.
    """

    tee: str
    fmspc: bytes
    evaluation_number: int
    issued: str
    next_update: str

    @classmethod
    def guess(cls, tcb_info: bytes) -> Family | None:
        """From the document's text, without parsing it. Version 2 does not name the TEE: it was for SGX only."""
        found = {name: match.group(1).decode() for name, pattern in _HINTS.items()
                 if (match := pattern.search(tcb_info)) is not None}
        if {"fmspc", "number", "issued", "next"} - set(found):
            return None
        return cls(found.get("id", "SGX"), bytes.fromhex(found["fmspc"]), int(found["number"]), found["issued"],
                   found["next"])


_HINTS = {
    "id": re.compile(rb'"id"\s*:\s*"(SGX|TDX)"'),
    "fmspc": re.compile(rb'"fmspc"\s*:\s*"([0-9a-fA-F]{12})"'),
    "number": re.compile(rb'"tcbEvaluationDataNumber"\s*:\s*(\d{1,9})\b'),
    "issued": re.compile(rb'"issueDate"\s*:\s*"([0-9TZ:-]{20})"'),
    "next": re.compile(rb'"nextUpdate"\s*:\s*"([0-9TZ:-]{20})"'),
}


@dataclass(frozen=True)
class IntelCollateral:
    """Intel's endorsements of one platform family (Intel PCS API v4).

    Each member is None when the caller has none. Chains are PEM, leaf first; CRLs are DER; ``tcb_info`` and
    ``qe_identity`` are the JSON objects exactly as signed (never re-serialised); signatures are raw r || s, 64 bytes.
    ``pck_chain`` is needed only for quotes that do not embed theirs (certification data types 1-4).
    """

    tcb_info: bytes | None = None
    tcb_info_signature: bytes | None = None
    tcb_info_issuer_chain: bytes | None = None
    qe_identity: bytes | None = None
    qe_identity_signature: bytes | None = None
    qe_identity_issuer_chain: bytes | None = None
    root_ca_crl: bytes | None = None
    pck_crl: bytes | None = None
    pck_crl_issuer_chain: bytes | None = None
    pck_chain: bytes | None = None

    @cached_property
    def family(self) -> Family | None:
        """What the TCB info says it is about, unbelieved; None without one, or when it does not say."""
        return None if self.tcb_info is None else Family.guess(self.tcb_info)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over every member with its length: the name under which prepared trust is kept."""
        state = hashlib.sha256(b"attestkit intel collateral")
        for member in fields(self):
            value = getattr(self, member.name)
            state.update(b"\x00" if value is None else b"\x01" + len(value).to_bytes(8, "big") + value)
        return state.digest()


@dataclass(frozen=True)
class AmdCollateral:
    """AMD's endorsements: certificates (DER or PEM, any order, VCEK/VLEK/ASK/ASVK/ARK) and CRLs (DER or PEM)."""

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over every member with its length."""
        state = hashlib.sha256(b"attestkit amd collateral")
        for group in (self.certificates, self.crls):
            state.update(len(group).to_bytes(8, "big"))
            for value in group:
                state.update(len(value).to_bytes(8, "big") + value)
        return state.digest()


@dataclass(frozen=True)
class Collateral:
    """Everything a caller has. ``more_intel`` are further sets of Intel's, for other TEEs and platform families."""

    intel: IntelCollateral | None = None
    amd: AmdCollateral | None = None
    more_intel: tuple[IntelCollateral, ...] = ()

    @classmethod
    def none(cls) -> Collateral:
        """Nothing at hand: whatever needs endorsements cannot be decided."""
        return cls()

    @property
    def intel_sets(self) -> tuple[IntelCollateral, ...]:
        """All of Intel's."""
        return self.more_intel if self.intel is None else (self.intel, *self.more_intel)

    @property
    def pck_chain(self) -> bytes | None:
        """The PCK chain that the caller has for quotes that embed none."""
        return next((item.pck_chain for item in self.intel_sets if item.pck_chain is not None), None)

    def intel_for(self, tee: str, fmspc: bytes, at: str) -> IntelCollateral | None:
        """The set for ``tee`` (``SGX``, ``TDX``) and ``fmspc``; of several the one that is in date ``at`` (RFC 3339),
        then the highest evaluation number, then the latest. A single set is handed over whatever it is about.
        """
        if len(self.intel_sets) == 1:
            return self.intel_sets[0]
        fitting = [(item.family, item) for item in self.intel_sets
                   if item.family is not None and (item.family.tee, item.family.fmspc) == (tee, fmspc)]
        if not fitting:
            return None
        return max(fitting, key=lambda pair: (pair[0].issued <= at <= pair[0].next_update,
                                              pair[0].evaluation_number, pair[0].issued))[1]

    def joined(self, others: Iterable[Collateral]) -> Collateral:
        """This and ``others``: sets of Intel's with TCB info stand side by side, and loose pieces fill their gaps."""
        everything = [self, *others]
        pieces = [item for one in everything for item in one.intel_sets]
        loose = [item for item in pieces if item.tcb_info is None]
        sets = [_filled(item, loose) for item in pieces if item.tcb_info is not None]
        if not sets and loose:
            sets = [_filled(loose[0], loose[1:])]
        amd = [one.amd for one in everything if one.amd is not None]
        together = AmdCollateral(tuple(c for one in amd for c in one.certificates),
                                 tuple(c for one in amd for c in one.crls)) if amd else None
        return Collateral(sets[0] if sets else None, together, tuple(sets[1:]))


def _filled(ours: IntelCollateral, loose: Iterable[IntelCollateral]) -> IntelCollateral:
    """``ours`` with each member that it lacks from the first of ``loose`` that has it."""
    members = {member.name: getattr(ours, member.name) for member in fields(ours)}
    for piece in loose:
        for name, value in members.items():
            if value is None:
                members[name] = getattr(piece, name)
    return IntelCollateral(**members)
