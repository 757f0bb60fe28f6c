"""Sample evidence proves nothing: it passes where it was let through by name, and is marked for good."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier import Binding, Evidence, Expectations, Roots, Tee, Verifier
from verifier.verify import inspect

BOUND = b"what a client bound"
OPEN = Roots.makers().with_insecure_sample()


def evidence(**changes: object) -> Evidence:
    members = {"svn": "1", "report_data": base64.b64encode(BOUND).decode()} | changes
    return Evidence(Tee.SAMPLE, json.dumps({name: v for name, v in members.items() if v is not ...}).encode())


def verdict(of: Evidence, roots: Roots = OPEN, binding: Binding | None = None,
            expectations: Expectations | None = None):
    return Verifier(roots, expectations).verify(of, binding=binding or Binding(BOUND), at=1_780_000_000)


@pytest.mark.parametrize("roots", [Roots.makers(), Roots.only_software([]), Roots(())])
def test_without_being_let_through_by_name_it_is_refused(roots):
    told = verdict(evidence(), roots)
    assert (told.authentic, told.accepted, told.error.id) == (False, False, "sample.insecure")


def test_let_through_it_is_software_unsigned_and_still_not_accepted_by_default():
    told = verdict(evidence())
    assert (told.authentic, told.accepted, told.claims.software) == (True, False, True)
    assert [check.id for check in told.mismatches] == ["sample.accept.unsigned"]
    allowed = verdict(evidence(), expectations=Expectations(allowed_flags=("UNSIGNED",)))
    assert allowed.accepted
    hardware = Expectations(allowed_flags=("UNSIGNED",), refuse_software=True)
    assert [check.id for check in verdict(evidence(), expectations=hardware).mismatches] == ["sample.accept.hardware"]


@pytest.mark.parametrize("expected", [b"", BOUND[:-1], BOUND + b"\x00", bytes(64)])
def test_its_report_data_is_compared_like_any_other(expected):
    told = verdict(evidence(), binding=Binding(expected), expectations=Expectations(allowed_flags=("UNSIGNED",)))
    assert [check.id for check in told.mismatches] == ["sample.binding.report_data"]


def test_it_binds_no_init_data():
    told = verdict(evidence(), binding=Binding(BOUND, b""), expectations=Expectations(allowed_flags=("UNSIGNED",)))
    assert [check.id for check in told.mismatches] == ["sample.binding.init_data"]


@pytest.mark.parametrize("changes", [
    {"svn": ...}, {"report_data": ...}, {"svn": 1}, {"svn": None}, {"svn": "1" * 17}, {"extra": 1}, {"report_data": 5},
    {"report_data": "QR=="}, {"report_data": None},
])
def test_other_members_are_refused(changes):
    told = verdict(evidence(**changes))
    assert (told.authentic, told.accepted) == (False, False)
    assert told.error.id in ("sample.members", "format.base64")


def test_its_fields_can_be_looked_at():
    assert inspect(evidence()) == {"svn": "1", "report_data": BOUND}


def test_it_is_no_evidence_of_a_tee(intel_case):
    """Whatever the roots let through, a quote is judged as a quote, and sample evidence as no quote."""
    for tee in (Tee.TDX, Tee.SGX):
        told = verdict(Evidence(tee, evidence().quote))
        assert (told.authentic, told.error.id) == (False, "quote.version")
    quote = intel_case().raw
    assert verdict(Evidence(Tee.SAMPLE, quote)).error.id == "format.json"


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(["svn", "report_data", "x"]), st.none() | st.text(
    max_size=5)).map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_judged(data):
    told = verdict(Evidence(Tee.SAMPLE, data))
    assert told.accepted is False
    assert told.error is None or told.error.id != "verifier.internal"
