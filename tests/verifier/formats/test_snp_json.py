"""Evidence JSON: every form gives back the bytes that were signed, and no other text gives anything."""

from __future__ import annotations

import base64
import json
import struct
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.snp_json import MAX_CERTIFICATES, evidence_from_json, evidence_to_json
from verifier.formats.snp_report import TcbVersion


def legacy_structure(data: bytes) -> dict:
    """What serde makes of the sev 1 to 4 structure, written from its declaration and not from our tables."""
    def ints(start: int, size: int) -> list[int]:
        return list(data[start : start + size])

    def uint(start: int, layout: str) -> int:
        return struct.unpack_from(layout, data, start)[0]

    def tcb(start: int) -> dict:
        return {"bootloader": data[start], "tee": data[start + 1], "_reserved": ints(start + 2, 4),
                "snp": data[start + 6], "microcode": data[start + 7]}

    return {
        "version": uint(0, "<I"), "guest_svn": uint(4, "<I"), "policy": uint(8, "<Q"), "family_id": ints(0x10, 16),
        "image_id": ints(0x20, 16), "vmpl": uint(0x30, "<I"), "sig_algo": uint(0x34, "<I"),
        "current_tcb": tcb(0x38), "plat_info": uint(0x40, "<Q"), "_author_key_en": uint(0x48, "<I"),
        "_reserved_0": uint(0x4C, "<I"), "report_data": ints(0x50, 64), "measurement": ints(0x90, 48),
        "host_data": ints(0xC0, 32), "id_key_digest": ints(0xE0, 48), "author_key_digest": ints(0x110, 48),
        "report_id": ints(0x140, 32), "report_id_ma": ints(0x160, 32), "reported_tcb": tcb(0x180),
        "_reserved_1": ints(0x188, 24), "chip_id": ints(0x1A0, 64), "committed_tcb": tcb(0x1E0),
        "current_build": data[0x1E8], "current_minor": data[0x1E9], "current_major": data[0x1EA],
        "_reserved_2": data[0x1EB], "committed_build": data[0x1EC], "committed_minor": data[0x1ED],
        "committed_major": data[0x1EE], "_reserved_3": data[0x1EF], "launch_tcb": tcb(0x1F0),
        "_reserved_4": ints(0x1F8, 168),
        "signature": {"r": ints(0x2A0, 72), "s": ints(0x2E8, 72), "_reserved": ints(0x330, 368)},
    }


def refusal(value: object) -> MalformedEvidence:
    with pytest.raises(MalformedEvidence) as caught:
        evidence_from_json(value)
    return caught.value


@pytest.fixture(params=["Milan 2", "Milan 3", "Genoa 4", "Genoa 5", "Turin 2", "Turin 3", "Turin 5"])
def any_evidence(request, snp_case):
    line, version = request.param.split()
    case = snp_case(version=int(version), line=line)
    certificates = case.maker.certificates()
    return Evidence(Tee.SNP, case.maker.report(case.body), certificates)


@pytest.fixture
def modern(snp_case) -> dict:
    """A version 5 report of a Turin in the modern structure."""
    case = snp_case(version=5, line="Turin")
    return evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body), case.maker.certificates()))


@pytest.fixture
def legacy(snp_case) -> dict:
    case = snp_case(version=2)
    return {"attestation_report": legacy_structure(case.maker.report(case.body)), "cert_chain": None}


def test_evidence_comes_back_through_json_text(any_evidence):
    text = json.dumps(evidence_to_json(any_evidence))
    assert evidence_from_json(json.loads(text)) == any_evidence


def test_recorded_reports_come_back_in_every_form(corpus):
    reports = [path.read_bytes() for path in corpus.root.glob("snp/*/report.bin")]
    assert len(reports) >= 19
    for data in reports:
        evidence = Evidence(Tee.SNP, data)
        forms = (evidence_to_json(evidence), {"attestation_report": legacy_structure(data), "cert_chain": None},
                 {"attestation_report": base64.b64encode(data).decode()})
        for form in forms:
            assert evidence_from_json(json.loads(json.dumps(form))) == evidence


@given(st.binary(min_size=1180, max_size=1180))
def test_the_legacy_structure_and_base64_carry_any_report_whole(rest):
    data = (2).to_bytes(4, "little") + rest
    for report in (legacy_structure(data), base64.b64encode(data).decode()):
        assert evidence_from_json({"attestation_report": report}).quote == data


def test_the_structure_is_the_sev_crates(modern):
    report = modern["attestation_report"]
    assert list(report) == [
        "version", "guest_svn", "policy", "family_id", "image_id", "vmpl", "sig_algo", "current_tcb", "plat_info",
        "key_info", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest", "report_id",
        "report_id_ma", "reported_tcb", "cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "chip_id", "committed_tcb",
        "current", "committed", "launch_tcb", "launch_mit_vector", "current_mit_vector", "signature"]
    assert report["reported_tcb"] == {"fmc": 1, "bootloader": 1, "tee": 2, "snp": 4, "microcode": 71}
    assert report["current"] == {"major": 1, "minor": 55, "build": 21}
    assert [entry["cert_type"] for entry in modern["cert_chain"]] == ["VCEK", "ASK", "ARK"]
    assert set(report["signature"]) == {"r", "s"}


