"""NVIDIA evidence in folders."""

from __future__ import annotations

import pytest

from tests.verifier.nvidia_cases import NONCE, case_of
from verifier.formats.nvidia_json import DeviceEvidence, evidence_of
from verifier.loose import folder, nvidia
from verifier.verify import inspect


def test_a_report_and_its_chain_are_evidence():
    device = case_of().device
    found = nvidia.assemble({"report.bin": device.report, "cert_chain.pem": device.chain})
    assert found == evidence_of(DeviceEvidence(device.report, device.chain))
    assert inspect(found)["nonce"] == NONCE


def test_a_report_of_another_tee_is_not_ours(snp_case):
    case = snp_case()
    report = case.maker.report(case.body)
    assert nvidia.assemble({"report.bin": report, "cert_chain.pem": b"chain"}) is None
    assert nvidia.assemble({"cert_chain.pem": b"chain"}) is None
    assert nvidia.assemble({}) is None
    assert nvidia.assemble({"report.bin": b"\x11"}) is None


def test_an_answer_of_a_service_beside_a_foreign_report_is_not_ours():
    assert nvidia.assemble({"report.bin": b"\x02", "detached_eat.json": b"[]"}) is None


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
def test_each_recorded_folder_is_told(corpus, case):
    path = corpus.folder(case)
    present = {name: (path / name).read_bytes() for name in nvidia.NAMES if (path / name).is_file()}
    assert nvidia.assemble(present) is not None


@pytest.mark.corpus("snp")
def test_no_recorded_folder_of_snp_is_taken_for_ours(corpus, case):
    path = corpus.folder(case)
    present = {name: (path / name).read_bytes() for name in nvidia.NAMES if (path / name).is_file()}
    assert nvidia.assemble(present) is None


def test_the_table_knows_this_module():
    assert nvidia.__name__ in folder.MODULES.values()
