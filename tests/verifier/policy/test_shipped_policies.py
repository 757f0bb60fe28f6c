"""The shipped policies, rule by rule: policy x evidence x reference values x outcome.

Two properties hold for every one of them: evidence that a root of software vouches for is never affirming, and a claim
that is missing is never taken for one that is good.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from verifier.policy.defaults import EXAMPLES, SHIPPED, example, shipped
from verifier.results.trust_vector import UNSTATED, TrustVector

HARDWARE = ("tdx", "sgx", "snp")

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
        ("measurement",), ("software",), ("reported_tcb_bootloader",), ("reported_tcb_tee",), ("reported_tcb_snp",),
        ("reported_tcb_microcode",), ("reported_tcb_fmc",), ("policy_debug_allowed",), ("policy_migrate_ma",),
        ("flags",),
        ("platform_smt_enabled",), ("platform_tsme_enabled",), ("policy_single_socket",), ("policy_smt_allowed",),
        ("policy_abi_major",), ("policy_abi_minor",),
    },
}


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


@pytest.mark.parametrize(("tee", "status"), [("tdx", "warning"), ("sgx", "warning"), ("snp", "contraindicated")])
def test_nothing_is_affirming_without_reference_values(judge, inputs, tee, status):
    assert judge(shipped(tee), inputs.good(tee), {}).status == status


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


@pytest.mark.parametrize("document", ["sample", "tdx", "sgx", "snp"])
def test_sample_evidence_is_never_affirming(judge, inputs, document):
    vector = judge(shipped("sample"), inputs.good(document), inputs.reference(document))
    assert vector == UNSTATED


@pytest.mark.parametrize("tee", HARDWARE)
@pytest.mark.parametrize("other", [*HARDWARE, "sample"])
def test_a_policy_never_affirms_another_tee(judge, inputs, tee, other):
    reference = {**inputs.reference("tdx"), **inputs.reference("sgx"), **inputs.reference("snp")}
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
SNP_GUEST = {"snp_smt_enabled": True, "snp_tsme_enabled": [False], "snp_single_socket": False,
             "snp_smt_allowed": [True],
             "snp_guest_abi_major": 0, "snp_guest_abi_minor": [0]}
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
    case("snp", "Milan has no FMC", {"product": "Milan", "reported_tcb_fmc": None}, {"snp_min_fmc": None}, (2, 3, 3)),
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
    ("snp", {"measurement": "11" * 48}),
])
def test_the_example_judges_everything_else(judge, inputs, tee, claims):
    document = inputs.good(tee, software=True, **claims)
    assert judge(example("software_tee"), document, inputs.reference(tee)).status != "affirming"


def test_the_example_never_accepts_sample_evidence(judge, inputs):
    assert judge(example("software_tee"), inputs.good("sample"), inputs.reference("sample")).status == "contraindicated"


def test_no_shipped_policy_is_an_example():
    assert not {shipped(name) for name in SHIPPED} & {example(name) for name in EXAMPLES}
