"""NVIDIA evidence in a folder: a report with its chain, or the answer of an attestation service.

``report.bin`` and ``cert_chain.pem`` are also what SEV-SNP's folders hold: the report tells by its first bytes, which
are those of an SPDM request for measurements.
"""

from __future__ import annotations

from collections.abc import Mapping

from verifier.evidence import Evidence, Tee
from verifier.formats.nvidia_json import DeviceEvidence, evidence_of
from verifier.formats.spdm_report import GET_MEASUREMENTS, VERSION

REPORT, CHAIN = "report.bin", "cert_chain.pem"
SERVICE_ANSWERS = ("hopperClaimsv3_detached_eat.json", "detached_eat.json", "gpu_attestation_h100.json")
NAMES = (REPORT, CHAIN, *SERVICE_ANSWERS)

_MAGIC = bytes((VERSION, GET_MEASUREMENTS))


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The evidence in ``files``; None when there is none of NVIDIA's."""
    report = files.get(REPORT)
    if report is not None and report.startswith(_MAGIC):
        return evidence_of(DeviceEvidence(report, files.get(CHAIN, b"")))
    if report is None:
        return next((Evidence(Tee.NVIDIA, files[name]) for name in SERVICE_ANSWERS if name in files), None)
    return None
