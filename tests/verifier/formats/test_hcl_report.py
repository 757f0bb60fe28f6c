"""HCL reports, TDREPORTs and runtime claims: read strictly, written again byte for byte."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from struct import pack_into

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.azure_cases import azure_case
from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.formats.hcl_report import (
    MAX_CLAIMS_BYTES,
    MAX_REPORT_BYTES,
    ClaimsHash,
    HclReport,
    ReportType,
    hardware_report_of,
)
from verifier.formats.runtime_claims import ATTESTATION_KEY, MAX_KEYS, RuntimeClaims
from verifier.formats.snp_report import SnpReport
from verifier.formats.tdreport import SIZE, TdreportStruct, part_hash

BOTH = pytest.mark.parametrize("kind", ["snp", "tdx"])
CLAIMS_AT = 1236


def raw(kind: str = "snp") -> bytes:
    return azure_case(kind).parts.hcl_report


def refusal(data: bytes, read=HclReport.from_bytes) -> str:
    with pytest.raises(EvidenceError) as caught:
        read(data)
    return caught.value.id


def patched(data: bytes, offset: int, value: int) -> bytes:
    changed = bytearray(data)
    pack_into("<I", changed, offset, value)
    return bytes(changed)


# -- HCL report --------------------------------------------------------------------------------------------------------


@BOTH
def test_a_report_is_written_again_byte_for_byte(kind):
    report = HclReport.from_bytes(raw(kind))
    assert report.to_bytes() == raw(kind)
    assert report.report_type is (ReportType.SNP if kind == "snp" else ReportType.TDX)
    assert report.trailing == 2600 - CLAIMS_AT - len(report.claims)


@pytest.mark.corpus("azure-snp-vtpm", "azure-tdx-vtpm")
def test_recorded_reports_are_written_again_and_their_fields_are_those_told(corpus, case):
    folder = corpus.folder(case)
    data = (folder / "hcl_report.bin").read_bytes()
    report, told = HclReport.from_bytes(data), case["format"]["hcl"]
    assert report.to_bytes() == data
    assert report.claims == (folder / "runtime_claims.json").read_bytes()
    assert (report.version, report.request_type, report.status, report.report_type, report.claims_hash,
            len(report.claims)) == tuple(told[name] for name in (
                "header_version", "request_type", "status", "report_type", "report_data_hash_type",
                "variable_data_size"))
    hardware = hardware_report_of(report.hardware_report, report.report_type)
    kind = SnpReport if report.report_type is ReportType.SNP else TdreportStruct
    assert kind.from_bytes(hardware).to_bytes() == hardware
    assert kind.from_bytes(hardware).report_data == report.claims_digest


@BOTH
def test_truncation_is_refused_up_to_the_end_of_the_claims(kind):
    data = raw(kind)
    end = CLAIMS_AT + len(HclReport.from_bytes(data).claims)
    for size in range(end):
        assert refusal(data[:size]) == "format.hcl_report"
    for size in (end, end + 1, len(data)):
        assert HclReport.from_bytes(data[:size]).trailing == size - end


@pytest.mark.parametrize(("offset", "value", "told"), [
    (0, 0, "format.hcl_report"), (4, 0, "hcl_report.version"), (4, 3, "hcl_report.version"),
    (8, 0, "format.hcl_report"), (8, 0xFFFFFFFF, "format.hcl_report"), (20, 1, "format.hcl_report"),
    (28, 1 << 31, "format.hcl_report"), (1216, 0, "format.hcl_report"), (1220, 2, "hcl_report.runtime_version"),
    (1224, 0, "hcl_report.report_type"), (1224, 3, "hcl_report.report_type"), (1224, 5, "hcl_report.report_type"),
    (1228, 0, "hcl_report.hash"), (1228, 4, "hcl_report.hash"), (1232, 0, "format.hcl_report"),
    (1232, 0xFFFFFFFF, "format.hcl_report"), (1232, 1 << 31, "format.hcl_report"),
])
def test_a_field_out_of_range_is_refused(offset, value, told):
    assert refusal(patched(raw(), offset, value)) == told


@pytest.mark.parametrize("offset", [8, 1216, 1232])
@pytest.mark.parametrize("step", [-1, 1])
def test_the_three_lengths_must_agree(offset, step):
    data = raw()
    assert refusal(patched(data, offset, int.from_bytes(data[offset : offset + 4], "little") + step)) == (
        "format.hcl_report")


def test_sizes_are_bounded():
    report = HclReport.from_bytes(raw())
    assert refusal(replace(report, trailing=MAX_REPORT_BYTES).to_bytes()) == "format.hcl_report"
    assert refusal(replace(report, claims=bytes(MAX_CLAIMS_BYTES + 1), trailing=0).to_bytes()) == "format.hcl_report"
    assert HclReport.from_bytes(replace(report, claims=bytes(MAX_CLAIMS_BYTES), trailing=0).to_bytes()).claims


def test_what_follows_the_claims_is_counted_and_not_read():
    data = raw()
    end = CLAIMS_AT + len(HclReport.from_bytes(data).claims)
    assert HclReport.from_bytes(data[:end] + b"\xff" * 40) == replace(HclReport.from_bytes(data), trailing=40)


@pytest.mark.parametrize(("number", "name", "size"), [(1, "sha256", 32), (2, "sha384", 48), (3, "sha512", 64)])
def test_the_hash_is_the_one_that_the_header_names(number, name, size):
    report = replace(HclReport.from_bytes(raw()), claims_hash=ClaimsHash(number))
    assert report.claims_digest == hashlib.new(name, report.claims).digest() + bytes(64 - size)


def test_the_region_of_a_tdreport_is_filled_with_zeros():
    region = HclReport.from_bytes(raw("tdx")).hardware_report
    assert hardware_report_of(region, ReportType.TDX) == region[:SIZE]
    with pytest.raises(MalformedEvidence):
        hardware_report_of(region[:-1] + b"\x01", ReportType.TDX)
    with pytest.raises(MalformedEvidence):
        hardware_report_of(region[:SIZE - 1], ReportType.TDX)


@given(st.binary(max_size=1400))
def test_any_bytes_are_refused_with_a_documented_error(data):
    for bytes_ in (data, b"HCLA" + data):
        with pytest.raises(EvidenceError):
            HclReport.from_bytes(bytes_)


@given(offset=st.sampled_from([*range(32), *range(1216, 1236)]), value=st.integers(1, 255))
def test_a_changed_byte_of_the_headers_is_refused_or_read_as_written(offset, value):
    data = bytearray(raw())
    data[offset] ^= value
    try:
        report = HclReport.from_bytes(bytes(data))
    except (MalformedEvidence, UnsupportedEvidence):
        return
    assert report.to_bytes() == bytes(data)


# -- TDREPORT ----------------------------------------------------------------------------------------------------------


def tdreport() -> bytes:
    return HclReport.from_bytes(raw("tdx")).hardware_report[:SIZE]


def test_fields_of_a_tdreport_lie_where_the_maker_put_them():
    blank = TdreportStruct.from_bytes(bytes(SIZE))
    offsets = {"report_type": 0, "cpu_svn": 16, "tee_tcb_info_hash": 32, "td_info_hash": 80, "report_data": 128,
               "mac": 224, "valid": 256, "tee_tcb_svn": 264, "mr_seam": 280, "mr_signer_seam": 328,
               "seam_attributes": 376, "tee_tcb_svn2": 384, "td_attributes": 512, "xfam": 520, "mr_td": 528,
               "mr_config_id": 576, "mr_owner": 624, "mr_owner_config": 672, "rtmr0": 720, "rtmr1": 768, "rtmr2": 816,
               "rtmr3": 864, "mr_service_td": 912}
    for field in fields(TdreportStruct):
        size = len(getattr(blank, field.name))
        packed = replace(blank, **{field.name: b"\xee" * size}).to_bytes()
        offset = offsets.get(field.name, int(field.name.rpartition("_")[2]) if "reserved" in field.name else None)
        assert packed == bytes(offset) + b"\xee" * size + bytes(SIZE - offset - size), field.name


def test_a_tdreport_has_one_size_and_hashes_of_its_parts():
    data = tdreport()
    report = TdreportStruct.from_bytes(data)
    assert report.to_bytes() == data
    assert (report.tee_tcb_info, report.td_info) == (data[256:495], data[512:])
    assert (part_hash(report.tee_tcb_info), part_hash(report.td_info)) == (data[32:80], data[80:128])
    for size in (*range(SIZE), SIZE + 1):
        assert refusal((data + b"\x00")[:size], TdreportStruct.from_bytes) == "format.tdreport"


@given(st.binary(min_size=SIZE, max_size=SIZE))
def test_any_tdreport_is_written_again(data):
    assert TdreportStruct.from_bytes(data).to_bytes() == data


# -- runtime claims ----------------------------------------------------------------------------------------------------

KEY = {"kid": ATTESTATION_KEY, "kty": "RSA", "e": "AQAB", "n": "_w"}


def told(**members: object) -> bytes:
    return json.dumps({"keys": [KEY], **members}).encode()


def test_claims_are_read():
    claims = RuntimeClaims.from_bytes(HclReport.from_bytes(raw()).claims)
    assert [key.kid for key in claims.keys] == [ATTESTATION_KEY, "HCLEkPub"]
    assert claims.named(ATTESTATION_KEY) == claims.keys[:1]
    assert claims.keys[0].exponent == 65537
    assert claims.vm_configuration["secure-boot"] is True
    assert claims.user_data == bytes(64)


def test_early_claims_have_no_user_data_and_any_key_operation(corpus):
    data = (corpus.folder("azure/snp-kinvolk-hclreport-2048") / "runtime_claims.json").read_bytes()
    claims = RuntimeClaims.from_bytes(data)
    assert (claims.user_data, len(claims.keys)) == (None, 1)


def test_members_that_are_not_known_are_left_alone():
    assert RuntimeClaims.from_bytes(told(more={"deep": [1]})) == RuntimeClaims.from_bytes(told())


@pytest.mark.parametrize("data", [
    b"", b"{}", b"[]", b"null", b"\xff", b'{"keys": null}', b'{"keys": {}}', told(**{"vm-configuration": []}),
    told(**{"user-data": "00"}), told(**{"user-data": 5}), told(**{"user-data": "zz" * 64}), told() + b"{}",
    told() + b"\x00", b'{"keys": [], "keys": []}', told()[:-1] + b', "keys": []}',
    json.dumps({"keys": [KEY] * (MAX_KEYS + 1)}).encode(), b'{"keys": [1]}', b'{"keys": [{}]}', b'{"keys": [null]}',
    *(json.dumps({"keys": [KEY | change]}).encode() for change in (
        {"kid": 5}, {"kid": None}, {"kty": "EC"}, {"kty": None}, {"n": ""}, {"n": "AA"}, {"n": "_w=="}, {"n": "/w"},
        {"n": None}, {"n": "_x"}, {"n": "A" * 684}, {"e": ""}, {"e": "AAEAAQ"}, {"e": None}, {"e": "_" * 12},
        {"e": 3})),
    b'{"keys": [{"kid": "HCLAkPub", "kid": "HCLAkPub", "kty": "RSA", "e": "AQAB", "n": "_w"}]}',
    b'{"keys": [], "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"keys": [], "x": NaN}', b'{"keys": [], "x": 1e999}',
])
def test_claims_of_another_shape_are_refused(data):
    with pytest.raises(MalformedEvidence, match=r"^(format\.base64|format\.hex|format\.json|format\.runtime_claims): "):
        RuntimeClaims.from_bytes(data)


def test_truncated_claims_are_refused():
    data = HclReport.from_bytes(raw()).claims
    for size in range(len(data)):
        with pytest.raises(MalformedEvidence, match=r"^format\.json: "):
            RuntimeClaims.from_bytes(data[:size])


def test_numbers_that_are_no_rsa_key_make_none():
    keys = RuntimeClaims.from_bytes(HclReport.from_bytes(raw()).claims).keys
    assert keys[0].public_key().key_size == 2048
    for change in ({"modulus": b"\x02"}, {"modulus": b"\x01"}, {"exponent": 1}, {"exponent": 2}, {"exponent": 1 << 63}):
        key = replace(keys[0], **change)
        assert key.public_key() is None or key.public_key().key_size == 2048, change


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["keys", "kid", "kty", "n", "e", "vm-configuration", "user-data"]), inner, max_size=5),
                    max_leaves=12)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_claims_are_read_or_refused_with_a_documented_error(data):
    try:
        claims = RuntimeClaims.from_bytes(data)
    except MalformedEvidence:
        return
    assert isinstance(claims.keys, tuple)
