"""Verdicts start as refused; one function makes an accepted one, and only from checks that all held."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from verifier.claims import Claims
from verifier.endorsements.window import rfc3339
from verifier.errors import (
    CheckFailed,
    CollateralError,
    EvidenceError,
    MalformedCollateral,
    MalformedEvidence,
    MissingCollateral,
    SetupError,
    UnsupportedEvidence,
    VerifierError,
)
from verifier.evidence import Tee
from verifier.results.verdict import Verdict, accept, jsonable, of_error, refuse, undecided
from verifier.trail import Check

HELD, BROKEN = Check("tdx.rule", True), Check("tdx.other", False, 1, 2, "must be one")
CLAIMS = Claims(tee=Tee.TDX, body={"mr_td": b"\x01"}, endorsement={}, software=False, report_data=b"", init_data=b"",
                valid_until=5, status="UpToDate", advisory_ids=("A",), flags=("F",))


def test_a_verdict_starts_as_refused():
    verdict = Verdict(tee="tdx")
    assert (verdict.authentic, verdict.accepted, verdict.claims, verdict.exit_code) == (False, False, None, 1)


def test_checks_that_all_held_accept():
    verdict = accept(CLAIMS, (HELD,), (HELD, HELD))
    assert (verdict.authentic, verdict.accepted, verdict.exit_code, verdict.error) == (True, True, 0, None)
    assert (verdict.status, verdict.advisory_ids, verdict.flags, verdict.valid_until) == ("UpToDate", ("A",), ("F",), 5)
    assert verdict.require() is CLAIMS
    assert verdict.mismatches == ()


@pytest.mark.parametrize("appraisal", [(BROKEN,), (HELD, BROKEN), (BROKEN, HELD), ()])
def test_a_missed_expectation_or_none_at_all_does_not_accept(appraisal):
    verdict = accept(CLAIMS, (HELD,), appraisal)
    assert (verdict.authentic, verdict.accepted, verdict.exit_code, verdict.claims) == (True, False, 1, CLAIMS)


@pytest.mark.parametrize("authenticity", [(), (BROKEN,), (HELD, BROKEN)])
def test_claims_without_a_trail_that_held_are_a_fault_of_ours(authenticity):
    with pytest.raises(SetupError) as caught:
        accept(CLAIMS, authenticity, (HELD,))
    assert caught.value.id == "verdict.accept"


@pytest.mark.parametrize("members", [
    {"accepted": True}, {"accepted": True, "authentic": True, "claims": CLAIMS},
    {"accepted": True, "authentic": True, "claims": CLAIMS, "checks": (HELD,)},
    {"accepted": True, "authentic": True, "claims": CLAIMS, "checks": (HELD,), "_seal": object()},
    {"accepted": 1, "authentic": True, "claims": CLAIMS, "checks": (HELD,)},
])
def test_nobody_else_makes_an_accepted_verdict(members):
    with pytest.raises(SetupError) as caught:
        Verdict(tee="tdx", **members)
    assert caught.value.id == "verdict.accept"


@pytest.mark.parametrize("members", [
    {"claims": CLAIMS}, {"claims": CLAIMS, "authentic": None}, {"authentic": True},
])
def test_claims_exist_exactly_where_the_evidence_is_authentic(members):
    with pytest.raises(SetupError) as caught:
        Verdict(tee="tdx", **members)
    assert caught.value.id == "verdict.claims"


@pytest.mark.parametrize("change", [{"authentic": False}, {"claims": None}, {"error": CheckFailed("x", "y")},
                                    {"checks": ()}, {"checks": (HELD, BROKEN)}])
def test_an_accepted_verdict_cannot_be_turned_into_another(change):
    verdict = accept(CLAIMS, (HELD,), (HELD,))
    with pytest.raises(SetupError, match=r"^verdict\.accept: "):
        replace(verdict, **change)
    with pytest.raises(FrozenInstanceError):
        verdict.accepted = False


def test_a_refused_verdict_cannot_be_turned_into_an_accepted_one():
    for verdict in (refuse("tdx", CheckFailed("x", "y")), accept(CLAIMS, (HELD,), (BROKEN,))):
        with pytest.raises(SetupError) as caught:
            replace(verdict, accepted=True, authentic=True, claims=CLAIMS, error=None, checks=(HELD,))
        assert caught.value.id == "verdict.accept"


@pytest.mark.parametrize(("kind", "authentic", "code"), [
    (EvidenceError, False, 1), (MalformedEvidence, False, 1), (UnsupportedEvidence, False, 1), (CheckFailed, False, 1),
    (CollateralError, None, 2), (MissingCollateral, None, 2), (MalformedCollateral, None, 2), (SetupError, None, 2),
    (VerifierError, False, 1),
])
def test_each_kind_of_error_refuses_or_leaves_open(kind, authentic, code):
    error = kind("some.id", "why")
    verdict = of_error("tdx", error, (HELD,), {"mr_td": b"\x01"})
    assert (verdict.authentic, verdict.accepted, verdict.exit_code, verdict.claims) == (authentic, False, code, None)
    assert verdict.error is error
    with pytest.raises(kind):
        verdict.require()


def test_how_far_the_evidence_came_is_told_where_it_is_known():
    error = MissingCollateral("x", "y").at_standing("OutOfDate", ("A",), ("F",))
    verdict = of_error("tdx", error, (), {})
    assert (verdict.status, verdict.advisory_ids, verdict.flags) == ("OutOfDate", ("A",), ("F",))
    assert refuse("tdx", CheckFailed("x", "y")).status is None


def test_require_names_the_first_mismatch():
    with pytest.raises(CheckFailed) as caught:
        accept(CLAIMS, (HELD,), (HELD, BROKEN)).require()
    assert (caught.value.id, caught.value.expected, caught.value.got) == ("tdx.other", 1, 2)


MEMBERS = ["authentic", "accepted", "tee", "status", "advisory_ids", "flags", "claims", "valid_until", "checks",
           "error"]


@pytest.mark.parametrize("verdict", [
    accept(CLAIMS, (HELD,), (HELD,)), accept(CLAIMS, (HELD,), (BROKEN,)),
    refuse("tdx", CheckFailed("x", "y"), (BROKEN,)),
    undecided("sgx", SetupError("x", "y"), unverified={"mr_td": b"\x01"}),
])
def test_the_document_has_its_members_and_goes_into_json(verdict):
    told = verdict.to_dict()
    assert list(told) == MEMBERS
    assert json.loads(json.dumps(told)) == told
    assert all(list(check) == ["id", "ok", "expected", "got", "detail"] for check in told["checks"])


def test_what_nobody_proved_stands_under_a_name_that_says_so():
    told = undecided("tdx", SetupError("x", "y"), unverified={"mr_td": b"\x01\xff"}).to_dict()
    assert told["claims"] == {"unverified": {"mr_td": "01ff"}}
    assert told["error"] == {"id": "x", "detail": "y"}
    assert accept(CLAIMS, (HELD,), (HELD,)).to_dict()["claims"] == {"mr_td": "01", "software": False}


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "1970-01-01T00:00:00Z"), (1_780_000_000, "2026-05-28T20:26:40Z"),
    (253_402_300_799, "9999-12-31T23:59:59Z"), (1 << 60, "9999-12-31T23:59:59Z"), (-1, "1970-01-01T00:00:00Z"),
    (-10 ** 30, "1970-01-01T00:00:00Z"),
])
def test_moments_are_rfc3339(seconds, text):
    assert rfc3339(seconds) == text


def test_values_go_into_json_as_they_are_told():
    assert jsonable({"a": b"\x00\xff", 1: (b"", [None, 1.5, True, "x"])}) == {
        "a": "00ff", "1": ["", [None, 1.5, True, "x"]]}
    assert jsonable(Tee.TDX) == "tdx"
    assert jsonable(frozenset({5})) == [5]
