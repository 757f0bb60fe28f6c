"""TDX: a quote over configfs-tsm, and the firmware's event log beside it."""

from __future__ import annotations

import errno
from pathlib import Path

from attestation.attesters.configfs_tsm import TDX_GUEST, ConfigfsTsm
from attestation.attesters.kernel_files import KernelFiles, OsFiles
from attestation.errors import AttesterError
from verifier.errors import VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import Quote
from verifier.formats.td_report import TdReport

CCEL = Path("/sys/firmware/acpi/tables/data/CCEL")
MAX_EVENT_LOG_BYTES = 1024 * 1024


class TdxAttester:
    """Quotes of this TD. ``event_log``: where the firmware's log is; a machine may have none."""

    tee = Tee.TDX

    def __init__(self, tsm: ConfigfsTsm | None = None, *, event_log: Path = CCEL,
                 files: KernelFiles | None = None) -> None:
        self._tsm = tsm or ConfigfsTsm()
        self._event_log = event_log
        self._files = files or OsFiles()

    def evidence(self, report_data: bytes) -> Evidence:
        """See `Attester.evidence`."""
        report = self._tsm.report(TDX_GUEST, report_data, _report_data_of)
        return Evidence(Tee.TDX, report.outblob, event_log=self._read_event_log())

    def _read_event_log(self) -> bytes | None:
        try:
            return self._files.read(self._event_log, MAX_EVENT_LOG_BYTES)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise AttesterError("attester.tdx.event_log", "the event log could not be read",
                                got=errno.errorcode.get(error.errno or 0)) from None


def _report_data_of(outblob: bytes) -> bytes:
    try:
        body = Quote.from_bytes(outblob).body
    except VerifierError as error:
        raise AttesterError("attester.tdx.quote", f"the kernel gave no quote: {error.detail}") from error
    if not isinstance(body, TdReport):
        raise AttesterError("attester.tdx.quote", "the kernel gave a quote of another TEE", expected="tdx", got="sgx")
    return body.report_data
