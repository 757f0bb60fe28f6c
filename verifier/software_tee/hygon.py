"""A small Hygon: HRK, HSK, and one chip with its CEK and PEK.

    hygon = SmallHygon.create(at=1_780_000_000)
    report = hygon.report(2, replace(hygon.info(2), policy=0))
    evidence = hygon.evidence(bytes(64), b"")

Structures, names and usages are Hygon's; keys are not. `altered` works as in `verifier.software_tee.intel`:

    hygon.altered(cek=lambda c: replace(c, body=replace(c.body, curve=4)))
    hygon.altered(report=lambda r: replace(r, signer=hygon.key("cek")))

What is altered is signed as it has become. ``mutate`` sees the bytes that are signed last, ``finish`` the whole
artefact after it was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from cryptography.hazmat.primitives import hashes, hmac

from verifier.errors import SetupError
from verifier.evidence import Evidence, Tee
from verifier.formats.csv_report import CsvReport, Signer, TeeInfo
from verifier.formats.hygon_cert import (
    ALGORITHM_SM2_SIGNATURE,
    CA_SIGNED_SIZE,
    MAX_USER_ID,
    SIGNED_SIZE,
    CaCertificate,
    CsvCertificate,
    Slot,
    Usage,
)
from verifier.software_tee.certificates import Alteration, composed, unchanged
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.sm2 import Sm2Key, in_field, sm3

T = TypeVar("T")
Role = Literal["hrk", "hsk", "cek", "pek", "oca"]
CaRole = Literal["hrk", "hsk"]
CertificateRole = Literal["cek", "pek"]

REPORT_DATA_SIZE = HOST_DATA_SIZE = 64
ROOT_FILE, CHAIN_FILE = "hygon-hrk.cert", "hsk_cek.cert"

_USAGES: dict[Role, Usage] = {"hrk": Usage.HRK, "hsk": Usage.HSK, "cek": Usage.CEK, "pek": Usage.PEK, "oca": Usage.OCA}


class HygonAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    hrk: Alteration[UnsignedCa]
    hsk: Alteration[UnsignedCa]
    cek: Alteration[UnsignedCertificate]
    pek: Alteration[UnsignedCertificate]
    report: Alteration[UnsignedReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvGuest:
    """What the guest is, fields by their claim names. ``policy`` is GUEST_POLICY: no debugging, CSV2, CSV3.

    anonce: the firmware's mask of version 1. build, rtmr_version and rtmr1..rtmr4 are in versions 2 and 3 only; there
    rtmr0 is ``measure``.
    """

    measure: bytes = sm3(b"software launch")
    policy: int = 0x45
    user_pubkey_digest: bytes = bytes(32)
    vm_id: bytes = bytes(16)
    vm_version: bytes = bytes(16)
    mnonce: bytes = sm3(b"software mnonce")[:16]
    anonce: int = 0x5DC7D726
    build: int = 2000
    rtmr_version: int = 1
    rtmr1: bytes = sm3(b"software rtmr 1")
    rtmr2: bytes = sm3(b"software rtmr 2")
    rtmr3: bytes = sm3(b"software rtmr 3")
    rtmr4: bytes = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedCa:
    """An HRK or HSK to be; ``mutate`` sees the 576 bytes that are signed."""

    body: CaCertificate
    signer: Sm2Key
    mutate: Alteration[bytes] = unchanged
    finish: Alteration[CaCertificate] = unchanged

    def issue(self) -> bytes:
        """The certificate, 832 bytes."""
        packed = self.body.to_bytes()
        signed = self.mutate(packed[:CA_SIGNED_SIZE])
        r, s = self.signer.sign(signed)
        certificate = CaCertificate.from_bytes(signed + packed[CA_SIGNED_SIZE:])
        return self.finish(replace(certificate, signature_r=in_field(r), signature_s=in_field(s))).to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedCertificate:
    """A CEK or PEK to be; ``mutate`` sees the 1044 bytes that are signed. Where a key is None its slot stays empty.

    usages: what the two slots say of who signed.
    """

    body: CsvCertificate
    signers: tuple[Sm2Key | None, Sm2Key | None]
    usages: tuple[int, int]
    mutate: Alteration[bytes] = unchanged
    finish: Alteration[CsvCertificate] = unchanged

    def issue(self) -> bytes:
        """The certificate, 2084 bytes."""
        packed = self.body.to_bytes()
        signed = self.mutate(packed[:SIGNED_SIZE])
        first, second = (Slot() if signer is None else _slot(signer, usage, signed)
                         for signer, usage in zip(self.signers, self.usages, strict=True))
        certificate = CsvCertificate.from_bytes(signed + packed[SIGNED_SIZE:])
        return self.finish(replace(certificate, slots=(first, second))).to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedReport:
    """A report to be: TEE info and signer in clear.

    ``mutate`` sees the bytes that are signed, as they are stored; what is stored stays as it is.
    """

    body: CsvReport
    signer: Sm2Key
    mutate: Alteration[bytes] = unchanged
    finish: Alteration[CsvReport] = unchanged

    def issue(self) -> bytes:
        """The report, see `CsvReport.to_bytes`. The HMAC is made where the signer is as the firmware leaves it."""
        r, s = self.signer.sign(self.mutate(self.body.signed_bytes))
        report = replace(self.body, info=replace(self.body.info, signature_r=in_field(r), signature_s=in_field(s)))
        if report.as_firmware_wrote_it:
            mac = hmac.HMAC(report.info.mnonce, hashes.SM3())
            mac.update(report.maced_bytes)
            report = replace(report, signer=replace(report.signer, mac=mac.finalize()))
        return self.finish(report).to_bytes()


def _slot(signer: Sm2Key, usage: int, signed: bytes) -> Slot:
    r, s = signer.sign(signed)
    return Slot(usage=usage, algorithm=ALGORITHM_SM2_SIGNATURE, signature_r=in_field(r), signature_s=in_field(s))


@dataclass(frozen=True)
class SmallHygon:
    """A maker with one chip. ``issued`` dates nothing, since nothing of Hygon's has dates.

    raw: reports are as the firmware of version 1 writes them, else as Hygon's guest library hands them on.
    """

    keys: KeyRing = field(repr=False)
    issued: int
    serial_number: bytes = b"SOFTWARE0000001"
    guest: CsvGuest = field(default_factory=CsvGuest)
    raw: bool = False
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int) -> SmallHygon:
        """A maker; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at)

    def altered(self, **alterations: Unpack[HygonAlterations]) -> SmallHygon:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=composed(self.alterations, alterations))

    # -- certificates --------------------------------------------------------------------------------------------------

    def key(self, role: Role) -> Sm2Key:
        """The private key of a role; ``oca`` is the platform owner's."""
        kept = self._keys.get(role)
        if kept is None:
            user_id = f"HYGON-SSD-{role.upper()}".encode()
            kept = self._keys[role] = Sm2Key.of(self.keys, f"hygon/{role}", user_id)
        return kept

    def key_id(self, role: CaRole) -> bytes:
        """The 16 bytes that name an HRK or HSK."""
        x, y = self.key(role).public
        return hashlib.sha256(x.to_bytes(32, "big") + y.to_bytes(32, "big")).digest()[:16]

    def certificate(self, role: CaRole | CertificateRole) -> bytes:
        """832 or 2084 bytes."""
        kept = self._issued.get(role)
        if kept is None:
            made = self._ca(role) if role == "hrk" or role == "hsk" else self._certificate(role)
            kept = self._issued[role] = self._alter(role, made).issue()
        return kept

    @cached_property
    def _keys(self) -> dict[str, Sm2Key]:
        return {}

    @cached_property
    def _issued(self) -> dict[str, bytes]:
        return {}

    def _ca(self, role: CaRole) -> UnsignedCa:
        body = CaCertificate(key_id=self.key_id(role), signer_key_id=self.key_id("hrk"), usage=_USAGES[role],
                             **self._key_fields(role))
        return UnsignedCa(body=body, signer=self.key("hrk"))

    def _certificate(self, role: CertificateRole) -> UnsignedCertificate:
        if role == "cek":
            body = CsvCertificate(version=2, firmware_major=1, firmware_minor=1, usage=Usage.CEK,
                                  signer_key_id=self.key_id("hsk"), **self._key_fields(role))
            return UnsignedCertificate(body=body, signers=(self.key("hsk"), None), usages=(Usage.HSK, Usage.INVALID))
        body = CsvCertificate(version=1, firmware_major=1, firmware_minor=4, usage=Usage.PEK, **self._key_fields(role))
        return UnsignedCertificate(body=body, signers=(self.key("cek"), self.key("oca")),
                                   usages=(Usage.CEK, Usage.OCA))

    def _key_fields(self, role: Role) -> dict[str, Any]:
        key = self.key(role)
        x, y = key.public
        return {"x": in_field(x), "y": in_field(y), "uid_size": len(key.user_id),
                "user_id_field": key.user_id.ljust(MAX_USER_ID, b"\x00")}

    # -- reports -------------------------------------------------------------------------------------------------------

    def info(self, version: int = 1, report_data: bytes = bytes(64), host_data: bytes = bytes(64)) -> TeeInfo:
        """What the firmware says of the guest, to be changed as wished and handed to `report`."""
        guest = self.guest
        common = TeeInfo(
            user_pubkey_digest=guest.user_pubkey_digest, vm_id=guest.vm_id, vm_version=guest.vm_version,
            report_data=report_data, mnonce=guest.mnonce, measure=guest.measure, policy=guest.policy,
            sig_usage=Usage.PEK, sig_algo=ALGORITHM_SM2_SIGNATURE)
        if version == 1:
            return replace(common, anonce=guest.anonce)
        return replace(
            common, build=guest.build, rtmr_version=guest.rtmr_version, rtmr0=guest.measure, rtmr1=guest.rtmr1,
            rtmr2=guest.rtmr2, rtmr3=guest.rtmr3, rtmr4=guest.rtmr4, reserved_170=bytes(592 if version == 3 else 656),
            host_data=host_data if version == 3 else b"")

    def report(self, version: int, info: TeeInfo) -> bytes:
        """``info``, signed by the PEK, in the bytes of `CsvReport.to_bytes`."""
        reserved = sm3(b"software reserved") if self.raw else bytes(32)
        signer = Signer(pek=self.certificate("pek"), serial_number=self.serial_number.ljust(64, b"\x00"),
                        reserved=reserved, masked=self.raw and info.anonce != 0)
        body = CsvReport(version=version, info=info, signer=signer)
        return self._alter("report", UnsignedReport(body=body, signer=self.key("pek"))).issue()

    # -- what a guest hands over and a verifier is told ----------------------------------------------------------------

    def evidence(self, report_data: bytes, init_data: bytes) -> Evidence:
        """Version 1, or version 3 where there is init data: 64 bytes, which only that can carry."""
        if len(report_data) != REPORT_DATA_SIZE or len(init_data) not in (0, HOST_DATA_SIZE):
            raise SetupError("software_tee.hygon", "report data has 64 bytes, init data none or 64",
                             got=f"{len(report_data)} and {len(init_data)} bytes")
        version = 3 if init_data else 1
        return Evidence(Tee.CSV, self.report(version, self.info(version, report_data, init_data)))

    def roots(self) -> dict[str, bytes]:
        """The HRK's certificate, by file name."""
        return {ROOT_FILE: self.certificate("hrk")}

    def collateral_files(self) -> dict[str, bytes]:
        """HSK and CEK in one file, as Hygon's key server answers."""
        return {CHAIN_FILE: self.certificate("hsk") + self.certificate("cek")}

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, unchanged)(artefact)
        return altered
