"""Evidence of every TEE that is authentic here, with all that it is judged by: what whole verifications begin with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tests.fuzz import seeds
from tests.fuzz.harness import Finding
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import (
    AmdCollateral,
    Collateral,
    HygonCollateral,
    IntelCollateral,
    NvidiaCollateral,
    TpmCollateral,
)
from verifier.endorsements.roots import Roots
from verifier.errors import VerifierError
from verifier.evidence import Binding, Evidence, Tee
from verifier.results.verdict import Verdict
from verifier.tees.base import Context
from verifier.tees.registry import recipe_for
from verifier.trail import Trail
from verifier.verify import verify

AT = seeds.AT + 10


@dataclass(frozen=True)
class Scene:
    """Evidence that is authentic here, and all that it is judged by."""

    evidence: Evidence
    collateral: Collateral
    roots: Roots
    prepared: Prepared
    at: int = AT

    def judge(self, evidence: Evidence | None = None, collateral: Collateral | None = None) -> Verdict:
        """The verdict; raises `Finding` where the verifier failed, with the reason as its cause."""
        judged, beside = evidence or self.evidence, collateral or self.collateral
        prepared = self.prepared if collateral is None else Prepared(0)
        verdict = verify(judged, collateral=beside, roots=self.roots, at=self.at,
                         binding=Binding.insecure_unbound(), prepared=prepared)
        if verdict.error is not None and verdict.error.id == "verifier.internal":
            self._fail(judged, beside)
        verdict.to_dict()
        return verdict

    def _fail(self, evidence: Evidence, collateral: Collateral) -> None:
        recipe = recipe_for(evidence.tee)
        try:
            quote = recipe.parse(evidence)
            with_quote = recipe.inspect(quote)
            context = Context(collateral, self.roots, self.at, Trail(evidence.tee.value), Prepared(0))
            recipe.verify(quote, context)
        except VerifierError:
            raise Finding("the verifier failed, and does not when asked again") from None
        except Exception as error:
            raise Finding(f"the verifier itself failed: {type(error).__name__}") from error
        raise Finding(f"the verifier failed after the recipe ({sorted(with_quote)[:3]})")


@cache
def scene(tee: Tee) -> Scene:
    """One per TEE, of the software makers."""
    roots = Roots.only_software(_roots(tee))
    if tee is Tee.SAMPLE:
        evidence = Evidence(tee, b'{"svn": "1", "report_data": "AAAA"}')
        return Scene(evidence, Collateral.none(), roots.with_insecure_sample(), Prepared())
    evidence = seeds.evidence(tee)
    if tee is Tee.TDX:
        evidence = _with_log()
    return Scene(evidence, _collateral(tee), roots, Prepared())


def _with_log() -> Evidence:
    """A TD with its event log."""
    from verifier.software_tee.event_log import SoftwareLog

    log = SoftwareLog()
    found: Evidence = seeds.tee().evidence("tdx", bytes(64), guest=log.guest(), event_log=log.to_bytes())
    return found


def _roots(tee: Tee) -> list[bytes]:
    if tee is Tee.SAMPLE:
        return []
    made = seeds.tee()
    if tee in (Tee.TDX, Tee.SGX):
        return [made.intel.chain("root")]
    return [made.amd.chain("ark")] if tee is Tee.SNP else list(made.maker(tee).roots().values())


def _collateral(tee: Tee) -> Collateral:
    made = seeds.tee()
    if tee in (Tee.TDX, Tee.SGX):
        return Collateral(intel=IntelCollateral(**made.intel_collateral(tee)))
    if tee is Tee.AZ_TDX_VTPM:
        return Collateral(intel=IntelCollateral(**made.intel_collateral("tdx")))
    if tee in (Tee.SNP, Tee.AZ_SNP_VTPM):
        return Collateral(amd=AmdCollateral((made.amd.certificate("ask"), made.amd.certificate("ark")),
                                            (made.amd.crl,)))
    if tee is Tee.NVIDIA:
        return Collateral(nvidia=NvidiaCollateral(**made.maker(tee).collateral()))
    if tee is Tee.TPM:
        return Collateral(tpm=TpmCollateral(**made.maker(tee).collateral()))
    if tee is Tee.CSV:
        return Collateral(hygon=HygonCollateral(tuple(made.maker(tee).collateral_files().values())))
    return Collateral.none()
