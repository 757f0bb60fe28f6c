"""What an attester must offer, and what all of them check."""

from __future__ import annotations

import hmac
from typing import Any, Protocol

from attestation.errors import AttesterError
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.coco_evidence import evidence_to_json

REPORT_DATA_BYTES = 64


class Attester(Protocol):
    """The door to one TEE. Safe to use from several threads."""

    @property
    def tee(self) -> Tee:
        """The name under which the evidence goes on the wire."""

    def evidence(self, report_data: bytes) -> Evidence:
        """Fresh evidence that binds ``report_data``, exactly 64 bytes. Raises `AttesterError`."""


def require_report_data(report_data: bytes) -> None:
    """Raises `AttesterError` unless it is as long as the hardware's field: nothing is padded or cut here."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise AttesterError("attester.report_data", "report data has the wrong length",
                            expected=f"{REPORT_DATA_BYTES} bytes", got=f"{len(report_data)} bytes")


def binds(signed: bytes, report_data: bytes) -> bool:
    """Whether the evidence is over the report data that was asked for."""
    return len(signed) == len(report_data) and hmac.compare_digest(signed, report_data)


def to_json(evidence: Evidence) -> dict[str, Any]:
    """``evidence`` as the protocol's ``primary_evidence``. Raises `AttesterError` when the form cannot carry it."""
    try:
        return evidence_to_json(evidence)
    except VerifierError as error:
        raise AttesterError("attester.evidence", f"the evidence cannot be sent: {error.detail}") from error
