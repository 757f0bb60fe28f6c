"""Every recorded CSV case against its index entry: verdict and claims."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.collateral.files import load
from verifier.collateral.hygon_files import recognise
from verifier.endorsements.collateral import Collateral, HygonCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Tee
from verifier.formats.csv_report import CsvReport
from verifier.loose import csv, folder
from verifier.results.verdict import jsonable
from verifier.verify import verify

AT = 1_750_000_000


def files(home):
    return {name: (home / name).read_bytes() for name in csv.NAMES if (home / name).is_file()}


def collateral(found):
    pieces = [recognise(data) for name, data in found.items() if name.endswith(".cert")]
    return Collateral(hygon=HygonCollateral().with_all_of([piece for piece in pieces if piece is not None]))


def judge(home, *, evidence=None, supplied=None, binding=None):
    found = files(home)
    return verify(evidence or csv.assemble(found), collateral=collateral(found) if supplied is None else supplied,
                  roots=Roots.makers(), at=AT, binding=binding or Binding.insecure_unbound())


def told(claims, expected):
    """The claims that the index names; the serial number is told where nobody takes it for signed."""
    flat = jsonable(claims)
    flat |= flat.get("unverified", {})
    return {name: flat.get(name) for name in expected}


@pytest.mark.corpus("hygon-csv")
def test_each_case_gives_the_verdict_of_the_index(corpus, case):
    verdict = judge(corpus.folder(case))
    if case["expected"]["verdict"] == "valid":
        assert (verdict.authentic, verdict.accepted, verdict.error) == (True, True, None)
        assert verdict.claims.software is False
        return
    assert "INCOMPLETE" in case["expected"]["verdict"]
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.hygon.cek")
    assert [check.id for check in verdict.checks if not check.ok] == []
    assert "csv.report.signature" in {check.id for check in verdict.checks}


@pytest.mark.corpus("hygon-csv")
def test_each_case_makes_the_claims_of_the_index(corpus, case):
    verdict = judge(corpus.folder(case))
    claims = verdict.claims.named() if verdict.claims else verdict.unverified
    expected = {name: value for name, value in case["expected"]["claims"].items() if name != "cc_eventlog"}
    if verdict.claims is None:
        expected.pop("pek")  # nobody vouches for it, so nothing is told of it
    assert told(claims, expected) == expected


@pytest.mark.corpus("hygon-csv")
def test_the_hmac_is_there_where_the_index_says_so(corpus, case):
    report = CsvReport.from_bytes(csv.assemble(files(corpus.folder(case))).quote)
    told_so = case["expected"]["checks"].get("hmac_sm3_of_signer_with_mnonce", False)
    assert report.as_firmware_wrote_it is told_so
    mac = next(check for check in judge(corpus.folder(case)).checks if check.id == "csv.report.mac")
    assert mac.detail.startswith("the HMAC" if told_so else "the guest library")


@pytest.mark.corpus("hygon-csv")
def test_a_broken_report_is_refused_with_and_without_its_chain(corpus, case):
    home = corpus.folder(case)
    evidence = csv.assemble(files(home))
    for position in (0, 0x45, 0x99, 0xB1, 0xC3, 0x10A):
        quote = bytearray(evidence.quote)
        quote[position] ^= 4
        verdict = judge(home, evidence=replace(evidence, quote=bytes(quote)))
        assert (verdict.authentic, verdict.error.id) == (False, "csv.report.signature")


@pytest.mark.parametrize("name", ["csv/trustee-v1-csv3", "csv/trustee-v1-old-wrapper"])
def test_the_chain_of_another_chip_is_refused(corpus, name):
    other = files(corpus.folder("csv/csvrs-v1-full-chain"))
    verdict = judge(corpus.folder(name), supplied=collateral(other))
    assert (verdict.authentic, verdict.error.id) == (False, "csv.pek.signature")


def test_genuine_evidence_is_bound_to_its_report_data_only(corpus):
    home = corpus.folder("csv/csvrs-v1-full-chain")
    data = b"user data".ljust(64, b"\x00")
    assert judge(home, binding=Binding(data)).accepted
    for wrong in (b"user data", data[:63], data + b"\x00", bytes(64)):
        assert not judge(home, binding=Binding(wrong)).accepted


def test_genuine_evidence_needs_hygons_root(corpus):
    found = files(corpus.folder("csv/csvrs-v1-full-chain"))
    evidence = csv.assemble(found)
    for roots, authentic in ((Roots(()), False), (Roots.only_software([found["hrk.cert"]]), True)):
        verdict = verify(evidence, collateral=collateral(found), roots=roots, at=AT, binding=Binding.insecure_unbound())
        assert verdict.authentic is authentic
        if authentic:
            assert verdict.claims.software is True
        else:
            assert verdict.error.id == "csv.chain.root"


def test_a_recorded_root_that_was_tampered_with_is_refused(corpus):
    found = files(corpus.folder("csv/csvrs-v1-full-chain"))
    hrk = bytearray(found["hrk.cert"])
    hrk[100] ^= 1
    verdict = judge(corpus.folder("csv/csvrs-v1-full-chain"), supplied=collateral(found | {"hrk.cert": bytes(hrk)}))
    assert (verdict.authentic, verdict.error.id) == (False, "csv.chain.root")


@pytest.mark.corpus("hygon-csv")
def test_a_recorded_folder_is_told_by_its_files(corpus, case):
    """As the command line reads it: evidence and collateral from one folder."""
    path = corpus.folder(case)
    evidence = folder.read(path)
    assert evidence == folder.read(path, Tee.CSV) == csv.assemble(files(path))
    verdict = verify(evidence, collateral=load([path]), roots=Roots.makers(), at=AT, binding=Binding.insecure_unbound())
    assert verdict.authentic is judge(path).authentic
