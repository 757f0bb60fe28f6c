"""A small AMD and a small Intel for every folder's tests, and what the verifier says of their evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest

from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.claims import Claims
from verifier.endorsements.collateral import AmdCollateral, Collateral, IntelCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import VerifierError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import CertificationType
from verifier.formats.snp_report import SigningKey, SnpReport
from verifier.formats.td_report import TdReport
from verifier.results.verdict import Verdict
from verifier.software_tee.amd import Chip, SmallAmd
from verifier.software_tee.intel import SmallIntel
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT, TD_REPORT, TD_REPORT_15, TD_REPORT_15_EXTENDED
from verifier.tees.base import Context
from verifier.tees.snp import SnpRecipe
from verifier.trail import Trail
from verifier.verify import verify

AT = 1_780_000_000


@dataclass
class SnpCase:
    """One piece of SNP evidence under one maker; every member can be replaced before `verify`.

    report: raw bytes; None has ``maker`` sign ``body``. certificates: what comes with the evidence. amd: None takes the
    maker's own certificates and list.
    """

    maker: SmallAmd
    body: SnpReport
    report: bytes | None = None
    certificates: tuple[bytes, ...] = ()
    amd: AmdCollateral | None = None
    roots: Roots | None = None
    at: int = AT + 10
    prepared: Prepared = field(default_factory=lambda: Prepared(0))
    trail: Trail = field(default_factory=lambda: Trail("snp"))

    def verify(self) -> Claims:
        """What the recipe proves; its errors pass through."""
        leaf = "vlek" if self.body.signing_key == SigningKey.VLEK else "vcek"
        amd = AmdCollateral(**self.maker.collateral(leaf)) if self.amd is None else self.amd
        roots = Roots.only_software([self.maker.certificate("ark")]) if self.roots is None else self.roots
        evidence = Evidence(Tee.SNP, self.maker.report(self.body) if self.report is None else self.report,
                            self.certificates)
        recipe = SnpRecipe()
        self.trail = Trail("snp")
        context = Context(Collateral(amd=amd), roots, self.at, self.trail, self.prepared)
        return recipe.verify(recipe.parse(evidence), context)

    def refusal(self) -> VerifierError:
        """The error that refuses or cannot decide."""
        with pytest.raises(VerifierError) as caught:
            self.verify()
        return caught.value


@pytest.fixture(scope="session")
def snp_at() -> int:
    """When the small AMD made its leaves and its revocation list."""
    return AT


@pytest.fixture(scope="session")
def snp_maker() -> SmallAmd:
    """Of Milan."""
    return SmallAmd.create(at=AT)


@pytest.fixture(scope="session")
def snp_maker_of(snp_maker):
    """``snp_maker_of("Turin")``: one maker per line for the whole session, since CA signatures take time."""
    return cache(lambda line: snp_maker if line == "Milan" else snp_maker.on(Chip.of(line)))


@pytest.fixture
def snp_case(snp_maker_of):
    """``snp_case(version=5, line="Turin", signing_key=SigningKey.VLEK, maker=altered, policy=0)``."""
    def make(version: int = 3, line: str = "Milan", signing_key: SigningKey = SigningKey.VCEK,
             maker: SmallAmd | None = None, **changes: object) -> SnpCase:
        chosen = snp_maker_of(line) if maker is None else maker
        body = chosen.body(version=version, signing_key=signing_key)
        fields = {name: getattr(body, name) for name in SnpReport.__slots__} | changes
        return SnpCase(chosen, SnpReport(**fields))
    return make


@dataclass(frozen=True)
class IntelCase:
    """One quote under one small Intel and all that its verdict depends on; each method gives a case that differs.

    collateral: members instead of the maker's own; None leaves one out. roots: trusted beside the unaltered maker's.
    quote: raw bytes; None has ``maker`` sign ``body``.
    """

    maker: SmallIntel
    body: TdReport | EnclaveReport
    version: int | None = None
    certification: CertificationType = CertificationType.PCK_CHAIN
    collateral: Mapping[str, bytes | None] = field(default_factory=dict)
    roots: tuple[bytes, ...] = ()
    quote: bytes | None = None
    at: int = AT + 10
    binding: Binding = field(default_factory=Binding.insecure_unbound)
    expectations: Expectations | None = None

    @property
    def tee(self) -> Tee:
        return Tee.SGX if isinstance(self.body, EnclaveReport) else Tee.TDX

    @property
    def other(self) -> SmallIntel:
        """Another maker with other keys, of the same names."""
        return INTELS[1]

    def altered(self, **alterations: Any) -> IntelCase:
        """Artefacts altered, everything that depends on them signed again."""
        return replace(self, maker=self.maker.altered(**alterations))

    def on(self, **platform: Any) -> IntelCase:
        """Another platform."""
        return replace(self, maker=self.maker.on(replace(self.maker.platform, **platform)))

    def says(self, **fields: Any) -> IntelCase:
        """Another report body."""
        return replace(self, body=replace(self.body, **fields))

    def given(self, **collateral: bytes | None) -> IntelCase:
        """Other members of the collateral."""
        return replace(self, collateral={**self.collateral, **collateral})

    def trusting(self, *roots: bytes) -> IntelCase:
        """More configured roots."""
        return replace(self, roots=(*self.roots, *roots))

    @property
    def raw(self) -> bytes:
        """The quote."""
        if self.quote is not None:
            return self.quote
        return self.maker.quote(self.body, version=self.version, certification=self.certification)

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.tee, self.raw)

    @property
    def intel_collateral(self) -> IntelCollateral:
        own = _collateral_of_the_first(self.tee) if self.maker is INTELS[0] else self.maker.collateral(self.tee)
        return IntelCollateral(**{**own, **self.collateral})

    @property
    def trusted(self) -> Roots:
        return _roots_beside_the_first(self.roots)

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        return verify(self.evidence, collateral=Collateral(intel=self.intel_collateral), roots=self.trusted, at=self.at,
                      binding=self.binding, expectations=self.expectations, prepared=prepared)


INTELS = tuple(SmallIntel.create(seed, at=AT) for seed in (b"the small Intel of tests", b"another of the same name"))


@cache
def _collateral_of_the_first(tee: Tee) -> dict[str, bytes]:
    return INTELS[0].collateral(tee)


@cache
def _roots_beside_the_first(roots: tuple[bytes, ...]) -> Roots:
    return Roots.only_software([INTELS[0].certificate("root"), *roots])


INTEL_KINDS: dict[str, tuple[TdReport | EnclaveReport, int | None]] = {
    "tdx-v4": (TD_REPORT, None), "tdx-v5-td10": (TD_REPORT, 5), "tdx-v5-td15": (TD_REPORT_15, None),
    "tdx-v5-td15ex": (TD_REPORT_15_EXTENDED, None), "sgx-v3": (ENCLAVE_REPORT, None), "sgx-v4": (ENCLAVE_REPORT, 4),
    "sgx-v5": (ENCLAVE_REPORT, 5),
}


@pytest.fixture(scope="session")
def intel_at() -> int:
    """When the small Intel issued its collateral, which is good for a year."""
    return AT


@pytest.fixture(scope="session")
def intel_case():
    """``intel_case("tdx-v5-td15")``: a case that is accepted; see `INTEL_KINDS` for the kinds."""
    def make(kind: str = "tdx-v4") -> IntelCase:
        body, version = INTEL_KINDS[kind]
        return IntelCase(INTELS[0], body, version)
    return make
