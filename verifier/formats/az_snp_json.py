"""Evidence of an Azure confidential VM on AMD SEV-SNP, as Confidential Containers put it into JSON.

    1, 2  see `verifier.formats.az_json`; the last member is ``vcek``, base64url of DER
    0     {"quote": {"signature", "message", "pcrs"}, "report": [ints], "vcek": PEM}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from verifier.evidence import Tee
from verifier.formats.az_json import AzureEvidence, Form, exactly, integers, malformed, quote_of_integers
from verifier.formats.hcl_report import MAX_REPORT_BYTES
from verifier.formats.strict import base64_bytes

PLATFORM = "az-snp"
LAST = "vcek"
MAX_PEM_CHARACTERS = 32 * 1024

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*\Z", re.ASCII)


def _version_0(members: Mapping[str, Any]) -> AzureEvidence:
    members = exactly(members, "evidence", ("quote", "report", "vcek"))
    return AzureEvidence(integers(members["report"], "report", MAX_REPORT_BYTES),
                         quote_of_integers(members["quote"]), _der(members["vcek"]))


def _der(value: object) -> bytes:
    """The one certificate in a PEM text."""
    if not isinstance(value, str) or len(value) > MAX_PEM_CHARACTERS:
        raise malformed("vcek", "must be a short PEM text", got=type(value).__name__)
    block = _PEM.match(value)
    if block is None:
        raise malformed("vcek", "must be one certificate in PEM")
    return base64_bytes("".join(block.group(1).split()), "vcek")


_FORM = Form(Tee.AZ_SNP_VTPM, PLATFORM, LAST, _version_0)
evidence_from_json, evidence_to_json = _FORM.evidence_from_json, _FORM.evidence_to_json
evidence_of, parts_of = _FORM.evidence_of, _FORM.parts_of
