"""The whole broker, from challenge to secret, with real evidence of a software TEE."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk as jose_jwk
from joserfc import jwt as jose_jwt
from sqlalchemy import text

from kbs.audit.established import whole
from kbs.config import Token, Trust
from kbs.errors import SetupError, StorageError
from kbs.protocol.runtime_data import report_data_for, workload_digest
from kbs.services import handshake

SECRET = b"canary-secret-5d1c93"
RESOURCE = "/kbs/v0/resource/default/key/one"
ERRORS = "https://github.com/confidential-containers/kbs/errors/"


def refusal(answer, status, id, variant):
    """The answer must be this very refusal, in the body that clients in the field read."""
    assert (answer.status_code, answer.json.get("id"), answer.json["type"]) == (status, id, ERRORS + variant)
    assert answer.content_type == "application/json"
    return answer.json.get("reference")


# -- what should work --------------------------------------------------------------------------------------------------


def test_genuine_guest_gets_the_secret(world):
    guest = world.guest()
    assert guest.handshake().status_code == 200
    assert guest.open(guest.get()) == SECRET


@pytest.mark.parametrize("key", [
    ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()),
    ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 2048)],
    ids=["P-256", "P-384", "P-521", "RSA"])
def test_every_kind_of_guest_key_is_served(world, key):
    guest = world.guest(key=key)
    guest.handshake()
    assert guest.open(guest.get()) == SECRET


@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_every_intel_tee_is_served(world, tee):
    guest = world.guest(tee)
    guest.handshake()
    assert guest.open(guest.get()) == SECRET
    assert guest.claims()["submods"]["cpu0"]["ear.status"] == "affirming"


def test_tdx_quote_v5_is_served(world):
    guest = world.guest(image=replace(world.tee.guest, tdx_version=5))
    guest.handshake()
    assert guest.open(guest.get()) == SECRET


def test_snp_is_served(make_world, software_snp):
    world = make_world(maker=software_snp)
    world.trust_software()
    guest = world.guest("snp")
    guest.handshake()
    assert guest.open(guest.get()) == SECRET


def test_one_attestation_serves_many_resources_by_cookie_and_by_token(world):
    world.admin("POST", "/kbs/v0/resource/default/key/two", b"second")
    guest = world.guest()
    guest.handshake()
    assert guest.open(guest.get()) == SECRET
    assert guest.open(guest.get("/kbs/v0/resource/default/key/two")) == b"second"
    bearer = world.client().get(RESOURCE, headers={"Authorization": f"Bearer {guest.token}"})
    assert guest.open(bearer) == SECRET


def test_bearer_token_helps_where_the_cookie_is_stale(world):
    attested, fresh = world.guest(), world.guest()
    attested.handshake()
    fresh.auth()
    refusal(fresh.get(), 401, "session.not_attested", "AttestationError")
    answer = fresh.get(headers={"Authorization": f"Bearer {attested.token}"})
    assert attested.open(answer) == SECRET


def test_token_answers_the_challenge_and_names_whom_it_is_for(world):
    guest = world.guest()
    guest.handshake()
    claims = guest.claims()
    assert claims["eat_nonce"] == guest.nonce
    assert claims["aud"] == claims["iss"] == "http://127.0.0.1:8080"
    assert claims["exp"] - claims["iat"] == 300
    evidence = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["runtime_data_claims"] == {"nonce": guest.nonce, "tee-pubkey": guest.jwk}
    assert evidence["tdx"]["software"] is True


def test_relying_parties_find_the_keys_by_discovery(world):
    guest = world.guest()
    guest.handshake()
    found = world.client().get("/.well-known/openid-configuration").json
    assert found["issuer"] == guest.claims()["iss"]
    assert found["jwks_uri"] == "http://127.0.0.1:8080/.well-known/jwks.json"
    keys = jose_jwk.KeySet.import_key_set(world.client().get("/.well-known/jwks.json").json)
    assert jose_jwt.decode(guest.token, keys, algorithms=found["id_token_signing_alg_values_supported"]).claims["jti"]


# -- challenges --------------------------------------------------------------------------------------------------------


def test_of_two_hundred_parallel_attestations_one_is_accepted(world):
    guest = world.guest()
    guest.auth()
    body, cookie = guest.message(), guest.cookie
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: world.client(cookie).post("/kbs/v0/attest", json=body), range(200)))
    assert [answer.status_code for answer in answers].count(200) == 1
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json["id"]) for answer in refused} == {(401, "session.spent")}
    records = [record for record in world.records() if record["kind"] == "attestation"]
    assert [record["outcome"] for record in records].count("allowed") == 1
    assert len(records) == 200


def test_two_brokers_on_one_state_serve_a_challenge_once(world):
    guest, other = world.guest(), world.restart()
    guest.auth()
    message = guest.message()
    with ThreadPoolExecutor(2) as pool:
        clients = [world.client(guest.cookie), other.client(guest.cookie)]
        answers = list(pool.map(lambda client: client.post("/kbs/v0/attest", json=message), clients))
    assert sorted(answer.status_code for answer in answers) == [200, 401]


def test_second_attestation_gets_neither_the_old_token_nor_a_new_one(world):
    guest = world.guest()
    guest.handshake()
    refusal(guest.attest(), 401, "session.spent", "AttestationError")
    other_key = world.guest(nonce=guest.nonce)
    refusal(guest.attest(other_key.message()), 401, "session.spent", "AttestationError")
    assert guest.open(guest.get()) == SECRET  # the first one still holds


def test_refused_attestation_uses_the_challenge_up(world, debug_image):
    guest = world.guest(image=debug_image)
    guest.auth()
    refusal(guest.attest(), 403, "tdx.accept.td_debug", "AttestationError")
    guest.image = None
    refusal(guest.attest(), 401, "session.spent", "AttestationError")
    refusal(guest.get(), 401, "session.refused", "AttestationError")


def test_malformed_attestation_uses_the_challenge_up(world):
    guest = world.guest()
    guest.auth()
    refusal(guest.attest({"runtime-data": 1}), 400, "protocol.attestation.shape", "SerdeError")
    refusal(guest.attest(), 401, "session.spent", "AttestationError")


@pytest.mark.parametrize("seconds", [300, 301, 10**6])
def test_expired_challenge_is_refused(world, seconds):
    guest = world.guest()
    guest.auth()
    message = guest.message()
    world.clock.now += seconds
    refusal(guest.attest(message), 401, "session.expired", "AttestationError")


def test_attested_session_ends_with_its_cookie_and_its_token(world):
    guest = world.guest()
    guest.handshake()
    world.clock.now += 301
    refusal(world.client(guest.cookie).get(RESOURCE), 401, "session.expired", "AttestationError")
    refusal(world.client().get(RESOURCE, headers={"Authorization": f"Bearer {guest.token}"}), 401, "token.expired",
            "TokenVerifierError")


@pytest.mark.parametrize(("cookie", "id"), [
    (None, "session.missing"), ("", "session.missing"), ("x", "session.malformed"), ("0" * 32, "session.malformed"),
    ("A" * 4000, "session.malformed"),
])
def test_attesting_without_a_session_of_ours_is_refused(world, cookie, id):
    guest = world.guest()
    guest.auth()
    answer = world.client(cookie).post("/kbs/v0/attest", json=guest.message())
    refusal(answer, 401, id, "AttestationError")


def test_cookie_of_another_broker_is_refused(world, make_world, tmp_path):
    stranger = make_world(state=tmp_path / "other")
    guest = stranger.guest()
    guest.auth()
    answer = world.client(guest.cookie).post("/kbs/v0/attest", json=guest.message())
    refusal(answer, 401, "session.forged", "AttestationError")


# -- impostors ---------------------------------------------------------------------------------------------------------


def test_evidence_of_another_session_is_refused(world):
    recorded = world.guest()
    recorded.auth()
    message = recorded.message()
    recorded.attest(message)
    replayer = world.guest()
    replayer.auth()
    refusal(replayer.attest(message), 403, "attestation.nonce", "AttestationError")
    again = world.guest()
    again.auth()
    message["runtime-data"]["nonce"] = again.nonce
    refusal(again.attest(message), 403, "tdx.binding.report_data", "AttestationError")


def test_somebody_elses_key_is_refused(world):
    guest, thief = world.guest(), world.guest()
    guest.auth()
    message = guest.message()
    message["runtime-data"]["tee-pubkey"] = thief.jwk
    refusal(guest.attest(message), 403, "tdx.binding.report_data", "AttestationError")


@pytest.mark.parametrize(("member", "value", "status", "id"), [
    ("alg", "RSA-OAEP-256", 400, "protocol.tee_pubkey.alg"), ("crv", "P-384", 400, "protocol.tee_pubkey.x"),
    ("kty", "RSA", 400, "protocol.tee_pubkey.members"), ("use", "enc", 400, "protocol.tee_pubkey.members"),
    ("x", "AAAA", 400, "protocol.tee_pubkey.x"),
])
def test_altered_member_of_the_key_is_refused(world, member, value, status, id):
    guest = world.guest()
    guest.auth()
    message = guest.message()
    message["runtime-data"]["tee-pubkey"][member] = value
    answer = guest.attest(message)
    assert (answer.status_code, answer.json["id"]) == (status, id)


def test_duplicated_key_member_is_refused(world):
    guest = world.guest()
    guest.auth()
    text = json.dumps(guest.message())
    doubled = text.replace('"tee-pubkey":', f'"tee-pubkey": {json.dumps(world.guest().jwk)}, "tee-pubkey":')
    answer = guest.client.post("/kbs/v0/attest", data=doubled)
    assert (answer.status_code, answer.json["id"]) == (400, "protocol.attestation.duplicate_key")


def test_nonce_in_another_spelling_is_refused(world):
    guest = world.guest()
    guest.auth()
    guest.nonce = guest.nonce.rstrip("=")
    assert guest.attest().json["id"] == "protocol.nonce"


def test_evidence_over_workload_data_opens_no_handshake(world):
    guest = world.guest()
    guest.auth()
    data = json.dumps({"nonce": guest.nonce, "tee-pubkey": guest.jwk}).encode()
    message = guest.message()
    message["tee-evidence"]["primary_evidence"] = guest.evidence(report_data_for("tdx", workload_digest(data)))
    refusal(guest.attest(message), 403, "tdx.binding.report_data", "AttestationError")


def test_other_measurement_earns_a_token_and_no_secret(world):
    guest = world.guest(image=replace(world.tee.guest, mr_td=bytes(48)))
    assert guest.handshake().status_code == 200
    assert guest.claims()["submods"]["cpu0"]["ear.status"] != "affirming"
    reference = refusal(guest.get(), 403, "release.policy", "PolicyDeny")
    (record,) = [record for record in world.records() if record["reference"] == reference]
    assert (record["kind"], record["outcome"], record["decision"]["allow"]) == ("release", "refused", False)
    attested = [r for r in world.records() if r["kind"] == "attestation"][-1]
    rules = {rule["id"]: rule["ok"] for rule in attested["decision"]["appraisal"]["cpu0"]["rules"]}
    assert rules["executables.mr_td"] is False


def test_debug_guest_is_refused_whatever_the_policy_says(world, debug_image):
    everything_affirmed = """package policy
