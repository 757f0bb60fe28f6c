"""The SGX enclave report body (384 bytes), which is both an SGX quote's body and the quoting enclave's own report.

Source: Intel SGX DCAP "ECDSA Quote Library API", appendix A.4 (Enclave Report Body). Integers are little-endian.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from struct import Struct

from verifier.formats.reader import Reader

SIZE = 384

_LAYOUT = Struct("<16sI12s16s16s32s32s32s32s64sHHH42s16s64s")


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """Fields in wire order. ``attributes`` is flags (8 bytes) then XFRM (8 bytes)."""

    cpu_svn: bytes
    misc_select: int
    reserved1: bytes
    isv_ext_prod_id: bytes
    attributes: bytes
    mr_enclave: bytes
    reserved2: bytes
    mr_signer: bytes
    reserved3: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    reserved4: bytes
    isv_family_id: bytes
    report_data: bytes

    @classmethod
    def read(cls, reader: Reader) -> EnclaveReport:
        """The next 384 bytes. Raises `MalformedEvidence`."""
        return cls(*reader.unpack(_LAYOUT, "enclave report"))

    @classmethod
    def from_bytes(cls, data: bytes) -> EnclaveReport:
        """Exactly 384 bytes. Raises `MalformedEvidence`."""
        reader = Reader(data, "enclave_report")
        report = cls.read(reader)
        reader.end()
        return report

    def to_bytes(self) -> bytes:
        """The 384 bytes again."""
        return _LAYOUT.pack(*astuple(self))

    @property
    def flags(self) -> int:
        """The first 8 bytes of ATTRIBUTES as an integer: bit 1 is DEBUG."""
        return int.from_bytes(self.attributes[:8], "little")

    @property
    def debug(self) -> bool:
        """ATTRIBUTES.DEBUG."""
        return bool(self.flags & 0x2)
