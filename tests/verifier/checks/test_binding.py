"""What the guest bound, compared at exact length."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.checks.binding import same_bytes
from verifier.checks.prepared import Prepared
from verifier.evidence import Binding

BOUND = bytes(range(64))


@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td15", "sgx-v3"])
def test_the_bound_values_are_accepted(intel_case, kind):
    size, field = (64, "config_id") if kind == "sgx-v3" else (48, "mr_config_id")
    case = intel_case(kind).says(**{"report_data": BOUND, field: BOUND[:size]})
    verdict = replace(case, binding=Binding(BOUND, BOUND[:size])).verdict()
    assert verdict.accepted
    assert [c.id.partition(".")[2] for c in verdict.checks][-2:] == ["binding.report_data", "binding.init_data"]


@pytest.mark.parametrize("kind", ["tdx-v4", "sgx-v3"])
def test_every_bit_of_the_report_data_counts(intel_case, kind):
    case, prepared = intel_case(kind).says(report_data=BOUND), Prepared()
    case = replace(case, quote=case.raw)
    for bit in range(512):
        other = (int.from_bytes(BOUND, "big") ^ 1 << bit).to_bytes(64, "big")
        verdict = replace(case, binding=Binding(other)).verdict(prepared)
        assert (verdict.authentic, verdict.accepted, verdict.error) == (True, False, None)
        assert [check.id for check in verdict.mismatches] == [f"{case.tee}.binding.report_data"]


@pytest.mark.parametrize("expected", [b"", BOUND[:63], BOUND + b"\x00", BOUND[:32], BOUND[:32] + bytes(32), bytes(64)])
@pytest.mark.parametrize("member", ["report_data", "init_data"])
def test_shorter_longer_padded_and_empty_values_are_refused(intel_case, expected, member):
    case = intel_case().says(report_data=BOUND, mr_config_id=BOUND[:48])
    verdict = replace(case, binding=Binding(**{"report_data": None, member: expected})).verdict()
    assert (verdict.authentic, verdict.accepted) == (True, False)
    assert [check.id for check in verdict.mismatches] == [f"tdx.binding.{member}"]


def test_zero_is_a_value_like_any_other(intel_case):
    assert replace(intel_case(), binding=Binding(bytes(64), bytes(48))).verdict().accepted


def test_leaving_the_binding_open_must_be_said():
    with pytest.raises(TypeError):
        Binding()
    assert Binding.insecure_unbound() == Binding(None, None)


@pytest.mark.parametrize(("a", "b", "same"), [
    (b"a", b"a", True), (b"a", b"b", False), (b"", b"", False), (b"a", b"", False), (b"", b"a", False),
    (b"a", b"aa", False), (b"aa", b"a", False), (bytes(64), bytes(64), True), (bytes(63), bytes(64), False),
])
def test_empty_equals_nothing(a, b, same):
    assert same_bytes(a, b) is same
