"""AMD: SEV-SNP, by the names of Trustee's claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.claims import Claims


def snp(claims: Claims) -> dict[str, Any]:
    """A guest."""
    return report(claims.body, claims.endorsement)


def report(body: Mapping[str, Any], endorsement: Mapping[str, Any]) -> dict[str, Any]:
    """An attestation report and what AMD says of its chip."""
    policy, platform = body.get("policy_bits") or {}, body.get("platform_info_bits") or {}
    tcb = body.get("reported_tcb_decoded") or {}
    return {
        **{name: body.get(name) for name in ("measurement", "chip_id", "family_id", "image_id", "id_key_digest",
                                             "author_key_digest", "guest_svn", "vmpl")},
        "report_version": body.get("version"),
        "product": endorsement.get("product_line"), "csp_id": endorsement.get("csp_id"),
        "policy_abi_major": policy.get("abi_major"), "policy_abi_minor": policy.get("abi_minor"),
        "policy_smt_allowed": policy.get("smt_allowed"), "policy_migrate_ma": policy.get("migrate_ma"),
        "policy_debug_allowed": policy.get("debug"), "policy_single_socket": policy.get("single_socket"),
        **{f"reported_tcb_{part}": tcb.get(part) for part in ("fmc", "bootloader", "tee", "snp", "microcode")},
        "platform_tsme_enabled": platform.get("tsme_en"), "platform_smt_enabled": platform.get("smt_en"),
    }
