# Accepts the SOFTWARE TEE as if it were hardware: for demonstrations, tests and development, never for secrets that matter.
#
# Not a default: it is in force only where an owner stores it as `default_cpu` (or `default_tdx` …), for devices as
# `default_gpu` and `default_switch`. Everything but the origin of the evidence is judged: measurements, TCB, debugging.
# Evidence of real hardware is judged the same way.
#
# Reference values: mr_td, rtmr_1, rtmr_2 (TDX); sgx_mr_enclave (SGX); snp_launch_measurement, snp_min_bootloader,
# snp_min_tee_svn, snp_min_snp_svn, snp_min_microcode (SEV-SNP); measurement, snp_pcr04, snp_pcr11, tcb_min_bootloader,
# tcb_min_tee, tcb_min_snp, tcb_min_microcode (Azure on SNP); mr_td, tdx_pcr04, tdx_pcr11 (Azure on TDX); tpm_pcr00,
# tpm_pcr04, tpm_pcr11, trusted_aks (TPM); nitro_pcr0 (Nitro); cca_realm_initial_measurement, cca_implementation_id (CCA);
# csv_measure (CSV); allowed_vbios_versions, allowed_switch_bios_versions (NVIDIA); allowed_tcb_status.
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

measured if {
	input["az-snp-vtpm"].measurement in data.reference_values.measurement
	input["az-snp-vtpm"].tpm.pcr04 in data.reference_values.snp_pcr04
	input["az-snp-vtpm"].tpm.pcr11 in data.reference_values.snp_pcr11
}

measured if {
	input["az-tdx-vtpm"].quote.body.mr_td in data.reference_values.mr_td
	input["az-tdx-vtpm"].tpm.pcr04 in data.reference_values.tdx_pcr04
	input["az-tdx-vtpm"].tpm.pcr11 in data.reference_values.tdx_pcr11
}

measured if {
	input.tpm.pcr00 in data.reference_values.tpm_pcr00
	input.tpm.pcr04 in data.reference_values.tpm_pcr04
	input.tpm.pcr11 in data.reference_values.tpm_pcr11
	input.tpm.ak_public_sha256 in data.reference_values.trusted_aks
}

measured if input.nitro.pcrs.pcr0 in data.reference_values.nitro_pcr0

measured if input.cca.realm["cca-realm-initial-measurement"] in data.reference_values.cca_realm_initial_measurement

measured if input.csv.measure in data.reference_values.csv_measure

measured if {
	input.nvidia.measres == "success"
	vbios_listed
}

vbios_listed if {
	input.nvidia.kind == "gpu"
	input.nvidia.vbios_version in data.reference_values.allowed_vbios_versions
}

vbios_listed if {
	input.nvidia.kind == "switch"
	input.nvidia.vbios_version in data.reference_values.allowed_switch_bios_versions
}

default patched := false

patched if status_accepted(input.tdx.tcb_status)

patched if status_accepted(input.sgx.tcb_status)

patched if {
	at_least(input.snp.reported_tcb_bootloader, data.reference_values.snp_min_bootloader)
	at_least(input.snp.reported_tcb_tee, data.reference_values.snp_min_tee_svn)
	at_least(input.snp.reported_tcb_snp, data.reference_values.snp_min_snp_svn)
	at_least(input.snp.reported_tcb_microcode, data.reference_values.snp_min_microcode)
}

patched if status_accepted(input["az-tdx-vtpm"].tcb_status)

patched if {
	at_least(input["az-snp-vtpm"].reported_tcb_bootloader, data.reference_values.tcb_min_bootloader)
	at_least(input["az-snp-vtpm"].reported_tcb_tee, data.reference_values.tcb_min_tee)
	at_least(input["az-snp-vtpm"].reported_tcb_snp, data.reference_values.tcb_min_snp)
	at_least(input["az-snp-vtpm"].reported_tcb_microcode, data.reference_values.tcb_min_microcode)
}

# Somebody vouches for the key: a certificate or a configuration.
patched if input.tpm.ak_trust in ["certificate", "provisioned"]

patched if input.nitro.digest == "SHA384"

patched if {
	input.cca.cpak_trust == "provisioned"
	input.cca.platform["cca-platform-implementation-id"] in data.reference_values.cca_implementation_id
}

patched if input.csv.version in [1, 2, 3]

patched if input.nvidia.revocation == "good"

status_accepted(status) if status == "UpToDate"

status_accepted(status) if {
	status != "Revoked"
	status in data.reference_values.allowed_tcb_status
}

