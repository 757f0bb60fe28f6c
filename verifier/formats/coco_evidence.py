"""Evidence in the JSON that Confidential Containers guests send, and evidence told by its bytes.

    tdx     {"quote": base64, "cc_eventlog": base64 | null}
    sgx     {"quote": base64}
    sample  {"svn": text, "report_data": base64}
    others  the module in `FORMS`, which has ``evidence_from_json`` and ``evidence_to_json``

Raw evidence needs no wrapper: its first bytes tell what it is. What the bytes say of their kind only picks the parser;
a recipe refuses evidence of another TEE.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from verifier.errors import MalformedEvidence, UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import ATT_KEY_ECDSA_P256, TEE_TYPE_TDX
from verifier.formats.snp_report import SIZE as SNP_REPORT_SIZE
from verifier.formats.snp_report import VERSIONS as SNP_REPORT_VERSIONS
from verifier.formats.strict import base64_bytes, json_object

# Each offers ``evidence_from_json(value)``, ``evidence_to_json(evidence)`` and is loaded when it is first needed.
FORMS = {
    Tee.SNP: "verifier.formats.snp_json", Tee.AZ_SNP_VTPM: "verifier.formats.az_snp_json",
    Tee.AZ_TDX_VTPM: "verifier.formats.az_tdx_json", Tee.TPM: "verifier.formats.tpm_json",
    Tee.CCA: "verifier.formats.cca_json", Tee.CSV: "verifier.formats.csv_json",
    Tee.NVIDIA: "verifier.formats.nvidia_json", Tee.NITRO: "verifier.formats.nitro_json",
}

# By which members evidence JSON is told when nobody says what it is: the first row whose names are all there.
_MEMBERS = (
    (frozenset({"hcl_report", "td_quote"}), Tee.AZ_TDX_VTPM), (frozenset({"hcl_report", "vcek"}), Tee.AZ_SNP_VTPM),
    (frozenset({"report", "td_quote"}), Tee.AZ_TDX_VTPM), (frozenset({"report", "vcek", "quote"}), Tee.AZ_SNP_VTPM),
    (frozenset({"ak_public"}), Tee.TPM), (frozenset({"device_evidence_list"}), Tee.NVIDIA),
    (frozenset({"detached_eat"}), Tee.NVIDIA),
    (frozenset({"attestation_report", "serial_number"}), Tee.CSV), (frozenset({"token"}), Tee.CCA),
    (frozenset({"document"}), Tee.NITRO), (frozenset({"attestation_report"}), Tee.SNP),
    (frozenset({"svn", "report_data"}), Tee.SAMPLE),
)

# First bytes: a CBOR collection with tag 399 (CCA); a COSE_Sign1 with an ES384 header, tagged or not (Nitro).
_CCA = bytes.fromhex("d9018f")
_NITRO = (bytes.fromhex("8444a1013822"), bytes.fromhex("d28444a1013822"))
_CSV_REPORT_SIZES = (2548, 4096)


def evidence_from_json(tee: Tee, value: Any) -> Evidence:
    """`Evidence` of ``tee`` from its decoded JSON object. Raises `EvidenceError`."""
    if not isinstance(value, Mapping):
        raise _malformed("evidence must be an object", expected="object", got=type(value).__name__)
    if tee in FORMS:
        found: Evidence = import_module(FORMS[tee]).evidence_from_json(value)
        return found
    if tee is Tee.SAMPLE:
        return Evidence(tee, json.dumps(dict(value)).encode())
    allowed = {"quote", "cc_eventlog"} if tee is Tee.TDX else {"quote"}
    if "quote" not in value or set(value) - allowed:
        raise _malformed("evidence has missing or unknown members", expected=sorted(allowed), got=sorted(value)[:8])
    log = value.get("cc_eventlog")
    return Evidence(tee, base64_bytes(value["quote"], "quote"),
                    event_log=None if log is None else base64_bytes(log, "cc_eventlog"))


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The JSON object of ``evidence``; `evidence_from_json` gives it back."""
    if evidence.tee in FORMS:
        told: dict[str, Any] = import_module(FORMS[evidence.tee]).evidence_to_json(evidence)
        return told
    if evidence.tee is Tee.SAMPLE:
        return json_object(evidence.quote, "sample evidence")
    value: dict[str, Any] = {"quote": _base64(evidence.quote)}
    if evidence.tee is Tee.TDX:
        value["cc_eventlog"] = None if evidence.event_log is None else _base64(evidence.event_log)
    return value


def read(data: bytes, tee: Tee | None = None) -> Evidence:
    """Raw or JSON evidence; ``tee`` None lets the bytes tell. Raises `EvidenceError`."""
    if data.lstrip()[:1] == b"{":
        value = json_object(data, "evidence")
        return evidence_from_json(tee or _tee_of_json(value), value)
    return Evidence(tee or tee_of_bytes(data), data)


def tee_of_bytes(data: bytes) -> Tee:
    """The TEE whose raw evidence begins like ``data``. Raises `UnsupportedEvidence`."""
    head = data[:8]
    version, key_type, tee_type = (int.from_bytes(head[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8)))
    if len(head) == 8 and key_type == ATT_KEY_ECDSA_P256:
        return Tee.TDX if version > 3 and tee_type == TEE_TYPE_TDX else Tee.SGX
    if data.startswith(_CCA):
        return Tee.CCA
    if data.startswith(_NITRO):
        return Tee.NITRO
    if version in SNP_REPORT_VERSIONS and key_type == 0 and len(data) >= SNP_REPORT_SIZE // 2:
        return Tee.SNP
    if len(data) in _CSV_REPORT_SIZES:
        return Tee.CSV
    raise UnsupportedEvidence("evidence.kind", "not the raw evidence of any TEE, nor evidence JSON", got=head)


def _tee_of_json(value: Mapping[str, Any]) -> Tee:
    for names, tee in _MEMBERS:
        if names <= set(value):
            return tee
    return tee_of_bytes(base64_bytes(value.get("quote"), "quote"))


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("evidence.json", detail, expected=expected, got=got)
