"""NVIDIA's manifests and the status of certificates: asked for, judged, carried."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from verifier.collateral import rim
from verifier.collateral.item import Item, Kind
from verifier.collateral.judge import judge
from verifier.collateral.nvidia_wants import RimIds, device_chain
from verifier.endorsements.roots import Roots
from verifier.errors import MalformedCollateral
from verifier.evidence import Evidence
from verifier.formats.nvidia_json import evidence_of
from verifier.formats.spdm_report import OpaqueField, OpaqueType, SpdmReport
from verifier.software_tee.nvidia import DeviceImage, SmallNvidia
from verifier.testing import faults

AT = 1_780_000_000
NOW = AT + 10
NVIDIA = SmallNvidia.create(b"the small NVIDIA of collateral tests", at=AT)
NONCE = bytes(range(32))
PROJECT = ((OpaqueType.PROJECT, b"1010\0"), (OpaqueType.PROJECT_SKU, b"0200\0"), (OpaqueType.CHIP_SKU, b"882\0"))
DRIVER_ID, VBIOS_ID = "NV_GPU_DRIVER_GH100_580.10.01", "NV_GPU_VBIOS_1010_0200_882_9600AB0001"
ROOTS = Roots.only_software(NVIDIA.roots().values())


def body_of(maker: SmallNvidia, *more: tuple[OpaqueType, bytes]) -> SpdmReport:
    body = maker.body(NONCE)
    added = tuple(OpaqueField(int(kind), data) for kind, data in (*PROJECT, *more))
    return replace(body, opaque=body.opaque + added)


def evidence(maker: SmallNvidia = NVIDIA) -> Evidence:
    return evidence_of(maker.device_evidence(body_of(maker)))


@pytest.fixture
def gpus(world):
    """The site serves NVIDIA's as well."""
    world.serve(nvidia=(NVIDIA,))
    conductor = world.conductor()
    conductor.supply.roots = ROOTS
    return conductor


def verdict(world, conductor, one=None):
    one = one or evidence()
    return world.judge(one, conductor.gather(one, NOW), roots=ROOTS)


def test_a_gpu_is_judged_with_both_manifests_and_the_status_of_every_certificate(world, gpus):
    told = verdict(world, gpus)
    assert told.accepted, told.error
    assert [request.path for request in world.service.requests if request.method == "GET"] in (
        [f"/v1/rim/{DRIVER_ID}", f"/v1/rim/{VBIOS_ID}"], [f"/v1/rim/{VBIOS_ID}", f"/v1/rim/{DRIVER_ID}"])
    assert world.service.count() == 2 + 3 + 3  # boot ROM, provisioner, line; the manifests' signer and those above it
    assert told.claims.endorsement["ocsp"] == {"boot_rom": "good", "provisioner": "good", "line": "good"}
    assert verdict(world, gpus).accepted
    assert world.service.count() == 8


@pytest.mark.parametrize(("kind", "wanted"), [
    ("hopper", (DRIVER_ID, VBIOS_ID)),
    ("blackwell", ("NV_GPU_CC_DRIVER_GB100_580.10.01", VBIOS_ID)),
    ("switch", (None, "NV_SWITCH_BIOS_1010_0200_882_9610550001"))])
def test_manifests_are_named_as_nvidia_names_them(kind, wanted):
    maker = NVIDIA.on(DeviceImage.of(kind))
    ids = RimIds.of(device_chain(maker.chain(), ROOTS, NOW), body_of(maker))
    assert (ids.driver, ids.vbios) == wanted


def test_blackwell_says_itself_which_chip_its_driver_is_for():
    maker = NVIDIA.on(DeviceImage.of("blackwell"))
    ids = RimIds.of(device_chain(maker.chain(), ROOTS, NOW), body_of(maker, (OpaqueType.CHIP_INFO, b"GB200\0")))
    assert ids.driver == "NV_GPU_CC_DRIVER_GB200_580.10.01"


@pytest.mark.parametrize("version", [b"../../x", b"a/b", b"?x=1", b"%2e%2e", b"\xff\xfe", b"", b" ", b"a" * 300])
def test_what_a_report_states_never_leads_to_another_path(world, gpus, version):
    body = body_of(NVIDIA)
    opaque = tuple(replace(piece, data=version) if piece.type == OpaqueType.DRIVER_VERSION else piece
                   for piece in body.opaque)
    one = evidence_of(NVIDIA.device_evidence(replace(body, opaque=opaque)))
    verdict(world, gpus, one)
    asked = [request.path for request in world.service.requests if request.method == "GET"]
    assert asked == [f"/v1/rim/{VBIOS_ID}"]


def test_nobody_is_asked_about_certificates_of_a_chain_that_does_not_verify(world, gpus):
    stranger = SmallNvidia.create(b"somebody else's NVIDIA", at=AT)
    told = verdict(world, gpus, evidence(stranger))
    assert told.authentic is False
    assert world.service.count() == 0


