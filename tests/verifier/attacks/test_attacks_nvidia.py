"""Published ways in which verifiers of NVIDIA devices failed, tried here (docs/attacks.md, O-13, O-14, and V rows)."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

import verifier
from tests.verifier.nvidia_cases import AT, KINDS, NONCE, case_of
from verifier.appraisal.expectations import Expectations
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.nvidia_json import evidence_of
from verifier.formats.spdm_report import SpdmReport
from verifier.formats.xml_subset import parse
from verifier.software_tee.nvidia import DeviceImage
from verifier.software_tee.nvidia_ocsp import CERTIFICATE_HOLD
from verifier.verify import verify

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
HOME = Path(verifier.__file__).parent


def refusal(case) -> str:
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted) == (False, False), verdict.error
    return verdict.error.id


# -- O-13 whose signature, which nonce, which CPU ----------------------------------------------------------------------


def token(algorithm: str, secret: bytes = b"secret") -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    signed = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part({'x-nvidia-overall-att-result': True})}"
    value = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(value).rstrip(b'=').decode()}"


@pytest.mark.parametrize("form", ["list", "object", "bare"])
def test_o13_a_token_signed_with_a_shared_secret_is_refused(form):
    jwt = token("HS256")
    told = {"list": [["JWT", jwt], {"GPU-0": jwt}], "object": {"detached_eat": [["JWT", jwt], {}]},
            "bare": {"eat": jwt}}[form]
    verdict = verify(Evidence(Tee.NVIDIA, json.dumps(told).encode()), collateral=Collateral.none(),
                     roots=Roots.makers(), at=AT, binding=Binding.insecure_unbound())
    assert (verdict.authentic, verdict.error.id) == (False, "nvidia.service.algorithm")


@pytest.mark.parametrize("algorithm", ["ES384", "none"])
def test_t09_o13_a_token_of_a_service_is_not_taken_for_evidence(algorithm):
    """No key of a service is pinned: whoever holds one could say anything."""
    told = [["JWT", token(algorithm)], {}]
    verdict = verify(Evidence(Tee.NVIDIA, json.dumps(told).encode()), collateral=Collateral.none(),
                     roots=Roots.makers(), at=AT, binding=Binding.insecure_unbound())
    assert (verdict.authentic, verdict.accepted, verdict.claims) == (None, False, None)
    assert verdict.error.id == "collateral.nvidia.service_keys"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "HS384", "None", "es384"])
def test_o13_no_other_algorithm_is_taken_for_a_services(algorithm):
    verdict = verify(Evidence(Tee.NVIDIA, json.dumps({"eat": token(algorithm)}).encode()), collateral=Collateral.none(),
                     roots=Roots.makers(), at=AT, binding=Binding.insecure_unbound())
    assert (verdict.authentic, verdict.error.id) == (False, "nvidia.service.algorithm")


@pytest.mark.parametrize("kind", KINDS)
def test_o13_the_nonce_of_another_session_is_not_accepted(kind):
    case = replace(case_of(kind), binding=Binding(bytes(32)))
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted) == (True, False)
    assert [check.id for check in verdict.mismatches] == ["nvidia.binding.report_data"]
    for expected in (NONCE[:31], NONCE + b"\x00", NONCE.ljust(64, b"\x00"), b""):
        assert not replace(case, binding=Binding(expected)).verdict().accepted


def test_o13_the_nonce_is_part_of_what_is_signed():
    case = case_of()
    report = bytearray(case.device.report)
    report[4:36] = bytes(32)
    forged = replace(case, devices=(replace(case.device, report=bytes(report)),), binding=Binding(bytes(32)))
    assert refusal(forged) == "nvidia.report.signature"


def test_o13_the_evidence_of_one_device_twice_is_refused():
    case = case_of()
    assert refusal(replace(case, devices=(case.device, case.device))) == "nvidia.devices.distinct"
    again = case.maker.device_evidence(replace(case.report_body, responder_nonce=bytes(32)))
    assert again.report != case.device.report
    assert refusal(replace(case, devices=(case.device, again))) == "nvidia.devices.distinct"


def test_o13_one_chip_under_two_firmwares_is_one_device():
    case = case_of()
    updated = case.maker.on(replace(case.maker.image, fwid=hashlib.sha384(b"update").digest()))
    second = updated.device_evidence(updated.body(NONCE))
    assert refusal(replace(case, devices=(case.device, second))) == "nvidia.devices.distinct"


def test_o13_devices_of_two_sessions_are_refused():
    case = case_of()
    other = case.maker.on(DeviceImage.of("hopper", 2))
    second = other.device_evidence(other.body(bytes(32)))
    assert refusal(replace(case, devices=(case.device, second))) == "nvidia.devices.nonce"


def test_o13_one_bad_device_among_eight_refuses_all():
    case, devices = case_of(), []
    for number in range(1, 9):
        maker = case.maker.on(DeviceImage.of("hopper", number))
        devices.append(maker.device_evidence(maker.body(NONCE)))
    good = replace(case, devices=tuple(devices))
    assert good.verdict().accepted
    assert good.verdict().claims.endorsement["gpu_count"] == 8, "a policy can demand eight and see seven"
    assert replace(case, devices=tuple(devices[:7])).verdict().claims.endorsement["gpu_count"] == 7
    devices[5] = replace(devices[5], chain=devices[4].chain)
    assert refusal(replace(case, devices=tuple(devices))) == "nvidia.report.signature"


def test_o13_switches_that_a_protected_gpu_names_must_be_there():
    case = case_of()
    switch = case.maker.on(DeviceImage.of("switch"))
    image = replace(case.maker.image, protected_pcie=True, pdi=switch.image.pdi)
    gpu = case.maker.on(image)
    rims = gpu.manifests() | {"switch": switch.manifest("vbios")}
    alone = replace(case, rims=rims, devices=(gpu.device_evidence(gpu.body(NONCE)),))
    verdict = alone.verdict()
    assert [check.id for check in verdict.mismatches] == ["nvidia.accept.switches_not_attested"]
    assert replace(alone, devices=(*alone.devices, switch.device_evidence(switch.body(NONCE)))).verdict().accepted


# -- O-14 revocation and manifests -------------------------------------------------------------------------------------


def answering(about: str, **changes: object):
    return case_of().answered().altered(ocsp=lambda a: replace(a, **changes) if a.about == about else a)


@pytest.mark.parametrize("about", ["boot_rom", "provisioner", "line"])
@pytest.mark.parametrize(("changes", "rule"), [
    ({"this_update": AT - 1000, "next_update": AT - 10}, "validity"), ({"next_update": None}, "next_update"),
    ({"status": "unknown"}, "status"), ({"status": "revoked"}, "status"),
    ({"signer": case_of().other.key("responder-line")}, "responder"),
    ({"signer": case_of().maker.key("responder-rim_l3"), "certificates": (case_of().maker.responder("rim_l3"),)},
     "responder.issuer"),
])
def test_o14_an_answer_that_is_old_unsigned_or_unfavourable_refuses(about, changes, rule):
    assert refusal(answering(about, **changes)) == f"nvidia.chain.ocsp.{rule}"


def test_o14_a_certificate_on_hold_is_accepted_only_where_this_caller_says_so():
    case = answering("provisioner", status="revoked", reason=CERTIFICATE_HOLD)
    for expectations, accepted in ((None, False), (Expectations(allowed_flags=("CERTIFICATE_HOLD",)), True),
                                   (None, False)):
        verdict = replace(case, expectations=expectations).verdict()
        assert (verdict.accepted, verdict.flags) == (accepted, ("CERTIFICATE_HOLD",))


def test_o14_a_hold_does_not_hide_a_revocation():
    case = answering("provisioner", status="revoked", reason=CERTIFICATE_HOLD)
    revoked = case.maker.altered(ocsp=lambda a: replace(a, reason=1)).answer("provisioner")
    answers = case.maker.answers() | {"again": revoked}
    assert refusal(replace(case, answers=answers)) == "nvidia.chain.ocsp.status"


def test_o14_a_revoked_signer_vouches_for_nothing():
    case = answering("rim_leaf", status="revoked")
    verdict = case.verdict()
    assert verdict.flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED")
    assert verdict.claims.endorsement["rims"]["driver"]["rejected"] == ["nvidia.rim.chain.ocsp.status"]


def test_o14_a_manifest_of_another_version_correctly_signed_is_not_compared_with():
    case = case_of()
    other = case.maker.on(replace(case.maker.image, driver_version="580.10.02"))
    verdict = replace(case, rims=case.maker.manifests() | {"driver": other.manifest("driver")}).verdict()
    assert (verdict.accepted, verdict.flags) == (False, ("MEASUREMENTS_NOT_COMPARED",))


def test_o14_a_measurement_that_is_missing_extra_or_doubled_is_not_accepted():
    case = case_of()
    blocks = case.report_body.blocks
    assert case.says(blocks=blocks[:-1]).verdict().flags == ("MEASUREMENT_MISMATCH_63",)
    extra = case.says(blocks=(*blocks, replace(blocks[-1], index=65)))
    assert extra.verdict().accepted, "nobody published a reference for it, and it changes no other"
    assert 64 not in extra.verdict().claims.endorsement["measurements_compared"]
    for wrong in ((*blocks[:-1], replace(blocks[-1], index=63)), blocks[1:], (*blocks, blocks[-1])):
        assert refusal(case.says(blocks=wrong)) == "format.spdm_report"


def test_o14_an_opaque_field_that_is_longer_than_the_buffer_is_refused():
    case = case_of()
    def longer(signed: bytes) -> bytes:
        tail = sum(4 + len(piece.data) for piece in case.report_body.opaque)
        return signed[: len(signed) - tail + 2] + b"\xff\x7f" + signed[len(signed) - tail + 4 :]
    assert refusal(case.altered(report=lambda r: replace(r, mutate=longer))) == "format.spdm_report"


def test_o14_the_firmware_in_certificate_and_report_must_be_one():
    case = case_of()
    grafted = case.maker.on(replace(case.maker.image, fwid=bytes(48)))
    body = replace(case.report_body, opaque=grafted.body(NONCE).opaque)
    assert refusal(replace(case, body=body)) == "nvidia.report.fwid"


# -- V-01, V-08, V-09, V-15 where they apply ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_v01_every_signature_by_another_key_of_the_right_kind_is_refused(kind):
    case = case_of(kind).answered()
    other = case.other
    for name, rule in (("report", "report.signature"), ("leaf", "chain.leaf.signature"),
                       ("boot_rom", "chain.boot_rom.signature"), ("provisioner", "chain.provisioner.signature"),
                       ("line", "chain.line.signature")):
        assert refusal(case.altered(**{name: lambda a: replace(a, signer=other.key("leaf"))})) == f"nvidia.{rule}"


def test_v01_the_root_of_manifests_does_not_vouch_for_devices_nor_the_reverse(corpus):
    """Both are NVIDIA's own and pinned; each for one thing."""
    roots = Roots.makers()
    by_role = {anchor.role: anchor for anchor in roots.anchors if anchor.maker == "nvidia"}
    assert set(by_role) == {"root", "rim"}
    folder = corpus.folder("nvidia/switch-ls10")
    for role, expected in (("root", True), ("rim", False)):
        swapped = tuple(replace(anchor, role=role) if anchor is by_role["root"] else anchor for anchor in roots.anchors)
        device = replace(case_of().device, report=(folder / "report.bin").read_bytes(),
                         chain=(folder / "cert_chain.pem").read_bytes(), arch=None)
        verdict = verify(evidence_of(device), collateral=Collateral.none(), roots=Roots(swapped), at=AT,
                         binding=Binding.insecure_unbound())
        assert verdict.authentic is expected
        if not expected:
            assert verdict.error.id == "nvidia.chain.root"


