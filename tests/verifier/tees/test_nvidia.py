"""The NVIDIA recipe as a whole: claims, flags, comparison, what it keeps, and that no bit goes unnoticed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import AT, KINDS, NONCE, case_of, without_opaque
from verifier.appraisal.expectations import Expectations
from verifier.checks.nvidia import EndorsedDevice, Supplied
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, NvidiaCollateral
from verifier.endorsements.nvidia_rim import VerifiedRim, judge_rim, read_rims
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, CollateralError, EvidenceError
from verifier.evidence import Evidence, Tee
from verifier.formats.nvidia_json import DeviceEvidence, evidence_of
from verifier.formats.rim import Reference
from verifier.formats.spdm_report import OpaqueField, OpaqueType, SpdmReport
from verifier.results.verdict import jsonable
from verifier.software_tee.certificates import pem
from verifier.software_tee.nvidia import DEVICE_ROLES, DeviceImage, tcb_info
from verifier.software_tee.nvidia_ocsp import CERTIFICATE_HOLD
from verifier.tees.nvidia import NvidiaRecipe
from verifier.verify import inspect, verify

DISABLED, ENABLED = b"\x55", b"\xaa"


# -- claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_claims_of_one_device(kind):
    case = case_of(kind).answered()
    claims, image = case.verdict().claims, case.maker.image
    named = claims.named()
    assert (claims.report_data, claims.init_data, claims.status) == (NONCE, b"", None)
    assert claims.valid_until == AT + case.maker.valid_for - 1
    assert (named["driver_version"], named["vbios_version"]) == (image.driver_version, image.vbios_version)
    assert named["measurements"] == {str(i): value for i, value in enumerate(image.measurements, start=1)}
    assert (named["chip"], named["chip_serial"], named["fwid"]) == (image.chip, f"{image.chip_serial:X}", image.fwid)
    assert named["device_serial"].hex() == "48b02d0100aabbcc"
    assert named["ocsp"] == {"boot_rom": "good", "provisioner": "good", "line": "good"}
    assert named["measurements_compared"] == list(range(len(image.measurements)))
    assert (named["gpu_count"], named["switch_count"]) == ((0, 1) if kind == "switch" else (1, 0))
    assert [rim["standing"] for rim in named["rims"].values()] == ["verified"] * (1 if kind == "switch" else 2)
    assert json.dumps(jsonable(named))


def test_claims_of_several_devices_stand_in_their_list_alone():
    claims = several("hopper", "hopper").verdict().claims
    assert set(claims.body) == {"devices"}
    assert set(claims.endorsement) == {"certified", "gpu_count", "switch_count"}
    assert [device["chip_serial"] for device in claims.endorsement["certified"]] == [
        f"{DeviceImage.of('hopper', number).chip_serial:X}" for number in (1, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_inspection_tells_what_verification_proves(kind):
    case = case_of(kind)
    assert inspect(case.evidence) == dict(case.verdict().claims.body)


def test_what_the_sender_says_of_a_device_is_nobodys_claim():
    case = case_of()
    device = replace(case.device, uuid="CANARY-UUID")
    verdict = replace(case, devices=(device,)).verdict()
    assert verdict.accepted
    assert "CANARY" not in json.dumps(verdict.to_dict())


def test_without_an_answer_nothing_is_said_about_revocation():
    claims = case_of().verdict().claims
    assert claims.endorsement["ocsp"] == "not given"
    assert {rim["ocsp"] for rim in claims.endorsement["rims"].values()} == {"not given"}


def test_a_piece_of_opaque_data_of_unknown_type_is_told_by_its_number():
    verdict = case_of().saying(lambda pieces: (*pieces, OpaqueField(4711, b"x"))).verdict()
    assert verdict.accepted
    assert verdict.claims.body["opaque"]["4711"] == b"x"


def test_trust_in_a_hardware_root_is_not_software(corpus):
    folder = corpus.folder("nvidia/switch-ls10")
    case = case_of("switch")
    device = DeviceEvidence((folder / "report.bin").read_bytes(), (folder / "cert_chain.pem").read_bytes())
    for roots, rims, software in (
            (Roots.makers(), (), False),
            (Roots.makers().with_software(case.maker.roots().values()), (case.maker.manifest("vbios"),), True)):
        verdict = verify(evidence_of(device), collateral=Collateral(nvidia=NvidiaCollateral(rims)), roots=roots, at=AT,
                         binding=replace(case.binding, report_data=None))
        assert (verdict.authentic, verdict.claims.software) == (True, software), "references of software count as such"


# -- flags -------------------------------------------------------------------------------------------------------------


def allowing(case, *flags):
    return replace(case, expectations=Expectations(allowed_flags=flags))


@pytest.mark.parametrize(("kind", "given"), [("hopper", ()), ("hopper", ("driver",)), ("hopper", ("vbios",)),
                                             ("switch", ())])
def test_firmware_that_was_not_compared_whole_is_flagged(kind, given):
    case = case_of(kind)
    case = replace(case, rims={name: case.maker.manifests()[name] for name in given})
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("MEASUREMENTS_NOT_COMPARED",))
    assert [check.id for check in verdict.mismatches] == ["nvidia.accept.measurements_not_compared"]
    assert allowing(case, "MEASUREMENTS_NOT_COMPARED").verdict().accepted


def test_a_certificate_on_hold_is_flagged():
    for role in ("boot_rom", "provisioner", "line"):
        case = case_of().answered().altered(ocsp=lambda a, role=role: replace(
            a, status="revoked", reason=CERTIFICATE_HOLD) if a.about == role else a)
        verdict = case.verdict()
        assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("CERTIFICATE_HOLD",))
        assert verdict.claims.endorsement["ocsp"][role] == "hold"
        assert allowing(case, "CERTIFICATE_HOLD").verdict().accepted


def test_a_signer_of_manifests_on_hold_is_told_and_flagged():
    case = case_of().answered().altered(ocsp=lambda a: replace(
        a, status="revoked", reason=CERTIFICATE_HOLD) if a.about == "rim_leaf" else a)
    verdict = case.verdict()
    assert verdict.flags == ("CERTIFICATE_HOLD",)
    assert verdict.claims.endorsement["rims"]["driver"]["ocsp"]["leaf"] == "hold"


@pytest.mark.parametrize(("flags", "told"), [
    (b"\x00\x10", "DEVICE_DEBUG"), (b"\x00\x20", "DEVICE_RECOVERY"), (b"\x00\x40", "DEVICE_NOT_SECURE")])
def test_what_a_certificate_says_of_its_device_is_flagged(flags, told):
    case = case_of("blackwell")
    case = case.altered(leaf=lambda c: c.changed(tcb_info(case.maker.image.fwid, flags)))
    assert case.verdict().flags == (told,)
    assert not case.verdict().accepted


def several(*kinds, pdi=b"", protected=False):
    """A case of several devices, each with its manifests; GPUs linked to switches of those PDIs."""
    case, devices, rims, numbers = case_of(), [], {}, {}
    for kind in kinds:
        numbers[kind] = numbers.get(kind, 0) + 1
        image = DeviceImage.of(kind, numbers[kind])
        maker = case.maker.on(image if kind == "switch" else replace(image, pdi=pdi, protected_pcie=protected))
        devices.append(maker.device_evidence(maker.body(NONCE)))
        rims |= {f"{kind}-{name}": data for name, data in maker.manifests().items()}
    return replace(case, devices=tuple(devices), rims=rims)


SWITCHES = b"".join(DeviceImage.of("switch", number).pdi for number in (1, 2))


@pytest.mark.parametrize(("kinds", "pdi", "protected", "flagged"), [
    (("hopper", "switch", "switch"), SWITCHES, True, False),
    (("hopper", "switch", "switch"), SWITCHES * 9, True, False),
    (("hopper", "switch"), SWITCHES, True, True), (("hopper",), SWITCHES, True, True), (("hopper",), b"", True, True),
    (("hopper",), SWITCHES, False, False), (("hopper", "switch", "switch"), SWITCHES + b"\x01", True, True),
    (("hopper", "hopper", "switch"), SWITCHES[:8], True, False), (("switch",), b"", False, False),
])
def test_links_to_switches_of_which_there_is_no_evidence_are_flagged(kinds, pdi, protected, flagged):
    verdict = several(*kinds, pdi=pdi, protected=protected).verdict()
    assert (verdict.authentic, verdict.flags) == (True, ("SWITCHES_NOT_ATTESTED",) if flagged else ())
    assert verdict.accepted is not flagged


# -- comparison --------------------------------------------------------------------------------------------------------


def measuring(case, index, value):
    blocks = tuple(replace(block, value=value) if block.index == index + 1 else block
                   for block in case.report_body.blocks)
    return case.says(blocks=blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_every_index_is_compared(kind):
    case, count = case_of(kind), len(case_of(kind).report_body.blocks)
    compared = [check.id for check in case.verdict().checks if check.id.startswith("nvidia.measurement.")]
    assert sorted(compared) == sorted(f"nvidia.measurement.{index}" for index in range(count))
    for index in (0, 1, 7, 30, count - 1):
        verdict = measuring(case, index, bytes(47) + b"\x01").verdict()
        assert (verdict.authentic, verdict.accepted) == (True, False)
        assert verdict.flags == (f"MEASUREMENT_MISMATCH_{index}",)
        assert [check.id for check in verdict.mismatches] == [f"nvidia.accept.measurement_mismatch_{index}"]
        assert verdict.claims.endorsement["measurements_mismatched"] == [index]


def test_each_of_several_mismatches_is_listed():
    case = case_of()
    for index in (3, 8, 40):
        case = measuring(case, index, bytes(48))
    assert case.verdict().flags == tuple(f"MEASUREMENT_MISMATCH_{index}" for index in (3, 8, 40))
    assert not allowing(case, "MEASUREMENT_MISMATCH_3", "MEASUREMENT_MISMATCH_8").verdict().accepted


def test_any_alternative_may_match_and_only_at_its_own_index():
    case = case_of()
    image = case.maker.image
    first = image.references("driver")[1].alternatives[0]
    assert first != image.measurements[1]
    assert measuring(case, 1, first).verdict().accepted
    assert measuring(case, 1, image.measurements[3]).verdict().flags == ("MEASUREMENT_MISMATCH_1",)


def test_an_index_without_a_measurement_is_a_mismatch():
    case = case_of().altered(driver_rim=lambda m: replace(m, references=(
        *m.references, Reference(64, True, (bytes(48),), "Measurement_64"))))
    assert case.verdict().flags == ("MEASUREMENT_MISMATCH_64",)
    short = case_of("switch")
    short = short.says(blocks=short.report_body.blocks[:-1])
    assert short.verdict().flags == ("MEASUREMENT_MISMATCH_30",)


def test_an_inactive_index_is_not_compared():
    case = case_of().altered(driver_rim=lambda m: replace(m, references=tuple(
        replace(r, active=r.active and r.index != 5) for r in m.references)))
    verdict = measuring(case, 5, bytes(48)).verdict()
    assert verdict.accepted
    assert 5 not in verdict.claims.endorsement["measurements_compared"]


@pytest.mark.parametrize(("status", "flags"), [(DISABLED, ()), (ENABLED, ("MEASUREMENT_MISMATCH_35",)),
                                               (None, ("MEASUREMENT_MISMATCH_35",)),
                                               (b"\x55\x00", ("MEASUREMENT_MISMATCH_35",))])
def test_index_35_is_left_out_where_nvdec0_is_disabled(status, flags):
    def nvdec(pieces):
        rest = without_opaque(OpaqueType.NVDEC0_STATUS)(pieces)
        return rest if status is None else (*rest, OpaqueField(OpaqueType.NVDEC0_STATUS, status))
    case = measuring(case_of().saying(nvdec), 35, bytes(48))
    assert case.verdict().flags == flags
    assert (35 in case.verdict().claims.endorsement["measurements_compared"]) is bool(flags)


@pytest.mark.parametrize(("alteration", "change"), [
    ("driver_rim", {"colloquialVersion": "580.10.02"}), ("driver_rim", {"product": "GB100"}),
    ("vbios_rim", {"colloquialVersion": "96.00.AB.00.02"}), ("vbios_rim", {"product": "GH200"}),
])
def test_a_manifest_of_another_version_or_chip_is_not_for_this_device(alteration, change):
    verdict = case_of().altered(**{alteration: lambda m: replace(m, meta=m.meta | change)}).verdict()
    assert (verdict.authentic, verdict.flags) == (True, ("MEASUREMENTS_NOT_COMPARED",))
    assert verdict.claims.endorsement["rims"][alteration.partition("_")[0]]["standing"] == "not given"


def test_the_case_of_a_version_makes_no_difference():
    assert case_of().altered(vbios_rim=lambda m: replace(m, meta=m.meta | {
        "colloquialVersion": m.meta["colloquialVersion"].lower()})).verdict().accepted


def test_manifests_that_do_not_verify_beside_one_that_does_are_told():
    case = case_of()
    broken = case.maker.altered(driver_rim=lambda m: replace(m, digest=bytes(48))).manifest("driver")
    verdict = replace(case, rims=case.maker.manifests() | {"broken": broken}).verdict()
    assert (verdict.accepted, verdict.flags) == (True, ())
    assert verdict.claims.endorsement["rims"]["driver"]["rejected"] == ["nvidia.rim.digest"]


def test_the_same_manifest_twice_is_one():
    case = case_of()
    manifests = case.maker.manifests()
    assert replace(case, rims=manifests | {"again": manifests["driver"]}).verdict().accepted


def test_a_device_that_reports_no_version_is_not_compared():
    case = case_of().saying(without_opaque(OpaqueType.DRIVER_VERSION))
    assert case.verdict().flags == ("MEASUREMENTS_NOT_COMPARED",)


def test_a_device_may_report_no_fwid():
    verdict = case_of().saying(without_opaque(OpaqueType.FWID)).verdict()
    assert verdict.accepted
    assert "nvidia.report.fwid.absent" in [check.id for check in verdict.checks]


# -- collateral --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collateral", [
    NvidiaCollateral(rims=(b"junk",)), NvidiaCollateral(rims=(b"",)), NvidiaCollateral(ocsp_answers=(b"junk",)),
    NvidiaCollateral(rims=tuple(bytes((n,)) for n in range(256)) * 2), NvidiaCollateral(ocsp_answers=(b"x",) * 257),
], ids=["no manifest", "empty", "no answer", "many manifests", "many answers"])
def test_unreadable_collateral_leaves_it_undecided(collateral):
    case = case_of()
    verdict = verify(case.evidence, collateral=Collateral(nvidia=collateral), roots=case.trusted, at=case.at,
                     binding=case.binding)
    assert (verdict.authentic, verdict.accepted) == (None, False)
    assert isinstance(verdict.error, CollateralError)


def test_no_collateral_at_all_is_no_obstacle_to_authenticity():
    case = case_of()
    verdict = verify(case.evidence, collateral=Collateral.none(), roots=case.trusted, at=case.at, binding=case.binding)
    assert (verdict.authentic, verdict.flags) == (True, ("MEASUREMENTS_NOT_COMPARED",))


def test_certificates_that_cannot_be_read_are_the_attesters_fault():
    case = case_of()
    for chain in (b"junk", b"", case.device.chain + b"junk"):
        verdict = replace(case, devices=(replace(case.device, chain=chain),)).verdict()
        assert (verdict.authentic, verdict.error.id) == (False, "collateral.certificate")
        assert isinstance(verdict.error, EvidenceError)


def test_a_firmware_extension_that_cannot_be_read_is_the_attesters_fault():
    case = case_of().altered(leaf=lambda c: c.changed(replace_value(c, "2.23.133.5.4.1", b"\x30\x00")))
    assert (case.verdict().authentic, case.verdict().error.id) == (False, "format.dice")


def replace_value(certificate, oid, value):
    return next(e for e in certificate.extensions if e.oid == oid)._replace(value=value)


def test_answers_about_other_certificates_are_not_asked():
    case = case_of()
    stranger = case.other.answers()
    assert replace(case, answers=stranger).verdict().claims.endorsement["ocsp"] == "not given"


# -- moments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", [Prepared(0), Prepared()])
def test_the_answer_changes_exactly_after_valid_until(prepared):
    case = case_of()
    end = case.verdict(prepared).valid_until
    assert replace(case, at=end).verdict(prepared).accepted
    after = replace(case, at=end + 1).verdict(prepared)
    assert after.flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED"), "the manifests' signer has expired"
    assert replace(case, at=end).verdict(prepared).accepted


@pytest.mark.parametrize("prepared", [Prepared(0), Prepared()])
def test_a_manifest_that_is_not_yet_valid_is_rejected_until_it_is(prepared):
    case = case_of()
    early = replace(case, at=AT - 1).verdict(prepared)
    assert (early.authentic, early.flags) == (True, ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED"))
    assert early.valid_until == AT - 1
    assert replace(case, at=AT).verdict(prepared).accepted


def test_a_rejection_that_an_old_answer_caused_ends_when_the_answer_does():
    case = case_of().answered().altered(ocsp=lambda a: replace(
        a, this_update=AT + 100) if a.about == "rim_leaf" else a)
    assert case.verdict().flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED")
    assert case.verdict().valid_until == AT + 99
    assert replace(case, at=AT + 100).verdict().accepted


# -- prepared trust ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_verification_gives_the_same_and_reads_nothing_again(kind, monkeypatch):
    case, prepared = case_of(kind).answered(), Prepared()
    cold = case.verdict(prepared)
    for name in ("verify_device_chain", "judge_rim", "read_rims", "read_answer"):
        monkeypatch.setattr(f"verifier.checks.nvidia.{name}", None)
    warm = case.verdict(prepared)
    assert (warm.accepted, warm.claims, warm.checks) == (True, cold.claims, cold.checks)
    other = replace(case.maker.body(bytes(32)))
    assert replace(case, body=other, binding=replace(case.binding, report_data=bytes(32))).verdict(prepared).accepted


def test_what_is_kept():
    prepared = Prepared()
    case = case_of()
    case.verdict(prepared)
    assert len(prepared) == 4, "the collateral, the device, two manifests"
    for _ in range(3):
        case.verdict(prepared)
    assert len(prepared) == 4
    assert prepared.find(Supplied, case.collateral.digest, case.at).window.not_before == 0
    assert prepared.find(EndorsedDevice, "anything", case.at) is None
    assert prepared.find(VerifiedRim, "anything", case.at) is None


def test_other_inputs_do_not_meet_prepared_trust():
    prepared, case = Prepared(), case_of().answered()
    assert case.verdict(prepared).accepted
    assert replace(case, roots=tuple(case.other.roots().values())).verdict(prepared).error.id == "nvidia.chain.root"
    revoked = case.altered(ocsp=lambda a: replace(a, status="revoked") if a.about == "line" else a)
    assert revoked.verdict(prepared).error.id == "nvidia.chain.ocsp.status"
    without = replace(case, roots=(case.maker.chain("root"),)).verdict(prepared)
    assert without.flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED")
    assert case.verdict(prepared).accepted


# -- no bit unnoticed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "step"), [
    *((kind, 97) for kind in KINDS), *(pytest.param(kind, 1, marks=pytest.mark.slow) for kind in KINDS)])
def test_no_bit_of_a_report_can_be_turned_over(kind, step):
    case, prepared = case_of(kind), Prepared()
    good = case.device
    assert case.verdict(prepared).accepted
    accepted = []
    for bit in range(0, 8 * len(good.report), step):
        flipped = bytearray(good.report)
        flipped[bit // 8] ^= 1 << bit % 8
        verdict = replace(case, devices=(replace(good, report=bytes(flipped)),)).verdict(prepared)
        assert isinstance(verdict.error, CheckFailed | EvidenceError), verdict.error
        accepted += [bit] if verdict.authentic is not False else []
    assert accepted == []


@pytest.mark.parametrize("step", [499, pytest.param(3, marks=pytest.mark.slow)])
def test_no_bit_of_a_genuine_report_can_be_turned_over(corpus, step):
    prepared = Prepared()
    for name in ("hopper-590.12", "blackwell-575.32", "switch-ls10"):
        folder = corpus.folder(f"nvidia/{name}")
        report, chain = (folder / "report.bin").read_bytes(), (folder / "cert_chain.pem").read_bytes()
        for bit in (None, *range(0, 8 * len(report), step)):
            flipped = bytearray(report)
            if bit is not None:
                flipped[bit // 8] ^= 1 << bit % 8
            verdict = verify(evidence_of(DeviceEvidence(bytes(flipped), chain)), collateral=Collateral.none(),
                             roots=Roots.makers(), at=AT, prepared=prepared,
                             binding=replace(case_of().binding, report_data=None))
            assert verdict.authentic is (bit is None), (name, bit)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("role", ["leaf", "boot_rom", "provisioner", "line"])
def test_no_bit_of_a_certificate_can_be_turned_over(role):
    case = case_of()
    case, accepted = replace(case, rims={}), []
    good = case.maker.certificate(role)
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        chain = pem(*(bytes(flipped) if each == role else case.maker.certificate(each) for each in DEVICE_ROLES))
        verdict = replace(case, devices=(replace(case.device, chain=chain),)).verdict()
        accepted += [bit] if verdict.authentic is not False else []
    assert accepted == []


@pytest.mark.parametrize("step", [997, pytest.param(11, marks=pytest.mark.slow)])
def test_no_bit_of_what_a_manifest_signs_can_be_turned_over(step):
    """Bits of the frame of the certificates' text and between the elements of the signature may mean nothing."""
    case = case_of("switch")
    good = case.maker.manifest("vbios")
    assert verifies(good, case)
    meaningless = []
    for bit in range(0, 8 * good.index(b"<ds:SignatureValue>"), step):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        meaningless += [bit] if verifies(bytes(flipped), case) else []
    assert meaningless == []


