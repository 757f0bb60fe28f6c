"""Makers, a stand-in that serves them, and verifiers that ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from verifier.collateral.cache import Cache
from verifier.collateral.conductor import Conductor, Gathered
from verifier.collateral.http import Limits
from verifier.collateral.sources import Sources
from verifier.collateral.supply import Policy
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.quote import CertificationType
from verifier.formats.snp_report import SigningKey
from verifier.results.verdict import Verdict
from verifier.software_tee.amd import Chip, SmallAmd
from verifier.software_tee.intel import SmallIntel
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT, TD_REPORT
from verifier.testing.services import Services
from verifier.testing.stand_in import QUICK, StandIn
from verifier.verify import verify

AT = 1_780_000_000
DAY = 86_400
INTEL = SmallIntel.create(b"the small Intel of collateral tests", at=AT)


@dataclass
class World:
    """A site: makers, their services, and a folder; every process and every verifier on it comes from here."""

    service: StandIn
    intel: SmallIntel
    amd: SmallAmd
    folder: Any
    at: int = AT + 10
    services: Services = field(default_factory=Services)

    @property
    def roots(self) -> Roots:
        return Roots.only_software([INTEL.certificate("root"), self.amd.certificate("ark")])

    @property
    def cache(self) -> Cache:
        return Cache(self.folder)

    def sources(self, **changes: Any) -> Sources:
        return self.service.sources(**changes)

    def serve(self, **changes: Any) -> None:
        """Other services than now."""
        self.services = replace(self.services, **changes)
        self.service.serve(self.services)

    def serve_intel(self, **alterations: Any) -> SmallIntel:
        """The same Intel with altered artefacts."""
        altered = self.intel.altered(**alterations)
        self.serve(intel=altered)
        return altered

    def conductor(self, *, policy: Policy | None = None, cache: Cache | None = None, sources: Sources | None = None,
                  **options: Any) -> Conductor:
        return Conductor(self.roots, sources or self.sources(), self.cache if cache is None else cache,
                         policy=policy or Policy(failed=0.0, not_found=0.0), **options)

    def offline(self) -> Conductor:
        return Conductor(self.roots, None, self.cache)

    def tdx(self, maker: SmallIntel | None = None) -> Evidence:
        return Evidence(Tee.TDX, (maker or self.intel).quote(TD_REPORT))

    def sgx(self, kind: CertificationType = CertificationType.PCK_CHAIN) -> Evidence:
        return Evidence(Tee.SGX, self.intel.quote(ENCLAVE_REPORT, certification=kind))

    def snp(self, maker: SmallAmd | None = None, *, version: int = 3, key: SigningKey = SigningKey.VCEK,
            certificates: tuple[bytes, ...] = ()) -> Evidence:
        amd = maker or self.amd
        return Evidence(Tee.SNP, amd.report(amd.body(version=version, signing_key=key)), certificates)

    def judge(self, evidence: Evidence, gathered: Gathered, *, at: int | None = None,
              roots: Roots | None = None) -> Verdict:
        return gathered.settle(verify(evidence, collateral=gathered.collateral, roots=roots or self.roots,
                                      at=self.at if at is None else at, binding=Binding.insecure_unbound()))

    def verdict(self, evidence: Evidence, conductor: Conductor | None = None, *, at: int | None = None) -> Verdict:
        moment = self.at if at is None else at
        return self.judge(evidence, (conductor or self.conductor()).gather(evidence, moment), at=moment)


@pytest.fixture(scope="session")
def small_amd() -> SmallAmd:
    made = SmallAmd.create(at=AT)
    made.collateral()  # keys take their time, and a service that takes it is asked again
    return made


@pytest.fixture(scope="session")
def amd_of(small_amd) -> Callable[[str], SmallAmd]:
    made = {"Milan": small_amd}
    return lambda line: made.setdefault(line, small_amd.on(Chip.of(line)))


@pytest.fixture
def world(small_amd, tmp_path) -> Iterator[World]:
    """One stand-in with one Intel and one AMD."""
    services = Services(intel=INTEL, amd=(small_amd,))
    with StandIn(services) as service:
        yield World(service, INTEL, small_amd, tmp_path / "site", services=services)


@pytest.fixture
def stand_in() -> Iterator[Callable[..., StandIn]]:
    """Further stand-ins."""
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(StandIn(*args, **options))


@pytest.fixture
def hasty() -> Limits:
    """Limits under which a bad service is given up on in a blink."""
    return replace(QUICK, connect=0.5, read=0.3, total=0.8, attempts=1)