def test_v09_values_of_a_manifest_are_those_that_were_signed():
    """Signature wrapping: the signed tag stands somewhere in a document whose outer tag says something else."""
    case = case_of("switch")
    good = case.maker.manifest("vbios")
    lie = case.maker.altered(vbios_rim=lambda m: replace(m, references=tuple(
        replace(r, alternatives=(bytes(48),)) for r in m.references))).manifest("vbios")
    start, end = (good.index(b"<ds:Signature "), good.index(b"</SoftwareIdentity>"))
    own = good[start:end]
    payload = lie[lie.index(b"<ns0:Payload>"):lie.index(b"</ns0:Payload>") + len(b"</ns0:Payload>")]
    genuine = good[good.index(b"<ns0:Payload>"):good.index(b"</ns0:Payload>") + len(b"</ns0:Payload>")]
    assert parse(good.replace(genuine, payload))
    wrapped = {
        "the payload replaced": good.replace(genuine, payload),
        "a second payload first": good.replace(genuine, payload + genuine),
        "a second payload last": good.replace(genuine, genuine + payload),
        "the signed tag as an object of the signature": lie[:lie.index(b"<ds:Signature ")] + own.replace(
            b"</ds:KeyInfo>", b"</ds:KeyInfo><ds:Object>" + good + b"</ds:Object>") + b"</SoftwareIdentity>",
        "the signed tag beside": lie.replace(b"</SoftwareIdentity>", good + b"</SoftwareIdentity>"),
        "the signature of the other": lie[:lie.index(b"<ds:Signature ")] + own + b"</SoftwareIdentity>\n",
    }
    for what, document in wrapped.items():
        verdict = replace(case, rims={"vbios": document}).verdict()
        assert not verdict.accepted, what
        if verdict.authentic:
            assert verdict.claims.endorsement["rims"]["vbios"]["rejected"] == ["nvidia.rim.digest"], what
        else:
            assert (verdict.authentic, verdict.error.id) == (None, "collateral.rim"), what


