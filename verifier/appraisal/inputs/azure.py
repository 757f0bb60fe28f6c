"""Azure's confidential VMs: the hardware's claims by its own names, and the virtual TPM's registers under ``tpm``.

``input.report_data`` is what the guest bound into the TPM's quote; the hardware's report data is the paravisor's.
Trustee writes every value of an SNP VM as text, and the measurement in base64; here they have the types they have
everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.appraisal.inputs.amd import report
from verifier.appraisal.inputs.intel import trust_domain
from verifier.appraisal.inputs.members import registers
from verifier.claims import Claims

# What the paravisor says of the VM, each with its type.
_CONFIGURATION: Mapping[str, type] = {"console-enabled": bool, "secure-boot": bool, "tpm-enabled": bool,
                                      "tpm-persisted": bool, "vmUniqueId": str}


def snp(claims: Claims) -> dict[str, Any]:
    """A VM on AMD SEV-SNP."""
    return report(claims.body["snp"], claims.endorsement) | _paravisor(claims.body)


def tdx(claims: Claims) -> dict[str, Any]:
    """A VM on Intel TDX."""
    return trust_domain(claims, claims.body["tdx"]) | _paravisor(claims.body)


def _paravisor(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the hardware vouches for through the paravisor: its statements, its key, and what that key signed."""
    told = body.get("vm_configuration") or {}
    return {
        "tpm": registers(body.get("pcrs"), 2), "ak_public_sha256": body.get("ak_modulus_sha256"),
        "user_data": body.get("user_data"),
        "vm_configuration": {name: told[name] for name, kind in _CONFIGURATION.items()
                             if isinstance(told.get(name), kind)},
    }
