"""What will become of evidence when Intel's next evaluation set is the standard one.

Intel publishes TCB levels early and makes them the standard a while later. The same quote is judged with today's set
and with the next one, by the very rules of `verifier.checks.dcap`, and the difference is told: which platforms would
stop passing, because of which component, and which advisories say so. A forecast accepts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from verifier.checks import dcap
from verifier.checks.dcap import Dcap
from verifier.checks.intel_tcb import TcbOutcome
from verifier.checks.prepared import Prepared
from verifier.collateral.hints import Family, hints_of
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.tcb_status import TcbStatus
from verifier.errors import SetupError, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats import az_tdx_json
from verifier.formats.quote import Quote
from verifier.trail import Trail

# What passes where nothing else is said, as the default expectations have it.
PASSING = frozenset({TcbStatus.UP_TO_DATE.value, TcbStatus.SW_HARDENING_NEEDED.value})
_TEES = (Tee.TDX, Tee.SGX, Tee.AZ_TDX_VTPM)


@dataclass(frozen=True, slots=True)
class Level:
    """One component's level: which, how it stands, since when, and why."""

    component: str
    status: str
    date: str
    advisory_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """Evidence under one set. number: of TCB info, None when nothing came of it. error: why the evidence does not hold
    or was not decided, None otherwise; status is then ``NotSupported`` or None."""

    status: str | None
    number: int | None
    qe_number: int | None
    advisory_ids: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    error: VerifierError | None = None

    @classmethod
    def of(cls, result: Dcap) -> Self:
        """Of evidence that holds."""
        platform = result.platform
        current = () if platform.current is None else _levels(platform.current, " (current)")
        return cls(platform.status.value, platform.documents.tcb_info.evaluation_number,
                   platform.documents.qe_identity.evaluation_number, platform.outcome.advisory_ids,
                   (*_levels(platform.outcome, ""), *current))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"status": self.status, "evaluation_number": self.number, "qe_evaluation_number": self.qe_number,
                "advisory_ids": list(self.advisory_ids),
                "levels": [{"component": level.component, "status": level.status, "date": level.date,
                            "advisory_ids": list(level.advisory_ids)} for level in self.levels],
                "error": None if self.error is None else {"id": self.error.id, "detail": self.error.detail}}


@dataclass(frozen=True, slots=True)
class Forecast:
    """One piece of evidence under both sets. ``fmspc``: 6 bytes, None where the quote does not tell."""

    tee: str
    fmspc: bytes | None
    now: Outlook
    next: Outlook
    passing: frozenset[str] = PASSING

    @property
    def passes_now(self) -> bool:
        """Whether its status is one that passes."""
        return self.now.status in self.passing

    @property
    def passes_next(self) -> bool:
        """Whether it still will."""
        return self.next.status in self.passing

    @property
    def stops_passing(self) -> bool:
        """What somebody has to do something about."""
        return self.passes_now and not self.passes_next

    @property
    def decided(self) -> bool:
        """Whether both sets gave a status; a platform that reaches no level any more has one, too."""
        return self.now.status is not None and self.next.status is not None

    @property
    def new_advisories(self) -> tuple[str, ...]:
        """Those that only the next set names."""
        return tuple(a for a in self.next.advisory_ids if a not in self.now.advisory_ids)

    @property
    def worsened(self) -> tuple[tuple[Level, Level], ...]:
        """Components whose level differs, now and next."""
        before = {level.component: level for level in self.now.levels}
        return tuple((before[level.component], level) for level in self.next.levels
                     if level.component in before and level.status != before[level.component].status)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"tee": self.tee, "fmspc": None if self.fmspc is None else self.fmspc.hex(),
                "passes_now": self.passes_now, "passes_next": self.passes_next, "stops_passing": self.stops_passing,
                "new_advisory_ids": list(self.new_advisories), "now": self.now.to_dict(), "next": self.next.to_dict()}


def forecast(evidence: Evidence, now: Collateral, next: Collateral, roots: Roots, at: int, *,
             next_at: int | None = None, passing: Iterable[str] = PASSING) -> Forecast:
    """``evidence`` with today's collateral and with the next, at ``at`` (Unix seconds).

    next_at: another moment for the next set, for sets whose dates do not meet; None is the same. passing: statuses that
    pass. Raises `SetupError` for evidence that Intel publishes no levels for, `EvidenceError` for what is none.
    """
    quote = _quote(evidence)
    hints = hints_of(evidence).intel
    family = hints.family if hints is not None else None
    if family is None and now.pck_chain is not None:
        family = Family.of_chain(now.pck_chain)
    return Forecast(evidence.tee.value, None if family is None else family.fmspc, _outlook(quote, now, roots, at),
                    _outlook(quote, next, roots, at if next_at is None else next_at), frozenset(passing))


def _quote(evidence: Evidence) -> Quote:
    if evidence.tee not in _TEES:
        raise SetupError("forecast.tee", "only Intel publishes evaluation sets ahead of time", expected=[*_TEES],
                         got=evidence.tee.value)
    if evidence.tee is not Tee.AZ_TDX_VTPM:
        return Quote.from_bytes(evidence.quote)
    inner = az_tdx_json.parts_of(evidence).endorsement
    if inner is None:
        raise SetupError("forecast.quote", "this evidence holds no TD quote")
    return Quote.from_bytes(inner)


def _outlook(quote: Quote, collateral: Collateral, roots: Roots, at: int) -> Outlook:
    try:
        return Outlook.of(dcap.verify_dcap(Trail(quote.tee.value), quote, collateral, roots, at, Prepared(0)))
    except VerifierError as error:
        standing = error.standing
        return Outlook(standing.status if standing else None, None, None, standing.advisory_ids if standing else (),
                       error=error)


def _levels(outcome: TcbOutcome, suffix: str) -> tuple[Level, ...]:
    named: Mapping[str, Any] = {"platform": outcome.platform, "tdx_module": outcome.module, "qe": outcome.qe}
    return tuple(Level(name + suffix, level.status.value, level.date, level.advisory_ids)
                 for name, level in named.items() if level is not None)