def test_v09_a_comment_cannot_cut_a_version_short():
    case = case_of("switch")
    for trick in (b"<!-- -->", b"<![CDATA[]]>", b"<?x?>"):
        document = case.maker.manifest("vbios").replace(b"<ns0:Payload>", trick + b"<ns0:Payload>")
        assert replace(case, rims={"vbios": document}).verdict().error.id == "collateral.rim"


def test_v15_the_twin_of_a_signature_is_no_other_device():
    """(r, n - s) verifies as well; what tells devices apart is the chip."""
    case = case_of()
    report = case.device.report
    s = int.from_bytes(report[-48:], "big")
    twin = replace(case.device, report=report[:-48] + (ORDER - s).to_bytes(48, "big"))
    assert replace(case, devices=(twin,)).verdict().authentic is True
    assert refusal(replace(case, devices=(case.device, twin))) == "nvidia.devices.distinct"


@pytest.mark.parametrize("pair", [bytes(96), b"\xff" * 96, bytes(47) + b"\x01" + bytes(48),
                                  ORDER.to_bytes(48, "big") + bytes(47) + b"\x01", (bytes(47) + b"\x01") * 2])
def test_v15_degenerate_signatures_are_refused(pair):
    case = case_of()
    forged = replace(case.device, report=case.device.report[:-96] + pair)
    assert refusal(replace(case, devices=(forged,))).startswith("nvidia.report.signature")


