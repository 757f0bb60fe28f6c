"""NVIDIA's endorsements, verified: the device's chain, the chain of whoever signs reference values, and OCSP answers.

Rules of the room: chains have NVIDIA's fixed shapes, everything on them is ECDSA on P-384 with SHA-384, and the last
certificate must be the pinned one, compared by the hash of the whole.

    device  firmware key (FMC) <- boot ROM <- provisioner <- product line <- NVIDIA Device Identity CA
    rim     signer <- L3 <- product line <- NVIDIA CoRIM signing Root CA

NVIDIA publishes OCSP for revocation. An answer about a certificate of a chain is verified and obeyed; without one
nothing is said about revocation, and claims tell so. Of device certificates NVIDIA's responder calls every serial
number good that it does not know to be revoked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.endorsements.chain import (
    Issuer,
    authority_key_identifier,
    check_link,
    common_name,
    read_certificates,
)
from verifier.endorsements.ocsp import OcspAnswer, verify_answer
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.schemes import P384
from verifier.endorsements.window import Window
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.dice import COMPOSITE_DEVICE_ID, TCB_INFO, FirmwareIdentity
from verifier.trail import Trail

DEVICE_ROLES = ("leaf", "boot_rom", "provisioner", "line", "root")
RIM_ROLES = ("leaf", "l3", "line", "root")

_ORDER = ec.SECP384R1().group_order
_ECDSA = ec.ECDSA(hashes.SHA384())
_HALF = 48

_DEVICE_INFO = x509.ObjectIdentifier("1.3.6.1.4.1.412.274.1")  # DMTF device information (DSP0274, section 10.6.1)
_IDENTITY = re.compile(r"NVIDIA:((GH|GB)[0-9]{3}|LS_10):([0-9A-F]{16})", re.ASCII)
_ARCHITECTURES = {"GH": "HOPPER", "GB": "BLACKWELL", None: "LS10"}
_PROFILE = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier, x509.KeyUsage)
SWITCH = "LS10"


@dataclass(frozen=True, slots=True)
class Device:
    """Which device a verified chain belongs to.

    chip: as reference values name it (``GH100``). architecture: ``HOPPER``, ``BLACKWELL`` or ``LS10``. serial: of the
    device, 8 bytes. hardware_model: the boot ROM's name. chip_serial: the boot ROM certificate's serial number, one per
    chip and the same under every firmware. ueid: the leaf's serial number in decimal, as NVIDIA's service tells it.
    """

    chip: str
    architecture: str
    serial: bytes
    hardware_model: str
    chip_serial: str
    ueid: str

    @property
    def is_switch(self) -> bool:
        """An NVSwitch rather than a GPU."""
        return self.architecture == SWITCH


@dataclass(frozen=True, slots=True)
class Chain:
    """A verified chain, leaf first, and how long all of it holds.

    ocsp: for each certificate that was asked about, by its role, ``good`` or ``hold``; empty when no answer was given.
    """

    certificates: tuple[x509.Certificate, ...] = field(repr=False)
    anchor: Anchor
    window: Window
    ocsp: tuple[tuple[str, str], ...]

    @property
    def key(self) -> ec.EllipticCurvePublicKey:
        """The leaf's key, on P-384."""
        key = self.certificates[0].public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
            raise MalformedCollateral("collateral.certificate.key", "a leaf's key is on P-384", got=type(key).__name__)
        return key

    @property
    def on_hold(self) -> bool:
        """A certificate of the chain is suspended."""
        return any(status == "hold" for _, status in self.ocsp)


def verify_device_chain(trail: Trail, chain: bytes, answers: Sequence[OcspAnswer], roots: Roots, at: int) -> Chain:
    """``chain`` (PEM, leaf first, exactly five certificates) under the pinned Device Identity CA at ``at``.

    The chain came with the evidence: unreadable, it is the attester's fault (`MalformedEvidence`).
    """
    try:
        certificates = read_certificates(chain, "device certificates")
    except MalformedCollateral as error:
        raise MalformedEvidence(error.id, error.detail, expected=error.expected, got=error.got) from None
    return _verify(trail, "chain", certificates, DEVICE_ROLES, "root", answers, roots, at)


def verify_rim_chain(trail: Trail, chain: Sequence[bytes], answers: Sequence[OcspAnswer], roots: Roots,
                     at: int) -> Chain:
    """``chain`` (DER, leaf first, exactly four) under the pinned root of reference values. Raises
    `MalformedCollateral` for what is no certificate."""
    certificates = tuple(certificate for item in chain for certificate in read_certificates(item, "RIM certificates"))
    return _verify(trail, "rim.chain", certificates, RIM_ROLES, "rim", answers, roots, at)


def _verify(trail: Trail, rule: str, certificates: Sequence[x509.Certificate], roles: Sequence[str], root_role: str,
            answers: Sequence[OcspAnswer], roots: Roots, at: int) -> Chain:
    trail.equal(f"{rule}.length", expected=len(roles), got=len(certificates))
    anchor = _find_anchor(trail, f"{rule}.root", certificates[-1], root_role, roots)
    issuers = (*certificates[1:], certificates[-1])
    window = Window(anchor.not_before, anchor.not_after)
    for depth, (role, certificate, issuer) in reversed(list(enumerate(zip(roles, certificates, issuers, strict=True)))):
        _check_profile(trail, f"{rule}.{role}", certificate)
        window = window.meet(check_link(trail, f"{rule}.{role}", certificate, Issuer.of(issuer), at,
                                        ca_depth=depth - 1 if depth else None, scheme=P384))
    found, ends = _revocation(trail, rule, certificates, roles, answers, at)
    return Chain(tuple(certificates), anchor, window.meet(*ends), found)


