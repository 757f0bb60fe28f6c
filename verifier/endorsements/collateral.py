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
from typing import NamedTuple, Self, TypeVar


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


L = TypeVar("L", bound="_Lists")

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


class _Lists:
    """What is kept in lists of byte strings."""

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over every member with its length: the name under which prepared trust is kept."""
        state = hashlib.sha256(b"attestkit " + type(self).__name__.encode())
        for member in fields(self):  # type: ignore[arg-type]
            group: tuple[bytes, ...] = getattr(self, member.name)
            state.update(len(group).to_bytes(8, "big"))
            for value in group:
                state.update(len(value).to_bytes(8, "big") + value)
        return state.digest()

    def with_all_of(self, others: Iterable[Self]) -> Self:
        """These and those of ``others``, in order."""
        groups = {member.name: tuple(value for one in (self, *others) for value in getattr(one, member.name))
                  for member in fields(self)}  # type: ignore[arg-type]
        return type(self)(**groups)


@dataclass(frozen=True)
class AmdCollateral(_Lists):
    """AMD's endorsements: certificates (DER or PEM, any order, VCEK/VLEK/ASK/ASVK/ARK) and CRLs (DER or PEM)."""

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class TpmCollateral(_Lists):
    """What vouches for a TPM's attestation key: certificates (DER or PEM: AK, intermediates), CRLs, and public areas
    or keys (TPMT_PUBLIC, or SubjectPublicKeyInfo as DER or PEM) that somebody laid beside a quote."""

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ArmCollateral(_Lists):
    """Attestation keys of CCA platforms (CPAK) that somebody laid beside a token: JWK or PEM."""

    cpaks: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class HygonCollateral(_Lists):
    """Certificates in Hygon's own format, each alone or concatenated: HRK and HSK 832 bytes, CEK and PEK 2084 bytes."""

    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class NvidiaCollateral(_Lists):
    """Reference integrity manifests (signed SWID tags, XML) and OCSP answers (DER)."""

    rims: tuple[bytes, ...] = ()
    ocsp_answers: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Collateral:
    """Everything a caller has, None of makers of which there is nothing.

    more_intel: further sets of Intel's, for other TEEs and platform families.
    """

    intel: IntelCollateral | None = None
    amd: AmdCollateral | None = None
    more_intel: tuple[IntelCollateral, ...] = ()
    tpm: TpmCollateral | None = None
    arm: ArmCollateral | None = None
    hygon: HygonCollateral | None = None
    nvidia: NvidiaCollateral | None = None

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
        return Collateral(
            sets[0] if sets else None, _together([one.amd for one in everything]), tuple(sets[1:]),
            _together([one.tpm for one in everything]), _together([one.arm for one in everything]),
            _together([one.hygon for one in everything]), _together([one.nvidia for one in everything]))


def _together(pieces: Iterable[L | None]) -> L | None:
    given = [piece for piece in pieces if piece is not None]
    return given[0].with_all_of(given[1:]) if given else None


def _filled(ours: IntelCollateral, loose: Iterable[IntelCollateral]) -> IntelCollateral:
    """``ours`` with each member that it lacks from the first of ``loose`` that has it."""
    members = {member.name: getattr(ours, member.name) for member in fields(ours)}
    for piece in loose:
        for name, value in members.items():
            if value is None:
                members[name] = getattr(piece, name)
    return IntelCollateral(**members)
