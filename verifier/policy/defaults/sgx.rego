# Intel SGX: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the very enclave that was registered, or a product of a registered signer from a version on
#   hardware 2       a genuine Intel platform, patched as far as demanded
#   configuration 3  no debugging, nothing else to object to
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   sgx_mr_enclave                      MRENCLAVE, 32 bytes; or, together,
#   sgx_mr_signer                       MRSIGNER, 32 bytes
#   sgx_isv_prod_id, sgx_min_isv_svn    numbers
#   allowed_tcb_status                  statuses beside UpToDate that are good enough (never Revoked)
#   allowed_flags                       objections to let pass, such as SGX_PROVISION_KEY (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if enclave_known

default hardware := 97

hardware := 2 if {
	not_software
	quote_is_sgx
	tcb_status_accepted
	collateral_current
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

default enclave_known := false

enclave_known if input.sgx.body.mr_enclave in data.reference_values.sgx_mr_enclave

enclave_known if {
	input.sgx.body.mr_signer in data.reference_values.sgx_mr_signer
	input.sgx.isv_prod_id in data.reference_values.sgx_isv_prod_id
	at_least(input.sgx.isv_svn, data.reference_values.sgx_min_isv_svn)
}

default not_software := false

not_software if input.sgx.software == false

default quote_is_sgx := false

quote_is_sgx if {
	input.sgx.header.att_key_data_0 == "00000000"
	input.sgx.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
}

default tcb_status_accepted := false

tcb_status_accepted if input.sgx.tcb_status == "UpToDate"

tcb_status_accepted if {
	input.sgx.tcb_status != "Revoked"
	input.sgx.tcb_status in data.reference_values.allowed_tcb_status
}

default collateral_current := false

collateral_current if input.sgx.collateral_expiration_status == "0"

default debug_off := false

debug_off if input.sgx.debug == false

default flags_accepted := false

flags_accepted if {
	every flag in input.sgx.flags { flag in data.reference_values.allowed_flags }
}

# Why: every rule with what was expected and found.
why := [
	{
		"rule": "executables.enclave",
		"ok": enclave_known,
		"expected": {
			"mr_enclave": registered("sgx_mr_enclave"),
			"or": {
				"mr_signer": registered("sgx_mr_signer"),
				"isv_prod_id": registered("sgx_isv_prod_id"),
				"isv_svn_at_least": registered("sgx_min_isv_svn"),
			},
		},
		"got": {
			"mr_enclave": body("mr_enclave"),
			"mr_signer": body("mr_signer"),
			"isv_prod_id": claim("isv_prod_id"),
			"isv_svn": claim("isv_svn"),
		},
	},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{
		"rule": "hardware.quote",
		"ok": quote_is_sgx,
		"expected": ["00000000", "939a7233f79c4ca9940a0db3957f0607"],
		"got": [header("att_key_data_0"), header("vendor_id")],
	},
	{
		"rule": "hardware.tcb_status",
		"ok": tcb_status_accepted,
		"expected": array.concat(["UpToDate"], registered("allowed_tcb_status")),
		"got": claim("tcb_status"),
	},
	{"rule": "hardware.collateral", "ok": collateral_current, "expected": "0", "got": claim("collateral_expiration_status")},
	{"rule": "configuration.debug", "ok": debug_off, "expected": false, "got": claim("debug")},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
]

claim(name) := object.get(input, ["sgx", name], null)

body(name) := object.get(input, ["sgx", "body", name], null)

header(name) := object.get(input, ["sgx", "header", name], null)

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
