"""A TD with its GPUs and switches: every part counts, and only what the primary evidence vouches for is looked at.

Composite evidence (K-10), and whose GPU it is that answers, for which challenge and beside which processor (O-13).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbs.protocol.init_data import parse
from kbs.protocol.runtime_data import device_digest, primary_digest, report_data_for
from kbs.services.verification import MAX_PARTS
from tests.kbs.conftest import SECRET, Guest
from tests.kbs.makers import devices_json
from verifier.formats.spdm_report import OpaqueType
from verifier.software_tee.nvidia import DeviceImage, SmallNvidia, tcb_info

# The policy of a whole machine in docs/policies.md.
DOCUMENT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text("utf-8")
WHOLE_MACHINE = re.findall(r"```rego\n(.*?)```", DOCUMENT, re.DOTALL)[2]
ERRORS = "https://github.com/confidential-containers/kbs/errors/"
POLICIES = "/kbs/v0/attestation-policy"


@pytest.fixture
def device(makers):
    """``device("hopper", 2)``: the second GPU."""
    return makers[0].device


@pytest.fixture
def host(makers_world):
    """A guest that has shaken hands with the given devices beside it."""
    def make(*devices: SmallNvidia) -> Guest:
        return makers_world.guest().with_devices(*devices)
    return make


def refused(answer: Any, status: int, id: str) -> None:
    assert (answer.status_code, answer.json.get("id")) == (status, id)


def parts(guest: Guest) -> dict[str, str]:
    return {name: part["ear.status"] for name, part in guest.claims()["submods"].items()}


def evidence_of(guest: Guest, part: str) -> dict[str, Any]:
    return guest.claims()["submods"][part]["ear.veraison.annotated-evidence"]


def listed(guest: Guest) -> list[dict[str, Any]]:
    return json.loads(guest.additional)["nvidia"]["device_evidence_list"]


def with_list(devices: list[dict[str, Any]]) -> str:
    return json.dumps({"nvidia": {"device_evidence_list": devices}})


# -- what should work --------------------------------------------------------------------------------------------------


def test_a_td_with_two_gpus_and_a_switch_is_served(host, device):
    guest = host(device("hopper", 1), device("switch"), device("hopper", 2))
    assert guest.attest().status_code == 200
    assert parts(guest) == dict.fromkeys(("cpu0", "gpu0", "switch0", "gpu1"), "affirming")
    assert guest.open(guest.get()) == SECRET


def test_devices_are_numbered_by_class_in_the_order_of_the_evidence(host, device):
    made = [device("hopper", 3), device("switch", 2), device("hopper", 1), device("switch", 1), device("blackwell")]
    guest = host(*made)
    assert guest.attest().status_code == 200
    names = ("gpu0", "switch0", "gpu1", "switch1", "gpu2")
    assert [evidence_of(guest, name)["nvidia"]["chip_serial"] for name in names] == [
        f"{maker.image.chip_serial:X}" for maker in made]
    assert {evidence_of(guest, name)["nvidia"]["gpu_count"] for name in names} == {3}


def test_what_a_sender_says_of_a_device_is_no_claim(host, device):
    guest = host(device("hopper"))
    devices = listed(guest)
    devices[0]["uuid"] = "GPU-00000000-0000-0000-0000-000000000000"
    guest.additional = with_list(devices)
    assert guest.attest().status_code == 200
    assert "GPU-0000" not in json.dumps(guest.claims())
    guest = host(device("hopper"))
    devices = listed(guest)
    devices[0]["arch"] = "BLACKWELL"
    guest.additional = with_list(devices)
    refused(guest.attest(), 403, "nvidia.device.arch")


def test_only_the_processor_has_init_data(host, device, makers_world):
    body = 'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = ""\n'
    guest = host(device("hopper"))
    message = guest.message(**{"init-data": {"format": "toml", "body": body}})
    report_data = report_data_for("tdx", primary_digest(guest.nonce, guest.jwk, guest.additional))
    message["tee-evidence"]["primary_evidence"] = guest.evidence(report_data, parse(body.encode()).field_for("tdx"))
    assert guest.attest(message).status_code == 200
    assert "init_data_claims" in evidence_of(guest, "cpu0")
    assert "init_data_claims" not in evidence_of(guest, "gpu0")
    assert evidence_of(guest, "gpu0")["runtime_data_claims"] == evidence_of(guest, "cpu0")["runtime_data_claims"]
    assert makers_world.records()[-1]["outcome"] == "allowed"


def test_the_log_has_the_verdict_on_the_evidence_and_the_result_of_each_device(host, device, makers_world):
    guest = host(device("hopper", 1), device("hopper", 2))
    assert guest.attest().status_code == 200
    decision = makers_world.records()[-1]["decision"]
    assert set(decision["verification"]) == {"cpu0", "nvidia"}
    assert "nvidia.binding.report_data" in {check["id"] for check in decision["verification"]["nvidia"]["checks"]}
    assert set(decision["appraisal"]) == {"cpu0", "gpu0", "gpu1"}


def test_other_processors_have_devices_too(makers_world, device):
    guest = makers_world.guest("az-snp-vtpm").with_devices(device("hopper"))
    assert guest.attest().status_code == 200
    assert parts(guest) == {"cpu0": "affirming", "gpu0": "affirming"}


def test_another_processors_evidence_and_devices_stand_beside_each_other(makers_world, device):
    guest = makers_world.guest()
    guest.auth()
    tpm = makers_world.guest("tpm", nonce=guest.nonce, key=guest.key)
    digest = report_data_for("tpm", device_digest(guest.nonce, guest.jwk))
    guest.additional = json.dumps({"nvidia": guest.devices(device("hopper")), "tpm": tpm.evidence(digest)})
    assert guest.attest().status_code == 200
    assert parts(guest) == {"cpu0": "affirming", "gpu0": "affirming", "cpu1": "affirming"}


# -- K-10: the set of evidence -----------------------------------------------------------------------------------------


ALTERED: dict[str, Callable[[list[Any], list[Any]], list[Any]]] = {
    "dropped": lambda own, other: own[:-1], "doubled": lambda own, other: [*own, own[0]],
    "reordered": lambda own, other: own[::-1], "swapped": lambda own, other: [own[0], other[0], own[2]],
    "added": lambda own, other: [*own, other[0]], "none left": lambda own, other: [],
}


@pytest.mark.parametrize("how", ALTERED)
def test_k10_devices_altered_after_the_primary_evidence_was_made_are_refused(host, device, how):
    guest = host(device("hopper", 1), device("hopper", 2), device("switch"))
    message = guest.message()
    other = json.loads(json.dumps({"nvidia": guest.devices(device("hopper", 3))}))["nvidia"]["device_evidence_list"]
    altered = with_list(ALTERED[how](listed(guest), other))
    message["tee-evidence"]["additional_evidence"] = altered
    # Without a device there is no NVIDIA evidence at all.
    id = "evidence.nvidia" if how == "none left" else "tdx.binding.report_data"
    refused(guest.attest(message), 403, id)


@pytest.mark.parametrize("text", ["", "{}", " ", "again"])
def test_k10_evidence_left_out_or_written_another_way_is_refused(host, device, text):
    guest = host(device("hopper"))
    message = guest.message()
    message["tee-evidence"]["additional_evidence"] = guest.additional + " " if text == "again" else text
    answer = guest.attest(message)
    assert (answer.status_code, answer.json["id"]) == (
        (400, "protocol.additional_evidence.json") if text == " " else (403, "tdx.binding.report_data"))


@pytest.mark.parametrize("name", ["sampledevice", "hygondcu", "gpu", "nvidia-dpu", "sample", "se", "nvidia2"])
def test_k10_an_unknown_kind_of_device_is_refused(host, device, name):
    guest = host(device("hopper"))
    guest.additional = json.dumps({"nvidia": guest.devices(device("hopper")), name: {}})
    answer = guest.attest()
    refused(answer, 400, "attestation.tee")
    assert answer.json["type"] == ERRORS + "AttestationError"


def test_k10_a_kind_in_another_spelling_is_refused(host, device):
    guest = host(device("hopper"))
    guest.additional = json.dumps({"NVIDIA": guest.devices(device("hopper"))})
    refused(guest.attest(), 400, "protocol.additional_evidence.shape")


def test_k10_a_kind_that_comes_twice_is_refused(host, device):
    guest = host(device("hopper", 1))
    one, two = guest.devices(device("hopper", 1)), guest.devices(device("hopper", 2))
    guest.additional = f'{{"nvidia": {json.dumps(one)}, "nvidia": {json.dumps(two)}}}'
    refused(guest.attest(), 400, "protocol.additional_evidence.duplicate_key")


@pytest.mark.parametrize("tee", ["tdx", "tpm", "az-snp-vtpm"])
def test_k10_the_primary_kind_again_is_refused(makers_world, tee):
    guest = makers_world.guest(tee)
    guest.auth()
    guest.additional = json.dumps({tee: guest.device_evidence(tee)})
    refused(guest.attest(), 403, "attestation.composite.duplicate")


def test_k10_a_device_is_never_the_primary_attester(makers_world):
    answer = makers_world.guest("nvidia").auth()
    refused(answer, 400, "attestation.tee")
    assert answer.json["detail"].endswith("csv, got nvidia)")  # what is served, and what was asked for


ONE_VBIOS = """package policy
import rego.v1
default executables := 33
executables := 3 if input.nvidia.vbios_version == "96.00.AB.00.01"
trust_claims := {"hardware": 2, "executables": executables, "configuration": 2}
"""


@pytest.mark.parametrize("place", range(8))
def test_k10_one_part_of_eight_that_is_not_affirmed_denies_the_whole(host, device, place, makers_world):
    """A GPU whose VBIOS the owner does not know."""
    gpus = [device("hopper", number) for number in range(1, 9)]
    gpus[place] = gpus[place].on(replace(gpus[place].image, vbios_version="96.00.AB.00.02"))
    assert makers_world.set_policy(ONE_VBIOS, "default_gpu").status_code == 200
    guest = host(*gpus)
    assert guest.attest().status_code == 200
    assert [status for status in parts(guest).values() if status != "affirming"] == ["warning"]
    assert parts(guest)[f"gpu{place}"] == "warning"
    refused(guest.get(), 403, "release.policy")


def test_k10_one_device_that_is_refused_earns_no_token(host, device):
    changed = device("hopper", 2).image
    changed = replace(changed, measurements=(bytes(48), *changed.measurements[1:]))
    guest = host(device("hopper", 1), device("hopper", 2).on(changed), device("hopper", 3))
    refused(guest.attest(), 403, "nvidia.accept.measurement_mismatch_0")
    assert guest.token == ""


def test_k10_the_expected_set_of_parts_is_the_release_policys(host, device, makers_world):
    """The policy of docs/policies.md: eight GPUs and two switches, or nothing is released."""
    assert makers_world.set_policy(WHOLE_MACHINE).status_code == 200
    gpus = [device("hopper", number) for number in range(1, 9)]
    switches = [device("switch", number) for number in (1, 2)]
    for chosen, whole in ((gpus + switches, True), (gpus[:7] + switches, False), (gpus + switches[:1], False),
                          (gpus, False), ([], False)):
        guest = host(*chosen) if chosen else makers_world.guest()
        if not chosen:
            guest.auth()
        assert guest.attest().status_code == 200
        if whole:
            assert guest.open(guest.get()) == SECRET
        else:
            refused(guest.get(), 403, "release.policy")


def test_k10_more_devices_than_a_token_can_hold_are_refused(host, makers):
    nvidia = makers[0].nvidia
    many = [nvidia.on(DeviceImage.of("switch", number)) for number in range(1, MAX_PARTS + 1)]
    guest = host(*many)
    refused(guest.attest(), 403, "attestation.composite.parts")
    assert host(*many[:-1]).attest().status_code == 200


# -- O-13: whose device, which challenge, which processor --------------------------------------------------------------


def test_o13_a_gpu_that_answered_another_challenge_is_refused(host, device):
    recorded, guest = host(device("hopper")), host(device("hopper"))
    guest.additional = recorded.additional
    refused(guest.attest(), 403, "nvidia.binding.report_data")


def test_o13_a_gpu_that_answered_for_another_guests_key_is_refused(host, device):
    guest, thief = host(device("hopper")), host(device("hopper"))
    nonce = report_data_for("nvidia", device_digest(guest.nonce, thief.jwk))
    guest.additional = json.dumps({"nvidia": devices_json(nonce, [device("hopper")])})
    refused(guest.attest(), 403, "nvidia.binding.report_data")


def test_o13_a_gpus_evidence_beside_another_processors_is_refused(host, device):
    """Evidence of GPU B, for the same challenge and key, where the processor vouches for GPU A."""
    guest = host(device("hopper", 1))
    message = guest.message()
    message["tee-evidence"]["additional_evidence"] = json.dumps({"nvidia": guest.devices(device("hopper", 2))})
    refused(guest.attest(message), 403, "tdx.binding.report_data")


def test_o13_the_same_gpu_twice_is_refused(host, device):
    refused(host(device("hopper", 1), device("hopper", 2), device("hopper", 1)).attest(), 403,
            "nvidia.devices.distinct")


def test_o13_the_same_gpu_twice_with_other_firmware_is_refused(host, device):
    """One chip, another key of its firmware: what tells chips apart stays with the chip."""
    gpu = device("hopper", 1)
    other = gpu.altered(leaf=lambda c: replace(c, serial=c.serial + 2))
    refused(host(gpu, other).attest(), 403, "nvidia.devices.distinct")


def test_o13_devices_that_answer_different_challenges_are_refused(host, device):
    guest, other = host(device("hopper", 1)), host(device("hopper", 2))
    guest.additional = with_list([*listed(guest), *listed(other)])
    refused(guest.attest(), 403, "nvidia.devices.nonce")


def test_o13_a_digest_placed_otherwise_is_refused(host, device):
    """The first 32 bytes of the digest, and nothing else of it."""
    guest = host(device("hopper"))
    digest = device_digest(guest.nonce, guest.jwk)
    for nonce in (digest[16:], digest[:31] + b"\0", bytes(32)):
        guest.additional = json.dumps({"nvidia": devices_json(nonce, [device("hopper")])})
        refused(guest.attest(), 403, "nvidia.binding.report_data")
        guest.auth()
        digest = device_digest(guest.nonce, guest.jwk)


def test_o13_a_switch_that_a_gpu_names_and_nobody_shows_is_the_policys_to_let_pass(host, makers_world, makers):
    linked = replace(DeviceImage.of("hopper", 1), pdi=DeviceImage.of("switch", 1).pdi, protected_pcie=True)
    gpu, switch = makers[0].nvidia.on(linked), makers[0].device("switch", 1)
    alone = host(gpu)
    assert alone.attest().status_code == 200
    assert evidence_of(alone, "gpu0")["nvidia"]["flags"] == ["SWITCHES_NOT_ATTESTED"]
    assert parts(alone)["gpu0"] == "warning"
    refused(alone.get(), 403, "release.policy")
    other = host(gpu, makers[0].device("switch", 2))
    assert other.attest().status_code == 200
    assert (parts(other)["gpu0"], parts(other)["switch0"]) == ("warning", "warning")
    whole = host(gpu, switch)
    assert whole.attest().status_code == 200
    assert whole.open(whole.get()) == SECRET
    assert makers_world.admin("DELETE", f"{POLICIES}/default_gpu").status_code == 200
    assert evidence_of(whole, "gpu0")["nvidia"]["protected_pcie"] is True


@pytest.mark.parametrize("flags", [b"\x00\x10", b"\x00\x20", b"\x00\x40"])
def test_o13_a_device_that_says_it_is_not_secure_is_refused_whatever_the_policy_says(host, makers_world, device, flags):
    everything = 'package policy\ntrust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'
    assert makers_world.set_policy(everything, "default_gpu").status_code == 200
    gpu = device("blackwell")
    guest = host(gpu.altered(leaf=lambda c: c.changed(tcb_info(gpu.image.fwid, flags))))
    answer = guest.attest()
    assert answer.status_code == 403
    assert answer.json["id"] in ("nvidia.accept.device_debug", "nvidia.accept.device_recovery",
                                 "nvidia.accept.device_not_secure")


def test_o13_a_device_under_an_unknown_root_is_refused(host, device):
    stranger = SmallNvidia.create(at=device("hopper").issued)
    refused(host(device("hopper", 1), stranger.on(DeviceImage.of("hopper", 2))).attest(), 403, "nvidia.chain.root")


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(("algorithm", "status", "id"), [
    ("HS256", 403, "nvidia.service.algorithm"), ("ES384", 503, "collateral.nvidia.service_keys"),
    ("none", 503, "collateral.nvidia.service_keys")])
def test_o13_the_word_of_an_attestation_service_is_not_taken_for_a_device(host, device, algorithm, status, id):
    token = f"{encoded({'alg': algorithm, 'typ': 'JWT'})}.{encoded({'measres': 'success'})}.AAAA"
    guest = host(device("hopper"))
    guest.additional = json.dumps({"nvidia": {"detached_eat": [["JWT", token], {}]}})
    answer = guest.attest()
    assert (answer.status_code, answer.json.get("id")) == (status, id)


def test_o13_a_gpu_without_manifests_is_told_and_not_affirmed(host, makers_world, makers):
    unknown = replace(DeviceImage.of("hopper", 1), driver_version="1.2.3")
    guest = host(makers[0].nvidia.on(unknown))
    assert guest.attest().status_code == 200
    assert evidence_of(guest, "gpu0")["nvidia"]["flags"] == ["MEASUREMENTS_NOT_COMPARED"]
    assert parts(guest)["gpu0"] == "warning"
    refused(guest.get(), 403, "release.policy")
    assert makers_world.records()[-1]["outcome"] == "refused"


# -- policies of classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["default_nvidia", "default_gpu", "default_switch"])
def test_devices_are_judged_by_their_own_policies(host, device, makers_world, policy):
    for name in ("default_gpu", "default_switch"):
        assert makers_world.admin("DELETE", f"{POLICIES}/{name}").status_code == 200
    everything = 'package policy\ntrust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'
    answer = makers_world.set_policy(everything, policy)
    assert answer.status_code == 200
    assert not [warning for warning in answer.json["warnings"] if "no TEE is judged by" in warning]
    guest = host(device("hopper"), device("switch"))
    assert guest.attest().status_code == 200
    judged = {name for name, status in parts(guest).items() if status == "affirming"} - {"cpu0"}
    assert judged == {"default_nvidia": {"gpu0", "switch0"}, "default_gpu": {"gpu0"},
                      "default_switch": {"switch0"}}[policy]


def test_the_shipped_policy_affirms_no_software_device(host, device, makers_world):
    for name in ("default_gpu", "default_switch"):
        assert makers_world.admin("DELETE", f"{POLICIES}/{name}").status_code == 200
    guest = host(device("hopper"), device("blackwell"), device("switch"))
    assert guest.attest().status_code == 200
    assert parts(guest) == {"cpu0": "affirming", **dict.fromkeys(("gpu0", "gpu1", "switch0"), "contraindicated")}
    for name in ("gpu0", "gpu1", "switch0"):
        vector = guest.claims()["submods"][name]["ear.trustworthiness-vector"]
        assert (vector["hardware"], vector["executables"], vector["configuration"]) == (97, 3, 3)
    refused(guest.get(), 403, "release.policy")


def test_a_policy_for_processors_says_nothing_of_devices(host, device, makers_world):
    for name in ("default_gpu", "default_switch"):
        assert makers_world.admin("DELETE", f"{POLICIES}/{name}").status_code == 200
    everything = 'package policy\ntrust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'
    assert makers_world.set_policy(everything, "default_cpu").status_code == 200
    guest = host(device("hopper"))
    assert guest.attest().status_code == 200
    assert parts(guest) == {"cpu0": "affirming", "gpu0": "contraindicated"}


def test_opaque_data_stays_out_of_the_token(host, device):
    """Only what is a claim by name; a token for many devices must stay a token."""
    guest = host(device("hopper"))
    assert guest.attest().status_code == 200
    assert OpaqueType.BOARD_ID.name not in json.dumps(guest.claims())
    assert len(guest.token) < 16 * 1024
