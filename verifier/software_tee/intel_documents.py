"""TCB info version 3 and QE identity version 2 as parameters, signed at the end.

``document`` sees the JSON object before it is written, ``mutate`` the text before it is signed. Sources: Intel PCS API
version 4, "Get TCB Info" and "Get Quoting Enclave Identity". Dates are Unix seconds here and RFC 3339 in the text;
byte strings are upper-case hex in memory order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from verifier.software_tee.certificates import Alteration, unchanged
from verifier.software_tee.keys import EcKey

COMPONENTS = 16

# What Intel says of each component; the others have no category.
_SGX_CATEGORIES: tuple[tuple[str, str | None], ...] = (
    ("BIOS", "Early Microcode Update"), ("OS/VMM", "SGX Late Microcode Update"), ("OS/VMM", "TXT SINIT"),
    ("BIOS", None), ("BIOS", None), ("BIOS", None), ("", None), ("OS/VMM", "SEAMLDR ACM"))
_TDX_CATEGORIES: tuple[tuple[str, str | None], ...] = (
    ("OS/VMM", "TDX Module"), ("OS/VMM", "TDX Module"), ("OS/VMM", "TDX Late Microcode Update"))


class SignedDocument(NamedTuple):
    """``text`` exactly as signed; ``signature`` r || s, 64 bytes."""

    text: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbLevel:
    """One level of TCB info. sgx, tdx: component SVNs, padded with zeros to 16; tdx None for SGX TCB info."""

    sgx: tuple[int, ...]
    pce_svn: int
    tdx: tuple[int, ...] | None
    date: int
    status: str
    advisories: tuple[str, ...] = ()

    def to_object(self) -> dict[str, Any]:
        """The member of ``tcbLevels``."""
        tcb: dict[str, Any] = {"sgxtcbcomponents": _components(self.sgx, _SGX_CATEGORIES), "pcesvn": self.pce_svn}
        if self.tdx is not None:
            tcb["tdxtcbcomponents"] = _components(self.tdx, _TDX_CATEGORIES)
        return _level(tcb, self.date, self.status, self.advisories)


@dataclass(frozen=True, slots=True)
class IsvLevel:
    """One level of an enclave's or a TDX module's identity."""

    isv_svn: int
    date: int
    status: str
    advisories: tuple[str, ...] = ()

    def to_object(self) -> dict[str, Any]:
        """The member of ``tcbLevels``."""
        return _level({"isvsvn": self.isv_svn}, self.date, self.status, self.advisories)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleIdentity:
    """A TDX module's identity; ``id`` ``TDX_01`` belongs to TEE_TCB_SVN[1] == 1, None to version 0 modules."""

    id: str | None
    levels: tuple[IsvLevel, ...] = ()
    mr_signer: bytes = bytes(48)
    attributes: bytes = bytes(8)
    attributes_mask: bytes = b"\xff" * 8

    def to_object(self) -> dict[str, Any]:
        """``tdxModule``, or the member of ``tdxModuleIdentities``."""
        module: dict[str, Any] = {} if self.id is None else {"id": self.id}
        module |= {"mrsigner": _hex(self.mr_signer), "attributes": _hex(self.attributes),
                   "attributesMask": _hex(self.attributes_mask)}
        if self.id is not None:
            module["tcbLevels"] = [level.to_object() for level in self.levels]
        return module


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """TCB info to be. ``id`` ``TDX`` or ``SGX``; ``module`` and ``module_identities`` are for TDX only."""

    id: str
    issue_date: int
    next_update: int
    fmspc: bytes
    pce_id: bytes
    levels: tuple[TcbLevel, ...]
    signer: EcKey
    module: ModuleIdentity | None = None
    module_identities: tuple[ModuleIdentity, ...] | None = None
    evaluation_number: int = 18
    version: int = 3
    tcb_type: int = 0
    document: Alteration[dict[str, Any]] = unchanged
    mutate: Alteration[bytes] = unchanged

    def to_object(self) -> dict[str, Any]:
        """The JSON object, in Intel's order."""
        told: dict[str, Any] = {
            "id": self.id, "version": self.version, "issueDate": rfc3339(self.issue_date),
            "nextUpdate": rfc3339(self.next_update), "fmspc": _hex(self.fmspc), "pceId": _hex(self.pce_id),
            "tcbType": self.tcb_type, "tcbEvaluationDataNumber": self.evaluation_number,
        }
        if self.module is not None:
            told["tdxModule"] = self.module.to_object()
        if self.module_identities is not None:
            told["tdxModuleIdentities"] = [identity.to_object() for identity in self.module_identities]
        return told | {"tcbLevels": [level.to_object() for level in self.levels]}

    def issue(self) -> SignedDocument:
        """The text and its signature."""
        return _signed(self.document(self.to_object()), self.mutate, self.signer)


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """QE identity to be. ``id`` ``QE`` or ``TD_QE``. misc_select and its mask: 4 bytes; attributes and theirs: 16."""

    id: str
    issue_date: int
    next_update: int
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[IsvLevel, ...]
    signer: EcKey
    evaluation_number: int = 18
    version: int = 2
    misc_select: bytes = bytes(4)
    misc_select_mask: bytes = b"\xff" * 4
    attributes: bytes = bytes.fromhex("11000000000000000000000000000000")
    attributes_mask: bytes = bytes.fromhex("fbffffffffffffff0000000000000000")
    document: Alteration[dict[str, Any]] = unchanged
    mutate: Alteration[bytes] = unchanged

    def to_object(self) -> dict[str, Any]:
        """The JSON object, in Intel's order."""
        return {
            "id": self.id, "version": self.version, "issueDate": rfc3339(self.issue_date),
            "nextUpdate": rfc3339(self.next_update), "tcbEvaluationDataNumber": self.evaluation_number,
            "miscselect": _hex(self.misc_select), "miscselectMask": _hex(self.misc_select_mask),
            "attributes": _hex(self.attributes), "attributesMask": _hex(self.attributes_mask),
            "mrsigner": _hex(self.mr_signer), "isvprodid": self.isv_prod_id,
            "tcbLevels": [level.to_object() for level in self.levels],
        }

    def issue(self) -> SignedDocument:
        """The text and its signature."""
        return _signed(self.document(self.to_object()), self.mutate, self.signer)


def rfc3339(moment: int) -> str:
    """Unix seconds as ``2026-01-27T09:01:45Z``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _components(svns: tuple[int, ...], categories: tuple[tuple[str, str | None], ...]) -> list[dict[str, Any]]:
    padded = svns + (0,) * (COMPONENTS - len(svns))
    told = []
    for index, svn in enumerate(padded):
        component: dict[str, Any] = {"svn": svn}
        category, kind = categories[index] if index < len(categories) else ("", None)
        if category:
            component["category"] = category
        if kind:
            component["type"] = kind
        told.append(component)
    return told


def _level(tcb: dict[str, Any], date: int, status: str, advisories: tuple[str, ...]) -> dict[str, Any]:
    told: dict[str, Any] = {"tcb": tcb, "tcbDate": rfc3339(date), "tcbStatus": status}
    if advisories:
        told["advisoryIDs"] = list(advisories)
    return told


def _hex(value: bytes) -> str:
    return value.hex().upper()


def _signed(told: dict[str, Any], mutate: Alteration[bytes], signer: EcKey) -> SignedDocument:
    text = mutate(json.dumps(told, separators=(",", ":")).encode())
    return SignedDocument(text, signer.sign_raw(text))
