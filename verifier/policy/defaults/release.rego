# Who may have a resource, where the owner sets no release policy: nobody, unless every part of the attester is affirming.
#
#   input   the attestation token's claims
#   data    what is asked for: plugin, resource-path (a list), query
#
# A token without the CPU's own part (cpu0) is refused, however good the rest is.
package policy

import rego.v1

default allow := false

allow if {
	plugin_served
	cpu_affirming
	all_affirming
}

default plugin_served := false

plugin_served if data.plugin == "resource"

default cpu_affirming := false

cpu_affirming if input.submods.cpu0["ear.status"] == "affirming"

default all_affirming := false

all_affirming if {
	every _, submod in input.submods { submod["ear.status"] == "affirming" }
}

why := [
	{"rule": "release.plugin", "ok": plugin_served, "expected": "resource", "got": plugin},
	{"rule": "release.cpu0", "ok": cpu_affirming, "expected": "affirming", "got": object.get(input, ["submods", "cpu0", "ear.status"], null)},
	{"rule": "release.all_parts", "ok": all_affirming, "expected": "affirming", "got": statuses},
]

default plugin := null

plugin := data.plugin

statuses := {name: submod["ear.status"] | some name, submod in input.submods}
