"""NVIDIA GPUs (Hopper, Blackwell) and NVSwitches (LS10): one or more SPDM reports that answer one nonce.

The rules are `verifier.checks.nvidia`. What the guest binds is the nonce, 32 bytes; a device has no field for init
data. Claims tell every device under ``devices``, and a single one's fields beside it. ``opaque`` is for people to read:
pieces that NVIDIA's tools print as text are text there, the number of the board (``BOARD_ID``) among them; its octets
are ``board_id``. What whoever sent the evidence says of a device (its UUID) is nobody's claim.

Flags, each of which is refused until it is allowed by name:

    MEASUREMENTS_NOT_COMPARED    some device was not compared with every manifest that its kind has: nobody vouched for
                                 its firmware
    RIM_REJECTED                 for some device a manifest was given, and none that verifies
    MEASUREMENT_MISMATCH_<i>     index i of some device equals no reference value
    CERTIFICATE_HOLD             an OCSP answer says that a certificate is suspended, of some device or of whoever
                                 signed a manifest that it was compared with
    SWITCHES_NOT_ATTESTED        a GPU in protected PCIe mode names switches of which some are not in the evidence
    DEVICE_DEBUG, DEVICE_RECOVERY, DEVICE_NOT_SECURE   what a certificate (Blackwell) says of its device

Answers of NVIDIA's attestation service (NRAS) are not evidence of a device. They would be judged under the service's
keys, of which none is pinned: they are left undecided, and refused where they are signed with a shared secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from verifier.checks import nvidia
from verifier.checks.nvidia import Comparison, EndorsedDevice, ReferenceSet
from verifier.claims import Claims
from verifier.endorsements.nvidia import Chain
from verifier.endorsements.window import ALWAYS
from verifier.errors import MissingCollateral, UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import nvidia_json
from verifier.formats.nvidia_json import DeviceEvidence, RemoteClaims
from verifier.formats.spdm_report import OpaqueType, SpdmReport
from verifier.tees.base import Context

PROTECTED_PCIE = b"\xaa"
PDI_SIZE = 8
SERVICE_ALGORITHMS = ("ES384", "none")  # NRAS signs with ES384; NVIDIA's local verifier does not sign at all

_TEXTS = frozenset({OpaqueType.DRIVER_VERSION, OpaqueType.BOARD_ID, OpaqueType.CHIP_SKU, OpaqueType.CHIP_SKU_MOD,
                    OpaqueType.PROJECT, OpaqueType.PROJECT_SKU, OpaqueType.PROJECT_SKU_MOD})
_NAMES = {kind: kind.name for kind in OpaqueType} | {
    OpaqueType.DEVICE_PDI: "SWITCH_PDI/DEVICE_PDI", OpaqueType.FLOORSWEPT_PORTS: "FLOORSWEPT_PORTS/DISABLED_PORTS"}
_OBJECTIONS = {"debug": "DEVICE_DEBUG", "recovery": "DEVICE_RECOVERY", "not_secure": "DEVICE_NOT_SECURE"}


@dataclass(frozen=True, slots=True)
class NvidiaQuote:
    """Every device's report with what came beside it, nothing believed."""

    devices: tuple[tuple[DeviceEvidence, SpdmReport], ...]

    @property
    def reports(self) -> tuple[SpdmReport, ...]:
        """Of every device, in order."""
        return tuple(report for _, report in self.devices)


@dataclass(frozen=True, slots=True)
class _Judged:
    """One device at the end of its rules."""

    report: SpdmReport
    endorsed: EndorsedDevice
    comparison: Comparison


class NvidiaRecipe:
    """The recipe for NVIDIA devices."""

    tee = Tee.NVIDIA

    def parse(self, evidence: Evidence) -> NvidiaQuote:
        """Devices and reports. Raises `MissingCollateral` for the answer of an attestation service."""
        found = nvidia_json.read(evidence.quote)
        if isinstance(found, RemoteClaims):
            if found.algorithm not in SERVICE_ALGORITHMS:
                raise UnsupportedEvidence("nvidia.service.algorithm", "no attestation service signs like this",
                                          expected="ES384", got=found.algorithm)
            raise MissingCollateral("collateral.nvidia.service_keys", "these are claims of an attestation service, not "
                                    "evidence of a device, and no key of such a service is pinned")
        return NvidiaQuote(tuple((device, SpdmReport.from_bytes(device.report)) for device in found))

    def inspect(self, quote: NvidiaQuote) -> dict[str, Any]:
        """The reports' fields."""
        return body_claims(quote.reports)

    def verify(self, quote: NvidiaQuote, context: Context) -> Claims:
        """Every rule of `verifier.checks.nvidia` for every device, then those for all of them together."""
        supplied = nvidia.read_supplied(context.collateral.nvidia, context.prepared, context.at)
        judged = tuple(self._judge(device, report, supplied, context) for device, report in quote.devices)
        nvidia.check_together(context.trail, quote.reports, [one.endorsed for one in judged])
        window = ALWAYS.meet(*(one.endorsed.window for one in judged), *(one.comparison.window for one in judged))
        return Claims(
            tee=self.tee, body=body_claims(quote.reports), endorsement=endorsement_claims(judged),
            software=any(chain.anchor.software for one in judged for chain in _chains(one)),
            report_data=quote.reports[0].nonce, init_data=b"", valid_until=window.not_after, flags=_flags(judged))

    def _judge(self, device: DeviceEvidence, report: SpdmReport, supplied: nvidia.Supplied,
               context: Context) -> _Judged:
        trail, roots, at, prepared = context.trail, context.roots, context.at, context.prepared
        endorsed = nvidia.endorse(trail, device.chain, supplied, roots, at, prepared)
        nvidia.check_report(trail, report, endorsed)
        nvidia.check_arch(trail, device, endorsed.device)
        return _Judged(report, endorsed,
                       nvidia.compare(trail, report, endorsed.device, supplied, roots, at, prepared))


