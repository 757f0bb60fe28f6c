"""The record of checks: the first broken rule raises, and everything that led to it is told."""

from __future__ import annotations

import pytest

from verifier.errors import CheckFailed
from verifier.trail import Trail


@pytest.mark.parametrize(("expected", "got"), [(1, 1), ("a", "a"), (b"a", b"a"), (b"", b""), (None, None),
                                               ((1,), (1,))])
def test_equal_values_pass_and_are_noted(expected, got):
    trail = Trail("tdx")
    trail.equal("rule", expected=expected, got=got, detail="why")
    assert trail.checks == (("tdx.rule", True, expected, got, "why"),)


@pytest.mark.parametrize(("expected", "got"), [
    (1, 2), (b"a", b"b"), (b"a", b"ab"), (b"ab", b"a"), (b"a", "a"), (1, True), (True, 1), (1, 1.0),
    (b"a", bytearray(b"a")), (None, 0), (None, b""), (b"", None), ((1,), [1]),
])
def test_other_values_and_other_types_raise_and_are_noted(expected, got):
    trail = Trail("tdx")
    with pytest.raises(CheckFailed) as caught:
        trail.equal("rule", expected=expected, got=got)
    assert (caught.value.id, caught.value.expected, caught.value.got) == ("tdx.rule", expected, got)
    assert [(check.id, check.ok) for check in trail.checks] == [("tdx.rule", False)]


@pytest.mark.parametrize(("expected", "got"), [
    (b"a", b"b"), (b"a", b"ab"), ("a", "b"), ("a", b"a"), (b"a", bytearray(b"a")), (b"a", None)])
def test_another_constant_raises_and_is_noted(expected, got):
    trail = Trail("tdx")
    with pytest.raises(CheckFailed) as caught:
        trail.constant("rule", expected=expected, got=got)
    assert (caught.value.id, caught.value.expected, caught.value.got) == ("tdx.rule", expected, got)
    assert trail.checks == (("tdx.rule", False, expected, got, None),)


def test_what_is_the_same_in_every_verification_is_one_object():
    def noted():
        trail = Trail("tdx")
        trail.constant("rule", expected=b"a", got=bytes(bytearray(b"a")))
        trail.passed("signature")
        trail.passed("level", "is good", got=7)
        return trail.checks

    first, second = noted(), noted()
    assert first == second == (("tdx.rule", True, b"a", b"a", None), ("tdx.signature", True, None, None, None),
                               ("tdx.level", True, None, 7, "is good"))
    assert [one is other for one, other in zip(first, second, strict=True)] == [True, True, False]
    other = Trail("sgx")
    other.constant("rule", expected=b"a", got=b"a")
    other.passed("signature", "why")
    assert other.checks == (("sgx.rule", True, b"a", b"a", None), ("sgx.signature", True, None, None, "why"))


@pytest.mark.parametrize("ok", [False, None, 0, 1, "yes", [1], object()])
def test_what_is_demanded_must_be_true_itself(ok):
    """A truthy answer is not an answer: a call whose result was forgotten must not pass."""
    trail = Trail("tdx")
    with pytest.raises(CheckFailed) as caught:
        trail.require("rule", ok, "must hold")
    assert (caught.value.id, caught.value.detail) == ("tdx.rule", "must hold")
    trail.require("rule", True, "must hold")
    assert [check.ok for check in trail.checks] == [False, True]


def test_fail_hands_back_the_error_and_notes_it():
    trail = Trail("sgx")
    error = trail.fail("rule", "is broken", expected=1, got=2)
    assert isinstance(error, CheckFailed)
    assert str(error) == "sgx.rule: is broken (expected 1, got 2)"
    assert trail.checks[0].ok is False


def test_a_branch_writes_into_its_trail_and_knows_its_own():
    trail = Trail("tdx")
    trail.passed("first")
    branch = trail.branch()
    branch.passed("second")
    assert [check.id for check in branch.own_checks] == ["tdx.second"]
    assert [check.id for check in trail.checks] == ["tdx.first", "tdx.second"]
    trail.extend(branch.own_checks)
    assert [check.id for check in trail.checks][2:] == ["tdx.second"]


def test_what_was_handed_out_does_not_change_later():
    trail = Trail("tdx")
    before = trail.checks
    trail.passed("rule")
    assert before == ()
