"""Evidence and binding as values, and errors in words."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from verifier.errors import CheckFailed, MissingCollateral, UnsupportedEvidence
from verifier.evidence import Binding, Evidence, Tee


@pytest.mark.parametrize("name", list(Tee))
def test_a_tee_may_be_given_by_its_name(name):
    assert Evidence(name.value, b"").tee is name
    assert Evidence(name, b"").tee is name


@pytest.mark.parametrize("name", ["", "TDX", "tdx ", "se", None, 5, b"tdx", "x" * 1000])
def test_an_unknown_tee_is_unsupported(name):
    with pytest.raises(UnsupportedEvidence) as caught:
        Evidence(name, b"")
    assert caught.value.id == "evidence.tee"
    assert len(str(caught.value)) < 400


def test_values_are_frozen():
    evidence = Evidence("tdx", b"quote")
    with pytest.raises(FrozenInstanceError):
        evidence.quote = b"other"
    with pytest.raises(FrozenInstanceError):
        Binding(b"x").report_data = b"y"


def test_what_is_left_out_demands_nothing_and_says_so():
    assert Binding(b"x") == Binding(b"x", None)
    assert Binding.insecure_unbound() == Binding(None)


def test_an_error_tells_field_expected_and_got():
    assert str(CheckFailed("tdx.rule", "must be so", expected=b"\x01", got=b"\xff")) == (
        "tdx.rule: must be so (expected 01, got ff)")
    assert str(MissingCollateral("collateral.tcb_info", "is missing")) == "collateral.tcb_info: is missing"