import rego.v1
trust_claims := {"hardware": 2, "executables": 3, "configuration": 2}
"""
    assert world.set_policy(everything_affirmed, "default_cpu").status_code == 200
    guest = world.guest(image=debug_image)
    guest.auth()
    reference = refusal(guest.attest(), 403, "tdx.accept.td_debug", "AttestationError")
    record = world.records()[-1]
    assert record["reference"] == reference
    checks = {check["id"]: check["ok"] for check in record["decision"]["verification"]["cpu0"]["checks"]}
    assert checks["tdx.accept.td_debug"] is False
    assert checks["tdx.quote.signature"] is True


def test_out_of_date_tcb_is_denied(make_world, software_tee, tmp_path):
    tee, _ = software_tee
    components = (7, 7, 2, 2, 2, *tee.platform.components[5:])
    old = replace(tee, platform=replace(tee.platform, components=components))
    folder = tmp_path / "old"
    old.save(folder)
    world = make_world(maker=(old, folder))
    world.trust_software()
    guest = world.guest()
    assert guest.handshake().status_code == 200
    evidence = guest.claims()["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["tdx"]["tcb_status"].startswith("OutOfDate")
    refusal(guest.get(), 403, "release.policy", "PolicyDeny")


def test_software_evidence_is_refused_where_only_makers_are_trusted(world):
    collateral = world.config.trust.collateral
    hardware_only = world.restart(trust=Trust(collateral=collateral))
    guest = hardware_only.guest()
    guest.auth()
    answer = guest.attest()
    assert (answer.status_code, answer.json["type"]) == (403, ERRORS + "AttestationError")
    assert "root" in answer.json["id"]


def test_software_evidence_is_never_affirmed_by_the_default_policies(make_world):
    world = make_world()
    guest = world.tee.guest
    world.register(mr_td=[guest.mr_td.hex()], rtmr_1=[guest.rtmr1.hex()], rtmr_2=[guest.rtmr2.hex()],
                   xfam=[guest.xfam.hex()])
    world.admin("POST", RESOURCE, SECRET)
    impostor = world.guest()
    assert impostor.handshake().status_code == 200
    part = impostor.claims()["submods"]["cpu0"]
    assert part["ear.status"] == "contraindicated"
    assert part["ear.trustworthiness-vector"]["executables"] == 3  # only the origin is objected to
    refusal(impostor.get(), 403, "release.policy", "PolicyDeny")


def test_missing_collateral_decides_nothing_and_says_so(make_world):
    world = make_world()
    bare = world.restart(trust=Trust(software_roots=world.config.trust.software_roots))
    guest = bare.guest()
    guest.auth()
    answer = guest.attest()
    assert (answer.status_code, answer.json["type"]) == (503, ERRORS + "AttestationError")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"quote": "!"}, {"quote": ""}, {"quote": "AAAA", "more": 1}])
def test_evidence_that_is_none_is_refused(world, value):
    guest = world.guest()
    guest.auth()
    message = guest.message()
    message["tee-evidence"]["primary_evidence"] = value
    answer = guest.attest(message)
    assert (answer.status_code, answer.json["type"]) == (403, ERRORS + "AttestationError")


# -- composite evidence and init data ----------------------------------------------------------------------------------


def test_composite_evidence_makes_one_part_each(world):
    guest = world.guest()
    guest.auth()
    guest.additional = json.dumps({"sgx": guest.device_evidence("sgx")})
    assert guest.attest().status_code == 200
    assert set(guest.claims()["submods"]) == {"cpu0", "cpu1"}
    assert guest.open(guest.get()) == SECRET


def test_additional_evidence_is_bound_by_the_primary(world):
    for tampered in ("", "{}", "swap"):
        guest, other = world.guest(), world.guest()
        guest.auth()
        guest.additional = json.dumps({"sgx": guest.device_evidence("sgx")})
        message = guest.message()
        if tampered == "swap":
            other.nonce = guest.nonce
            tampered = json.dumps({"sgx": other.device_evidence("sgx")})
        message["tee-evidence"]["additional_evidence"] = tampered
        answer = guest.attest(message)
        assert (answer.status_code, answer.json["id"]) == (403, "tdx.binding.report_data")


def test_additional_evidence_must_bind_the_same_key(world):
    guest, other = world.guest(), world.guest()
    guest.auth()
    other.nonce = guest.nonce
    guest.additional = json.dumps({"sgx": other.device_evidence("sgx")})
    refusal(guest.attest(), 403, "sgx.binding.report_data", "AttestationError")


def test_unknown_additional_device_is_refused(world):
    guest = world.guest()
    for additional, status, id in (({"sampledevice": {}}, 400, "attestation.tee"),
                                   ({"hygondcu": {"attestation_reports": []}}, 400, "attestation.tee"),
                                   ({"nvidia": {}}, 403, "evidence.nvidia")):
        guest.auth()
        guest.additional = json.dumps(additional)
        refusal(guest.attest(), status, id, "AttestationError")


def test_one_unfavourable_part_denies_the_whole(world):
    sgx_refused = """package policy
