"""Every TEE with a recipe, from challenge to secret, with real evidence of a small maker."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from kbs.config import Trust
from kbs.protocol.runtime_data import primary_digest, report_data_for
from tests.kbs.conftest import SECRET
from verifier.evidence import Tee
from verifier.formats.coco_evidence import evidence_to_json
from verifier.software_tee.azure_parts import select
from verifier.software_tee.guest import GuestImage

ERRORS = "https://github.com/confidential-containers/kbs/errors/"
PROCESSORS = ("tdx", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "nitro", "cca", "csv")
WITH_INIT_DATA = ("tdx", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "cca", "csv")
OTHER = hashlib.sha384(b"another").digest()


def document(algorithm: str) -> str:
    return f'version = "0.1.0"\nalgorithm = "{algorithm}"\n[data]\n"aa.toml" = "tenant = \'payroll\'"\n'


def field_of(tee: str, body: str) -> bytes:
    """What the hardware holds of the document, written out: not by the broker's own function."""
    digest = hashlib.new("sha256" if "sha256" in body else "sha384", body.encode()).digest()
    if tee in ("az-snp-vtpm", "az-tdx-vtpm", "tpm"):
        return hashlib.sha256(bytes(32) + digest).digest()
    return digest.ljust(48 if tee == "tdx" else 64, b"\0")


def refused(answer, status, id):
    assert (answer.status_code, answer.json.get("id")) == (status, id)


@pytest.mark.parametrize("tee", PROCESSORS)
def test_every_processor_is_served_where_its_owner_affirms_it(makers_world, tee):
    guest = makers_world.guest(tee)
    answer = guest.handshake()
    assert answer.status_code == 200, (answer.json, makers_world.records()[-1])
    part = guest.claims()["submods"]["cpu0"]
    assert (part["ear.status"], part["ear.veraison.annotated-evidence"][tee]["software"]) == ("affirming", True)
    assert guest.open(guest.get()) == SECRET


@pytest.mark.parametrize("tee", PROCESSORS)
def test_software_is_never_affirmed_by_the_shipped_policies(makers_world, tee):
    assert makers_world.admin("DELETE", "/kbs/v0/attestation-policy/default_cpu").status_code == 200
    guest = makers_world.guest(tee)
    assert guest.handshake().status_code == 200
    part = guest.claims()["submods"]["cpu0"]
    assert (part["ear.status"], part["ear.appraisal-policy-id"]) == ("contraindicated", f"default_{tee}")
    assert part["ear.trustworthiness-vector"]["executables"] == 3
    record = [record for record in makers_world.records() if record["kind"] == "attestation"][-1]
    rules = {rule["id"]: rule["ok"] for rule in record["decision"]["appraisal"]["cpu0"]["rules"]}
    assert rules["hardware.not_software"] is False
    refused(guest.get(), 403, "release.policy")


