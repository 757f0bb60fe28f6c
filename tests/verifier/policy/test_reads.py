"""What a query can read of its input, and that a policy cannot tell it was handed no more."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.appraisal.appraiser import _JUDGEMENT
from verifier.policy.defaults import SHIPPED, example, shipped
from verifier.policy.native import Program
from verifier.policy.native_input import NativeInput
from verifier.policy.reads import input_reads, only
from verifier.policy.rego import _PRELUDE
from verifier.policy.review import SAMPLES, sample, sample_token
from verifier.policy.source import with_data_in_input

HEADER = "package policy\nimport rego.v1\n"
ALL = None


def program(source: str, query: str, keys: tuple[str, ...] = (), reference: str = "{}") -> Program:
    data = f'{{"reference":{reference},"reference_values":{reference}}}'
    return Program((("policy", with_data_in_input(source, keys)), ("prelude", _PRELUDE)), data, query)


def reads(text: str, query: str = "data.policy.x"):
    return input_reads(program(HEADER + text, query).plan())


@pytest.mark.parametrize(("text", "wanted"), [
    ("x := 1", {}),
    ("x := input.a", {"a": ALL}),
    ("x := input.a.b.c == 1", {"a": {"b": {"c": ALL}}}),
    ('x := input["ear.status"] == 1', {"ear.status": ALL}),
    ("x if input.a", {"a": {}}),
    ("x if not input.a.b", {"a": {"b": {}}}),
    ("x if input.a == true", {"a": {}}),
    ("x if { a := input.a; b := a.b; b.c == 1 }", {"a": {"b": {"c": ALL}}}),
    ("x if { some _, v in input.a; v.b == 1 }", {"a": {ALL: {"b": ALL}}}),
    ("x if { every v in input.a { v.b == 1 } }", {"a": {ALL: {"b": ALL}}}),
    ("x := [v | v := input.a[_].b]", {"a": {ALL: {"b": ALL}}}),
    ("x if { input.a[_].b == 1; input.a.q.c == 1 }", {"a": {ALL: {"b": ALL}, "q": {"b": ALL, "c": ALL}}}),
    ("x if { input.a[_].b == 1; input.a.q }", {"a": {ALL: {"b": ALL}, "q": {"b": ALL}}}),
    ("x := input.a[input.k]", {"a": ALL, "k": ALL}),
    ("x := input.a[0]", {"a": ALL}),
    ("x := count(input.a)", {"a": ALL}),
    ("x if input.a == input.b", {"a": ALL, "b": ALL}),
    ("x if input.a == {}", {"a": ALL}),
    ("x := f(input.a)\nf(v) := v.b", {"a": ALL}),
    ("x := y.b\ny := input.a", {"a": ALL}),
    ("x if y\ny if input.a == 1\nz if input.unreached == 1", {"a": ALL}),
])
def test_a_query_reads_what_it_names(text, wanted):
    assert reads(text) == wanted


@pytest.mark.parametrize("text", [
    "x := input", "x := input[_]", "x := input == {}", "x := object.get(input, [\"a\"], 1)", "x := input[data.k]",
    "x := f(input)\nf(v) := v.a", "x if { y with input as {\"a\": 1} }\ny if input.a", "x if { walk(input, [_, 1]) }",
    'x := input["a\\"b"]', 'x := input["ü"]', 'x := input["a b"]', "x := {\"whole\": input}", "x := [input]",
    "x := concat(\"\", [y | y := input[_]])",
], ids=str)
def test_where_the_whole_input_may_be_read_all_of_it_is_handed_over(text):
    wanted = reads(text)
    whole = {"a": {"b": 1}, "k": [1], 'a"b': 2}
    assert only(whole, wanted) == whole


@pytest.mark.parametrize("plan", [{}, {"funcs": {}, "static": {}}, {"funcs": {}, "static": {}, "plans": {}},
                                  {"funcs": {}, "static": {}, "plans": {"plans": [{"blocks": [
                                      {"type": "FutureStmt", "stmt": {"source": 0}}]}]}}])
def test_a_plan_that_is_not_understood_reads_everything(plan):
    assert input_reads(plan) is ALL


def test_only_keeps_lists_and_plain_values_whole():
    document = {"a": [{"b": 1, "c": 2}], "d": {"e": 1, "f": 2}, "g": 3, "h": {"i": {"j": 1, "k": 2}}}
    assert only(document, {"a": {ALL: {"b": ALL}}, "d": {"e": ALL}, "g": {}, "z": ALL}) == {
        "a": [{"b": 1, "c": 2}], "d": {"e": 1}, "g": 3}
    assert only(document, {"h": {ALL: {"j": ALL}}, "d": {}}) == {"h": {"i": {"j": 1}}, "d": {}}


def test_the_release_policy_reads_no_more_than_statuses():
    plan = program(shipped("release"), "data.policy.allow", ("plugin", "resource-path", "query")).plan()
    assert input_reads(plan) == {"submods": {ALL: {"ear.status": ALL}, "cpu0": {"ear.status": ALL}},
                                 "__data": {"plugin": ALL}}


REFERENCE = '{"mr_td":["%s"],"xfam":["e702060000000000"],"snp_min_snp_svn":[2]}' % ("aa" * 48)
POLICIES = {name: shipped(name) for name in SHIPPED if name != "release"} | {"software_tee": example("software_tee")}
PROGRAMS = {name: program(text, _JUDGEMENT, reference=REFERENCE) for name, text in POLICIES.items()}
PROGRAMS["release"] = program(shipped("release"), "data.policy.allow", ("plugin",))
WANTED = {name: input_reads(compiled.plan()) for name, compiled in PROGRAMS.items()}

# Made anew each time: what a document is given is itself altered further on.
ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.builds(list), st.builds(dict),
    st.lists(st.dictionaries(st.sampled_from(["ear.status", "debug", "x"]), st.just("affirming"), max_size=2),
             max_size=2))


@st.composite
def documents(draw):
    """A sample or a token with some members taken away or replaced."""
    name = draw(st.sampled_from(SAMPLES))
    document = copy.deepcopy(draw(st.sampled_from([sample(name), sample_token(name)])))
    document["__data"] = {"plugin": "resource"}
    for _ in range(draw(st.integers(0, 4))):
        holder = document
        while True:
            key = draw(st.sampled_from(sorted(holder) or ["x"]))
            if isinstance(holder.get(key), dict) and draw(st.booleans()):
                holder = holder[key]
                continue
            break
        if draw(st.booleans()):
            holder[key] = draw(ODD_VALUES)
        else:
            holder.pop(key, None)
    return document


@settings(max_examples=150, deadline=None)
@given(documents(), st.sampled_from(sorted(PROGRAMS)))
def test_no_policy_can_tell_the_difference(document, name):
    whole = PROGRAMS[name].run(NativeInput(document))
    assert PROGRAMS[name].run(NativeInput(only(document, WANTED[name]))) == whole