def test_before_turin_fmc_is_null_and_version_2_has_no_cpuid(snp_case):
    case = snp_case(version=2)
    report = evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body)))["attestation_report"]
    assert report["reported_tcb"]["fmc"] is None
    assert [report[name] for name in ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector",
                                      "current_mit_vector")] == [None] * 5


def test_mitigation_vectors_may_be_absent_as_in_early_releases(modern):
    early = deepcopy(modern)
    del early["attestation_report"]["launch_mit_vector"], early["attestation_report"]["current_mit_vector"]
    modern["attestation_report"] |= {"launch_mit_vector": 0, "current_mit_vector": 0}
    assert evidence_from_json(early) == evidence_from_json(modern)


def test_a_missing_chain_is_no_chain(modern):
    del modern["cert_chain"]
    assert evidence_from_json(modern).certificates == ()


def test_the_vlek_and_its_ca_are_named_as_the_protocol_names_them(snp_maker, snp_case):
    case = snp_case()
    value = evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body), snp_maker.certificates("vlek")))
    assert [entry["cert_type"] for entry in value["cert_chain"]] == ["VLEK", "ASK", "ARK"]


def test_pem_goes_out_as_der(snp_maker, snp_case):
    case = snp_case()
    value = evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body), (snp_maker.chain("vcek"),)))
    assert evidence_from_json(value).certificates == (snp_maker.certificate("vcek"),)


def test_lists_and_unknown_entries_in_the_chain_are_left_out(modern):
    kept = evidence_from_json(modern).certificates
    modern["cert_chain"] += [{"cert_type": "CRL", "data": [1]}, {"cert_type": "Empty", "data": []},
                             {"cert_type": {"OTHER": "12345678-1234-1234-1234-123456789abc"}, "data": [2]}]
    assert evidence_from_json(modern).certificates == kept


MEMBERS = ["version", "guest_svn", "policy", "family_id", "vmpl", "sig_algo", "current_tcb", "plat_info", "key_info",
           "report_data", "chip_id", "cpuid_fam_id", "current", "launch_tcb", "signature"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_is_refused(modern, name):
    del modern["attestation_report"][name]
    assert refusal(modern).id == "format.snp_json"


@pytest.mark.parametrize("form", ["modern", "legacy"])
def test_every_member_of_either_structure_is_required_and_no_other_is_known(form, request):
    value = request.getfixturevalue(form)
    optional = {"launch_mit_vector", "current_mit_vector"}
    for name in set(value["attestation_report"]) - optional:
        short = deepcopy(value)
        del short["attestation_report"][name]
        assert refusal(short).id == "format.snp_json"
    for name in ("extra", "_author_key_en" if form == "modern" else "key_info"):
        assert refusal(value | {"attestation_report": value["attestation_report"] | {name: 0}}).id == "format.snp_json"
    assert refusal(value | {"extra": None}).id == "format.snp_json"


@pytest.mark.parametrize(("path", "bad"), [
    (("version",), 1 << 32), (("version",), -1), (("version",), True), (("version",), "5"), (("version",), 5.0),
    (("version",), None), (("policy",), 1 << 64), (("policy",), {"0": 1}), (("plat_info",), [1]),
    (("key_info",), 1 << 32), (("vmpl",), False), (("family_id",), [0] * 15),
    (("family_id",), [0] * 17), (("family_id",), [256] + [0] * 15), (("family_id",), [-1] + [0] * 15),
    (("family_id",), [True] + [0] * 15), (("family_id",), ["0"] * 16), (("family_id",), [0.0] * 16),
    (("family_id",), "00" * 16), (("family_id",), None), (("current_tcb", "fmc"), 256), (("current_tcb", "snp"), None),
    (("current_tcb",), [0] * 8), (("current_tcb", "extra"), 0), (("current", "build"), 256), (("current",), "1.55.21"),
    (("cpuid_fam_id",), None), (("cpuid_fam_id",), 256), (("launch_mit_vector",), None),
    (("launch_mit_vector",), 1 << 64), (("signature", "r"), [0] * 71), (("signature", "_reserved"), [0] * 368),
    (("signature",), None),
])
def test_a_member_of_another_type_or_range_is_refused(modern, path, bad):
    *outer, last = path
    target = modern["attestation_report"]
    for name in outer:
        target = target[name]
    target[last] = bad
    assert refusal(modern).id == "format.snp_json"


def test_a_number_too_long_to_print_is_refused(modern):
    modern["attestation_report"]["guest_svn"] = 1 << 50_000
    assert "50001 bits" in str(refusal(modern))


@pytest.mark.parametrize("name", ["cpuid_fam_id", "cpuid_mod_id", "cpuid_step"])
def test_a_version_2_report_has_no_cpuid(snp_case, name):
    case = snp_case(version=2)
    value = evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body)))
    value["attestation_report"][name] = 0
    assert refusal(value).id == "format.snp_json"


