"""NVIDIA's rules about one device's report.

    1  the chain holds, the device and its firmware are named in it          chain.*
    2  the report asks and answers as it must                                report.request, report.response
    3  the report is signed by the chain's leaf                              report.signature
    4  the firmware it reports is the one that the leaf belongs to           report.fwid
    5  the given reference manifests that are for this device are verified   rim.*
    6  every active reference is compared with its measurement               measurement.<index>

Step 1 rests on nothing but certificates, OCSP answers and roots, step 5 on manifests, answers and roots: both are kept
under the digest of these. Manifest index i is about measurement block i + 1. NVIDIA's rules leave index 35 out on a GPU
that reports its NVDEC0 engine disabled.

A device whose measurements differ, or were not compared with both manifests that its kind has, is still the device that
it says it is. What became of the comparison is a result (`Comparison`) that nobody accepts without saying so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import NvidiaCollateral
from verifier.endorsements.nvidia import (
    Chain,
    Device,
    check_raw_signature,
    firmware_identity,
    identify,
    verify_device_chain,
)
from verifier.endorsements.nvidia_rim import RejectedRim, VerifiedRim, judge_rim, read_rims
from verifier.endorsements.ocsp import OcspAnswer, read_answer
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import ALWAYS, Window
from verifier.errors import MalformedCollateral
from verifier.formats.dice import FirmwareIdentity
from verifier.formats.nvidia_json import DeviceEvidence
from verifier.formats.rim import Reference, SignedRim
from verifier.formats.spdm_report import OpaqueType, SpdmReport
from verifier.trail import Check, Trail

MAX_ANSWERS = 256
ALL_MEASUREMENTS, SIGNATURE_REQUESTED = 0xFF, 1
NVDEC0_DISABLED = b"\x55"
NVDEC0_INDEX = 35
DRIVER, VBIOS = "driver", "vbios"


@dataclass(frozen=True, slots=True)
class Supplied:
    """Everything that was given as collateral, read and not believed. digest: of its bytes."""

    rims: tuple[SignedRim, ...]
    answers: tuple[OcspAnswer, ...]
    digest: bytes
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class EndorsedDevice:
    """Step 1: a device with the key that may sign its reports, and the checks that say so."""

    checks: tuple[Check, ...] = field(repr=False)
    window: Window
    chain: Chain
    device: Device
    firmware: FirmwareIdentity


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Step 5 for one kind of manifest.

    kind: ``driver`` or ``vbios``. version: what the report states, None when it states none. standing: ``verified``;
    ``rejected`` when manifests of that version were given and none of them verified; ``not given``. used: the one to
    compare with, None unless verified. rejected: those that did not verify.
    """

    kind: str
    version: str | None
    standing: str
    used: VerifiedRim | None
    rejected: tuple[RejectedRim, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Steps 5 and 6. compared: the indices that were compared. mismatched: those that equal no alternative, or that the
    report has no block for."""

    sets: tuple[ReferenceSet, ...]
    compared: tuple[int, ...]
    mismatched: tuple[int, ...]

    @property
    def window(self) -> Window:
        """How long the same manifests verify, and the same do not."""
        return ALWAYS.meet(*(found.used.window for found in self.sets if found.used),
                           *(rejected.window for found in self.sets for rejected in found.rejected))


def read_supplied(collateral: NvidiaCollateral | None, prepared: Prepared, at: int) -> Supplied:
    """Manifests and answers, read once. Raises `MalformedCollateral` for what is neither."""
    given = collateral or NvidiaCollateral()
    found = prepared.find(Supplied, given.digest, at)
    if found is not None:
        return found
    if len(given.ocsp_answers) > MAX_ANSWERS:
        raise MalformedCollateral("collateral.ocsp", "too many answers", expected=f"<= {MAX_ANSWERS}",
                                  got=len(given.ocsp_answers))
    answers = tuple(read_answer(data, "OCSP answer") for data in dict.fromkeys(given.ocsp_answers))
    return prepared.keep(given.digest, Supplied(read_rims(given.rims), answers, given.digest))


def endorse(trail: Trail, chain: bytes, supplied: Supplied, roots: Roots, at: int,
            prepared: Prepared) -> EndorsedDevice:
    """Step 1. Raises `MalformedEvidence` for certificates or extensions that cannot be read."""
    name = (trail.prefix, hashlib.sha256(chain).digest(), supplied.digest, roots.digest)

    def judge(own: Trail) -> EndorsedDevice:
        verified = verify_device_chain(own, chain, supplied.answers, roots, at)
        device, firmware = identify(own, verified), firmware_identity(own, verified)
        return EndorsedDevice(own.own_checks, verified.window, verified, device, firmware)
    found = prepared.establish(trail, EndorsedDevice, name, at, judge)
    trail.require("endorsement.validity", found.window.contains(at), "all of the above must hold at the moment",
                  expected=list(found.window), got=at)
    return found


def check_report(trail: Trail, report: SpdmReport, endorsed: EndorsedDevice) -> None:
    """Steps 2 to 4."""
    trail.equal("report.request", expected=(SIGNATURE_REQUESTED, ALL_MEASUREMENTS),
                got=(report.request_param1, report.request_param2),
                detail="the request must ask for every measurement, signed")
    trail.equal("report.response", expected=(0, report.slot), got=(report.param1, report.param2),
                detail="the response must come from the slot that was asked, and its reserved octet be zero")
    check_raw_signature(trail, "report.signature", endorsed.chain.key, report.signature, report.signed_bytes)
    reported = report.field(OpaqueType.FWID)
    if reported is None:
        trail.passed("report.fwid.absent", "the device reports no FWID; the leaf's is signed by the boot ROM")
    else:
        trail.equal("report.fwid", expected=endorsed.firmware.fwids[0], got=reported,
                    detail="the report must come from the firmware that its certificate belongs to")


def check_arch(trail: Trail, evidence: DeviceEvidence, device: Device) -> None:
    """What the sender says of the architecture must be so; nothing else is taken from its words."""
    if evidence.arch is not None:
        trail.equal("device.arch", expected=device.architecture, got=evidence.arch.upper(),
                    detail="the architecture must be that of the certified device")


def compare(trail: Trail, report: SpdmReport, device: Device, supplied: Supplied, roots: Roots, at: int,
            prepared: Prepared) -> Comparison:
    """Steps 5 and 6."""
    wanted = [] if device.is_switch else [(DRIVER, report.driver_version)]
    wanted.append((VBIOS, report.vbios_version))
    sets = tuple(_references(trail, kind, version, device, supplied, roots, at, prepared) for kind, version in wanted)
    references = [reference for found in sets if found.used for reference in found.used.rim.active]
    indices = [reference.index for reference in references]
    trail.require("rim.conflict", len(set(indices)) == len(indices), "an index must be in one manifest only",
                  got=sorted({index for index in indices if indices.count(index) > 1}))
    judged = [reference for reference in references if not _left_out(report, device, reference)]
    mismatched = tuple(reference.index for reference in judged if not _matches(report, reference))
    for reference in judged:
        if reference.index not in mismatched:
            trail.passed(f"measurement.{reference.index}", got=report.blocks[reference.index].value)
    return Comparison(sets, tuple(sorted(reference.index for reference in judged)), tuple(sorted(mismatched)))


def _references(trail: Trail, kind: str, version: str | None, device: Device, supplied: Supplied, roots: Roots, at: int,
                prepared: Prepared) -> ReferenceSet:
    """The manifests that claim to be for this chip and version; at most one of them may verify."""
    fitting = [rim for rim in supplied.rims
               if version is not None and (rim.claimed.product, rim.claimed.version) == (device.chip, version)]
    judged = [_judged(trail, rim, supplied, roots, at, prepared) for rim in fitting]
    verified = [rim for rim in judged if isinstance(rim, VerifiedRim)]
    rejected = tuple(rim for rim in judged if isinstance(rim, RejectedRim))
    for rim in rejected:
        trail.passed(f"rim.{kind}.rejected", f"a manifest is not used: {rim.detail}", got=rim.reason)
    trail.require(f"rim.{kind}.single", len(verified) <= 1, "there must be one manifest for a version",
                  got=len(verified))
    if not verified:
        standing = "rejected" if rejected else "not given"
        trail.passed(f"rim.{kind}.absent", f"no {kind} manifest to compare with: {standing}", got=version)
        return ReferenceSet(kind, version, standing, None, rejected)
    used = verified[0]
    trail.extend(used.checks)
    for rule, expected, got in (("version", version, used.rim.version), ("product", device.chip, used.rim.product)):
        trail.equal(f"rim.{kind}.{rule}", expected=expected, got=got)
    return ReferenceSet(kind, version, "verified", used, rejected)


def _judged(trail: Trail, rim: SignedRim, supplied: Supplied, roots: Roots, at: int,
            prepared: Prepared) -> VerifiedRim | RejectedRim:
    name = (trail.prefix, rim, supplied.digest, roots.digest)
    found = prepared.find(VerifiedRim, name, at) or prepared.find(RejectedRim, name, at)
    return found or prepared.keep(name, judge_rim(trail.prefix, rim, supplied.answers, roots, at))


def _left_out(report: SpdmReport, device: Device, reference: Reference) -> bool:
    return (reference.index == NVDEC0_INDEX and not device.is_switch
            and report.field(OpaqueType.NVDEC0_STATUS) == NVDEC0_DISABLED)


def _matches(report: SpdmReport, reference: Reference) -> bool:
    """Whether block index + 1, which stands at place index, holds one of the alternatives."""
    return (reference.index < len(report.blocks)
            and report.blocks[reference.index].value in reference.alternatives)


def check_together(trail: Trail, reports: Sequence[SpdmReport], endorsed: Sequence[EndorsedDevice]) -> None:
    """Several devices answer one question, each once."""
    trail.require("devices.nonce", len({report.nonce for report in reports}) == 1,
                  "every device must answer the same nonce", got=len({report.nonce for report in reports}))
    chips = [(found.device.chip, found.device.chip_serial) for found in endorsed]
    trail.require("devices.distinct", len(set(chips)) == len(chips), "a device may be in the evidence only once",
                  got=sorted(serial for _, serial in chips))
