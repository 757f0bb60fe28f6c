"""Is this evidence true?

    from verifier import Binding, Evidence, Verifier
    verdict = Verifier(collateral=...).verify(Evidence.load("quote.bin"), binding=Binding(report_data))
    if not verdict.accepted: ...

Importing this package loads nothing else; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier.appraisal.expectations import Expectations
    from verifier.endorsements.collateral import Collateral
    from verifier.endorsements.roots import Roots
    from verifier.errors import VerifierError
    from verifier.evidence import Binding, Evidence, Tee
    from verifier.results.verdict import Verdict
    from verifier.verify import Verifier

_HOME = {
    "Binding": "verifier.evidence", "Collateral": "verifier.endorsements.collateral", "Evidence": "verifier.evidence",
    "Expectations": "verifier.appraisal.expectations", "Roots": "verifier.endorsements.roots",
    "Tee": "verifier.evidence", "Verdict": "verifier.results.verdict", "Verifier": "verifier.verify",
    "VerifierError": "verifier.errors",
}
__all__ = ["Binding", "Collateral", "Evidence", "Expectations", "Roots", "Tee", "Verdict", "Verifier", "VerifierError"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
