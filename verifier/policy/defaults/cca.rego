# Arm CCA: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the realm's initial measurement (firmware, and kernel with direct boot) is registered
#   hardware 2       somebody vouches for the platform's key, and the kind of platform and every part of its firmware are
#                    registered. A key that only lay beside the token (CPAK_UNPROVEN) is anybody's
#   configuration    2 when the platform's configuration is as registered; 3 when at least the platform is secured (no
#                    part of it can be debugged) and nothing else is to object to
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   cca_realm_initial_measurement   32, 48 or 64 bytes
#   cca_implementation_id           32 bytes
#   cca_platform_measurement        32, 48 or 64 bytes: of every component of the platform's firmware
#   cca_platform_config             up to 1024 bytes
#   allowed_flags                   objections to let pass (never CPAK_UNPROVEN or CCA_NOT_SECURED)
package policy

import rego.v1

default executables := 33

executables := 3 if initial_measurement_listed

default hardware := 97

hardware := 2 if {
	not_software
	cpak_proven
	implementation_listed
	components_listed
}

default configuration := 36

configuration := 2 if {
	platform_safe
	config_listed
} else := 3 if platform_safe

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

default initial_measurement_listed := false

initial_measurement_listed if input.cca.realm["cca-realm-initial-measurement"] in data.reference_values.cca_realm_initial_measurement

default not_software := false

not_software if input.cca.software == false

default cpak_proven := false

cpak_proven if {
	input.cca.cpak_trust == "provisioned"
	every flag in input.cca.flags { flag != "CPAK_UNPROVEN" }
}

default implementation_listed := false

implementation_listed if input.cca.platform["cca-platform-implementation-id"] in data.reference_values.cca_implementation_id

default components_listed := false

components_listed if {
	count(input.cca.platform["cca-platform-sw-components"]) > 0
	every component in input.cca.platform["cca-platform-sw-components"] {
		component["measurement-value"] in data.reference_values.cca_platform_measurement
	}
}

default secured := false

secured if input.cca.platform["cca-platform-lifecycle"] == "secured"

default flags_accepted := false

flags_accepted if {
	every flag in input.cca.flags { flag in data.reference_values.allowed_flags }
}

platform_safe if {
	secured
	flags_accepted
}

config_listed if input.cca.platform["cca-platform-config"] in data.reference_values.cca_platform_config

# Why: every rule that affirming needs, with what was expected and found.
why := [
	{
		"rule": "executables.initial_measurement",
		"ok": initial_measurement_listed,
		"expected": registered("cca_realm_initial_measurement"),
		"got": object.get(input, ["cca", "realm", "cca-realm-initial-measurement"], null),
	},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "hardware.cpak", "ok": cpak_proven, "expected": "provisioned", "got": [claim("cpak_trust"), claim("flags")]},
	{
		"rule": "hardware.implementation",
		"ok": implementation_listed,
		"expected": registered("cca_implementation_id"),
		"got": platform("cca-platform-implementation-id"),
	},
	{
		"rule": "hardware.components",
		"ok": components_listed,
		"expected": registered("cca_platform_measurement"),
		"got": platform("cca-platform-sw-components"),
	},
	{"rule": "configuration.lifecycle", "ok": secured, "expected": "secured", "got": platform("cca-platform-lifecycle")},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
]

claim(name) := object.get(input, ["cca", name], null)

platform(name) := object.get(input, ["cca", "platform", name], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
