"""What an administrator hears about a policy before it is stored."""

from __future__ import annotations

import re

import pytest

from verifier.policy.defaults import SHIPPED, example, shipped
from verifier.policy.engine import PolicyError
from verifier.policy.lint import ANY, lint
from verifier.policy.review import (
    MAX_WARNINGS,
    SAMPLES,
    check_attestation_policy,
    check_release_policy,
    review_attestation,
    review_release,
    sample,
)
from verifier.policy.source import tokens

OURS = {**{name: shipped(name) for name in SHIPPED}, "software_tee": example("software_tee")}
# The names of reference values as each policy's own head comment lists them.
NAMES = {
    "tdx": ["mr_td", "rtmr_1", "rtmr_2", "xfam", "allowed_tcb_status", "allowed_flags"],
    "sgx": ["sgx_mr_enclave", "sgx_mr_signer", "sgx_isv_prod_id", "sgx_min_isv_svn", "allowed_tcb_status",
            "allowed_flags"],
    "snp": ["snp_launch_measurement", "snp_min_bootloader", "snp_min_tee_svn", "snp_min_snp_svn", "snp_min_microcode",
            "snp_min_fmc", "snp_bootloader", "snp_tee_svn", "snp_snp_svn", "snp_microcode", "snp_fmc",
            "snp_smt_enabled",
            "snp_tsme_enabled", "snp_single_socket", "snp_smt_allowed", "snp_guest_abi_major", "snp_guest_abi_minor",
            "snp_products", "snp_chip_ids", "allowed_flags"],
    "az-snp-vtpm": ["measurement", "snp_pcr04", "snp_pcr11", "tcb_min_bootloader", "tcb_min_tee", "tcb_min_snp",
                    "tcb_min_microcode", "tcb_min_fmc", "tcb_bootloader", "tcb_tee", "tcb_snp", "tcb_microcode",
                    "tcb_fmc", "smt_enabled", "tsme_enabled", "single_socket", "smt_allowed", "abi_major", "abi_minor",
                    "snp_products", "snp_chip_ids", "allowed_flags"],
    "az-tdx-vtpm": ["mr_td", "tdx_pcr04", "tdx_pcr11", "xfam", "allowed_tcb_status", "allowed_flags"],
    "tpm": ["tpm_pcr00", "tpm_pcr04", "tpm_pcr11", "trusted_aks", "allowed_flags"],
    "nitro": ["nitro_pcr0", "nitro_pcr1", "nitro_pcr2", "allowed_flags"],
    "cca": ["cca_realm_initial_measurement", "cca_implementation_id", "cca_platform_measurement", "cca_platform_config",
            "allowed_flags"],
    "csv": ["csv_measure", "csv_es", "csv_noks", "csv_nosend", "allowed_flags"],
    "nvidia": ["allowed_driver_versions", "allowed_vbios_versions", "allowed_switch_bios_versions",
               "allowed_revocation", "allowed_flags"],
    "sample": [],
    "software_tee": ["mr_td", "rtmr_1", "rtmr_2", "sgx_mr_enclave", "snp_launch_measurement", "snp_min_bootloader",
                     "snp_min_tee_svn", "snp_min_snp_svn", "snp_min_microcode", "measurement", "snp_pcr04", "snp_pcr11",
                     "tcb_min_bootloader", "tcb_min_tee", "tcb_min_snp", "tcb_min_microcode", "tdx_pcr04", "tdx_pcr11",
                     "tpm_pcr00", "tpm_pcr04", "tpm_pcr11", "trusted_aks", "nitro_pcr0",
                     "cca_realm_initial_measurement", "cca_implementation_id", "csv_measure", "allowed_vbios_versions",
                     "allowed_switch_bios_versions", "allowed_tcb_status"],
}
HEADER = "package policy\nimport rego.v1\n"
CLAIMS = HEADER + 'trust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'


def review(engine, name: str, source: str) -> list[str]:
    if name == "release":
        return review_release(engine, source)
    return review_attestation(engine, source, NAMES[name])


def refusal(call, *arguments, **named) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        call(*arguments, **named)
    return caught.value


@pytest.mark.parametrize("name", OURS)
def test_our_own_policies_draw_no_warning(engine, name):
    assert review(engine, name, OURS[name]) == []


