"""A folder with an Arm CCA token. A platform's key beside it (``cpak.jwk.json``) is collateral, not evidence."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.evidence import Evidence, Tee
from verifier.formats.cca_token import CcaToken

NAMES = ("token.cbor",)


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The token. Raises `EvidenceError` for a file that is none."""
    token = files.get(NAMES[0])
    if token is None:
        return None
    CcaToken.from_bytes(token)
    return Evidence(Tee.CCA, token)