import rego.v1
trust_claims := {"hardware": 97, "executables": 33, "configuration": 36}
"""
    assert world.set_policy(sgx_refused, "default_sgx").status_code == 200
    guest = world.guest()
    guest.auth()
    guest.additional = json.dumps({"sgx": guest.device_evidence("sgx")})
    guest.attest()
    parts = guest.claims()["submods"]
    assert [parts[name]["ear.status"] for name in ("cpu0", "cpu1")] == ["affirming", "contraindicated"]
    refusal(guest.get(), 403, "release.policy", "PolicyDeny")


INIT_DATA = """version = "0.1.0"
algorithm = "sha384"
[data]
"aa.toml" = '''
[token_configs]
kbs = "https://kbs"
'''
"policy.rego" = '''
package agent_policy
policy_data := {"images": ["a"]}
'''
"""


def test_init_data_is_bound_and_told(world):
    guest = world.guest()
    guest.auth()
    bound = hashlib.sha384(INIT_DATA.encode()).digest()
    message = guest.message(**{"init-data": {"format": "toml", "body": INIT_DATA}})
    report_data = base64.b64decode(message["tee-evidence"]["primary_evidence"]["quote"])[568:632]
    message["tee-evidence"]["primary_evidence"] = guest.evidence(report_data, bound)
    assert guest.attest(message).status_code == 200
    evidence = guest.claims()["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["init_data"] == bound.hex()
    assert evidence["init_data_claims"]["aa.toml"] == {"token_configs": {"kbs": "https://kbs"}}
    assert evidence["init_data_claims"]["agent_policy_claims"] == {"images": ["a"]}


def test_init_data_that_the_evidence_does_not_bind_is_refused(world):
    guest = world.guest()
    guest.auth()
    answer = guest.attest(guest.message(**{"init-data": {"format": "toml", "body": INIT_DATA}}))
    refusal(answer, 403, "tdx.binding.init_data", "AttestationError")


# -- the unsigned sample -----------------------------------------------------------------------------------------------


def test_sample_evidence_is_unsupported_by_default(world):
    refusal(world.guest("sample").auth(), 400, "attestation.tee", "AttestationError")
    guest = world.guest()
    guest.auth()
    guest.additional = json.dumps({"sample": {"svn": "1", "report_data": ""}})
    refusal(guest.attest(), 400, "attestation.tee", "AttestationError")


def test_sample_evidence_that_is_let_in_is_never_hardware_nor_affirmed(make_world):
    world = make_world(insecure_sample_tee=True)
    world.admin("POST", RESOURCE, SECRET)
    guest = world.guest("sample")
    assert guest.handshake().status_code == 200
    part = guest.claims()["submods"]["cpu0"]
    assert part["ear.status"] == "contraindicated"
    assert part["ear.veraison.annotated-evidence"]["sample"]["software"] is True
    refusal(guest.get(), 403, "release.policy", "PolicyDeny")


def test_sample_evidence_must_still_bind_the_key(make_world):
    world = make_world(insecure_sample_tee=True)
    guest = world.guest("sample")
    guest.auth()
    message = guest.message()
    message["tee-evidence"]["primary_evidence"] = guest.evidence(bytes(48))
    refusal(guest.attest(message), 403, "sample.binding.report_data", "AttestationError")


def test_owner_may_serve_sample_guests_by_a_policy_of_their_own(make_world):
    world = make_world(insecure_sample_tee=True)
    world.admin("POST", RESOURCE, SECRET)
    world.set_policy("package policy\ndefault allow = true\n")
    guest = world.guest("sample")
    guest.handshake()
    assert guest.open(guest.get()) == SECRET


@pytest.mark.parametrize(("tee", "id"), [
    ("se", "attestation.tee"), ("hygondcu", "attestation.tee"), ("sampledevice", "attestation.tee"),
    ("nvidia", "attestation.tee"), ("release", "attestation.tee"), ("az-tdx", "attestation.tee"),
    ("", "protocol.request.shape"), ("TDX", "protocol.request.shape"), ("tdx\n", "protocol.request.shape"),
    ("x" * 40, "protocol.request.shape")])
def test_tee_without_a_recipe_is_refused_at_once(world, tee, id):
    """And a device, which attests beside a processor only."""
    answer = world.guest(tee).auth()
    assert (answer.status_code, answer.json["id"]) == (400, id)


@pytest.mark.parametrize("tee", ["tdx", "sgx", "snp", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "nitro", "cca", "csv"])
def test_every_processor_with_a_recipe_is_challenged(world, tee):
    assert world.guest(tee).auth().status_code == 200


@pytest.mark.parametrize("version", ["0.1.1", "0.3.0", "0.4", "1.0.0", ""])
def test_other_protocol_version_is_refused(world, version):
    refusal(world.guest().auth(version=version), 400, "protocol.request.version", "AttestationError")


# -- release -----------------------------------------------------------------------------------------------------------


def test_nobody_is_served_without_attestation(world):
    refusal(world.client().get(RESOURCE), 401, "token.missing", "TokenNotFound")
    refusal(world.client().get(RESOURCE, headers={"Authorization": "Bearer x.y.z"}), 401, "token.shape",
            "TokenVerifierError")
    refusal(world.client().get(RESOURCE, headers={"Authorization": f"Bearer {world.admin_token()}"}), 401,
            "token.header", "TokenVerifierError")


def test_absent_resource_is_not_found_for_the_entitled_and_denied_to_others(world):
    guest = world.guest()
    guest.handshake()
    refusal(guest.get("/kbs/v0/resource/default/key/absent"), 404, "resource.absent", "PluginInternalError")
    impostor = world.guest(image=replace(world.tee.guest, mr_td=bytes(48)))
    impostor.handshake()
    refusal(impostor.get("/kbs/v0/resource/default/key/absent"), 403, "release.policy", "PolicyDeny")


def test_policy_tightened_after_issue_holds_at_once_in_every_worker(world):
    guest, other = world.guest(), world.restart()
    guest.handshake()
    bearer = {"Authorization": f"Bearer {guest.token}"}
    assert guest.open(other.client().get(RESOURCE, headers=bearer)) == SECRET
    world.set_policy("package policy\ndefault allow = false\n")
    refusal(guest.get(), 403, "release.policy", "PolicyDeny")
    refusal(other.client().get(RESOURCE, headers=bearer), 403, "release.policy", "PolicyDeny")
    assert world.admin("DELETE", "/kbs/v0/resource-policy/resource-policy").status_code == 200
    assert guest.open(other.client().get(RESOURCE, headers=bearer)) == SECRET


@pytest.mark.parametrize("policy", [
    "package policy\n", "package policy\nallow = 1\n", 'package policy\nallow = "true"\n',
    "package policy\nallow = [true]\n",
    "package policy\ndefault allow = false\nallow { data.nothing }\n",
    "package policy\nallow { input.submods.cpu0.absent }\n",
])
def test_anything_but_true_is_no(world, policy):
    assert world.set_policy(policy).status_code == 200
    guest = world.guest()
    guest.handshake()
    refusal(guest.get(), 403, "release.policy", "PolicyDeny")


TRUSTEE_RELEASE_POLICY = """package policy
import rego.v1

