"""SEV-SNP: an attestation report over configfs-tsm, with the certificates the host supplies."""

from __future__ import annotations

from attestation.attesters.configfs_tsm import SEV_GUEST, ConfigfsTsm
from attestation.errors import AttesterError
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.snp_cert_table import CertTable
from verifier.formats.snp_report import SnpReport


class SnpAttester:
    """Reports of this guest. ``privlevel``: the VMPL to report from, None is the lowest number this guest may use."""

    tee = Tee.SNP

    def __init__(self, tsm: ConfigfsTsm | None = None, *, privlevel: int | None = None) -> None:
        self._tsm = tsm or ConfigfsTsm()
        self._privlevel = privlevel

    def evidence(self, report_data: bytes) -> Evidence:
        """See `Attester.evidence`."""
        report = self._tsm.report(SEV_GUEST, report_data, _report_data_of, privlevel=self._privlevel)
        return Evidence(Tee.SNP, report.outblob, _certificates(report.auxblob))


def _certificates(auxblob: bytes) -> tuple[bytes, ...]:
    """None when the host supplies no table; a table that is no table stops the attester."""
    try:
        return CertTable.from_bytes(auxblob).certificates if auxblob else ()
    except VerifierError as error:
        raise AttesterError("attester.snp.certificates", f"the host's certificate table: {error.detail}") from error


def _report_data_of(outblob: bytes) -> bytes:
    try:
        return SnpReport.from_bytes(outblob).report_data
    except VerifierError as error:
        raise AttesterError("attester.snp.report", f"the kernel gave no report: {error.detail}") from error
