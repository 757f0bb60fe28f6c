"""Which TEE's evidence a folder holds, and the evidence.

A module of this room offers ``NAMES``, the file names that it reads (lower case, all optional, ``*`` as in a shell),
and ``assemble(files) -> Evidence | None``: ``files`` maps those of its names that are in the folder to their bytes;
None means "not mine". A file of the right name with the wrong contents raises `EvidenceError`.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from verifier.collateral.files import read_bounded
from verifier.errors import SetupError
from verifier.eventlog.dstack import log_of_answer
from verifier.evidence import MAX_EVIDENCE_BYTES, Evidence, Tee
from verifier.formats import coco_evidence

# The first module that finds its own takes the folder: evidence of several parts before its parts.
MODULES = {
    Tee.AZ_SNP_VTPM: "verifier.loose.az_snp_vtpm", Tee.AZ_TDX_VTPM: "verifier.loose.az_tdx_vtpm",
    Tee.CSV: "verifier.loose.csv", Tee.NVIDIA: "verifier.loose.nvidia", Tee.NITRO: "verifier.loose.nitro",
    Tee.CCA: "verifier.loose.cca", Tee.TPM: "verifier.loose.tpm",
}

# Evidence of one file, raw or JSON.
SINGLE = ("quote.bin", "report.bin", "evidence.bin", "evidence.json", "quote.dat")
MAX_MATCHES = 16  # of one pattern
EVENT_LOGS = ("ccel.bin", "eventlog.bin")
ANSWERS = ("getquote.json", "quote-report.json")


def read(folder: Path, tee: Tee | None = None) -> Evidence:
    """The evidence in ``folder``; ``tee`` None lets the files tell. Raises `VerifierError`."""
    for kind, module in MODULES.items():
        if tee in (None, kind):
            found = _assembled(folder, module)
            if found is not None:
                return found
    single = [folder / name for name in SINGLE if (folder / name).is_file()]
    if not single and any((folder / name).is_file() for name in EVENT_LOGS):
        raise SetupError("folder.event_log", f"{folder} holds an event log alone, which proves nothing: there is no "
                         "signed value to compare it with. verifier show tells what it says")
    if len(single) != 1:
        raise SetupError("folder.evidence", f"{folder} must hold exactly one piece of evidence",
                         expected=list(SINGLE), got=[path.name for path in single])
    evidence = coco_evidence.read(read_bounded(single[0], MAX_EVIDENCE_BYTES), tee)
    if evidence.tee is Tee.TDX and evidence.event_log is None:
        return replace(evidence, event_log=_event_log(folder))
    return evidence


def _event_log(folder: Path) -> bytes | None:
    """The log that lies beside a TD quote, None without one; dstack puts it into its answer."""
    for name in (*EVENT_LOGS, *ANSWERS):
        if (folder / name).is_file():
            data = read_bounded(folder / name, MAX_EVIDENCE_BYTES)
            return log_of_answer(data) if name in ANSWERS else data
    return None


def _assembled(folder: Path, module: str) -> Evidence | None:
    room = import_module(module)
    present = {path.name: read_bounded(path, MAX_EVIDENCE_BYTES) for name in room.NAMES
               for path in sorted(folder.glob(name))[:MAX_MATCHES] if path.is_file()}
    found: Evidence | None = room.assemble(present) if present else None
    return found
