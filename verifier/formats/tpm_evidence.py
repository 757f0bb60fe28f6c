"""The evidence of a bare TPM: quotes, the key that signed them, and what else it signed about itself.

One value with one JSON text, which is `Evidence.quote`. The members are those of Confidential Containers where it has
them, and ours beside them for what other tools record:

    ak_public          base64 of the attestation key's SubjectPublicKeyInfo (DER)
    tpm_quote          {"message": base64, "signature": base64, "pcrs": [24 hex]}, bank told by the values' length
    quotes             [{"message", "signature" | null, "pcrs": {bank: {index: hex}} | null}]        further quotes
    ak_public_area     base64 of the attestation key's TPMT_PUBLIC
    ak_creation        {"message", "signature", "data"}: TPM2_CertifyCreation of that key, TPMS_CREATION_DATA
    key_certification  {"message", "signature", "public_area"}: TPM2_Certify of another key of the same TPM

``message`` is TPMS_ATTEST, ``signature`` TPMT_SIGNATURE. What is absent is left out.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, hex_bytes, json_object
from verifier.formats.tpm import MAX_SELECT_BYTES, PCR_COUNT, HashAlg

MAX_QUOTES = 8

_LISTED_BANKS = {alg.size: alg.bank for alg in (HashAlg.SHA1, HashAlg.SHA256, HashAlg.SHA384, HashAlg.SHA512)}
_INDEX = re.compile(r"(?:0|[1-9][0-9]?)\Z", re.ASCII)

Banks = Mapping[str, Mapping[int, bytes]]


@dataclass(frozen=True, slots=True)
class TpmQuote:
    """One quote as it travelled. signature: None where nobody recorded it. pcrs: by bank and index, None without any.

    listed: the values came as a list of 24, as Confidential Containers send them.
    """

    message: bytes
    signature: bytes | None
    pcrs: Banks | None
    listed: bool = False

    @classmethod
    def from_list(cls, message: bytes, signature: bytes | None, values: list[bytes]) -> TpmQuote:
        """With the values of PCRs 0 to 23 of one bank, which their length tells. Raises `MalformedEvidence`."""
        sizes = {len(value) for value in values}
        bank = _LISTED_BANKS.get(sizes.pop()) if len(sizes) == 1 else None
        if len(values) != PCR_COUNT or bank is None:
            raise malformed("pcrs", "must be 24 values of one bank", expected=PCR_COUNT, got=len(values))
        return cls(message, signature, {bank: dict(enumerate(values))}, listed=True)

    def to_members(self) -> dict[str, Any]:
        """For JSON."""
        pcrs: Any = None
        if self.pcrs is not None:
            by_bank = {bank: {str(index): values[index].hex() for index in sorted(values)}
                       for bank, values in sorted(self.pcrs.items())}
            pcrs = [*next(iter(by_bank.values())).values()] if self.listed else by_bank
        return {"message": text(self.message), "signature": None if self.signature is None else text(self.signature),
                "pcrs": pcrs}


@dataclass(frozen=True, slots=True)
class SignedKey:
    """What an attestation key signed about a key: ``about`` is its TPMT_PUBLIC, or its TPMS_CREATION_DATA."""

    message: bytes
    signature: bytes
    about: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmEvidence:
    """All of it, nothing believed. ``ak_public`` is DER, ``ak_public_area`` TPMT_PUBLIC; at most one is needed."""

    quotes: tuple[TpmQuote, ...]
    ak_public: bytes | None = None
    ak_public_area: bytes | None = None
    ak_creation: SignedKey | None = None
    key_certification: SignedKey | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> TpmEvidence:
        """From the JSON text that is `Evidence.quote`. Raises `MalformedEvidence`."""
        return cls.from_members(json_object(data, "TPM evidence"))

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> TpmEvidence:
        """From decoded JSON. Raises `MalformedEvidence`."""
        unknown = set(members) - MEMBERS
        if unknown:
            raise malformed("evidence", "has unknown members", expected=sorted(MEMBERS), got=sorted(unknown)[:4])
        further = members.get("quotes", [])
        if not isinstance(further, list) or len(further) > MAX_QUOTES:
            raise malformed("quotes", "must be a short list", expected=f"<= {MAX_QUOTES}", got=type(further).__name__)
        first = [_listed_quote(members["tpm_quote"])] if "tpm_quote" in members else []
        return cls(
            quotes=(*first, *map(_quote, further)), ak_public=_optional(members, "ak_public"),
            ak_public_area=_optional(members, "ak_public_area"),
            ak_creation=_signed_key(members, "ak_creation", "data"),
            key_certification=_signed_key(members, "key_certification", "public_area"))

    def to_members(self) -> dict[str, Any]:
        """For JSON."""
        first = self.quotes[0] if self.quotes and self.quotes[0].listed else None
        members: dict[str, Any] = {name: text(value) for name in ("ak_public", "ak_public_area")
                                   if (value := getattr(self, name)) is not None}
        if first is not None:
            members["tpm_quote"] = first.to_members()
        further = self.quotes if first is None else self.quotes[1:]
        if further:
            members["quotes"] = [quote.to_members() for quote in further]
        for name, about in (("ak_creation", "data"), ("key_certification", "public_area")):
            signed = getattr(self, name)
            if signed is not None:
                members[name] = {"message": text(signed.message), "signature": text(signed.signature),
                                 about: text(signed.about)}
        return members

    def to_bytes(self) -> bytes:
        """The one JSON text of this value: sorted names, no white space."""
        return json.dumps(self.to_members(), sort_keys=True, separators=(",", ":")).encode()


MEMBERS = frozenset({"ak_public", "tpm_quote", "quotes", "ak_public_area", "ak_creation", "key_certification"})


def text(data: bytes) -> str:
    """Base64."""
    return b64encode(data).decode()


def malformed(field: str, detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    """An error about a member."""
    return MalformedEvidence("format.tpm_json", f"{field} {detail}", expected=expected, got=got)


def _members_of(value: object, field: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise malformed(field, "must have exactly these members", expected=list(names),
                        got=sorted(value)[:8] if isinstance(value, Mapping) else type(value).__name__)
    return value


def _optional(members: Mapping[str, Any], name: str) -> bytes | None:
    return base64_bytes(members[name], name) if name in members else None


def _signed_key(members: Mapping[str, Any], name: str, about: str) -> SignedKey | None:
    if name not in members:
        return None
    parts = _members_of(members[name], name, ("message", "signature", about))
    return SignedKey(*(base64_bytes(parts[part], part) for part in ("message", "signature", about)))


def _listed_quote(value: object) -> TpmQuote:
    quote = _quote(value)
    if not quote.listed:
        raise malformed("tpm_quote.pcrs", "must be a list")
    return quote


def _quote(value: object) -> TpmQuote:
    parts = _members_of(value, "quote", ("message", "signature", "pcrs"))
    signature, pcrs = parts["signature"], parts["pcrs"]
    message = base64_bytes(parts["message"], "message")
    signed = None if signature is None else base64_bytes(signature, "signature")
    if isinstance(pcrs, list):
        return TpmQuote.from_list(message, signed, [hex_bytes(value, "pcrs") for value in pcrs[: PCR_COUNT + 1]])
    return TpmQuote(message, signed, None if pcrs is None else _banks(pcrs))


def _banks(value: object) -> Banks:
    if not isinstance(value, Mapping):
        raise malformed("pcrs", "must be a list, an object or null", got=type(value).__name__)
    return {bank: _values(bank, values) for bank, values in value.items()}


def _values(bank: str, value: object) -> Mapping[int, bytes]:
    size = HashAlg.of_bank(bank).size
    if not isinstance(value, Mapping) or not all(_INDEX.match(name) for name in value):
        raise malformed("pcrs", "of a bank must be an object of PCR numbers", got=type(value).__name__)
    if any(int(name) >= 8 * MAX_SELECT_BYTES for name in value):
        raise malformed("pcrs", "has a number beyond any TPM's", expected=f"< {8 * MAX_SELECT_BYTES}")
    return {int(name): hex_bytes(digest, "pcrs", size) for name, digest in value.items()}
