# Sample evidence is unsigned and proves nothing: whatever it says, it is never affirming.
package policy

import rego.v1

trust_claims := {
	"instance-identity": 0,
	"configuration": 36,
	"executables": 33,
	"file-system": 0,
	"hardware": 97,
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

why := [{"rule": "hardware.not_software", "ok": false, "expected": false, "got": "unsigned sample evidence"}]
