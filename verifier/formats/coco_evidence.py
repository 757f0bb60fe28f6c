"""Evidence in the JSON that Confidential Containers guests send, and evidence told by its bytes.

    tdx     {"quote": base64, "cc_eventlog": base64 | null}
    sgx     {"quote": base64}
    snp     see `verifier.formats.snp_json`
    sample  {"svn": text, "report_data": base64}

Raw evidence needs no wrapper: a quote and an attestation report are told apart by their first bytes. What the bytes say
of their kind only picks the parser; a recipe refuses evidence of another TEE.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from verifier.errors import MalformedEvidence, UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import ATT_KEY_ECDSA_P256, TEE_TYPE_TDX
from verifier.formats.snp_json import evidence_from_json as snp_from_json
from verifier.formats.snp_json import evidence_to_json as snp_to_json
from verifier.formats.snp_report import SIZE as SNP_REPORT_SIZE
from verifier.formats.snp_report import VERSIONS as SNP_REPORT_VERSIONS
from verifier.formats.strict import base64_bytes, json_object


def evidence_from_json(tee: Tee, value: Any) -> Evidence:
    """`Evidence` of ``tee`` from its decoded JSON object. Raises `EvidenceError`."""
    if not isinstance(value, Mapping):
        raise _malformed("evidence must be an object", expected="object", got=type(value).__name__)
    if tee is Tee.SNP:
        return snp_from_json(value)
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
    if evidence.tee is Tee.SNP:
        return snp_to_json(evidence)
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
    """SGX, TDX or SNP by the first bytes and the length. Raises `UnsupportedEvidence`."""
    head = data[:8]
    version, key_type, tee_type = (int.from_bytes(head[a:b], "little") for a, b in ((0, 2), (2, 4), (4, 8)))
    if len(head) == 8 and key_type == ATT_KEY_ECDSA_P256:
        return Tee.TDX if version > 3 and tee_type == TEE_TYPE_TDX else Tee.SGX
    if version in SNP_REPORT_VERSIONS and key_type == 0 and len(data) >= SNP_REPORT_SIZE // 2:
        return Tee.SNP
    raise UnsupportedEvidence("evidence.kind", "neither a quote, an SNP report nor evidence JSON", got=head)


def _tee_of_json(value: Mapping[str, Any]) -> Tee:
    if "attestation_report" in value:
        return Tee.SNP
    if set(value) == {"svn", "report_data"}:
        return Tee.SAMPLE
    return tee_of_bytes(base64_bytes(value.get("quote"), "quote"))


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("evidence.json", detail, expected=expected, got=got)
