"""Claims of every TEE, as the recipes make them, and an appraiser for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest

from tests.verifier.azure_cases import azure_case
from tests.verifier.cose_cases import CcaCase, NitroCase
from tests.verifier.nvidia_cases import case_of
from tests.verifier.tpm_cases import TpmCase
from verifier.appraisal.appraiser import Appraiser
from verifier.claims import Claims
from verifier.endorsements.collateral import Collateral, HygonCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.policy.rego import RegoEngine
from verifier.reference_values.model import ReferenceValues
from verifier.software_tee.hygon import SmallHygon
from verifier.verify import verify

NOW = 1_780_000_010


def _sample() -> Claims:
    evidence = Evidence(Tee.SAMPLE, b'{"svn":"1","report_data":"AAAA"}')
    verdict = verify(evidence, collateral=Collateral.none(), roots=Roots.makers().with_insecure_sample(), at=NOW,
                     binding=Binding.insecure_unbound())
    assert verdict.claims, verdict.error
    return verdict.claims


@cache
def _hygon() -> SmallHygon:
    return SmallHygon.create(b"the small Hygon of appraisals", at=NOW)


@cache
def _csv(version: int) -> Claims:
    maker = _hygon()
    chain = HygonCollateral((maker.certificate("hsk"), maker.certificate("cek")))
    verdict = verify(Evidence(Tee.CSV, maker.report(version, maker.info(version))), at=NOW,
                     collateral=Collateral(hygon=chain), roots=Roots.only_software(maker.roots().values()),
                     binding=Binding.insecure_unbound())
    assert verdict.claims, verdict.error
    return verdict.claims


# Evidence of small makers by kind; the verifier's room has a case for each.
CASES: dict[str, Callable[[], Any]] = {
    "az-snp-vtpm": lambda: azure_case("snp"), "az-tdx-vtpm": lambda: azure_case("tdx"), "tpm": TpmCase,
    "az-tdx-vtpm-td15": lambda: azure_case("tdx-td15"), "nitro": NitroCase, "cca": CcaCase,
    **{f"nvidia-{kind}": partial(case_of, kind) for kind in ("hopper", "blackwell", "switch")},
}


@cache
def _proved(kind: str) -> Claims:
    if kind.startswith("csv"):
        return _csv(int(kind[-1]))
    case = CASES[kind]()
    verdict = (case.answered() if kind.startswith("nvidia") else case).verdict()
    assert verdict.claims, verdict.error
    return verdict.claims


@pytest.fixture(scope="session")
def engine() -> RegoEngine:
    return RegoEngine()


@pytest.fixture
def claims_of(intel_case, snp_case):
    """``claims_of("tdx-v5-td15")``: what small makers' evidence proves, unless ``software`` as if hardware's.

    More arguments replace members of the claims.
    """
    def make(kind: str = "tdx-v4", *, software: bool = False, **members: Any) -> Claims:
        if kind == "sample":
            claims = _sample()
        elif kind in CASES or kind.startswith("csv"):
            claims = _proved(kind)
        elif kind.startswith("snp"):
            claims = snp_case(line=kind.partition("-")[2] or "Milan",
                              version=5 if kind.endswith("Turin") else 3).verify()
        else:
            claims = intel_case(kind).verdict().claims
        assert claims is not None
        return replace(claims, software=software, **members)
    return make


@pytest.fixture(scope="session")
def matching():
    """Reference values that the claims match in every respect."""
    def make(claims: Claims, **more: Any) -> ReferenceValues:
        known = VALUES.get(claims.tee, _of_processor)(claims)
        return ReferenceValues.of({name: value for name, value in {**known, **more}.items() if value is not None})
    return make


def _of_processor(claims: Claims) -> dict[str, Any]:
    body = _hexadecimal(claims)
    return {
        "mr_td": body.get("mr_td"), "rtmr_1": body.get("rtmr1"), "rtmr_2": body.get("rtmr2"), "xfam": body.get("xfam"),
        "sgx_mr_enclave": body.get("mr_enclave"), "snp_launch_measurement": body.get("measurement"),
        "allowed_tcb_status": claims.status, "snp_min_bootloader": _tcb(claims).get("bootloader"),
        "snp_min_fmc": _tcb(claims).get("fmc"), "snp_min_tee_svn": _tcb(claims).get("tee"),
        "snp_min_snp_svn": _tcb(claims).get("snp"), "snp_min_microcode": _tcb(claims).get("microcode"),
        **_chip(claims),
    }


def _of_azure(claims: Claims) -> dict[str, Any]:
    body, pcrs = _hexadecimal(claims), claims.body.get("pcrs", {})
    found = {f"{claims.tee.value[3:6]}_pcr{number:>02}": pcrs[number].hex() for number in ("4", "11") if number in pcrs}
    return found | {f"tcb_min_{name}": least for name, least in _tcb(claims).items() if name != "reserved"} | {
        "measurement": body.get("measurement"), "mr_td": body.get("mr_td"), "xfam": body.get("xfam"),
        "allowed_tcb_status": claims.status, **_chip(claims)}


def _of_tpm(claims: Claims) -> dict[str, Any]:
    pcrs = claims.body["pcrs"].get("sha256", {})
    return {f"tpm_pcr{number:>02}": pcrs[number].hex() for number in ("0", "4", "11") if number in pcrs} | {
        "trusted_aks": claims.body["ak"]["spki_sha256"].hex()}


def _of_nitro(claims: Claims) -> dict[str, Any]:
    return {f"nitro_pcr{number}": claims.body["pcrs"][number].hex() for number in ("0", "1", "2")}


def _of_cca(claims: Claims) -> dict[str, Any]:
    platform, realm = claims.body["platform"], claims.body["realm"]
    return {
        "cca_realm_initial_measurement": realm["initial_measurement"].hex(),
        "cca_implementation_id": platform["implementation_id"].hex(),
        "cca_platform_measurement": [c["measurement_value"].hex() for c in platform["sw_components"]]}


def _of_csv(claims: Claims) -> dict[str, Any]:
    bits = claims.body["policy"]
    return {"csv_measure": claims.body["measure"].hex()} | {
        f"csv_{name}": bool(bits[name]) for name in ("es", "noks", "nosend")}


def _of_nvidia(claims: Claims) -> dict[str, Any]:
    body = claims.body
    return {"allowed_driver_versions": body.get("driver_version"), "allowed_vbios_versions": body["vbios_version"],
            "allowed_switch_bios_versions": body["vbios_version"]}


def _hexadecimal(claims: Claims) -> dict[str, str]:
    return {name: value.hex() for name, value in claims.body.items() if isinstance(value, bytes)}


def _chip(claims: Claims) -> dict[str, Any]:
    """Of a generation that is taken on listed chips only."""
    return {"snp_products": claims.endorsement.get("product_line"), "snp_chip_ids": _hexadecimal(claims).get("chip_id")}


def _tcb(claims: Claims) -> dict[str, Any]:
    return dict(claims.body.get("reported_tcb_decoded", {}))


VALUES: dict[Tee, Callable[[Claims], dict[str, Any]]] = {
    Tee.AZ_SNP_VTPM: _of_azure, Tee.AZ_TDX_VTPM: _of_azure, Tee.TPM: _of_tpm, Tee.NITRO: _of_nitro, Tee.CCA: _of_cca,
    Tee.CSV: _of_csv, Tee.NVIDIA: _of_nvidia,
}


@pytest.fixture
def appraise(engine):
    """``appraise(claims, values)``: the result for one part."""
    def make(claims: Claims, values: ReferenceValues, policies: dict[str, str] | None = None, *, at: int = NOW,
             name: str = "cpu0", **more: Any) -> Any:
        given = {"runtime_data": {"nonce": "nonce"}, "init_data_claims": None, **more}
        return Appraiser(engine, policies, values).appraise([(name, claims)], at=at, **given)
    return make
