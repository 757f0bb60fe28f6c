"""What policies see of init data."""

from __future__ import annotations

import time

import pytest

from kbs.protocol.init_data import parse
from kbs.services.init_data_claims import init_data_claims


def claims(**entries):
    data = "\n".join(f'"{name}" = """\n{text}"""' for name, text in entries.items())
    return init_data_claims(parse(f'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n{data}\n'.encode()))


def test_entries_are_told_and_toml_entries_as_their_values():
    told = claims(**{"aa.toml": "a = 1\n[b]\nc = 2026-01-01\n", "cdh.toml": "d = [1, true]\n", "x": "a = 1\n"})
    assert told == {"aa.toml": {"a": 1, "b": {"c": "2026-01-01"}}, "cdh.toml": {"d": [1, True]}, "x": "a = 1\n"}


@pytest.mark.parametrize("text", ["not toml", "a = ", "a.b.c" * 400 + " = 1", "x" * 70_000, "a = " + "[" * 600])
def test_toml_that_cannot_be_read_stays_text(text):
    assert claims(**{"aa.toml": text})["aa.toml"] == text


def test_policy_data_at_the_end_of_the_agents_policy_is_told():
    told = claims(**{"policy.rego": 'package agent_policy\npolicy_data := {"images": ["a"]}\n'})
    assert told["agent_policy_claims"] == {"images": ["a"]}


@pytest.mark.parametrize("text", [
    "package agent_policy\n", "policy_data := {not json}\n", 'policy_data := {"a": 1}\nmore := 1\n',
    'policy_data := {"a": 1, "a": 2}\n', "policy_data := [1]\n", 'x_policy_data := {"a": 1}\n',
])
def test_anything_else_is_no_policy_data(text):
    assert "agent_policy_claims" not in claims(**{"policy.rego": text})


def test_large_agent_policy_takes_no_time_worth_mentioning():
    begun = time.process_time()
    claims(**{"policy.rego": "policy_data := {" * 20_000})
    assert time.process_time() - begun < 5