default allow = false

allow if {
    data.plugin == "resource"
    data["resource-path"][0] == "default"
    count(data["resource-path"]) == 3
    input["submods"]["cpu0"]["ear.status"] == "affirming"
}
"""

TRUSTEE_ATTESTATION_POLICY = """package policy
import rego.v1

default executables := 33
default hardware := 97
default configuration := 36
default file_system := 0
default instance_identity := 0
default runtime_opaque := 0
default storage_opaque := 0
default sourced_data := 0

trust_claims := {
    "executables": executables, "hardware": hardware, "configuration": configuration, "file-system": file_system,
    "instance-identity": instance_identity, "runtime-opaque": runtime_opaque, "storage-opaque": storage_opaque,
    "sourced-data": sourced_data,
}

executables := 3 if {
    input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
    input.tdx.quote.body.rtmr_2 in query_reference_value("rtmr_2")
}

hardware := 2 if {
    input.tdx.quote.header.tee_type == "81000000"
    input.tdx.quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
    input.tdx.quote.body.mr_td in query_reference_value("mr_td")
    input.tdx.tcb_status == "UpToDate"
    input.tdx.collateral_expiration_status == "0"
}

configuration := 2 if {
    input.tdx.td_attributes.debug == false
    input.tdx.quote.body.xfam in query_reference_value("xfam")
}
"""


def test_policies_written_for_trustee_run_unmodified(world):
    assert world.set_policy(TRUSTEE_RELEASE_POLICY).status_code == 200
    assert world.set_policy(TRUSTEE_ATTESTATION_POLICY, "default_cpu").status_code == 200
    world.admin("POST", "/kbs/v0/resource/other/key/one", b"other")
    guest = world.guest()
    guest.handshake()
    assert guest.open(guest.get()) == SECRET
    refusal(guest.get("/kbs/v0/resource/other/key/one"), 403, "release.policy", "PolicyDeny")
    impostor = world.guest(image=replace(world.tee.guest, rtmr2=bytes(48)))
    impostor.handshake()
    refusal(impostor.get(), 403, "release.policy", "PolicyDeny")


def test_revoked_token_is_refused_everywhere(world):
    guest, other = world.guest(), world.restart()
    guest.handshake()
    assert guest.open(guest.get()) == SECRET
    answer = world.admin("POST", "/kbs/v0/admin/revoked-tokens", {"id": guest.claims()["jti"]})
    assert answer.status_code == 200
    refusal(guest.get(), 401, "token.revoked", "TokenVerifierError")
    refusal(other.client().get(RESOURCE, headers={"Authorization": f"Bearer {guest.token}"}), 401, "token.revoked",
            "TokenVerifierError")


def test_token_of_another_audience_is_refused(world):
    other = world.restart(token=Token(audience="https://elsewhere"))
    guest = other.guest()
    guest.handshake()
    refusal(world.client().get(RESOURCE, headers={"Authorization": f"Bearer {guest.token}"}), 401, "token.aud",
            "TokenVerifierError")


def test_resource_versions_follow_the_owner(world):
    guest = world.guest()
    guest.handshake()
    world.admin("POST", RESOURCE, b"second")
    assert guest.open(guest.get()) == b"second"
    rolled = world.admin("POST", "/kbs/v0/admin/resources/default/key/one/rollback", {"version": 1})
    assert rolled.json["version"] == 3
    assert guest.open(guest.get()) == SECRET
    world.admin("DELETE", RESOURCE)
    refusal(guest.get(), 404, "resource.absent", "PluginInternalError")


# -- what stays --------------------------------------------------------------------------------------------------------


def test_restart_keeps_secrets_policies_sessions_and_the_log(world):
    guest = world.guest()
    guest.handshake()
    before = world.records()
    world.broker.close()
    again = world.restart()
    client = again.client(guest.cookie)
    assert guest.open(client.get(RESOURCE)) == SECRET
    refusal(client.post("/kbs/v0/attest", json=guest.message()), 401, "session.spent", "AttestationError")
    assert again.records()[:len(before)] == before


@pytest.mark.parametrize(("longest", "looked_up"), [(handshake.MAX_REMEMBERED_TOKEN, 0), (100, 2)])
def test_token_is_looked_up_unless_it_was_just_given(world, monkeypatch, longest, looked_up):
    monkeypatch.setattr(handshake, "MAX_REMEMBERED_TOKEN", longest)
    found, find = [], type(world.broker.handshake.sessions).find
    monkeypatch.setattr(type(world.broker.handshake.sessions), "find", lambda *given: found.append(1) or find(*given))
    guest = world.guest()
    guest.handshake()
    for _ in range(2):
        assert guest.open(guest.get()) == SECRET
    assert len(found) == looked_up


def test_state_folder_is_closed_to_others(world):
    state = world.config.state
    assert world.broker is not None
    assert state.stat().st_mode & 0o777 == 0o700
    files = [path for path in state.rglob("*") if path.is_file() and path.name != "admin.pem"]
    assert {"sealing.key", "challenge.key", "audit.key", "token.pem", "kbs.sqlite"} <= {path.name for path in files}
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path


def test_lost_sealing_key_is_not_remade_beside_the_secrets(world):
    world.broker.close()
    (world.config.state / "keys" / "sealing.key").unlink()
    with pytest.raises(SetupError) as refused:
        assert world.restart().broker
    assert refused.value.id == "storage.seal.key"


def test_removed_audit_head_stops_the_broker(world):
    guest = world.guest()
    guest.handshake()
    with world.broker.audit._database.writing() as link:
        link.run(text("DELETE FROM kbs_audit_head"), {})
    answer = guest.get()
    assert (answer.status_code, answer.json["detail"]) == (500, "the broker failed")
    assert "id" not in answer.json
    assert world.client().get("/readyz").status_code == 503
    assert world.client().get("/healthz").status_code == 200


# -- what is written down ----------------------------------------------------------------------------------------------


def test_every_decision_is_in_the_log_with_its_tree(world):
    before = len(world.records())
    guest = world.guest()
    guest.handshake()
    guest.get()
    world.client().get(RESOURCE)
    attested, released, refused = world.records()[before:]
    assert (attested["kind"], attested["outcome"]) == ("attestation", "allowed")
    assert attested["subject"]["tee"] == "tdx"
    assert attested["subject"]["token"] == guest.claims()["jti"]
    checks = attested["decision"]["verification"]["cpu0"]["checks"]
    assert all(check["ok"] for check in checks)
    assert {"tdx.quote.signature", "tdx.binding.report_data", "tdx.accept.status"} <= {check["id"] for check in checks}
    assert attested["decision"]["appraisal"]["cpu0"]["vector"]["hardware"] == 2
    assert (released["kind"], released["outcome"]) == ("release", "allowed")
    assert released["subject"]["resource"] == "default/key/one"
    assert released["subject"]["version"] == 1
    assert released["subject"]["token"] == guest.claims()["jti"]
    assert released["subject"]["key"] == attested["subject"]["key"]
    assert released["decision"]["status"] == {"cpu0": "affirming"}
    assert (refused["outcome"], refused["error"]) == ("refused", "token.missing")


def test_what_decisions_share_is_written_once_and_told_with_each(world):
    """The first two fill what is known; from then on a decision refers to it, and whoever reads sees no difference."""
    before = len(world.records())
    for _ in range(4):
        world.guest().handshake()
    raw = [record.told() for record in world.broker.audit.records(before + 1)]
    trust = [record for record in raw if record["kind"] == "trust"]
    shown = [record for record in whole(world.broker.audit.records(before + 1), world.broker.audit)
             if record["kind"] == "attestation"]
    ids = [[check["id"] for check in record["decision"]["verification"]["cpu0"]["checks"]] for record in shown]
    assert ids == [ids[0]] * 4
    assert len(ids[0]) > 80
    assert trust
    assert len(world.broker.audit.last(1)[0].body) < 4096
    assert all(record["seq"] < raw[-1]["seq"] for record in trust)


def test_decision_is_written_down_before_anything_opens(world, monkeypatch):
    guest = world.guest()
    guest.handshake()
    plugin = world.broker.gate._plugins["resource"]
    seen = []

    def open_and_look(located):
        seen.append(world.records()[-1])
        raise StorageError("storage.seal.value", "altered")

    monkeypatch.setattr(type(plugin), "open", staticmethod(open_and_look))
    answer = guest.get()
    assert answer.status_code == 500
    assert (seen[0]["kind"], seen[0]["outcome"]) == ("release", "allowed")
    assert (world.records()[-1]["outcome"], world.records()[-1]["error"]) == ("failed", "storage.seal.value")


def test_nothing_is_released_when_the_log_cannot_be_written(world, monkeypatch):
    guest = world.guest()
    guest.handshake()
    opened = []
    plugin = world.broker.gate._plugins["resource"]
    monkeypatch.setattr(type(plugin), "open", lambda self, located: opened.append(located))

    def fail(*_):
        raise StorageError("storage.database", "disk full")

    monkeypatch.setattr(type(world.broker.audit), "append", fail)
    assert guest.get().status_code == 500
    assert opened == []
    other = world.guest()
    other.auth()
    assert other.attest().status_code == 500


def test_changes_by_administrators_are_in_the_log(world):
    world.admin("DELETE", RESOURCE, sub="alex")
    record = world.records()[-1]
    assert (record["kind"], record["subject"]["action"]) == ("admin", "resource.delete")
    assert (record["subject"]["identity"], record["subject"]["administrator"]) == ("init", "alex")


def test_secrets_and_tokens_stay_out_of_logs_audit_metrics_and_files(world, caplog):
    caplog.set_level(logging.DEBUG)
    guest = world.guest()
    guest.handshake()
    cookie = guest.cookie
    guest.open(guest.get())
    admin_token = world.admin_token()
    world.client().post(RESOURCE, data=SECRET, headers={"Authorization": f"Bearer {admin_token}"})
    world.client().post("/kbs/v0/resource/..%2f/x/y", data=SECRET, headers={"Authorization": f"Bearer {admin_token}"})
    world.client().post("/kbs/v0/resource-policy", data=SECRET, headers={"Authorization": f"Bearer {admin_token}"})
    guest.client.post("/kbs/v0/attest", data=SECRET)
    places = {
        "log": "\n".join(str(record.__dict__) for record in caplog.records).encode(),
        "audit": b"".join(record.body for record in world.broker.audit.records()),
        "metrics": world.client().get("/metrics").data,
        **{path.name: path.read_bytes() for path in world.config.state.glob("kbs.sqlite*")},
    }
    canaries = {"secret": SECRET, "token": guest.token.encode(), "signature": guest.token.split(".")[2].encode(),
                "cookie": cookie.encode(), "admin token": admin_token.encode()}
    found = [(what, where) for where, content in places.items() for what, canary in canaries.items()
             if canary in content]
    assert found == []
    assert places["log"]
    assert b"kbs_attestations_total" in places["metrics"]


def test_metrics_labels_come_from_closed_sets(world):
    for path in ("/kbs/v0/resource/attacker/chosen/name", "/kbs/v0/attacker-route", "/attacker"):
        world.client().get(path)
    world.guest("attacker-tee").auth()
    text = world.client().get("/metrics").data
    assert b"attacker" not in text
