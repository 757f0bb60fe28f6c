"""Every rule of the NVIDIA recipe, once kept and once broken alone.

For each rule there is evidence, or collateral, that breaks nothing else: what depends on the broken part is signed
again by the small NVIDIA. A broken rule about a device refuses and is the only one that failed. A broken rule about a
manifest rejects that manifest, and the rule is the reason told. Rules are found in the trails of accepted evidence and
in the source, so that none can be added without an entry here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.verifier.nvidia_cases import AT, KINDS, NvidiaCase, case_of, without_opaque
from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer, rules_in_source, without_a_case
from verifier.errors import CheckFailed
from verifier.formats.nvidia_json import DeviceEvidence
from verifier.formats.spdm_report import OpaqueField, OpaqueType
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension
from verifier.software_tee.nvidia import (
    DEVICE_ROLES,
    RIM_ROLES,
    SUBJECT_ALTERNATIVE_NAME,
    DeviceImage,
    composite_device_id,
    device_identity,
    tcb_info,
)
from verifier.software_tee.nvidia_ocsp import EXTENDED_KEY_USAGE, SERVER_AUTH, extended_key_usage

Breaks = Callable[[NvidiaCase], NvidiaCase]
Table = dict[str, tuple[tuple[str, ...], list[Breaks]]]

ALL = KINDS
GPU = ("hopper", "blackwell")
ONE = ("hopper",)
SOMEBODY = ((x509.COMMON_NAME, "Somebody"),)
CRITICAL = Extension("1.2.3.4", der.NULL, critical=True)
KEYLESS_AKI = Extension(x509.AUTHORITY_KEY_IDENTIFIER, der.sequence())
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
COMPOSITE, TCB_INFO = "2.23.133.5.4.1", "2.23.133.5.4.1.1"


class Raw:
    """A key whose raw signatures are what the test says."""

    def __init__(self, made: bytes) -> None:
        self.made = made

    def sign_raw(self, _: bytes) -> bytes:
        return self.made


def sha256(key: Any) -> Any:
    return replace(key, digest="sha256")


def other_identifier(tbs: bytes) -> bytes:
    """The signed part names SHA-256; what stands beside the signature, and the signature, are SHA-384."""
    return tbs.replace(der.oid("1.2.840.10045.4.3.3"), der.oid("1.2.840.10045.4.3.2"), 1)


def link_rules(rule: str, role: str, issuer: str, *, leaf: bool, root: bool = False) -> Table:
    """The rules of one certificate of a chain; a root must sign itself to be configured at all."""
    def apply(change: Callable[[NvidiaCase], Callable[[Any], Any]]) -> Breaks:
        return lambda c: c.answered().altered(**{role: change(c)}) if role == "responder" else c.altered(
            **{role: change(c)})
    usages = ([x509.KEY_CERT_SIGN], [x509.DIGITAL_SIGNATURE, x509.KEY_CERT_SIGN]) if leaf else (
        [x509.CRL_SIGN], [x509.DIGITAL_SIGNATURE])
    found: dict[str, list[Breaks]] = {
        "validity": [apply(lambda c: lambda p: replace(p, not_after=c.at - 1)),
                     apply(lambda c: lambda p: replace(p, not_before=c.at + 1))],
        "authority_key": [apply(lambda c, key=key: lambda p: p.changed(x509.authority_key_identifier(key)))
                          for key in (bytes(20), b"")],
        "extensions": [apply(lambda c: lambda p: p.changed(CRITICAL))],
        "ca": [apply(lambda c: lambda p: p.changed(x509.basic_constraints(ca=leaf)))],
        "key_usage": [apply(lambda c, bits=bits: lambda p: p.changed(x509.key_usage(*bits))) for bits in usages],
        "signature.algorithm": [apply(lambda c: lambda p: replace(p, signer=sha256(p.signer)))],
    }
    if not root:
        found |= {
            "issuer": [apply(lambda c: lambda p: replace(p, issuer=SOMEBODY))],
            "signature.identifier": [apply(lambda c: lambda p: replace(p, mutate=other_identifier))],
            "signature": [apply(lambda c: lambda p: replace(p, signer=c.other.key(issuer)))],
        }
    if role != "responder":
        found["profile"] = [*(apply(lambda c, oid=oid: lambda p: p.without(oid)) for oid in (
            x509.AUTHORITY_KEY_IDENTIFIER, x509.SUBJECT_KEY_IDENTIFIER, x509.KEY_USAGE)),
            apply(lambda c: lambda p: p.changed(KEYLESS_AKI))]
    return {f"{rule}.{name}": (ONE, makes) for name, makes in found.items()}


def chain_rules() -> Table:
    found: Table = {}
    for role, issuer in zip(DEVICE_ROLES, (*DEVICE_ROLES[1:], "root"), strict=True):
        found |= link_rules(f"chain.{role}", role, issuer, leaf=role == "leaf", root=role == "root")
    for depth, role in ((0, "boot_rom"), (1, "provisioner"), (2, "line"), (3, "root")):
        if depth:
            found[f"chain.{role}.path_length"] = (ONE, [lambda c, role=role, depth=depth: c.altered(
                **{role: lambda p: p.changed(x509.basic_constraints(ca=True, path_length=depth - 1))})])
    return found | {
        "chain.length": (ALL, [lambda c, roles=roles: chained(c, c.maker.chain(*roles)) for roles in (
            ("leaf",), DEVICE_ROLES[:4], DEVICE_ROLES[1:], (*DEVICE_ROLES, "root"))]),
        "chain.root": (ALL, [
            lambda c: replace(c, roots=tuple(c.other.roots().values())),
            lambda c: chained(c, c.maker.chain(*DEVICE_ROLES[:4]) + c.other.chain("root")),
            lambda c: chained(c, c.maker.chain(*reversed(DEVICE_ROLES))),
        ]),
        "chain.leaf.identity": (ONE, [
            lambda c, change=change: c.altered(leaf=change) for change in (
                lambda p: p.without(SUBJECT_ALTERNATIVE_NAME),
                *(lambda p, text=text: p.changed(device_identity(text)) for text in (
                    "NVIDIA:XX100:48B02D0100AABBCC", "AMD:GH100:48B02D0100AABBCC", "NVIDIA:GH100:48B02D0100AABBC",
                    "NVIDIA:GH100:48b02d0100aabbcc", "NVIDIA:GH100:48B02D0100AABBCC\n",
                    "NVIDIA:GH\u0661\u0660\u0660:48B02D0100AABBCC")))]),
        "chain.leaf.fwid": (("hopper", "blackwell"), [
            lambda c: c.altered(leaf=lambda p: p.without(COMPOSITE).without(TCB_INFO)),
            lambda c: c.altered(leaf=lambda p: p.changed(tcb_info(c.maker.image.fwid)).changed(
                composite_device_id(c.maker.key("boot_rom").public_key, c.maker.image.fwid))),
        ]),
        "chain.leaf.device_key": (("hopper", "switch"), [lambda c: c.altered(leaf=lambda p: p.changed(
            composite_device_id(c.other.key("boot_rom").public_key, c.maker.image.fwid)))]),
    }


def chained(case: NvidiaCase, chain: bytes) -> NvidiaCase:
    return replace(case, devices=(replace(case.device, chain=chain),))


def report_rules() -> Table:
    def signed(made: Callable[[NvidiaCase], bytes]) -> Breaks:
        return lambda c: c.altered(report=lambda r: replace(r, signer=Raw(made(c))))
    half = b"\x01" * 48
    return {
        "report.request": (ALL, [lambda c, n=n: c.says(**n) for n in (
            {"request_param1": 0}, {"request_param1": 3}, {"request_param2": 1}, {"request_param2": 0})]),
        "report.response": (ALL, [lambda c, n=n: c.says(**n) for n in (
            {"param1": 1}, {"param2": 1}, {"slot": 1}, {"param2": 0x10})]),
        "report.signature": (ALL, [
            lambda c: c.altered(report=lambda r: replace(r, signer=c.other.key("leaf"))),
            lambda c: c.altered(report=lambda r: replace(r, signer=c.maker.key("boot_rom"))),
            signed(lambda _: half + half),
        ]),
        "report.signature.range": (ALL, [
            signed(lambda _: bytes(48) + half), signed(lambda _: half + bytes(48)),
            signed(lambda _: ORDER.to_bytes(48, "big") + half), signed(lambda _: half + b"\xff" * 48),
        ]),
        "report.fwid": (GPU, [
            lambda c, data=data: c.saying(lambda pieces: (*without_opaque(OpaqueType.FWID)(pieces), OpaqueField(
                OpaqueType.FWID, data))) for data in (bytes(48), b"", b"\x00")]),
        "device.arch": (ALL, [lambda c, arch=arch: replace(c, arch=arch) for arch in ("RUBIN", "HOPPER ", "LS_10")]),
        "devices.nonce": (ONE, [lambda c: together(c, replace(c.report_body, nonce=bytes(32)))]),
        "devices.distinct": (ONE, [
            lambda c: replace(c, devices=(c.device, c.device)),
            lambda c: replace(c, devices=(c.device, replace(c, maker=c.maker.on(
                replace(c.maker.image, fwid=bytes(47) + b"\x01"))).device)),
        ]),
        "rim.conflict": (GPU, [lambda c: c.altered(vbios_rim=lambda m: replace(m, references=tuple(
            replace(r, active=True) for r in m.references)))]),
        "rim.driver.single": (GPU, [lambda c: twice(c, "driver")]),
        "rim.vbios.single": (ALL, [lambda c: twice(c, "vbios")]),
    }


def together(case: NvidiaCase, body: Any) -> NvidiaCase:
    """With a second device that answers ``body``'s nonce."""
    second = replace(case, maker=case.maker.on(DeviceImage.of(case.maker.image.kind, 2)), body=None)
    return replace(case, devices=(case.device, replace(second, body=replace(
        second.report_body, nonce=body.nonce)).device))


