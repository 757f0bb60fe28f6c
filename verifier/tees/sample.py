"""The unsigned "sample" evidence that Confidential Containers guests send where there is no TEE.

It proves nothing at all. It is accepted only where the roots were opened for it by name
(`Roots.with_insecure_sample`), is always marked `software`, and no default policy calls it affirming.
"""

from __future__ import annotations

from typing import Any

from verifier.claims import Claims
from verifier.endorsements.window import ALWAYS
from verifier.errors import UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.strict import base64_bytes, json_object
from verifier.tees.base import Context

MAX_SVN_LENGTH = 16


class SampleRecipe:
    """The recipe for sample evidence: ``quote`` is its JSON text."""

    tee = Tee.SAMPLE

    def parse(self, evidence: Evidence) -> dict[str, Any]:
        """``{"svn": text, "report_data": base64}`` and nothing else. Raises `EvidenceError`."""
        members = json_object(evidence.quote, "sample evidence")
        svn = members.get("svn")
        if set(members) != {"svn", "report_data"} or not isinstance(svn, str) or len(svn) > MAX_SVN_LENGTH:
            raise UnsupportedEvidence("sample.members", "sample evidence has svn and report_data",
                                      expected=["report_data", "svn"], got=sorted(members)[:5])
        return {"svn": svn, "report_data": base64_bytes(members["report_data"], "report_data")}

    def inspect(self, quote: dict[str, Any]) -> dict[str, Any]:
        """Its two members."""
        return dict(quote)

    def verify(self, quote: dict[str, Any], context: Context) -> Claims:
        """Passes exactly when the roots were opened for sample evidence; there is nothing else to check."""
        context.trail.require("insecure", context.roots.insecure_sample, "sample evidence is unsigned",
                              expected="a configuration that lets it through by name")
        # launch_digest and platform_version are constants of the Confidential Containers sample verifier. Nothing
        # vouches for any of it, so nothing expires.
        body = {**quote, "launch_digest": "abcde", "platform_version": {"major": 1, "minor": 4}, "debug": False}
        return Claims(tee=self.tee, body=body, endorsement={}, software=True, report_data=quote["report_data"],
                      init_data=b"", valid_until=ALWAYS.not_after, flags=("UNSIGNED",))
