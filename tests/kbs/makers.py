"""Every maker in miniature behind one door, and what an owner registers who affirms their machines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verifier.evidence import Evidence, Tee
from verifier.formats.coco_evidence import evidence_to_json
from verifier.formats.nvidia_json import evidence_of
from verifier.software_tee.amd import SmallAmd
from verifier.software_tee.arm import SmallArm
from verifier.software_tee.aws import SmallAws
from verifier.software_tee.azure import SmallAzure
from verifier.software_tee.guest import GuestImage
from verifier.software_tee.hygon import SmallHygon
from verifier.software_tee.maker import SoftwareTee
from verifier.software_tee.nvidia import DeviceImage, SmallNvidia
from verifier.software_tee.nvidia_device import Kind
from verifier.software_tee.tpm import SmallTpm

Small = SmallAzure | SmallTpm | SmallAws | SmallArm | SmallHygon


@dataclass(frozen=True)
class Makers:
    """The software TEE (TDX), and the other makers by TEE. The devices of one NVIDIA are told apart by number."""

    tee: SoftwareTee
    small: dict[str, Small]
    nvidia: SmallNvidia
    devices: tuple[SmallNvidia, ...]

    @classmethod
    def create(cls, at: int) -> Makers:
        tee = SoftwareTee.create(at=at, tees=("tdx",))
        amd = SmallAmd.create(at=at - 3600)
        clouds = {str(kind): SmallAzure.create(kind, at=at - 3600, amd=amd, intel=tee.intel)
                  for kind in (Tee.AZ_SNP_VTPM, Tee.AZ_TDX_VTPM)}
        hygon = SmallHygon.create(at=at)
        small: dict[str, Small] = {
            **clouds, "tpm": SmallTpm.create(at=at - 3600), "nitro": SmallAws.create(at=at),
            "cca": SmallArm.create(at=at), "csv": replace(hygon, guest=replace(hygon.guest, policy=0x4F))}
        nvidia = SmallNvidia.create(at=at - 3600)
        kinds: tuple[tuple[Kind, int], ...] = (("hopper", 8), ("blackwell", 1), ("switch", 2))
        made = [nvidia.on(DeviceImage.of(kind, number)) for kind, count in kinds for number in range(1, count + 1)]
        return cls(tee, small, nvidia, tuple(made))

    @property
    def guest(self) -> GuestImage:
        return self.tee.guest

    def evidence(self, tee: str, report_data: bytes, *, init_data: bytes | None = None, guest: Any = None) -> Evidence:
        """As the guest's attester would obtain it. guest: for TDX another image, else another maker of that TEE."""
        if tee == "tdx":
            return self.tee.evidence(tee, report_data, init_data=init_data, guest=guest)
        maker = guest or self.small[tee]
        blank = bytes(64) if tee == "cca" else b""
        return maker.evidence(report_data, blank if init_data is None else init_data)

    def device(self, kind: Kind, number: int = 1) -> SmallNvidia:
        return next(maker for maker in self.devices if (maker.image.kind, maker.image.number) == (kind, number))

    def save(self, folder: Path) -> None:
        """Roots and collateral of all of them, as an operator would lay them down."""
        self.tee.save(folder)
        for name, makers in (*((tee, [maker]) for tee, maker in self.small.items()), ("nvidia", self.devices)):
            for place, files in (("roots", [maker.roots() for maker in makers]),
                                 ("collateral", [maker.collateral_files() for maker in makers])):
                _write(folder / place / ("" if place == "roots" else name), name, files)

    def reference(self) -> dict[str, Any]:
        """What an owner registers who knows all of these guests and devices."""
        snp, tdx, tpm = self.small["az-snp-vtpm"], self.small["az-tdx-vtpm"], self.small["tpm"]
        nitro, cca, csv = self.small["nitro"], self.small["cca"], self.small["csv"]
        of_tpm = tpm.guest.values("sha256")
        return {
            "mr_td": [self.guest.mr_td.hex(), tdx.vm.image.mr_td.hex()], "rtmr_1": [self.guest.rtmr1.hex()],
            "rtmr_2": [self.guest.rtmr2.hex()], "xfam": [self.guest.xfam.hex()],
            "measurement": [snp.vm.image.measurement.hex()], "tcb_min_bootloader": 0, "tcb_min_tee": 0,
            "tcb_min_snp": 0, "tcb_min_microcode": 0,
            **{f"{name}_pcr{number:02}": [cloud.vm.pcrs[number].hex()] for name, cloud in (("snp", snp), ("tdx", tdx))
               for number in (4, 11)},
            **{f"tpm_pcr{number:02}": [of_tpm[number].hex()] for number in (0, 4, 11)},
            "trusted_aks": [tpm.ak.key.public_key.hex(), hashlib.sha256(tpm.ak.key.public_key).hexdigest()],
            **{f"nitro_pcr{number}": [nitro.enclave.pcrs[number].hex()] for number in (0, 1, 2)},
            "cca_realm_initial_measurement": [cca.realm.initial_measurement.hex()],
            "cca_implementation_id": [cca.platform.implementation_id.hex()],
            "cca_platform_measurement": [part.measurement_value.hex() for part in cca.platform.components],
            "csv_measure": [csv.guest.measure.hex()],
            "allowed_driver_versions": [self.nvidia.image.driver_version],
            "allowed_vbios_versions": [self.nvidia.image.vbios_version],
            "allowed_switch_bios_versions": [self.device("switch").image.vbios_version],
        }


def devices_json(nonce: bytes, makers: Any) -> dict[str, Any]:
    """NVIDIA evidence of these devices over one nonce, as it is sent."""
    return evidence_to_json(evidence_of(*(maker.device_evidence(maker.body(nonce)) for maker in makers)))


def additional(**evidence: Any) -> str:
    """The text of ``additional_evidence``."""
    return json.dumps(evidence)


def _write(folder: Path, name: str, files: list[dict[str, bytes]]) -> None:
    folder.mkdir(exist_ok=True)
    for path, data in _numbered(name, files):
        (folder / path).write_bytes(data)


def _numbered(name: str, files: list[dict[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Each of a name of its own; what several have in common is written once."""
    seen: set[bytes] = set()
    for number, one in enumerate(files):
        for path, data in one.items():
            if data not in seen:
                seen.add(data)
                yield f"{name}-{number}-{path}", data
