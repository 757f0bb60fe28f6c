"""Folders of CSV evidence, and folders that are another TEE's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from verifier.errors import EvidenceError
from verifier.evidence import Evidence, Tee
from verifier.formats.csv_json import evidence_to_json
from verifier.formats.csv_report import CsvReport
from verifier.loose.csv import NAMES, assemble
from verifier.software_tee.hygon import SmallHygon

HYGON = SmallHygon.create(b"folders of a small Hygon", at=1)
REPORT = HYGON.report(1, HYGON.info(1))
EVIDENCE = Evidence(Tee.CSV, REPORT)
PEK = HYGON.certificate("pek")
JSON = json.dumps(evidence_to_json(EVIDENCE)).encode()
RAW = replace(HYGON, raw=True).report(1, HYGON.info(1))


@pytest.mark.parametrize(("found", "expected"), [
    ({"report.cert": REPORT}, EVIDENCE),
    ({"report.cert": RAW, "pek.cert": PEK, "hrk.cert": b"whatever"}, replace(EVIDENCE, quote=RAW)),
    ({"report.bin": REPORT}, EVIDENCE),
    ({"report.bin": REPORT.ljust(4096, b"\x00")}, EVIDENCE),
    ({"evidence.json": JSON}, EVIDENCE),
    ({"evidence.json": JSON, "report.bin": b"some of it", "pek.cert": PEK}, EVIDENCE),
    ({"evidence.json": b'{"report": 1}', "report.cert": REPORT}, EVIDENCE),
    ({"report.cert": REPORT, "ccel.bin": b"log"}, replace(EVIDENCE, event_log=b"log")),
    ({"report.cert": HYGON.report(3, HYGON.info(3))}, replace(EVIDENCE, quote=HYGON.report(3, HYGON.info(3)))),
])
def test_a_folder_of_csv_evidence(found, expected):
    assert assemble(found) == expected
    assert set(found) <= set(NAMES)


def test_the_log_in_the_json_is_the_guests_own():
    text = json.dumps(evidence_to_json(replace(EVIDENCE, event_log=b"own"))).encode()
    assert assemble({"evidence.json": text, "ccel.bin": b"other"}).event_log == b"own"


def test_the_tee_info_alone_needs_its_pek():
    evidence = assemble({"report.bin": REPORT[:336], "pek.cert": PEK})
    report = CsvReport.from_bytes(evidence.quote)
    assert report.signed_bytes == REPORT[:0xB4]
    assert report.signer.pek == PEK
    assert report.signer.serial_number == bytes(64)
    with pytest.raises(EvidenceError):
        assemble({"report.bin": REPORT[:336]})


@pytest.mark.parametrize("found", [
    {"report.bin": bytes(1184)}, {"report.bin": b""}, {"ccel.bin": b"log"}, {"hrk.cert": HYGON.certificate("hrk")},
    {"pek.cert": PEK, "hsk_cek.cert": b""}, {"evidence.json": b'{"attestation_report": {}, "cert_chain": null}'},
    {"evidence.json": b"not JSON"}, {"evidence.json": b"[]"}, {},
])
def test_a_folder_of_something_else_is_left_to_others(found):
    assert assemble(found) is None


@pytest.mark.parametrize("found", [
    {"report.cert": b"junk"}, {"report.cert": b""}, {"report.cert": REPORT[:-1]},
    {"report.bin": b"\x01" * 4096}, {"evidence.json": b'{"attestation_report": {}, "serial_number": []}'},
    {"report.cert": REPORT, "pek.cert": HYGON.certificate("cek")}, {"evidence.json": JSON, "pek.cert": b"junk"},
])
def test_a_file_of_its_name_with_other_contents_is_an_error(found):
    with pytest.raises(EvidenceError, match=r"^(format\.csv_folder|format\.csv_json|format\.csv_report): "):
        assemble(found)
