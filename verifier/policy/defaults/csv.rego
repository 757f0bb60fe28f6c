# Hygon CSV: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the launch measurement (firmware, and kernel with direct boot) is registered
#   hardware 2       a genuine chip of Hygon's
#   configuration 3  no debugging; registers encrypted, no sharing of keys, no migration, unless the owner lets guests pass
#                    without; nothing else to object to. In a report of version 1 these bits are worth something only
#                    beside a registered measurement: whoever passes it on can change every field alike
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   csv_measure                    32 bytes
#   csv_es, csv_noks, csv_nosend   false lets guests pass that do not have the bit of that name set
#   allowed_flags                  objections to let pass (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if measure_listed

default hardware := 97

hardware := 2 if not_software

default configuration := 36

configuration := 3 if {
	debug_off
	state_encrypted
	keys_not_shared
	migration_off
	policy_proved
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

default measure_listed := false

measure_listed if input.csv.measure in data.reference_values.csv_measure

default not_software := false

not_software if input.csv.software == false

default debug_off := false

debug_off if input.csv.policy.nodbg == true

default state_encrypted := false

state_encrypted if input.csv.policy.es == true

state_encrypted if input.csv.policy.es in data.reference_values.csv_es

default keys_not_shared := false

keys_not_shared if input.csv.policy.noks == true

keys_not_shared if input.csv.policy.noks in data.reference_values.csv_noks

default migration_off := false

migration_off if input.csv.policy.nosend == true

migration_off if input.csv.policy.nosend in data.reference_values.csv_nosend

default policy_proved := false

policy_proved if input.csv.version in [2, 3]

policy_proved if {
	input.csv.version == 1
	measure_listed
}

default flags_accepted := false

flags_accepted if {
	every flag in input.csv.flags { flag in data.reference_values.allowed_flags }
}

# Why: every rule with what was expected and found.
why := [
	{"rule": "executables.measure", "ok": measure_listed, "expected": registered("csv_measure"), "got": claim("measure")},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "configuration.debug", "ok": debug_off, "expected": true, "got": bit("nodbg")},
	{"rule": "configuration.es", "ok": state_encrypted, "expected": array.concat([true], registered("csv_es")), "got": bit("es")},
	{"rule": "configuration.noks", "ok": keys_not_shared, "expected": array.concat([true], registered("csv_noks")), "got": bit("noks")},
	{"rule": "configuration.nosend", "ok": migration_off, "expected": array.concat([true], registered("csv_nosend")), "got": bit("nosend")},
	{"rule": "configuration.proved", "ok": policy_proved, "expected": "version 2 or 3, or a registered measurement", "got": claim("version")},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
]

claim(name) := object.get(input, ["csv", name], null)

bit(name) := object.get(input, ["csv", "policy", name], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
