"""Quotes as parameters, signed at the end: what a quoting enclave does, with every step open to alteration.

A quote vouches downwards: the PCK key signs the QE report, whose report data binds the attestation key, which signs the
quote. `QeReport` and `UnsignedQuote` are those two steps. Sources: as `verifier.formats.quote`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import (
    ATT_KEY_ECDSA_P256,
    TEE_TYPE_SGX,
    TEE_TYPE_TDX,
    BodyType,
    CertificationType,
    Header,
    QeCertification,
    Quote,
    signed_part,
)
from verifier.formats.td_report import TdReport, TdReport15ExtendedPart, TdReport15Part
from verifier.software_tee.certificates import Alteration, unchanged
from verifier.software_tee.keys import EcKey

QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
QE_MR_SIGNER = hashlib.sha256(b"software quoting enclave signer").digest()
QE_PROD_ID = {TEE_TYPE_SGX: 1, TEE_TYPE_TDX: 2}
QE_ISV_SVN = 8
SEPT_VE_DISABLE = bytes.fromhex("0000001000000000")

# A TDX module of major version 1, minor SVN 6, on a platform with microcode SVN 8.
TEE_TCB_SVN = bytes((6, 1, 8)) + bytes(13)

TD_REPORT = TdReport(
    tee_tcb_svn=TEE_TCB_SVN, mr_seam=hashlib.sha384(b"software TDX module").digest(), mr_signer_seam=bytes(48),
    seam_attributes=bytes(8), td_attributes=SEPT_VE_DISABLE, xfam=bytes.fromhex("e702060000000000"),
    mr_td=hashlib.sha384(b"software firmware").digest(), mr_config_id=bytes(48), mr_owner=bytes(48),
    mr_owner_config=bytes(48), rtmr0=hashlib.sha384(b"software rtmr0").digest(),
    rtmr1=hashlib.sha384(b"software rtmr1").digest(), rtmr2=hashlib.sha384(b"software rtmr2").digest(),
    rtmr3=bytes(48), report_data=bytes(64),
)
TD_REPORT_15 = replace(TD_REPORT, v15=TdReport15Part(TEE_TCB_SVN, bytes(48)))
TD_REPORT_15_EXTENDED = replace(TD_REPORT_15, extended=TdReport15ExtendedPart(
    vmid=bytes(1), td_id=hashlib.sha256(b"software td").digest(), dev_info=bytes(48), init_service_td_hash=bytes(48),
    init_service_td_attributes=bytes(8), init_cpu_svn=bytes(16), init_tee_tcb_svn=bytes(16),
    init_tee_fmspc=bytes(12), cur_service_td_hash=bytes(48), cur_service_td_attributes=bytes(8)))

# INIT, MODE64; x87, SSE, AVX.
ENCLAVE_ATTRIBUTES = bytes.fromhex("05000000000000000700000000000000")
ENCLAVE_REPORT = EnclaveReport(
    cpu_svn=bytes((8, 8, 2, 2, 4, 1, 0, 6)) + bytes(8), misc_select=0, reserved1=bytes(12),
    isv_ext_prod_id=bytes(16), attributes=ENCLAVE_ATTRIBUTES,
    mr_enclave=hashlib.sha256(b"software enclave").digest(), reserved2=bytes(32),
    mr_signer=hashlib.sha256(b"software enclave signer").digest(), reserved3=bytes(32), config_id=bytes(64),
    isv_prod_id=1, isv_svn=1, config_svn=0, reserved4=bytes(42), isv_family_id=bytes(16), report_data=bytes(64),
)
# INIT, MODE64, PROVISION_KEY, as Intel's quoting enclaves have it.
QE_ATTRIBUTES = bytes.fromhex("1500000000000000e700000000000000")
QE_AUTH_DATA = bytes(range(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class QeReport:
    """The quoting enclave's report to be; ``signer`` is the PCK key."""

    report: EnclaveReport
    auth_data: bytes
    signer: EcKey
    mutate: Alteration[bytes] = unchanged

    def bound(self, attestation_key: bytes) -> QeReport:
        """The same with report data that binds ``attestation_key`` (x || y) and the authentication data."""
        digest = hashlib.sha256(attestation_key + self.auth_data).digest()
        return replace(self, report=replace(self.report, report_data=digest + bytes(32)))

    def issue(self, kind: CertificationType, data: bytes) -> QeCertification:
        """The report, signed, with certification data of ``kind``."""
        report = self.mutate(self.report.to_bytes())
        return QeCertification(report, self.signer.sign_raw(report), self.auth_data, kind, data)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedQuote:
    """A quote to be. ``signer`` is the attestation key, ``attestation_key`` the key that the quote states (x || y)."""

    header: Header
    body_type: BodyType
    body: TdReport | EnclaveReport
    certification: QeCertification
    signer: EcKey
    attestation_key: bytes
    mutate: Alteration[bytes] = unchanged
    tail: bytes = b""

    def issue(self) -> bytes:
        """The quote, signed, followed by ``tail``."""
        signed = self.mutate(signed_part(self.header, self.body_type, self.body))
        quote = Quote(self.header, self.body_type, self.body, signed, self.signer.sign_raw(signed),
                      self.attestation_key, self.certification)
        return quote.to_bytes() + self.tail


def body_type_of(body: TdReport | EnclaveReport) -> BodyType:
    """The descriptor type that ``body`` needs."""
    if isinstance(body, EnclaveReport):
        return BodyType.SGX
    if body.extended is not None:
        return BodyType.TD15_EXTENDED
    return BodyType.TD10 if body.v15 is None else BodyType.TD15


def header_for(body_type: BodyType, version: int | None) -> Header:
    """The header of that version; None is 3 for SGX, 4 for TD 1.0 and 5 for later TD reports."""
    sgx = body_type is BodyType.SGX
    if version is None:
        version = 3 if sgx else 4 if body_type is BodyType.TD10 else 5
    svns = (QE_ISV_SVN, 13) if version == 3 else (0, 0)
    return Header(version, ATT_KEY_ECDSA_P256, TEE_TYPE_SGX if sgx else TEE_TYPE_TDX, *svns, QE_VENDOR_ID, bytes(20))


def qe_report_for(tee_type: int, pck: EcKey) -> QeReport:
    """The report of the quoting enclave of that TEE type, not yet bound to an attestation key."""
    report = replace(ENCLAVE_REPORT, attributes=QE_ATTRIBUTES, mr_signer=QE_MR_SIGNER,
                     mr_enclave=hashlib.sha256(b"software quoting enclave %d" % tee_type).digest(),
                     isv_prod_id=QE_PROD_ID[tee_type], isv_svn=QE_ISV_SVN)
    return QeReport(report=report, auth_data=QE_AUTH_DATA, signer=pck)
