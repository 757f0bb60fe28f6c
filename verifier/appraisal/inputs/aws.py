"""AWS Nitro Enclaves. Trustee has no such claims; the names are those of the attestation document."""

from __future__ import annotations

from typing import Any

from verifier.appraisal.inputs.members import registers
from verifier.claims import Claims


def nitro(claims: Claims) -> dict[str, Any]:
    """An enclave. ``debug``: its image registers are zero, as they are in debug mode."""
    body = claims.body
    return {
        "pcrs": registers(body.get("pcrs"), 1), "debug": "NITRO_DEBUG" in claims.flags,
        **{name: body.get(name) for name in ("module_id", "digest", "timestamp", "timestamp_ms", "user_data",
                                             "public_key")},
    }