def misspelled(source: str) -> list[tuple[str, str]]:
    """``source`` once for each name in it, with that name's last letter changed; comments and imports are left out."""
    changed = []
    imports = [match.span() for match in re.finditer(r"^import .*$", source, re.MULTILINE)]
    for token in tokens(source):
        if token.kind != "name" or token.text == "_" or any(low <= token.start < high for low, high in imports):
            continue
        end = token.start + len(token.text)
        letter = "x" if token.text[-1] != "x" else "y"
        changed.append((f"{token.text} in line {token.line}", source[:end - 1] + letter + source[end:]))
    return changed


@pytest.mark.parametrize("name", OURS)
def test_no_misspelled_name_goes_unnoticed(engine, name):
    silent = []
    for what, source in misspelled(OURS[name]):
        if not LINTS[name](source):
            try:
                if not review(engine, name, source):
                    silent.append(what)
            except PolicyError:
                pass
    assert silent == []


def lint_of(name: str):
    from verifier.policy import review as room

    data = {**room._REQUEST, "query": ANY} if name == "release" else dict.fromkeys(
        ("reference", "reference_values"), dict.fromkeys(NAMES[name], ANY))
    outputs = ("allow", "why") if name == "release" else ("trust_claims", "extensions", "why")
    inputs = room.token_tree() if name == "release" else room.input_tree()
    return lambda source: lint(source, outputs=outputs, inputs=inputs, data=data)


LINTS = {name: lint_of(name) for name in OURS}


@pytest.mark.parametrize(("text", "warning"), [
    ("x if input.tdx.tcb_statux == 1\ny if x\nz := y", "there is no input.tdx.tcb_statux"),
    ('x if input["tdx"]["quote"].bodi.mr_td == 1\ny if x', "there is no input.tdx.quote.bodi"),
    ("body := input.tdx.quote.body\nx if body.mr_tdx == 1\ny if x", "there is no input.tdx.quote.body.mr_tdx"),
    ("x if input.tdx.quote.body.mr_td.more\ny if x", "there is no input.tdx.quote.body.mr_td.more"),
    ('x if input["az-snp-vtpm"].measuremant\ny if x', "there is no input.az-snp-vtpm.measuremant"),
    ('x if input.az_snp_vtpm.measurement\ny if x', "there is no input.az_snp_vtpm"),
    ("x if input.tdx.uefi_event_logs[_]\ny if x", "there is no input.tdx.uefi_event_logs"),
    ("x if data.plugin\ny if x", "there is no data.plugin"),
    ("lonely := 1", "lonely occurs only once"),
])
def test_names_that_lead_nowhere_are_told_with_their_line(engine, text, warning):
    told = review_attestation(engine, CLAIMS + text)
    assert [entry for entry in told if warning in entry and entry.startswith("line ")], told


@pytest.mark.parametrize("text", [
    "x if input.init_data_claims.anything.at.all\ny if x\nz if y\nw if z\nv if w",
    "x if input.runtime_data_claims[\"tee-pubkey\"].kty == \"EC\"\ny if x",
    "x if some_name in data.reference_values.mr_td\nsome_name := 1",
    "x := input[_]\ny := x",
])
def test_names_that_may_be_are_not_told(engine, text):
    told = review_attestation(engine, CLAIMS + text)
    assert [entry for entry in told if "there is no" in entry] == []


@pytest.mark.parametrize(("claims", "warning"), [
    ("trust_claims := {}", "leaves out hardware for tdx"),
    ('trust_claims := {"hardwarf": 2}', "hardwarf, which AR4SI does not know"),
    ("trust_claims := {} if input.tdx", "trust_claims is undefined for snp"),
    ('other := {"hardware": 2}', "trust_claims is undefined for tdx"),
])
def test_trust_claims_that_say_nothing_are_told(engine, claims, warning):
    assert [entry for entry in review_attestation(engine, HEADER + claims) if warning in entry]


@pytest.mark.parametrize("claims", ["[]", "2", '"affirming"', '{"hardware": "2"}', '{"hardware": 2.5}',
                                    '{"hardware": true}',
                                    '{"hardware": 128}', '{"hardware": null}'])