def body_claims(reports: Sequence[SpdmReport]) -> dict[str, Any]:
    """``devices``, and the fields of a single device beside it."""
    devices = [_report_claims(report) for report in reports]
    return {"devices": devices} | (devices[0] if len(devices) == 1 else {})


def _report_claims(report: SpdmReport) -> dict[str, Any]:
    """One report's fields; a piece of opaque data of unknown type is told under its number."""
    opaque = {_NAMES[OpaqueType(piece.type)] if piece.type in _NAMES else str(piece.type):
              _told(piece.data) if piece.type in _TEXTS else piece.data for piece in report.opaque}
    claims: dict[str, Any] = {
        "nonce": report.nonce, "responder_nonce": report.responder_nonce, "slot": report.slot,
        "driver_version": report.driver_version, "vbios_version": report.vbios_version,
        "measurements": {str(block.index): block.value for block in report.blocks}, "opaque": opaque}
    board = report.field(OpaqueType.BOARD_ID)
    return claims if board is None else claims | {"board_id": board}


def _told(data: bytes) -> str:
    return data.rstrip(b"\x00").decode("utf-8", "replace")


def endorsement_claims(judged: Sequence[_Judged]) -> dict[str, Any]:
    """What certificates and manifests say: ``certified`` for every device in order, and a single one's beside it.

    ``flags`` of a device are those that it alone causes.
    """
    certified = [_certified(one) for one in judged]
    switches = sum(one.endorsed.device.is_switch for one in judged)
    counts = {"gpu_count": len(judged) - switches, "switch_count": switches}
    return {"certified": certified} | counts | (certified[0] if len(certified) == 1 else {})


def _certified(one: _Judged) -> dict[str, Any]:
    device, firmware, chain = one.endorsed.device, one.endorsed.firmware, one.endorsed.chain
    comparison = one.comparison
    return {
        "arch": device.architecture, "chip": device.chip, "hwmodel": device.hardware_model,
        "chip_serial": device.chip_serial, "device_serial": device.serial, "ueid": device.ueid,
        "fwid": firmware.fwids[0], "operational_flags": list(firmware.flags),
        "root_sha256": chain.anchor.sha256_certificate, "ocsp": dict(chain.ocsp) or "not given",
        "rims": {found.kind: _rim_claims(found) for found in comparison.sets},
        "measurements_compared": list(comparison.compared) or "not compared",
        "measurements_mismatched": list(comparison.mismatched), "flags": [*_device_flags(one)]}


def _rim_claims(found: ReferenceSet) -> dict[str, Any]:
    claims: dict[str, Any] = {"standing": found.standing, "version": found.version,
                              "rejected": [rim.reason for rim in found.rejected]}
    if found.used is None:
        return claims
    return claims | {"tag_id": found.used.rim.attributes["tagId"], "ocsp": dict(found.used.chain.ocsp) or "not given",
                     "root_sha256": found.used.chain.anchor.sha256_certificate}


def _chains(one: _Judged) -> list[Chain]:
    """The device's, and those of the manifests that were compared with."""
    return [one.endorsed.chain, *(found.used.chain for found in one.comparison.sets if found.used)]


def _flags(judged: Sequence[_Judged]) -> tuple[str, ...]:
    found = [flag for one in judged for flag in _device_flags(one)]
    return tuple(dict.fromkeys([*found, *(["SWITCHES_NOT_ATTESTED"] if _lacks_switches(judged) else [])]))


def _device_flags(one: _Judged) -> Iterator[str]:
    yield from (_OBJECTIONS[flag] for flag in one.endorsed.firmware.flags if flag in _OBJECTIONS)
    if any(chain.on_hold for chain in _chains(one)):
        yield "CERTIFICATE_HOLD"
    standings = [found.standing for found in one.comparison.sets]
    if "rejected" in standings:
        yield "RIM_REJECTED"
    if set(standings) != {"verified"}:
        yield "MEASUREMENTS_NOT_COMPARED"
    yield from (f"MEASUREMENT_MISMATCH_{index}" for index in one.comparison.mismatched)


def _lacks_switches(judged: Sequence[_Judged]) -> bool:
    """Whether a GPU in protected PCIe mode names a switch (by its PDI) of which there is no evidence."""
    present = {one.report.field(OpaqueType.DEVICE_PDI) for one in judged if one.endorsed.device.is_switch}
    return any(not _switches_of(one.report) <= present for one in judged if not one.endorsed.device.is_switch
               and one.report.field(OpaqueType.PROTECTED_PCIE_STATUS) == PROTECTED_PCIE)


def _switches_of(report: SpdmReport) -> set[bytes]:
    """The PDIs of the switches that a GPU is linked to; an absent list names one that no evidence can be of."""
    listed = report.field(OpaqueType.DEVICE_PDI) or b"?"
    return {listed[start : start + PDI_SIZE] for start in range(0, len(listed), PDI_SIZE)}
