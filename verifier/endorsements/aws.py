"""AWS's endorsement of a Nitro document: the certificates that it carries, verified.

Rules of the room: the chain has AWS's one shape, enclave, instance, zone, region, root, each on P-384 with SHA-384 and
allowed as long a path as its place needs. ``cabundle`` begins with the root, which must be a trusted one byte for byte;
that it came along proves nothing. The document is the attester's, so a certificate in it that cannot be read is the
attester's fault. Certificates live for hours to weeks (the enclave's own for three hours, made anew for each document),
and AWS asks verifiers not to consult revocation lists; none is read.

Source: AWS Nitro Enclaves NSM API, "Nitro Enclaves Attestation Process", section 3.2.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.endorsements.chain import EXTENSION_TWICE, Issuer, check_link, read_certificates
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.schemes import P384, PublicKey
from verifier.endorsements.window import ALWAYS, Window
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.trail import Trail

# The places of ``cabundle``, root first.
ROLES = ("root", "region", "zone", "instance")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified ``cabundle``: the root that it ends in, the issuer of leaves, and how long all of it holds."""

    anchor: Anchor
    issuer: Issuer
    window: Window


@dataclass(frozen=True, slots=True)
class Leaf:
    """A verified signing certificate. subject: RFC 4514. window: its own dates."""

    subject: str
    serial: int
    public_key: PublicKey
    window: Window


def verify_bundle(trail: Trail, cabundle: Sequence[bytes], roots: Roots, at: int) -> Bundle:
    """The certificate authorities of ``cabundle`` at ``at``; notes ``chain.root``, ``chain.length`` and, for each of
    `ROLES`, the rules of `chain.check_link`."""
    anchor = roots.by_certificate(cabundle[0], "aws") if cabundle else None
    if anchor is None:
        raise trail.fail("chain.root", "the bundle does not begin with a trusted root",
                         expected=[known.name for known in roots.anchors if known.maker in ("aws", None)])
    trail.passed("chain.root", got=anchor.name)
    trail.equal("chain.length", expected=len(ROLES), got=len(cabundle), detail="root, region, zone and instance")
    found = [_read(trail, der, f"chain.{role}") for role, der in zip(ROLES, cabundle, strict=True)]
    issuer, window = found[0][1], ALWAYS
    for depth, (role, (certificate, subject)) in enumerate(zip(ROLES, found, strict=True)):
        below = len(ROLES) - 1 - depth
        window = window.meet(check_link(trail, f"chain.{role}", certificate, issuer, at, ca_depth=below, scheme=P384))
        issuer = subject
    return Bundle(anchor, issuer, window)


def verify_leaf(trail: Trail, der: bytes, bundle: Bundle, at: int) -> Leaf:
    """The document's own certificate under its instance at ``at``; notes ``leaf.…``."""
    certificate, subject = _read(trail, der, "leaf")
    window = check_link(trail, "leaf", certificate, bundle.issuer, at, ca_depth=None, scheme=P384)
    return Leaf(subject.name, certificate.serial_number, subject.public_key, window)


def _read(trail: Trail, der: bytes, rule: str) -> tuple[x509.Certificate, Issuer]:
    """Exactly one certificate, DER, and the issuer that it will be if it verifies.

    Raises `MalformedEvidence`; an extension that occurs twice breaks a rule.
    """
    try:
        (certificate, *others) = read_certificates(der, rule)
        subject = Issuer.of(certificate)
    except MalformedCollateral as error:
        if error.id == EXTENSION_TWICE:
            raise trail.fail(f"{rule}.extension_twice", error.detail, got=error.got) from None
        raise MalformedEvidence(error.id, error.detail, expected=error.expected, got=error.got) from None
    if others or certificate.public_bytes(Encoding.DER) != der:
        raise MalformedEvidence("collateral.certificate", f"{rule} is not one certificate in DER")
    return certificate, subject
