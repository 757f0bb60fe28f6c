"""What a recipe must offer.

parse: bytes to a typed quote, shape only. inspect: the quote's fields by name, nothing believed. verify: every rule of
the maker's, in order, each noted on the trail; the first that does not hold raises, and only the end makes `Claims`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

from verifier.checks.prepared import Prepared
from verifier.claims import Claims
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Evidence, Tee
from verifier.trail import Trail

Q = TypeVar("Q")


class Context(NamedTuple):
    """What a verification may look at: never the clock, never the network.

    at: the moment of judgement, Unix seconds. prepared: trust established earlier from the same bytes.
    """

    collateral: Collateral
    roots: Roots
    at: int
    trail: Trail
    prepared: Prepared


class Recipe(Protocol[Q]):
    """One TEE."""

    tee: Tee

    def parse(self, evidence: Evidence) -> Q:
        """The signed structure. Raises `EvidenceError`."""

    def inspect(self, quote: Q) -> dict[str, Any]:
        """Fields by their claim names, unverified; byte strings as ``bytes``."""

    def verify(self, quote: Q, context: Context) -> Claims:
        """What the TEE has proved. Raises `EvidenceError`, `CheckFailed` or `CollateralError`."""
