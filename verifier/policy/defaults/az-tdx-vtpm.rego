# Azure confidential VMs on Intel TDX: what holds where the owner sets no policy.
#
# Affirming needs all three:
#   executables 3    the paravisor and its firmware (MRTD), what they booted (PCR 4) and what that measured (PCR 11) are
#                    registered. Whoever runs in the VM can extend PCR 11 with whatever he likes; that he could run at
#                    all is in PCR 4
#   hardware 2       a genuine Intel platform, patched as far as demanded
#   configuration 2  no debugging, nothing else to object to, and CPU features as registered
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   mr_td                   48 bytes
#   tdx_pcr04, tdx_pcr11    32 bytes
#   xfam                    8 bytes
#   allowed_tcb_status      statuses beside UpToDate that are good enough (never Revoked)
#   allowed_flags           objections to let pass, such as MIGRATABLE (never debugging)
package policy

import rego.v1

default executables := 33

executables := 3 if {
	mr_td_listed
	pcr04_listed
	pcr11_listed
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

mr_td_listed if input["az-tdx-vtpm"].quote.body.mr_td in data.reference_values.mr_td

default pcr04_listed := false

pcr04_listed if input["az-tdx-vtpm"].tpm.pcr04 in data.reference_values.tdx_pcr04

default pcr11_listed := false

pcr11_listed if input["az-tdx-vtpm"].tpm.pcr11 in data.reference_values.tdx_pcr11

default not_software := false

not_software if input["az-tdx-vtpm"].software == false

default quote_is_tdx := false

quote_is_tdx if {
	input["az-tdx-vtpm"].quote.header.tee_type == "81000000"
	input["az-tdx-vtpm"].quote.header.vendor_id == "939a7233f79c4ca9940a0db3957f0607"
}

default tcb_status_accepted := false

tcb_status_accepted if input["az-tdx-vtpm"].tcb_status == "UpToDate"

tcb_status_accepted if {
	input["az-tdx-vtpm"].tcb_status != "Revoked"
	input["az-tdx-vtpm"].tcb_status in data.reference_values.allowed_tcb_status
}

default collateral_current := false

collateral_current if input["az-tdx-vtpm"].collateral_expiration_status == "0"

default debug_off := false

debug_off if input["az-tdx-vtpm"].td_attributes.debug == false

default flags_accepted := false

flags_accepted if {
	every flag in input["az-tdx-vtpm"].flags { flag in data.reference_values.allowed_flags }
}

default xfam_listed := false

xfam_listed if input["az-tdx-vtpm"].quote.body.xfam in data.reference_values.xfam

# Why: every rule with what was expected and found.
why := [
	{"rule": "executables.mr_td", "ok": mr_td_listed, "expected": registered("mr_td"), "got": body("mr_td")},
	{"rule": "executables.pcr04", "ok": pcr04_listed, "expected": registered("tdx_pcr04"), "got": pcr("pcr04")},
	{"rule": "executables.pcr11", "ok": pcr11_listed, "expected": registered("tdx_pcr11"), "got": pcr("pcr11")},
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

claim(name) := object.get(input, ["az-tdx-vtpm", name], null)

body(name) := object.get(input, ["az-tdx-vtpm", "quote", "body", name], null)

pcr(name) := object.get(input, ["az-tdx-vtpm", "tpm", name], null)

header(name) := object.get(input, ["az-tdx-vtpm", "quote", "header", name], null)

debug := object.get(input, ["az-tdx-vtpm", "td_attributes", "debug"], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
