"""A small Azure: a paravisor with a virtual TPM on the hardware of a small AMD or a small Intel.

    azure = SmallAzure.create(Tee.AZ_SNP_VTPM, at=1_780_000_000)
    evidence = azure.evidence(report_data, init_data)

The paravisor states its attestation key and the VM's configuration in claims, has the hardware sign their hash, and the
virtual TPM quotes its PCRs with that key. `altered` changes one artefact and makes all that depends on it again:

    azure.altered(claims=lambda claims: claims.with_key(claims.keys[0]))      a second HCLAkPub, hashed and signed
    azure.altered(tpm_quote=lambda quote: quote.selecting(range(8)))
    replace(azure, amd=azure.amd.altered(vcek=...))                            what the hardware's maker does

Keys are RSA of 2048 bits, signing by RSASSA-PKCS1-v1_5 with SHA-256, as Azure's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from verifier.errors import SetupError
from verifier.evidence import Evidence, Tee
from verifier.formats import az_snp_json, az_tdx_json
from verifier.formats.az_json import AzureEvidence, VtpmQuote
from verifier.formats.hcl_report import HARDWARE_REPORT_SIZE, REQUEST_TYPE, ClaimsHash, HclReport, ReportType
from verifier.formats.runtime_claims import ATTESTATION_KEY, ENDORSEMENT_KEY
from verifier.formats.snp_report import SnpReport
from verifier.formats.td_report import TdReport
from verifier.formats.tdreport import TdreportStruct
from verifier.formats.tpm import PCR_COUNT, HashAlg
from verifier.formats.tpm_attest import TpmAttest
from verifier.software_tee import certificates as x509
from verifier.software_tee.amd import SmallAmd
from verifier.software_tee.azure_parts import (
    INIT_DATA_PCR,
    AzureVm,
    Claims,
    Jwk,
    Pkcs1Key,
    UnsignedTpmQuote,
    select,
    tdreport_of,
)
from verifier.software_tee.certificates import Alteration, Certificate
from verifier.software_tee.intel import SmallIntel, collateral_json
from verifier.software_tee.keys import KeyRing, key_identifier

T = TypeVar("T")
CertificateRole = Literal["root", "intermediate", "ak"]

AK_BITS = 2048
NV_SIZE = 2600  # of the NV index that holds the HCL report

_COMMON_NAMES = {"root": "Software Virtual TPM Root Certificate Authority", "intermediate": "Software Virtual TPM CA",
                 "ak": "software.ConfidentialVM.invalid"}
_ISSUERS: dict[CertificateRole, CertificateRole] = {"root": "root", "intermediate": "root", "ak": "intermediate"}
_SERIALS = {"root": 1, "intermediate": 2, "ak": 3}


class AzureAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters.

    hcl: the HCL report when all is signed. snp: the SNP report's body, tdreport: the TDREPORT with its hashes, td: the
    body of the TD quote; each already carries the hash of the claims. evidence: the parts as they are sent.
    """

    claims: Alteration[Claims]
    snp: Alteration[SnpReport]
    tdreport: Alteration[TdreportStruct]
    td: Alteration[TdReport]
    hcl: Alteration[HclReport]
    tpm_quote: Alteration[UnsignedTpmQuote]
    evidence: Alteration[AzureEvidence]
    root: Alteration[Certificate]
    intermediate: Alteration[Certificate]
    ak: Alteration[Certificate]


