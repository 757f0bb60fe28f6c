# A TPM: what holds where the owner sets no policy.
#
# A TPM tells what was started. That the machine's memory is closed to whoever runs the machine, it does not tell.
#
# Affirming needs all three:
#   executables 3    firmware (PCR 0), what it booted (PCR 4) and what that measured (PCR 11) are registered, and so is
#                    the TPM's key: values of one machine prove nothing of another. Whoever runs on the machine can extend
#                    PCR 11 with whatever he likes; that he could run at all is in PCR 0 and 4
#   hardware 2       somebody vouches that a TPM holds the key: its maker's certificate, or whoever provisioned it.
#                    A key that only the evidence brings (AK_UNPROVEN) is anybody's
#   configuration 3  nothing to object to
#
# Reference values, each a list or a single value, byte strings in lower-case hexadecimal:
#   tpm_pcr00, tpm_pcr04, tpm_pcr11   32 bytes
#   trusted_aks                       attestation keys: SubjectPublicKeyInfo (DER), or its SHA-256
#   allowed_flags                     objections to let pass, such as NOT_PRODUCTION (never AK_UNPROVEN)
package policy

import rego.v1

default executables := 33

executables := 3 if {
	pcr00_listed
	pcr04_listed
	pcr11_listed
	ak_listed
}

default hardware := 97

hardware := 2 if {
	not_software
	ak_proven
}

default configuration := 36

configuration := 3 if flags_accepted

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

default pcr00_listed := false

pcr00_listed if input.tpm.pcr00 in data.reference_values.tpm_pcr00

default pcr04_listed := false

pcr04_listed if input.tpm.pcr04 in data.reference_values.tpm_pcr04

default pcr11_listed := false

pcr11_listed if input.tpm.pcr11 in data.reference_values.tpm_pcr11

default ak_listed := false

ak_listed if input.tpm.ak_public in data.reference_values.trusted_aks

ak_listed if input.tpm.ak_public_sha256 in data.reference_values.trusted_aks

default not_software := false

not_software if input.tpm.software == false

default ak_proven := false

ak_proven if {
	input.tpm.ak_trust in ["certificate", "provisioned"]
	every flag in input.tpm.flags { flag != "AK_UNPROVEN" }
}

default flags_accepted := false

flags_accepted if {
	every flag in input.tpm.flags { flag in data.reference_values.allowed_flags }
}

# Why: every rule with what was expected and found.
why := [
	{"rule": "executables.pcr00", "ok": pcr00_listed, "expected": registered("tpm_pcr00"), "got": claim("pcr00")},
	{"rule": "executables.pcr04", "ok": pcr04_listed, "expected": registered("tpm_pcr04"), "got": claim("pcr04")},
	{"rule": "executables.pcr11", "ok": pcr11_listed, "expected": registered("tpm_pcr11"), "got": claim("pcr11")},
	{"rule": "executables.ak", "ok": ak_listed, "expected": registered("trusted_aks"), "got": claim("ak_public_sha256")},
	{"rule": "hardware.not_software", "ok": not_software, "expected": false, "got": claim("software")},
	{"rule": "hardware.ak", "ok": ak_proven, "expected": ["certificate", "provisioned"], "got": [claim("ak_trust"), claim("flags")]},
	{"rule": "configuration.flags", "ok": flags_accepted, "expected": registered("allowed_flags"), "got": claim("flags")},
]

claim(name) := object.get(input, ["tpm", name], null)

# What is registered under the name, as a list.
registered(name) := object.get(data.reference_values, name, [])
