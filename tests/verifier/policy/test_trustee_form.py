"""Policies in the form that Trustee's users write run unmodified.

The texts here are our own; their form is Trustee's: one policy for several TEEs in package ``policy``, reference values
asked by function (lists with ``in``, single ones with ``==`` and ``>=``),
alternatives with ``else`` on a line of its own,
comprehensions, extensions, and for the release of resources also the older grammar without ``if``.
"""

from __future__ import annotations

import pytest

ATTESTATION = """# Sets the trust claims of several platforms.
package policy

import rego.v1

default executables := 33

default hardware := 97

default configuration := 36

default file_system := 0

trust_claims := {
	"executables": executables,
	"hardware": hardware,
	"configuration": configuration,
	"file-system": file_system,
	"instance-identity": 0,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

##### the first platform
executables := 3 if {
	input.tdx
	input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
	input.tdx.quote.body.rtmr_2 in query_reference_value("rtmr_2")
	kernel_seen
}

# Without a log, the registers alone.
else := 4 if {
	input.tdx
	input.tdx.quote.body.rtmr_1 in query_reference_value("rtmr_1")
	input.tdx.quote.body.rtmr_2 in query_reference_value("rtmr_2")
}

hardware := 2 if {
	input.tdx
	input.tdx.quote.header.tee_type == "81000000"
	input.tdx.quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
	input.tdx.quote.body.mr_td in query_reference_value("mr_td")
	input.tdx.tcb_status == "UpToDate"
	input.tdx.collateral_expiration_status == "0"
}

configuration := 2 if {
	input.tdx
	input.tdx.td_attributes.debug == false
	input.tdx.quote.body.xfam in query_reference_value("xfam")
}

kernel_seen if {
	event := input.tdx.uefi_event_logs[_]
	event.type_name == "EV_EFI_BOOT_SERVICES_APPLICATION"
	"File(kernel)" in event.details.device_paths

	digest := event.digests[_]
	digest.digest == query_reference_value("kernel")
}

##### the second platform
executables := 3 if {
	input.snp
	input.snp.measurement in query_reference_value("snp_launch_measurement")
}

hardware := 2 if {
	input.snp
	input.snp.reported_tcb_bootloader in query_reference_value("snp_bootloader")
	input.snp.reported_tcb_snp >= query_reference_value("minimum_snp_svn")
}

configuration := 2 if {
	input.snp
	input.snp.platform_smt_enabled == query_reference_value("snp_smt_enabled")
	input.snp.policy_smt_allowed == query_reference_value("snp_smt_allowed")
}

else := 3 if {
	input.snp
	input.snp.policy_debug_allowed == false
	input.snp.policy_migrate_ma == false
}

##### platforms with a hyphen in their names
hardware := 2 if {
	input["az-tdx-vtpm"]
	input["az-tdx-vtpm"].quote.body.mr_td in query_reference_value("mr_td")
}

##### extensions
extensions := [{"name": "ear.trustee.identifiers", "key": -18, "value": {"validated": identifiers}}]

identifiers := object.union_n([images_id, users_id])

images := [image |
	container := input["init_data_claims"]["agent_policy_claims"]["containers"][_]
	image := container["OCI"]["Annotations"]["io.kubernetes.cri.image-name"]
]

images_id := {"container_images": images} if {
	count(images) > 0
} else := {}

users := [user |
	container := input["init_data_claims"]["agent_policy_claims"]["containers"][_]
	user := container["OCI"]["Process"]["User"]["UID"]
]

users_id := {"container_uids": users} if {
	count(users) > 0
} else := {}
"""


@pytest.fixture
def claims(engine):
    def evaluate(document, reference, query="data.policy.trust_claims"):
        return engine.compile(ATTESTATION, name="default_cpu").evaluate(query, input=document,
                                                                        reference_values=reference)
    return evaluate


def three(claims):
    return claims["hardware"], claims["executables"], claims["configuration"]


def test_the_first_platform_is_judged(claims, inputs):
    assert three(claims(inputs.good("tdx"), inputs.reference("tdx"))) == (2, 4, 2)
    assert three(claims(inputs.good("tdx"), {})) == (97, 33, 36)


def test_lists_single_values_and_minimums_are_all_understood(claims, inputs):
    reference = {"snp_launch_measurement": ["00" * 48], "snp_bootloader": [1], "minimum_snp_svn": 2,
                 "snp_smt_enabled": True, "snp_smt_allowed": True}
    assert three(claims(inputs.good("snp"), reference)) == (2, 3, 2)
    assert three(claims(inputs.good("snp"), reference | {"minimum_snp_svn": 3})) == (97, 3, 2)
    assert three(claims(inputs.good("snp"), reference | {"snp_smt_enabled": False})) == (2, 3, 3)


def test_an_unregistered_minimum_is_not_reached_by_everything(claims, inputs):
    reference = {"snp_launch_measurement": ["00" * 48], "snp_bootloader": [1]}
    assert three(claims(inputs.good("snp"), reference)) == (97, 3, 3)


def test_all_eight_claims_come_out(claims, inputs):
    assert len(claims(inputs.good("sgx"), {})) == 8


def test_extensions_come_out(claims, inputs):
    document = inputs.good("tdx")
    container = {"OCI": {"Annotations": {"io.kubernetes.cri.image-name": "registry/app"},
                         "Process": {"User": {"UID": 7}}}}
    document["init_data_claims"] = {"agent_policy_claims": {"containers": [container]}}
    found = claims(document, {}, "data.policy.extensions")
    assert found == [{"name": "ear.trustee.identifiers", "key": -18,
                      "value": {"validated": {"container_images": ["registry/app"], "container_uids": [7]}}}]


RELEASE = {
    "by part": """package policy
import rego.v1

default allow = false

allow if {
    not any_not_affirming
    count(input.submods) > 0
}

any_not_affirming if {
    some _, submod in input.submods
    submod["ear.status"] != "affirming"
}
""",
    "older grammar": """package policy

default allow = false

plugin = data.plugin

path := concat("/", data["resource-path"])

allow {
    plugin == "resource"
    path == "repository/type/tag"
    input["submods"]["cpu0"]["ear.status"] == "affirming"
}
""",
    "by measurement": """package policy
import rego.v1

default allow = false

allow if {
    data["resource-path"][0] == "repository"
    input.submods.cpu0["ear.trustworthiness-vector"].executables == 3
    input["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["tdx"]["quote"]["body"]["mr_td"] == "MRTD"
}
""".replace("MRTD", "aa" * 48),
}


@pytest.mark.parametrize("name", RELEASE)
def test_release_policies_answer(engine, inputs, name):
    def allow(vector, status, path):
        part = {"ear.status": status, "ear.trustworthiness-vector": vector,
                "ear.veraison.annotated-evidence": inputs.good("tdx")}
        return engine.compile(RELEASE[name], name="release").evaluate(
            "data.policy.allow", input={"submods": {"cpu0": part}},
            data={"plugin": "resource", "resource-path": path, "query": {}})

    good = ({"executables": 3}, "affirming", ["repository", "type", "tag"])
    bad = ({"executables": 33}, "warning", ["other"])
    assert allow(*good) is True
    assert allow(*bad) is False


@pytest.mark.parametrize(("text", "answer"), [("allow_all", True), ("deny_all", False)])
def test_release_policies_for_all_or_none(engine, text, answer):
    source = f"package policy\n\ndefault allow = {str(answer).lower()}\n"
    assert engine.compile(source, name=text).evaluate("data.policy.allow", input={},
                                                      data={"plugin": "resource"}) is answer
