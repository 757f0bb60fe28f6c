"""From claims to an attestation result: which policy, which values, and that nothing that fails is favourable."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from verifier.appraisal.appraiser import MAX_SHOWN, Appraiser
from verifier.errors import SetupError
from verifier.policy.defaults import example, shipped
from verifier.policy.engine import PolicyError
from verifier.reference_values.model import ReferenceValue, ReferenceValues
from verifier.results.trust_vector import UNSTATED

NOW = 1_780_000_010
HEADER = "package policy\nimport rego.v1\n"
GOOD_CLAIMS = 'trust_claims := {"hardware": 2, "executables": 3, "configuration": 2}\n'
ALL_GOOD = HEADER + GOOD_CLAIMS
DEVICES = ("nvidia-hopper", "nvidia-blackwell", "nvidia-switch")
HARDWARE = ("tdx-v4", "tdx-v5-td15", "sgx-v3", "snp-Milan", "snp-Genoa", "snp-Turin", "az-snp-vtpm", "az-tdx-vtpm",
            "az-tdx-vtpm-td15", "tpm", "nitro", "cca", "csv-v1", "csv-v2", "csv-v3", *DEVICES)


@pytest.mark.parametrize("kind", HARDWARE)
def test_registered_evidence_is_affirming(claims_of, appraise, matching, kind):
    claims = claims_of(kind)
    result = appraise(claims, matching(claims))
    assert (result.status, result.software) == ("affirming", False), result.explanation
    assert result.submods[0].policy_id == f"default_{claims.tee.value}"


@pytest.mark.parametrize("kind", HARDWARE)
def test_software_evidence_is_never_affirming_by_default(claims_of, appraise, matching, kind):
    claims = claims_of(kind, software=True)
    result = appraise(claims, matching(claims))
    assert (result.status, result.software, result.submods[0].vector.hardware) == ("contraindicated", True, 97)
    assert {check.id for check in result.explanation if not check.ok} == {
        "cpu0.hardware.not_software", "cpu0.trust_claims.hardware"}


@pytest.mark.parametrize("kind", HARDWARE)
def test_an_owner_may_choose_the_example_by_name(claims_of, appraise, matching, kind):
    claims = claims_of(kind, software=True)
    result = appraise(claims, matching(claims), {"default_cpu": example("software_tee")})
    assert (result.status, result.software, result.submods[0].policy_id) == (
        "affirming", True, "default_cpu"), result.explanation


def test_sample_evidence_is_contraindicated(claims_of, appraise, matching):
    claims = claims_of("sample", software=True)
    assert appraise(claims, matching(claims)).submods[0].vector == UNSTATED


def test_the_nearest_policy_is_chosen(claims_of, appraise):
    tdx, snp = claims_of("tdx-v4"), claims_of("snp-Milan")
    values = ReferenceValues()
    own = {"default_cpu": ALL_GOOD, "default_tdx": shipped("sample"), "mine": ALL_GOOD}
    assert appraise(tdx, values, own).submods[0].policy_id == "default_tdx"
    assert appraise(tdx, values, own).status == "contraindicated"
    assert appraise(snp, values, own).submods[0].policy_id == "default_cpu"
    assert appraise(snp, values, own).status == "affirming"
    assert appraise(snp, values, own, name="gpu0").submods[0].policy_id == "default_snp"
    assert appraise(snp, values, {"mine": ALL_GOOD}).submods[0].policy_id == "default_snp"


@pytest.mark.parametrize("kind", ["gpu", "switch"])
def test_devices_are_judged_by_the_policy_of_their_class_or_of_their_maker(claims_of, appraise, kind):
    device, values, part = claims_of("nvidia-hopper"), ReferenceValues(), f"{kind}0"
    other = {"gpu": "switch", "switch": "gpu"}[kind]

    def chosen(**own):
        return appraise(device, values, own, name=part).submods[0].policy_id

    assert chosen() == chosen(default_cpu=ALL_GOOD) == chosen(**{f"default_{other}": ALL_GOOD}) == "default_nvidia"
    assert chosen(**{f"default_{kind}": ALL_GOOD}) == f"default_{kind}"
    assert chosen(**{f"default_{kind}": ALL_GOOD, "default_nvidia": ALL_GOOD}) == "default_nvidia"


def test_init_data_is_seen_where_it_is_bound(claims_of, engine):
    parts = [("cpu0", claims_of("tdx-v4")), ("gpu0", claims_of("nvidia-hopper"))]
    result = Appraiser(engine, None, ReferenceValues()).appraise(
        parts, runtime_data={"nonce": "n"}, init_data_claims={"aa.toml": {}}, at=NOW)
    first, device = (part.claims for part in result.submods)
    assert first["init_data_claims"] == {"aa.toml": {}}
    assert "init_data_claims" not in device
    assert first["runtime_data_claims"] == device["runtime_data_claims"] == {"nonce": "n"}


def test_the_result_names_the_text_of_the_policy(claims_of, appraise, engine):
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": ALL_GOOD})
    assert result.submods[0].policy_digest == engine.compile(ALL_GOOD, name="other").digest


@pytest.mark.parametrize("name", ["", "cpu", "0", "CPU0", "cpu-0", "-cpu0", "cpu0\n", "cpu 0", "a/b0"])
def test_a_part_is_named_by_class_and_index(claims_of, appraise, name):
    with pytest.raises(SetupError) as caught:
        appraise(claims_of(), ReferenceValues(), name=name)
    assert caught.value.id == "appraisal.submod"


def test_at_least_one_part_is_needed(engine):
    with pytest.raises(SetupError) as caught:
        Appraiser(engine, None, ReferenceValues()).appraise([], runtime_data={}, init_data_claims=None, at=NOW)
    assert caught.value.id == "attestation_result.submods"


def test_every_part_counts(claims_of, engine, matching):
    good, bad = claims_of("tdx-v4"), claims_of("tdx-v4", flags=("MIGRATABLE",))
    appraiser = Appraiser(engine, None, matching(good))

    def status(*parts):
        named = [(f"cpu{index}", part) for index, part in enumerate(parts)]
        return appraiser.appraise(named, runtime_data={}, init_data_claims=None, at=NOW).status

    assert status(good, good) == "affirming"
    assert status(good, bad) == status(bad, good) == "warning"
    assert status(*[good] * 7, bad) == "warning"


def test_a_policy_that_does_not_compile_is_refused_at_once(engine):
    with pytest.raises(PolicyError) as caught:
        Appraiser(engine, {"default_cpu": HEADER + "x := := 1"}, ReferenceValues())
    assert caught.value.id == "policy.syntax"


# Whatever goes wrong with a policy, its part is contraindicated.

FAULTS = {
    "undefined": ("trust_claims := {} if input.nothing", None),
    "nothing stated": ("trust_claims := {}", None),
    "no trust claims": ("other := 1", None),
    "one claim only": ('trust_claims := {"executables": 3, "configuration": 2}', None),
    "not an object": ("trust_claims := 2", "policy.result"),
    "a list": ("trust_claims := [2, 2, 2]", "policy.result"),
    "text for a number": ('trust_claims := {"hardware": "2", "executables": 3, "configuration": 2}',
                          "trust_vector.hardware"),
    "a boolean": ('trust_claims := {"hardware": 2, "executables": true, "configuration": 2}',
                  "trust_vector.executables"),
    "null": ('trust_claims := {"hardware": null}', "trust_vector.hardware"),
    "out of range": ('trust_claims := {"hardware": 258, "executables": 3, "configuration": 2}',
                     "trust_vector.hardware"),
    "contradiction": ("trust_claims := {} if input.tdx.software == false\ntrust_claims := 97",
                      "policy.evaluation"),
    "recursion": ("trust_claims := f(1)\nf(a) := f(a + 1)", "policy.evaluation"),
    "extension without a name": (GOOD_CLAIMS + 'extensions := [{"value": 1}]', "policy.result"),
    "extension without a value": (GOOD_CLAIMS + 'extensions := [{"name": "a"}]', "policy.result"),
    "extension twice": (GOOD_CLAIMS + 'extensions := [{"name": "a", "value": 1}, {"name": "a", "value": 2}]',
                        "policy.result"),
    "extension as status": (GOOD_CLAIMS + 'extensions := [{"name": "ear.status", "value": "affirming"}]',
                            "policy.result"),
    "extension as evidence": (GOOD_CLAIMS + 'extensions := [{"name": "ear.veraison.annotated-evidence", "value": {}}]',
                              "policy.result"),
    "extensions are no list": (GOOD_CLAIMS + "extensions := 1", "policy.result"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_policy_that_fails_is_never_favourable(claims_of, appraise, name):
    text, id = FAULTS[name]
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": HEADER + text})
    assert result.status == "contraindicated"
    if id is not None:
        assert result.submods[0].vector == UNSTATED
        assert result.explanation[0].id == f"cpu0.{id}"


@pytest.mark.parametrize("init_data", [{"a": b"bytes"}, {"a": "x" * 2_000_000}, {"a": "\ud800"}, {"a": [1.5] * 2000}])
def test_input_that_no_policy_can_read_is_contraindicated(claims_of, appraise, init_data):
    text = ALL_GOOD + 'extensions := [{"name": "seen", "value": input.init_data_claims}]'
    assert appraise(claims_of(), ReferenceValues(), {"default_cpu": text},
                    init_data_claims={"a": 1}).status == "affirming"
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": text}, init_data_claims=init_data)
    assert result.status == "contraindicated"
    assert result.explanation[0].id == "cpu0.policy.input"


# Reference values and time.

def test_an_expired_reference_value_is_not_there(claims_of, appraise, matching):
    claims = claims_of("tdx-v4")
    lasting = [entry for entry in matching(claims).entries if entry.name != "mr_td"]
    values = ReferenceValues([*lasting, ReferenceValue("mr_td", claims.body["mr_td"].hex(), NOW + 10)])
    assert appraise(claims, values, at=NOW + 9).status == "affirming"
    assert appraise(claims, values, at=NOW + 10).status == "warning"


def test_a_result_ends_with_the_first_thing_it_rests_on(claims_of, appraise, matching):
    claims = claims_of("tdx-v4", valid_until=NOW + 100)
    values = matching(claims)
    assert appraise(claims, values).valid_until == NOW + 100
    later = ReferenceValues([*values.entries, ReferenceValue("more", 1, NOW + 200)])
    assert appraise(claims, later).valid_until == NOW + 100
    sooner = ReferenceValues([*values.entries, ReferenceValue("more", 1, NOW + 50)])
    assert appraise(claims, sooner).valid_until == NOW + 49
    assert appraise(claims, sooner, at=NOW + 50).valid_until == NOW + 100


def test_the_result_of_several_parts_ends_with_the_first(claims_of, engine):
    parts = [("cpu0", claims_of("tdx-v4", valid_until=NOW + 100)), ("cpu1", claims_of("sgx-v3", valid_until=NOW + 50))]
    result = Appraiser(engine, None, ReferenceValues()).appraise(parts, runtime_data={}, init_data_claims=None, at=NOW)
    assert result.valid_until == NOW + 50


# Why.

def test_a_refusal_shows_expected_and_got(claims_of, appraise, matching):
    claims = claims_of("tdx-v4")
    result = appraise(claims, matching(claims, mr_td="ff" * 48))
    wrong = {check.id: (check.expected, check.got) for check in result.explanation if not check.ok}
    assert wrong["cpu0.executables.mr_td"] == (["ff" * 48], claims.body["mr_td"].hex())
    assert wrong["cpu0.trust_claims.executables"] == ("affirming", 33)


def test_a_policy_without_an_account_is_explained_by_its_vector(claims_of, appraise):
    text = HEADER + 'trust_claims := {"hardware": 97, "executables": 33, "configuration": 2}'
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": text})
    assert [(check.id, check.ok, check.got) for check in result.explanation] == [
        ("cpu0.trust_claims.configuration", True, 2), ("cpu0.trust_claims.executables", False, 33),
        ("cpu0.trust_claims.hardware", False, 97)]
    assert all(check.detail for check in result.explanation)


@pytest.mark.parametrize("why", ["1", '"text"', "[1]", '[{"ok": true}]', '[{"rule": 1, "ok": true}]', '{"rule": "a"}',
                                 "f(1)\nf(a) := f(a + 1)"])
def test_an_account_that_cannot_be_read_changes_nothing(claims_of, appraise, why):
    text = HEADER + f'trust_claims := {{"hardware": 32, "executables": 3, "configuration": 2}}\nwhy := {why}'
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": text})
    assert result.status == "warning"
    assert result.explanation[-1].id == "cpu0.trust_claims.hardware"


def test_an_account_is_not_believed_over_the_vector(claims_of, appraise):
    text = HEADER + 'trust_claims := {"hardware": 97}\nwhy := [{"rule": "all", "ok": true}]'
    assert appraise(claims_of(), ReferenceValues(), {"default_cpu": text}).status == "contraindicated"


def test_a_rule_is_ok_only_when_it_says_true(claims_of, appraise):
    why = '[{"rule": "a", "ok": 1}, {"rule": "b"}, {"rule": "c", "ok": true}]'
    text = HEADER + f'trust_claims := {{"hardware": 97}}\nwhy := {why}'
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": text})
    told = {check.id: check.ok for check in result.explanation}
    assert (told["cpu0.a"], told["cpu0.b"], told["cpu0.c"]) == (False, False, True)


def test_long_lists_are_shown_by_their_beginning(claims_of, appraise, matching):
    claims = claims_of("tdx-v4")
    result = appraise(claims, matching(claims, mr_td=[f"{number:096x}" for number in range(100)]))
    expected = next(check.expected for check in result.explanation if check.id == "cpu0.executables.mr_td")
    assert len(expected) == MAX_SHOWN + 1
    assert expected[-1] == "… and 84 more"


def test_extensions_come_with_the_result(claims_of, appraise):
    text = ALL_GOOD + 'extensions := [{"name": "ear.trustee.identifiers", "key": -18, "value": {"validated": {}}}]'
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": text})
    assert result.submods[0].extensions == {"ear.trustee.identifiers": {"validated": {}}}


def test_what_the_policy_saw_is_in_the_result(claims_of, appraise):
    result = appraise(claims_of(), ReferenceValues(), {"default_cpu": ALL_GOOD}, runtime_data={"nonce": "n"},
                      init_data_claims={"aa.toml": {}})
    claims = result.submods[0].claims
    assert (claims["runtime_data_claims"], claims["init_data_claims"]) == ({"nonce": "n"}, {"aa.toml": {}})
    assert claims["tdx"]["software"] is False


def test_threads_share_an_appraiser(claims_of, engine, matching):
    good, bad = claims_of("tdx-v4"), claims_of("tdx-v4", software=True)
    appraiser = Appraiser(engine, None, matching(good))

    def status(number: int) -> str:
        part = bad if number % 2 else good
        return appraiser.appraise([("cpu0", part)], runtime_data={}, init_data_claims=None, at=NOW).status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(status, range(60))) == ["affirming", "contraindicated"] * 30
