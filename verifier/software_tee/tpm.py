"""A small TPM: an endorsement key, an attestation key (AK) below it, and the CA of whoever makes such TPMs.

    tpm = SmallTpm.create(at=1_780_000_000)
    evidence = tpm.evidence(nonce, b"")
    roots = Roots.only_software(tpm.roots().values())

Root, intermediate, AK certificate and revocation lists have Google's shape; keys and names are its own. `altered` works
as in `verifier.software_tee.intel`, on certificates, lists, the AK's public area and everything that it signs:

    tpm.altered(quote=lambda quote: replace(quote, attest=replace(quote.attest, magic=0)))
    tpm.altered(ak_certificate=lambda certificate: certificate.without(KEY_USAGE))
    tpm.altered(told=lambda told: replace(told, ak_public_area=None))

Init data is what PCR 8 of the SHA-256 bank holds: empty for a register that nothing was extended into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from verifier.evidence import Evidence
from verifier.formats import gce_instance
from verifier.formats.gce_instance import GceInstance
from verifier.formats.tpm import PCR_COUNT, HashAlg, PcrSelection
from verifier.formats.tpm_attest import AttestType, CertifyInfo, CreationInfo, QuoteInfo, TpmAttest
from verifier.formats.tpm_creation import HIERARCHIES, CreationData, qualified_name
from verifier.formats.tpm_evidence import SignedKey, TpmEvidence, TpmQuote
from verifier.formats.tpm_json import evidence_of
from verifier.formats.tpm_public import TpmPublic
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Alteration, Certificate, Extension, RevocationList
from verifier.software_tee.keys import EcKey, KeyRing, key_identifier
from verifier.software_tee.tpm_guest import TpmGuest
from verifier.software_tee.tpm_keys import EK_ATTRIBUTES, KEY_ATTRIBUTES, Algorithm, TpmKey

T = TypeVar("T")
CaRole = Literal["root", "intermediate"]
CertificateRole = Literal["root", "intermediate", "ak_certificate"]
CrlRole = Literal["root_crl", "intermediate_crl"]

YEAR = 365 * 24 * 3600
EXTENDED_KEY_USAGE, SUBJECT_ALTERNATIVE_NAME = "2.5.29.37", "2.5.29.17"
AK_PURPOSE = "2.23.133.8.3"

_SERIALS: dict[CertificateRole, int] = {"root": 1, "intermediate": 2, "ak_certificate": 3}
_ISSUERS: dict[CertificateRole, CaRole] = {"root": "root", "intermediate": "root", "ak_certificate": "intermediate"}
_LISTS: dict[CrlRole, CaRole] = {"root_crl": "root", "intermediate_crl": "intermediate"}
_NAMES: dict[CertificateRole, str] = {"root": "Software TPM CA", "intermediate": "Software TPM Intermediate CA",
                                      "ak_certificate": "attestation key"}
_QUOTED: Mapping[str, Iterable[int]] = {"sha256": range(PCR_COUNT)}


class TpmAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    root: Alteration[Certificate]
    intermediate: Alteration[Certificate]
    ak_certificate: Alteration[Certificate]
    root_crl: Alteration[RevocationList]
    intermediate_crl: Alteration[RevocationList]
    ak_public: Alteration[TpmPublic]
    quote: Alteration[Attestation]
    creation: Alteration[Attestation]
    creation_data: Alteration[CreationData]
    certification: Alteration[Attestation]
    told: Alteration[TpmEvidence]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """A TPMS_ATTEST to be signed; ``mutate`` sees the bytes that are signed."""

    attest: TpmAttest
    signer: TpmKey
    mutate: Alteration[bytes] = x509.unchanged

    def issue(self) -> tuple[bytes, bytes]:
        """Message and TPMT_SIGNATURE."""
        message = self.mutate(self.attest.to_bytes())
        return message, self.signer.sign(message).to_bytes()


@dataclass(frozen=True)
class SmallTpm:
    """A maker with one TPM. ``issued``: when the AK certificate and the revocation lists were made.

    algorithm: of the AK. primary: the AK is a primary key of the endorsement hierarchy instead of the EK's child.
    other_ak: an AK that is not the key ring's.
    """

    keys: KeyRing = field(repr=False)
    issued: int
    valid_for: int = YEAR
    algorithm: Algorithm = "p256"
    primary: bool = False
    other_ak: TpmKey | None = field(default=None, repr=False)
    guest: TpmGuest = field(default_factory=TpmGuest.booted)
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int, valid_for: int = YEAR,
               algorithm: Algorithm = "p256") -> SmallTpm:
        """A maker at ``at``; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at, valid_for, algorithm)

    def altered(self, **alterations: Unpack[TpmAlterations]) -> SmallTpm:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=x509.composed(self.alterations, alterations))

    # -- keys and names ------------------------------------------------------------------------------------------------

    @cached_property
    def ak(self) -> TpmKey:
        """The attestation key."""
        return self.other_ak or TpmKey.of(self.keys, "tpm/ak", self.algorithm)

    def ca_key(self, role: CaRole) -> EcKey:
        """The private key of a CA."""
        return self.keys.p256(f"tpm/{role}")

    @cached_property
    def ak_public(self) -> TpmPublic:
        """The AK's public area."""
        return self._alter("ak_public", self.ak.public_area())

    @cached_property
    def parent(self) -> bytes:
        """The qualified name of the AK's parent: the EK's, or the endorsement hierarchy's handle."""
        hierarchy = HIERARCHIES["endorsement"].to_bytes(4, "big")
        ek = TpmKey.of(self.keys, "tpm/ek").public_area(EK_ATTRIBUTES)
        return hierarchy if self.primary else qualified_name(ek.name, hierarchy)

    @property
    def qualified_signer(self) -> bytes:
        """The AK's qualified name, as the TPM writes it into everything that the AK signs."""
        return qualified_name(self.ak_public.name, self.parent)

    # -- certificates --------------------------------------------------------------------------------------------------

    def certificate(self, role: CertificateRole) -> bytes:
        """DER."""
        kept = self._issued.get(role)
        if kept is None:
            kept = self._issued[role] = self._certificate(role).issue()
        return kept

    def serial(self, role: CertificateRole) -> int:
        """The serial number, as a revocation list would name it."""
        return self._certificate(role).serial

    def crl(self, role: CrlRole) -> bytes:
        """The revocation list of a CA, DER."""
        issuer = _LISTS[role]
        signer = self.ca_key(issuer)
        return self._alter(role, RevocationList(
            issuer=self.name(issuer), this_update=self.issued, next_update=self.issued + self.valid_for, signer=signer,
            extensions=(x509.authority_key_identifier(key_identifier(signer)), x509.crl_number(1)))).issue()

    def name(self, role: CertificateRole) -> x509.Name:
        """The subject of a certificate."""
        return ((x509.COUNTRY, "US"), (x509.ORGANIZATION, "Software TEE"), (x509.COMMON_NAME, _NAMES[role]))

    @cached_property
    def _issued(self) -> dict[str, bytes]:
        return {}

    def _certificate(self, role: CertificateRole) -> Certificate:
        issuer = _ISSUERS[role]
        signer = self.ca_key(issuer)
        above = x509.authority_key_identifier(key_identifier(signer))
        if role == "ak_certificate":
            made = Certificate(
                subject=self.name(role), issuer=self.name(issuer), serial=_SERIALS[role], signer=signer,
                public_key=self.ak.key.public_key, not_before=self.issued, not_after=self.issued + 10 * YEAR,
                extensions=(x509.key_usage(x509.DIGITAL_SIGNATURE), x509.basic_constraints(ca=False), above,
                            Extension(EXTENDED_KEY_USAGE, der.sequence(der.oid(AK_PURPOSE)))))
        else:
            key = self.ca_key(role)
            made = Certificate(
                subject=self.name(role), issuer=self.name(issuer), serial=_SERIALS[role], signer=signer,
                public_key=key.public_key,
                extensions=(x509.key_usage(x509.KEY_CERT_SIGN, x509.CRL_SIGN), above,
                            x509.subject_key_identifier(key_identifier(key)), x509.basic_constraints(
                                ca=True, path_length=None if role == "root" else 0)))
        return self._alter(role, made)

    # -- what a verifier needs -----------------------------------------------------------------------------------------

    def roots(self) -> dict[str, bytes]:
        """PEM by file name: what a verifier must be told to trust."""
        return {"tpm.pem": x509.pem(self.certificate("root"))}

    def collateral_files(self) -> dict[str, bytes]:
        """By file name: the intermediate and both revocation lists."""
        return {"tpm_intermediate.pem": x509.pem(self.certificate("intermediate")),
                "tpm_root.crl": self.crl("root_crl"), "tpm_intermediate.crl": self.crl("intermediate_crl")}

    def collateral(self) -> dict[str, tuple[bytes, ...]]:
        """The members of `verifier.endorsements.collateral.TpmCollateral`."""
        return {"certificates": (self.certificate("intermediate"),),
                "crls": (self.crl("root_crl"), self.crl("intermediate_crl"))}

    # -- evidence ------------------------------------------------------------------------------------------------------

    def evidence(self, report_data: bytes, init_data: bytes = b"") -> Evidence:
        """A quote of all SHA-256 PCRs for the nonce ``report_data`` (0 to 64 bytes), with all that vouches for it."""
        guest = self.guest.holding("sha256", 8, init_data) if init_data else self.guest
        maker = replace(self, guest=guest)
        return evidence_of(maker.told(maker.quote(report_data)), self.certificates)

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """What travels with the evidence: the AK's certificate and the intermediate, DER."""
        return self.certificate("ak_certificate"), self.certificate("intermediate")

    def told(self, *quotes: TpmQuote, certified: bytes | None = None) -> TpmEvidence:
        """``quotes`` with the AK, its public area and its origin; with the nonce ``certified`` also another key."""
        return self._alter("told", TpmEvidence(
            quotes=quotes, ak_public=self.ak.key.public_key, ak_public_area=self.ak_public.to_bytes(),
            ak_creation=self.creation(),
            key_certification=None if certified is None else self.certification(certified)))

    def quote(self, nonce: bytes, selected: Mapping[str, Iterable[int]] = _QUOTED, *, listed: bool = True) -> TpmQuote:
        """A quote of ``selected`` PCRs by bank; ``listed``: the values of all 24 travel as Confidential Containers
        send them, else just the selected ones, by bank."""
        chosen = {bank: tuple(sorted(set(pcrs))) for bank, pcrs in selected.items()}
        values = {bank: self.guest.values(bank) for bank in chosen}
        joined = b"".join(values[bank][index] for bank, pcrs in chosen.items() for index in pcrs)
        info = QuoteInfo(tuple(PcrSelection(HashAlg.of_bank(bank), pcrs) for bank, pcrs in chosen.items()),
                         hashlib.new(self.ak.hash.bank, joined).digest())
        message, signature = self._alter("quote", self._attestation(AttestType.QUOTE, nonce, info)).issue()
        if listed:
            return TpmQuote.from_list(message, signature, list(values[next(iter(chosen))].values()))
        return TpmQuote(message, signature, {bank: {index: values[bank][index] for index in pcrs}
                                             for bank, pcrs in chosen.items()})

    def creation(self) -> SignedKey:
        """TPM2_CertifyCreation of the AK by itself."""
        data = self._alter("creation_data", CreationData(
            pcr_digest=hashlib.sha256().digest(), locality=1, parent_name_alg=HashAlg.SHA256, parent_name=self.parent,
            parent_qualified_name=self.parent)).to_bytes()
        info = CreationInfo(self.ak_public.name, hashlib.sha256(data).digest())
        return SignedKey(*self._alter("creation", self._attestation(AttestType.CREATION, b"", info)).issue(), data)

    def certification(self, nonce: bytes) -> SignedKey:
        """TPM2_Certify of another key of this TPM."""
        area = TpmKey.of(self.keys, "tpm/key").public_area(KEY_ATTRIBUTES)
        info = CertifyInfo(area.name, qualified_name(area.name, self.parent))
        made = self._alter("certification", self._attestation(AttestType.CERTIFY, nonce, info))
        return SignedKey(*made.issue(), area.to_bytes())

    def _attestation(self, kind: AttestType, nonce: bytes,
                     attested: QuoteInfo | CreationInfo | CertifyInfo) -> Attestation:
        guest = self.guest
        return Attestation(signer=self.ak, attest=TpmAttest(
            type=kind, qualified_signer=self.qualified_signer, extra_data=nonce, clock=guest.clock,
            reset_count=guest.reset_count, restart_count=guest.restart_count, safe=True,
            firmware_version=guest.firmware_version, attested=attested))

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, x509.unchanged)(artefact)
        return altered


def instance_extension(instance: GceInstance) -> Extension:
    """What Google writes into the certificates of its virtual machines' AKs."""
    security = b""
    if instance.security_version is not None:
        security += der.explicit(0, der.integer(instance.security_version))
    if instance.production is not None:
        security += der.explicit(1, der.boolean(instance.production))
    return Extension(gce_instance.OID, der.sequence(
        der.utf8(instance.zone), der.integer(instance.project_number), der.utf8(instance.project_id),
        der.integer(instance.instance_id), der.utf8(instance.instance_name),
        der.explicit(0, der.sequence(security)) if security else b""))
