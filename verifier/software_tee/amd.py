"""A small AMD: per product line an ARK, the ASK and ASVK below it, and one chip with its VCEK and VLEK.

    amd = SmallAmd.create(at=1_780_000_000)
    report = amd.report(replace(amd.body(version=3), policy=0x30000))
    collateral = AmdCollateral(**amd.collateral())

Names, shapes and extensions are AMD's (RSA-4096 with RSASSA-PSS above, P-384 below); keys and roots are not. `altered`
works as in `verifier.software_tee.intel`:

    amd.altered(vcek=lambda certificate: certificate.without(HWID))
    amd.altered(crl=lambda crl: crl.revoking(amd.serial("ask")))

The three keys of a line take about two seconds each when they come from a seed, half a second at random; they are made
when first needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from verifier.formats import snp_cert_table
from verifier.formats.snp_cert_table import CertEntry, CertTable
from verifier.formats.snp_report import (
    SIGNATURE_ALGO_ECDSA_P384_SHA384,
    SIGNED_SIZE,
    ProductLine,
    SigningKey,
    SnpReport,
    TcbLayout,
    TcbVersion,
)
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Alteration, Certificate, Extension, RevocationList
from verifier.software_tee.keys import EcKey, KeyRing, RsaKey, key_identifier

T = TypeVar("T")
CaRole = Literal["ark", "ask", "asvk"]
LeafRole = Literal["vcek", "vlek"]
CertificateRole = Literal["ark", "ask", "asvk", "vcek", "vlek"]

YEAR = 365 * 24 * 3600

# Certificate extensions (AMD 57230, VCEK Certificate and KDS Interface Specification, section 3.1).
_ARC = "1.3.6.1.4.1.3704.1"
STRUCT_VERSION, PRODUCT_NAME, HWID, CSP_ID = f"{_ARC}.1", f"{_ARC}.2", f"{_ARC}.4", f"{_ARC}.5"
BL_SPL, TEE_SPL, SNP_SPL, SPL_4, SPL_5, SPL_6, SPL_7, UCODE_SPL, FMC_SPL = (
    f"{_ARC}.3.{number}" for number in range(1, 10))

_CPUID = {ProductLine.MILAN: (0x19, 0x01, 1), ProductLine.GENOA: (0x19, 0x11, 1), ProductLine.TURIN: (0x1A, 0x02, 1)}
_SERIALS = {ProductLine.MILAN: 0x10000, ProductLine.GENOA: 0x20000, ProductLine.TURIN: 0x30000}
_OFFSETS: dict[CaRole, int] = {"ark": 0, "ask": 1, "asvk": 0x101}
_LEAF_SPANS: dict[LeafRole, int] = {"vcek": 7 * YEAR, "vlek": YEAR}
_TCBS = {ProductLine.MILAN: "04000000000018db", ProductLine.GENOA: "0a00000000001754",
         ProductLine.TURIN: "0101020400000047"}
_CRL_URL = "https://software-tee.invalid/{}.crl"
_ISSUERS: dict[CertificateRole, CaRole] = {"ark": "ark", "ask": "ark", "asvk": "ark", "vcek": "ask", "vlek": "asvk"}


class AmdAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    ark: Alteration[Certificate]
    ask: Alteration[Certificate]
    asvk: Alteration[Certificate]
    vcek: Alteration[Certificate]
    vlek: Alteration[Certificate]
    crl: Alteration[RevocationList]
    report: Alteration[UnsignedReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One processor. ``hwid``: 64 bytes, 8 on Turin; ``tcb``: what its certificates say and its reports report."""

    line: ProductLine = ProductLine.MILAN
    hwid: bytes
    tcb: TcbVersion
    csp_id: str = "CN=software-tee.invalid"

    @classmethod
    def of(cls, line: ProductLine | str) -> Chip:
        """An up-to-date chip of that line."""
        line = ProductLine(line)
        size = 8 if line is ProductLine.TURIN else 64
        hwid = hashlib.sha512(f"software chip {line}".encode()).digest()[:size]
        return cls(line=line, hwid=hwid, tcb=TcbVersion.from_bytes(bytes.fromhex(_TCBS[line]), TcbLayout.of(line)))

    def extensions(self, role: LeafRole) -> tuple[Extension, ...]:
        """What its VCEK or VLEK says of it, in AMD's order. The HWID is raw, not an OCTET STRING of its own."""
        turin = self.line is ProductLine.TURIN
        product = "Milan-B0" if (self.line, role) == (ProductLine.MILAN, "vcek") else self.line.value
        tcb = self.tcb
        spls = [(BL_SPL, tcb.bootloader), (TEE_SPL, tcb.tee)]
        if turin:
            spls = [(FMC_SPL, tcb.fmc or 0), *spls, (SNP_SPL, tcb.snp), (SPL_5, 0), (SPL_6, 0), (SPL_7, 0)]
        else:
            spls += [(SPL_4, 0), (SPL_5, 0), (SPL_6, 0), (SPL_7, 0), (SNP_SPL, tcb.snp)]
        spls.append((UCODE_SPL, tcb.microcode))
        last = Extension(HWID, self.hwid) if role == "vcek" else Extension(CSP_ID, der.ia5(self.csp_id))
        return (Extension(STRUCT_VERSION, der.integer(int(turin))), Extension(PRODUCT_NAME, der.ia5(product)),
                *(Extension(oid, der.integer(svn)) for oid, svn in spls), last)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedReport:
    """An attestation report to be; ``mutate`` sees the 672 bytes that are signed."""

    body: SnpReport
    signer: EcKey
    mutate: Alteration[bytes] = x509.unchanged

    def issue(self) -> bytes:
        """The report, 1184 bytes."""
        packed = self.body.to_bytes()
        signed = self.mutate(packed[:SIGNED_SIZE])
        raw = self.signer.sign_raw(signed)
        half = len(raw) // 2
        pair = b"".join(part[::-1].ljust(72, b"\x00") for part in (raw[:half], raw[half:]))
        return signed + pair + packed[SIGNED_SIZE + len(pair):]