def twice(case: NvidiaCase, kind: str) -> NvidiaCase:
    """Two manifests for one version, both as they should be."""
    own = case.maker.manifests()
    second = case.maker.altered(**{f"{kind}_rim": lambda m: replace(m, meta=m.meta | {"revision": "r2"})})
    return replace(case, rims=own | {"second": second.manifests()[kind]})


def ocsp_rules(rule: str, about: str, issuer: str) -> Table:
    """The rules of one OCSP answer."""
    def answer(change: Callable[[NvidiaCase], Callable[[Any], Any]]) -> Breaks:
        return lambda c: c.answered().altered(ocsp=lambda a: change(c)(a) if a.about == about else a)
    def by(key: Callable[[NvidiaCase], Any]) -> Breaks:
        return answer(lambda c: lambda a: replace(a, signer=key(c), certificates=()))
    responder = {name: (kinds, [only_about(make, about) for make in makes]) for name, (kinds, makes) in
                 link_rules(f"{rule}.responder", "responder", issuer, leaf=True).items()}
    return responder | {
        f"{rule}.responder": (ONE, [
            by(lambda c: c.other.key("responder")), by(lambda c: c.maker.key(f"responder-{issuer}")),
            answer(lambda c: lambda a: replace(a, by_name=SOMEBODY)),
        ]),
        f"{rule}.responder.purpose": (ONE, [
            only_about(lambda c: c.answered().altered(responder=lambda p: p.without(EXTENDED_KEY_USAGE)), about),
            only_about(lambda c: c.answered().altered(responder=lambda p: p.changed(extended_key_usage(SERVER_AUTH))),
                       about)]),
        f"{rule}.signature": (ONE, [answer(lambda c: lambda a: replace(a, mutate=lambda tbs: tbs, signer=Wrong(
            a.signer)))]),
        f"{rule}.signature.algorithm": (ONE, [answer(lambda c: lambda a: replace(a, signer=sha256(a.signer)))]),
        f"{rule}.extensions": (ONE, [
            answer(lambda c: lambda a: replace(a, extensions=(CRITICAL,))),
            answer(lambda c: lambda a: replace(a, single_extensions=(CRITICAL,)))]),
        f"{rule}.next_update": (ONE, [answer(lambda c: lambda a: replace(a, next_update=None))]),
        f"{rule}.validity": (ONE, [
            answer(lambda c: lambda a: replace(a, next_update=c.at)),
            answer(lambda c: lambda a: replace(a, this_update=c.at + 1)),
            answer(lambda c: lambda a: replace(a, this_update=1_500_000_000, next_update=1_600_000_000))]),
        f"{rule}.status": (ONE, [
            answer(lambda c: lambda a: replace(a, status="revoked")),
            answer(lambda c: lambda a: replace(a, status="revoked", reason=x509.KEY_COMPROMISE)),
            answer(lambda c: lambda a: replace(a, status="unknown"))]),
    }


