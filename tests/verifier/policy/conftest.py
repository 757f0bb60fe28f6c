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
    "az-snp-vtpm": {"flags": []},
    "az-tdx-vtpm": {"tcb_status": "UpToDate", "flags": []},
    "tpm": {"flags": []},
    "nitro": {"flags": []},
    "cca": {"flags": []},
    "csv": {"flags": [], "policy": {**sample("csv")["csv"]["policy"], "noks": True, "nosend": True}},
    "nvidia": {"flags": []},
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
    "az-snp-vtpm": {
        "measurement": ["00" * 48], "snp_pcr04": ["00" * 32], "snp_pcr11": ["11" * 32, "00" * 32],
        "tcb_min_bootloader": 1, "tcb_min_tee": 0, "tcb_min_snp": 2, "tcb_min_microcode": 70, "tcb_min_fmc": 0,
    },
    "az-tdx-vtpm": {"mr_td": ["aa" * 48], "tdx_pcr04": ["00" * 32], "tdx_pcr11": ["00" * 32],
                    "xfam": ["e702060000000000"]},
    "tpm": {"tpm_pcr00": ["00" * 32], "tpm_pcr04": ["00" * 32], "tpm_pcr11": ["00" * 32], "trusted_aks": ["00" * 32]},
    "nitro": {"nitro_pcr0": ["00" * 48], "nitro_pcr1": ["00" * 48], "nitro_pcr2": ["00" * 48]},
    "cca": {"cca_realm_initial_measurement": ["00" * 32], "cca_implementation_id": ["00" * 32],
            "cca_platform_measurement": ["00" * 32]},
    "csv": {"csv_measure": ["00" * 32]},
    "nvidia": {"allowed_driver_versions": ["580.10.01"], "allowed_vbios_versions": ["96.00.AB.00.01"],
               "allowed_switch_bios_versions": ["96.10.55.00.01"]},
    "sample": {"launch_digest": ["abcde"], "svn": ["1"]},
}


class Inputs:
    """Policy inputs and reference values that match them."""

    @staticmethod
    def good(tee: str, **members: Any) -> dict[str, Any]:
        """An input of ``tee`` that its shipped policy calls affirming (``sample``: nothing ever is)."""
        document = copy.deepcopy(sample(tee))
        document[tee] |= copy.deepcopy({**GOOD[tee], **members})
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
