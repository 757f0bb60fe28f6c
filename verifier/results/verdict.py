"""The answer to "is this evidence true, and is it what I want?".

Two levels, never mixed: *authentic* (signatures, chains, revocation and TCB matching by the maker's algorithm hold) and
*accepted* (authentic, and within the caller's expectations).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from verifier.claims import Claims
from verifier.endorsements.window import rfc3339
from verifier.errors import CheckFailed, CollateralError, SetupError, VerifierError
from verifier.trail import Check

_BUILT_HERE = object()
_holds = attrgetter("ok")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One judgement of one piece of evidence at one moment.

    authentic: True, False, or None when it could not be decided (collateral missing or unreadable).
    claims: what the TEE proved; None unless authentic.
    unverified: what the evidence says of itself where nothing proved it; empty when authentic.
    status, advisory_ids, flags: the maker's TCB status, its advisories, and properties a policy may object to; of
        evidence that is not authentic they are told only where every signature held.
    valid_until: Unix seconds up to and including which the same answer would be given; None unless authentic.
    checks: every rule applied, in order.
    error: what refused or prevented the decision; None when accepted or when only expectations were missed.
    """

    tee: str
    authentic: bool | None = False
    accepted: bool = False
    claims: Claims | None = None
    unverified: Mapping[str, Any] = field(default_factory=dict)
    status: str | None = None
    advisory_ids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    valid_until: int | None = None
    checks: tuple[Check, ...] = ()
    error: VerifierError | None = None
    _seal: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.accepted and not (self._seal is _BUILT_HERE and self.authentic is True and self.claims is not None
                                  and self.error is None and self.checks and all(map(_holds, self.checks))):
            raise SetupError("verdict.accept", "an accepted verdict is built by verifier.results.accept only")
        if (self.claims is not None) != (self.authentic is True):
            raise SetupError("verdict.claims", "claims exist exactly when the evidence is authentic")

    @property
    def mismatches(self) -> tuple[Check, ...]:
        """Every rule that did not hold."""
        return tuple(check for check in self.checks if not check.ok)

    def require(self) -> Claims:
        """The claims of accepted evidence. Raises what refused it, or `CheckFailed` for the first mismatch."""
        if self.accepted and self.claims is not None:
            return self.claims
        if self.error is not None:
            raise self.error
        first = self.mismatches[0]
        raise CheckFailed(first.id, first.detail or "does not match", expected=first.expected, got=first.got)

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 rejected, 2 could not be decided."""
        if self.accepted:
            return 0
        return 2 if self.authentic is None else 1

    def to_dict(self) -> dict[str, Any]:
        """The document of ``verifier verify --json``: byte strings as lower-case hex, times as RFC 3339."""
        told = self.claims.named() if self.claims else {"unverified": dict(self.unverified)} if self.unverified else {}
        return {
            "authentic": self.authentic,
            "accepted": self.accepted,
            "tee": self.tee,
            "status": self.status,
            "advisory_ids": list(self.advisory_ids),
            "flags": list(self.flags),
            "claims": jsonable(told),
            "valid_until": None if self.valid_until is None else rfc3339(self.valid_until),
            "checks": [jsonable(check._asdict()) for check in self.checks],
            "error": {"id": self.error.id, "detail": self.error.detail} if self.error else None,
        }


def accept(claims: Claims, authenticity: tuple[Check, ...], appraisal: tuple[Check, ...]) -> Verdict:
    """The verdict on authentic evidence: accepted exactly when every appraisal check holds.

    ``claims`` can only come from a recipe that verified; ``authenticity`` is its trail; ``appraisal`` the comparison
    with the caller's expectations, which is never empty because the defaults always apply.
    """
    accepted = bool(appraisal) and all(map(_holds, appraisal))
    # An accepted verdict looks at every check itself.
    if not authenticity or not (accepted or all(map(_holds, authenticity))):
        raise SetupError("verdict.accept", "claims without a complete trail of checks that held")
    return Verdict(
        tee=str(claims.tee), authentic=True, accepted=accepted, claims=claims, status=claims.status,
        advisory_ids=claims.advisory_ids, flags=claims.flags, valid_until=claims.valid_until,
        checks=authenticity + appraisal, _seal=_BUILT_HERE if accepted else None,
    )


def refuse(tee: str, error: VerifierError, checks: tuple[Check, ...] = (), *,
           unverified: Mapping[str, Any] | None = None) -> Verdict:
    """Not authentic: a rule was broken, or the signed structure is not one."""
    return _without_claims(tee, False, error, checks, unverified)


def undecided(tee: str, error: VerifierError, checks: tuple[Check, ...] = (), *,
              unverified: Mapping[str, Any] | None = None) -> Verdict:
    """Nothing can be said: endorsements are missing or unreadable, or the input is not evidence at all."""
    return _without_claims(tee, None, error, checks, unverified)


def of_error(tee: str, error: VerifierError, checks: tuple[Check, ...], unverified: Mapping[str, Any]) -> Verdict:
    """`undecided` for faults of collateral or set-up, `refuse` for everything else."""
    judge = undecided if isinstance(error, CollateralError | SetupError) else refuse
    return judge(tee, error, checks, unverified=unverified)


def _without_claims(tee: str, authentic: bool | None, error: VerifierError, checks: tuple[Check, ...],
                    unverified: Mapping[str, Any] | None) -> Verdict:
    standing = error.standing
    return Verdict(
        tee=tee, authentic=authentic, checks=checks, error=error, unverified=unverified or {},
        status=standing.status if standing else None, advisory_ids=standing.advisory_ids if standing else (),
        flags=standing.flags if standing else (),
    )


def jsonable(value: Any) -> Any:
    """``value`` with byte strings as lower-case hex and tuples as lists, ready for JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
