"""What NVIDIA's services are asked about a device: manifests by id, and certificates by their status.

A device's own certificates are verified before anybody asks about them, so that evidence cannot send a verifier asking
about whatever it likes. The key of the firmware (the leaf) is certified by the device itself: NVIDIA is asked about
what stands above it.

Source: NVIDIA "RIM Service API", identifiers of manifests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from cryptography import x509

from verifier.collateral.item import Name
from verifier.collateral.rim import ocsp_name, rim_name
from verifier.endorsements.nvidia import Chain, identify, verify_device_chain, verify_rim_chain
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, CollateralError, EvidenceError, MalformedCollateral
from verifier.formats.rim import SignedRim
from verifier.formats.spdm_report import OpaqueType, SpdmReport
from verifier.trail import Trail

_HOPPER = "HOPPER"
_PREFIX = "collateral"

# A certificate with its issuer.
Pair = tuple[x509.Certificate, x509.Certificate]


@dataclass(frozen=True, slots=True)
class RimIds:
    """Identifiers of manifests; None where the report does not say enough. A switch has no driver."""

    driver: str | None
    vbios: str | None

    @classmethod
    def of(cls, chain: Chain, report: SpdmReport) -> RimIds:
        """For a verified chain and what its device's report states, unverified."""
        try:
            device = identify(Trail(_PREFIX), chain)
        except CheckFailed:
            return cls(None, None)
        driver = None if device.is_switch else _driver(device.architecture, device.chip, report)
        return cls(driver, _vbios("NV_SWITCH_BIOS" if device.is_switch else "NV_GPU_VBIOS", report))

    @property
    def names(self) -> tuple[Name, ...]:
        """Those that are names at all: what a report states may be anything."""
        found = []
        for manifest_id in (self.driver, self.vbios):
            try:
                found += [rim_name(manifest_id)] if manifest_id is not None else []
            except MalformedCollateral:
                continue
        return tuple(found)


def _driver(architecture: str, chip: str, report: SpdmReport) -> str | None:
    if report.driver_version is None:
        return None
    if architecture == _HOPPER:
        return f"NV_GPU_DRIVER_{chip}_{report.driver_version}"
    return f"NV_GPU_CC_DRIVER_{_text(report, OpaqueType.CHIP_INFO) or chip}_{report.driver_version}"


def _vbios(prefix: str, report: SpdmReport) -> str | None:
    parts = [_text(report, kind) for kind in (OpaqueType.PROJECT, OpaqueType.PROJECT_SKU, OpaqueType.CHIP_SKU)]
    if report.vbios_version is None or None in parts:
        return None
    words = [part for part in parts if part is not None]
    return "_".join((prefix, *words, report.vbios_version.replace(".", ""))).upper()


def _text(report: SpdmReport, kind: OpaqueType) -> str | None:
    data = (report.field(kind) or b"").rstrip(b"\x00")
    return data.decode("ascii") if data and data.isascii() else None


def device_chain(chain: bytes, roots: Roots, at: int) -> Chain | None:
    """A device's chain if it verifies, whatever OCSP may say."""
    try:
        return verify_device_chain(Trail(_PREFIX), chain, (), roots, at)
    except (CheckFailed, EvidenceError, CollateralError):
        return None


def rim_chain(document: bytes, roots: Roots, at: int) -> Chain | None:
    """The chain of whoever signed a manifest, if it verifies."""
    try:
        return verify_rim_chain(Trail(_PREFIX), SignedRim.from_bytes(document).certificates, (), roots, at)
    except (CheckFailed, EvidenceError, CollateralError):
        return None


def to_be_asked(devices: Iterable[Chain], signers: Iterable[Chain]) -> dict[Name, Pair]:
    """Each certificate to ask about, with its issuer: below the roots, and above the devices' own leaves."""
    chains = [*(chain.certificates[1:] for chain in devices), *(chain.certificates for chain in signers)]
    return {ocsp_name(certificate, issuer): (certificate, issuer)
            for chain in chains for certificate, issuer in pairwise(chain)}
