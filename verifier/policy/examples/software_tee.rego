# Accepts the SOFTWARE TEE as if it were hardware: for demonstrations, tests and development, never for secrets that matter.
#
# Not a default: it is in force only where an owner stores it as `default_cpu` (or `default_tdx` …). Everything but the
# origin of the evidence is judged: measurements, TCB, debugging. Evidence of real hardware is judged the same way.
#
# Reference values: mr_td, rtmr_1, rtmr_2 (TDX); sgx_mr_enclave (SGX); snp_launch_measurement, snp_min_bootloader,
# snp_min_tee_svn, snp_min_snp_svn, snp_min_microcode (SEV-SNP); allowed_tcb_status.
package policy

import rego.v1

default executables := 33

executables := 3 if measured

default hardware := 97

hardware := 2 if patched

default configuration := 36

configuration := 3 if {
	debug_off
	nothing_objected
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

default measured := false

measured if {
	input.tdx.quote.body.mr_td in data.reference_values.mr_td
	input.tdx.quote.body.rtmr_1 in data.reference_values.rtmr_1
	input.tdx.quote.body.rtmr_2 in data.reference_values.rtmr_2
}

measured if input.sgx.body.mr_enclave in data.reference_values.sgx_mr_enclave

measured if input.snp.measurement in data.reference_values.snp_launch_measurement

default patched := false

patched if status_accepted(input.tdx.tcb_status)

patched if status_accepted(input.sgx.tcb_status)

patched if {
	at_least(input.snp.reported_tcb_bootloader, data.reference_values.snp_min_bootloader)
	at_least(input.snp.reported_tcb_tee, data.reference_values.snp_min_tee_svn)
	at_least(input.snp.reported_tcb_snp, data.reference_values.snp_min_snp_svn)
	at_least(input.snp.reported_tcb_microcode, data.reference_values.snp_min_microcode)
}

status_accepted(status) if status == "UpToDate"

status_accepted(status) if {
	status != "Revoked"
	status in data.reference_values.allowed_tcb_status
}

default debug_off := false

debug_off if input.tdx.td_attributes.debug == false

debug_off if input.sgx.debug == false

debug_off if input.snp.policy_debug_allowed == false

default nothing_objected := false

nothing_objected if count(input.tdx.flags) == 0

nothing_objected if count(input.sgx.flags) == 0

nothing_objected if count(input.snp.flags) == 0

why := array.concat(measurement_rules, [
	{"rule": "hardware.patched", "ok": patched, "expected": "UpToDate, an allowed status, or the minimum TCB", "got": shown_tcb},
	{"rule": "configuration.debug", "ok": debug_off, "expected": false, "got": shown_debug},
	{"rule": "configuration.flags", "ok": nothing_objected, "expected": [], "got": shown_flags},
])

default measurement_rules := [{"rule": "executables.measured", "ok": false, "expected": "a TEE with measurements", "got": null}]

measurement_rules := [
	register("mr_td", "mr_td", input.tdx.quote.body.mr_td),
	register("rtmr_1", "rtmr_1", input.tdx.quote.body.rtmr_1),
	register("rtmr_2", "rtmr_2", input.tdx.quote.body.rtmr_2),
]

measurement_rules := [register("mr_enclave", "sgx_mr_enclave", input.sgx.body.mr_enclave)]

measurement_rules := [register("measurement", "snp_launch_measurement", input.snp.measurement)]

register(name, reference, value) := {
	"rule": concat(".", ["executables", name]),
	"ok": is_registered(value, reference),
	"expected": registered(reference),
	"got": value,
}

default is_registered(_, _) := false

is_registered(value, reference) if value in data.reference_values[reference]

shown_tcb := [
	object.get(input, ["tdx", "tcb_status"], null),
	object.get(input, ["sgx", "tcb_status"], null),
	object.get(input, ["snp", "reported_tcb_snp"], null),
	object.get(input, ["snp", "reported_tcb_microcode"], null),
]

shown_debug := [
	object.get(input, ["tdx", "td_attributes", "debug"], null),
	object.get(input, ["sgx", "debug"], null),
	object.get(input, ["snp", "policy_debug_allowed"], null),
]

shown_flags := [
	object.get(input, ["tdx", "flags"], null),
	object.get(input, ["sgx", "flags"], null),
	object.get(input, ["snp", "flags"], null),
]

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
