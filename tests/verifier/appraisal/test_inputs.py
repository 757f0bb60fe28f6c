"""What policies read: the names Trustee uses, nothing unverified, nothing that is not there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tests.verifier.azure_cases import azure_case
from tests.verifier.cose_cases import NitroCase
from tests.verifier.nvidia_cases import case_of
from tests.verifier.tpm_cases import TPM, TpmCase
from verifier.appraisal.inputs import policy_input
from verifier.claims import Claims
from verifier.collateral.files import load
from verifier.endorsements.collateral import AmdCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.gce_instance import GceInstance
from verifier.loose.folder import read
from verifier.policy.review import sample
from verifier.software_tee import certificates as x509
from verifier.software_tee.azure_parts import select
from verifier.software_tee.event_log import SoftwareLog
from verifier.software_tee.tpm import instance_extension
from verifier.verify import verify

KINDS = ("tdx-v4", "tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex", "sgx-v3", "sgx-v4", "sgx-v5", "snp-Milan",
         "snp-Genoa",
         "snp-Turin", "az-snp-vtpm", "az-tdx-vtpm", "az-tdx-vtpm-td15", "tpm", "nitro", "cca", "csv-v1", "csv-v2",
         "csv-v3", "nvidia-hopper", "nvidia-blackwell", "nvidia-switch", "sample")
# What only some evidence of a kind has: later versions, other makers' keys, what a guest may leave out.
OPTIONAL = {"tee_tcb_svn2", "mr_servicetd", "tcb_status_current", "tcb_date_current", "advisory_ids_current",
            "reported_tcb_fmc", "csp_id", "init_data", "gce_instance", "user_data", "public_key", "build",
            "rtmr_version", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "rtmr4", "driver_version", "driver", "board_id",
            "protected_pcie"}
NUMBERED = {"nitro": "pcr", "nvidia-switch": ""}  # registers beyond the sixteen; measurements beyond a switch's 31


def paths(value: Any, before: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{before}/{key}"
            yield from paths(item, f"{before}/{key}")


def plain(claims: Claims) -> dict[str, Any]:
    return policy_input(claims, runtime_data=None, init_data=None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_for_review_know_every_member(claims_of, kind):
    claims = claims_of(kind)
    known = set(paths(sample(claims.tee.value)))
    bound = None if kind.startswith(("nitro", "nvidia")) else {}  # where there is no field for it
    document = policy_input(claims, runtime_data={}, init_data=bound)
    assert set(paths(document)) <= known
    missing = {path for path in known - set(paths(document)) if not path.startswith(("/runtime_", "/init_"))}
    prefix = NUMBERED.get(kind)
    assert not {path for path in missing if not set(path.split("/")) & OPTIONAL and (
        prefix is None or not path.rsplit("/", 1)[1].removeprefix(prefix).isdecimal())}


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_plain_json_without_null(claims_of, kind):
    document = plain(claims_of(kind))
    assert json.loads(json.dumps(document)) == document
    assert "null" not in json.dumps(document)


def test_tdx_claims_have_trustees_names(claims_of):
    claims = claims_of("tdx-v5-td15")
    tdx = plain(claims)["tdx"]
    body, told = claims.body, tdx["quote"]["body"]
    assert (told["mr_td"], told["rtmr_0"], told["rtmr_3"]) == (body["mr_td"].hex(), body["rtmr0"].hex(),
                                                               body["rtmr3"].hex())
    assert (told["tcb_svn"], told["mrsigner_seam"]) == (body["tee_tcb_svn"].hex(), body["mr_signer_seam"].hex())
    assert told["mr_servicetd"] == body["mr_service_td"].hex()
    assert tdx["quote"]["header"] == {"tee_type": "81000000", "vendor_id": "939a7233f79c4ca9940a0db3957f0607",
                                      "att_key_type": "0200"}
    assert tdx["td_attributes"] == {"debug": False, "septve_disable": True, "migratable": False,
                                    "protection_keys": False,
                                    "key_locker": False, "perfmon": False}
    assert (tdx["tcb_status"], tdx["collateral_expiration_status"]) == ("UpToDate", "0")
    assert tdx["fmspc"] == claims.endorsement["pck"]["fmspc"].hex()
    assert tdx["earliest_expiration_date"].endswith("Z")


@pytest.mark.parametrize(("bit", "name"), [(0, "debug"), (28, "septve_disable"), (29, "migratable"),
                                           (30, "protection_keys"),
                                           (31, "key_locker"), (63, "perfmon")])
def test_each_td_attribute_is_its_bit(claims_of, bit, name):
    claims = claims_of("tdx-v4")
    attributes = (1 << bit).to_bytes(8, "little")
    told = plain(claims_of("tdx-v4", body={**claims.body, "td_attributes": attributes}))["tdx"]["td_attributes"]
    assert [set_one for set_one, value in told.items() if value] == [name]


def test_sgx_claims_have_trustees_names_and_numbers_beside(claims_of):
    claims = claims_of("sgx-v3")
    changed = {**claims.body, "isv_svn": 0x0102, "isv_prod_id": 7,
               "attributes": bytes([7]) + bytes(7) + bytes([0xE7]) + bytes(7)}
    sgx = plain(claims_of("sgx-v3", body=changed))["sgx"]
    assert (sgx["body"]["isv_svn"], sgx["body"]["isv_prod_id"]) == ("0201", "0700")
    assert (sgx["isv_svn"], sgx["isv_prod_id"]) == (0x0102, 7)
    assert sgx["body"]["attributes"] == {"flags": "0700000000000000", "xfrm": "e700000000000000"}
    assert sgx["debug"] is True
    assert plain(claims)["sgx"]["debug"] is False


def test_snp_claims_have_trustees_names(claims_of):
    claims = claims_of("snp-Turin")
    snp = plain(claims)["snp"]
    tcb = claims.body["reported_tcb_decoded"]
    assert snp["measurement"] == claims.body["measurement"].hex()
    assert [snp[f"reported_tcb_{part}"] for part in ("fmc", "bootloader", "tee", "snp", "microcode")] == [
        tcb[part] for part in ("fmc", "bootloader", "tee", "snp", "microcode")]
    assert (snp["policy_debug_allowed"], snp["policy_migrate_ma"], snp["policy_smt_allowed"]) == (False, False, True)
    assert snp["product"] == "Turin"
    assert "reported_tcb_fmc" not in plain(claims_of("snp-Milan"))["snp"]


def test_azure_claims_are_the_hardwares_and_the_virtual_tpms(claims_of):
    """Typed as everywhere: Trustee writes those of SNP as text, and the measurement in base64."""
    on_snp, on_tdx = claims_of("az-snp-vtpm"), claims_of("az-tdx-vtpm")
    snp, tdx = plain(on_snp)["az-snp-vtpm"], plain(on_tdx)["az-tdx-vtpm"]
    assert snp["measurement"] == on_snp.body["measurement"].hex()
    assert snp["reported_tcb_snp"] == on_snp.body["reported_tcb_decoded"]["snp"]
    assert snp["policy_debug_allowed"] is False
    assert tdx["quote"]["body"]["mr_td"] == on_tdx.body["mr_td"].hex()
    assert tdx["tcb_status"] == "UpToDate"
    for claims, told in ((on_snp, snp), (on_tdx, tdx)):
        assert told["tpm"] == {f"pcr{number:02}": claims.body["pcrs"][str(number)].hex() for number in range(24)}
        assert told["ak_public_sha256"] == claims.body["ak_modulus_sha256"].hex()
        assert told["vm_configuration"]["secure-boot"] is True
        document = plain(claims)
        assert document["report_data"] == claims.body["nonce"].hex() != claims.body["report_data"].hex()
        assert document["init_data"] == told["tpm"]["pcr08"]


def test_azure_tells_only_what_is_known_of_a_vms_configuration(claims_of):
    claims = claims_of("az-snp-vtpm")
    odd = {"secure-boot": "yes", "console-enabled": 1, "vmUniqueId": True, "something": "new", "tpm-enabled": False}
    told = plain(claims_of("az-snp-vtpm", body={**claims.body, "vm_configuration": odd}))["az-snp-vtpm"]
    assert told["vm_configuration"] == {"tpm-enabled": False}


@pytest.mark.parametrize("selected", [range(24), (0, 4, 8), (11,)])
def test_registers_outside_the_signed_selection_are_no_claim(selected):
    """They travel beside the quote, and here they even say the truth."""
    tpm = TpmCase().quoting({"sha256": selected}, listed=True).verdict()
    told = {name for name in plain(tpm.claims)["tpm"] if name.startswith("pcr")}
    assert told == {f"pcr{number:02}" for number in selected}
    vm = azure_case("snp").altered(tpm_quote=lambda quote: quote.selecting(select(selected))).verdict()
    assert set(plain(vm.claims)["az-snp-vtpm"]["tpm"]) == told


def test_other_banks_of_a_tpm_are_not_told_as_if_they_were_sha_256s():
    told = plain(TpmCase().quoting({"sha384": range(24)}).verdict().claims)["tpm"]
    assert not [name for name in told if name.startswith("pcr")]
    both = plain(TpmCase().quoting({"sha1": range(24)}, {"sha256": [4]}).verdict().claims)["tpm"]
    assert {name: len(value) for name, value in both.items() if name.startswith("pcr")} == {"pcr04": 64}


def test_tpm_claims_have_trustees_names_and_the_keys_voucher(claims_of):
    claims = claims_of("tpm")
    told = plain(claims)["tpm"]
    assert told["ak_public"] == TPM.ak.key.public_key.hex()
    assert told["ak_public_sha256"] == hashlib.sha256(TPM.ak.key.public_key).hexdigest()
    assert told["ak_trust"] == "certificate"
    assert plain(TpmCase().unendorsed.verdict().claims)["tpm"]["ak_trust"] == "none"
    instance = GceInstance(zone="z", project_number=1, project_id="p", instance_id=2, instance_name="n",
                           production=True)
    case = TpmCase().altered(ak_certificate=lambda c: c.changed(x509.key_usage(x509.DIGITAL_SIGNATURE))
                             .changed(instance_extension(instance)))
    assert plain(case.verdict().claims)["tpm"]["gce_instance"] == {
        "zone": "z", "project_number": 1, "project_id": "p", "instance_id": 2, "instance_name": "n",
        "production": True}


def test_nitro_claims_are_the_documents(claims_of):
    claims = claims_of("nitro")
    told = plain(claims)["nitro"]
    assert told["pcrs"] == {f"pcr{number}": value.hex() for number, value in claims.body["pcrs"].items()}
    assert (told["debug"], told["digest"], told["module_id"]) == (False, "SHA384", claims.body["module_id"])
    assert plain(claims_of("nitro", flags=("NITRO_DEBUG",)))["nitro"]["debug"] is True
    said = plain(NitroCase().says(user_data=b"data", public_key=b"key").verdict().claims)["nitro"]
    assert (said["user_data"], said["public_key"]) == (b"data".hex(), b"key".hex())


def test_cca_claims_have_the_names_of_veraison(claims_of):
    claims = claims_of("cca")
    told, realm, platform = plain(claims)["cca"], claims.body["realm"], claims.body["platform"]
    assert told["realm"]["cca-realm-initial-measurement"] == realm["initial_measurement"].hex()
    assert told["realm"]["cca-realm-personalization-value"] == plain(claims)["init_data"]
    assert told["realm"]["cca-realm-challenge"] == plain(claims)["report_data"]
    assert told["realm"]["cca-realm-extensible-measurements"] == ["00" * 32] * 4
    assert told["platform"]["cca-platform-implementation-id"] == platform["implementation_id"].hex()
    assert told["platform"]["cca-platform-instance-id"] == platform["instance_id"].hex()
    assert told["platform"]["cca-platform-lifecycle"] == "secured"
    assert [part["measurement-value"] for part in told["platform"]["cca-platform-sw-components"]] == [
        part["measurement_value"].hex() for part in platform["sw_components"]]
    assert told["cpak_trust"] == "provisioned"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_csv_claims_hold_nothing_that_nobody_signed(claims_of, version):
    claims = claims_of(f"csv-v{version}")
    told = plain(claims)["csv"]
    assert (told["version"], told["measure"]) == (version, claims.body["measure"].hex())
    assert not {"serial_number", "anonce", "unverified"} & set(told)
    assert told["policy"] == {"nodbg": True, "noks": False, "es": True, "nosend": False, "domain": False, "csv": False,
                              "csv3": True, "asid_reuse": False, "hsk_version": 0, "cek_version": 0, "api_major": 0,
                              "api_minor": 0}
    assert ("rtmr1" in told, "build" in told) == (version > 1, version > 1)


@pytest.mark.parametrize("kind", ["hopper", "blackwell", "switch"])
def test_nvidia_claims_are_those_of_report_certificate_and_manifests(claims_of, kind):
    claims = claims_of(f"nvidia-{kind}")
    told = plain(claims)["nvidia"]
    assert told["arch"] == {"hopper": "HOPPER", "blackwell": "BLACKWELL", "switch": "LS10"}[kind]
    assert told["kind"] == ("switch" if kind == "switch" else "gpu")
    assert told["measurements"] == {index: value.hex() for index, value in claims.body["measurements"].items()}
    assert (told["measres"], told["revocation"]) == ("success", "good")
    assert {name: (rim["standing"], rim["revocation"]) for name, rim in told["rims"].items()} == dict.fromkeys(
        ["vbios"] if kind == "switch" else ["driver", "vbios"], ("verified", "good"))
    assert told["ueid"] == claims.endorsement["ueid"]
    assert (told["debug"], told["recovery"], "uuid" in told) == (False, False, False)


@pytest.mark.parametrize(("rims", "answers", "measres", "revocation", "standings"), [
    ({}, None, None, "good", {"not given"}), (None, {}, "success", "not checked", {"verified"}),
    (None, {"boot_rom", "provisioner"}, "success", "not checked", {"verified"}),
])
def test_what_was_not_compared_or_asked_about_an_nvidia_device_is_told(rims, answers, measres, revocation, standings):
    case = case_of()
    given = None if answers is None else {role: case.maker.answers()[role] for role in answers}
    told = plain(replace(case, rims=rims, answers=given).verdict().claims)["nvidia"]
    assert (told.get("measres"), told["revocation"]) == (measres, revocation)
    assert {rim["standing"] for rim in told["rims"].values()} == standings


def test_several_nvidia_devices_as_a_whole_tell_only_how_many(claims_of):
    claims = claims_of("nvidia-hopper")
    body = {"devices": claims.body["devices"] * 2}
    endorsement = {"certified": claims.endorsement["certified"] * 2, "gpu_count": 2, "switch_count": 0}
    told = plain(claims_of("nvidia-hopper", body=body, endorsement=endorsement))["nvidia"]
    assert told == {"gpu_count": 2, "switch_count": 0, "software": False, "flags": []}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("software", [True, False])
def test_software_and_flags_stand_under_every_tee(claims_of, kind, software):
    claims = claims_of(kind, software=software, flags=("A", "B"))
    told = plain(claims)[claims.tee.value]
    assert (told["software"], told["flags"]) == (software, ["A", "B"])


@pytest.mark.parametrize("kind", KINDS)
def test_bound_fields_are_hexadecimal_at_the_top(claims_of, kind):
    document = plain(claims_of(kind, report_data=b"\xab" * 64, init_data=b"\xcd" * 32))
    assert (document["report_data"], document["init_data"]) == ("ab" * 64, "cd" * 32)


@pytest.mark.parametrize("name", ["runtime_data", "init_data"])
def test_what_was_not_presented_is_absent(claims_of, name):
    given = {"runtime_data": {"nonce": "a"}, "init_data": {"aa.toml": {}}}
    key = {"runtime_data": "runtime_data_claims", "init_data": "init_data_claims"}[name]
    assert policy_input(claims_of(), **given)[key] == given[name]
    assert key not in policy_input(claims_of(), **{**given, name: None})


def test_an_optional_claim_that_is_dropped_vanishes(claims_of):
    """Nothing takes the place of what is missing: no zero, no empty text."""
    claims = claims_of("tdx-v4")
    tcb = {"tcb": {**claims.tcb["tcb"], "evaluation_number": None}}
    told = plain(claims_of("tdx-v4", tcb=tcb, status=None, endorsement={}))["tdx"]
    assert not {"tcb_eval_num", "tcb_status", "fmspc", "platform_provider_id", "sgx_type"} & set(told)
    assert "collateral_expiration_status" not in plain(claims_of("tdx-v4", tcb={}))["tdx"]


def test_what_travelled_beside_the_evidence_never_arrives(intel_case):
    """An event log is unsigned: its facts are claims once it replayed; policy input is the same with and without."""
    log = SoftwareLog()
    guest = log.guest()
    case = intel_case("tdx-v4").says(**{f"rtmr{number}": getattr(guest, f"rtmr{number}") for number in range(4)})
    told = []
    for event_log in (log.to_bytes(), None):
        verdict = verify(Evidence(Tee.TDX, case.raw, event_log=event_log), at=case.at, roots=case.trusted,
                         collateral=Collateral(intel=case.intel_collateral), binding=case.binding)
        assert ("event_log" in verdict.claims.body) is (event_log is not None)
        told.append(plain(verdict.claims))
    assert told[0] == told[1]


def test_claims_of_an_unknown_tee_have_no_input(claims_of, monkeypatch):
    monkeypatch.setattr("verifier.appraisal.inputs._BUILDERS", {})
    with pytest.raises(SetupError) as caught:
        plain(claims_of())
    assert caught.value.id == "policy_input.tee"


# Real evidence.

def verdict_on(corpus, case):
    folder = corpus.folder(case)
    if case["tee"] == "snp":
        window = case.get("valid_window")
        at = int(datetime.fromisoformat(window["not_before"]).timestamp()) if window else 1_750_000_000
        certificates = tuple(path.read_bytes() for pattern in ("*.der",
                                                               "*.pem") for path in sorted(folder.glob(pattern)))
        report = folder / "report.bin"
        if not report.exists():
            return None
        return verify(Evidence(Tee.SNP, report.read_bytes()), collateral=Collateral(amd=AmdCollateral(certificates)),
                      roots=Roots.makers(), at=at, binding=Binding.insecure_unbound())
    quote = next(path for path in (folder / "quote.bin", folder / "quote.dat") if path.exists())
    appraisal = case["appraisals"][0] if case.get("appraisals") else None
    if appraisal is None:
        return None
    return verify(Evidence(Tee(case["tee"]), quote.read_bytes()), collateral=load([folder / appraisal["collateral"]]),
                  roots=Roots.makers(), at=appraisal["at"], binding=Binding.insecure_unbound())


@pytest.mark.corpus("tdx", "sgx", "snp")
def test_real_evidence_is_affirming_exactly_when_everything_about_it_is_registered(corpus, case, appraise, matching):
    verdict = verdict_on(corpus, case)
    if verdict is None or verdict.claims is None:
        assert verdict is None or verdict.error is not None
        return
    claims = verdict.claims
    assert set(paths(plain(claims))) <= set(paths(sample(case["tee"])))
    values = matching(claims, allowed_flags=list(claims.flags))
    debug = bool({"TD_DEBUG", "SGX_DEBUG", "DEBUG_ALLOWED", "MIGRATE_MA_ALLOWED"} & set(claims.flags))
    result = appraise(claims, values, at=claims.valid_until)
    assert (result.status == "affirming") is (not debug and claims.status != "Revoked"), result.explanation
    without_flags = appraise(claims, matching(claims), at=claims.valid_until)
    assert (without_flags.status == "affirming") is (result.status == "affirming" and not claims.flags)


OTHERS = ("azure-snp-vtpm", "azure-tdx-vtpm", "tpm2", "nitro", "cca", "hygon-csv", "nvidia-gpu", "nvidia-switch")
# By which a platform's token was signed and its attestation key lies beside it; nobody vouches for a bare TPM's key.
PROVISIONED = {"cca": "cpak.jwk.json"}


def judged(corpus, case):
    folder = corpus.folder(case)
    window, appraisals = case.get("valid_window"), case.get("appraisals")
    at = appraisals[0]["at"] if appraisals else 1_780_000_000
    if case["tee"] in ("nitro", "azure-snp-vtpm") and window:
        at = int(datetime.fromisoformat(window["not_before"]).timestamp())
    keys = [folder / PROVISIONED[case["tee"]]] if case["tee"] in PROVISIONED else []
    roots = Roots.makers().with_provisioned(path.read_bytes() for path in keys if path.exists())
    return verify(read(folder), collateral=load([folder]), roots=roots, at=at, binding=Binding.insecure_unbound())


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what the X.509 library thinks of old certificates
@pytest.mark.corpus(*OTHERS)
def test_real_evidence_of_other_tees_has_an_input_that_policies_know(corpus, case, appraise, matching):
    """And it is affirming exactly when everything about it is registered and nothing is beyond any allowance."""
    verdict = judged(corpus, case)
    if verdict.claims is None:
        assert verdict.error is not None
        return
    claims = verdict.claims
    document = plain(claims)
    assert set(paths(document)) <= set(paths(sample(claims.tee.value)))
    assert json.loads(json.dumps(document)) == document
    values = matching(claims, allowed_flags=list(claims.flags), allowed_revocation="not checked")
    beyond = {"AK_UNPROVEN", "NITRO_DEBUG", "TPM_QUOTE_MISSING", "MEASUREMENTS_NOT_COMPARED", "CSV_DEBUG_ALLOWED",
              "DEBUG_ALLOWED", "TD_DEBUG"} & set(claims.flags)
    result = appraise(claims, values, at=claims.valid_until)
    assert (result.status == "affirming") is not beyond, result.explanation
