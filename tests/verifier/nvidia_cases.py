"""A small NVIDIA with one piece of evidence and all that its verdict depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, NvidiaCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence
from verifier.formats.nvidia_json import DeviceEvidence, evidence_of
from verifier.formats.spdm_report import OpaqueField, OpaqueType, SpdmReport
from verifier.results.verdict import Verdict
from verifier.software_tee.nvidia import KINDS, DeviceImage, SmallNvidia
from verifier.verify import verify

AT = 1_780_000_000
NONCE = bytes(range(32))
__all__ = ["AT", "KINDS", "NONCE", "NvidiaCase", "case_of", "without_opaque"]


@dataclass(frozen=True)
class NvidiaCase:
    """Each method gives a case that differs in one thing; everything that depends on it is signed again.

    body: the report before it is signed, None for the maker's own. devices: evidence instead of the maker's.
    rims, answers: collateral instead of the maker's, by name; roots: trusted instead of the maker's.
    """

    maker: SmallNvidia
    body: SpdmReport | None = None
    arch: str | None = None
    devices: tuple[DeviceEvidence, ...] | None = None
    rims: dict[str, bytes] | None = None
    answers: dict[str, bytes] | None = field(default_factory=dict)
    roots: tuple[bytes, ...] | None = None
    at: int = AT + 10
    binding: Binding = field(default_factory=lambda: Binding(NONCE))
    expectations: Expectations | None = None

    @property
    def other(self) -> SmallNvidia:
        """Another maker of the same names."""
        return _maker(self.maker.image.kind, b"another NVIDIA of tests")

    def altered(self, **alterations: Any) -> NvidiaCase:
        return replace(self, maker=self.maker.altered(**alterations))

    def says(self, **fields: Any) -> NvidiaCase:
        return replace(self, body=replace(self.report_body, **fields))

    def saying(self, change: Callable[[tuple[OpaqueField, ...]], tuple[OpaqueField, ...]]) -> NvidiaCase:
        """Another opaque data."""
        return self.says(opaque=change(self.report_body.opaque))

    def answered(self) -> NvidiaCase:
        """With every OCSP answer of the maker."""
        return replace(self, answers=None)

    @property
    def report_body(self) -> SpdmReport:
        return self.maker.body(NONCE) if self.body is None else self.body

    @property
    def device(self) -> DeviceEvidence:
        return self.maker.device_evidence(self.report_body, self.arch)

    @property
    def evidence(self) -> Evidence:
        return evidence_of(*(self.devices or (self.device,)))

    @property
    def collateral(self) -> NvidiaCollateral:
        rims = self.maker.manifests() if self.rims is None else self.rims
        answers = self.maker.answers() if self.answers is None else self.answers
        return NvidiaCollateral(tuple(rims.values()), tuple(answers.values()))

    @property
    def trusted(self) -> Roots:
        return _roots(tuple(self.maker.roots().values()) if self.roots is None else self.roots)

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        return verify(self.evidence, collateral=Collateral(nvidia=self.collateral), roots=self.trusted, at=self.at,
                      binding=self.binding, expectations=self.expectations, prepared=prepared)


@cache
def _roots(given: tuple[bytes, ...]) -> Roots:
    return Roots.only_software(given)


@cache
def _maker(kind: str, seed: bytes) -> SmallNvidia:
    return SmallNvidia.create(seed, at=AT).on(DeviceImage.of(kind))  # type: ignore[arg-type]


def case_of(kind: str = "hopper") -> NvidiaCase:
    """A case that is accepted: ``hopper``, ``blackwell`` or ``switch``."""
    return NvidiaCase(_maker(kind, b"the small NVIDIA of tests"))


def without_opaque(kind: OpaqueType) -> Callable[[tuple[OpaqueField, ...]], tuple[OpaqueField, ...]]:
    """Opaque data with that piece left out."""
    return lambda pieces: tuple(piece for piece in pieces if piece.type != kind)
