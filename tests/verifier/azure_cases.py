"""Evidence of small Azures on both kinds of hardware, and all that a verdict on it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import AmdCollateral, Collateral, IntelCollateral, TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats import az_snp_json, az_tdx_json
from verifier.formats.az_json import AzureEvidence
from verifier.formats.hcl_report import HclReport
from verifier.results.verdict import Verdict
from verifier.software_tee.amd import SmallAmd
from verifier.software_tee.azure import SmallAzure
from verifier.software_tee.azure_parts import AzureVm
from verifier.software_tee.guest import GuestImage
from verifier.software_tee.intel import SmallIntel
from verifier.verify import verify

AT = 1_780_000_000
UNBOUND = Binding.insecure_unbound()
NONCE = bytes(range(48))
INIT_DATA = bytes(range(100, 132))

AMD = SmallAmd.create(at=AT)
INTEL = SmallIntel.create(b"the small Intel below Azure", at=AT)
CLOUDS = {tee: SmallAzure.create(tee, at=AT, amd=AMD, intel=INTEL) for tee in (Tee.AZ_SNP_VTPM, Tee.AZ_TDX_VTPM)}
# Another VM of the same cloud on the same hardware: only the virtual TPM's keys differ.
OTHERS = {tee: SmallAzure.create(tee, at=AT, amd=AMD, intel=INTEL) for tee in CLOUDS}
ON_TD15 = AzureVm(image=GuestImage(tdx_version=5, rtmr0=bytes(48), rtmr1=bytes(48), rtmr2=bytes(48)))
JSON = {Tee.AZ_SNP_VTPM: az_snp_json, Tee.AZ_TDX_VTPM: az_tdx_json}
KINDS = ("snp", "tdx", "tdx-td15")


@cache
def roots_of(*pems: bytes) -> Roots:
    return Roots.only_software(pems)


@dataclass(frozen=True)
class AzureCase:
    """One piece of evidence; each method gives a case that differs.

    evidence: None has ``maker`` make it. tpm: of the caller's own. roots: None trusts the unaltered hardware's and
    cloud's.
    """

    maker: SmallAzure
    evidence: Evidence | None = None
    collateral: Collateral | None = None
    tpm: TpmCollateral | None = None
    roots: Roots | None = None
    at: int = AT + 10
    binding: Binding = field(default_factory=lambda: Binding(NONCE, INIT_DATA))
    expectations: Expectations | None = None

    @property
    def tee(self) -> Tee:
        return self.maker.tee

    @property
    def other(self) -> SmallAzure:
        """Another VM."""
        return replace(OTHERS[self.tee], vm=self.maker.vm)

    def altered(self, **alterations: Any) -> AzureCase:
        """Artefacts altered, everything that depends on them signed again."""
        return replace(self, maker=self.maker.altered(**alterations))

    def on_amd(self, **alterations: Any) -> AzureCase:
        return replace(self, maker=replace(self.maker, amd=self.maker.amd.altered(**alterations)))

    def on_intel(self, **alterations: Any) -> AzureCase:
        return replace(self, maker=replace(self.maker, intel=self.maker.intel.altered(**alterations)))

    def with_parts(self, **parts: Any) -> AzureCase:
        """Other parts, as they are sent."""
        return replace(self, evidence=JSON[self.tee].evidence_of(replace(self.parts, **parts), self.sent.certificates))

    def with_hcl(self, data: bytes) -> AzureCase:
        """Other bytes for the HCL report."""
        return self.with_parts(hcl_report=data)

    def with_certificates(self, *certificates: bytes) -> AzureCase:
        return replace(self, evidence=replace(self.sent, certificates=certificates))

    @property
    def sent(self) -> Evidence:
        return self.maker.evidence(NONCE, INIT_DATA) if self.evidence is None else self.evidence

    @property
    def parts(self) -> AzureEvidence:
        return JSON[self.tee].parts_of(self.sent)

    @property
    def hcl(self) -> HclReport:
        return HclReport.from_bytes(self.parts.hcl_report)

    @property
    def trusted(self) -> Roots:
        return roots_of(*CLOUDS[self.tee].roots().values()) if self.roots is None else self.roots

    @property
    def supplied(self) -> Collateral:
        if self.collateral is not None:
            return replace(self.collateral, tpm=self.tpm)
        if self.tee is Tee.AZ_SNP_VTPM:
            return Collateral(amd=AmdCollateral((AMD.certificate("ask"), AMD.certificate("ark")), (AMD.crl,)),
                              tpm=self.tpm)
        return Collateral(intel=IntelCollateral(**self.maker.intel.collateral("tdx")), tpm=self.tpm)

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        return verify(self.sent, collateral=self.supplied, roots=self.trusted, at=self.at, binding=self.binding,
                      expectations=self.expectations, prepared=prepared)

    def refusal(self) -> str:
        """The rule that refuses, without the TEE's name; anything but a refusal fails."""
        verdict = self.verdict()
        assert (verdict.authentic, verdict.claims) == (False, None), verdict.error
        assert verdict.error is not None
        return verdict.error.id.removeprefix(f"{self.tee}.")


def azure_case(kind: str = "snp") -> AzureCase:
    """A case that is accepted."""
    if kind == "snp":
        return AzureCase(CLOUDS[Tee.AZ_SNP_VTPM])
    maker = CLOUDS[Tee.AZ_TDX_VTPM]
    return AzureCase(maker if kind == "tdx" else replace(maker, vm=ON_TD15))