def test_a_revoked_certificate_is_refused_by_the_answer_that_was_fetched(world, gpus):
    """Whatever it says, a genuine answer is kept: losing it would be acceptance."""
    revoked = NVIDIA.altered(ocsp=lambda one: replace(one, status="revoked") if one.about == "line" else one)
    world.serve(nvidia=(revoked,))
    told = verdict(world, gpus)
    assert (told.authentic, told.error.id) == (False, "nvidia.chain.ocsp.status")
    world.service.break_("/", faults.down())
    again = world.offline()
    again.supply.roots = ROOTS
    assert verdict(world, again).error.id == "nvidia.chain.ocsp.status"


@pytest.mark.parametrize("fault", [faults.down(), faults.failing(503), faults.forged()])
def test_where_the_status_cannot_be_had_nothing_is_decided(world, gpus, fault):
    world.service.break_("/v1/rim/", faults.Fault(), times=2)
    world.service.break_("/", fault)
    told = verdict(world, gpus)
    assert told.authentic is None
    assert not told.accepted
    assert told.error.id.startswith(("collateral.fetch.", "collateral.ocsp"))


def test_manifests_that_cannot_be_had_leave_the_comparison_undone(world, gpus):
    world.service.break_("/v1/rim/", faults.failing(404))
    told = verdict(world, gpus)
    assert (told.authentic, told.accepted, told.flags) == (True, False, ("MEASUREMENTS_NOT_COMPARED",))


# -- judging -----------------------------------------------------------------------------------------------------------


def manifest(name: str = DRIVER_ID, document: bytes | None = None) -> Item:
    return Item(rim.rim_name(name), {"document": document or NVIDIA.manifest("driver")}, "test", AT)


def status(maker: SmallNvidia = NVIDIA, **parts: bytes) -> Item:
    own = {"answer": maker.answer("line"), "certificate": maker.certificate("line"),
           "issuer": maker.certificate("root")}
    name = rim.ocsp_name(*(x509.load_der_x509_certificate(own[part]) for part in ("certificate", "issuer")))
    return Item(name, {**own, **parts}, "test", AT)


def refusal(item: Item, at: int = NOW) -> str:
    with pytest.raises(MalformedCollateral) as caught:
        judge(item, ROOTS, at)
    return caught.value.id.removeprefix("collateral.")


def test_manifests_and_answers_hold():
    assert judge(manifest(), ROOTS, NOW).guarded is False
    assert judge(manifest(VBIOS_ID, NVIDIA.manifest("vbios")), ROOTS, NOW).window.contains(NOW)
    found = judge(status(), ROOTS, NOW)
    assert (found.guarded, found.number) == (True, None)


def test_a_manifest_is_signed_and_of_the_version_that_was_asked_for():
    assert refusal(manifest("NV_GPU_DRIVER_GH100_580.10.02")) == "rim.id"
    assert refusal(manifest(VBIOS_ID)) == "rim.id"
    other = NVIDIA.altered(driver_rim=lambda made: replace(made, signer=NVIDIA.key("rim_l3")))
    assert refusal(manifest(document=other.manifest("driver"))) == "rim.signature"
    assert refusal(manifest(document=b"<a/>")).startswith("format")


def test_an_answer_is_genuine_in_force_and_about_its_name():
    assert refusal(status(certificate=NVIDIA.certificate("provisioner"))) == "ocsp.name"
    assert refusal(status(answer=NVIDIA.answer("provisioner"))) == "ocsp.about"
    assert refusal(status(issuer=NVIDIA.chain("root", "root"))) == "ocsp.issuer.count"
    assert refusal(status(certificate=NVIDIA.chain("line", "root"))) == "ocsp.certificate.count"
    late = NVIDIA.altered(ocsp=lambda answer: replace(answer, next_update=NOW))
    assert refusal(status(late)) == "ocsp.validity"
    elsewhere = NVIDIA.altered(ocsp=lambda answer: replace(answer, signer=NVIDIA.key("leaf")))
    assert refusal(status(elsewhere)) == "ocsp.responder"
    genuine = NVIDIA.answer("line")
    place = genuine.find(b"\x18\x0f") + 2 + 13  # the last digit of one of its dates
    forged = genuine[:place] + bytes([genuine[place] ^ 1]) + genuine[place + 1:]
    assert refusal(status(answer=forged)) == "ocsp.signature"


def test_a_genuine_answer_holds_whatever_it_says():
    for says in ("revoked", "unknown"):
        spoken = NVIDIA.altered(ocsp=lambda answer, says=says: replace(answer, status=says))
        assert judge(status(spoken), ROOTS, NOW).own.contains(NOW)


def test_a_manifest_of_another_digest_than_stated_is_not_taken(world, gpus):
    world.service.break_("/v1/rim/", faults.rewritten(lambda body: body.replace(b'"sha256": "', b'"sha256": "0')))
    troubles = gpus.gather(evidence(), NOW).troubles
    assert {trouble.error.id for trouble in troubles} == {"collateral.fetch.digest"}
    assert {trouble.name.kind for trouble in troubles} == {Kind.RIM}
