"""One object of a maker's, as it was fetched: what it is about, and its bytes.

A `Name` says what was asked for, in a form that is the same everywhere (cache, bundle, messages):
``intel.tcb_info/tdx/00806f050000/standard``. An `Item` is the answer. Neither is believed: `verifier.collateral.judge`
decides, with the name as what the bytes must turn out to be about.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any

from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats.snp_report import ProductLine
from verifier.formats.strict import base64_bytes

MAX_PART_BYTES = 8 * 1024 * 1024
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z", re.ASCII)
_MAX_WORDS = 6


class Kind(StrEnum):
    """What kinds of objects there are; in brackets what their names go on to say."""

    TCB_INFO = "intel.tcb_info"        # [tee, FMSPC, evaluation set]
    QE_IDENTITY = "intel.qe_identity"  # [tee, evaluation set]
    ROOT_CRL = "intel.root_crl"        # []
    PCK_CRL = "intel.pck_crl"          # [platform | processor]
    PCK_CHAIN = "intel.pck_chain"      # [QE id, CPUSVN, PCESVN, PCEID]
    VCEK = "amd.vcek"                  # [product line, HWID, TCB]
    AMD_CA = "amd.ca"                  # [product line, vcek | vlek]
    AMD_CRL = "amd.crl"                # [product line]
    RIM = "nvidia.rim"                 # [manifest id]
    OCSP = "nvidia.ocsp"               # [digest of the issuer's key, serial number]


PARTS: dict[Kind, frozenset[str]] = {
    Kind.TCB_INFO: frozenset({"document", "signature", "issuer_chain"}),
    Kind.QE_IDENTITY: frozenset({"document", "signature", "issuer_chain"}),
    Kind.ROOT_CRL: frozenset({"crl"}), Kind.PCK_CRL: frozenset({"crl", "issuer_chain"}),
    Kind.PCK_CHAIN: frozenset({"chain"}), Kind.VCEK: frozenset({"certificate"}), Kind.AMD_CA: frozenset({"chain"}),
    Kind.AMD_CRL: frozenset({"crl"}), Kind.RIM: frozenset({"document"}),
    Kind.OCSP: frozenset({"answer", "certificate", "issuer"}),
}

_LINE, _SET = "(?:" + "|".join(ProductLine) + ")", "(?:standard|early|[0-9]{1,9})"
# The words of each kind, as its rule reads them.
_ABOUT = {kind: re.compile(pattern, re.ASCII) for kind, pattern in {
    Kind.TCB_INFO: f"(?:sgx|tdx)/[0-9a-f]{{12}}/{_SET}", Kind.QE_IDENTITY: f"(?:sgx|tdx)/{_SET}", Kind.ROOT_CRL: "",
    Kind.PCK_CRL: "(?:platform|processor)", Kind.PCK_CHAIN: "[0-9a-f]{32}/[0-9a-f]{32}/[0-9a-f]{4}/[0-9a-f]{4}",
    Kind.VCEK: f"{_LINE}/(?:[0-9a-f]{{16}}|[0-9a-f]{{128}})/[0-9a-f]{{16}}", Kind.AMD_CA: f"{_LINE}/(?:vcek|vlek)",
    Kind.AMD_CRL: _LINE, Kind.RIM: "[^/]+", Kind.OCSP: "(?:[0-9a-f]{2})+/[0-9a-f]+"}.items()}


@dataclass(frozen=True)
class Name:
    """A kind and the words that tell one object of it from another. Raises `MalformedCollateral` for other words."""

    kind: Kind
    about: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.about) > _MAX_WORDS or not all(map(_WORD.match, self.about)):
            raise MalformedCollateral("collateral.item.name", "not the name of an object",
                                      got=[word[:40] for word in self.about[:_MAX_WORDS]])

    @classmethod
    def parse(cls, text: object) -> Name:
        """From its text. Raises `MalformedCollateral`."""
        kind, *about = text.split("/") if isinstance(text, str) else [""]
        if kind not in list(Kind):
            raise MalformedCollateral("collateral.item.name", "unknown kind of object", got=kind[:40])
        return cls(Kind(kind), tuple(about))

    @cached_property
    def text(self) -> str:
        """``kind/word/word``."""
        return "/".join((self.kind.value, *self.about))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the text, lower-case hex: what files are called."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Item:
    """An answer. ``parts``: by name, exactly those of `PARTS`; ``source``: where from; ``fetched``: Unix seconds.

    ``name`` has all the words of its kind, in their form. Raises `MalformedCollateral` for anything else.
    """

    name: Name
    parts: Mapping[str, bytes] = field(repr=False)
    source: str
    fetched: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", MappingProxyType(dict(self.parts)))
        if _ABOUT[self.name.kind].fullmatch("/".join(self.name.about)) is None:
            raise MalformedCollateral("collateral.item.name", "not the name of an object of its kind",
                                      got=self.name.text[:80])
        if set(self.parts) != PARTS[self.name.kind]:
            raise MalformedCollateral("collateral.item.parts", f"{self.name} has other parts",
                                      expected=sorted(PARTS[self.name.kind]), got=sorted(self.parts)[:8])
        if any(len(part) > MAX_PART_BYTES for part in self.parts.values()):
            raise MalformedCollateral("collateral.item.size", f"{self.name} is too large",
                                      expected=f"<= {MAX_PART_BYTES} bytes")

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over name and parts, each with its length; not over where and when they came from."""
        state = hashlib.sha256(b"attestkit collateral item\x00" + self.name.text.encode() + b"\x00")
        for name, part in sorted(self.parts.items()):
            state.update(name.encode() + b"\x00" + len(part).to_bytes(8, "big") + part)
        return state.digest()

    def to_object(self) -> dict[str, Any]:
        """For JSON: parts as base64."""
        parts = {name: base64.b64encode(part).decode() for name, part in sorted(self.parts.items())}
        return {"name": self.name.text, "source": self.source, "fetched": self.fetched, "parts": parts,
                "sha256": self.digest.hex()}

    @classmethod
    def from_object(cls, told: object) -> Item:
        """From `to_object`. Raises `MalformedCollateral`, also when the digest is not that of name and parts."""
        if not isinstance(told, Mapping) or set(told) != {"name", "source", "fetched", "parts", "sha256"}:
            raise MalformedCollateral("collateral.item", "not an object of collateral")
        fetched, source, parts = told["fetched"], told["source"], told["parts"]
        if type(fetched) is not int or not 0 <= fetched < 1 << 40 or not isinstance(source, str) or len(source) > 2000:
            raise MalformedCollateral("collateral.item", "source or time of an object is mistyped")
        if not isinstance(parts, Mapping):
            raise MalformedCollateral("collateral.item.parts", "parts must be an object", got=type(parts).__name__)
        try:
            item = cls(Name.parse(told["name"]), {name: base64_bytes(part, name) for name, part in parts.items()},
                       source, fetched)
        except MalformedEvidence as error:
            raise MalformedCollateral("collateral.item.parts", error.detail) from None
        if item.digest.hex() != told["sha256"]:
            raise MalformedCollateral("collateral.item.digest", f"{item.name} was altered", expected=told["sha256"],
                                      got=item.digest)
        return item
