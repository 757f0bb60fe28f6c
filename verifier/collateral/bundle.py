"""JSON forms of Intel's collateral.

Bundle: string members as dcap-qvl writes them (``tcb_info`` the exact signed text, signatures and CRLs hexadecimal,
chains PEM). PCS answer: ``{"tcbInfo": {…}, "signature": HEX}`` or ``enclaveIdentity``; the inner object's exact bytes
are kept, because they are what is signed.
"""

from __future__ import annotations

import re
from typing import Any

from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats.strict import hex_bytes, json_object

_TEXTS = ("tcb_info", "tcb_info_issuer_chain", "qe_identity", "qe_identity_issuer_chain", "pck_crl_issuer_chain",
          "pck_certificate_chain")
_HEX = ("tcb_info_signature", "qe_identity_signature", "root_ca_crl", "pck_crl")
_PCS_ANSWER = re.compile(
    rb'\s*\{\s*"(tcbInfo|enclaveIdentity)"\s*:\s*(\{.*\})\s*,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*',
    re.DOTALL)


def from_json(data: bytes) -> Collateral:
    """Either form; empty members of a bundle count as absent. Raises `MalformedCollateral`."""
    answer = _PCS_ANSWER.fullmatch(data)
    if answer is not None:
        return _from_answer(answer)
    try:
        return _from_bundle(json_object(data, "collateral bundle"))
    except MalformedEvidence as error:
        raise MalformedCollateral("collateral.bundle", error.detail) from None


def _from_answer(answer: re.Match[bytes]) -> Collateral:
    """The document's bytes are kept; that they are text at all is seen to here, since they are written as such."""
    name = "tcb_info" if answer.group(1) == b"tcbInfo" else "qe_identity"
    try:
        answer.group(2).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedCollateral("collateral.bundle", f"{name} is not UTF-8") from None
    members = {name: answer.group(2), f"{name}_signature": bytes.fromhex(answer.group(3).decode())}
    return Collateral(intel=IntelCollateral(**members))


def _from_bundle(members: dict[str, Any]) -> Collateral:
    known: dict[str, bytes | None] = {name: _text(members, name) for name in _TEXTS}
    known |= {name: hex_bytes(members[name], name) if members.get(name) else None for name in _HEX}
    if set(members) - set(known) or not any(known.values()):
        raise MalformedCollateral("collateral.bundle", "not a collateral bundle", expected=sorted(known),
                                  got=sorted(members)[:8])
    known["pck_chain"] = known.pop("pck_certificate_chain")
    return Collateral(intel=IntelCollateral(**known))


def _text(members: dict[str, Any], name: str) -> bytes | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedCollateral("collateral.bundle", f"{name} must be text", got=type(value).__name__)
    return value.encode() if value else None
