"""What a policy can say, what it cannot, and what it costs the process that runs it."""

from __future__ import annotations

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.policy.engine import PolicyError
from verifier.policy.native_input import MAX_DEPTH, MAX_INPUT_BYTES
from verifier.policy.rego import MAX_VARIANTS, RegoEngine
from verifier.policy.source import MAX_NESTING, MAX_POLICY_BYTES

ECHO = "package policy\nx := input.v\n"


def refusal(call, *arguments, **named):
    with pytest.raises(PolicyError) as caught:
        call(*arguments, **named)
    return caught.value


# What it answers.

@pytest.mark.parametrize(("text", "value"), [
    ("x := 1", 1), ("x := false", False), ("x := null", None), ('x := {"a": [1, "b", true]}', {"a": [1, "b", True]}),
    ("x := {2, 1, 2}", [1, 2]), ("x if input.missing", None), ("x := 1 == true", False), ("x := 1 == 1.0", True),
])
def test_a_rule_answers_with_plain_values(run, text, value):
    assert run(text) == value
    assert type(run(text)) is type(value)


def test_an_undefined_query_is_none_and_false_stays_false(run):
    assert run("y := 1") is None
    assert run("default x := false") is False


def test_the_digest_is_that_of_the_text(engine):
    assert engine.compile(ECHO, name="echo").digest == hashlib.sha256(ECHO.encode()).digest()


def test_the_same_text_under_the_same_name_is_compiled_once(engine):
    assert engine.compile(ECHO, name="echo") is engine.compile(ECHO, name="echo")
    assert engine.compile(ECHO, name="other") is not engine.compile(ECHO, name="echo")


# What it reads.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_input_reaches_the_policy_unchanged(value):
    assert ENGINE.compile(ECHO, name="echo").evaluate("data.policy.x", input={"v": value}) == value


ENGINE = RegoEngine()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_text_equals_itself_and_nothing_else_in_a_policy(text):
    policy = ENGINE.compile("package policy\nx := input.v == input.w", name="same")
    assert policy.evaluate("data.policy.x", input={"v": text, "w": text}) is True
    assert policy.evaluate("data.policy.x", input={"v": text, "w": text + "\\"}) is False


@pytest.mark.parametrize("number", [0.5, -2.25, 1e-07, 1e100, 2**63, -(2**63) - 1, 10**30])
def test_numbers_that_do_not_fit_a_word_arrive_exactly(run, number):
    assert run("x := input.v", input={"v": number}) == number


def test_a_number_is_never_cut_to_a_word(run):
    assert run("x := input.v == -1", input={"v": 2**64 - 1}) is False


def test_values_are_compared_by_type(run):
    assert run('x if input.v in ["1", true]', input={"v": 1}) is None


@pytest.mark.parametrize("value", [b"bytes", math.nan, math.inf, {1, 2}, object(), {1: 2}, "\ud800"])
def test_what_is_no_json_value_is_refused(run, value):
    assert refusal(run, "x := input.v", input={"v": value}).id == "policy.input"


def test_input_nests_to_the_bound_and_no_deeper(run):
    deep: list = []
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    assert run("x := input.v", input={"v": deep}) == deep
    assert refusal(run, "x := input.v", input={"v": [deep]}).id == "policy.input"
    assert refusal(run, "x := input.v", input={"v": [[deep], 0.5]}).id == "policy.input"


