"""Collateral as JSON: dcap-qvl's members and the answers of Intel's service."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.collateral.bundle import from_json
from verifier.endorsements.collateral import IntelCollateral
from verifier.errors import MalformedCollateral
from verifier.software_tee.intel import collateral_json


@pytest.fixture(scope="session")
def members(intel_case) -> dict[str, str]:
    return collateral_json(intel_case().maker.collateral("tdx"))


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedCollateral) as caught:
        from_json(data)
    return caught.value.id


def test_a_bundle_gives_the_exact_bytes_back(intel_case, members):
    assert from_json(json.dumps(members).encode()).intel == IntelCollateral(**intel_case().maker.collateral("tdx"))
    assert from_json(json.dumps(members, ensure_ascii=False, indent=3).encode()).amd is None


@pytest.mark.parametrize("empty", ["", None])
def test_empty_members_are_absent(members, empty):
    found = from_json(json.dumps(members | {"pck_crl": empty, "tcb_info": empty}).encode()).intel
    assert (found.pck_crl, found.tcb_info) == (None, None)
    assert found.qe_identity is not None


@pytest.mark.parametrize("change", [
    {"extra": "x"}, {"tcb_info": 5}, {"tcb_info": {"id": "TDX"}}, {"tcb_info_signature": "zz"}, {"root_ca_crl": "0"},
    {"root_ca_crl": [1]}, {"pck_crl": " 00"}, {"tcb_info_issuer_chain": ["x"]}, {"qe_identity_signature": "0x00"},
])
def test_unknown_and_mistyped_members_are_refused(members, change):
    assert refusal(json.dumps(members | change).encode()) == "collateral.bundle"


@pytest.mark.parametrize("data", [
    b"{}", b"[]", b"", b"null", b'{"tcb_info":""}', b'{"tcb_info":"a","tcb_info":"b"}', b'{"tcb_info":"\\ud800"}',
    b'{"tcb_info":"a"', b"\xff", b'{"tcb_info":NaN}', b'{"pck_crl":0}', b"[" * 100_000,
    b'{"tcbInfo":{},"signature":"00"}', b'{"tcbInfo":[],"signature":"' + b"00" * 64 + b'"}',
    b'{"enclaveIdentity":{"id":"\xcb"},"signature":"' + b"00" * 64 + b'"}',
], ids=range(15))
def test_other_json_is_refused(data):
    assert refusal(data) == "collateral.bundle"


@pytest.mark.parametrize(("member", "name"), [("tcbInfo", "tcb_info"), ("enclaveIdentity", "qe_identity")])
@pytest.mark.parametrize("form", ['{{"{0}":{1},"signature":"{2}"}}', ' {{ "{0}" : {1} ,\n"signature" : "{2}" }}\n'])
def test_an_answer_of_the_service_keeps_the_signed_bytes(intel_case, member, name, form):
    members = intel_case().maker.collateral("tdx")
    text = members[name].decode()
    data = form.format(member, text, members[f"{name}_signature"].hex().upper()).encode()
    kept = {key: members[key] for key in (name, f"{name}_signature")}
    assert from_json(data).intel == IntelCollateral(**kept)


def test_what_an_answer_smuggles_between_document_and_signature_is_not_signed(intel_case):
    """It becomes part of the document's bytes, whose signature then does not hold."""
    case = intel_case()
    members = case.maker.collateral("tdx")
    data = b'{"tcbInfo":' + members["tcb_info"] + b',"more":{},"signature":"' + members["tcb_info_signature"].hex(
        ).encode() + b'"}'
    found = from_json(data).intel
    verdict = case.given(tcb_info=found.tcb_info, tcb_info_signature=found.tcb_info_signature).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.tcb_info.signature")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.dictionaries(
    st.sampled_from(["tcb_info", "pck_crl", "tcbInfo", "signature", "x"]),
    st.none() | st.integers() | st.text(max_size=5) | st.just("00")).map(lambda d: json.dumps(d).encode()))
def test_any_bytes_are_collateral_or_refused(data):
    try:
        found = from_json(data)
    except MalformedCollateral:
        return
    assert found.intel is not None
