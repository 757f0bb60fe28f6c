"""A TPM: the SHA-256 bank's proved registers and its attestation key, by the names of Trustee's claims."""

from __future__ import annotations

from typing import Any

from verifier.appraisal.inputs.members import present, registers
from verifier.claims import Claims


def tpm(claims: Claims) -> dict[str, Any]:
    """A machine. Other banks than SHA-256 are not told: policies name registers, not banks."""
    body, endorsement = claims.body, claims.endorsement
    key, instance = body.get("ak") or {}, endorsement.get("gce_instance")
    return {
        **(registers((body.get("pcrs") or {}).get("sha256"), 2) or {}),
        "ak_public": body.get("ak_spki"), "ak_public_sha256": key.get("spki_sha256"),
        "ak_trust": endorsement.get("ak_trust"), "firmware_version": body.get("firmware_version"),
        "gce_instance": None if instance is None else present(instance),
    }
