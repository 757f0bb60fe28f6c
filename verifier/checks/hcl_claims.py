"""What an HCL report and its virtual TPM's quote say, by name. Nothing here is proved by being named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.endorsements.roots.keys import spki_digest
from verifier.formats.az_json import VtpmQuote
from verifier.formats.runtime_claims import ATTESTATION_KEY, RuntimeClaims
from verifier.formats.tpm_attest import TpmAttest


def runtime_claims(claims: RuntimeClaims, report_data: bytes) -> dict[str, Any]:
    """``report_data`` is the hardware report's, the hash of these claims. ``user_data``: what the guest had the
    paravisor put there, None in early reports. ``ak_modulus_sha256``: the attestation key, by the SHA-256 of its whole
    SubjectPublicKeyInfo (DER); None without one."""
    named = claims.named(ATTESTATION_KEY)
    key = named[0].public_key() if named else None
    return {"report_data": report_data, "user_data": claims.user_data,
            "vm_configuration": dict(claims.vm_configuration),
            "ak_modulus_sha256": None if key is None else spki_digest(key)}


def attest_of(quote: VtpmQuote | None) -> TpmAttest | None:
    """What a quote's message says; None without a quote. Raises `EvidenceError`."""
    return None if quote is None else TpmAttest.from_bytes(quote.message)


def quote_claims(attest: TpmAttest, length: int, pcrs: Mapping[int, bytes]) -> dict[str, Any]:
    """``tpm_quote``: its fields, numbers of algorithms as hexadecimal text. ``nonce``: the extra data, which is what
    the guest bound; ``nonce_ascii`` where it is text. ``pcrs``: by number, as given; ``length``: the message's."""
    told = {
        "magic": attest.magic.to_bytes(4, "big"), "type": f"{attest.type:#06x}",
        "qualified_signer": attest.qualified_signer, "extra_data": attest.extra_data, "clock": attest.clock,
        "reset_count": attest.reset_count, "restart_count": attest.restart_count, "safe": int(attest.safe),
        "firmware_version": f"{attest.firmware_version:#x}",
        "pcr_selection": [{"alg": f"{selection.alg:#06x}", "pcrs": list(selection.pcrs)}
                          for selection in attest.pcr_selections],
        "pcr_digest": attest.pcr_digest, "consumed": len(attest.to_bytes()), "length": length,
    }
    claims = {"tpm_quote": told, "nonce": attest.extra_data,
              "pcrs": {str(index): value for index, value in sorted(pcrs.items())}}
    if attest.extra_data.isascii():
        claims["nonce_ascii"] = attest.extra_data.decode("ascii")
    return claims
