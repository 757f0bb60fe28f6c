"""What a policy answered once is given again to the same members, and to no others."""

from __future__ import annotations

import pytest

from verifier.policy.answers import MAX_ANSWER_CHARACTERS, Answers
from verifier.policy.engine import PolicyError
from verifier.policy.rego import RegoEngine

COUNTS = """package policy

import rego.v1

allow if input.measurement in data.reference_values.good
"""


class Asked:
    """Counts how often it is asked; answers what it was told."""

    def __init__(self, answer: object = None) -> None:
        self.times = 0
        self.answer = answer

    def __call__(self) -> object:
        self.times += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [True, False, None, 3, "text", [1, None], {"claims": [{"hardware": 2}]}])
def test_the_same_members_get_the_same_answer_without_asking(answer):
    answers, asked = Answers(8), Asked(answer)
    assert [answers.of({"a": 1}, asked), answers.of({"a": 1}, asked)] == [answer, answer]
    assert asked.times == 1


@pytest.mark.parametrize(("one", "other"), [
    ({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ({"a": 1}, {"a": "1"}), ({"a": None}, {}), ({"a": []}, {"a": {}}),
    ({"a": "b"}, {"a": "B"}), ({"a": {"b": 1}}, {"a.b": 1})])
def test_members_that_differ_in_anything_are_asked_about_anew(one, other):
    answers, asked = Answers(8), Asked(True)
    answers.of(one, asked)
    answers.of(other, asked)
    assert asked.times == 2


def test_a_caller_may_change_what_it_got():
    answers, asked = Answers(8), Asked({"list": [1]})
    for _ in range(3):
        answers.of({}, asked)["list"].append(2)
        assert answers.of({}, asked) == {"list": [1]}


def test_no_answer_is_kept_of_a_policy_that_comes_to_none():
    answers, asked = Answers(8), Asked(PolicyError("policy.evaluation", "none"))
    for _ in range(2):
        with pytest.raises(PolicyError):
            answers.of({}, asked)
    assert asked.times == 2


def test_memory_is_bounded():
    answers, asked = Answers(2), Asked(True)
    for number in (1, 2, 3, 1):
        answers.of({"a": number}, asked)
    assert asked.times == 4
    large = Asked("x" * MAX_ANSWER_CHARACTERS)
    answers.of({}, large)
    answers.of({}, large)
    assert large.times == 2


def test_nothing_is_kept_at_capacity_zero():
    answers, asked = Answers(0), Asked(True)
    answers.of({}, asked)
    answers.of({}, asked)
    assert asked.times == 2


def test_a_policy_sees_other_reference_values_at_once():
    """Answers belong to one set of reference values."""
    policy = RegoEngine().compile(COUNTS, name="p")
    asked = {"measurement": "00"}
    assert policy.evaluate("data.policy.allow", input=asked, reference_values={"good": ["00"]}) is True
    assert policy.evaluate("data.policy.allow", input=asked, reference_values={"good": ["01"]}) is None
    assert policy.evaluate("data.policy.allow", input=asked, reference_values={"good": ["00"]}) is True


def test_what_a_policy_does_not_read_makes_no_difference_and_what_it_reads_does():
    policy = RegoEngine().compile(COUNTS, name="p")
    values = {"good": ["00"]}
    for nonce in ("a", "b"):
        assert policy.evaluate("data.policy.allow", input={"measurement": "00", "nonce": nonce},
                               reference_values=values) is True
        assert policy.evaluate("data.policy.allow", input={"measurement": "01", "nonce": nonce},
                               reference_values=values) is None
