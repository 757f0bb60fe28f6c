"""Read this first: how evidence becomes a verdict.

    1  the recipe for the TEE is looked up             registry
    2  the signed structure is parsed                  tees.X.parse      shape only
    3  the maker's rules are applied in order          tees.X.verify     signatures, chains, revocation, TCB → Claims
    4  what the guest bound is compared                checks.binding    report data, init data
    5  the caller's expectations are compared          appraisal.compare every mismatch listed
    6  the verdict is built                            results.accept    refused unless everything above holds

`verify` does no I/O and reads no clock: the same evidence, collateral, roots and moment give the same verdict for ever.
Whatever goes wrong inside, the answer is a refusal or "cannot be decided", never an acceptance.
"""

from __future__ import annotations

import time
from typing import Any

from verifier.appraisal.compare import appraise
from verifier.appraisal.expectations import DEFAULT_EXPECTATIONS, Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, SetupError, VerifierError
from verifier.evidence import MAX_EVIDENCE_BYTES, Binding, Evidence
from verifier.results.verdict import Verdict, accept, of_error
from verifier.tees.base import Context, Recipe
from verifier.tees.registry import recipe_for
from verifier.trail import Trail


def verify(evidence: Evidence, *, collateral: Collateral, roots: Roots, at: int, binding: Binding,
           expectations: Expectations | None = None, prepared: Prepared | None = None) -> Verdict:
    """The verdict on ``evidence`` at ``at`` (Unix seconds).

    expectations: None means the defaults, which refuse debug, migration and any TCB status but UpToDate and
    SWHardeningNeeded. prepared: trust kept from earlier calls; None keeps nothing. Never raises for what evidence or
    collateral contain.
    """
    trail = Trail(str(evidence.tee))
    unverified: dict[str, Any] = {}
    try:
        recipe = recipe_for(evidence.tee)
        _bound(evidence)
        quote = recipe.parse(evidence)
        context = Context(collateral, roots, at, trail, Prepared(0) if prepared is None else prepared)
        try:
            claims = recipe.verify(quote, context)
        except VerifierError:
            unverified = recipe.inspect(quote)
            raise
        appraisal = appraise(claims, binding, expectations or DEFAULT_EXPECTATIONS)
        return accept(claims, trail.checks, appraisal)
    except VerifierError as error:
        return of_error(trail.prefix, error, trail.checks, unverified)
    except Exception as error:  # noqa: BLE001 - a fault of ours must refuse, whatever it is
        fault = SetupError("verifier.internal", f"the verifier itself failed ({type(error).__name__})")
        return of_error(trail.prefix, fault, trail.checks, unverified)


def _bound(evidence: Evidence) -> None:
    size = len(evidence.quote) + sum(map(len, evidence.certificates)) + len(evidence.event_log or b"")
    if size > MAX_EVIDENCE_BYTES:
        raise CheckFailed(f"{evidence.tee.value}.size", "the evidence is too large",
                          expected=f"<= {MAX_EVIDENCE_BYTES} bytes", got=f"{size} bytes")


class Verifier:
    """A verifier with its roots and expectations, which keeps the trust it has established.

    Safe to share between threads. ``roots`` defaults to the makers' as shipped; ``expectations`` to the defaults.
    """

    def __init__(self, roots: Roots | None = None, expectations: Expectations | None = None, *,
                 collateral: Collateral | None = None, prepared: Prepared | None = None) -> None:
        self.roots = roots or Roots.makers()
        self.expectations = expectations or DEFAULT_EXPECTATIONS
        self._collateral = collateral or Collateral.none()
        self._prepared = Prepared() if prepared is None else prepared

    def verify(self, evidence: Evidence, *, binding: Binding, collateral: Collateral | None = None,
               at: int | None = None) -> Verdict:
        """The verdict on ``evidence``; see `verify`. ``at`` None is now, read once; ``collateral`` None is the
        verifier's own."""
        moment = int(time.time()) if at is None else at
        return verify(evidence, collateral=self._collateral if collateral is None else collateral, roots=self.roots,
                      at=moment, binding=binding, expectations=self.expectations, prepared=self._prepared)


def inspect(evidence: Evidence) -> dict[str, Any]:
    """The fields of ``evidence`` by name, nothing believed. Raises `EvidenceError`."""
    _bound(evidence)
    recipe: Recipe[Any] = recipe_for(evidence.tee)
    return recipe.inspect(recipe.parse(evidence))
