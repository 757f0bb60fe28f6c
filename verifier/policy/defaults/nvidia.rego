# NVIDIA GPUs and NVSwitches: what holds of each of them where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    driver and VBIOS (a switch has no driver) are of registered versions, every measurement equals
#                    NVIDIA's reference manifests for them, and no certificate of a manifest is revoked
#   hardware 2       a genuine device, none of whose certificates is revoked
#   configuration 3  debugging is off and nothing else is to object to
#
# Which GPUs and switches a guest must have is for the release policy, or for one of the owner's own: this one sees one
# device at a time.
#
# Reference values, each a list or a single value:
#   allowed_driver_versions, allowed_vbios_versions   of GPUs, as text
#   allowed_switch_bios_versions                      of switches, as text
#   allowed_revocation                                "not checked" lets devices and manifests pass of which no OCSP answer
#                                                     is at hand (never "hold")
#   allowed_flags                                     objections to let pass, such as SWITCHES_NOT_ATTESTED (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if {
	measurements_match
	manifests_current
	versions_listed
}

default hardware := 97

hardware := 2 if {
	not_software
	device_certified
	device_current
}

default configuration := 36

configuration := 3 if {
	debug_off
	flags_accepted
}

trust_claims := {
	"instance-identity": 0,
	"configuration": configuration,
	"executables": executables,
	"file-system": 0,
	"hardware": hardware,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

# The single rules. A claim that is absent makes its rule undefined, and false below.

default measurements_match := false

measurements_match if {
	input.nvidia.measres == "success"
	input.nvidia.measurements_mismatched == []
}

default manifests_current := false

manifests_current if {
	input.nvidia.kind == "gpu"
	input.nvidia.rims.driver.standing == "verified"
	accepted(input.nvidia.rims.driver.revocation)
	vbios_manifest_current
}

manifests_current if {
	input.nvidia.kind == "switch"
	vbios_manifest_current
}

vbios_manifest_current if {
	input.nvidia.rims.vbios.standing == "verified"
	accepted(input.nvidia.rims.vbios.revocation)
}

default versions_listed := false

versions_listed if {
	input.nvidia.kind == "gpu"
	input.nvidia.driver_version in data.reference_values.allowed_driver_versions
	input.nvidia.vbios_version in data.reference_values.allowed_vbios_versions
}

versions_listed if {
	input.nvidia.kind == "switch"
	input.nvidia.vbios_version in data.reference_values.allowed_switch_bios_versions
}

default not_software := false

not_software if input.nvidia.software == false

default device_certified := false

device_certified if input.nvidia.arch in ["HOPPER", "BLACKWELL", "LS10"]

default device_current := false

device_current if accepted(input.nvidia.revocation)

default debug_off := false

debug_off if {
	input.nvidia.debug == false
	input.nvidia.recovery == false
}

default flags_accepted := false

flags_accepted if {
	every flag in input.nvidia.flags { flag in data.reference_values.allowed_flags }
}

accepted(revocation) if revocation == "good"

accepted(revocation) if {
	revocation == "not checked"
	revocation in data.reference_values.allowed_revocation
}

# Why: every rule with what was expected and found.
why := [
	{
		"rule": "executables.measurements",
		"ok": measurements_match,
		"expected": ["success", []],
		"got": [claim("measres"), claim("measurements_mismatched")],
	},
	{
		"rule": "executables.manifests",
		"ok": manifests_current,
		"expected": {"standing": "verified", "revocation": array.concat(["good"], registered("allowed_revocation"))},
		"got": claim("rims"),
	},
	{"rule": "executables.versions", "ok": versions_listed, "expected": versions, "got": [claim("kind"), claim("driver_version"), claim("vbios_version")]},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "hardware.arch", "ok": device_certified, "expected": ["HOPPER", "BLACKWELL", "LS10"], "got": claim("arch")},
	{
		"rule": "hardware.revocation",
		"ok": device_current,
		"expected": array.concat(["good"], registered("allowed_revocation")),
		"got": claim("revocation"),
	},
	{"rule": "configuration.debug", "ok": debug_off, "expected": [false, false], "got": [claim("debug"), claim("recovery")]},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
]

versions := {name: registered(name) | some name in ["allowed_driver_versions", "allowed_vbios_versions", "allowed_switch_bios_versions"]}

claim(name) := object.get(input, ["nvidia", name], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