def _find_anchor(trail: Trail, rule: str, root: x509.Certificate, role: str, roots: Roots) -> Anchor:
    """The pin whose whole certificate is ``root``, and which is pinned for this."""
    anchor = roots.by_certificate(root.public_bytes(Encoding.DER), "nvidia")
    if anchor is None or not (anchor.software or anchor.role == role):
        raise trail.fail(rule, "the chain does not end in a root that is trusted for this",
                         expected=[known.name for known in roots.anchors
                                   if known.software or (known.maker, known.role) == ("nvidia", role)],
                         got=root.fingerprint(hashes.SHA256()))
    trail.passed(rule, got=anchor.name)
    return anchor


def _check_profile(trail: Trail, rule: str, certificate: x509.Certificate) -> None:
    """What every certificate of NVIDIA's has: what is absent could not be compared."""
    present = {type(extension.value) for extension in certificate.extensions}
    missing = [kind.oid.dotted_string for kind in _PROFILE if kind not in present]
    if not missing and authority_key_identifier(certificate.extensions) is None:
        missing = [x509.AuthorityKeyIdentifier.oid.dotted_string]  # it is there, without the identifier
    trail.require(f"{rule}.profile", not missing, "extensions that NVIDIA's certificates have are missing", got=missing)


def _revocation(trail: Trail, rule: str, certificates: Sequence[x509.Certificate], roles: Sequence[str],
                answers: Sequence[OcspAnswer], at: int) -> tuple[tuple[tuple[str, str], ...], list[Window]]:
    """Every answer about a certificate below the root, verified; answers about others are not this chain's business."""
    found: dict[str, str] = {}
    windows = []
    for role, certificate, issuer in zip(roles[:-1], certificates[:-1], certificates[1:], strict=True):
        for answer in answers:
            if answer.is_about(certificate, issuer):
                said = verify_answer(trail, f"{rule}.ocsp", answer, issuer, at, scheme=P384)
                windows.append(said.window)
                found[role] = "hold" if said.on_hold or found.get(role) == "hold" else "good"
    if not found:
        trail.passed(f"{rule}.ocsp.absent", "no OCSP answer about this chain was given; revocation is not checked")
    return tuple(found.items()), windows


def identify(trail: Trail, chain: Chain) -> Device:
    """The device of a verified device chain, from its leaf's DMTF identity and its boot ROM."""
    leaf, boot_rom = chain.certificates[:2]
    told = _device_identity(leaf)
    match = _IDENTITY.fullmatch(told or "")
    if match is None:
        raise trail.fail("chain.leaf.identity", "the leaf does not name a GPU or switch of a known kind",
                         expected=_IDENTITY.pattern, got=told)
    trail.passed("chain.leaf.identity", got=told)
    return Device(match.group(1).replace("_", ""), _ARCHITECTURES[match.group(2)], bytes.fromhex(match.group(3)),
                  common_name(boot_rom), f"{boot_rom.serial_number:X}", str(leaf.serial_number))


def _device_identity(leaf: x509.Certificate) -> str | None:
    """``vendor:product:serial`` from the one DMTF name among the subject alternative names."""
    names = [name.value for extension in leaf.extensions if isinstance(extension.value, x509.SubjectAlternativeName)
             for name in extension.value if isinstance(name, x509.OtherName) and name.type_id == _DEVICE_INFO]
    try:
        return der.only(names[0], "dice", Tag.UTF8_STRING).decode("ascii") if len(names) == 1 else None
    except (MalformedEvidence, UnicodeDecodeError):
        return None


def firmware_identity(trail: Trail, chain: Chain) -> FirmwareIdentity:
    """What the leaf says of the firmware that holds its key. Raises `MalformedEvidence` for an unreadable extension."""
    leaf, boot_rom = chain.certificates[:2]
    found = [(extension.oid.dotted_string, extension.value.value) for extension in leaf.extensions
             if isinstance(extension.value, x509.UnrecognizedExtension)
             and extension.oid.dotted_string in (COMPOSITE_DEVICE_ID, TCB_INFO)]
    trail.require("chain.leaf.fwid", len(found) == 1, "the leaf must name the firmware it belongs to, once",
                  expected=[COMPOSITE_DEVICE_ID, TCB_INFO], got=[oid for oid, _ in found])
    identity = FirmwareIdentity.from_extension(*found[0])
    if identity.device_key is not None:
        key = boot_rom.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        trail.equal("chain.leaf.device_key", expected=key, got=identity.device_key,
                    detail="the leaf must belong to the chip that certified it")
    return identity


def check_raw_signature(trail: Trail, rule: str, key: ec.EllipticCurvePublicKey, signature: bytes,
                        signed: bytes) -> None:
    """ECDSA P-384 with SHA-384; ``signature`` is r || s, 48 bytes each, big-endian, both in 1..n-1."""
    trail.require(f"{rule}.length", len(signature) == 2 * _HALF, "a raw signature is r || s",
                  expected=f"{2 * _HALF} bytes", got=f"{len(signature)} bytes")
    r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
    trail.require(f"{rule}.range", 0 < r < _ORDER and 0 < s < _ORDER, "r and s must lie in 1..n-1")
    try:
        key.verify(encode_dss_signature(r, s), signed, _ECDSA)
    except InvalidSignature:
        raise trail.fail(rule, "the signature does not verify") from None
    trail.passed(rule)
