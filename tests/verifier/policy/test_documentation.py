"""docs/policies.md: its examples run, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from verifier.policy.builtins import ALLOWED
from verifier.policy.review import SAMPLES, review_attestation, review_release, sample

TEXT = (Path(__file__).parents[3] / "docs" / "policies.md").read_text("utf-8")
TOGETHER, RELEASE = re.findall(r"```rego\n(.*?)```", TEXT, re.DOTALL)
ATTESTATION = ("package policy\nimport rego.v1\ndefault executables := 33\n" + TOGETHER
               + 'trust_claims := {"executables": executables, "hardware": 2, "configuration": 2}\n')
IMAGE = {"mr_td": "aa" * 48, "rtmr_1": "aa" * 48, "rtmr_2": "aa" * 48}


def test_the_examples_draw_no_warning(engine):
    assert review_attestation(engine, ATTESTATION) == []
    assert review_release(engine, RELEASE) == []


@pytest.mark.parametrize(("images", "value"), [
    ([IMAGE], 3), ([{**IMAGE, "rtmr_2": "bb"}], 33), ([{**IMAGE, "rtmr_2": "bb"}, {**IMAGE, "mr_td": "bb"}], 33),
    ([], 33)])
def test_values_match_together(engine, inputs, images, value):
    answer = engine.compile(ATTESTATION, name="documentation").evaluate(
        "data.policy.executables", input=inputs.good("tdx"), reference_values={"images": images})
    assert answer == value


def test_every_member_of_every_input_is_in_the_table(inputs):
    for tee in SAMPLES:
        for path in inputs.paths(sample(tee)):
            if path[0] in ("runtime_data_claims", "init_data_claims") or path == (tee,) or path[-1] in ("quote",
                                                                                                        "flags"):
                continue
            name = path[-1].removeprefix("reported_tcb").removesuffix("_current") or path[-1]
            known = f"`{name}`" in TEXT or f"`input.{path[-1]}`" in TEXT or f"`reported_tcb{name}`" in TEXT
            assert known or f"`input.{'.'.join(path)}`" in TEXT or in_words(path), path


def in_words(path: tuple[str, ...]) -> bool:
    """Ranges, and the fields of an SGX quote, which the table does not list one by one."""
    return path[-1] in ("rtmr_1", "rtmr_2") or path[:2] in (("sgx", "body"), ("sgx", "header")) or path[-1] in (
        "major", "minor", "software", "report_data", "init_data", "td_attributes")


@pytest.mark.parametrize("name", ["json.unmarshal", "json.is_valid", "time.parse_ns", "object.subset", "regex.match"])
def test_functions_named_as_missing_are_missing(name):
    assert name not in ALLOWED


@pytest.mark.parametrize("name", ["startswith", "glob.match", "internal.member_2"])
def test_functions_named_as_there_are_there(name):
    assert name in ALLOWED
