"""A folder with an AWS Nitro attestation document: one file, by the names that tools give it."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.errors import SetupError
from verifier.evidence import Evidence, Tee
from verifier.formats.cose import CoseSign1
from verifier.formats.nitro_document import WHAT

NAMES = ("attestation_doc.cbor", "attestation_doc.bin", "document.cbor")


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The one document there is. Raises `SetupError` for several and `EvidenceError` for what is none."""
    if len(files) > 1:
        raise SetupError("folder.evidence", "a folder must hold exactly one piece of evidence", expected=[*NAMES],
                         got=sorted(files))
    for data in files.values():
        CoseSign1.from_bytes(data, WHAT)
        return Evidence(Tee.NITRO, data)
    return None