@pytest.mark.parametrize("value", ["a" * MAX_INPUT_BYTES, [[]] * (MAX_INPUT_BYTES // 32), ["a" * MAX_INPUT_BYTES, 0.5]])
def test_input_beyond_the_bound_is_refused_before_it_is_evaluated(run, value):
    error = refusal(run, "x := input.v", input={"v": value})
    assert error.id == "policy.input"
    assert "too large" in error.detail


@pytest.mark.parametrize("number", [0.5, 2**64])
def test_numbers_that_take_the_slow_way_come_in_small_inputs_only(run, number):
    assert run("x := count(input.v)", input={"v": [number, *range(900)]}) == 901
    assert refusal(run, "x := input.v", input={"v": [number, *range(1000)]}).id == "policy.input"
    assert refusal(run, "x := input.v", input={"v": [number, "a" * 32 * 1024]}).id == "policy.input"


def test_what_a_policy_does_not_read_never_reaches_the_engine(run):
    assert run("x := input.v", input={"v": 1, "w": "a" * 2 * MAX_INPUT_BYTES, "z": b"bytes"}) == 1


def test_data_changes_from_call_to_call_without_a_trace(run):
    text = 'x := [data.plugin, concat("/", data["resource-path"]), data.query.a]'
    for plugin in ("resource", "pkcs11", "resource"):
        data = {"plugin": plugin, "resource-path": ["a", plugin], "query": {"a": "1"}}
        assert run(text, data=data) == [plugin, f"a/{plugin}", "1"]
    assert run(text) is None


def test_data_is_read_through_imports_and_names(run):
    assert run("import data.plugin\nx := plugin", data={"plugin": "resource"}) == "resource"
    assert run("plugin := data.plugin\nx if plugin == \"resource\"", data={"plugin": "resource"}) is True


def test_input_cannot_pose_as_data(run):
    assert refusal(run, "x := data.plugin", input={"__data": {"plugin": "resource"}}).id == "policy.input"
    assert refusal(run, "x := 1", input={"__data": 1}, data={"plugin": "a"}).id == "policy.input"


@pytest.mark.parametrize(("value", "as_list"), [("aa", ["aa"]), (["aa", "bb"], ["aa", "bb"]), (7, [7]), ([], []),
                                                ({"1": "aa"}, [{"1": "aa"}])])
def test_reference_values_are_answered_as_registered_and_as_lists(run, value, as_list):
    text = 'x := [query_reference_value("v"), data.reference.v, data.reference_values.v]'
    assert run(text, reference_values={"v": value}) == [value, value, as_list]


def test_an_unregistered_reference_value_is_undefined(run):
    assert run('x := query_reference_value("v")', reference_values={"w": 1}) is None
    assert run('x if 5 >= query_reference_value("v")') is None


def test_reference_values_may_change_between_calls(run):
    text = 'x := query_reference_value("v")'
    values = [run(text, reference_values={"v": number}) for number in range(MAX_VARIANTS + 2)]
    assert values == list(range(MAX_VARIANTS + 2))
    assert run(text, reference_values='{"v":"text"}') == "text"


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"v":'])
def test_unreadable_reference_values_are_refused(run, text):
    assert refusal(run, "x := 1", reference_values=text).id == "policy.reference_values"


# What it may not say.

FORBIDDEN = {
    "http.send": 'http.send({"method": "get", "url": "http://127.0.0.1"})', "opa.runtime": "opa.runtime()",
    "net.lookup_ip_addr": 'net.lookup_ip_addr("localhost")', "net.cidr_expand": 'net.cidr_expand("10.0.0.0/8")',
    "time.now_ns": "time.now_ns()", "rand.intn": 'rand.intn("a", 2)', "uuid.rfc4122": 'uuid.rfc4122("a")',
    "numbers.range": "numbers.range(1, 1000000000)", "numbers.range_step": "numbers.range_step(1, 9, 2)",
    "bits.lsh": "bits.lsh(1, 1000000000)", "yaml.unmarshal": 'yaml.unmarshal("a: b")',
    "io.jwt.decode": 'io.jwt.decode("a")', "io.jwt.encode_sign": "io.jwt.encode_sign({}, {}, {})",
    "io.jwt.decode_verify": 'io.jwt.decode_verify("a", {})', "crypto.hmac.sha256": 'crypto.hmac.sha256("a", "b")',
    "crypto.x509.parse_certificates": 'crypto.x509.parse_certificates("a")',
    "providers.aws.sign_req": "providers.aws.sign_req({}, {}, 1)", "rego.parse_module": 'rego.parse_module("a", "b")',
    "regex.match": 'regex.match("^(a+)+$", input.v)', "regex.replace": 'regex.replace("a", "b", "c")',
    "json.unmarshal": "json.unmarshal(input.v)", "object.subset": "object.subset(input.v, [])",
    "time.parse_ns": 'time.parse_ns("2006", input.v)',
    "internal.print": 'print("a")', "graph.reachable_paths": "graph.reachable_paths({}, [])",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_each_function_that_is_not_allowed_is_refused(run, name):
    error = refusal(run, f"x := y if {{ y := {FORBIDDEN[name]} }}" if name != "internal.print" else
                    'x if { print("a") }')
    assert error.id in ("policy.builtin", "policy.function")
    assert error.got == name
    assert error.line == 3


@pytest.mark.parametrize("text", [
    "x := 1\nunused := opa.runtime()",
    'x := opa["runtime"]()',
    "x if { f(1) with f as opa.runtime }\nf(a) if a == 1",
    "x if { y with input as opa.runtime() }\ny if input.env",
    "x := [e | e := opa.runtime().env]",
    "x if { count([1]) == 1 with count as opa.runtime }",
], ids=["unused rule", "brackets", "function replaced", "input replaced", "comprehension", "builtin replaced"])
def test_no_detour_reaches_a_function_that_is_not_allowed(run, text):
    error = refusal(run, text)
    assert (error.id, error.got) == ("policy.builtin", "opa.runtime")


def test_a_function_that_does_not_exist_is_refused_with_its_line(run):
    error = refusal(run, "x := 1\n\ny := nosuch(1)")
    assert (error.id, error.got, error.line) == ("policy.function", "nosuch", 5)


@pytest.mark.parametrize(("text", "line"), [("x := 1\ny := := 2", 4), ("\n\nx := 1 +\n", 5), ("x := {1 2}", 3)])
def test_a_syntax_error_names_its_line(run, text, line):
    error = refusal(run, text)
    assert (error.id, error.line) == ("policy.syntax", line)


def test_rules_that_exclude_each_other_do_not_compile(run):
    assert refusal(run, "default x := 1\ndefault x := 2").id == "policy.syntax"


def test_a_failing_policy_prints_nothing(run, capfd):
    refusal(run, "x := := 2")
    refusal(run, "x := f(1)\nf(a) := f(a + 1)")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("source", "id"), [
    ("", "policy.package"), ("package other\nx := 1", "policy.package"),
    ("package policy.inner\nx := 1", "policy.package"),
    ('package policy["inner"]\nx := 1', "policy.package"), ("x := 1", "policy.package"),
    ("package policy\nx := \"\0\"", "policy.syntax"), ("package policy\nx := \"\ud800\"", "policy.syntax"),
    ('package policy\nx := $"{1}"', "policy.syntax"), ("package policy\nx := $`{1}`", "policy.syntax"),
    ("package policy\nx := " + "[" * (MAX_NESTING + 1) + "]" * (MAX_NESTING + 1), "policy.syntax"),
    ("package policy\n#" + "x" * MAX_POLICY_BYTES, "policy.size"),
])
def test_text_out_of_bounds_is_refused(engine, source, id):
    assert refusal(engine.compile, source, name="test").id == id


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["x", " := ", "1", "input", ".a", "[", "]", "{", "}", "(", ")", " if ", " some ", " in ", "\n", '"a"', "default ",
     " else ",
     "not ", "every ", "data.policy.x", "|", ",", " with ", " as ", "count"]), max_size=25).map("".join))
