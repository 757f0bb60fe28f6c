"""Folders of captured CSV evidence.

    evidence.json             the guest's own JSON; all of it
    report.cert, report.bin   a raw report, 2548, 4096 or 4116 bytes; or the TEE info alone (336 bytes) beside pek.cert
    pek.cert                  the PEK's certificate, which must be the report's
    ccel.bin                  the guest's event log
    hrk.cert, hsk_cek.cert    endorsements, which are collateral

Without a file of its own kind the folder is another TEE's: ``evidence.json`` and ``report.bin`` are used by others too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import csv_json
from verifier.formats.csv_report import SIZES, TEE_INFO_SIZE, CsvReport
from verifier.formats.hygon_cert import CsvCertificate
from verifier.formats.strict import json_object

NAMES = ("evidence.json", "report.cert", "report.bin", "pek.cert", "ccel.bin", "hrk.cert", "hsk_cek.cert")

_MEMBERS = {"attestation_report", "serial_number"}
_UNTOLD = bytes(64 + 32 + 32)  # serial number, reserved bytes and HMAC


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The evidence in ``files``, None when they are another TEE's. Raises `EvidenceError`."""
    evidence = _from_json(files.get("evidence.json"))
    if evidence is None:
        report = _report(files)
        evidence = None if report is None else Evidence(Tee.CSV, report.to_bytes())
    if evidence is None:
        return None
    _check_pek(evidence, files.get("pek.cert"))
    log = files.get("ccel.bin")
    return replace(evidence, event_log=log) if evidence.event_log is None and log is not None else evidence


def _from_json(data: bytes | None) -> Evidence | None:
    if data is None:
        return None
    try:
        value = json_object(data, "evidence.json")
    except MalformedEvidence:
        return None
    return csv_json.evidence_from_json(value) if set(value) >= _MEMBERS else None


def _report(files: Mapping[str, bytes]) -> CsvReport | None:
    data = files.get("report.cert")
    if data is None:
        data = files.get("report.bin")
        if data is None or len(data) not in (*SIZES, TEE_INFO_SIZE):
            return None
    if len(data) == TEE_INFO_SIZE and "pek.cert" in files:
        pek = CsvCertificate.from_bytes(files["pek.cert"])
        return CsvReport.from_bytes(data + pek.to_bytes() + _UNTOLD)
    return CsvReport.from_bytes(data)


def _check_pek(evidence: Evidence, pek: bytes | None) -> None:
    if pek is not None and pek != CsvReport.from_bytes(evidence.quote).signer.pek:
        raise MalformedEvidence("format.csv_folder", "pek.cert is not the certificate in the report")
