"""Every rule of the shipped policies for Azure, TPM, Nitro, CCA, CSV and NVIDIA, from evidence of small makers.

For each rule there is a guest, a machine or a reference value that breaks it and nothing else; the account must name
that rule alone. Rules are found in the accounts themselves, so that none can be added without a case here. What no
recipe lets through as claims (expired collateral, an unknown architecture) is in tests/verifier/policy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.verifier.azure_cases import AzureCase, azure_case
from tests.verifier.cose_cases import AWS, CcaCase, NitroCase, roots_of
from tests.verifier.nvidia_cases import NvidiaCase, case_of
from tests.verifier.tpm_cases import OTHER, TPM, TpmCase, signer
from verifier.claims import Claims
from verifier.endorsements.collateral import Collateral, HygonCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.cca_token import SoftwareComponent
from verifier.formats.tpm import HashAlg
from verifier.policy.defaults import shipped
from verifier.results.verdict import Verdict
from verifier.software_tee.certificates import pem
from verifier.software_tee.hygon import SmallHygon
from verifier.software_tee.nvidia import tcb_info
from verifier.software_tee.nvidia_ocsp import CERTIFICATE_HOLD
from verifier.verify import verify

AT = 1_780_000_000
OTHER_DIGEST = hashlib.sha384(b"another").digest()
HYGON = SmallHygon.create(b"the small Hygon of policies", at=AT)


@dataclass(frozen=True)
class CsvCase:
    """One report. info: fields that differ."""

    version: int = 3
    info: dict[str, Any] = field(default_factory=dict)

    def verdict(self) -> Verdict:
        chain = HygonCollateral((HYGON.certificate("hsk"), HYGON.certificate("cek")))
        report = HYGON.report(self.version, replace(HYGON.info(self.version), **self.info))
        return verify(Evidence(Tee.CSV, report), collateral=Collateral(hygon=chain), at=AT + 10,
                      roots=Roots.only_software(HYGON.roots().values()), binding=Binding.insecure_unbound())


def csv_policy(**bits: bool) -> CsvCase:
    """0x45 is: no debugging, ES, CSV3; here with NOKS and NOSEND."""
    told = {"nodbg": True, "noks": True, "es": True, "nosend": True} | bits
    policy = sum(1 << bit for bit, name in enumerate(("nodbg", "noks", "es", "nosend")) if told[name]) | 1 << 6
    return CsvCase(info={"policy": policy})


def azure(kind: str, *, pcr: int | None = None, **image: Any) -> AzureCase:
    """A VM with another image, or another value in one register."""
    case = azure_case(kind)
    vm = case.maker.vm
    pcrs = tuple(OTHER_DIGEST[:32] if number == pcr else value for number, value in enumerate(vm.pcrs))
    return replace(case, maker=replace(case.maker, vm=replace(vm, pcrs=pcrs, image=replace(vm.image, **image))))


def on_platform(case: AzureCase, **platform: Any) -> AzureCase:
    intel = case.maker.intel
    return replace(case, maker=replace(case.maker, intel=intel.on(replace(intel.platform, **platform))))


def tpm(pcr: int) -> TpmCase:
    return replace(TpmCase(), maker=replace(TPM, guest=TPM.guest.holding("sha256", pcr, OTHER_DIGEST[:32])))


def nitro(pcr: int, value: bytes = OTHER_DIGEST) -> NitroCase:
    enclave = AWS.enclave
    return NitroCase(maker=AWS.on(replace(enclave, pcrs={**enclave.pcrs, pcr: value})))


def cca(platform: dict[str, Any] | None = None, realm: dict[str, Any] | None = None) -> CcaCase:
    maker = CcaCase().maker
    case = CcaCase().on(replace(maker.platform, **platform or {}), replace(maker.realm, **realm or {}))
    return replace(case, roots=roots_of(case.maker.cpak_jwk(named=True)))


def nvidia(kind: str = "hopper") -> NvidiaCase:
    return case_of(kind).answered()


def answering(role: str, **answer: Any) -> NvidiaCase:
    """One certificate about which the responder says something else."""
    return nvidia().altered(ocsp=lambda a: replace(a, **answer) if a.about == role else a)


def without_answer(role: str) -> NvidiaCase:
    case = nvidia()
    return replace(case, answers={name: data for name, data in case.maker.answers().items() if name != role})


def measuring(case: NvidiaCase, number: int) -> NvidiaCase:
    return case.says(blocks=tuple(replace(block, value=OTHER_DIGEST) if block.index == number else block
                                  for block in case.report_body.blocks))


def blackwell(flags: bytes) -> NvidiaCase:
    case = nvidia("blackwell")
    return case.altered(leaf=lambda c: c.changed(tcb_info(case.maker.image.fwid, flags)))


GOOD: dict[str, Callable[[], Any]] = {
    "az-snp-vtpm": lambda: azure("snp"), "az-tdx-vtpm": lambda: azure("tdx"), "tpm": TpmCase, "nitro": NitroCase,
    "cca": cca, "csv": csv_policy, "nvidia": nvidia,
}
DEBUG_POLICY, MIGRATION_POLICY = 0x30000 | 1 << 19, 0x30000 | 1 << 18
_COMPONENT = SoftwareComponent(measurement_value=OTHER_DIGEST[:32], signer_id=OTHER_DIGEST[:32])


def broken(tee: str, rule: str, how: Any = None, /, *also: str, **reference: Any) -> Any:
    """how: makes the case that breaks the rule, None for the good one. reference: values that differ from what the good
    evidence matches. also: rules that cannot but break with it."""
    return pytest.param(tee, rule, how, frozenset(also), reference,
                        id=" ".join((f"{tee}:", rule, "evidence" if how else "owner", *reference)))


OLD = 256  # above every component of a TCB
CASES = [
    broken("az-snp-vtpm", "executables.measurement", lambda: azure("snp", measurement=OTHER_DIGEST)),
    broken("az-snp-vtpm", "executables.pcr04", lambda: azure("snp", pcr=4)),
    broken("az-snp-vtpm", "executables.pcr11", lambda: azure("snp", pcr=11)),
    broken("az-snp-vtpm", "executables.pcr04", None, snp_pcr04=[]),
    broken("az-snp-vtpm", "hardware.bootloader", None, tcb_min_bootloader=OLD),
    broken("az-snp-vtpm", "hardware.tee", None, tcb_min_tee=OLD),
    broken("az-snp-vtpm", "hardware.snp", None, tcb_min_snp=OLD),
    broken("az-snp-vtpm", "hardware.microcode", None, tcb_min_microcode=OLD),
    broken("az-snp-vtpm", "hardware.generation", None, snp_products=["Genoa"]),
    broken("az-snp-vtpm", "hardware.generation", None, snp_chip_ids=["00" * 64]),
    broken("az-snp-vtpm", "configuration.debug", lambda: azure("snp", snp_policy=DEBUG_POLICY),
           allowed_flags=["DEBUG_ALLOWED"]),
    broken("az-snp-vtpm", "configuration.migration", lambda: azure("snp", snp_policy=MIGRATION_POLICY),
           allowed_flags=["MIGRATE_MA_ALLOWED"]),
    broken("az-snp-vtpm", "configuration.flags", lambda: azure("snp", snp_policy=MIGRATION_POLICY),
           "configuration.migration"),
    broken("az-tdx-vtpm", "executables.mr_td", lambda: azure("tdx", mr_td=OTHER_DIGEST)),
    broken("az-tdx-vtpm", "executables.pcr04", lambda: azure("tdx", pcr=4)),
    broken("az-tdx-vtpm", "executables.pcr11", lambda: azure("tdx", pcr=11)),
    broken("az-tdx-vtpm", "hardware.tcb_status", lambda: on_platform(azure("tdx"), components=(7, 7, 2, 2, 3, 0, 0, 3)
                                                                     + (0,) * 8)),
    broken("az-tdx-vtpm", "configuration.debug", lambda: azure("tdx", td_attributes=b"\x01\x00\x00\x10" + bytes(4)),
           allowed_flags=["TD_DEBUG"]),
    broken("az-tdx-vtpm", "configuration.flags", lambda: azure("tdx", td_attributes=b"\x00\x00\x00\x30" + bytes(4))),
    broken("az-tdx-vtpm", "configuration.xfam", lambda: azure("tdx", xfam=bytes.fromhex("e700060000000000"))),
    broken("tpm", "executables.pcr00", lambda: tpm(0)),
    broken("tpm", "executables.pcr04", lambda: tpm(4)),
    broken("tpm", "executables.pcr11", lambda: tpm(11)),
    broken("tpm", "executables.pcr11", lambda: TpmCase().quoting({"sha256": [0, 4, 8]})),
    broken("tpm", "executables.ak", lambda: TpmCase(
        maker=OTHER, roots=Roots.only_software([pem(OTHER.certificate("root"))]))),
    broken("tpm", "hardware.ak", lambda: TpmCase().unendorsed, allowed_flags=["AK_UNPROVEN"]),
    broken("tpm", "configuration.flags", lambda: TpmCase().altered(creation=signer(
        lambda key: replace(key, hash=HashAlg.SHA1)))),
    broken("nitro", "executables.pcr0", lambda: nitro(0)),
    broken("nitro", "executables.pcr1", lambda: nitro(1)),
    broken("nitro", "executables.pcr2", lambda: nitro(2)),
    broken("nitro", "configuration.debug", lambda: nitro(0, bytes(48)), "executables.pcr0",
           allowed_flags=["NITRO_DEBUG"]),
    broken("nitro", "configuration.flags", lambda: nitro(1, bytes(48)), "executables.pcr1", "configuration.debug"),
    broken("cca", "executables.initial_measurement", lambda: cca(realm={"initial_measurement": OTHER_DIGEST[:32]})),
    broken("cca", "hardware.cpak", lambda: replace(CcaCase(), roots=Roots.only_software([AWS.certificate("root")]),
                                                   cpaks=(CcaCase().maker.cpak_jwk(named=False),)),
           allowed_flags=["CPAK_UNPROVEN"]),
    broken("cca", "hardware.implementation", lambda: cca({"implementation_id": OTHER_DIGEST[:32]})),
    broken("cca", "hardware.components", lambda: cca({
        "components": (*CcaCase().maker.platform.components, _COMPONENT)})),
    broken("cca", "configuration.lifecycle", lambda: cca({"lifecycle": 0x4000}), allowed_flags=["CCA_NOT_SECURED"]),
    broken("cca", "configuration.flags", lambda: cca({"lifecycle": 0x4000}), "configuration.lifecycle"),
    broken("csv", "executables.measure", lambda: replace(csv_policy(), info=csv_policy().info | {
        "measure": OTHER_DIGEST[:32]})),
    broken("csv", "configuration.debug", lambda: csv_policy(nodbg=False), allowed_flags=["CSV_DEBUG_ALLOWED"]),
    broken("csv", "configuration.flags", lambda: csv_policy(nodbg=False), "configuration.debug"),
    broken("csv", "configuration.es", lambda: csv_policy(es=False)),
    broken("csv", "configuration.noks", lambda: csv_policy(noks=False)),
    broken("csv", "configuration.nosend", lambda: csv_policy(nosend=False)),
    broken("csv", "configuration.proved", lambda: replace(csv_policy(), version=1), "executables.measure",
           csv_measure=["00" * 32]),
    broken("nvidia", "executables.measurements", lambda: measuring(nvidia(), 8),
           allowed_flags=["MEASUREMENT_MISMATCH_7"]),
    broken("nvidia", "executables.manifests", lambda: without_answer("rim_leaf")),
    broken("nvidia", "executables.manifests", lambda: replace(nvidia(), rims={}), "executables.measurements",
           allowed_flags=["MEASUREMENTS_NOT_COMPARED"]),
    broken("nvidia", "executables.versions", None, allowed_driver_versions=["1"]),
    broken("nvidia", "executables.versions", None, allowed_vbios_versions=["1"]),
    broken("nvidia", "hardware.revocation", lambda: without_answer("boot_rom")),
    broken("nvidia", "hardware.revocation", lambda: answering("provisioner", status="revoked", reason=CERTIFICATE_HOLD),
           allowed_flags=["CERTIFICATE_HOLD"], allowed_revocation=["hold", "not checked"]),
    broken("nvidia", "configuration.debug", lambda: blackwell(b"\x00\x10"), allowed_flags=["DEVICE_DEBUG"]),
    broken("nvidia", "configuration.debug", lambda: blackwell(b"\x00\x20"), allowed_flags=["DEVICE_RECOVERY"]),
    broken("nvidia", "configuration.flags", lambda: blackwell(b"\x00\x40")),
    *(broken(tee, "hardware.not_software", GOOD[tee], software=True) for tee in GOOD),
]
# Rules that no claims of a recipe can break.
BEYOND = {"az-snp-vtpm": {"hardware.fmc", "configuration.complete"},
          "az-tdx-vtpm": {"hardware.quote", "hardware.collateral"}, "nvidia": {"hardware.arch"}}


def claims(case: Any, *, software: bool = False) -> Claims:
    """What the recipe proves, unless ``software`` as if hardware's."""
    verdict = case.verdict()
    assert verdict.claims is not None, verdict.error
    return replace(verdict.claims, software=software)