@pytest.mark.parametrize("tee", PROCESSORS)
def test_where_each_tee_binds_the_challenge(makers_world, tee):
    guest = makers_world.guest(tee)
    guest.handshake()
    digest = primary_digest(guest.nonce, guest.jwk)
    bound = {"tpm": digest[:32], "nitro": digest, "az-snp-vtpm": digest, "az-tdx-vtpm": digest}.get(
        tee, digest + bytes(16))
    evidence = guest.claims()["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["report_data"] == bound.hex()


@pytest.mark.parametrize("tee", PROCESSORS)
def test_evidence_for_another_challenge_key_or_device_is_refused(makers_world, tee):
    first, second = makers_world.guest(tee), makers_world.guest(tee)
    first.auth()
    second.auth()
    recorded = first.message()
    recorded["runtime-data"]["nonce"] = second.nonce
    refused(second.attest(recorded), 403, f"{tee}.binding.report_data")
    thief = makers_world.guest(tee)
    thief.auth()
    message = thief.message()
    message["runtime-data"]["tee-pubkey"] = first.jwk
    refused(thief.attest(message), 403, f"{tee}.binding.report_data")
    device = makers_world.guest(tee)  # what a device would bind says nothing of the other evidence
    device.auth()
    message = device.message()
    wrong = {"tpm": 32, "nitro": 48, "az-snp-vtpm": 48, "az-tdx-vtpm": 48}.get(tee, 64)
    message["tee-evidence"]["primary_evidence"] = device.evidence(bytes(wrong - 1) + b"\x01")
    refused(device.attest(message), 403, f"{tee}.binding.report_data")


@pytest.mark.parametrize("tee", PROCESSORS)
def test_a_digest_cut_or_filled_another_way_is_refused(makers_world, tee):
    """Exactly one placement per TEE: not 48 bytes where 32 are expected, nor 64 where 48 are."""
    guest = makers_world.guest(tee)
    guest.auth()
    digest = primary_digest(guest.nonce, guest.jwk)
    sizes = {"tpm": (48, 64), "nitro": (32, 64), "az-snp-vtpm": (32, 64), "az-tdx-vtpm": (32, 64)}.get(tee)
    others = [digest[:32] + bytes(32)] if sizes is None else [digest.ljust(size, b"\0")[:size] for size in sizes]
    for other in others:
        message = guest.message()
        message["tee-evidence"]["primary_evidence"] = guest.evidence(other)
        refused(guest.attest(message), 403, f"{tee}.binding.report_data")
        guest.auth()


@pytest.mark.parametrize("tee", WITH_INIT_DATA)
def test_init_data_is_bound_and_told(makers_world, tee):
    guest, body = makers_world.guest(tee), document("sha256")
    guest.auth()
    message = guest.message(**{"init-data": {"format": "toml", "body": body}})
    report_data = report_data_for(tee, primary_digest(guest.nonce, guest.jwk))
    message["tee-evidence"]["primary_evidence"] = guest.evidence(report_data, field_of(tee, body))
    assert guest.attest(message).status_code == 200
    evidence = guest.claims()["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["init_data"] == field_of(tee, body).hex()
    assert evidence["init_data_claims"]["aa.toml"] == {"tenant": "payroll"}


@pytest.mark.parametrize("tee", WITH_INIT_DATA)
def test_init_data_of_another_guest_is_refused(makers_world, tee):
    guest = makers_world.guest(tee)
    for other in (None, field_of(tee, document("sha256") + "\n")):
        guest.auth()
        message = guest.message(**{"init-data": {"format": "toml", "body": document("sha256")}})
        report_data = report_data_for(tee, primary_digest(guest.nonce, guest.jwk))
        message["tee-evidence"]["primary_evidence"] = guest.evidence(report_data, other)
        refused(guest.attest(message), 403, f"{tee}.binding.init_data")


@pytest.mark.parametrize("tee", ["az-snp-vtpm", "az-tdx-vtpm", "tpm"])
def test_init_data_that_no_register_of_a_tpm_can_hold_is_refused(makers_world, tee):
    guest = makers_world.guest(tee)
    guest.auth()
    answer = guest.attest(guest.message(**{"init-data": {"format": "toml", "body": document("sha384")}}))
    refused(answer, 400, "protocol.init_data.algorithm")


def test_init_data_is_refused_where_there_is_no_field_for_it(makers_world):
    guest = makers_world.guest("nitro")
    guest.auth()
    answer = guest.attest(guest.message(**{"init-data": {"format": "toml", "body": document("sha256")}}))
    refused(answer, 400, "protocol.init_data.tee")


def other_guest(makers, tee):
    """A guest of that kind that runs something else."""
    if tee == "tdx":
        return replace(makers.guest, mr_td=OTHER)
    maker = makers.small[tee]
    match tee:
        case "az-snp-vtpm" | "az-tdx-vtpm":
            pcrs = (*maker.vm.pcrs[:4], OTHER[:32], *maker.vm.pcrs[5:])
            return replace(maker, vm=replace(maker.vm, pcrs=pcrs))
        case "tpm":
            return replace(maker, guest=maker.guest.holding("sha256", 4, OTHER[:32]))
        case "nitro":
            return maker.on(replace(maker.enclave, pcrs={**maker.enclave.pcrs, 0: OTHER}))
        case "cca":
            return maker.on(realm=replace(maker.realm, initial_measurement=OTHER[:32]))
    return replace(maker, guest=replace(maker.guest, measure=OTHER[:32]))


@pytest.mark.parametrize("tee", PROCESSORS)
def test_other_measurements_earn_a_token_and_no_secret(makers_world, makers, tee):
    guest = makers_world.guest(tee, image=other_guest(makers[0], tee))
    assert guest.handshake().status_code == 200
    assert guest.claims()["submods"]["cpu0"]["ear.trustworthiness-vector"]["executables"] == 33
    refused(guest.get(), 403, "release.policy")


def debugged(makers, tee):
    if tee == "tdx":
        return replace(makers.guest, td_attributes=bytes([makers.guest.td_attributes[0] | 1]) + bytes(7))
    maker = makers.small[tee]
    match tee:
        case "az-snp-vtpm":
            image = GuestImage(snp_policy=0x30000 | 1 << 19)
            return replace(maker, vm=replace(maker.vm, image=image))
        case "az-tdx-vtpm":
            image = replace(maker.vm.image, td_attributes=b"\x01\x00\x00\x10" + bytes(4))
            return replace(maker, vm=replace(maker.vm, image=image))
        case "nitro":
            return maker.on(replace(maker.enclave, pcrs={}))
    return replace(maker, guest=replace(maker.guest, policy=maker.guest.policy & ~1))


@pytest.mark.parametrize(("tee", "id"), [
    ("az-snp-vtpm", "debug_allowed"), ("az-tdx-vtpm", "td_debug"), ("nitro", "nitro_debug"),
    ("csv", "csv_debug_allowed")])
def test_debug_guests_are_refused_whatever_the_policy_says(makers_world, makers, tee, id):
    everything = 'package policy\ntrust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'
    assert makers_world.set_policy(everything, "default_cpu").status_code == 200
    guest = makers_world.guest(tee, image=debugged(makers[0], tee))
    guest.auth()
    refused(guest.attest(), 403, f"{tee}.accept.{id}")


def test_a_quote_that_leaves_out_the_init_data_register_binds_no_init_data(makers_world, makers):
    """O-02: the register's value travels along and is even right; the quote does not cover it."""
    maker, body = makers[0].small["az-snp-vtpm"], document("sha256")
    chosen = [number for number in range(24) if number != 8]
    guest = makers_world.guest("az-snp-vtpm", image=maker.altered(tpm_quote=lambda quote: quote.selecting(
        select(chosen))))
    guest.auth()
    message = guest.message(**{"init-data": {"format": "toml", "body": body}})
    report_data = report_data_for("az-snp-vtpm", primary_digest(guest.nonce, guest.jwk))
    message["tee-evidence"]["primary_evidence"] = guest.evidence(report_data, field_of("az-snp-vtpm", body))
    refused(guest.attest(message), 403, "az-snp-vtpm.binding.init_data")


def unproven(makers, world, tee):
    """A guest whose key nobody vouches for, and its message: for TPMs anybody can make such evidence."""
    guest, maker = world.guest(tee), makers.small[tee]
    guest.auth()
    message = guest.message()
    if tee == "tpm":
        digest = primary_digest(guest.nonce, guest.jwk)
        bare = replace(maker.evidence(report_data_for(tee, digest)), certificates=())
        message["tee-evidence"]["primary_evidence"] = evidence_to_json(bare)
    return guest, message


@pytest.fixture
def unrooted(makers_world):
    """The broker with no root but the makers' own, and every small maker's collateral."""
    def make(**trust):
        return makers_world.restart(trust=Trust(collateral=makers_world.config.trust.collateral, **trust))
    return make


@pytest.mark.parametrize("tee", ["tpm", "cca"])
def test_a_key_that_nobody_vouches_for_is_refused_whatever_the_policy_says(unrooted, makers_world, makers, tee):
    """O-03: anybody's key signs quotes."""
    everything = 'package policy\ntrust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'
    assert makers_world.set_policy(everything, "default_cpu").status_code == 200
    guest, message = unproven(makers[0], unrooted(), tee)
    refused(guest.attest(message), 403, f"{tee}.accept.{'ak' if tee == 'tpm' else 'cpak'}_unproven")


@pytest.mark.parametrize("tee", ["tpm", "cca"])
def test_an_operator_who_lets_it_pass_still_gets_no_affirmation(unrooted, makers_world, makers, tee, tmp_path):
    assert makers_world.admin("DELETE", "/kbs/v0/attestation-policy/default_cpu").status_code == 200
    assert makers_world.register(allowed_flags=["AK_UNPROVEN", "CPAK_UNPROVEN"]).status_code == 200
    (tmp_path / "expect.toml").write_text('allowed_flags = ["AK_UNPROVEN", "CPAK_UNPROVEN"]\n')
    guest, message = unproven(makers[0], unrooted(expectations=tmp_path / "expect.toml"), tee)
    assert guest.attest(message).status_code == 200
    part = guest.claims()["submods"]["cpu0"]
    assert part["ear.veraison.annotated-evidence"][tee]["flags"] == [
        "AK_UNPROVEN" if tee == "tpm" else "CPAK_UNPROVEN"]
    assert (part["ear.status"], part["ear.trustworthiness-vector"]["executables"]) == ("contraindicated", 3)
    refused(guest.get(), 403, "release.policy")


@pytest.mark.parametrize("tee", ["cca", "tpm"])
def test_a_machine_whose_key_the_operator_provisioned_is_hardware(unrooted, makers_world, makers, tmp_path, tee):
    """By the shipped policy, and only where a configuration names the key as hardware's."""
    assert makers_world.admin("DELETE", "/kbs/v0/attestation-policy/default_cpu").status_code == 200
    maker = makers[0].small[tee]
    key = tmp_path / "key"
    if tee == "cca":
        key.write_bytes(maker.cpak_jwk(named=True))
    else:
        key.write_bytes(maker.ak.key.public_key)
    guest = unrooted(provisioned_keys=(key,)).guest(tee)
    assert guest.handshake().status_code == 200
    part = guest.claims()["submods"]["cpu0"]
    assert (part["ear.status"], part["ear.appraisal-policy-id"]) == ("affirming", f"default_{tee}")
    assert part["ear.veraison.annotated-evidence"][tee]["software"] is False
    assert guest.open(guest.get()) == SECRET


def test_the_evidence_of_every_kind_is_admitted_and_no_other(makers_world):
    for tee in Tee:
        answer = makers_world.guest(str(tee)).auth()
        assert answer.status_code == (400 if tee in (Tee.NVIDIA, Tee.SAMPLE) else 200), tee