@pytest.mark.parametrize("name", ["launch_mit_vector", "current_mit_vector"])
def test_a_version_4_report_has_no_mitigation_vectors(snp_case, name):
    case = snp_case(version=4)
    value = evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body)))
    value["attestation_report"][name] = 0
    assert refusal(value).id == "format.snp_json"


@pytest.mark.parametrize("report", [None, 7, [], [1] * 1184, True])
def test_a_report_of_another_kind_is_refused(report):
    assert refusal({"attestation_report": report}).id in ("format.snp_json", "format.base64")


@pytest.mark.parametrize("text", [
    base64.b64encode(bytes(1183)).decode(), base64.b64encode(bytes(1185)).decode(), "",
    base64.b64encode(bytes(1184)).decode() + "\n", base64.b64encode(bytes(1184)).decode().rstrip("="), "??",
])
def test_base64_must_be_canonical_and_one_report_long(text):
    assert refusal({"attestation_report": text}).id in ("format.snp_json", "format.base64")


@pytest.mark.parametrize("chain", [
    {}, "", 0, [None], [{}], [{"cert_type": "VCEK"}], [{"data": []}], [{"cert_type": "VCEK", "data": None}],
    [{"cert_type": "VCEK", "data": [256]}], [{"cert_type": "VCEK", "data": "MII="}],
    [{"cert_type": "vcek", "data": []}], [{"cert_type": ["VCEK"], "data": []}], [{"cert_type": None, "data": []}],
    [{"cert_type": {"OTHER": "x"}, "data": []}], [{"cert_type": {"OTHER": 1}, "data": []}],
    [{"cert_type": {"VCEK": "12345678-1234-1234-1234-123456789abc"}, "data": []}],
    [{"cert_type": "VCEK", "data": [], "more": 0}], [{"cert_type": "VCEK", "data": [0] * 40_000}],
    [{"cert_type": "VCEK", "data": []}] * (MAX_CERTIFICATES + 1),
], ids=range(19))
def test_a_chain_of_another_shape_is_refused(modern, chain):
    modern["cert_chain"] = chain
    assert refusal(modern).id == "format.snp_json"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4))


@given(st.dictionaries(st.sampled_from(["attestation_report", "cert_chain", "x"]), JSON))
def test_any_object_is_evidence_or_malformed(value):
    refusal(value)


@given(name=st.sampled_from(MEMBERS), bad=JSON)
def test_any_value_of_a_member_is_read_exactly_or_refused(legacy_and_modern, name, bad):
    value = deepcopy(legacy_and_modern)
    value["attestation_report"][name] = bad
    try:
        quote = evidence_from_json(value).quote
    except MalformedEvidence:
        return
    assert len(quote) == 1184


@pytest.fixture(scope="module")
def legacy_and_modern(snp_maker) -> dict:
    return evidence_to_json(Evidence(Tee.SNP, snp_maker.report(snp_maker.body(version=5))))


@pytest.mark.parametrize("name", ["reserved_04c", "reserved_18b", "reserved_1eb", "reserved_1ef", "reserved_208",
                                  "reserved_330"])
def test_a_report_with_reserved_bytes_set_is_not_turned_into_a_structure_that_lacks_them(snp_case, name):
    case = snp_case()
    set_bytes = bytes(len(getattr(case.body, name)) - 1) + b"\x01"
    case = snp_case(**{name: set_bytes})
    with pytest.raises(MalformedEvidence) as caught:
        evidence_to_json(Evidence(Tee.SNP, case.body.to_bytes()))
    assert caught.value.id == "format.snp_json"


def test_reserved_tcb_bytes_are_not_lost_either(snp_case):
    tcb = TcbVersion(None, 4, 0, 24, 219, reserved=b"\x00\x00\x00\x01").to_bytes()
    with pytest.raises(MalformedEvidence, match=r"^format\.snp_json: "):
        evidence_to_json(Evidence(Tee.SNP, snp_case(launch_tcb=tcb).body.to_bytes()))


@pytest.mark.parametrize("certificate", [
    b"", b"\x30\x00", b"\x30\x80" + bytes(40),
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
])
def test_a_certificate_that_is_none_is_not_sent(snp_case, certificate):
    case = snp_case()
    with pytest.raises(MalformedEvidence, match=r"^format\.certificate: "):
        evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body), (certificate,)))


def test_a_certificate_of_another_maker_is_not_sent(snp_case, corpus):
    intel = (corpus.root / "anchors" / "intel-sgx-root-ca.der").read_bytes()
    case = snp_case()
    with pytest.raises(MalformedEvidence) as caught:
        evidence_to_json(Evidence(Tee.SNP, case.maker.report(case.body), (intel,)))
    assert caught.value.id == "format.snp_json"


@given(st.binary(max_size=200))
def test_any_bytes_as_certificate_are_sent_or_malformed(snp_maker, data):
    with pytest.raises(MalformedEvidence):
        evidence_to_json(Evidence(Tee.SNP, snp_maker.report(snp_maker.body()), (data,)))
