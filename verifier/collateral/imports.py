"""Judging many objects at once, as a bundle or a cache holds them: lists first, since documents are judged beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from verifier.collateral.floors import measure
from verifier.collateral.item import Item, Kind
from verifier.collateral.judge import Beside, Judged, judge
from verifier.collateral.supply import Supply
from verifier.endorsements.roots import Roots
from verifier.errors import CollateralError, VerifierError

_FIRST = (Kind.ROOT_CRL, Kind.AMD_CA)
_BELOW_INTEL = (Kind.TCB_INFO, Kind.QE_IDENTITY, Kind.PCK_CRL)


@dataclass(frozen=True, slots=True)
class Standing:
    """One object: its judgement, or what is wrong with it."""

    item: Item
    judged: Judged | None
    error: VerifierError | None = None


def judge_all(items: Iterable[Item], roots: Roots, at: int) -> tuple[Standing, ...]:
    """Every object at ``at``, in the order of their names."""
    found = [_standing(item, roots, at, beside) for item, beside in _with_beside(items)]
    return tuple(sorted(found, key=lambda standing: standing.item.name.text))


def import_all(items: Iterable[Item], supply: Supply, at: int) -> tuple[Standing, ...]:
    """Judge every object and take it over, its floor included; older ones than were accepted before are refused."""
    found = []
    for item, beside in _with_beside(items):
        try:
            good = supply.keep(item, at, beside)
            found.append(Standing(good.item, good.judged))
        except CollateralError as error:
            found.append(Standing(item, None, error))
    return tuple(sorted(found, key=lambda standing: standing.item.name.text))


def _standing(item: Item, roots: Roots, at: int, beside: Beside) -> Standing:
    try:
        return Standing(item, judge(item, roots, at, beside))
    except CollateralError as error:
        return Standing(item, None, error)


def _with_beside(items: Iterable[Item]) -> Iterator[tuple[Item, Beside]]:
    """Each with what it is judged beside, taken from among the same objects."""
    ordered = sorted(items, key=lambda item: (item.name.kind not in _FIRST, item.name.text))
    root_crl = next((item.parts["crl"] for item in ordered if item.name.kind is Kind.ROOT_CRL), None)
    above = {item.name.about: item.parts["chain"] for item in ordered if item.name.kind is Kind.AMD_CA}
    for item in ordered:
        if item.name.kind in _BELOW_INTEL:
            yield item, Beside(root_crl=root_crl)
        elif item.name.kind is Kind.VCEK:
            yield item, Beside(ca=above.get((item.name.about[0], "vcek")))
        else:
            yield item, Beside()


def expiring_first(standings: Iterable[Standing]) -> list[Standing]:
    """Those that are good by what ends first; then those that are not."""
    return sorted(standings, key=lambda one: (one.judged is None, one.judged.own.not_after if one.judged else 0,
                                              measure(one.judged) if one.judged else (0, 0), one.item.name.text))
