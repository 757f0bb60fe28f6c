"""One piece of evidence becomes one part, or one for each NVIDIA device; what was objected to stays objected to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verifier.nvidia_cases import NONCE, NvidiaCase, case_of
from verifier.appraisal.inputs import policy_input
from verifier.appraisal.submodules import submodules
from verifier.evidence import Tee
from verifier.formats.nvidia_json import DeviceEvidence
from verifier.software_tee.nvidia import DeviceImage, tcb_info

OTHER = b"\x01" * 48


def several(*makers):
    """Evidence of several devices with the manifests of each, and every answer."""
    devices: list[DeviceEvidence] = [maker.device_evidence(maker.body(NONCE)) for maker in makers]
    rims = {f"{number}-{name}": data for number, maker in enumerate(makers)
            for name, data in maker.manifests().items()}
    answers = {f"{number}-{role}": data for number, maker in enumerate(makers)
               for role, data in maker.answers().items()}
    return replace(case_of(), devices=tuple(devices), rims=rims, answers=answers)


def device(kind, number=1, **changes):
    return case_of().maker.on(replace(DeviceImage.of(kind, number), **changes))


def parts(case: NvidiaCase):
    verdict = case.verdict()
    assert verdict.claims is not None, verdict.error
    return verdict.claims, submodules(verdict.claims)


@pytest.mark.parametrize("kind", ["tdx-v4", "sgx-v3", "snp-Milan", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "nitro", "cca",
                                  "csv-v3", "sample"])
def test_a_processors_evidence_is_one_part_as_it_is(claims_of, kind):
    claims = claims_of(kind)
    assert submodules(claims) == (("cpu", claims),)


@pytest.mark.parametrize(("kind", "part"), [("hopper", "gpu"), ("blackwell", "gpu"), ("switch", "switch")])
def test_the_class_of_a_device_is_what_its_certificate_says(claims_of, kind, part):
    claims = claims_of(f"nvidia-{kind}")
    ((name, alone),) = submodules(claims)
    assert name == part
    assert policy_input(alone, runtime_data=None, init_data=None) == policy_input(
        claims, runtime_data=None, init_data=None)


def test_each_device_has_its_own_claims_in_the_order_of_the_evidence():
    made = [device("hopper", 1), device("switch", 1), device("blackwell", 2), device("hopper", 2)]
    claims, found = parts(several(*made))
    assert [name for name, _ in found] == ["gpu", "switch", "gpu", "gpu"]
    for maker, (_, part) in zip(made, found, strict=True):
        told = policy_input(part, runtime_data=None, init_data=None)["nvidia"]
        assert told["chip_serial"] == f"{maker.image.chip_serial:X}"
        assert told["measurements"]["1"] == maker.image.measurements[0].hex()
        assert (told["gpu_count"], told["switch_count"], told["measres"]) == (3, 1, "success")
        assert (part.report_data, part.valid_until, part.software, part.tee) == (
            claims.report_data, claims.valid_until, True, Tee.NVIDIA)


def test_an_objection_to_one_device_is_not_held_against_another():
    changed = device("hopper", 1)
    altered = replace(changed.image, measurements=(OTHER, *changed.image.measurements[1:]))
    case = several(changed, device("hopper", 2))
    bad = changed.on(altered)
    case = replace(case, devices=(bad.device_evidence(bad.body(NONCE)), case.devices[1]))
    claims, ((_, first), (_, second)) = parts(case)
    assert claims.flags == first.flags == ("MEASUREMENT_MISMATCH_0",)
    assert second.flags == ()
    assert [policy_input(part, runtime_data=None, init_data=None)["nvidia"]["measres"] for part in (first, second)] == [
        "fail", "success"]


def test_an_objection_to_the_evidence_as_a_whole_is_held_against_every_part():
    linked = device("hopper", 1, pdi=DeviceImage.of("switch", 2).pdi, protected_pcie=True)
    claims, found = parts(several(linked, device("hopper", 2), device("switch", 1)))
    assert claims.flags == ("SWITCHES_NOT_ATTESTED",)
    assert [part.flags for _, part in found] == [("SWITCHES_NOT_ATTESTED",)] * 3
    complete = parts(several(linked, device("switch", 2)))[1]
    assert [part.flags for _, part in complete] == [(), ()]


def test_no_objection_is_lost_between_parts():
    debug = device("blackwell", 1)
    debug = debug.altered(leaf=lambda c: c.changed(tcb_info(debug.image.fwid, b"\x00\x10")))
    unmatched = device("hopper", 2)
    case = several(debug, unmatched, device("hopper", 3, pdi=b"\x07" * 8, protected_pcie=True))
    case = replace(case, rims={name: data for name, data in case.rims.items() if name.startswith("0-")})
    claims, found = parts(case)
    assert set(claims.flags) == {"DEVICE_DEBUG", "MEASUREMENTS_NOT_COMPARED", "SWITCHES_NOT_ATTESTED"}
    assert set().union(*(part.flags for _, part in found)) == set(claims.flags)
    assert [set(part.flags) for _, part in found] == [
        {"DEVICE_DEBUG", "SWITCHES_NOT_ATTESTED"}, {"MEASUREMENTS_NOT_COMPARED", "SWITCHES_NOT_ATTESTED"},
        {"MEASUREMENTS_NOT_COMPARED", "SWITCHES_NOT_ATTESTED"}]


def test_a_flag_that_no_device_owns_is_everybodys(claims_of):
    claims = claims_of("nvidia-hopper", flags=("SOMETHING_NEW",))
    ((_, part),) = submodules(claims)
    assert part.flags == ("SOMETHING_NEW",)
