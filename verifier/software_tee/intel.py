"""A small Intel: a root, the CAs below it, one platform, and everything that DCAP asks for.

    intel = SmallIntel.create(at=1_780_000_000)
    quote = intel.quote(TD_REPORT)
    collateral = IntelCollateral(**intel.collateral("tdx"))

Names, shapes and extensions are Intel's; keys and roots are not. `altered` makes the same maker with one artefact
changed and everything that depends on it signed again:

    intel.altered(tcb_info=lambda info: replace(info, fmspc=bytes(6)))
    intel.altered(pck=lambda certificate: certificate.without(BASIC_CONSTRAINTS))
    intel.altered(root_crl=lambda crl: crl.revoking(intel.serial("platform_ca")))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from verifier.evidence import Tee
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import TEE_TYPE_SGX, TEE_TYPE_TDX, CertificationType, QeCertification
from verifier.formats.td_report import TdReport
from verifier.software_tee import certificates as x509
from verifier.software_tee.certificates import Alteration, Certificate, RevocationList
from verifier.software_tee.intel_documents import QeIdentity, SignedDocument, TcbInfo
from verifier.software_tee.intel_levels import LEVELS, MODULE, MODULE_IDENTITIES, QE_LEVELS
from verifier.software_tee.intel_platform import SGX_EXTENSION, Field, Platform, encode_sgx_extension
from verifier.software_tee.intel_quotes import (
    QE_MR_SIGNER,
    QE_PROD_ID,
    QeReport,
    UnsignedQuote,
    body_type_of,
    header_for,
    qe_report_for,
)
from verifier.software_tee.keys import EcKey, KeyRing, key_identifier

T = TypeVar("T")
CertificateRole = Literal["root", "platform_ca", "processor_ca", "tcb_signing", "pck"]

YEAR = 365 * 24 * 3600

_COMMON_NAMES = {
    "root": "Intel SGX Root CA", "platform_ca": "Intel SGX PCK Platform CA",
    "processor_ca": "Intel SGX PCK Processor CA", "tcb_signing": "Intel SGX TCB Signing",
    "pck": "Intel SGX PCK Certificate",
}
_CRL_URL = "https://software-tee.invalid/{}.crl"


class IntelAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    root: Alteration[Certificate]
    platform_ca: Alteration[Certificate]
    processor_ca: Alteration[Certificate]
    tcb_signing: Alteration[Certificate]
    pck: Alteration[Certificate]
    sgx_extension: Alteration[tuple[Field, ...]]
    tcb_info: Alteration[TcbInfo]
    qe_identity: Alteration[QeIdentity]
    root_crl: Alteration[RevocationList]
    pck_crl: Alteration[RevocationList]
    qe_report: Alteration[QeReport]
    quote: Alteration[UnsignedQuote]


@dataclass(frozen=True)
class SmallIntel:
    """A maker with one platform. ``issued`` and ``valid_for`` (Unix seconds, seconds) date the collateral."""

    keys: KeyRing = field(repr=False)
    issued: int
    valid_for: int = YEAR
    platform: Platform = field(default_factory=Platform)
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int, valid_for: int = YEAR,
               platform: Platform | None = None) -> SmallIntel:
        """A maker whose collateral is issued at ``at``; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at, valid_for, platform or Platform())

    def altered(self, **alterations: Unpack[IntelAlterations]) -> SmallIntel:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=x509.composed(self.alterations, alterations))

    def on(self, platform: Platform) -> SmallIntel:
        """This maker with another platform."""
        return replace(self, platform=platform)

    # -- keys ----------------------------------------------------------------------------------------------------------

    @cached_property
    def attestation_key(self) -> EcKey:
        """The quoting enclave's key that signs quotes."""
        return self.keys.p256("intel/attestation")

    def key(self, role: CertificateRole) -> EcKey:
        """The private key that belongs to a certificate."""
        return self.keys.p256("intel/" + role.replace("_", "-"))

    # -- certificates --------------------------------------------------------------------------------------------------

    @cached_property
    def _certificates(self) -> dict[str, Certificate]:
        usage_ca = x509.key_usage(x509.KEY_CERT_SIGN, x509.CRL_SIGN)
        usage_leaf = x509.key_usage(x509.DIGITAL_SIGNATURE, x509.NON_REPUDIATION)
        leaf = (usage_leaf, x509.basic_constraints(ca=False))
        sub_ca = (usage_ca, x509.basic_constraints(ca=True, path_length=0))
        fields = self._alter("sgx_extension", self.platform.sgx_extension())
        sgx = x509.Extension(SGX_EXTENSION, encode_sgx_extension(fields))
        made = {
            "root": self._certificate("root", "root", (usage_ca, x509.basic_constraints(ca=True, path_length=1))),
            "platform_ca": self._certificate("platform_ca", "root", sub_ca),
            "processor_ca": self._certificate("processor_ca", "root", sub_ca),
            "tcb_signing": self._certificate("tcb_signing", "root", leaf),
            "pck": self._certificate("pck", self._pck_ca, (*leaf, sgx)),
        }
        return {role: self._alter(role, certificate) for role, certificate in made.items()}

    def _certificate(self, role: CertificateRole, issuer: CertificateRole,
                     extensions: tuple[x509.Extension, ...]) -> Certificate:
        key, signer = self.key(role), self.key(issuer)
        identifier = key_identifier(key)
        return Certificate(
            subject=_name(role), issuer=_name(issuer), serial=int.from_bytes(identifier, "big"),
            public_key=key.public_key, signer=signer, extensions=(
                x509.authority_key_identifier(key_identifier(signer)),
                x509.crl_distribution_point(_CRL_URL.format(issuer)),
                x509.subject_key_identifier(identifier), *extensions))

    @property
    def _pck_ca(self) -> Literal["platform_ca", "processor_ca"]:
        return "platform_ca" if self.platform.ca == "platform" else "processor_ca"

    @cached_property
    def _issued(self) -> dict[str, bytes]:
        return {role: certificate.issue() for role, certificate in self._certificates.items()}

    def certificate(self, role: CertificateRole) -> bytes:
        """DER."""
        return self._issued[role]

    def serial(self, role: CertificateRole) -> int:
        """The serial number, as a revocation list would name it."""
        return self._certificates[role].serial

    def chain(self, *roles: CertificateRole) -> bytes:
        """PEM in that order."""
        return x509.pem(*(self.certificate(role) for role in roles))

    @cached_property
    def pck_chain(self) -> bytes:
        """PEM: PCK leaf, its CA, the root."""
        return self.chain("pck", self._pck_ca, "root")

    # -- collateral ----------------------------------------------------------------------------------------------------

    def collateral(self, tee: str = "tdx") -> dict[str, bytes]:
        """The members of `verifier.endorsements.collateral.IntelCollateral` for ``tdx`` or ``sgx`` quotes."""
        tcb_info, qe_identity = self.tcb_info(tee), self.qe_identity(tee)
        signing_chain = self.chain("tcb_signing", "root")
        return {
            "tcb_info": tcb_info.text, "tcb_info_signature": tcb_info.signature,
            "tcb_info_issuer_chain": signing_chain,
            "qe_identity": qe_identity.text, "qe_identity_signature": qe_identity.signature,
            "qe_identity_issuer_chain": signing_chain,
            "root_ca_crl": self.root_crl, "pck_crl": self.pck_crl,
            "pck_crl_issuer_chain": self.chain(self._pck_ca, "root"), "pck_chain": self.pck_chain,
        }

    def tcb_info(self, tee: str = "tdx") -> SignedDocument:
        """TCB info of the platform's family."""
        tdx = Tee(tee) is Tee.TDX
        return self._alter("tcb_info", TcbInfo(
            id="TDX" if tdx else "SGX", issue_date=self.issued, next_update=self.issued + self.valid_for,
            fmspc=self.platform.fmspc, pce_id=self.platform.pce_id, signer=self.key("tcb_signing"),
            levels=LEVELS if tdx else tuple(replace(level, tdx=None) for level in LEVELS),
            module=MODULE if tdx else None, module_identities=MODULE_IDENTITIES if tdx else None)).issue()

    def qe_identity(self, tee: str = "tdx") -> SignedDocument:
        """The identity of that TEE's quoting enclave."""
        tdx = Tee(tee) is Tee.TDX
        return self._alter("qe_identity", QeIdentity(
            id="TD_QE" if tdx else "QE", issue_date=self.issued, next_update=self.issued + self.valid_for,
            mr_signer=QE_MR_SIGNER, isv_prod_id=QE_PROD_ID[TEE_TYPE_TDX if tdx else TEE_TYPE_SGX], levels=QE_LEVELS,
            signer=self.key("tcb_signing"))).issue()

    @cached_property
    def root_crl(self) -> bytes:
        """The root's revocation list, DER."""
        return self._alter("root_crl", self._crl("root")).issue()

    @cached_property
    def pck_crl(self) -> bytes:
        """The revocation list of the CA that issued the PCK certificate, DER."""
        return self._alter("pck_crl", self._crl(self._pck_ca)).issue()

    def _crl(self, issuer: CertificateRole) -> RevocationList:
        signer = self.key(issuer)
        return RevocationList(
            issuer=_name(issuer), this_update=self.issued, next_update=self.issued + self.valid_for, signer=signer,
            extensions=(x509.crl_number(1), x509.authority_key_identifier(key_identifier(signer))))

    # -- quotes --------------------------------------------------------------------------------------------------------

    def quote(self, body: TdReport | EnclaveReport, *, version: int | None = None,
              certification: CertificationType = CertificationType.PCK_CHAIN) -> bytes:
        """A quote over ``body``.

        version: None is 3 for SGX, 4 for TD 1.0, 5 for later TD reports. certification: types 1 to 4 leave the PCK
        chain, or all of it but the leaf, to the collateral.
        """
        body_type = body_type_of(body)
        header = header_for(body_type, version)
        quote = UnsignedQuote(
            header=header, body_type=body_type, body=body,
            certification=self.certification(header.tee_type, certification), signer=self.attestation_key,
            attestation_key=self.attestation_key.public_xy)
        return self._alter("quote", quote).issue()

    def certification(self, tee_type: int, kind: CertificationType = CertificationType.PCK_CHAIN) -> QeCertification:
        """How the quoting enclave of that TEE type vouches for the attestation key; signed once and kept."""
        kept = self._certifications.get((tee_type, kind))
        if kept is None:
            report = qe_report_for(tee_type, self.key("pck")).bound(self.attestation_key.public_xy)
            kept = self._alter("qe_report", report).issue(kind, self._certification_data(kind))
            self._certifications[tee_type, kind] = kept
        return kept

    @cached_property
    def _certifications(self) -> dict[tuple[int, CertificationType], QeCertification]:
        return {}

    def _certification_data(self, kind: CertificationType) -> bytes:
        if kind is CertificationType.PCK_CHAIN:
            return self.pck_chain
        if kind is CertificationType.PCK_LEAF:
            return self.chain("pck")
        # Nobody decrypts the encrypted PPID here: bytes of the right length stand for the ciphertext.
        size = {CertificationType.PPID_RSA2048: 256, CertificationType.PPID_RSA3072: 384}.get(kind)
        ppid = self.platform.ppid if size is None else hashlib.shake_256(self.platform.ppid).digest(size)
        return ppid + self.platform.cpu_svn + self.platform.pce_svn.to_bytes(2, "little") + self.platform.pce_id

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, x509.unchanged)(artefact)
        return altered


def collateral_json(members: Mapping[str, bytes]) -> dict[str, str]:
    """`SmallIntel.collateral` with the string members of a collateral file.

    Documents and chains as text, CRLs and signatures as lower-case hex, ``pck_chain`` as ``pck_certificate_chain``.
    """
    told = {}
    for name, value in members.items():
        as_hex = name.endswith(("_crl", "_signature"))
        told["pck_certificate_chain" if name == "pck_chain" else name] = value.hex() if as_hex else value.decode()
    return told


def _name(role: CertificateRole) -> x509.Name:
    return ((x509.COMMON_NAME, _COMMON_NAMES[role]), (x509.ORGANIZATION, "Intel Corporation"),
            (x509.LOCALITY, "Santa Clara"), (x509.STATE, "CA"), (x509.COUNTRY, "US"))
