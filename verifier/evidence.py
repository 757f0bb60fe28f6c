"""What arrives from an attester, before anybody believes it.

Rules of the room: nothing here verifies; an `Evidence` is bytes with a claim of what they are. The names in `Tee` are
the ones Confidential Containers put on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from verifier.errors import UnsupportedEvidence


class Tee(StrEnum):
    """A kind of trusted execution environment, by its name in the Confidential Containers protocol.

    Nitro enclaves have no name there; theirs is ours.
    """

    TDX = "tdx"
    SGX = "sgx"
    SNP = "snp"
    AZ_SNP_VTPM = "az-snp-vtpm"
    AZ_TDX_VTPM = "az-tdx-vtpm"
    TPM = "tpm"
    NITRO = "nitro"
    CCA = "cca"
    CSV = "csv"
    NVIDIA = "nvidia"
    SAMPLE = "sample"


_NAMES = frozenset(Tee)

# The largest evidence of one TEE that is read at all; a TDX quote is about 5 KiB, an event log up to 1 MiB.
MAX_EVIDENCE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Evidence:
    """One TEE's evidence: ``quote`` is what the hardware signed; the rest travelled beside it, unsigned.

    quote: the raw signed structure (TDX or SGX quote, SNP attestation report, Nitro document, CCA token). Where several
        structures make the evidence (Azure, TPM, NVIDIA, CSV) it is their JSON text in the form of `formats.<tee>`.
    certificates: endorsement certificates that came with it, DER or PEM, in no particular order (SNP: VCEK/VLEK, ASK).
    event_log: CCEL / TCG2 event log bytes, or None.
    """

    tee: Tee
    quote: bytes
    certificates: tuple[bytes, ...] = ()
    event_log: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """``tee`` may be given by its name. Raises `UnsupportedEvidence` for an unknown one."""
        if self.tee not in _NAMES:
            raise UnsupportedEvidence("evidence.tee", "unknown TEE", expected=sorted(_NAMES), got=str(self.tee)[:32])
        object.__setattr__(self, "tee", Tee(self.tee))


@dataclass(frozen=True, slots=True)
class Binding:
    """What the verifier expects the hardware to have signed on the caller's behalf.

    report_data: the expected value of REPORTDATA / REPORT_DATA, compared at exact length (64 bytes for SGX, TDX and
        SNP); None demands nothing and is only reachable through `insecure_unbound` or by stating it.
    init_data: the expected value of the init-data field (MRCONFIGID 48, HOST_DATA 32, CONFIGID 64 bytes); None demands
        nothing.
    """

    report_data: bytes | None
    init_data: bytes | None = None

    @classmethod
    def insecure_unbound(cls) -> Binding:
        """No freshness: evidence recorded at any time, for anybody's key, passes. For inspection and replay only."""
        return cls(report_data=None)
