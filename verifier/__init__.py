"""Is this evidence true?

    from verifier import Binding, Evidence, Verifier, load_collateral
    verifier = Verifier(collateral=load_collateral(["collateral.json"]))
    verdict = verifier.verify(Evidence("tdx", quote), binding=Binding(report_data))
    claims = verdict.require()        # raises, naming the rule, unless the evidence is accepted

Importing this package loads nothing else; each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verifier.appraisal.expectations import Expectations
    from verifier.collateral.files import load as load_collateral
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
    "VerifierError": "verifier.errors", "load_collateral": "verifier.collateral.files:load",
}
__all__ = ["Binding", "Collateral", "Evidence", "Expectations", "Roots", "Tee", "Verdict", "Verifier", "VerifierError",
           "load_collateral"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, member = _HOME[name].partition(":")
    return getattr(import_module(module), member or name)
