"""Evidence of an Azure confidential VM on Intel TDX, as Confidential Containers put it into JSON.

    1, 2  see `verifier.formats.az_json`; the last member is ``td_quote``, base64url
    0     {"tpm_quote": {"signature", "message", "pcrs"}, "hcl_report": [ints], "td_quote": [ints]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.evidence import Tee
from verifier.formats.az_json import AzureEvidence, Form, exactly, integers, quote_of_integers
from verifier.formats.hcl_report import MAX_REPORT_BYTES
from verifier.formats.quote import MAX_QUOTE_BYTES

PLATFORM = "az-tdx"
LAST = "td_quote"


def _version_0(members: Mapping[str, Any]) -> AzureEvidence:
    members = exactly(members, "evidence", ("tpm_quote", "hcl_report", "td_quote"))
    return AzureEvidence(integers(members["hcl_report"], "hcl_report", MAX_REPORT_BYTES),
                         quote_of_integers(members["tpm_quote"]),
                         integers(members["td_quote"], "td_quote", MAX_QUOTE_BYTES))


_FORM = Form(Tee.AZ_TDX_VTPM, PLATFORM, LAST, _version_0)
evidence_from_json, evidence_to_json = _FORM.evidence_from_json, _FORM.evidence_to_json
evidence_of, parts_of = _FORM.evidence_of, _FORM.parts_of
