"""What the evidence of Azure's two kinds of confidential VM has in common, in JSON and as a value.

    1, 2   {"version", "tpm_quote": {"signature": hex, "message": hex, "pcrs": [24 hex]}, "hcl_report": base64url,
            "vcek" | "td_quote": base64url}
    0      the same without a version and with arrays of integers; for SNP the report is called ``report``, the quote
           ``quote``, and the VCEK is PEM

Version 1's form is the canonical one (sorted names, no white space, base64url unpadded): it is `Evidence.quote`.
Recorders put it under ``evidence`` beside the name of a ``platform``. Beyond Confidential Containers' form, the TPM
quote or the last member may be null, where nobody recorded it; ``pcrs`` may be empty; and ``certificates`` (base64url)
carries what `Evidence.certificates` holds. base64url is read with its padding or without, as guests send both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.hcl_report import MAX_REPORT_BYTES
from verifier.formats.strict import base64_bytes, base64url, hex_bytes, json_object
from verifier.formats.tpm import PCR_COUNT

VERSIONS = (1, 2)
PCR_BANK = "sha256"
MAX_MESSAGE_BYTES = 1024
MAX_SIGNATURE_BYTES = 512
MAX_CERTIFICATES = 16
MAX_ITEM_BYTES = 64 * 1024

_PCR_SIZE = 32
_PLATFORM = {"platform", "evidence"}


@dataclass(frozen=True, slots=True)
class VtpmQuote:
    """One quote of the virtual TPM. message: TPMS_ATTEST. signature: the RSA number alone (RSASSA, SHA-256).

    pcrs: the SHA-256 bank, PCRs 0 to 23, as it travelled beside the quote; empty where nobody recorded it.
    """

    message: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AzureEvidence:
    """All parts, nothing believed. ``endorsement``: the VCEK (DER) or the TD quote. None: nobody recorded it."""

    hcl_report: bytes
    tpm_quote: VtpmQuote | None
    endorsement: bytes | None


def from_text(data: bytes, last: str) -> AzureEvidence:
    """From `Evidence.quote`; ``last`` names the last member. Raises `MalformedEvidence`."""
    return from_members(json_object(data, "Azure evidence"), last)


def to_text(evidence: AzureEvidence, last: str) -> bytes:
    """The one JSON text of ``evidence``, which is `Evidence.quote`."""
    return json.dumps(to_members(evidence, last), sort_keys=True, separators=(",", ":")).encode()


def from_members(members: Mapping[str, Any], last: str) -> AzureEvidence:
    """From decoded JSON of version 1 or 2. Raises `MalformedEvidence`."""
    members = exactly(members, "evidence", ("version", "tpm_quote", "hcl_report", last))
    version = members["version"]
    if type(version) is not int or version not in VERSIONS:
        raise malformed("version", "is unknown", expected=list(VERSIONS), got=str(version)[:16])
    quote, endorsement = members["tpm_quote"], members[last]
    return AzureEvidence(
        url_bytes(members["hcl_report"], "hcl_report", MAX_REPORT_BYTES), None if quote is None else _quote(quote),
        None if endorsement is None else url_bytes(endorsement, last, MAX_ITEM_BYTES))


def to_members(evidence: AzureEvidence, last: str) -> dict[str, Any]:
    """Version 1, for JSON."""
    quote = evidence.tpm_quote
    return {
        "version": VERSIONS[0], "hcl_report": base64url(evidence.hcl_report),
        "tpm_quote": None if quote is None else {
            "signature": quote.signature.hex(), "message": quote.message.hex(), "pcrs": [p.hex() for p in quote.pcrs]},
        last: None if evidence.endorsement is None else base64url(evidence.endorsement),
    }


def beside(members: Mapping[str, Any], platform: str) -> tuple[Mapping[str, Any], tuple[bytes, ...]]:
    """The evidence proper, out of a recorder's wrapping, and the certificates beside it. Raises `MalformedEvidence`."""
    if set(members) == _PLATFORM:
        inner = members["evidence"]
        if members["platform"] != platform or not isinstance(inner, Mapping):
            raise malformed("platform", "must be this one, with its evidence", expected=platform,
                            got=str(members["platform"])[:16])
        members = inner
    certificates = members.get("certificates", [])
    if not isinstance(certificates, list) or len(certificates) > MAX_CERTIFICATES:
        raise malformed("certificates", "must be a short list", expected=f"<= {MAX_CERTIFICATES}",
                        got=type(certificates).__name__)
    proper = {name: value for name, value in members.items() if name != "certificates"}
    return proper, tuple(url_bytes(item, "certificates", MAX_ITEM_BYTES) for item in certificates)


