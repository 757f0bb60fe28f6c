"""Who may have a resource where the owner sets no release policy."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from verifier.policy.defaults import shipped
from verifier.policy.review import sample_token

REQUEST = {"plugin": "resource", "resource-path": ["repository", "type", "tag"], "query": {}}
STATUSES = ("none", "affirming", "warning", "contraindicated")


@pytest.fixture
def allow(engine):
    def evaluate(token: dict[str, Any], **request: Any) -> Any:
        return engine.compile(shipped("release"), name="release").evaluate(
            "data.policy.allow", input=token, data={**REQUEST, **request})
    return evaluate


def token(**statuses: Any) -> dict[str, Any]:
    """A token whose parts have the given statuses."""
    claims = sample_token("tdx")
    cpu = claims["submods"].pop("cpu0")
    claims["submods"] = {name: {**copy.deepcopy(cpu), "ear.status": status} for name, status in statuses.items()}
    return claims


@pytest.mark.parametrize("status", STATUSES)
def test_only_an_affirming_attester_gets_a_resource(allow, status):
    assert allow(token(cpu0=status)) is (status == "affirming")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("place", range(8))
def test_one_part_that_is_not_affirming_refuses_all(allow, status, place):
    parts = dict.fromkeys(["cpu0", *(f"gpu{index}" for index in range(7))], "affirming")
    parts[list(parts)[place]] = status
    assert allow(token(**parts)) is (status == "affirming")


@pytest.mark.parametrize("parts", [{}, {"gpu0": "affirming"}, {"cpu1": "affirming"}])
def test_a_token_without_the_cpus_own_part_is_refused(allow, parts):
    assert allow(token(**parts)) is False


@pytest.mark.parametrize("part", [None, True, 1, "affirming", ["affirming"], {}, {"ear.status": ["affirming"]},
                                  {"ear.status": None}, {"ear.status": "Affirming"}, {"status": "affirming"}])
def test_a_part_of_the_wrong_shape_is_refused(allow, part):
    claims = token(cpu0="affirming")
    claims["submods"]["gpu0"] = part
    assert allow(claims) is False
    claims["submods"] = {"cpu0": part}
    assert allow(claims) is False


@pytest.mark.parametrize("submods", [None, [], ["cpu0"], "cpu0", 1, [{"ear.status": "affirming"}]])
def test_a_token_without_parts_is_refused(allow, submods):
    assert allow({**token(), "submods": submods}) is False
    assert allow({}) is False


@pytest.mark.parametrize("plugin", ["", "Resource", "resources", "pkcs11", "nebula-ca", None, ["resource"]])
def test_other_plugins_are_refused(allow, plugin):
    assert allow(token(cpu0="affirming"), plugin=plugin) is False


def test_without_a_request_nothing_is_released(engine):
    policy = engine.compile(shipped("release"), name="release")
    assert policy.evaluate("data.policy.allow", input=token(cpu0="affirming")) is False


def test_the_refusal_names_the_part(engine):
    policy = engine.compile(shipped("release"), name="release")
    why = policy.evaluate("data.policy.why", input=token(cpu0="affirming", gpu0="warning"), data=REQUEST)
    assert [rule for rule in why if not rule["ok"]] == [
        {"rule": "release.all_parts", "ok": False, "expected": "affirming",
         "got": {"cpu0": "affirming", "gpu0": "warning"}}]
