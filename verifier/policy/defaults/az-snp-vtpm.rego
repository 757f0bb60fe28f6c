# Azure confidential VMs on AMD SEV-SNP: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the paravisor and its firmware (launch measurement), what they booted (PCR 4) and what that measured
#                    (PCR 11) are registered. Whoever runs in the VM can extend PCR 11 with whatever he likes; that he
#                    could run at all is in PCR 4
#   hardware 2       a genuine AMD platform whose firmware is as new as demanded
#   configuration    2 when everything about the guest policy and the platform is as registered;
#                    3 when at least debugging and migration are ruled out and nothing else is to object to
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   measurement                                                48 bytes
#   snp_pcr04, snp_pcr11                                       32 bytes
#   tcb_min_bootloader, tcb_min_tee, tcb_min_snp,
#   tcb_min_microcode, tcb_min_fmc (Turin)                     numbers: the reported TCB, at least; or in their place
#   tcb_bootloader, tcb_tee, tcb_snp,
#   tcb_microcode, tcb_fmc (Turin)                             numbers: the reported TCB, exactly one of these
#   smt_enabled, tsme_enabled, single_socket, smt_allowed      true or false
#   abi_major, abi_minor                                       numbers
#   snp_products, snp_chip_ids                                 generations that are taken on listed chips only, and
#                                                              the chips, 64 bytes: Milan needs both
#   allowed_flags                                              objections to let pass (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if {
	measurement_listed
	pcr04_listed
	pcr11_listed
}

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

measurement_listed if input["az-snp-vtpm"].measurement in data.reference_values.measurement

default pcr04_listed := false

pcr04_listed if input["az-snp-vtpm"].tpm.pcr04 in data.reference_values.snp_pcr04

default pcr11_listed := false

pcr11_listed if input["az-snp-vtpm"].tpm.pcr11 in data.reference_values.snp_pcr11

default not_software := false

not_software if input["az-snp-vtpm"].software == false

default bootloader_good := false

bootloader_good if input["az-snp-vtpm"].reported_tcb_bootloader in data.reference_values.tcb_bootloader

bootloader_good if at_least(input["az-snp-vtpm"].reported_tcb_bootloader, data.reference_values.tcb_min_bootloader)

default tee_good := false

tee_good if input["az-snp-vtpm"].reported_tcb_tee in data.reference_values.tcb_tee

tee_good if at_least(input["az-snp-vtpm"].reported_tcb_tee, data.reference_values.tcb_min_tee)

default snp_good := false

snp_good if input["az-snp-vtpm"].reported_tcb_snp in data.reference_values.tcb_snp

snp_good if at_least(input["az-snp-vtpm"].reported_tcb_snp, data.reference_values.tcb_min_snp)

default microcode_good := false

microcode_good if input["az-snp-vtpm"].reported_tcb_microcode in data.reference_values.tcb_microcode

microcode_good if at_least(input["az-snp-vtpm"].reported_tcb_microcode, data.reference_values.tcb_min_microcode)

# Before Turin there is no such component.
default fmc_good := false

fmc_good if input["az-snp-vtpm"].product in ["Milan", "Genoa"]

fmc_good if input["az-snp-vtpm"].reported_tcb_fmc in data.reference_values.tcb_fmc

fmc_good if at_least(input["az-snp-vtpm"].reported_tcb_fmc, data.reference_values.tcb_min_fmc)

# On Milan software can read the seed of a chip's keys, and then forge its reports of any TCB (arXiv 2605.12990).
default generation_accepted := false

generation_accepted if input["az-snp-vtpm"].product in ["Genoa", "Turin"]

generation_accepted if {
	input["az-snp-vtpm"].product in data.reference_values.snp_products
	input["az-snp-vtpm"].chip_id in data.reference_values.snp_chip_ids
}

default debug_off := false

debug_off if input["az-snp-vtpm"].policy_debug_allowed == false

default migration_off := false

migration_off if input["az-snp-vtpm"].policy_migrate_ma == false

default flags_accepted := false

flags_accepted if {
	every flag in input["az-snp-vtpm"].flags { flag in data.reference_values.allowed_flags }
}

default guest_known := false

guest_known if {
	is_boolean(input["az-snp-vtpm"].platform_smt_enabled)
	is_boolean(input["az-snp-vtpm"].platform_tsme_enabled)
	is_boolean(input["az-snp-vtpm"].policy_single_socket)
	is_boolean(input["az-snp-vtpm"].policy_smt_allowed)
	is_number(input["az-snp-vtpm"].policy_abi_major)
	is_number(input["az-snp-vtpm"].policy_abi_minor)
}

guest_safe if {
	debug_off
	migration_off
	flags_accepted
	guest_known
}

guest_as_registered if {
	input["az-snp-vtpm"].platform_smt_enabled in data.reference_values.smt_enabled
	input["az-snp-vtpm"].platform_tsme_enabled in data.reference_values.tsme_enabled
	input["az-snp-vtpm"].policy_single_socket in data.reference_values.single_socket
	input["az-snp-vtpm"].policy_smt_allowed in data.reference_values.smt_allowed
	input["az-snp-vtpm"].policy_abi_major in data.reference_values.abi_major
	input["az-snp-vtpm"].policy_abi_minor in data.reference_values.abi_minor
}

# Why: every rule that affirming needs, with what was expected and found.
why := [
	{"rule": "executables.measurement", "ok": measurement_listed, "expected": registered("measurement"), "got": claim("measurement")},
	{"rule": "executables.pcr04", "ok": pcr04_listed, "expected": registered("snp_pcr04"), "got": pcr("pcr04")},
	{"rule": "executables.pcr11", "ok": pcr11_listed, "expected": registered("snp_pcr11"), "got": pcr("pcr11")},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "hardware.bootloader", "ok": bootloader_good, "expected": demanded("tcb_bootloader", "tcb_min_bootloader"), "got": claim("reported_tcb_bootloader")},
	{"rule": "hardware.tee", "ok": tee_good, "expected": demanded("tcb_tee", "tcb_min_tee"), "got": claim("reported_tcb_tee")},
	{"rule": "hardware.snp", "ok": snp_good, "expected": demanded("tcb_snp", "tcb_min_snp"), "got": claim("reported_tcb_snp")},
	{"rule": "hardware.microcode", "ok": microcode_good, "expected": demanded("tcb_microcode", "tcb_min_microcode"), "got": claim("reported_tcb_microcode")},
	{"rule": "hardware.fmc", "ok": fmc_good, "expected": demanded("tcb_fmc", "tcb_min_fmc"), "got": [claim("product"), claim("reported_tcb_fmc")]},
	{"rule": "hardware.generation", "ok": generation_accepted, "expected": {"of_itself": ["Genoa", "Turin"], "listed": registered("snp_products"), "on_chips": registered("snp_chip_ids")}, "got": [claim("product"), claim("chip_id")]},
	{"rule": "configuration.debug", "ok": debug_off, "expected": false, "got": claim("policy_debug_allowed")},
	{"rule": "configuration.migration", "ok": migration_off, "expected": false, "got": claim("policy_migrate_ma")},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
	{"rule": "configuration.complete", "ok": guest_known, "expected": true, "got": guest_known},
]

claim(name) := object.get(input, ["az-snp-vtpm", name], null)

pcr(name) := object.get(input, ["az-snp-vtpm", "tpm", name], null)

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