def test_no_text_raises_anything_but_a_policy_error(text):
    try:
        ENGINE.compile("package policy\n" + text, name="fuzz").evaluate("data.policy.x", input={"a": [1]})
    except PolicyError as error:
        assert error.id.startswith("policy.")  # noqa: PT017 - most texts raise, some do not


# What it costs.

def test_recursion_has_no_answer(run):
    assert refusal(run, "x := f(1)\nf(a) := f(a + 1)").id == "policy.evaluation"


def test_rules_that_disagree_have_no_answer(run):
    assert refusal(run, "x := 1 if input.a == 1\nx := 2 if input.b == 2",
                   input={"a": 1, "b": 2}).id == "policy.evaluation"


def test_text_that_is_no_text_has_no_answer(run):
    assert refusal(run, 'x := base64.decode("/w==")').id == "policy.evaluation"


def test_a_comprehension_bomb_has_no_answer(run):
    text = "x := count([1 | a := input.v[_]; b := input.v[_]; c := input.v[_]; d := input.v[_]])"
    error = refusal(run, text, input={"v": list(range(100))})
    assert error.id == "policy.evaluation"


def test_after_a_failure_the_policy_answers_again(run):
    text = "x := f(input.v)\nf(v) := 1 if v > 0\nf(v) := 2 if v > 1"
    assert refusal(run, text, input={"v": 2}).id == "policy.evaluation"
    assert run(text, input={"v": 1}) == 1
    assert refusal(run, text, input={"v": b""}).id == "policy.input"
    assert run(text, input={"v": 1}) == 1


def test_threads_get_their_own_answers(engine):
    policy = engine.compile("package policy\nx := [input.v, data.d, query_reference_value(\"r\")]", name="threads")

    def ask(number: int) -> bool:
        answer = policy.evaluate("data.policy.x", input={"v": number}, data={"d": number},
                                 reference_values={"r": number % 3})
        return answer == [number, number, number % 3]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))