@pytest.mark.parametrize("tee", [Tee.SNP, Tee.TDX, Tee.SGX])
def test_v13_a_report_declared_as_another_tee_is_refused(tee):
    case = case_of()
    for quote in (case.device.report, case.evidence.quote):
        verdict = verify(Evidence(tee, quote), collateral=Collateral.none(), roots=case.trusted, at=AT,
                         binding=case.binding)
        assert verdict.authentic is False


def test_v13_the_evidence_of_another_tee_declared_as_this_is_refused(snp_case, intel_case):
    snp = snp_case()
    for quote in (snp.maker.report(snp.body), intel_case().raw):
        verdict = verify(Evidence(Tee.NVIDIA, quote), collateral=Collateral.none(), roots=case_of().trusted, at=AT,
                         binding=Binding.insecure_unbound())
        assert verdict.authentic is False


def test_v02_whatever_goes_wrong_inside_is_no_acceptance(monkeypatch):
    case = case_of()
    for name in ("read_supplied", "endorse", "check_report", "check_arch", "compare", "check_together"):
        for error in (ValueError, KeyError, OSError, MemoryError, RecursionError, StopIteration):
            def failing(*_: object, error: type[Exception] = error) -> None:
                raise error
            with monkeypatch.context() as patched:
                patched.setattr(f"verifier.checks.nvidia.{name}", failing)
                verdict = case.verdict()
            assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, "verifier.internal")


def test_v01_what_verifies_answers_with_an_exception():
    for name in ("checks/nvidia.py", "endorsements/nvidia.py", "endorsements/nvidia_rim.py", "endorsements/ocsp.py"):
        found = [node.name for node in ast.walk(ast.parse((HOME / name).read_text()))
                 if isinstance(node, ast.FunctionDef) and node.name.lstrip("_").startswith(("verify", "check"))
                 and node.returns is not None and ast.unparse(node.returns) == "bool"]
        assert found == [], name


def test_v10_every_report_that_is_read_is_written_alike():
    for kind in KINDS:
        report = case_of(kind).device.report
        assert SpdmReport.from_bytes(report).to_bytes() == report
