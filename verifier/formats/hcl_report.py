"""The HCL report of an Azure confidential VM: what its paravisor keeps in the virtual TPM (NV index 0x01400001).

    0     header                  32 bytes: "HCLA", version, report size, request type, status, reserved
    32    hardware report       1184 bytes: an SNP report, or a TDREPORT (1024) and zeros
    1216  runtime data            20 bytes: data size, version, report type, hash, length of the claims
    1236  runtime claims          JSON (UTF-8), whose hash the hardware report carries in its report data

Integers are little-endian. Of all this hardware signed the hardware report and, through its report data, the claims;
nothing else is believed. The NV index has a fixed size (2048, 2600 bytes …) that the report does not fill: what follows
the claims belongs to nobody, is signed by nobody and read by nobody, and only its length is bounded. Source: Microsoft
"Azure confidential VM guest attestation design", attestation report format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from verifier.errors import UnsupportedEvidence
from verifier.formats import snp_report, tdreport
from verifier.formats.reader import Reader

NV_INDEX = 0x01400001
SIGNATURE = b"HCLA"
VERSIONS = (1, 2)
REQUEST_TYPE = 2
HARDWARE_REPORT_SIZE = snp_report.SIZE
REPORT_DATA_SIZE = 64
MAX_CLAIMS_BYTES = 8 * 1024
MAX_REPORT_BYTES = 16 * 1024

_HEADER = Struct("<4sIIII12s")
_RUNTIME = Struct("<IIIII")
_RUNTIME_VERSION = 1


class ReportType(IntEnum):
    """Which hardware report it is."""

    SNP = 2
    TDX = 4


class ClaimsHash(IntEnum):
    """How the runtime claims were hashed into the hardware report."""

    SHA256 = 1
    SHA384 = 2
    SHA512 = 3

    def digest(self, data: bytes) -> bytes:
        """32, 48 or 64 bytes."""
        return hashlib.new(self.name.lower(), data).digest()


@dataclass(frozen=True, slots=True)
class HclReport:
    """The fields that mean something, in wire order; sizes are computed when it is written.

    request_type and status are the paravisor's own, judged by the checks. hardware_report: exactly 1184 bytes.
    claims: the runtime claims exactly as hashed. trailing: how many bytes followed them in the NV index.
    """

    version: int
    request_type: int
    status: int
    hardware_report: bytes
    report_type: ReportType
    claims_hash: ClaimsHash
    claims: bytes
    trailing: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> HclReport:
        """A report, possibly followed by the rest of its NV index. Raises `MalformedEvidence`, or
        `UnsupportedEvidence` for a version, report type or hash that is not known."""
        reader = Reader(data, "hcl_report")
        if len(data) > MAX_REPORT_BYTES:
            raise reader.malformed("the report is too large", expected=f"<= {MAX_REPORT_BYTES} bytes", got=len(data))
        signature, version, size, request_type, status, reserved = reader.unpack(_HEADER, "header")
        if signature != SIGNATURE or any(reserved):
            raise reader.malformed("this is not the header of an HCL report", expected=SIGNATURE, got=signature)
        _known("version", version, VERSIONS)
        hardware_report = reader.take(HARDWARE_REPORT_SIZE, "hardware report")
        report_type, claims_hash, length = _runtime(reader, size)
        claims = reader.take(length, "runtime claims")
        return cls(version, request_type, status, hardware_report, report_type, claims_hash, claims, reader.remaining)

    def to_bytes(self) -> bytes:
        """The report again; its tail is zeros."""
        data_size = _RUNTIME.size + len(self.claims)
        header = _HEADER.pack(SIGNATURE, self.version, _HEADER.size + HARDWARE_REPORT_SIZE + data_size,
                              self.request_type, self.status, bytes(12))
        runtime = _RUNTIME.pack(data_size, _RUNTIME_VERSION, self.report_type, self.claims_hash, len(self.claims))
        return header + self.hardware_report + runtime + self.claims + bytes(self.trailing)

    @property
    def claims_digest(self) -> bytes:
        """The hash of the runtime claims, followed by zeros to the 64 bytes of a report data field."""
        return self.claims_hash.digest(self.claims).ljust(REPORT_DATA_SIZE, b"\x00")


def hardware_report_of(report: bytes, kind: ReportType) -> bytes:
    """The hardware report without the zeros that fill its region. Raises `MalformedEvidence` for other fillings."""
    if kind is ReportType.SNP:
        return report
    reader = Reader(report, "hcl_report")
    found = reader.take(tdreport.SIZE, "TDREPORT")
    if any(reader.rest()):
        raise reader.malformed("the TDREPORT is not followed by zeros")
    return found


def _runtime(reader: Reader, report_size: int) -> tuple[ReportType, ClaimsHash, int]:
    """The 20 bytes before the claims; all three lengths must agree with each other."""
    data_size, version, report_type, claims_hash, length = reader.unpack(_RUNTIME, "runtime data")
    _known("runtime_version", version, (_RUNTIME_VERSION,))
    _known("report_type", report_type, tuple(ReportType))
    _known("hash", claims_hash, tuple(ClaimsHash))
    if data_size != _RUNTIME.size + length:
        raise reader.malformed("the data size does not belong to the claims", expected=_RUNTIME.size + length,
                               got=data_size)
    if report_size != _HEADER.size + HARDWARE_REPORT_SIZE + data_size:
        raise reader.malformed("the report size does not belong to the data",
                               expected=_HEADER.size + HARDWARE_REPORT_SIZE + data_size, got=report_size)
    if length > MAX_CLAIMS_BYTES:
        raise reader.malformed("the runtime claims are too large", expected=f"<= {MAX_CLAIMS_BYTES}", got=length)
    return ReportType(report_type), ClaimsHash(claims_hash), length


def _known(name: str, value: int, known: tuple[int, ...]) -> None:
    if value not in known:
        raise UnsupportedEvidence(f"hcl_report.{name}", f"unknown {name.replace('_', ' ')} of an HCL report",
                                  expected=[int(number) for number in known], got=value)
