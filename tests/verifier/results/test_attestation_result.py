"""The result for an attester of several parts, and the token made of it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from verifier.errors import SetupError
from verifier.results.attestation_result import AttestationResult, SubmoduleResult
from verifier.results.ear import ANNOTATED_EVIDENCE, EAT_PROFILE, RESERVED_CLAIMS, ear_claims
from verifier.results.trust_vector import TrustVector
from verifier.trail import Check

VECTORS = {"none": TrustVector(), "affirming": TrustVector(hardware=2), "warning": TrustVector(hardware=32),
           "contraindicated": TrustVector(hardware=97)}
ORDER = list(VECTORS)
NOW = 1_800_000_000


def part(name: str = "cpu0", status: str = "affirming", **members: Any) -> SubmoduleResult:
    chosen = {"tee": "tdx", "policy_id": "default_tdx", "policy_digest": bytes(32), "software": False,
              "claims": {"tdx": {"software": False}, "report_data": "00"}, **members}
    return SubmoduleResult(name=name, vector=VECTORS[status], **chosen)


def result(*parts: SubmoduleResult, valid_until: int = NOW + 3600) -> AttestationResult:
    return AttestationResult(submods=parts or (part(),), valid_until=valid_until)


def token(outcome: AttestationResult | None = None, **members: Any) -> dict[str, Any]:
    chosen = {"issued_at": NOW, "issuer": "https://broker", "verifier_id": {"build": "b", "developer": "d"},
              "lifetime": 300, "audience": "broker", "nonce": "nonce", "jti": "id", **members}
    return ear_claims(outcome or result(), **chosen)


@pytest.mark.parametrize("statuses", list(itertools.product(ORDER, repeat=3)))
def test_the_worst_part_decides(statuses):
    parts = [part(f"cpu{index}", status) for index, status in enumerate(statuses)]
    assert result(*parts).status == max(statuses, key=ORDER.index)


@pytest.mark.parametrize("parts", [(), (part("cpu0"), part("cpu0"))])
def test_parts_are_needed_and_have_names_of_their_own(parts):
    with pytest.raises(SetupError) as caught:
        AttestationResult(submods=parts, valid_until=NOW)
    assert caught.value.id == "attestation_result.submods"


def test_software_in_one_part_marks_the_whole():
    assert result(part("cpu0"), part("gpu0", software=True)).software is True
    assert result(part("cpu0"), part("gpu0")).software is False


def test_explanations_are_told_under_their_part():
    check = Check("hardware.tcb_status", False, ["UpToDate"], "OutOfDate")
    assert result(part("gpu0", explanation=(check,))).explanation == (check._replace(id="gpu0.hardware.tcb_status"),)


def test_a_token_says_what_the_result_says():
    claims = token(result(part("cpu0"), part("gpu0", "warning", policy_id="mine")))
    assert claims["eat_profile"] == EAT_PROFILE == "tag:github.com,2024:confidential-containers/Trustee"
    assert (claims["iss"], claims["aud"], claims["eat_nonce"], claims["jti"]) == ("https://broker", "broker", "nonce",
                                                                                  "id")
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (NOW, NOW, NOW + 300)
    assert claims["ear.verifier-id"] == {"build": "b", "developer": "d"}
    assert {name: part["ear.status"] for name, part in claims["submods"].items()} == {"cpu0": "affirming",
                                                                                      "gpu0": "warning"}
    assert claims["submods"]["gpu0"]["ear.appraisal-policy-id"] == "mine"
    assert claims["submods"]["cpu0"]["ear.trustworthiness-vector"] == VECTORS["affirming"].to_dict()
    assert claims["submods"]["cpu0"]["ear.attestkit.policy-digest"] == "00" * 32
    assert claims["submods"]["cpu0"][ANNOTATED_EVIDENCE] == {"tdx": {"software": False}, "report_data": "00"}
    assert json.loads(json.dumps(claims)) == claims


def test_a_token_ends_with_its_result():
    assert token(result(valid_until=NOW + 10))["exp"] == NOW + 10
    assert token(result(valid_until=NOW + 300))["exp"] == NOW + 300


@pytest.mark.parametrize(("valid_until", "lifetime"), [(NOW, 300), (NOW - 1, 300), (NOW + 300, 0), (NOW + 300, -5)])
def test_no_token_is_made_of_a_result_that_has_ended(valid_until, lifetime):
    with pytest.raises(SetupError) as caught:
        token(result(valid_until=valid_until), lifetime=lifetime)
    assert caught.value.id == "ear.lifetime"


def test_extensions_stand_beside_the_verifiers_claims():
    extended = part(extensions={"ear.trustee.identifiers": {"validated": {}}})
    assert token(result(extended))["submods"]["cpu0"]["ear.trustee.identifiers"] == {"validated": {}}


@pytest.mark.parametrize("name", sorted(RESERVED_CLAIMS))
def test_an_extension_cannot_pose_as_the_verifiers_claim(name):
    with pytest.raises(SetupError) as caught:
        token(result(part(status="warning", extensions={name: "affirming"})))
    assert caught.value.id == "ear.extensions"


@pytest.mark.parametrize("verifier_id", [{}, {"build": "b"}, {"build": "b", "developer": "d", "more": 1}])
def test_a_verifier_names_build_and_developer(verifier_id):
    with pytest.raises(SetupError) as caught:
        token(verifier_id=verifier_id)
    assert caught.value.id == "ear.verifier_id"
