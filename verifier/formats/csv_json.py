"""CSV evidence as Confidential Containers put it into JSON.

    {"attestation_report": {"magic": [16], "flags": int, "data": [4096]},
     "cert_chain": {"pek": {...}, "hsk_cek": {"hsk": {...}, "cek": {...}}},
     "serial_number": [64], "cc_eventlog": base64 | null}

Arrays list byte values; certificates are structures of `verifier.formats.hygon_serde`; ``hsk_cek`` may be missing.
Older guests put the TEE info's own structure (``body``, ``sig_usage``, ``sig_algo``, ``anonce``, ``sig``) where the
report is, and no event log. Either way `Evidence.quote` is the report in the bytes of `CsvReport`, which holds PEK and
serial number too, and `Evidence.certificates` are HSK and CEK. What the JSON says twice must be the same.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from verifier.evidence import Evidence, Tee
from verifier.formats.csv_report import BUFFER_SIZE, SIZE, WRAPPER_SIZE, CsvReport
from verifier.formats.hygon_cert import CA_SIZE
from verifier.formats.hygon_cert import SIZE as CERTIFICATE_SIZE
from verifier.formats.hygon_serde import (
    CA_CERTIFICATE,
    CERTIFICATE,
    SERIAL_NUMBER,
    TEE_INFO_1,
    WRAPPER,
    malformed,
    members_of,
    packed,
    structure,
)
from verifier.formats.strict import base64_bytes

_OLD = "body"  # the member that only the older structure has
_UNTOLD = bytes(64)  # reserved bytes and HMAC, which the older form leaves out


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object. Raises `EvidenceError`."""
    members = members_of(value, "evidence", {"attestation_report", "cert_chain", "serial_number"}, {"cc_eventlog"})
    chain = members_of(members["cert_chain"], "cert_chain", {"pek"}, {"hsk_cek"})
    pek = packed(chain["pek"], CERTIFICATE, "pek")
    serial_number = packed(members["serial_number"], SERIAL_NUMBER, "serial_number")
    report = _report(members["attestation_report"], pek, serial_number)
    log = members.get("cc_eventlog")
    return Evidence(Tee.CSV, report.to_bytes(), _hsk_cek(chain.get("hsk_cek")),
                    None if log is None else base64_bytes(log, "cc_eventlog"))


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The object that today's guests make of ``evidence``; `evidence_from_json` gives it back.

    Raises `MalformedEvidence` when the certificates are neither none nor one HSK and one CEK.
    """
    report = CsvReport.from_bytes(evidence.quote)
    chain: dict[str, Any] = {"pek": structure(report.signer.pek, CERTIFICATE)}
    if evidence.certificates:
        chain["hsk_cek"] = _hsk_cek_structure(evidence.certificates)
    log = evidence.event_log
    return {
        "attestation_report": structure(_wrapped(report), WRAPPER), "cert_chain": chain,
        "serial_number": list(report.signer.serial_number),
        "cc_eventlog": None if log is None else b64encode(log).decode(),
    }


def _report(value: object, pek: bytes, serial_number: bytes) -> CsvReport:
    if isinstance(value, Mapping) and _OLD in value:
        info = packed(value, TEE_INFO_1, "attestation_report")
        return CsvReport.from_bytes(info + pek + serial_number + _UNTOLD)
    report = CsvReport.from_bytes(packed(value, WRAPPER, "attestation_report"))
    for field, outside, inside in (("pek", pek, report.signer.pek),
                                   ("serial_number", serial_number, report.signer.serial_number)):
        if outside != inside:
            raise malformed(field, "differs from the one in the report", expected=inside[:64], got=outside[:64])
    return report


def _wrapped(report: CsvReport) -> bytes:
    """With magic and flags, which reports of version 1 do without: theirs are zeros."""
    data = report.to_bytes()
    return bytes(WRAPPER_SIZE - BUFFER_SIZE) + data.ljust(BUFFER_SIZE, b"\x00") if len(data) == SIZE else data


def _hsk_cek(value: object) -> tuple[bytes, ...]:
    if value is None:
        return ()
    pair = members_of(value, "hsk_cek", {"hsk", "cek"})
    return packed(pair["hsk"], CA_CERTIFICATE, "hsk"), packed(pair["cek"], CERTIFICATE, "cek")


def _hsk_cek_structure(certificates: tuple[bytes, ...]) -> dict[str, Any]:
    """Of two certificates, or of both in one piece as the key server gives them."""
    joined = b"".join(certificates)
    if len(joined) != CA_SIZE + CERTIFICATE_SIZE:
        raise malformed("cert_chain", "must be one HSK and one CEK", expected=CA_SIZE + CERTIFICATE_SIZE,
                        got=len(joined))
    return {"hsk": structure(joined[:CA_SIZE], CA_CERTIFICATE), "cek": structure(joined[CA_SIZE:], CERTIFICATE)}
