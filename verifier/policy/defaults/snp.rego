# AMD SEV-SNP: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the launch measurement (firmware, and kernel with direct boot) is registered
#   hardware 2       a genuine AMD platform whose firmware is as new as demanded
#   configuration    2 when everything about the guest policy and the platform is as registered;
#                    3 when at least debugging and migration are ruled out and nothing else is to object to
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   snp_launch_measurement                                     48 bytes
#   snp_min_bootloader, snp_min_tee_svn, snp_min_snp_svn,
#   snp_min_microcode, snp_min_fmc (Turin)                     numbers: the reported TCB, at least; or in their place
#   snp_bootloader, snp_tee_svn, snp_snp_svn,
#   snp_microcode, snp_fmc (Turin)                             numbers: the reported TCB, exactly one of these
#   snp_smt_enabled, snp_tsme_enabled, snp_single_socket,
#   snp_smt_allowed                                            true or false
#   snp_guest_abi_major, snp_guest_abi_minor                   numbers
#   snp_products, snp_chip_ids                                 generations that are taken on listed chips only, and
#                                                              the chips, 64 bytes: Milan needs both
#   allowed_flags                                              objections to let pass, such as VMPL1 (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if measurement_listed

default hardware := 97

hardware := 2 if {
	not_software
	bootloader_good
	tee_good
	snp_good
	microcode_good
	fmc_good
	generation_accepted
}

default configuration := 36

configuration := 2 if {
	guest_safe
	guest_as_registered
} else := 3 if guest_safe

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

default measurement_listed := false

measurement_listed if input.snp.measurement in data.reference_values.snp_launch_measurement

default not_software := false

not_software if input.snp.software == false

default bootloader_good := false

bootloader_good if input.snp.reported_tcb_bootloader in data.reference_values.snp_bootloader

bootloader_good if at_least(input.snp.reported_tcb_bootloader, data.reference_values.snp_min_bootloader)

default tee_good := false

tee_good if input.snp.reported_tcb_tee in data.reference_values.snp_tee_svn

tee_good if at_least(input.snp.reported_tcb_tee, data.reference_values.snp_min_tee_svn)

default snp_good := false

snp_good if input.snp.reported_tcb_snp in data.reference_values.snp_snp_svn

snp_good if at_least(input.snp.reported_tcb_snp, data.reference_values.snp_min_snp_svn)

default microcode_good := false

microcode_good if input.snp.reported_tcb_microcode in data.reference_values.snp_microcode

microcode_good if at_least(input.snp.reported_tcb_microcode, data.reference_values.snp_min_microcode)

# Before Turin there is no such component.
default fmc_good := false

fmc_good if input.snp.product in ["Milan", "Genoa"]

fmc_good if input.snp.reported_tcb_fmc in data.reference_values.snp_fmc

fmc_good if at_least(input.snp.reported_tcb_fmc, data.reference_values.snp_min_fmc)

# On Milan software can read the seed of a chip's keys, and then forge its reports of any TCB (arXiv 2605.12990).
default generation_accepted := false

generation_accepted if input.snp.product in ["Genoa", "Turin"]

generation_accepted if {
	input.snp.product in data.reference_values.snp_products
	input.snp.chip_id in data.reference_values.snp_chip_ids
}

default debug_off := false

debug_off if input.snp.policy_debug_allowed == false

default migration_off := false

migration_off if input.snp.policy_migrate_ma == false

default flags_accepted := false

flags_accepted if {
	every flag in input.snp.flags { flag in data.reference_values.allowed_flags }
}

default guest_known := false

guest_known if {
	is_boolean(input.snp.platform_smt_enabled)
	is_boolean(input.snp.platform_tsme_enabled)
	is_boolean(input.snp.policy_single_socket)
	is_boolean(input.snp.policy_smt_allowed)
	is_number(input.snp.policy_abi_major)
	is_number(input.snp.policy_abi_minor)
}

guest_safe if {
	debug_off
	migration_off
	flags_accepted
	guest_known
}

guest_as_registered if {
	input.snp.platform_smt_enabled in data.reference_values.snp_smt_enabled
	input.snp.platform_tsme_enabled in data.reference_values.snp_tsme_enabled
	input.snp.policy_single_socket in data.reference_values.snp_single_socket
	input.snp.policy_smt_allowed in data.reference_values.snp_smt_allowed
	input.snp.policy_abi_major in data.reference_values.snp_guest_abi_major
	input.snp.policy_abi_minor in data.reference_values.snp_guest_abi_minor
}

# Why: every rule that affirming needs, with what was expected and found.
why := [
	{"rule": "executables.measurement", "ok": measurement_listed, "expected": registered("snp_launch_measurement"), "got": claim("measurement")},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "hardware.bootloader", "ok": bootloader_good, "expected": demanded("snp_bootloader", "snp_min_bootloader"), "got": claim("reported_tcb_bootloader")},
	{"rule": "hardware.tee", "ok": tee_good, "expected": demanded("snp_tee_svn", "snp_min_tee_svn"), "got": claim("reported_tcb_tee")},
	{"rule": "hardware.snp", "ok": snp_good, "expected": demanded("snp_snp_svn", "snp_min_snp_svn"), "got": claim("reported_tcb_snp")},
	{"rule": "hardware.microcode", "ok": microcode_good, "expected": demanded("snp_microcode", "snp_min_microcode"), "got": claim("reported_tcb_microcode")},
	{"rule": "hardware.fmc", "ok": fmc_good, "expected": demanded("snp_fmc", "snp_min_fmc"), "got": [claim("product"), claim("reported_tcb_fmc")]},
	{"rule": "hardware.generation", "ok": generation_accepted, "expected": {"of_itself": ["Genoa", "Turin"], "listed": registered("snp_products"), "on_chips": registered("snp_chip_ids")}, "got": [claim("product"), claim("chip_id")]},
	{"rule": "configuration.debug", "ok": debug_off, "expected": false, "got": claim("policy_debug_allowed")},
	{"rule": "configuration.migration", "ok": migration_off, "expected": false, "got": claim("policy_migrate_ma")},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
	{"rule": "configuration.complete", "ok": guest_known, "expected": true, "got": guest_known},
]

claim(name) := object.get(input, ["snp", name], null)

demanded(exact, minimum) := {"one_of": registered(exact), "at_least": registered(minimum)}

# True for a number that no registered minimum is above; false where none is registered.
at_least(value, minima) if {
	is_number(value)
	count(minima) > 0
	every least in minima {
		is_number(least)
		value >= least
	}
}

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