@dataclass(frozen=True)
class SmallAmd:
    """A maker with one chip. ``issued``: when leaves and revocation list were made; ``valid_for``: the list's span."""

    keys: KeyRing = field(repr=False)
    issued: int
    valid_for: int = YEAR
    chip: Chip = field(default_factory=lambda: Chip.of(ProductLine.MILAN))
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int, valid_for: int = YEAR,
               line: ProductLine | str = ProductLine.MILAN) -> SmallAmd:
        """A maker at ``at`` with a chip of ``line``; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at, valid_for, Chip.of(line))

    def altered(self, **alterations: Unpack[AmdAlterations]) -> SmallAmd:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=x509.composed(self.alterations, alterations))

    def on(self, chip: Chip) -> SmallAmd:
        """This maker with another chip, of any line."""
        return replace(self, chip=chip)

    # -- certificates --------------------------------------------------------------------------------------------------

    def ca_key(self, role: CaRole) -> RsaKey:
        """The private key of a CA of the chip's line."""
        return self.keys.rsa_pss(f"amd/{self.chip.line}/{role}")

    def leaf_key(self, role: LeafRole) -> EcKey:
        """The chip's key that signs reports."""
        return self.keys.p384(f"amd/{self.chip.line}/{role}")

    def certificate(self, role: CertificateRole) -> bytes:
        """DER."""
        kept = self._issued.get(role)
        if kept is None:
            kept = self._issued[role] = self._certificate(role).issue()
        return kept

    def serial(self, role: CertificateRole) -> int:
        """The serial number, as a revocation list would name it."""
        return self._certificate(role).serial

    def chain(self, *roles: CertificateRole) -> bytes:
        """PEM in that order."""
        return x509.pem(*(self.certificate(role) for role in roles))

    @cached_property
    def _issued(self) -> dict[str, bytes]:
        return {}

    def _certificate(self, role: CertificateRole) -> Certificate:
        signer = self.ca_key(_ISSUERS[role])
        if role == "vcek" or role == "vlek":
            made = Certificate(
                subject=self.name(role), issuer=self.name(_ISSUERS[role]), serial=0, signer=signer,
                public_key=self.leaf_key(role).public_key, extensions=self.chip.extensions(role),
                not_before=self.issued, not_after=self.issued + _LEAF_SPANS[role])
        else:
            key = self.ca_key(role)
            made = Certificate(
                subject=self.name(role), issuer=self.name("ark"), serial=_SERIALS[self.chip.line] + _OFFSETS[role],
                signer=signer, public_key=key.public_key, extensions=self._ca_extensions(role, key, signer))
        return self._alter(role, made)

    def _ca_extensions(self, role: CaRole, key: RsaKey, signer: RsaKey) -> tuple[Extension, ...]:
        own = x509.subject_key_identifier(key_identifier(key))
        crl = x509.crl_distribution_point(_CRL_URL.format(self.chip.line))
        if role == "ark":
            return (x509.key_usage(x509.KEY_CERT_SIGN, x509.CRL_SIGN), own, x509.basic_constraints(ca=True), crl)
        return (own, x509.authority_key_identifier(key_identifier(signer)),
                x509.basic_constraints(ca=True, path_length=0), x509.key_usage(x509.KEY_CERT_SIGN), crl)

    def name(self, role: CertificateRole) -> x509.Name:
        """The subject of a certificate."""
        line = self.chip.line
        common = {"ark": f"ARK-{line}", "ask": f"SEV-{line}", "asvk": f"SEV-VLEK-{line}", "vcek": "SEV-VCEK",
                  "vlek": "SEV-VLEK"}[role]
        return ((x509.ORGANIZATIONAL_UNIT, "Engineering"), (x509.COUNTRY, "US"), (x509.LOCALITY, "Santa Clara"),
                (x509.STATE, "CA"), (x509.ORGANIZATION, "Advanced Micro Devices"), (x509.COMMON_NAME, common))

    # -- collateral ----------------------------------------------------------------------------------------------------

    @cached_property
    def crl(self) -> bytes:
        """The line's revocation list, signed by the ARK, DER."""
        signer = self.ca_key("ark")
        return self._alter("crl", RevocationList(
            issuer=self.name("ark"), this_update=self.issued, next_update=self.issued + self.valid_for, signer=signer,
            extensions=(x509.authority_key_identifier(key_identifier(signer)), x509.crl_number(1)))).issue()

    def certificates(self, leaf: LeafRole = "vcek") -> tuple[bytes, ...]:
        """DER: the leaf, its CA, the ARK."""
        return self.certificate(leaf), self.certificate(_ISSUERS[leaf]), self.certificate("ark")

    def collateral(self, leaf: LeafRole = "vcek") -> dict[str, tuple[bytes, ...]]:
        """The members of `verifier.endorsements.collateral.AmdCollateral`."""
        return {"certificates": self.certificates(leaf), "crls": (self.crl,)}

    def cert_table(self, leaf: LeafRole = "vcek") -> bytes:
        """What a host hands to its guest: the table with leaf, its CA and the ARK (configfs-tsm ``auxblob``)."""
        guids = (snp_cert_table.VCEK if leaf == "vcek" else snp_cert_table.VLEK, snp_cert_table.ASK,
                 snp_cert_table.ARK)
        entries = zip(guids, self.certificates(leaf), strict=True)
        return CertTable(tuple(CertEntry(guid, certificate) for guid, certificate in entries)).to_bytes()

    # -- reports -------------------------------------------------------------------------------------------------------

    def body(self, *, version: int = 3, signing_key: SigningKey = SigningKey.VCEK) -> SnpReport:
        """A report of a guest that nothing is wrong with, to be changed as wished and handed to `report`."""
        chip, tcb = self.chip, self.chip.tcb.to_bytes()
        chip_id = bytes(64) if signing_key is SigningKey.VLEK else chip.hwid.ljust(64, b"\x00")
        family, model, stepping = _CPUID[chip.line] if version >= 3 else (0, 0, 0)
        mitigations = 1 if version >= 5 else 0
        return SnpReport(
            version=version, guest_svn=0, policy=0x30000, family_id=bytes(16), image_id=bytes(16), vmpl=0,
            signature_algo=SIGNATURE_ALGO_ECDSA_P384_SHA384, current_tcb=tcb,
            platform_info=0b100001 if version >= 3 else 1, flags=int(signing_key) << 2, report_data=bytes(64),
            measurement=hashlib.sha384(b"software launch").digest(), host_data=bytes(32), id_key_digest=bytes(48),
            author_key_digest=bytes(48), report_id=hashlib.sha256(b"software guest").digest(),
            report_id_ma=b"\xff" * 32, reported_tcb=tcb, cpuid_family=family, cpuid_model=model,
            cpuid_stepping=stepping, chip_id=chip_id, committed_tcb=tcb, current_version=bytes((21, 55, 1)),
            committed_version=bytes((21, 55, 1)), launch_tcb=tcb, launch_mit_vector=mitigations,
            current_mit_vector=mitigations)

    def report(self, body: SnpReport) -> bytes:
        """``body``, signed by the key that its SIGNING_KEY names (by the VCEK where it names none)."""
        leaf: LeafRole = "vlek" if body.signing_key == SigningKey.VLEK else "vcek"
        return self._alter("report", UnsignedReport(body=body, signer=self.leaf_key(leaf))).issue()

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, x509.unchanged)(artefact)
        return altered