def verifies(manifest, case):
    try:
        (document,) = read_rims((manifest,))
    except CollateralError:
        return False
    return isinstance(judge_rim("nvidia", document, (), case.trusted, case.at), VerifiedRim)


@settings(max_examples=60)
@given(st.binary(max_size=600))
def test_any_bytes_are_refused_or_undecided(data):
    case = case_of("switch")
    for evidence in (Evidence(Tee.NVIDIA, data), evidence_of(DeviceEvidence(data, data)),
                     evidence_of(replace(case.device, report=data)), evidence_of(replace(case.device, chain=data))):
        verdict = verify(evidence, collateral=Collateral(nvidia=case.collateral), roots=case.trusted, at=case.at,
                         binding=case.binding)
        assert verdict.authentic is not True
        assert not verdict.error.id.startswith("verifier."), verdict.error


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=60), max_size=3), st.lists(st.binary(max_size=60), max_size=2))
def test_any_bytes_as_collateral_are_undecided(rims, answers):
    case = case_of("switch")
    verdict = verify(case.evidence, collateral=Collateral(nvidia=NvidiaCollateral(tuple(rims), tuple(answers))),
                     roots=case.trusted, at=case.at, binding=case.binding)
    assert verdict.authentic is (None if rims or answers else True)


def test_the_recipe_reads_reports_and_nothing_else():
    case = case_of()
    quote = NvidiaRecipe().parse(case.evidence)
    assert quote.reports == (SpdmReport.from_bytes(case.device.report),)
