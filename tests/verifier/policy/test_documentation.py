"""docs/policies.md: its examples run, and its tables are complete."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from kbs.services.verification import LEFT_TO_POLICY
from verifier.appraisal.expectations import Expectations
from verifier.policy.builtins import ALLOWED
from verifier.policy.defaults import SHIPPED, shipped
from verifier.policy.review import SAMPLES, review_attestation, review_release, sample

TEXT = (Path(__file__).parents[3] / "docs" / "policies.md").read_text("utf-8")
TOGETHER, RELEASE, WHOLE_MACHINE = re.findall(r"```rego\n(.*?)```", TEXT, re.DOTALL)
ATTESTATION = ("package policy\nimport rego.v1\ndefault executables := 33\n" + TOGETHER
               + 'trust_claims := {"executables": executables, "hardware": 2, "configuration": 2}\n')
IMAGE = {"mr_td": "aa" * 48, "rtmr_1": "aa" * 48, "rtmr_2": "aa" * 48}


def test_the_examples_draw_no_warning(engine):
    assert review_attestation(engine, ATTESTATION) == []
    assert review_release(engine, RELEASE) == []
    assert review_release(engine, WHOLE_MACHINE) == []


def test_a_whole_machine_is_a_part_for_each_of_its_devices(engine):
    def allow(names, **statuses):
        parts = {name: {"ear.status": "affirming"} for name in names} | {
            name: {"ear.status": status} for name, status in statuses.items()}
        return engine.compile(WHOLE_MACHINE, name="documentation").evaluate(
            "data.policy.allow", input={"submods": parts}, data={"plugin": "resource"})

    whole = ["cpu0", *(f"gpu{number}" for number in range(8)), "switch0", "switch1"]
    assert allow(whole) is True
    assert not any(allow([name for name in whole if name != missing]) for missing in whole)
    assert not any(allow(whole, **{name: "warning"}) for name in whole)
    assert allow([*whole, "gpu8"]) is False
    assert allow([*whole[:-1], "gpu8"]) is False


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
            if path[-1].isdecimal():
                continue  # a measurement, by its number
            name = path[-1].removeprefix("reported_tcb").removesuffix("_current") or path[-1]
            known = f"`{name}`" in TEXT or f"`input.{path[-1]}`" in TEXT or f"`reported_tcb{name}`" in TEXT
            as_on_tdx = ".".join(("tdx" if path[0] == "az-tdx-vtpm" else path[0], *path[1:]))
            assert known or f"`input.{as_on_tdx}`" in TEXT or in_words(path), path


def in_words(path: tuple[str, ...]) -> bool:
    """Ranges, and the fields of an SGX quote, which the table does not list one by one."""
    if re.fullmatch(r"pcr[0-9]{1,2}", path[-1]):
        return path[:-1] in (("nitro", "pcrs"), ("tpm",), ("az-snp-vtpm", "tpm"), ("az-tdx-vtpm", "tpm"))
    return path[-1] in ("rtmr_1", "rtmr_2", "rtmr1", "rtmr2", "rtmr3") or path[:2] in (
        ("sgx", "body"), ("sgx", "header")) or path[-1] in (
        "major", "minor", "software", "report_data", "init_data", "td_attributes", "tpm", "pcrs", "rims", "driver",
        "vbios", "realm", "platform")


@pytest.mark.parametrize("tee", [name for name in SHIPPED if name not in ("sample", "release")])
def test_every_reference_value_of_the_shipped_policies_is_in_the_table(tee):
    text = shipped(tee)
    for name in set(re.findall(r"data\.reference_values\.(\w+)", text)):
        assert f"`{name}`" in TEXT, (tee, name)


def test_what_can_be_pinned_and_every_objection_is_in_the_other_document():
    text = (Path(__file__).parents[3] / "docs" / "expectations.md").read_text("utf-8")
    ranges = {"rtmr1", "rtmr2", "csv_rtmr2", "csv_rtmr3"}
    assert not [name.name for name in fields(Expectations) if f"`{name.name}`" not in text and name.name not in ranges]
    flags = [flag for flag in LEFT_TO_POLICY if flag not in ("UNSIGNED", "VMPL2", "VMPL_HOST")]
    assert not [flag for flag in flags if f"`{flag}`" not in text]


@pytest.mark.parametrize("name", ["json.unmarshal", "json.is_valid", "time.parse_ns", "object.subset", "regex.match"])
def test_functions_named_as_missing_are_missing(name):
    assert name not in ALLOWED


@pytest.mark.parametrize("name", ["startswith", "glob.match", "internal.member_2"])
def test_functions_named_as_there_are_there(name):
    assert name in ALLOWED
