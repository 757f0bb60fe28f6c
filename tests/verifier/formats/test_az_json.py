"""Azure evidence in JSON: versions 0, 1 and 2, the one canonical text, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.azure_cases import JSON, azure_case
from verifier.errors import EvidenceError, MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import az_snp_json, az_tdx_json, coco_evidence
from verifier.formats.az_json import url_bytes
from verifier.formats.strict import base64url
from verifier.loose.folder import read as read_folder
from verifier.software_tee import certificates as x509

BOTH = pytest.mark.parametrize("kind", ["snp", "tdx"])
RECORDED = {
    "azure/snp-trustee-v0": "evidence-v0.json", "azure/snp-trustee-v1": "evidence-v1.json",
    "azure/snp-trustee-v2": "evidence-v2.json", "azure/snp-trustee-genoa": "evidence-genoa.json",
    "azure/snp-confdotai-milan-v3": "milan-v3-attestation.json", "azure/tdx-confdotai-live": "live-evidence.json",
    "azure/tdx-trustee-v0": "evidence-v0.json",
}


def members(kind: str = "snp") -> dict:
    case = azure_case(kind)
    return JSON[case.tee].evidence_to_json(replace(case.sent, certificates=()))


def read(value: dict, kind: str = "snp") -> Evidence:
    return JSON[azure_case(kind).tee].evidence_from_json(value)


@BOTH
@pytest.mark.parametrize("certificates", [True, False])
def test_json_gives_the_evidence_back(kind, certificates):
    sent = azure_case(kind).sent
    evidence = sent if certificates else replace(sent, certificates=())
    value = json.loads(json.dumps(coco_evidence.evidence_to_json(evidence)))
    assert coco_evidence.evidence_from_json(evidence.tee, value) == evidence
    assert set(value) == {"version", "tpm_quote", "hcl_report", "vcek" if kind == "snp" else "td_quote",
                          *(["certificates"] if certificates else [])}
    assert coco_evidence.read(json.dumps(value).encode()) == evidence


@pytest.mark.parametrize(("name", "file"), RECORDED.items(), ids=RECORDED)
def test_recorded_json_of_each_version_is_the_evidence_of_its_parts(corpus, name, file):
    folder = corpus.folder(name)
    module = az_snp_json if "/snp-" in name else az_tdx_json
    evidence = module.evidence_from_json(json.loads((folder / file).read_text()))
    assert module.parts_of(evidence) == module.parts_of(read_folder(folder))
    assert evidence.certificates == ()
    assert module.evidence_from_json(module.evidence_to_json(evidence)) == evidence


def integers(data: bytes) -> list[int]:
    return list(data)


def version_0(kind: str) -> dict:
    parts = azure_case(kind).parts
    quote = {"message": integers(parts.tpm_quote.message), "signature": integers(parts.tpm_quote.signature),
             "pcrs": [integers(pcr) for pcr in parts.tpm_quote.pcrs]}
    if kind == "snp":
        return {"quote": quote, "report": integers(parts.hcl_report), "vcek": x509.pem(parts.endorsement).decode()}
    return {"tpm_quote": quote, "hcl_report": integers(parts.hcl_report), "td_quote": integers(parts.endorsement)}


@BOTH
def test_the_versions_are_one_evidence(kind):
    one = read(members(kind), kind)
    assert read(version_0(kind), kind) == one
    assert read(members(kind) | {"version": 2}, kind) == one
    platform = "az-snp" if kind == "snp" else "az-tdx"
    assert read({"platform": platform, "evidence": members(kind)}, kind) == one
    with pytest.raises(MalformedEvidence):
        read({"platform": "az-other", "evidence": members(kind)}, kind)


@BOTH
def test_parts_that_nobody_recorded_are_null(kind):
    last = "vcek" if kind == "snp" else "td_quote"
    module = az_snp_json if kind == "snp" else az_tdx_json
    told = module.parts_of(read(members(kind) | {"tpm_quote": None, last: None}, kind))
    assert (told.tpm_quote, told.endorsement) == (None, None)
    assert module.parts_of(module.evidence_of(told)) == told


@BOTH
def test_a_missing_or_a_further_member_is_refused(kind):
    good = members(kind)
    for name in good:
        with pytest.raises(MalformedEvidence):
            read({key: value for key, value in good.items() if key != name}, kind)
    with pytest.raises(MalformedEvidence, match=r"^format\.az_json: "):
        read(good | {"more": 1}, kind)
    zero = version_0(kind)
    for name in zero:
        with pytest.raises(MalformedEvidence):
            read({key: value for key, value in zero.items() if key != name}, kind)
    for name in ("message", "signature", "pcrs"):
        quote = {key: value for key, value in good["tpm_quote"].items() if key != name}
        with pytest.raises(MalformedEvidence):
            read(good | {"tpm_quote": quote}, kind)


@pytest.mark.parametrize("change", [
    {"version": 0}, {"version": 3}, {"version": "1"}, {"version": True}, {"version": 1.0}, {"version": None},
    {"hcl_report": None}, {"hcl_report": 5}, {"hcl_report": []}, {"hcl_report": "AA=A"}, {"hcl_report": "A==="},
    {"hcl_report": "AB"}, {"hcl_report": "AA="}, {"hcl_report": "++++"}, {"hcl_report": " AAAA"}, {"vcek": "A" * 90000},
    {"vcek": []}, {"tpm_quote": []}, {"tpm_quote": "x"}, {"certificates": None}, {"certificates": "AAAA"},
    {"certificates": ["AAAA"] * 17}, {"certificates": [5]}, {"hcl_report": "A" * 22000},
])
def test_a_member_of_another_kind_is_refused(change):
    with pytest.raises(MalformedEvidence, match=r"^(format\.az_json|format\.base64): "):
        read(members() | change)


@pytest.mark.parametrize("change", [
    {"message": None}, {"message": "0"}, {"message": "zz"}, {"message": "00" * 1025}, {"signature": "00" * 513},
    {"signature": []}, {"pcrs": None}, {"pcrs": ["00" * 32] * 23}, {"pcrs": ["00" * 32] * 25},
    {"pcrs": ["00" * 31] * 24}, {"pcrs": ["00" * 20] * 24}, {"pcrs": ["00" * 48] * 24}, {"pcrs": [5] * 24},
    {"pcrs": {"0": "00" * 32}},
])
def test_a_member_of_the_quote_of_another_kind_is_refused(change):
    good = members()
    with pytest.raises(MalformedEvidence, match=r"^(format\.az_json|format\.hex): "):
        read(good | {"tpm_quote": good["tpm_quote"] | change})


@pytest.mark.parametrize("change", [
    {"report": "AAAA"}, {"report": [256]}, {"report": [-1]}, {"report": [True]}, {"report": [1.0]},
    {"report": [0] * 20000},
    {"vcek": None}, {"vcek": ""}, {"vcek": "AAAA"}, {"vcek": "x" * 40000}, {"quote": None},
    {"vcek": "-----BEGIN CERTIFICATE-----\nA===\n-----END CERTIFICATE-----\n"},
])
def test_version_0_of_another_shape_is_refused(change):
    with pytest.raises(MalformedEvidence, match=r"^(format\.az_json|format\.base64): "):
        read(version_0("snp") | change)


def test_version_0_has_one_certificate():
    zero = version_0("snp")
    with pytest.raises(MalformedEvidence, match=r"^format\.az_json: "):
        read(zero | {"vcek": zero["vcek"] * 2})


@given(st.binary(max_size=40))
def test_base64url_is_read_with_all_of_its_padding_or_with_none(data):
    text = base64url(data)
    full = text + "=" * (-len(text) % 4)
    assert url_bytes(text, "x", 40) == url_bytes(full, "x", 40) == data
    for wrong in (full + "=", full + "====", text + "\n", " " + text):
        with pytest.raises(MalformedEvidence):
            url_bytes(wrong, "x", 40)


@BOTH
def test_truncated_text_is_refused(kind):
    sent = azure_case(kind).sent
    for size in range(0, len(sent.quote), 5):
        with pytest.raises(MalformedEvidence, match=r"^format\.json: "):
            JSON[sent.tee].parts_of(replace(sent, quote=sent.quote[:size]))


@pytest.mark.parametrize("tee", JSON)
def test_raw_bytes_are_not_this_evidence(tee):
    for data in (b"", b"HCLA", bytes(2600), b"[]", b"null", b'{"a":1,"a":1}'):
        with pytest.raises(EvidenceError, match=r"^format\.json: "):
            JSON[tee].parts_of(Evidence(tee, data))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.text("AQab09-_=", max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["version", "tpm_quote", "quote", "report", "hcl_report", "vcek", "td_quote", "message", "signature", "pcrs",
         "platform", "evidence", "certificates"]), inner, max_size=6), max_leaves=20)


@given(tee=st.sampled_from([Tee.AZ_SNP_VTPM, Tee.AZ_TDX_VTPM]),
       value=st.dictionaries(st.sampled_from(["version", "tpm_quote", "quote", "report", "hcl_report", "vcek",
                                              "td_quote", "platform", "evidence", "certificates"]), VALUES))
def test_any_json_is_read_or_refused_with_a_documented_error(tee, value):
    try:
        evidence = JSON[tee].evidence_from_json(value)
    except EvidenceError:
        return
    assert JSON[tee].evidence_from_json(JSON[tee].evidence_to_json(evidence)) == evidence
