"""Folders with Azure evidence: parts or JSON, told by their names, of one kind of hardware or the other."""

from __future__ import annotations

import json

import pytest

from tests.verifier.azure_cases import JSON, AzureCase, azure_case
from verifier.collateral.files import load
from verifier.errors import EvidenceError, MalformedEvidence
from verifier.evidence import Tee
from verifier.loose import az_snp_vtpm, az_tdx_vtpm
from verifier.loose.folder import read

BOTH = pytest.mark.parametrize("kind", ["snp", "tdx"])
MODULES = {Tee.AZ_SNP_VTPM: az_snp_vtpm, Tee.AZ_TDX_VTPM: az_tdx_vtpm}


def files_of(case: AzureCase) -> dict[str, bytes]:
    parts = case.parts
    return {
        "hcl_report.bin": parts.hcl_report, "tpm_quote.msg": parts.tpm_quote.message,
        "tpm_quote.sig": parts.tpm_quote.signature, "pcrs_sha256.json": json.dumps(
            [pcr.hex() for pcr in parts.tpm_quote.pcrs]).encode(),
        "vcek.der" if case.tee is Tee.AZ_SNP_VTPM else "td_quote.bin": parts.endorsement,
        "ak_cert.der": case.maker.certificate("ak"),
    }


def assemble(case: AzureCase, files: dict[str, bytes]):
    return MODULES[case.tee].assemble(files)


@BOTH
def test_a_folder_of_parts_and_its_collateral_are_accepted(tmp_path, kind):
    case = azure_case(kind)
    for name, data in (files_of(case) | case.maker.collateral_files()).items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "runtime_claims.json").write_bytes(b"not read")
    evidence = read(tmp_path)
    assert evidence.tee is case.tee
    again = AzureCase(case.maker, evidence=evidence, collateral=load([tmp_path]))
    assert again.verdict().accepted, again.verdict().error


@BOTH
def test_a_folder_with_the_json_is_as_good(tmp_path, kind):
    case = azure_case(kind)
    (tmp_path / "evidence-v1.json").write_text(json.dumps(JSON[case.tee].evidence_to_json(case.sent)))
    assert read(tmp_path) == case.sent
    assert read(tmp_path, case.tee) == case.sent


@BOTH
def test_the_other_kind_says_not_mine(kind):
    case = azure_case(kind)
    other = az_tdx_vtpm if kind == "snp" else az_snp_vtpm
    assert other.assemble(files_of(case)) is None
    told = json.dumps(JSON[case.tee].evidence_to_json(case.sent)).encode()
    assert other.assemble({"evidence-v1.json": told}) is None
    assert other.assemble({"tpm_quote.msg": b"", "ak_cert.der": b""}) is None
    assert other.assemble({"hcl_report.bin": case.parts.hcl_report, "evidence-v1.json": told}) is None


@BOTH
def test_parts_that_are_not_there_are_not_made_up(kind):
    case = azure_case(kind)
    bare = assemble(case, {"hcl_report.bin": case.parts.hcl_report})
    told = JSON[case.tee].parts_of(bare)
    assert (told.tpm_quote, told.endorsement, bare.certificates) == (None, None, ())
    files = files_of(case)
    del files["pcrs_sha256.json"]
    assert JSON[case.tee].parts_of(assemble(case, files)).tpm_quote.pcrs == ()


@BOTH
@pytest.mark.parametrize("change", [
    {"tpm_quote.sig": None}, {"tpm_quote.msg": None}, {"pcrs_sha256.json": b"[]"}, {"pcrs_sha256.json": b"{}"},
    {"pcrs_sha256.json": b"["}, {"pcrs_sha256.json": json.dumps(["00"] * 24).encode()},
    {"pcrs_sha256.json": json.dumps([5] * 24).encode()}, {"hcl_report.bin": b""}, {"hcl_report.bin": b"HCLA"},
    {"hclreport.bin": b"another"},
], ids=str)
def test_wrong_contents_raise(kind, change):
    files = files_of(azure_case(kind)) | change
    with pytest.raises(MalformedEvidence):
        assemble(azure_case(kind), {name: data for name, data in files.items() if data is not None})


def test_copies_under_two_names_are_one():
    case = azure_case()
    files = files_of(case)
    assert assemble(case, files | {"hcl-report.bin": files["hcl_report.bin"]}) == assemble(case, files)


@pytest.mark.parametrize("tee", MODULES)
def test_every_name_with_any_contents_is_read_or_refused_with_a_documented_error(tee):
    for name in MODULES[tee].NAMES:
        for data in (b"", b"{}", b"[]", b"\xff" * 40, b"HCLA" + bytes(3000), b'{"vcek":1}', b'{"td_quote":1}'):
            try:
                found = MODULES[tee].assemble({name: data})
            except EvidenceError:
                continue
            assert found is None
