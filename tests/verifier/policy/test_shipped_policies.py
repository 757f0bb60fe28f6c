"""The shipped policies, rule by rule: policy x evidence x reference values x outcome.

Two properties hold for every one of them: evidence that a root of software vouches for is never affirming, and a claim
that is missing is never taken for one that is good.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.verifier.policy.conftest import GOOD, REFERENCE
from verifier.policy.defaults import EXAMPLES, SHIPPED, example, shipped
from verifier.policy.review import sample
from verifier.results.trust_vector import UNSTATED, TrustVector

HARDWARE = ("tdx", "sgx", "snp", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "nitro", "cca", "csv", "nvidia")

# What each policy reads; taking any of these away must end in a refusal, taking anything else away must not matter.
READS: dict[str, set[tuple[str, ...]]] = {
    "tdx": {
        ("quote", "body", "mr_td"), ("quote", "body", "rtmr_1"), ("quote", "body", "rtmr_2"), ("quote", "body", "xfam"),
        ("quote", "header", "tee_type"), ("quote", "header", "vendor_id"), ("software",), ("tcb_status",),
        ("collateral_expiration_status",), ("td_attributes", "debug"), ("flags",),
    },
    "sgx": {
        ("body", "mr_enclave"), ("header", "att_key_data_0"), ("header", "vendor_id"), ("software",), ("tcb_status",),
        ("collateral_expiration_status",), ("debug",), ("flags",),
    },
    "snp": {
        ("measurement",), ("software",), ("product",), ("reported_tcb_bootloader",), ("reported_tcb_tee",),
        ("reported_tcb_snp",),
        ("reported_tcb_microcode",), ("reported_tcb_fmc",), ("policy_debug_allowed",), ("policy_migrate_ma",),
        ("flags",),
        ("platform_smt_enabled",), ("platform_tsme_enabled",), ("policy_single_socket",), ("policy_smt_allowed",),
        ("policy_abi_major",), ("policy_abi_minor",),
    },
    "tpm": {("pcr00",), ("pcr04",), ("pcr11",), ("ak_public_sha256",), ("ak_trust",), ("software",), ("flags",)},
    "nitro": {("pcrs", "pcr0"), ("pcrs", "pcr1"), ("pcrs", "pcr2"), ("debug",), ("software",), ("flags",)},
    "cca": {
        ("realm", "cca-realm-initial-measurement"), ("platform", "cca-platform-implementation-id"),
        ("platform", "cca-platform-sw-components"), ("platform", "cca-platform-lifecycle"), ("cpak_trust",),
        ("software",), ("flags",),
    },
    "csv": {("measure",), ("version",), ("policy", "nodbg"), ("policy", "es"), ("policy", "noks"), ("policy", "nosend"),
            ("software",), ("flags",)},
    "nvidia": {
        ("arch",), ("kind",), ("driver_version",), ("vbios_version",), ("measres",), ("measurements_mismatched",),
        ("rims", "driver", "standing"), ("rims", "driver", "revocation"), ("rims", "vbios", "standing"),
        ("rims", "vbios", "revocation"), ("revocation",), ("debug",), ("recovery",), ("software",), ("flags",),
    },
}
TPM = {("tpm", "pcr04"), ("tpm", "pcr11")}
READS["az-snp-vtpm"] = READS["snp"] | TPM
READS["az-tdx-vtpm"] = READS["tdx"] - {("quote", "body", "rtmr_1"), ("quote", "body", "rtmr_2")} | TPM


@pytest.fixture
def judge(engine):
    """The vector that a policy's text gives for a document and reference values."""
    def evaluate(source: str, document: dict[str, Any], reference: dict[str, Any]) -> TrustVector:
        claims = engine.compile(source, name="shipped").evaluate("data.policy.trust_claims", input=document,
                                                                 reference_values=reference)
        return TrustVector.from_claims(claims or {}, missing=UNSTATED)
    return evaluate


