"""The software TEE as an attester: real cryptography under roots that only a configuration can trust.

Chosen by name, never found. The evidence has the shape of hardware's and goes on the wire under that name; a broker
that was not told to trust the software TEE's roots refuses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from attestation.attesters.base import require_report_data
from attestation.errors import AttesterError, SetupError
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee


class Maker(Protocol):
    """What is needed of `verifier.software_tee.maker.SoftwareTee`."""

    def evidence(self, tee: str, report_data: bytes, *, init_data: bytes | None = None) -> Evidence:
        """Evidence over ``report_data``; ``init_data`` is the whole field, None all zero."""


class SoftwareAttester:
    """A software guest. ``init_data``: the init-data field of ``tee`` (TDX 48, SGX 64, SNP 32 bytes), or None."""

    def __init__(self, maker: Maker, tee: Tee = Tee.TDX, init_data: bytes | None = None) -> None:
        self.tee = tee
        self._maker = maker
        self._init_data = init_data

    @classmethod
    def load(cls, folder: Path, tee: Tee = Tee.TDX, init_data: bytes | None = None) -> SoftwareAttester:
        """The software TEE in ``folder`` (made by ``verifier software-tee init``). Raises `SetupError`."""
        # Imported here: guests on hardware never load the makers in miniature.
        from verifier.software_tee.maker import SoftwareTee

        try:
            return cls(SoftwareTee.load(folder), tee, init_data)
        except VerifierError as error:
            raise SetupError("attester.software.folder", f"{folder} holds no software TEE: {error.detail}") from error

    def evidence(self, report_data: bytes) -> Evidence:
        """See `Attester.evidence`."""
        require_report_data(report_data)
        try:
            return self._maker.evidence(self.tee, report_data, init_data=self._init_data)
        except VerifierError as error:
            raise AttesterError("attester.software", error.detail, expected=error.expected, got=error.got) from error
