"""Reference values: what may be one, and until when."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.reference_values.model import (
    MAX_DEPTH,
    MAX_NAME_LENGTH,
    MAX_VALUE_BYTES,
    ReferenceValue,
    ReferenceValueError,
    ReferenceValues,
)


def refusal(*arguments) -> ReferenceValueError:
    with pytest.raises(ReferenceValueError) as caught:
        ReferenceValue(*arguments)
    return caught.value


json_values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_a_value_is_kept_as_it_was_registered(value):
    entry = ReferenceValue("name", value)
    assert entry.plain() == value
    assert json.loads(ReferenceValues([entry]).json) == {"name": value}


@pytest.mark.parametrize(("value", "values"), [("aa", ("aa",)), (["aa", "bb"], ("aa", "bb")), ([], ()), (True, (True,)),
                                               (0, (0,))])
def test_a_single_value_counts_as_one_of_one(value, values):
    assert ReferenceValues.of({"name": value})["name"] == values


def test_what_was_registered_cannot_be_changed_afterwards():
    nested = {"list": ["aa"], "object": {"a": ["b"]}}
    values = ReferenceValues.of(nested)
    nested["list"].append("evil")
    nested["object"]["a"] = "evil"
    assert json.loads(values.json) == {"list": ["aa"], "object": {"a": ["b"]}}
    with pytest.raises(TypeError):
        values["object"][0]["a"] = "evil"
    with pytest.raises(TypeError):
        values["list"] = ()


@pytest.mark.parametrize("value", [None, [None], {"a": None}, math.nan, math.inf, b"aa", {1: "a"}, {"\ud800": 1},
                                   "\ud800",
                                   object(), {"aa"}])
def test_what_cannot_be_compared_is_refused(value):
    assert refusal("name", value).id == "reference_value.value"


def test_values_nest_to_the_bound_and_no_deeper():
    value: list = []
    for _ in range(MAX_DEPTH):
        value = [value]
    assert ReferenceValue("name", value).plain() == value
    assert refusal("name", [value]).id == "reference_value.value"


def test_a_value_beyond_the_bound_is_refused():
    assert refusal("name", "a" * MAX_VALUE_BYTES).id == "reference_value.size"


@pytest.mark.parametrize("name", ["", "a" * (MAX_NAME_LENGTH + 1), "line\nbreak", "nul\0", 1, None])
def test_a_name_is_short_printable_text(name):
    assert refusal(name, 1).id == "reference_value.name"


@pytest.mark.parametrize("name", ["mr_td", "https://example.org/a:b", "Ünïcödé", "a b"])
def test_any_printable_name_will_do(name):
    assert ReferenceValues.of({name: 1})[name] == (1,)


@pytest.mark.parametrize("expires", [-1, 1.5, "2030", True, 253_402_300_800])
def test_an_expiry_is_a_moment(expires):
    assert refusal("name", 1, expires).id == "reference_value.expires"


def test_a_value_is_good_until_the_second_before_it_expires():
    values = ReferenceValues([ReferenceValue("short", 1, 100), ReferenceValue("long", 2, 200),
                              ReferenceValue("ever", 3)])
    assert sorted(values.at(99)) == ["ever", "long", "short"]
    assert sorted(values.at(100)) == ["ever", "long"]
    assert sorted(values.at(199)) == ["ever", "long"]
    assert sorted(values.at(200)) == ["ever"]
    assert json.loads(values.at(200).json) == {"ever": 3}


def test_the_view_is_the_set_itself_while_nothing_has_expired():
    values = ReferenceValues.of({"a": 1}, expires=100)
    assert values.at(99) is values
    assert values.first_expiry == 100
    assert values.at(100).first_expiry is None
    assert len(values.at(100)) == 0


def test_a_later_entry_replaces_an_earlier_one():
    values = ReferenceValues([ReferenceValue("a", 1), ReferenceValue("a", 2, 50)])
    assert values["a"] == (2,)
    assert values.first_expiry == 50


def test_the_same_values_have_the_same_text_in_any_order():
    assert ReferenceValues.of({"b": 1, "a": 2}).json == ReferenceValues.of({"a": 2, "b": 1}).json == '{"a":2,"b":1}'


def test_a_missing_name_is_missing():
    values = ReferenceValues.of({"a": 1})
    assert "b" not in values
    with pytest.raises(KeyError):
        values["b"]


def test_nothing_of_the_values_is_printed():
    assert repr(ReferenceValues.of({"a": "measurement"})) == "ReferenceValues(['a'])"