default debug_off := false

debug_off if input.tdx.td_attributes.debug == false

debug_off if input.sgx.debug == false

debug_off if input.snp.policy_debug_allowed == false

debug_off if input["az-snp-vtpm"].policy_debug_allowed == false

debug_off if input["az-tdx-vtpm"].td_attributes.debug == false

# A TPM knows of no such thing.
debug_off if input.tpm

debug_off if input.nitro.debug == false

debug_off if input.cca.platform["cca-platform-lifecycle"] == "secured"

debug_off if input.csv.policy.nodbg == true

debug_off if input.nvidia.debug == false

default nothing_objected := false

nothing_objected if count(input.tdx.flags) == 0

nothing_objected if count(input.sgx.flags) == 0

nothing_objected if count(input.snp.flags) == 0

nothing_objected if count(input["az-snp-vtpm"].flags) == 0

nothing_objected if count(input["az-tdx-vtpm"].flags) == 0

nothing_objected if count(input.tpm.flags) == 0

nothing_objected if count(input.nitro.flags) == 0

nothing_objected if count(input.cca.flags) == 0

nothing_objected if count(input.csv.flags) == 0

nothing_objected if count(input.nvidia.flags) == 0

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

measurement_rules := [
	register("measurement", "measurement", input["az-snp-vtpm"].measurement),
	register("pcr04", "snp_pcr04", input["az-snp-vtpm"].tpm.pcr04),
	register("pcr11", "snp_pcr11", input["az-snp-vtpm"].tpm.pcr11),
]

measurement_rules := [
	register("mr_td", "mr_td", input["az-tdx-vtpm"].quote.body.mr_td),
	register("pcr04", "tdx_pcr04", input["az-tdx-vtpm"].tpm.pcr04),
	register("pcr11", "tdx_pcr11", input["az-tdx-vtpm"].tpm.pcr11),
]

measurement_rules := [
	register("pcr00", "tpm_pcr00", input.tpm.pcr00),
	register("pcr04", "tpm_pcr04", input.tpm.pcr04),
	register("pcr11", "tpm_pcr11", input.tpm.pcr11),
	register("ak", "trusted_aks", input.tpm.ak_public_sha256),
]

measurement_rules := [register("pcr0", "nitro_pcr0", input.nitro.pcrs.pcr0)]

measurement_rules := [register("initial_measurement", "cca_realm_initial_measurement", input.cca.realm["cca-realm-initial-measurement"])]

measurement_rules := [register("measure", "csv_measure", input.csv.measure)]

measurement_rules := [{
	"rule": "executables.vbios",
	"ok": measured,
	"expected": array.concat(registered("allowed_vbios_versions"), registered("allowed_switch_bios_versions")),
	"got": [input.nvidia.kind, input.nvidia.vbios_version, object.get(input, ["nvidia", "measres"], null)],
}]

register(name, reference, value) := {
	"rule": concat(".", ["executables", name]),
	"ok": is_registered(value, reference),
	"expected": registered(reference),
	"got": value,
}

default is_registered(_, _) := false

is_registered(value, reference) if value in data.reference_values[reference]

shown_tcb := shown([
	["tdx", "tcb_status"], ["sgx", "tcb_status"], ["snp", "reported_tcb_snp"], ["snp", "reported_tcb_microcode"],
	["az-tdx-vtpm", "tcb_status"], ["az-snp-vtpm", "reported_tcb_snp"], ["az-snp-vtpm", "reported_tcb_microcode"],
	["tpm", "ak_trust"], ["nitro", "digest"], ["cca", "cpak_trust"], ["csv", "version"], ["nvidia", "revocation"],
])

shown_debug := shown([
	["tdx", "td_attributes", "debug"], ["sgx", "debug"], ["snp", "policy_debug_allowed"],
	["az-tdx-vtpm", "td_attributes", "debug"], ["az-snp-vtpm", "policy_debug_allowed"], ["nitro", "debug"],
	["cca", "platform", "cca-platform-lifecycle"], ["csv", "policy", "nodbg"], ["nvidia", "debug"],
])

shown_flags := shown([
	["tdx", "flags"], ["sgx", "flags"], ["snp", "flags"], ["az-tdx-vtpm", "flags"], ["az-snp-vtpm", "flags"],
	["tpm", "flags"], ["nitro", "flags"], ["cca", "flags"], ["csv", "flags"], ["nvidia", "flags"],
])

# What the evidence holds of these.
shown(paths) := [value |
	some path in paths
	value := object.get(input, path, null)
	value != null
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