def test_trust_claims_of_the_wrong_type_are_refused(engine, claims):
    assert refusal(review_attestation, engine, HEADER + f"trust_claims := {claims}").id == "policy.result"


@pytest.mark.parametrize(("text", "warning"), [
    ("allow := 1", "allow is not a boolean for a token of tdx"),
    ("deny := true", "allow is undefined for a token of tdx"),
    ("default allow := false\nallow if input.submods.cpu0[\"ear.statux\"]",
     "there is no input.submods.cpu0.ear.statux"),
    ("default allow := false\nallow if data.plugins == \"resource\"", "there is no data.plugins"),
])
def test_a_release_policy_that_says_nothing_is_told(engine, text, warning):
    assert [entry for entry in review_release(engine, HEADER + text) if warning in entry]


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_of_their_own_tee(name):
    assert set(sample(name)) >= {name, "report_data", "runtime_data_claims"}
    assert not (set(SAMPLES) - {name}) & set(sample(name))


# In a child process: what a policy may do to the engine, it does to the child.

def test_a_good_policy_passes_the_child(engine):
    assert check_attestation_policy(engine, shipped("tdx"), registered=NAMES["tdx"]) == []
    assert check_release_policy(engine, shipped("release")) == []


def test_warnings_come_back_from_the_child(engine):
    told = check_attestation_policy(engine, shipped("tdx"), registered=["mr_td"])
    assert [entry for entry in told if "data.reference_values.xfam" in entry]


@pytest.mark.parametrize(("text", "id", "line"), [
    ("x := opa.runtime()", "policy.builtin", 3), ("x := := 1", "policy.syntax", 3),
    ("x := nosuch(1)", "policy.function", 3)])
def test_errors_come_back_from_the_child(engine, text, id, line):
    error = refusal(check_attestation_policy, engine, HEADER + text)
    assert (error.id, error.line) == (id, line)


BOMBS = {
    # every run doubles the text: more memory than there is, in forty statements
    "memory": 'a0 := "xxxxxxxxxxxxxxxx"\n' + "".join(f'a{i + 1} := concat("", [a{i}, a{i}])\n' for i in range(40))
              + 'trust_claims := {"hardware": count(a40)}',
    "time": 'trust_claims := {"hardware": count([1 | a := b[_]; c := b[_]; d := b[_]; e := b[_]])}\n'
            "b := input.tdx.quote.body",
}


@pytest.mark.parametrize(("name", "id"), [("memory", "policy.review"), ("time", "policy.cost")])
def test_a_bomb_goes_off_in_the_child(engine, name, id):
    assert refusal(check_attestation_policy, engine, HEADER + BOMBS[name]).id == id


def test_a_policy_that_ends_its_process_ends_the_child_only(engine, monkeypatch):
    monkeypatch.setattr("verifier.policy.sandbox._CHILD", "import os; os.abort()")
    assert refusal(check_attestation_policy, engine, shipped("tdx")).id == "policy.review"


def test_the_child_sees_no_environment(engine, monkeypatch):
    monkeypatch.setenv("CANARY", "secret")
    monkeypatch.setattr("verifier.policy.sandbox._CHILD",
                        "import json, os; print(json.dumps({'error': None, 'warnings': sorted(os.environ)}))")
    assert "CANARY" not in check_attestation_policy(engine, shipped("tdx"))


@pytest.mark.parametrize("answer", ["", "null", "[]", "{}", "{'warnings': []}", "not json"])
def test_an_unreadable_answer_is_a_refusal(engine, monkeypatch, answer):
    monkeypatch.setattr("verifier.policy.sandbox._CHILD", f"print({answer!r})")
    assert refusal(check_attestation_policy, engine, shipped("tdx")).id == "policy.review"


def test_warnings_are_bounded(engine):
    many = CLAIMS + "".join(f"lonely{number} := 1\n" for number in range(MAX_WARNINGS + 50))
    assert len(check_attestation_policy(engine, many)) == MAX_WARNINGS


def test_a_policy_that_never_ends_is_cut_off(engine, monkeypatch):
    monkeypatch.setattr("verifier.policy.sandbox.MAX_SECONDS", 0.2)
    monkeypatch.setattr("verifier.policy.sandbox._CHILD", "while True: pass")
    assert refusal(check_attestation_policy, engine, shipped("tdx")).id == "policy.cost"