@dataclass(frozen=True, slots=True)
class Form:
    """Evidence of one kind of VM in JSON, which has these four functions. last: the name of the last member.

    version_0: reads the members of version 0.
    """

    tee: Tee
    platform: str
    last: str
    version_0: Callable[[Mapping[str, Any]], AzureEvidence]

    def evidence_from_json(self, value: Mapping[str, Any]) -> Evidence:
        """`Evidence` from a decoded JSON object of any version; its quote is the canonical text.

        Raises `EvidenceError`.
        """
        proper, certificates = beside(value, self.platform)
        told = from_members(proper, self.last) if "version" in proper else self.version_0(proper)
        return self.evidence_of(told, certificates)

    def evidence_to_json(self, evidence: Evidence) -> dict[str, Any]:
        """The JSON object of ``evidence``, version 1; `evidence_from_json` gives it back. Raises `EvidenceError`."""
        value = to_members(self.parts_of(evidence), self.last)
        if evidence.certificates:
            value["certificates"] = [base64url(certificate) for certificate in evidence.certificates]
        return value

    def evidence_of(self, told: AzureEvidence, certificates: tuple[bytes, ...] = ()) -> Evidence:
        """``told``, and certificates that travelled beside it (of the hardware's makers, of the attestation key)."""
        return Evidence(self.tee, to_text(told, self.last), certificates)

    def parts_of(self, evidence: Evidence) -> AzureEvidence:
        """What `evidence_of` put together. Raises `EvidenceError`."""
        return from_text(evidence.quote, self.last)


def quote_of_integers(value: object) -> VtpmQuote:
    """A quote in the form of version 0. Raises `MalformedEvidence`."""
    parts = exactly(value, "quote", ("signature", "message", "pcrs"))
    return VtpmQuote(integers(parts["message"], "message", MAX_MESSAGE_BYTES),
                     integers(parts["signature"], "signature", MAX_SIGNATURE_BYTES),
                     _pcrs([integers(pcr, "pcrs", _PCR_SIZE) for pcr in _listed(parts["pcrs"])]))


def _quote(value: object) -> VtpmQuote:
    parts = exactly(value, "tpm_quote", ("signature", "message", "pcrs"))
    signature, message = hex_bytes(parts["signature"], "signature"), hex_bytes(parts["message"], "message")
    _bound(signature, "signature", MAX_SIGNATURE_BYTES)
    _bound(message, "message", MAX_MESSAGE_BYTES)
    return VtpmQuote(message, signature, _pcrs([hex_bytes(pcr, "pcrs") for pcr in _listed(parts["pcrs"])]))


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) not in (0, PCR_COUNT):
        raise malformed("pcrs", "must be 24 values, or none", expected=PCR_COUNT,
                        got=len(value) if isinstance(value, list) else type(value).__name__)
    return value


def _pcrs(values: list[bytes]) -> tuple[bytes, ...]:
    if any(len(value) != _PCR_SIZE for value in values):
        raise malformed("pcrs", "must be of the SHA-256 bank", expected=f"{_PCR_SIZE} bytes")
    return tuple(values)


def exactly(value: object, field: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """``value`` if it is an object with these members and no others."""
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise malformed(field, "must have exactly these members", expected=sorted(names),
                        got=sorted(value)[:8] if isinstance(value, Mapping) else type(value).__name__)
    return value


def integers(value: object, field: str, limit: int) -> bytes:
    """Bytes of an array of integers 0 to 255, at most ``limit`` of them. Raises `MalformedEvidence`."""
    if not isinstance(value, list) or len(value) > limit:
        raise malformed(field, "must be a short array of integers", expected=f"<= {limit}",
                        got=len(value) if isinstance(value, list) else type(value).__name__)
    if any(type(item) is not int or not 0 <= item <= 255 for item in value):
        raise malformed(field, "must hold integers from 0 to 255")
    return bytes(value)


def url_bytes(value: object, field: str, limit: int) -> bytes:
    """Bytes of canonical base64url, padded as a whole or not at all. Raises `MalformedEvidence`."""
    if not isinstance(value, str) or len(value) > 4 * (limit + 2) // 3 + 2:
        raise malformed(field, "must be base64url text of a bounded size", expected=f"<= {limit} bytes",
                        got=len(value) if isinstance(value, str) else type(value).__name__)
    padded = value.endswith("=") and len(value) % 4 == 0 and len(value) - len(value.rstrip("=")) <= 2
    data = base64_bytes(value.rstrip("=") if padded else value, field, url=True)
    _bound(data, field, limit)
    return data


def _bound(data: bytes, field: str, limit: int) -> None:
    if len(data) > limit:
        raise malformed(field, "is too large", expected=f"<= {limit} bytes", got=len(data))


def malformed(field: str, detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    """An error about a member."""
    return MalformedEvidence("format.az_json", f"{field} {detail}", expected=expected, got=got)
