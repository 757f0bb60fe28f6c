"""Endorsement bytes as they were fetched or supplied: still unbelieved.

A `Collateral` carries whatever the caller has for any maker. Recipes take what they need from it and raise
`MissingCollateral` for what is not there; nothing in here is parsed until a recipe verifies it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property


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
    """Everything a caller has. ``intel`` may hold several sets (one per family); the recipe picks by what matches."""

    intel: IntelCollateral | None = None
    amd: AmdCollateral | None = None

    @classmethod
    def none(cls) -> Collateral:
        """Nothing at hand: whatever needs endorsements cannot be decided."""
        return cls()

    def merged(self, others: Iterable[Collateral]) -> Collateral:
        """This with each gap filled from ``others``, first come first served; AMD's lists are joined."""
        result = self
        for other in others:
            result = Collateral(intel=_first(result.intel, other.intel), amd=_joined(result.amd, other.amd))
        return result


def _first(ours: IntelCollateral | None, theirs: IntelCollateral | None) -> IntelCollateral | None:
    if ours is None or theirs is None:
        return ours or theirs
    chosen = {}
    for member in fields(ours):
        mine = getattr(ours, member.name)
        chosen[member.name] = mine if mine is not None else getattr(theirs, member.name)
    return IntelCollateral(**chosen)


def _joined(ours: AmdCollateral | None, theirs: AmdCollateral | None) -> AmdCollateral | None:
    if ours is None or theirs is None:
        return ours or theirs
    return AmdCollateral(ours.certificates + theirs.certificates, ours.crls + theirs.crls)
