"""A small NVIDIA: a device with its five certificates, whoever signs reference manifests, and an OCSP responder.

    nvidia = SmallNvidia.create(at=1_780_000_000, kind="hopper")
    report = nvidia.report(nvidia.body(nonce))
    evidence = nvidia.evidence(nonce)
    collateral = NvidiaCollateral(**nvidia.collateral())

Names, shapes and extensions are NVIDIA's; keys and roots are not. `altered` works as in `verifier.software_tee.intel`:

    nvidia.altered(boot_rom=lambda certificate: replace(certificate, not_after=0))
    nvidia.altered(ocsp=lambda answer: replace(answer, status="revoked") if answer.about == "line" else answer)
    nvidia.altered(driver_rim=lambda manifest: replace(manifest, digest=bytes(48)))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from verifier.errors import SetupError
from verifier.evidence import Evidence
from verifier.formats.nvidia_json import DeviceEvidence, evidence_of
from verifier.formats.spdm_report import MeasurementBlock, SpdmReport
from verifier.software_tee import certificates as x509
from verifier.software_tee.certificates import Alteration, Certificate, Extension, Name
from verifier.software_tee.keys import EcKey, KeyRing, key_identifier
from verifier.software_tee.nvidia_device import (
    KINDS,
    SUBJECT_ALTERNATIVE_NAME,
    DeviceImage,
    Kind,
    composite_device_id,
    device_identity,
    tcb_info,
)
from verifier.software_tee.nvidia_ocsp import OCSP_SIGNING, Answer, extended_key_usage
from verifier.software_tee.nvidia_rim import Manifest, default_meta

__all__ = ["DEVICE_ROLES", "KINDS", "RIM_ROLES", "SUBJECT_ALTERNATIVE_NAME", "DeviceImage", "Kind", "SmallNvidia",
           "UnsignedReport", "composite_device_id", "device_identity", "tcb_info"]

T = TypeVar("T")
DeviceRole = Literal["leaf", "boot_rom", "provisioner", "line", "root"]
RimRole = Literal["rim_leaf", "rim_l3", "rim_line", "rim_root"]
Role = DeviceRole | RimRole

YEAR = 365 * 24 * 3600
NONCE_SIZE = 32
DEVICE_ROLES: tuple[DeviceRole, ...] = ("leaf", "boot_rom", "provisioner", "line", "root")
RIM_ROLES: tuple[RimRole, ...] = ("rim_leaf", "rim_l3", "rim_line", "rim_root")

_SERIAL_NUMBER = "2.5.4.5"
_ISSUERS: dict[str, Role] = {
    "leaf": "boot_rom", "boot_rom": "provisioner", "provisioner": "line", "line": "root", "root": "root",
    "rim_leaf": "rim_l3", "rim_l3": "rim_line", "rim_line": "rim_root", "rim_root": "rim_root"}
_SERIALS = {"provisioner": 0x6A01, "line": 0x4C01, "root": 0x2D01, "rim_leaf": 0x5E01, "rim_l3": 0xB401,
            "rim_line": 0xC601, "rim_root": 0x4501}
_ARCHITECTURES: dict[Kind, str] = {"hopper": "HOPPER", "blackwell": "BLACKWELL", "switch": "LS10"}


class NvidiaAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    leaf: Alteration[Certificate]
    boot_rom: Alteration[Certificate]
    provisioner: Alteration[Certificate]
    line: Alteration[Certificate]
    root: Alteration[Certificate]
    rim_leaf: Alteration[Certificate]
    rim_l3: Alteration[Certificate]
    rim_line: Alteration[Certificate]
    rim_root: Alteration[Certificate]
    responder: Alteration[Certificate]
    report: Alteration[UnsignedReport]
    driver_rim: Alteration[Manifest]
    vbios_rim: Alteration[Manifest]
    ocsp: Alteration[Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedReport:
    """A report to be; ``mutate`` sees the bytes that are signed; the body's own signature is not used."""

    body: SpdmReport
    signer: EcKey
    mutate: Alteration[bytes] = x509.unchanged

    def issue(self) -> bytes:
        """The report."""
        signed = self.mutate(self.body.signed_bytes)
        return signed + self.signer.sign_raw(signed)