@pytest.fixture
def failing(appraise, matching):
    """The rules that fail, by the account that goes into the audit log, and the result's status."""
    def judge(tee: str, evidence: Claims, reference: dict[str, Any]) -> tuple[str, set[str]]:
        values = matching(claims(GOOD[tee]()), **reference)
        result = appraise(evidence, values, at=AT + 10)
        return result.status, {check.id.removeprefix("cpu0.") for check in result.explanation
                               if not check.ok and ".trust_claims." not in check.id}
    return judge


@pytest.mark.parametrize("tee", GOOD)
def test_good_evidence_breaks_no_rule(failing, tee):
    assert failing(tee, claims(GOOD[tee]()), {}) == ("affirming", set())


@pytest.mark.parametrize(("tee", "rule", "how", "also", "reference"), CASES)
def test_each_rule_alone_refuses(failing, tee, rule, how, also, reference):
    reference = dict(reference)
    evidence = claims((how or GOOD[tee])(), software=reference.pop("software", False))
    status, rules = failing(tee, evidence, reference)
    assert status != "affirming"
    assert rules == {rule, *also}


@pytest.mark.parametrize("tee", GOOD)
def test_every_rule_has_a_case(engine, tee):
    why = engine.compile(shipped(tee), name=tee).evaluate("data.policy.why", input={}, reference_values={})
    told = {parameter.values[1] for parameter in CASES if parameter.values[0] == tee}
    assert {rule["rule"] for rule in why} == told | BEYOND.get(tee, set())
    assert not told & BEYOND.get(tee, set())


@pytest.mark.parametrize(("tee", "rule"), [(p.values[0], p.values[1]) for p in CASES if p.values[1] in (
    "hardware.ak", "hardware.cpak", "configuration.debug", "configuration.lifecycle", "hardware.not_software")])
def test_no_allowance_lets_debugging_unproven_keys_or_software_pass(failing, tee, rule):
    how = next(p.values[2] for p in CASES if p.values[:2] == (tee, rule))
    evidence = claims(how(), software=rule == "hardware.not_software")
    everything = {name: [True, False, "software", "AK_UNPROVEN", "none", "unproven", "hold", *evidence.flags]
                  for name in ("allowed_flags", "allowed_revocation", "allowed_tcb_status", "software", "csv_es")}
    status, rules = failing(tee, evidence, everything)
    assert status != "affirming"
    assert rule in rules