def with_prefixes(paths: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


@pytest.mark.parametrize("tee", HARDWARE)
def test_good_evidence_is_affirming(judge, inputs, tee):
    vector = judge(shipped(tee), inputs.good(tee), inputs.reference(tee))
    assert vector.status == "affirming"
    assert (vector.hardware, vector.executables) == (2, 3)


@pytest.mark.parametrize("tee", HARDWARE)
def test_nothing_is_affirming_without_reference_values(judge, inputs, tee):
    lacking = "contraindicated" if tee in ("snp", "az-snp-vtpm", "cca") else "warning"  # no minimum TCB, no platform
    assert judge(shipped(tee), inputs.good(tee), {}).status == lacking


@pytest.mark.parametrize(("tee", "name"), [(tee, name) for tee in HARDWARE for name in REFERENCE[tee]])
def test_every_reference_value_is_needed(judge, inputs, tee, name):
    spare = name == "allowed_switch_bios_versions"  # the sample is a GPU
    vector = judge(shipped(tee), inputs.good(tee), inputs.reference(tee, **{name: None}))
    assert (vector.status == "affirming") is spare


@pytest.mark.parametrize("tee", HARDWARE)
def test_a_missing_claim_is_never_affirming_and_an_unread_one_never_matters(judge, inputs, tee):
    read = {(tee, *path) for path in with_prefixes(READS[tee])} | {(tee,)}
    for path in inputs.paths(inputs.good(tee)):
        document = inputs.good(tee)
        del inputs.parent(document, path)[path[-1]]
        status = judge(shipped(tee), document, inputs.reference(tee)).status
        assert (status == "affirming") == (path not in read), path


WRONG = (None, True, False, "", "x", 0, -1, 10**9, 0.5, [], ["x"], {}, {"x": 1}, "AA" * 48)


@pytest.mark.parametrize("tee", HARDWARE)
def test_a_claim_of_any_other_value_is_never_affirming(judge, inputs, tee):
    for path in READS[tee]:
        good = inputs.good(tee)
        value = inputs.parent(good, (tee, *path))[path[-1]]
        for wrong in WRONG:
            if (wrong == value and type(wrong) is type(value)) or still_good(path[-1], value, wrong):
                continue
            document = copy.deepcopy(good)
            inputs.parent(document, (tee, *path))[path[-1]] = wrong
            status = judge(shipped(tee), document, inputs.reference(tee)).status
            assert status != "affirming", (path, wrong)


def still_good(name: str, value: Any, wrong: Any) -> bool:
    """Minimums are reached by more, and configuration 3 asks only that the guest policy is known."""
    number = type(wrong) in (int, float)
    if name.startswith("reported_tcb"):
        return number and wrong >= value
    if name.startswith("policy_abi"):
        return number
    if name in ("platform_smt_enabled", "platform_tsme_enabled", "policy_single_socket", "policy_smt_allowed"):
        return isinstance(wrong, bool)
    return name == "flags" and wrong == {}  # no flag in an empty object either


@pytest.mark.parametrize("tee", HARDWARE)
def test_software_evidence_is_never_affirming(judge, inputs, tee):
    vector = judge(shipped(tee), inputs.good(tee, software=True), inputs.reference(tee))
    assert (vector.hardware, vector.status) == (97, "contraindicated")


@pytest.mark.parametrize("tee", HARDWARE)
@pytest.mark.parametrize("name", ["software", "allowed_software", "not_software"])
def test_no_reference_value_lets_software_in(judge, inputs, tee, name):
    reference = inputs.reference(tee, **{name: [True, False, "software"]}, allowed_flags=["software", True])
    assert judge(shipped(tee), inputs.good(tee, software=True), reference).status == "contraindicated"


@pytest.mark.parametrize("document", [*HARDWARE, "sample"])
def test_sample_evidence_is_never_affirming(judge, inputs, document):
    vector = judge(shipped("sample"), inputs.good(document), inputs.reference(document))
    assert vector == UNSTATED


@pytest.mark.parametrize("tee", HARDWARE)
@pytest.mark.parametrize("other", [*HARDWARE, "sample"])
def test_a_policy_never_affirms_another_tee(judge, inputs, tee, other):
    reference = {name: value for kind in HARDWARE for name, value in inputs.reference(kind).items()}
    status = judge(shipped(tee), inputs.good(other), reference).status
    assert (status == "affirming") == (tee == other)


def case(tee: str, name: str, claims: dict[str, Any], reference: dict[str, Any], expected: tuple[int, int, int]) -> Any:
    """expected: hardware, executables, configuration."""
    return pytest.param(tee, claims, reference, expected, id=f"{tee}: {name}")


SNP_EXACT = {
    "snp_min_bootloader": None, "snp_min_tee_svn": None, "snp_min_snp_svn": None, "snp_min_microcode": None,
    "snp_min_fmc": None, "snp_bootloader": [1], "snp_tee_svn": [0, 1], "snp_snp_svn": [2], "snp_microcode": [71, 72],
    "snp_fmc": [0],
}
MILAN = {"product": "Milan", "reported_tcb_fmc": None}
ON_CHIP = {"snp_products": ["Milan"], "snp_chip_ids": "00" * 64}
SNP_GUEST = {"snp_smt_enabled": True, "snp_tsme_enabled": [False], "snp_single_socket": False,
             "snp_smt_allowed": [True],
             "snp_guest_abi_major": 0, "snp_guest_abi_minor": [0]}
AZ_EXACT = {
    "tcb_min_bootloader": None, "tcb_min_tee": None, "tcb_min_snp": None, "tcb_min_microcode": None,
    "tcb_min_fmc": None, "tcb_bootloader": 1, "tcb_tee": [0], "tcb_snp": [2, 3], "tcb_microcode": [71], "tcb_fmc": 0,
}
AZ_GUEST = {"smt_enabled": True, "tsme_enabled": False, "single_socket": [False], "smt_allowed": True, "abi_major": 0,
            "abi_minor": [0]}
CCA_PLATFORM, CSV_POLICY = sample("cca")["cca"]["platform"], GOOD["csv"]["policy"]
RIMS = sample("nvidia")["nvidia"]["rims"]
RIM = RIMS["vbios"]
SWITCH = {"kind": "switch", "arch": "LS10", "driver_version": None, "vbios_version": "96.10.55.00.01",
          "rims": {"vbios": RIM}}
SGX_SIGNER = {"sgx_mr_enclave": None, "sgx_mr_signer": ["00" * 32], "sgx_isv_prod_id": [1], "sgx_min_isv_svn": 1}

CASES = [
    case("tdx", "single values serve as lists of one", {}, {"mr_td": "aa" * 48, "xfam": "e702060000000000"}, (2, 3, 2)),
    case("tdx", "another MRTD", {}, {"mr_td": ["bb" * 48]}, (2, 33, 2)),
    case("tdx", "an empty list allows nothing", {}, {"mr_td": []}, (2, 33, 2)),
    case("tdx", "upper case is another text", {}, {"mr_td": ["AA" * 48]}, (2, 33, 2)),
    case("tdx", "another XFAM", {}, {"xfam": ["e702060000000001"]}, (2, 3, 36)),
    case("tdx", "out of date", {"tcb_status": "OutOfDate"}, {}, (97, 3, 2)),
    case("tdx", "out of date, allowed", {"tcb_status": "OutOfDate"}, {"allowed_tcb_status": "OutOfDate"}, (2, 3, 2)),
    case("tdx", "software hardening needed", {"tcb_status": "SWHardeningNeeded"}, {}, (97, 3, 2)),
    case("tdx", "revoked, even if allowed", {"tcb_status": "Revoked"}, {"allowed_tcb_status": ["Revoked"]}, (97, 3, 2)),
    case("tdx", "debugging, even if allowed", {"td_attributes": {"debug": True}, "flags": ["TD_DEBUG"]},
         {"allowed_flags": ["TD_DEBUG"]}, (2, 3, 36)),
    case("tdx", "migratable", {"flags": ["MIGRATABLE"]}, {}, (2, 3, 36)),
    case("tdx", "migratable, allowed", {"flags": ["MIGRATABLE"]}, {"allowed_flags": ["MIGRATABLE"]}, (2, 3, 2)),
    case("tdx", "one of two flags allowed", {"flags": ["MIGRATABLE", "TD_UNTRUSTED"]},
         {"allowed_flags": ["MIGRATABLE"]},
         (2, 3, 36)),
    case("tdx", "collateral expired", {"collateral_expiration_status": "1"}, {}, (97, 3, 2)),
    case("sgx", "by signer", {}, SGX_SIGNER, (2, 3, 3)),
    case("sgx", "by signer, newer", {"isv_svn": 9}, SGX_SIGNER, (2, 3, 3)),
    case("sgx", "by signer, older", {"isv_svn": 0}, SGX_SIGNER, (2, 33, 3)),
    case("sgx", "by signer, another product", {"isv_prod_id": 2}, SGX_SIGNER, (2, 33, 3)),
    case("sgx", "by signer, no minimum", {}, {**SGX_SIGNER, "sgx_min_isv_svn": None}, (2, 33, 3)),
    case("sgx", "by signer, an empty minimum", {}, {**SGX_SIGNER, "sgx_min_isv_svn": []}, (2, 33, 3)),
    case("sgx", "by signer, the strictest minimum counts", {}, {**SGX_SIGNER, "sgx_min_isv_svn": [1, 2]}, (2, 33, 3)),
    case("sgx", "another enclave", {}, {"sgx_mr_enclave": ["11" * 32]}, (2, 33, 3)),
    case("sgx", "debugging, even if allowed", {"debug": True, "flags": ["SGX_DEBUG"]}, {"allowed_flags": ["SGX_DEBUG"]},
         (2, 3, 36)),
    case("sgx", "provision key", {"flags": ["SGX_PROVISION_KEY"]}, {}, (2, 3, 36)),
    case("snp", "by minimum", {}, {}, (2, 3, 3)),
    case("snp", "by exact numbers", {}, SNP_EXACT, (2, 3, 3)),
    case("snp", "above the exact numbers", {"reported_tcb_microcode": 73}, SNP_EXACT, (97, 3, 3)),
    case("snp", "above the minimum", {"reported_tcb_microcode": 200}, {}, (2, 3, 3)),
    case("snp", "below the minimum", {"reported_tcb_snp": 1}, {}, (97, 3, 3)),
    case("snp", "a high component does not excuse a low one", {"reported_tcb_snp": 1, "reported_tcb_microcode": 255},
         {},
         (97, 3, 3)),
    case("snp", "a minimum that is text is none", {}, {"snp_min_bootloader": "0"}, (97, 3, 3)),
    case("snp", "no minimum for one component", {}, {"snp_min_tee_svn": None}, (97, 3, 3)),
    case("snp", "Genoa has no FMC", {"product": "Genoa", "reported_tcb_fmc": None}, {"snp_min_fmc": None}, (2, 3, 3)),
    case("snp", "Milan", MILAN, {}, (97, 3, 3)),
    case("snp", "Milan on a chip that is listed", MILAN, ON_CHIP, (2, 3, 3)),
    case("snp", "Milan, on any chip", MILAN, {**ON_CHIP, "snp_chip_ids": None}, (97, 3, 3)),
    case("snp", "Milan, another chip", MILAN, {**ON_CHIP, "snp_chip_ids": ["11" * 64]}, (97, 3, 3)),
    case("snp", "a chip that is listed, of no listed generation", MILAN, {**ON_CHIP, "snp_products": None}, (97, 3, 3)),
    case("az-snp-vtpm", "Milan", MILAN, {}, (97, 3, 3)),
    case("az-snp-vtpm", "Milan on a chip that is listed", MILAN, ON_CHIP, (2, 3, 3)),
    case("az-snp-vtpm", "Milan, another chip", MILAN, {**ON_CHIP, "snp_chip_ids": ["11" * 64]}, (97, 3, 3)),
    case("snp", "Turin needs an FMC minimum", {}, {"snp_min_fmc": None}, (97, 3, 3)),
    case("snp", "an unknown product", {"product": "Venice", "reported_tcb_fmc": None}, {}, (97, 3, 3)),
    case("snp", "all about the guest registered", {}, SNP_GUEST, (2, 3, 2)),
    case("snp", "something else about the guest", {"policy_smt_allowed": False}, SNP_GUEST, (2, 3, 3)),
    case("snp", "debugging, even if allowed", {"policy_debug_allowed": True, "flags": ["DEBUG_ALLOWED"]},
         {**SNP_GUEST, "allowed_flags": ["DEBUG_ALLOWED"]}, (2, 3, 36)),
    case("snp", "migration, even if allowed", {"policy_migrate_ma": True, "flags": ["MIGRATE_MA_ALLOWED"]},
         {"allowed_flags": ["MIGRATE_MA_ALLOWED"]}, (2, 3, 36)),
    case("snp", "VMPL 1", {"vmpl": 1, "flags": ["VMPL1"]}, {}, (2, 3, 36)),
    case("snp", "VMPL 1, allowed", {"vmpl": 1, "flags": ["VMPL1"]}, {"allowed_flags": ["VMPL1"]}, (2, 3, 3)),
    case("snp", "another measurement", {}, {"snp_launch_measurement": ["11" * 48]}, (2, 33, 3)),
    case("az-snp-vtpm", "by exact numbers", {}, AZ_EXACT, (2, 3, 3)),
    case("az-snp-vtpm", "all about the guest registered", {}, AZ_GUEST, (2, 3, 2)),
    case("az-snp-vtpm", "another measurement", {}, {"measurement": ["11" * 48]}, (2, 33, 3)),
    case("az-snp-vtpm", "the name that a bare guest's measurement has", {},
         {"measurement": None, "snp_launch_measurement": ["00" * 48]}, (2, 33, 3)),
    case("az-snp-vtpm", "the run-time register alone", {}, {"snp_pcr04": None}, (2, 33, 3)),
    case("az-snp-vtpm", "another loader", {"tpm": {"pcr04": "22" * 32, "pcr11": "00" * 32}}, {}, (2, 33, 3)),
    case("az-snp-vtpm", "another kernel", {"tpm": {"pcr04": "00" * 32, "pcr11": "22" * 32}}, {}, (2, 33, 3)),
    case("az-snp-vtpm", "no quote", {"tpm": None, "flags": ["TPM_QUOTE_MISSING"]},
         {"allowed_flags": "TPM_QUOTE_MISSING"}, (2, 33, 3)),
    case("az-snp-vtpm", "old firmware", {"reported_tcb_snp": 1}, {}, (97, 3, 3)),
    case("az-snp-vtpm", "debugging, even if allowed", {"policy_debug_allowed": True, "flags": ["DEBUG_ALLOWED"]},
         {"allowed_flags": ["DEBUG_ALLOWED"]}, (2, 3, 36)),
    case("az-snp-vtpm", "migration, even if allowed", {"policy_migrate_ma": True, "flags": ["MIGRATE_MA_ALLOWED"]},
         {"allowed_flags": ["MIGRATE_MA_ALLOWED"]}, (2, 3, 36)),
    case("az-tdx-vtpm", "another MRTD", {}, {"mr_td": ["bb" * 48]}, (2, 33, 2)),
    case("az-tdx-vtpm", "the run-time register alone", {}, {"tdx_pcr04": None}, (2, 33, 2)),
    case("az-tdx-vtpm", "another loader", {"tpm": {"pcr04": "22" * 32, "pcr11": "00" * 32}}, {}, (2, 33, 2)),
    case("az-tdx-vtpm", "another kernel", {"tpm": {"pcr04": "00" * 32, "pcr11": "22" * 32}}, {}, (2, 33, 2)),
    case("az-tdx-vtpm", "out of date", {"tcb_status": "OutOfDate"}, {}, (97, 3, 2)),
    case("az-tdx-vtpm", "out of date, allowed", {"tcb_status": "OutOfDate"}, {"allowed_tcb_status": "OutOfDate"},
         (2, 3, 2)),
    case("az-tdx-vtpm", "revoked, even if allowed", {"tcb_status": "Revoked"}, {"allowed_tcb_status": ["Revoked"]},
         (97, 3, 2)),
    case("az-tdx-vtpm", "collateral expired", {"collateral_expiration_status": "1"}, {}, (97, 3, 2)),
    case("az-tdx-vtpm", "another XFAM", {}, {"xfam": "e702060000000001"}, (2, 3, 36)),
    case("az-tdx-vtpm", "debugging, even if allowed", {"td_attributes": {"debug": True}, "flags": ["TD_DEBUG"]},
         {"allowed_flags": ["TD_DEBUG"]}, (2, 3, 36)),
    case("az-tdx-vtpm", "migratable, allowed", {"flags": ["MIGRATABLE"]}, {"allowed_flags": ["MIGRATABLE"]},
         (2, 3, 2)),
    case("tpm", "the key by its whole", {}, {"trusted_aks": sample("tpm")["tpm"]["ak_public"]}, (2, 3, 3)),
    case("tpm", "another key", {}, {"trusted_aks": ["22" * 32]}, (2, 33, 3)),
    case("tpm", "another firmware", {}, {"tpm_pcr00": ["22" * 32]}, (2, 33, 3)),
    case("tpm", "another loader", {}, {"tpm_pcr04": ["22" * 32]}, (2, 33, 3)),
    case("tpm", "another kernel", {}, {"tpm_pcr11": ["22" * 32]}, (2, 33, 3)),
    case("tpm", "a register outside the signed selection", {"pcr11": None}, {}, (2, 33, 3)),
    case("tpm", "a provisioned key", {"ak_trust": "provisioned"}, {}, (2, 3, 3)),
    case("tpm", "an unproven key, even if trusted and allowed", {"ak_trust": "none", "flags": ["AK_UNPROVEN"]},
         {"allowed_flags": ["AK_UNPROVEN"]}, (97, 3, 3)),
    case("tpm", "an unproven key that the flags alone tell", {"flags": ["AK_UNPROVEN"]},
         {"allowed_flags": ["AK_UNPROVEN"]}, (97, 3, 3)),
    case("tpm", "signed over SHA-1", {"flags": ["SHA1_SIGNATURE"]}, {}, (2, 3, 36)),
    case("tpm", "signed over SHA-1, allowed", {"flags": ["SHA1_SIGNATURE"]}, {"allowed_flags": "SHA1_SIGNATURE"},
         (2, 3, 3)),
    case("nitro", "another image", {}, {"nitro_pcr0": ["11" * 48]}, (2, 33, 3)),
    case("nitro", "another kernel", {}, {"nitro_pcr1": ["11" * 48]}, (2, 33, 3)),
    case("nitro", "another application", {}, {"nitro_pcr2": ["11" * 48]}, (2, 33, 3)),
    case("nitro", "debugging, even if allowed", {"debug": True, "flags": ["NITRO_DEBUG"]},
         {"allowed_flags": ["NITRO_DEBUG"]}, (2, 3, 36)),
    case("nitro", "an objection", {"flags": ["SOMETHING"]}, {}, (2, 3, 36)),
    case("nitro", "an objection, allowed", {"flags": ["SOMETHING"]}, {"allowed_flags": ["SOMETHING"]}, (2, 3, 3)),
    case("cca", "another realm", {}, {"cca_realm_initial_measurement": ["11" * 32]}, (2, 33, 3)),
    case("cca", "another kind of platform", {}, {"cca_implementation_id": ["11" * 32]}, (97, 3, 3)),
    case("cca", "other firmware", {}, {"cca_platform_measurement": ["11" * 32]}, (97, 3, 3)),
    case("cca", "one component more", {"platform": CCA_PLATFORM | {"cca-platform-sw-components": [
        {"measurement-value": "00" * 32}, {"measurement-value": "11" * 32}]}}, {}, (97, 3, 3)),
    case("cca", "no component", {"platform": CCA_PLATFORM | {"cca-platform-sw-components": []}}, {}, (97, 3, 3)),
    case("cca", "a configuration that is registered", {}, {"cca_platform_config": ["cfcfcfcf"]}, (2, 3, 2)),
    case("cca", "an unproven key, even if allowed", {"cpak_trust": "unproven", "flags": ["CPAK_UNPROVEN"]},
         {"allowed_flags": ["CPAK_UNPROVEN"]}, (97, 3, 3)),
    case("cca", "an unproven key that the flags alone tell", {"flags": ["CPAK_UNPROVEN"]},
         {"allowed_flags": ["CPAK_UNPROVEN"]}, (97, 3, 3)),
    case("cca", "not secured, even if allowed", {"platform": CCA_PLATFORM | {
        "cca-platform-lifecycle": "non-cca-platform-rot-debug"}, "flags": ["CCA_NOT_SECURED"]},
        {"allowed_flags": ["CCA_NOT_SECURED"]}, (2, 3, 36)),
    case("cca", "an objection", {"flags": ["SOMETHING"]}, {}, (2, 3, 36)),
    case("csv", "another measurement", {}, {"csv_measure": ["11" * 32]}, (2, 33, 3)),
    case("csv", "version 1", {"version": 1}, {}, (2, 3, 3)),
    case("csv", "version 1 with nothing to hold it to", {"version": 1}, {"csv_measure": ["11" * 32]}, (2, 33, 36)),
    case("csv", "an unknown version", {"version": 4}, {}, (2, 3, 36)),
    case("csv", "debugging, even if allowed", {"policy": CSV_POLICY | {"nodbg": False}, "flags": ["CSV_DEBUG_ALLOWED"]},
         {"allowed_flags": ["CSV_DEBUG_ALLOWED"]}, (2, 3, 36)),
    case("csv", "migration", {"policy": CSV_POLICY | {"nosend": False}}, {}, (2, 3, 36)),
    case("csv", "migration, let pass", {"policy": CSV_POLICY | {"nosend": False}}, {"csv_nosend": False}, (2, 3, 3)),
    case("csv", "keys shared", {"policy": CSV_POLICY | {"noks": False}}, {}, (2, 3, 36)),
    case("csv", "keys shared, let pass", {"policy": CSV_POLICY | {"noks": False}}, {"csv_noks": [False]}, (2, 3, 3)),
    case("csv", "registers in clear", {"policy": CSV_POLICY | {"es": False}}, {}, (2, 3, 36)),
    case("csv", "registers in clear, let pass", {"policy": CSV_POLICY | {"es": False}}, {"csv_es": False}, (2, 3, 3)),
    case("csv", "an objection", {"flags": ["SOMETHING"]}, {}, (2, 3, 36)),
    case("nvidia", "a switch", SWITCH, {}, (2, 3, 3)),
    case("nvidia", "a switch with another BIOS", SWITCH, {"allowed_switch_bios_versions": "96.10"}, (2, 33, 3)),
    case("nvidia", "a switch whose BIOS is registered as a GPU's", SWITCH,
         {"allowed_switch_bios_versions": None, "allowed_vbios_versions": "96.10.55.00.01"}, (2, 33, 3)),
    case("nvidia", "another driver", {}, {"allowed_driver_versions": ["1"]}, (2, 33, 3)),
    case("nvidia", "another VBIOS", {}, {"allowed_vbios_versions": ["1"]}, (2, 33, 3)),
    case("nvidia", "measurements that differ", {"measres": "fail", "measurements_mismatched": [5]},
         {"allowed_flags": ["MEASUREMENT_MISMATCH_5"]}, (2, 33, 3)),
    case("nvidia", "measurements that nobody compared, even if allowed",
         {"measres": None, "flags": ["MEASUREMENTS_NOT_COMPARED"]}, {"allowed_flags": ["MEASUREMENTS_NOT_COMPARED"]},
         (2, 33, 3)),
    case("nvidia", "a manifest that is not verified", {"rims": RIMS | {"vbios": {"standing": "rejected"}}}, {},
         (2, 33, 3)),
    case("nvidia", "no manifests", {"rims": {}}, {}, (2, 33, 3)),
    case("nvidia", "a manifest nobody answered for", {"rims": RIMS | {"vbios": RIM | {"revocation": "not checked"}}},
         {}, (2, 33, 3)),
    case("nvidia", "a suspended manifest, even if allowed", {"rims": RIMS | {"vbios": RIM | {"revocation": "hold"}}},
         {"allowed_revocation": ["hold", "not checked"]}, (2, 33, 3)),
    case("nvidia", "nobody answered for the device", {"revocation": "not checked"}, {}, (97, 3, 3)),
    case("nvidia", "nobody answered, allowed", {"revocation": "not checked", "rims": {
        "driver": RIM | {"revocation": "not checked"}, "vbios": RIM}}, {"allowed_revocation": "not checked"},
        (2, 3, 3)),
    case("nvidia", "suspended, even if allowed", {"revocation": "hold", "flags": ["CERTIFICATE_HOLD"]},
         {"allowed_revocation": ["hold"], "allowed_flags": ["CERTIFICATE_HOLD"]}, (97, 3, 3)),
    case("nvidia", "debugging, even if allowed", {"debug": True, "flags": ["DEVICE_DEBUG"]},
         {"allowed_flags": ["DEVICE_DEBUG"]}, (2, 3, 36)),
    case("nvidia", "recovery, even if allowed", {"recovery": True, "flags": ["DEVICE_RECOVERY"]},
         {"allowed_flags": ["DEVICE_RECOVERY"]}, (2, 3, 36)),
    case("nvidia", "switches missing", {"flags": ["SWITCHES_NOT_ATTESTED"]}, {}, (2, 3, 36)),
    case("nvidia", "switches missing, allowed", {"flags": ["SWITCHES_NOT_ATTESTED"]},
         {"allowed_flags": "SWITCHES_NOT_ATTESTED"}, (2, 3, 3)),
    case("nvidia", "a device of an unknown kind", {"arch": "RUBIN"}, {}, (97, 3, 3)),
]


@pytest.mark.parametrize(("tee", "claims", "reference", "expected"), CASES)
def test_each_case_has_its_outcome(judge, inputs, tee, claims, reference, expected):
    document = inputs.good(tee, **{name: value for name, value in claims.items() if value is not None})
    for name in [name for name, value in claims.items() if value is None]:
        del document[tee][name]
    vector = judge(shipped(tee), document, inputs.reference(tee, **reference))
    assert (vector.hardware, vector.executables, vector.configuration) == expected


@pytest.mark.parametrize("tee", HARDWARE)
def test_the_account_of_the_rules_agrees_with_the_decision(engine, inputs, tee):
    policy = engine.compile(shipped(tee), name="shipped")
    for path in sorted(READS[tee]):
        document = inputs.good(tee)
        del inputs.parent(document, (tee, *path))[path[-1]]
        why = policy.evaluate("data.policy.why", input=document, reference_values=inputs.reference(tee))
        wrong = [rule for rule in why if not rule["ok"]]
        assert any(rule["expected"] != rule["got"] for rule in wrong), path
        assert all(set(rule) == {"rule", "ok", "expected", "got"} for rule in why)


def test_a_refusal_names_what_was_expected_and_what_was_found(engine, inputs):
    policy = engine.compile(shipped("tdx"), name="shipped")
    why = policy.evaluate("data.policy.why", input=inputs.good("tdx"),
                          reference_values=inputs.reference("tdx", mr_td="bb" * 48))
    assert [rule for rule in why if not rule["ok"]] == [
        {"rule": "executables.mr_td", "ok": False, "expected": ["bb" * 48], "got": "aa" * 48}]


# The example that accepts the software TEE, for owners who choose it by name.

@pytest.mark.parametrize("tee", HARDWARE)
@pytest.mark.parametrize("software", [True, False])
def test_the_example_accepts_software_evidence_that_is_good_otherwise(judge, inputs, tee, software):
    document = inputs.good(tee, software=software)
    assert judge(example("software_tee"), document, inputs.reference(tee)).status == "affirming"


@pytest.mark.parametrize(("tee", "claims"), [
    ("tdx", {"tcb_status": "OutOfDate"}), ("tdx", {"td_attributes": {"debug": True}}),
    ("tdx", {"flags": ["MIGRATABLE"]}),
    ("tdx", {"quote": {"body": {"mr_td": "bb" * 48}}}), ("sgx", {"tcb_status": "Revoked"}), ("sgx", {"debug": True}),
    ("sgx", {"body": {"mr_enclave": "11" * 32}}), ("snp", {"reported_tcb_snp": 1}),
    ("snp", {"policy_debug_allowed": True}),
    ("snp", {"measurement": "11" * 48}), ("az-snp-vtpm", {"reported_tcb_snp": 1}), ("az-snp-vtpm", {"tpm": {}}),
    ("az-snp-vtpm", {"policy_debug_allowed": True}), ("az-snp-vtpm", {"measurement": "11" * 48}),
    ("az-tdx-vtpm", {"tpm": {}}), ("az-tdx-vtpm", {"tcb_status": "OutOfDate"}),
    ("az-tdx-vtpm", {"td_attributes": {"debug": True}}), ("tpm", {"pcr04": "11" * 32}), ("tpm", {"ak_trust": "none"}),
    ("tpm", {"ak_public_sha256": "11" * 32}), ("tpm", {"flags": ["AK_UNPROVEN"]}), ("nitro", {"debug": True}),
    ("nitro", {"pcrs": {"pcr0": "11" * 48}}), ("nitro", {"flags": ["NITRO_DEBUG"]}),
    ("cca", {"cpak_trust": "unproven"}),
    ("cca", {"platform": CCA_PLATFORM | {"cca-platform-lifecycle": "decommissioned"}}),
    ("cca", {"platform": CCA_PLATFORM | {"cca-platform-implementation-id": "11" * 32}}), ("cca", {"realm": {}}),
    ("csv", {"measure": "11" * 32}), ("csv", {"policy": CSV_POLICY | {"nodbg": False}}), ("csv", {"version": 4}),
    ("nvidia", {"measres": "fail"}), ("nvidia", {"revocation": "hold"}), ("nvidia", {"debug": True}),
    ("nvidia", {"vbios_version": "1"}), ("nvidia", {"flags": ["SWITCHES_NOT_ATTESTED"]}),
    ("nvidia", SWITCH | {"vbios_version": "1"}),
])
def test_the_example_judges_everything_else(judge, inputs, tee, claims):
    document = inputs.good(tee, software=True, **claims)
    assert judge(example("software_tee"), document, inputs.reference(tee)).status != "affirming"


def test_the_example_never_accepts_sample_evidence(judge, inputs):
    assert judge(example("software_tee"), inputs.good("sample"), inputs.reference("sample")).status == "contraindicated"


def test_no_shipped_policy_is_an_example():
    assert not {shipped(name) for name in SHIPPED} & {example(name) for name in EXAMPLES}