@dataclass(frozen=True)
class SmallAzure:
    """A cloud with one VM. claims_hash: by which the paravisor hashes its claims; Azure's does by SHA-256."""

    tee: Tee
    keys: KeyRing = field(repr=False)
    issued: int
    amd: SmallAmd = field(repr=False)
    intel: SmallIntel = field(repr=False)
    vm: AzureVm = field(default_factory=AzureVm)
    claims_hash: ClaimsHash = ClaimsHash.SHA256
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, tee: Tee, seed: bytes | None = None, *, at: int, amd: SmallAmd | None = None,
               intel: SmallIntel | None = None) -> SmallAzure:
        """A cloud of one kind of hardware at ``at``; ``seed`` as for `KeyRing`. Raises `SetupError` for another TEE."""
        if tee not in (Tee.AZ_SNP_VTPM, Tee.AZ_TDX_VTPM):
            raise SetupError("software_tee.tee", "not a kind of Azure VM", got=tee.value)
        keys = KeyRing(seed)
        return cls(tee, keys, at, amd or SmallAmd.create(seed, at=at), intel or SmallIntel.create(seed, at=at))

    def altered(self, **alterations: Unpack[AzureAlterations]) -> SmallAzure:
        """This cloud with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=x509.composed(self.alterations, alterations))

    # -- keys and certificates -----------------------------------------------------------------------------------------

    def key(self, label: str) -> Pkcs1Key:
        """The key of that label: ``ak``, ``ek``, ``root``, ``intermediate``; any other for a stranger's."""
        return Pkcs1Key(self.keys.rsa_pss(f"azure/{label}", AK_BITS))

    def certificate(self, role: CertificateRole) -> bytes:
        """DER: of the attestation key, the authority that vouches for it, or the root."""
        issuer = _ISSUERS[role]
        return self._alter(role, Certificate(
            subject=_name(role), issuer=_name(issuer), serial=_SERIALS[role], signer=self.key(issuer),
            public_key=self.key(role).public_key, extensions=self._extensions(role, self.key(issuer)))).issue()

    def _extensions(self, role: CertificateRole, signer: Pkcs1Key) -> tuple[x509.Extension, ...]:
        identifiers = (x509.subject_key_identifier(key_identifier(self.key(role).key)),
                       x509.authority_key_identifier(key_identifier(signer.key)))
        if role == "ak":
            return (x509.key_usage(x509.DIGITAL_SIGNATURE), *identifiers)
        depth = 0 if role == "intermediate" else None
        return (x509.basic_constraints(ca=True, path_length=depth), x509.key_usage(x509.KEY_CERT_SIGN), *identifiers)

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """What travels with the evidence: the attestation key's certificate and its authority's."""
        return self.certificate("ak"), self.certificate("intermediate")

    # -- what it hands out ---------------------------------------------------------------------------------------------

    def evidence(self, report_data: bytes, init_data: bytes = b"") -> Evidence:
        """What an attester in the VM would send. report_data: 0 to 64 bytes, the quote's extra data. init_data: 32
        bytes, the value of PCR 8; empty leaves it as it is."""
        snp = self.tee is Tee.AZ_SNP_VTPM
        report, endorsement = self._on_amd() if snp else self._on_intel()
        parts = self._alter("evidence", AzureEvidence(report, self.tpm_quote(report_data, init_data), endorsement))
        make = az_snp_json.evidence_of if snp else az_tdx_json.evidence_of
        return make(parts, self.certificates)

    def roots(self) -> dict[str, bytes]:
        """File name to PEM: the hardware maker's root and the cloud's."""
        hardware = ({f"amd-{self.amd.chip.line}.pem": self.amd.chain("ark")} if self.tee is Tee.AZ_SNP_VTPM
                    else {"intel.pem": self.intel.chain("root")})
        return hardware | {"azure-vtpm.pem": x509.pem(self.certificate("root"))}

    def collateral_files(self) -> dict[str, bytes]:
        """File name to contents: what the hardware maker publishes."""
        if self.tee is Tee.AZ_SNP_VTPM:
            return {"ask.pem": self.amd.chain("ask"), "ark.pem": self.amd.chain("ark"), "ark.crl": self.amd.crl}
        return {"collateral.json": json.dumps(collateral_json(self.intel.collateral("tdx"))).encode()}

    # -- artefacts -----------------------------------------------------------------------------------------------------

    @cached_property
    def claims(self) -> bytes:
        """The runtime claims."""
        return self._alter("claims", Claims(
            keys=(Jwk(ATTESTATION_KEY, self.key("ak").modulus),
                  Jwk(ENDORSEMENT_KEY, self.key("ek").modulus, operation="encrypt")),
            configuration=self.vm.configuration, user_data=self.vm.user_data)).to_bytes()

    @property
    def _claims_digest(self) -> bytes:
        return self.claims_hash.digest(self.claims).ljust(64, b"\x00")

    def _on_amd(self) -> tuple[bytes, bytes]:
        """HCL report and VCEK."""
        blank = self.amd.body(version=self.vm.image.snp_version)
        body = self._alter("snp", self.vm.image.snp_report(blank, self._claims_digest, bytes(32)))
        return self._hcl(1, ReportType.SNP, self.amd.report(body)), self.amd.certificate("vcek")

    def _on_intel(self) -> tuple[bytes, bytes]:
        """HCL report and TD quote."""
        body = self.vm.image.td_report(self._claims_digest, bytes(48))
        report = self._alter("tdreport", tdreport_of(body, self.intel.platform.cpu_svn)).to_bytes()
        quote = self.intel.quote(self._alter("td", body), version=self.vm.image.tdx_version)
        return self._hcl(2, ReportType.TDX, report.ljust(HARDWARE_REPORT_SIZE, b"\x00")), quote

    def _hcl(self, version: int, kind: ReportType, report: bytes) -> bytes:
        made = HclReport(version, REQUEST_TYPE, 0, report, kind, self.claims_hash, self.claims)
        return self._alter("hcl", replace(made, trailing=max(0, NV_SIZE - len(made.to_bytes())))).to_bytes()

    def tpm_quote(self, report_data: bytes, init_data: bytes = b"") -> VtpmQuote:
        """A quote of all PCRs, bound to ``report_data``."""
        pcrs = list(self.vm.pcrs)
        if init_data:
            pcrs[INIT_DATA_PCR] = init_data
        blank = TpmAttest(
            qualified_signer=HashAlg.SHA256.to_bytes(2, "big") + hashlib.sha256(self.key("ak").public_key).digest(),
            extra_data=report_data, clock=3_600_000, reset_count=1, restart_count=0, safe=True,
            firmware_version=0x2020_0312_0012_0003, attested=b"")
        quote = UnsignedTpmQuote(attest=blank, pcrs=tuple(pcrs), signer=self.key("ak"))
        return self._alter("tpm_quote", quote.selecting(select(range(PCR_COUNT)))).issue()

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, x509.unchanged)(artefact)
        return altered


def _name(role: CertificateRole) -> x509.Name:
    return ((x509.COMMON_NAME, _COMMON_NAMES[role]),)
