"""What Intel's certificates and documents say of a platform, by name, once `verifier.checks.dcap` has verified them."""

from __future__ import annotations

from typing import Any

from verifier.checks.dcap import Dcap


def endorsement_claims(result: Dcap) -> dict[str, Any]:
    """What Intel's certificates say of the platform, under ``pck``."""
    chain = result.chain
    return {"pck": {"ca": chain.ca, **chain.extensions.claims(), "serial": f"{chain.leaf.serial_number:x}",
                    "root_sha256": chain.anchor.sha256_certificate}}


def tcb_claims(result: Dcap) -> dict[str, Any]:
    """Where the platform stands and by which documents, under ``tcb``; moments are Unix seconds."""
    documents, platform = result.platform.documents, result.platform
    return {"tcb": {
        **platform.outcome.claims(),
        "current": platform.current.claims() if platform.current else None,
        "evaluation_number": documents.tcb_info.evaluation_number,
        "qe_evaluation_number": documents.qe_identity.evaluation_number,
        "tcb_info_issued": documents.tcb_info.window.not_before,
        "tcb_info_next_update": documents.tcb_info.window.not_after,
        "qe_identity_issued": documents.qe_identity.window.not_before,
        "qe_identity_next_update": documents.qe_identity.window.not_after,
        "root_ca_crl_number": documents.root_crl.number, "pck_crl_number": platform.pck_crl.number,
        "earliest_expiration": platform.window.not_after,
        "root_key_id": documents.signer.anchor.sha256_public_key,
    }}
