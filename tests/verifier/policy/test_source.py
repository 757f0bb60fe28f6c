"""Rego text as tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.policy.source import check_source, string_value, tokens, with_data_in_input

KEYS = ("plugin", "resource-path", "query")


@pytest.mark.parametrize(("text", "rewritten"), [
    ("x := data.plugin", "x := input.__data.plugin"),
    ('x := data["resource-path"][0]', 'x := input.__data["resource-path"][0]'),
    ("x := data[`resource-path`]", "x := input.__data[`resource-path`]"),
    ("import data.query", "import input.__data.query"),
    ("x := data . plugin", "x := input.__data . plugin"),
])
def test_what_is_read_under_data_is_read_under_input(text, rewritten):
    assert with_data_in_input(text, KEYS) == rewritten


@pytest.mark.parametrize("text", [
    "x := data.policy.y", "x := data.reference_values.mr_td", "x := input.data.plugin", "# data.plugin",
    'x := "data.plugin"', "x := `data.plugin`", "x := data[plugin]", "x := metadata.plugin", "x := data_plugin",
    "x := data",
    'x := data["plugin', "x := data.plug", 'x := "a\\"data.plugin"',
])
def test_everything_else_stays_as_it_is(text):
    assert with_data_in_input(text, KEYS) == text


@given(st.text(alphabet=st.sampled_from('data.plugin["]`#\n\\ x:='), max_size=60))
def test_lines_never_move(text):
    assert with_data_in_input(text, KEYS).count("\n") == text.count("\n")


@given(st.text())
def test_tokens_lie_in_order_and_within_the_text(text):
    end = 0
    for token in tokens(text):
        assert token.start >= end
        assert text[token.start:token.start + len(token.text)] == token.text
        assert token.line == text[:token.start].count("\n") + 1
        end = token.start + len(token.text)


def test_strings_and_comments_are_no_names():
    names = [token.text for token in tokens('a # b\n"c" `d` e') if token.kind == "name"]
    assert names == ["a", "e"]


def test_comments_may_come_before_the_package():
    check_source("# a policy\n\npackage policy # here\n\nimport rego.v1\n")


@pytest.mark.parametrize(("text", "value"), [('"a"', "a"), ('"a\\nb"', "a\nb"), ("`a\\nb`", "a\\nb"), ('"\\q"', None)])
def test_a_string_token_stands_for_its_text(text, value):
    assert string_value(text) == value
