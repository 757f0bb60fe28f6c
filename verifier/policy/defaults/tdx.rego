# Intel TDX: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    firmware, kernel, initrd and command line measured as the owner registered them
#   hardware 2       a genuine Intel platform, patched as far as demanded
#   configuration 2  no debugging, nothing else to object to, and CPU features as registered
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   mr_td, rtmr_1, rtmr_2   SHA-384 registers
#   xfam                    8 bytes
#   allowed_tcb_status      statuses beside UpToDate that are good enough (never Revoked)
#   allowed_flags           objections to let pass, such as MIGRATABLE (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if {
	mr_td_listed
	rtmr_1_listed
	rtmr_2_listed
}

default hardware := 97

hardware := 2 if {
	not_software
	quote_is_tdx
	tcb_status_accepted
	collateral_current
}

default configuration := 36

configuration := 2 if {
	debug_off
	flags_accepted
	xfam_listed
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

default mr_td_listed := false

mr_td_listed if input.tdx.quote.body.mr_td in data.reference_values.mr_td

default rtmr_1_listed := false

rtmr_1_listed if input.tdx.quote.body.rtmr_1 in data.reference_values.rtmr_1

default rtmr_2_listed := false

rtmr_2_listed if input.tdx.quote.body.rtmr_2 in data.reference_values.rtmr_2

default not_software := false

not_software if input.tdx.software == false

default quote_is_tdx := false

quote_is_tdx if {
	input.tdx.quote.header.tee_type == "81000000"
	input.tdx.quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
}

default tcb_status_accepted := false

tcb_status_accepted if input.tdx.tcb_status == "UpToDate"

tcb_status_accepted if {
	input.tdx.tcb_status != "Revoked"
	input.tdx.tcb_status in data.reference_values.allowed_tcb_status
}

default collateral_current := false

collateral_current if input.tdx.collateral_expiration_status == "0"

default debug_off := false

debug_off if input.tdx.td_attributes.debug == false

default flags_accepted := false

flags_accepted if {
	every flag in input.tdx.flags { flag in data.reference_values.allowed_flags }
}

default xfam_listed := false

xfam_listed if input.tdx.quote.body.xfam in data.reference_values.xfam

# Why: every rule with what was expected and found.
why := [
	{"rule": "executables.mr_td", "ok": mr_td_listed, "expected": registered("mr_td"), "got": body("mr_td")},
	{"rule": "executables.rtmr_1", "ok": rtmr_1_listed, "expected": registered("rtmr_1"), "got": body("rtmr_1")},
	{"rule": "executables.rtmr_2", "ok": rtmr_2_listed, "expected": registered("rtmr_2"), "got": body("rtmr_2")},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{
		"rule": "hardware.quote",
		"ok": quote_is_tdx,
		"expected": ["81000000", "939a7233f79c4ca9940a0db3957f0607"],
		"got": [header("tee_type"), header("vendor_id")],
	},
	{
		"rule": "hardware.tcb_status",
		"ok": tcb_status_accepted,
		"expected": array.concat(["UpToDate"], registered("allowed_tcb_status")),
		"got": claim("tcb_status"),
	},
	{"rule": "hardware.collateral", "ok": collateral_current, "expected": "0", "got": claim("collateral_expiration_status")},
	{"rule": "configuration.debug", "ok": debug_off, "expected": false, "got": debug},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
	{"rule": "configuration.xfam", "ok": xfam_listed, "expected": registered("xfam"), "got": body("xfam")},
]

claim(name) := object.get(input, ["tdx", name], null)

body(name) := object.get(input, ["tdx", "quote", "body", name], null)

header(name) := object.get(input, ["tdx", "quote", "header", name], null)

debug := object.get(input, ["tdx", "td_attributes", "debug"], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
