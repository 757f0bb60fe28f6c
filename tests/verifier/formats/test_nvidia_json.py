"""Evidence of several devices in JSON."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import case_of
from verifier.errors import EvidenceError, MalformedEvidence
from verifier.evidence import Tee
from verifier.formats import coco_evidence
from verifier.formats.nvidia_json import (
    MAX_DEVICES,
    DeviceEvidence,
    RemoteClaims,
    evidence_from_json,
    evidence_of,
    evidence_to_json,
    read,
)

DEVICE = DeviceEvidence(b"report", b"chain", "HOPPER", "GPU-1")
TOLD = {"arch": "HOPPER", "uuid": "GPU-1", "evidence": "cmVwb3J0", "certificate": "Y2hhaW4="}


def listed(*devices: object) -> dict[str, object]:
    return {"device_evidence_list": list(devices)}


def test_the_form_of_confidential_containers():
    evidence = evidence_from_json(listed(TOLD, TOLD))
    assert evidence.tee is Tee.NVIDIA
    assert read(evidence.quote) == (DEVICE, DEVICE)
    assert evidence_to_json(evidence) == listed(TOLD, TOLD)
    assert coco_evidence.read(json.dumps(listed(TOLD)).encode()) == evidence_of(DEVICE)
    assert coco_evidence.evidence_from_json(Tee.NVIDIA, coco_evidence.evidence_to_json(evidence)) == evidence


@pytest.mark.parametrize("change", [{"arch": None}, {"uuid": None}])
def test_a_sender_may_say_nothing_of_its_devices(change):
    (device,) = read(evidence_from_json(listed(TOLD | change)).quote)
    assert getattr(device, next(iter(change))) is None
    (silent,) = read(evidence_from_json(listed({k: TOLD[k] for k in ("evidence", "certificate")})).quote)
    assert silent == DeviceEvidence(b"report", b"chain")


@pytest.mark.parametrize("value", [
    {}, listed(), listed(*[TOLD] * (MAX_DEVICES + 1)), listed(TOLD) | {"more": 1}, {"device_evidence_list": TOLD},
    listed("text"), listed(None), listed(TOLD | {"more": 1}), listed({"evidence": "cmVwb3J0"}),
    listed(TOLD | {"evidence": "cmVwb3J0="}), listed(TOLD | {"evidence": "cmVw b3J0"}),
    listed(TOLD | {"evidence": None}),
    listed(TOLD | {"certificate": 1}), listed(TOLD | {"evidence": "A" * 200_000}), listed(TOLD | {"arch": 1}),
    listed(TOLD | {"arch": ""}), listed(TOLD | {"uuid": "x" * 200}), listed(TOLD | {"uuid": ["x"]}),
])
def test_another_form_is_malformed(value):
    with pytest.raises(MalformedEvidence, match=r"^(evidence\.nvidia|format\.base64): "):
        evidence_from_json(value)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'"text"', b"{",
                                  b'{"device_evidence_list": [], "device_evidence_list": []}', b"[" * 100,
                                  b"[[[]]]", b'[["JWT"], {}]', b'[["JWT", 5], {}]', b'[["JWT", "x"], {}]'])
def test_another_text_is_malformed(text):
    with pytest.raises(MalformedEvidence, match=r"^(evidence\.nvidia|format\.json): "):
        read(text)


def token(algorithm: object) -> str:
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
                  for part in ({"alg": algorithm}, {"sub": "NVIDIA-PLATFORM-ATTESTATION"}))
    return f"{head}.{body}.c2lnbmF0dXJl"


@pytest.mark.parametrize("algorithm", ["ES384", "HS256", "none"])
def test_answers_of_a_service_are_told_apart(algorithm):
    jwt = token(algorithm)
    for value in ([["JWT", jwt], {"GPU-0": jwt}], {"detached_eat": [["JWT", jwt], {}]}, {"eat": jwt},
                  {"claims": [], "detached_eat": [["JWT", jwt], {}], "result_code": 0}):
        assert read(json.dumps(value).encode()) == RemoteClaims(algorithm)


@pytest.mark.parametrize("jwt", ["a.b.c", "...", "e30.e30.e30", token(5), token("x" * 200)])
def test_a_token_without_an_algorithm_is_malformed(jwt):
    with pytest.raises(MalformedEvidence, match=r"^(evidence\.nvidia|format\.base64): "):
        read(json.dumps({"eat": jwt}).encode())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["device_evidence_list", "evidence", "certificate", "arch", "eat", "JWT"]), inner, max_size=3),
                    max_leaves=12))
def test_any_json_is_read_or_malformed(value):
    try:
        read(json.dumps(value).encode())
    except EvidenceError:
        return


def test_the_makers_evidence_survives_the_round_trip():
    evidence = case_of().evidence
    assert evidence_from_json(evidence_to_json(evidence)) == evidence
