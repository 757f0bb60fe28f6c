"""Which files are NVIDIA's collateral."""

from __future__ import annotations

import pytest

from tests.verifier.nvidia_cases import KINDS, case_of
from verifier.collateral.nvidia_files import recognise
from verifier.endorsements.collateral import NvidiaCollateral
from verifier.errors import MalformedCollateral

MAKER = case_of().maker


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_maker_hands_out_is_recognised(kind):
    maker = case_of(kind).maker
    found = [recognise(data) for data in maker.collateral_files().values()]
    assert NvidiaCollateral().with_all_of(found) == NvidiaCollateral(**maker.collateral())


@pytest.mark.parametrize("data", [b"", b"<a/>", b"{}", b"0", b"text", MAKER.certificate("leaf"), MAKER.chain(),
                                  b"<!DOCTYPE html><html/>", MAKER.manifest("driver")[1:]])
def test_anything_else_is_not(data):
    assert recognise(data) is None


@pytest.mark.parametrize("data", [
    MAKER.manifest("driver")[:-5], MAKER.manifest("driver").replace(b"<ds:Signature ", b"<ds:Other "),
    MAKER.answer("line")[:-1], MAKER.answer("line") + b"\x00",
])
def test_a_damaged_manifest_or_answer_is_malformed(data):
    with pytest.raises(MalformedCollateral, match=r"^(collateral\.ocsp|collateral\.rim): "):
        recognise(data)


@pytest.mark.corpus("nvidia-rim", "nvidia-switch")
def test_recorded_manifests_are_recognised(corpus, case):
    for path in corpus.folder(case).glob("*.xml"):
        assert recognise(path.read_bytes()) == NvidiaCollateral(rims=(path.read_bytes(),))
