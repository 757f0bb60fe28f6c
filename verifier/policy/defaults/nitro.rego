# AWS Nitro Enclaves: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the enclave's image, its kernel and its application are registered
#   hardware 2       a genuine Nitro hypervisor
#   configuration 3  no debugging, nothing else to object to
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   nitro_pcr0, nitro_pcr1, nitro_pcr2   48 bytes, as `nitro-cli build-enclave` tells them
#   allowed_flags                        objections to let pass (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if {
	pcr0_listed
	pcr1_listed
	pcr2_listed
}

default hardware := 97

hardware := 2 if not_software

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

default pcr0_listed := false

pcr0_listed if input.nitro.pcrs.pcr0 in data.reference_values.nitro_pcr0

default pcr1_listed := false

pcr1_listed if input.nitro.pcrs.pcr1 in data.reference_values.nitro_pcr1

default pcr2_listed := false

pcr2_listed if input.nitro.pcrs.pcr2 in data.reference_values.nitro_pcr2

default not_software := false

not_software if input.nitro.software == false

default debug_off := false

debug_off if input.nitro.debug == false

default flags_accepted := false

flags_accepted if {
	every flag in input.nitro.flags { flag in data.reference_values.allowed_flags }
}

# Why: every rule with what was expected and found.
why := [
	{"rule": "executables.pcr0", "ok": pcr0_listed, "expected": registered("nitro_pcr0"), "got": pcr("pcr0")},
	{"rule": "executables.pcr1", "ok": pcr1_listed, "expected": registered("nitro_pcr1"), "got": pcr("pcr1")},
	{"rule": "executables.pcr2", "ok": pcr2_listed, "expected": registered("nitro_pcr2"), "got": pcr("pcr2")},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "configuration.debug", "ok": debug_off, "expected": false, "got": claim("debug")},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
]

claim(name) := object.get(input, ["nitro", name], null)

pcr(name) := object.get(input, ["nitro", "pcrs", name], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
