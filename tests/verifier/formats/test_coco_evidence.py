"""Evidence as guests send it: TDX, SGX and sample (SNP has a file of its own)."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import EvidenceError, UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.coco_evidence import evidence_from_json, evidence_to_json, read, tee_of_bytes

LOG = b"an event log"


def refusal(call, *arguments) -> str:
    with pytest.raises(EvidenceError) as caught:
        call(*arguments)
    return caught.value.id


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(("kind", "log"), [("tdx-v4", None), ("tdx-v4", LOG), ("tdx-v5-td15", b""), ("sgx-v3", None)])
def test_evidence_goes_into_json_and_comes_back(intel_case, kind, log):
    evidence = intel_case(kind).evidence
    if log is not None:
        evidence = Evidence(evidence.tee, evidence.quote, event_log=log)
    told = json.loads(json.dumps(evidence_to_json(evidence)))
    assert evidence_from_json(evidence.tee, told) == evidence
    assert read(json.dumps(told).encode()) == evidence
    assert read(evidence.quote).quote == evidence.quote


def test_the_members_are_those_of_the_protocol(intel_case):
    quote = intel_case().raw
    assert evidence_to_json(Evidence(Tee.TDX, quote, event_log=LOG)) == {"quote": text(quote), "cc_eventlog": text(LOG)}
    assert evidence_to_json(Evidence(Tee.TDX, quote)) == {"quote": text(quote), "cc_eventlog": None}
    assert evidence_to_json(intel_case("sgx-v3").evidence) == {"quote": text(intel_case("sgx-v3").raw)}


def test_sample_evidence_goes_into_json_and_comes_back():
    told = {"svn": "1", "report_data": text(b"bound")}
    evidence = evidence_from_json(Tee.SAMPLE, told)
    assert evidence.tee is Tee.SAMPLE
    assert evidence_to_json(evidence) == told
    assert read(json.dumps(told).encode()).tee is Tee.SAMPLE


@pytest.mark.parametrize("value", [None, [], "quote", 5, True])
@pytest.mark.parametrize("tee", [Tee.TDX, Tee.SGX, Tee.SNP, Tee.SAMPLE])
def test_evidence_is_an_object(tee, value):
    assert refusal(evidence_from_json, tee, value) == "evidence.json"


@pytest.mark.parametrize(("tee", "value"), [
    (Tee.TDX, {}), (Tee.TDX, {"cc_eventlog": None}), (Tee.TDX, {"quote": "QUJD", "extra": 1}),
    (Tee.TDX, {"Quote": "QUJD"}), (Tee.SGX, {"quote": "QUJD", "cc_eventlog": None}), (Tee.SGX, {}),
])
def test_missing_and_unknown_members_are_refused(tee, value):
    assert refusal(evidence_from_json, tee, value) == "evidence.json"


@pytest.mark.parametrize("value", [None, 5, [], {}, "QUJD\n", "QUJ", "QU JD", "QR==", "-_-_", b"QUJD"])
@pytest.mark.parametrize("member", ["quote", "cc_eventlog"])
def test_members_are_canonical_base64(member, value):
    told = {"quote": "QUJD", "cc_eventlog": "QUJD"} | {member: value}
    if member == "cc_eventlog" and value is None:
        assert evidence_from_json(Tee.TDX, told).event_log is None
    else:
        assert refusal(evidence_from_json, Tee.TDX, told) == "format.base64"


@pytest.mark.parametrize("data", [b'{"quote":"QUJD","quote":"QUJD"}', b'{"quote":NaN}', b"{", b'{"quote":"\\ud800"}'])
def test_json_that_is_not_strict_is_refused(data):
    assert refusal(read, data, Tee.TDX) == "format.json"


@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex", "sgx-v3", "sgx-v4",
                                  "sgx-v5"])
def test_the_first_bytes_tell_the_tee(intel_case, kind):
    case = intel_case(kind)
    assert tee_of_bytes(case.raw) is case.tee
    assert read(case.raw) == case.evidence


@pytest.mark.corpus("tdx", "sgx")
def test_recorded_quotes_tell_their_tee(corpus, case):
    folder = corpus.folder(case)
    raw = next(path for path in (folder / "quote.bin", folder / "quote.dat") if path.exists()).read_bytes()
    assert tee_of_bytes(raw) == case["tee"]


@pytest.mark.parametrize("data", [b"", b"\x00", b"# README", b"hello world", bytes(5000), b"\xff" * 5000,
                                  b"-----BEGIN"], ids=itertools.count())
def test_what_is_no_evidence_is_unsupported(data):
    with pytest.raises(UnsupportedEvidence) as caught:
        read(data)
    assert caught.value.id == "evidence.kind"


def test_the_kind_that_was_asked_for_picks_the_parser(intel_case):
    """A recipe refuses what is not its own; nothing is guessed over the caller's word."""
    assert read(intel_case("tdx-v4").raw, Tee.SGX).tee is Tee.SGX


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,quoteQUJD=\\u0 cc_vlgsnrpadh', max_size=60).map(str.encode),
       st.sampled_from([None, *Tee]))
def test_any_bytes_are_evidence_or_refused(data, tee):
    try:
        evidence = read(data, tee)
    except EvidenceError:
        return
    assert tee is None or evidence.tee is tee


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("QUJD"),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["quote", "cc_eventlog", "svn", "report_data", "attestation_report", "cert_chain", "x"]),
                        inner, max_size=4), max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(JSON, st.sampled_from(list(Tee)))
def test_any_json_is_evidence_or_refused(value, tee):
    try:
        evidence_from_json(tee, value)
    except EvidenceError:
        return
