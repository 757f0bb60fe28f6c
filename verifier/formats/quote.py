"""Intel DCAP quotes: SGX version 3, SGX and TDX version 4, SGX and TDX version 5.

A quote is a 48-byte header, a body whose kind and size the version, TEE type and (version 5) descriptor determine, a
length, and signature data. What is signed is everything before that length. Source: Intel SGX DCAP "ECDSA Quote Library
API" appendix A (version 3), Intel TDX DCAP "Quote Generation and Verification" appendix A (versions 4 and 5). Integers
are little-endian; signatures r || s and keys x || y are big-endian pairs of 32 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from verifier.errors import UnsupportedEvidence
from verifier.evidence import Tee
from verifier.formats import enclave_report, td_report
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.reader import Reader
from verifier.formats.td_report import TdReport

MAX_QUOTE_BYTES = 64 * 1024

ATT_KEY_ECDSA_P256 = 2
TEE_TYPE_SGX = 0x00000000
TEE_TYPE_TDX = 0x00000081

_HEADER = Struct("<HHIHH16s20s")
_DESCRIPTOR = Struct("<HI")


class BodyType(IntEnum):
    """Quote version 5 body descriptor types."""

    SGX = 1
    TD10 = 2
    TD15 = 3
    TD15_EXTENDED = 4


class CertificationType(IntEnum):
    """Kinds of certification data (version 3 appendix A.4, version 4 appendix A.3.9)."""

    PPID_PLAIN = 1
    PPID_RSA2048 = 2
    PPID_RSA3072 = 3
    PCK_LEAF = 4
    PCK_CHAIN = 5
    QE_REPORT = 6


BODY_SIZES = {
    BodyType.SGX: enclave_report.SIZE, BodyType.TD10: td_report.SIZE_TD10, BodyType.TD15: td_report.SIZE_TD15,
    BodyType.TD15_EXTENDED: td_report.SIZE_TD15EX,
}
# PPID, CPUSVN, PCESVN and PCEID; Intel's own sample of the plain form leaves PCEID out.
_PPID_SIZES = {CertificationType.PPID_PLAIN: (34, 36), CertificationType.PPID_RSA2048: (276,),
               CertificationType.PPID_RSA3072: (404,)}


@dataclass(frozen=True, slots=True)
class Header:
    """The 48-byte header. ``tee_type`` is reserved in version 3; ``qe_svn`` and ``pce_svn`` are informational only."""

    version: int
    att_key_type: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    qe_vendor_id: bytes
    user_data: bytes

    @classmethod
    def read(cls, reader: Reader) -> Header:
        """The next 48 bytes."""
        return cls(*reader.unpack(_HEADER, "header"))

    def to_bytes(self) -> bytes:
        """The 48 bytes again."""
        return _HEADER.pack(self.version, self.att_key_type, self.tee_type, self.qe_svn, self.pce_svn,
                            self.qe_vendor_id, self.user_data)


@dataclass(frozen=True, slots=True)
class QeCertification:
    """How the quoting enclave vouches for the attestation key, and who vouches for the enclave.

    qe_report is signed by the PCK key; ``certification_type`` 1-5 says what ``certification_data`` holds.
    """

    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_type: CertificationType
    certification_data: bytes

    @classmethod
    def read(cls, reader: Reader) -> QeCertification:
        """QE report, its signature, authentication data, and the inner certification data."""
        report = reader.take(enclave_report.SIZE, "QE report")
        signature = reader.take(64, "QE report signature")
        auth_data = reader.take(reader.uint(2, "QE authentication data size"), "QE authentication data")
        kind, data = _read_certification(reader)
        if kind is CertificationType.QE_REPORT:
            raise reader.malformed("certification data nests", expected="type 1..5", got=int(kind))
        return cls(report, signature, auth_data, kind, data)

    def to_bytes(self) -> bytes:
        """The bytes again."""
        return b"".join((
            self.qe_report, self.qe_report_signature, len(self.qe_auth_data).to_bytes(2, "little"), self.qe_auth_data,
            int(self.certification_type).to_bytes(2, "little"), len(self.certification_data).to_bytes(4, "little"),
            self.certification_data,
        ))


@dataclass(frozen=True, slots=True)
class Quote:
    """A parsed quote: shape only, nothing believed.

    signed: the bytes that ``signature`` (r || s) covers. attestation_key: x || y. body_type is as the descriptor says
    (version 5) or as version and TEE type imply. ``trailing`` counts the bytes that followed the structure in its
    buffer: guests pad with NULs, Open Enclave appends claims of its own. Nobody signed them and nothing reads them.
    """

    header: Header
    body_type: BodyType
    body: EnclaveReport | TdReport
    signed: bytes
    signature: bytes
    attestation_key: bytes
    certification: QeCertification
    trailing: int = 0

    @property
    def tee(self) -> Tee:
        """SGX or TDX, by the body."""
        return Tee.SGX if self.body_type is BodyType.SGX else Tee.TDX

    @classmethod
    def from_bytes(cls, data: bytes) -> Quote:
        """A quote, possibly followed by bytes that do not belong to it. Raises `EvidenceError`."""
        reader = Reader(data, "quote")
        if len(data) > MAX_QUOTE_BYTES:
            raise reader.malformed("the quote is too large", expected=f"<= {MAX_QUOTE_BYTES} bytes", got=len(data))
        header = Header.read(reader)
        body_type = _body_type(reader, header)
        body = _read_body(reader, body_type)
        signed = data[: reader.position]
        with reader.region(reader.uint(4, "signature data size"), "signature data"):
            signature = reader.take(64, "quote signature")
            key = reader.take(64, "attestation key")
            certification = _read_qe_certification(reader, header.version)
        return cls(header, body_type, body, signed, signature, key, certification, reader.remaining)

    def to_bytes(self) -> bytes:
        """The quote again, without what trailed it."""
        inner = self.certification.to_bytes()
        if self.header.version > 3:
            inner = (int(CertificationType.QE_REPORT).to_bytes(2, "little")
                     + len(inner).to_bytes(4, "little") + inner)
        signature_data = self.signature + self.attestation_key + inner
        return self.signed + len(signature_data).to_bytes(4, "little") + signature_data


def signed_part(header: Header, body_type: BodyType, body: EnclaveReport | TdReport) -> bytes:
    """Header, descriptor where the version has one, and body: the bytes a quoting enclave signs."""
    packed = body.to_bytes()
    descriptor = _DESCRIPTOR.pack(body_type, len(packed)) if header.version == 5 else b""
    return header.to_bytes() + descriptor + packed


def _body_type(reader: Reader, header: Header) -> BodyType:
    """The one body that version, key type and TEE type permit; every other combination is refused."""
    if header.version not in (3, 4, 5):
        raise UnsupportedEvidence("quote.version", "unknown quote version", expected=[3, 4, 5], got=header.version)
    if header.att_key_type != ATT_KEY_ECDSA_P256:
        raise UnsupportedEvidence("quote.att_key_type", "unknown attestation key type", expected=ATT_KEY_ECDSA_P256,
                                  got=header.att_key_type)
    if header.version == 3:
        if header.tee_type != TEE_TYPE_SGX:
            raise reader.malformed("a version 3 quote has a reserved field set", expected=0, got=header.tee_type)
        return BodyType.SGX
    if header.tee_type not in (TEE_TYPE_SGX, TEE_TYPE_TDX):
        raise UnsupportedEvidence("quote.tee_type", "unknown TEE type", expected=["0x0", "0x81"],
                                  got=hex(header.tee_type))
    is_sgx = header.tee_type == TEE_TYPE_SGX
    if header.version == 4:
        return BodyType.SGX if is_sgx else BodyType.TD10
    return _described_body(reader, is_sgx)


def _described_body(reader: Reader, is_sgx: bool) -> BodyType:
    number, size = reader.unpack(_DESCRIPTOR, "body descriptor")
    if number not in BODY_SIZES:
        raise UnsupportedEvidence("quote.body_type", "unknown body type", expected=[int(t) for t in BODY_SIZES],
                                  got=number)
    body_type = BodyType(number)
    if (body_type is BodyType.SGX) != is_sgx:
        raise reader.malformed("body type and TEE type disagree", got=number)
    if size != BODY_SIZES[body_type]:
        raise reader.malformed("body size does not belong to the body type", expected=BODY_SIZES[body_type], got=size)
    return body_type


def _read_body(reader: Reader, body_type: BodyType) -> EnclaveReport | TdReport:
    if body_type is BodyType.SGX:
        return EnclaveReport.read(reader)
    return TdReport.read(reader, BODY_SIZES[body_type])


def _read_qe_certification(reader: Reader, version: int) -> QeCertification:
    if version == 3:
        return QeCertification.read(reader)
    kind = reader.uint(2, "certification data type")
    if kind != CertificationType.QE_REPORT:
        raise reader.malformed("certification data must be a QE report", expected=6, got=kind)
    with reader.region(reader.uint(4, "certification data size"), "QE report certification data"):
        return QeCertification.read(reader)


def _read_certification(reader: Reader) -> tuple[CertificationType, bytes]:
    number = reader.uint(2, "certification data type")
    data = reader.take(reader.uint(4, "certification data size"), "certification data")
    try:
        kind = CertificationType(number)
    except ValueError:
        raise UnsupportedEvidence("quote.certification_type", "unknown certification data type", expected="1..6",
                                  got=number) from None
    sizes = _PPID_SIZES.get(kind)
    if sizes is not None and len(data) not in sizes:
        raise reader.malformed("certification data has the wrong size for its type", expected=sizes, got=len(data))
    return kind, data