@dataclass(frozen=True)
class SmallNvidia:
    """A maker with one device. ``issued``: when answers and the manifests' signer were made; ``valid_for``: their span.
    """

    keys: KeyRing = field(repr=False)
    issued: int
    valid_for: int = YEAR
    image: DeviceImage = field(default_factory=lambda: DeviceImage.of("hopper"))
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int, valid_for: int = YEAR, kind: Kind = "hopper") -> SmallNvidia:
        """A maker at ``at`` with a device of ``kind``; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at, valid_for, DeviceImage.of(kind))

    def altered(self, **alterations: Unpack[NvidiaAlterations]) -> SmallNvidia:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=x509.composed(self.alterations, alterations))

    def on(self, image: DeviceImage) -> SmallNvidia:
        """This maker with another device, of any kind."""
        return replace(self, image=image)

    # -- certificates --------------------------------------------------------------------------------------------------

    def key(self, role: str) -> EcKey:
        """The private key of that role; leaf and boot ROM have one per device."""
        own = role in ("leaf", "boot_rom")
        return self.keys.p384(f"nvidia/{self.image.kind}-{self.image.number}/{role}" if own else f"nvidia/{role}")

    def name(self, role: Role) -> Name:
        """The subject of a certificate, in NVIDIA's words."""
        image, company = self.image, (x509.ORGANIZATION, "NVIDIA Corporation")
        engine = f"{image.product} A01 {image.engine}"
        line = "GB100" if image.kind == "blackwell" else "GH100"
        names: dict[Role, Name] = {
            "leaf": ((_SERIAL_NUMBER, f"{self._serial('leaf'):X}"), company, (x509.COMMON_NAME, f"{engine} FMC LF")),
            "boot_rom": ((_SERIAL_NUMBER, f"{image.chip_serial:X}"), company, (x509.COMMON_NAME, f"{engine} BROM")),
            "provisioner": ((x509.COMMON_NAME, f"NVIDIA {image.product} Provisioner ICA 1"), company),
            "line": ((x509.COMMON_NAME, f"NVIDIA {line} Identity"), company),
            "root": ((x509.COMMON_NAME, "NVIDIA Device Identity CA"), (x509.ORGANIZATION, "NVIDIA")),
            "rim_leaf": (company, (x509.COMMON_NAME, "HCC RIM L4 Signer")),
            "rim_l3": ((x509.COMMON_NAME, f"NVIDIA Reference Value L3 {image.chip} 001"), company),
            "rim_line": ((x509.COMMON_NAME, f"NVIDIA Reference Value {image.chip} CA"), company),
            "rim_root": ((x509.COUNTRY, "US"), (x509.ORGANIZATION, "NVIDIA"),
                         (x509.COMMON_NAME, "NVIDIA CoRIM signing Root CA")),
        }
        return names[role]

    def _serial(self, role: Role) -> int:
        if role == "boot_rom":
            return self.image.chip_serial
        if role == "leaf":
            return int.from_bytes(key_identifier(self.key("leaf")), "big") & ~(1 << 159) | 1 << 150
        return _SERIALS[role]

    def certificate(self, role: Role) -> bytes:
        """DER."""
        return self._kept(role, lambda: self._certificate(role).issue())

    def _kept(self, name: str, issue: Callable[[], bytes]) -> bytes:
        """What was issued under that name, made when first needed: a maker never changes."""
        if name not in self._issued:
            self._issued[name] = issue()
        return self._issued[name]

    @cached_property
    def _issued(self) -> dict[str, bytes]:
        return {}

    def _certificate(self, role: Role) -> Certificate:
        issuer, short = _ISSUERS[role], role == "rim_leaf"
        return self._alter(role, Certificate(
            subject=self.name(role), issuer=self.name(issuer), serial=self._serial(role),
            public_key=self.key(role).public_key, signer=self.key(issuer), extensions=self._extensions(role),
            not_before=self.issued if short else x509.NOT_BEFORE,
            not_after=self.issued + self.valid_for if short else x509.NOT_AFTER))

    def _extensions(self, role: Role) -> tuple[Extension, ...]:
        identifiers = (x509.subject_key_identifier(key_identifier(self.key(role))),
                       x509.authority_key_identifier(key_identifier(self.key(_ISSUERS[role]))))
        if role in ("leaf", "rim_leaf"):
            own = self._device_extensions() if role == "leaf" else (x509.basic_constraints(ca=False),)
            return (x509.key_usage(x509.DIGITAL_SIGNATURE), *identifiers, *own)
        bits = (x509.KEY_CERT_SIGN,) if role == "boot_rom" else (x509.KEY_CERT_SIGN, x509.CRL_SIGN)
        return (x509.basic_constraints(ca=True, path_length=0 if role == "rim_l3" else None), x509.key_usage(*bits),
                *identifiers)

    def _device_extensions(self) -> tuple[Extension, ...]:
        """Who the device is (DMTF) and which firmware its key belongs to (DICE)."""
        image = self.image
        serial = f"48B02D{image.number:02X}00AABBCC"
        return (device_identity(f"NVIDIA:{image.product}:{serial}"),
                tcb_info(image.fwid) if image.kind == "blackwell"
                else composite_device_id(self.key("boot_rom").public_key, image.fwid))

    def chain(self, *roles: Role) -> bytes:
        """PEM in that order, by default the device's chain."""
        return x509.pem(*(self.certificate(role) for role in roles or DEVICE_ROLES))

    def roots(self) -> dict[str, bytes]:
        """What a verifier must be told to trust, by file name."""
        return {"nvidia.pem": self.chain("root"), "nvidia-rim.pem": self.chain("rim_root")}

    # -- collateral ----------------------------------------------------------------------------------------------------

    def manifest(self, kind: Literal["driver", "vbios"]) -> bytes:
        """The signed reference manifest of driver or VBIOS."""
        return self._kept(f"{kind}_rim", lambda: self._manifest(kind).issue())

    def _manifest(self, kind: Literal["driver", "vbios"]) -> Manifest:
        image = self.image
        version = image.driver_version if kind == "driver" else image.vbios_version
        tag = hashlib.sha384(f"{kind} {image.chip} {version}".encode()).hexdigest()
        return self._alter(f"{kind}_rim", Manifest(
            attributes={"corpus": "false", "name": image.chip, "patch": "false", "supplemental": "false", "tagId": tag,
                        "version": "1.0", "tagVersion": "0"},
            meta=default_meta(image.chip, version or ""), references=image.references(kind),
            signer=self.key("rim_leaf"), certificates=tuple(self.certificate(role) for role in RIM_ROLES)))

    def manifests(self) -> dict[str, bytes]:
        """Those that the device's kind has."""
        vbios = {"vbios": self.manifest("vbios")}
        return vbios if self.image.kind == "switch" else {"driver": self.manifest("driver")} | vbios

    def answer(self, role: Role) -> bytes:
        """What the responder says about that certificate; the responder is certified by its issuer."""
        return self._kept(f"answer {role}", lambda: self._answer(role).issue())

    def _answer(self, role: Role) -> Answer:
        issuer = _ISSUERS[role]
        signer = self.key(f"responder-{issuer}")
        return self._alter("ocsp", Answer(
            about=role, issuer=self.name(issuer), issuer_key=self.key(issuer), serial=self._certificate(role).serial,
            signer=signer, this_update=self.issued, next_update=self.issued + self.valid_for,
            certificates=(self.responder(issuer),)))

    def responder(self, issuer: Role) -> bytes:
        """The certificate of the responder for what ``issuer`` issued, DER."""
        key = self.key(f"responder-{issuer}")
        return self._alter("responder", Certificate(
            subject=((x509.COMMON_NAME, f"NVIDIA OCSP responder {issuer}"),), issuer=self.name(issuer), serial=0x0C01,
            public_key=key.public_key, signer=self.key(issuer), not_before=self.issued,
            not_after=self.issued + self.valid_for, extensions=(
                x509.key_usage(x509.DIGITAL_SIGNATURE), x509.subject_key_identifier(key_identifier(key)),
                x509.authority_key_identifier(key_identifier(self.key(issuer))),
                extended_key_usage(OCSP_SIGNING)))).issue()

    def answers(self) -> dict[str, bytes]:
        """Of every certificate that NVIDIA's own chains say its responder answers for."""
        roles: tuple[Role, ...] = ("boot_rom", "provisioner", "line", "rim_leaf", "rim_l3", "rim_line")
        return {role: self.answer(role) for role in roles}

    def collateral(self) -> dict[str, tuple[bytes, ...]]:
        """The members of `verifier.endorsements.collateral.NvidiaCollateral`."""
        return {"rims": tuple(self.manifests().values()), "ocsp_answers": tuple(self.answers().values())}

    def collateral_files(self) -> dict[str, bytes]:
        """The same as files."""
        return ({f"{kind}-rim.xml": data for kind, data in self.manifests().items()}
                | {f"ocsp-{role}.der": data for role, data in self.answers().items()})

    # -- evidence ------------------------------------------------------------------------------------------------------

    def body(self, nonce: bytes) -> SpdmReport:
        """A report that nothing is wrong with, to be changed as wished and handed to `report`."""
        blocks = tuple(MeasurementBlock(index, value) for index, value in enumerate(self.image.measurements, start=1))
        responder_nonce = hashlib.sha256(b"responder" + nonce).digest()
        return SpdmReport(nonce=nonce, blocks=blocks, responder_nonce=responder_nonce, opaque=self.image.opaque)

    def report(self, body: SpdmReport) -> bytes:
        """``body``, signed by the leaf's key."""
        return self._alter("report", UnsignedReport(body=body, signer=self.key("leaf"))).issue()

    def device_evidence(self, body: SpdmReport, arch: str | None = None) -> DeviceEvidence:
        """The report and the chain; ``arch`` None is the device's own."""
        return DeviceEvidence(self.report(body), self.chain(), arch or _ARCHITECTURES[self.image.kind])

    def evidence(self, report_data: bytes, init_data: bytes = b"") -> Evidence:
        """What an attester would obtain: ``report_data`` is the nonce, 32 bytes; there is no field for init data."""
        if len(report_data) != NONCE_SIZE or init_data:
            raise SetupError("software_tee.report_data", "a device binds a nonce and nothing else",
                             expected=f"{NONCE_SIZE} and 0 bytes", got=f"{len(report_data)} and {len(init_data)} bytes")
        return evidence_of(self.device_evidence(self.body(report_data)))

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, x509.unchanged)(artefact)
        return altered
