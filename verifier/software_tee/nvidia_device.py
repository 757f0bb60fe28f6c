"""A device in miniature: what it measures, what it says of itself, and what its certificate says of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from verifier.formats.dice import COMPOSITE_DEVICE_ID, TCB_INFO
from verifier.formats.rim import Reference
from verifier.formats.spdm_report import OpaqueField, OpaqueType
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension

Kind = Literal["hopper", "blackwell", "switch"]
KINDS: tuple[Kind, ...] = ("hopper", "blackwell", "switch")
PDI_SIZE = 8
SUBJECT_ALTERNATIVE_NAME, DEVICE_INFO = "2.5.29.17", "1.3.6.1.4.1.412.274.1"

_SHA384 = "2.16.840.1.101.3.4.2.2"
# The chip as certificates name it, the processor that attests, how many measurements there are.
_CHIPS: dict[Kind, tuple[str, str, int]] = {"hopper": ("GH100", "GSP", 64), "blackwell": ("GB100", "GSP", 64),
                                            "switch": ("LS_10", "FSP", 31)}
_NVDEC0_ENABLED = b"\xaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceImage:
    """One device and what runs on it.

    number: tells devices of a kind apart. driver_version: None on a switch. measurements: SHA-384 digests, block 1
    first. fwid: of the firmware that signs. pdi: what a switch goes by, or, of a GPU, the switches it is linked to.
    """

    kind: Kind = "hopper"
    number: int = 1
    driver_version: str | None = "580.10.01"
    vbios_version: str = "96.00.AB.00.01"
    measurements: tuple[bytes, ...]
    fwid: bytes = hashlib.sha384(b"software firmware").digest()
    pdi: bytes = b""
    protected_pcie: bool = False

    @classmethod
    def of(cls, kind: Kind, number: int = 1) -> DeviceImage:
        """A device of that kind that nothing is wrong with."""
        count = _CHIPS[kind][2]
        measured = tuple(hashlib.sha384(f"software {kind} {index}".encode()).digest() for index in range(count))
        if kind == "switch":
            return cls(kind=kind, number=number, driver_version=None, vbios_version="96.10.55.00.01",
                       measurements=measured, pdi=bytes((0x20, number)) + bytes(PDI_SIZE - 2))
        return cls(kind=kind, number=number, measurements=measured)

    @property
    def product(self) -> str:
        """The chip in certificates, as ``LS_10``."""
        return _CHIPS[self.kind][0]

    @property
    def chip(self) -> str:
        """The chip in manifests, as ``LS10``."""
        return self.product.replace("_", "")

    @property
    def engine(self) -> str:
        """The processor on it that attests."""
        return _CHIPS[self.kind][1]

    @property
    def chip_serial(self) -> int:
        """The boot ROM certificate's serial number, which stays with the chip."""
        return int.from_bytes(hashlib.sha256(f"chip {self.kind} {self.number}".encode()).digest()[:9], "big") | 1 << 70

    @property
    def opaque(self) -> tuple[OpaqueField, ...]:
        """What it says of itself in a report."""
        if self.kind == "switch":
            found = {OpaqueType.VBIOS_VERSION: self.vbios_version.encode(), OpaqueType.DEVICE_PDI: self.pdi}
        else:
            found = {OpaqueType.VBIOS_VERSION: _vbios(self.vbios_version), OpaqueType.BOARD_ID: b"\xb1\x03\x00\x00",
                     OpaqueType.DRIVER_VERSION: f"{self.driver_version}\0".encode(),
                     OpaqueType.NVDEC0_STATUS: _NVDEC0_ENABLED, OpaqueType.FWID: self.fwid,
                     OpaqueType.PROTECTED_PCIE_STATUS: b"\xaa" if self.protected_pcie else b"\x55"}
            if self.pdi:
                found[OpaqueType.DEVICE_PDI] = self.pdi
        return tuple(OpaqueField(int(kind), data) for kind, data in found.items())

    def references(self, kind: Literal["driver", "vbios"]) -> tuple[Reference, ...]:
        """What NVIDIA would publish for it: the driver's manifest speaks of odd indices, the VBIOS's of the others."""
        mine = 1 if kind == "driver" else 0
        return tuple(Reference(index, self.kind == "switch" or index % 2 == mine,
                               (hashlib.sha384(b"earlier").digest(), value), f"Measurement_{index}")
                     for index, value in enumerate(self.measurements))


def device_identity(text: str) -> Extension:
    """A subject alternative name of DMTF's kind, as ``NVIDIA:GH100:48B02D0100AABBCC``."""
    name = der.explicit(0, der.oid(DEVICE_INFO) + der.explicit(0, der.utf8(text)))
    return Extension(SUBJECT_ALTERNATIVE_NAME, der.sequence(name))


def composite_device_id(device_key: bytes, fwid: bytes) -> Extension:
    """What Hopper and switches have; ``device_key`` is a SubjectPublicKeyInfo."""
    return Extension(COMPOSITE_DEVICE_ID, der.sequence(der.integer(1), device_key, _fwid(fwid)))


def tcb_info(fwid: bytes, flags: bytes = b"\x00\x80\x00\x00\x01") -> Extension:
    """What Blackwell has; ``flags`` is the content of the BIT STRING, by default "not configured"."""
    return Extension(TCB_INFO, der.sequence(
        der.implicit(0, b"NVIDIA"), der.implicit(1, b"GB100 A01 GSP"), der.implicit(2, b"01"), der.implicit(3, b"\x01"),
        der.implicit(4, b"\x00"), der.implicit(5, b"\x00"), der.explicit(6, _fwid(fwid) + _fwid(bytes(48))),
        der.implicit(7, flags), der.implicit(8, b"\xc0"), der.implicit(9, b"\x00")))


def _fwid(digest: bytes) -> bytes:
    return der.sequence(der.oid(_SHA384), der.octet_string(digest))


def _vbios(version: str) -> bytes:
    """``96.00.AB.00.01`` as the integer that a GPU reports."""
    parts = bytes.fromhex(version.replace(".", ""))
    return (parts[4:] + parts[:4]).rjust(8, b"\x00")[::-1]