class Wrong:
    """A key that signs something else; all it says of itself is another's."""

    def __init__(self, key: Any) -> None:
        self.key, self.algorithm, self.public_key, self.private = key, key.algorithm, key.public_key, key.private

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message + b"\x00")


def only_about(make: Breaks, about: str) -> Breaks:
    """Every answer but the one about ``about`` is the unaltered maker's."""
    def made(case: NvidiaCase) -> NvidiaCase:
        broken = make(case)
        return replace(broken, answers=case.maker.answers() | {about: broken.maker.answer(about)})
    return made


def rim_rules() -> Table:
    def manifest(change: Callable[[NvidiaCase], Callable[[Any], Any]]) -> Breaks:
        return lambda c: c.altered(driver_rim=change(c))
    def named(**changes: str) -> Breaks:
        return manifest(lambda c: lambda m: replace(m, attributes=m.attributes | changes))
    def meta(**changes: str) -> Breaks:
        return manifest(lambda c: lambda m: replace(m, meta=m.meta | {
            name if name in m.meta else f"ns1:{name}": value for name, value in changes.items()}))
    def algorithm(place: int, name: str) -> Breaks:
        return manifest(lambda c: lambda m: replace(m, algorithms=(
            *m.algorithms[:place], name, *m.algorithms[place + 1 :])))
    def raw(made: bytes) -> Breaks:
        return manifest(lambda c: lambda m: replace(m, signer=Raw(made)))
    half = b"\x01" * 48
    found: Table = {}
    for role, issuer in zip(RIM_ROLES, (*RIM_ROLES[1:], "rim_root"), strict=True):
        found |= link_rules(f"rim.chain.{role.removeprefix('rim_')}", role, issuer, leaf=role == "rim_leaf",
                            root=role == "rim_root")
    for depth, role in ((1, "rim_line"), (2, "rim_root")):
        rule = f"rim.chain.{role.removeprefix('rim_')}.path_length"
        found[rule] = (ONE, [lambda c, role=role, depth=depth: c.altered(
            **{role: lambda p: p.changed(x509.basic_constraints(ca=True, path_length=depth - 1))})])
    return found | {
        "rim.algorithms": (ONE, [
            algorithm(0, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
            algorithm(1, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha384"),
            algorithm(1, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"),
            algorithm(2, "http://www.w3.org/TR/1999/REC-xslt-19991116"),
            algorithm(2, "http://www.w3.org/2006/12/xml-c14n11"),
            algorithm(3, "http://www.w3.org/2001/10/xml-exc-c14n#"),
            algorithm(4, "http://www.w3.org/2000/09/xmldsig#sha1"),
        ]),
        "rim.chain.length": (ONE, [manifest(lambda c, cut=cut: lambda m: replace(m, certificates=cut(m.certificates)))
                                   for cut in (lambda cs: cs[:1], lambda cs: cs[:3], lambda cs: (*cs, cs[-1]))]),
        "rim.chain.root": (ONE, [
            lambda c: replace(c, roots=(c.maker.chain("root"), c.other.chain("rim_root"))),
            manifest(lambda c: lambda m: replace(m, certificates=(*m.certificates[:3], c.other.certificate("root")))),
        ]),
        "rim.signature": (ONE, [
            manifest(lambda c: lambda m: replace(m, signer=c.other.key("rim_leaf"))),
            manifest(lambda c: lambda m: replace(m, signer=c.maker.key("rim_l3"))),
            manifest(lambda c: lambda m: replace(m, mutate_published=lambda d: d.replace(
                b"<ds:Transforms>", b"<ds:Transforms> "))),
            raw(half + half),
        ]),
        "rim.signature.length": (ONE, [raw(half), raw(half + half + b"\x00"), raw(b"")]),
        "rim.signature.range": (ONE, [raw(bytes(48) + half), raw(half + ORDER.to_bytes(48, "big"))]),
        "rim.digest": (ONE, [
            manifest(lambda c: lambda m: replace(m, digest=bytes(48))),
            manifest(lambda c: lambda m: replace(m, digest=b"\x01")),
            manifest(lambda c: lambda m: replace(m, mutate_published=lambda d: d.replace(b"<ns0:Payload>",
                                                                                         b"<ns0:Payload> "))),
            manifest(lambda c: lambda m: replace(m, mutate_published=lambda d: d.replace(b'revision="r1"',
                                                                                         b'revision="r2"'))),
        ]),
        "rim.tag": (ONE, [named(patch="true"), named(supplemental="true"), named(corpus="true"), named(patch="")]),
        "rim.maker": (ONE, [meta(FirmwareManufacturer="Somebody"), meta(FirmwareManufacturerId="1"),
                            meta(PayloadType="indirect"), meta(BindingSpec="other")]),
        "rim.active": (ONE, [manifest(lambda c: lambda m: replace(m, references=tuple(
            replace(r, active=False) for r in m.references)))]),
    }


# Of device rules and of manifest rules. OCSP about the boot ROM stands for the device chain, about L3 for manifests'.
DEVICE: list[Table] = [chain_rules(), report_rules(), ocsp_rules("chain.ocsp", "boot_rom", "provisioner")]
MANIFEST: list[Table] = [rim_rules(), ocsp_rules("rim.chain.ocsp", "rim_l3", "rim_line")]

OUT_OF_REACH = {
    "chain.boot_rom.path_length": "no CA follows below, and every length allows that",
    "rim.chain.l3.path_length": "the same",
    **{f"{chain}.root.{rule}": "a root that does not sign itself cannot be configured"
       for chain in ("chain", "rim.chain") for rule in ("issuer", "signature.identifier", "signature")},
    "report.signature.length": "the report's layout has room for no other length",
    "rim.driver.version": "manifests are chosen by the version they claim, and what they claim is what is signed",
    "rim.driver.product": "the same", "rim.vbios.version": "the same", "rim.vbios.product": "the same",
    "endorsement.validity": "what is prepared is looked up by the moment",
    "accept.status": "an expectation; see tests/verifier/appraisal",
    "accept.flags": "an expectation; a flag is refused under its own name",
    "binding.report_data": "an expectation",
}
# Notes that cannot fail: each is the other side of a rule above, or tells that something was not there.
NOTES = {"chain.ocsp.absent", "rim.chain.ocsp.absent", "report.fwid.absent", "rim.driver.absent", "rim.vbios.absent",
         "rim.driver.rejected", "rim.vbios.rejected"}


def params(tables: list[Table]) -> list[Any]:
    return [pytest.param(rule, kind, make, id=f"{kind}-{rule}-{number}")
            for table in tables for rule, (kinds, variants) in table.items() for kind in kinds
            for number, make in enumerate(variants)]


@pytest.mark.parametrize(("rule", "kind", "make"), params(DEVICE))
def test_a_rule_about_a_device_refuses_alone(rule, kind, make):
    case = make(case_of(kind))
    verdict = (case if rule.startswith("rim.") else replace(case, rims={})).verdict()
    assert isinstance(verdict.error, CheckFailed), verdict.error
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (False, False, f"nvidia.{rule}")
    assert [check.id for check in verdict.mismatches] == [f"nvidia.{rule}"]
    assert verdict.claims is None


@pytest.mark.parametrize(("rule", "kind", "make"), params(MANIFEST))
def test_a_rule_about_a_manifest_rejects_it_alone(rule, kind, make):
    """The device is what it is; nobody vouches for its firmware any more, and that is not accepted."""
    case = make(case_of(kind))
    verdict = replace(case, rims={"driver": case.maker.manifest("driver")}).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.error) == (True, False, None), verdict.error
    driver = verdict.claims.endorsement["rims"]["driver"]
    assert (driver["standing"], driver["rejected"]) == ("rejected", [f"nvidia.{rule}"])
    assert verdict.flags == ("RIM_REJECTED", "MEASUREMENTS_NOT_COMPARED")
    assert {check.id for check in verdict.mismatches} == {"nvidia.accept.rim_rejected",
                                                          "nvidia.accept.measurements_not_compared"}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("answered", [False, True])
def test_evidence_that_keeps_every_rule_is_accepted(kind, answered):
    case = case_of(kind).answered() if answered else case_of(kind)
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.error, verdict.flags) == (True, True, None, ())
    assert verdict.claims.software is True


def test_several_devices_that_keep_every_rule_are_accepted():
    case = case_of()
    assert together(case, case.report_body).verdict().accepted


def covered() -> set[str]:
    return {rule for table in DEVICE + MANIFEST for rule in table} | set(OUT_OF_REACH) | NOTES


def noted() -> set[str]:
    cases = [case for kind in ALL for case in (case_of(kind), case_of(kind).answered())]
    return {check.id.partition(".")[2] for case in cases for check in case.verdict().checks}


def test_every_rule_that_accepted_evidence_kept_is_in_the_tables():
    found = {rule for rule in noted() if not re.fullmatch(r"measurement\.\d+", rule)}
    assert len(found) > 100
    assert found <= covered()


SOURCES = ("checks/nvidia.py", "endorsements/nvidia.py", "endorsements/nvidia_rim.py", "endorsements/ocsp.py",
           "tees/nvidia.py")


def test_every_rule_in_the_source_is_in_the_tables():
    patterns = rules_in_source(*SOURCES)
    assert len(patterns) >= 30
    known = covered() | {"measurement.0"}  # its other side is a flag; see tests/verifier/tees/test_nvidia.py
    assert without_a_case(patterns, known) == []


def test_what_is_out_of_reach_or_a_note_is_really_noted_or_written():
    written, found = rules_in_source(*SOURCES), noted()
    assert [rule for rule in (*OUT_OF_REACH, *NOTES)
            if rule not in found and not any(re.fullmatch(p, rule) for p in written)] == []


@pytest.mark.parametrize("step", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_prepared_trust_never_changes_an_answer(step):
    """Broken cases again with a store that has seen good evidence and all the broken cases before them."""
    broken = [param.values for param in params(DEVICE + MANIFEST) if param.values[1] == "hopper"]
    assert_prepared_trust_never_changes_an_answer(
        case_of().answered(), ((rule, make(case_of())) for rule, _, make in broken[::step]))


def test_a_device_may_tell_no_architecture():
    case = case_of()
    silent = DeviceEvidence(case.device.report, case.device.chain)
    assert replace(case, devices=(silent,)).verdict().accepted
    assert replace(case, arch="Hopper").verdict().accepted
    assert case.at == AT + 10
