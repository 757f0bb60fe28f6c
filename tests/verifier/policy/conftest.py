"""One engine for the folder, and inputs that every shipped policy calls affirming."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from verifier.policy.rego import RegoEngine
from verifier.policy.review import sample

HEADER = "package policy\nimport rego.v1\n"

GOOD: dict[str, dict[str, Any]] = {
    "tdx": {"tcb_status": "UpToDate", "flags": []},
    "sgx": {"tcb_status": "UpToDate", "flags": []},
    "snp": {"flags": []},
    "sample": {},
}
REFERENCE: dict[str, dict[str, Any]] = {
    "tdx": {"mr_td": ["aa" * 48], "rtmr_1": ["aa" * 48], "rtmr_2": ["bb" * 48, "aa" * 48],
            "xfam": ["e702060000000000"]},
    "sgx": {"sgx_mr_enclave": ["00" * 32]},
    "snp": {
        "snp_launch_measurement": ["00" * 48], "snp_min_bootloader": 1, "snp_min_tee_svn": 0, "snp_min_snp_svn": 2,
        "snp_min_microcode": 70, "snp_min_fmc": 0,
    },
    "sample": {"launch_digest": ["abcde"], "svn": ["1"]},
}


class Inputs:
    """Policy inputs and reference values that match them."""

    @staticmethod
    def good(tee: str, **members: Any) -> dict[str, Any]:
        """An input of ``tee`` that its shipped policy calls affirming (``sample``: nothing ever is)."""
        document = copy.deepcopy(sample(tee))
        document[tee] |= {**GOOD[tee], **members}
        return document

    @staticmethod
    def reference(tee: str, **values: Any) -> dict[str, Any]:
        """Reference values that match; a member that is None is taken out."""
        chosen = {**REFERENCE[tee], **values}
        return {name: value for name, value in chosen.items() if value is not None}

    @classmethod
    def paths(cls, value: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Every path to a member of nested objects, parents first."""
        if isinstance(value, dict):
            for key, item in value.items():
                yield (*before, key)
                yield from cls.paths(item, (*before, key))

    @staticmethod
    def parent(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """The object that holds the last step of ``path``."""
        for step in path[:-1]:
            document = document[step]
        return document


@pytest.fixture(scope="session")
def inputs() -> Inputs:
    return Inputs()


@pytest.fixture(scope="session")
def engine() -> RegoEngine:
    return RegoEngine()


@pytest.fixture
def run(engine):
    """``run("x := 1")``: the value of ``x`` in a policy with that text; more arguments as for ``evaluate``."""
    def evaluate(text: str, *, query: str = "data.policy.x", input: dict[str, Any] | None = None, **more: Any) -> Any:
        return engine.compile(HEADER + text, name="test").evaluate(query, input=input or {}, **more)
    return evaluate
