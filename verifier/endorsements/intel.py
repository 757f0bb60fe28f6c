"""Intel's endorsements, verified: the PCK chain, the revocation lists, and the signed documents.

Rules of the room: each function takes bytes and a moment, notes every rule on the trail and returns only what held.
Chains have Intel's fixed shapes: PCK leaf, Platform or Processor CA, root; TCB signing leaf, root. The root must be a
pinned certificate, compared by the hash of the whole.
Source: Intel "SGX PCK Certificate and CRL Profile"; PCS API v4.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.endorsements.chain import (
    Issuer,
    authority_key_identifier,
    check_link,
    check_validity,
    common_name,
    read_certificates,
)
from verifier.endorsements.crl import RevocationList, read_crl, verify_crl
from verifier.endorsements.pck import PckExtensions, check_key
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.window import Window
from verifier.errors import MissingCollateral
from verifier.trail import Trail

PCK_LEAF = "Intel SGX PCK Certificate"
CA_KINDS = {"Intel SGX PCK Platform CA": "platform", "Intel SGX PCK Processor CA": "processor"}
TCB_SIGNING = "Intel SGX TCB Signing"

# Intel "SGX PCK Certificate and CRL Profile", section 1.3: what the certificates below the root all have.
_PROFILE = (x509.AuthorityKeyIdentifier, x509.SubjectKeyIdentifier, x509.KeyUsage, x509.BasicConstraints)

_ECDSA = ec.ECDSA(hashes.SHA256())
_ORDER = ec.SECP256R1().group_order


@dataclass(frozen=True, slots=True)
class PckChain:
    """A PCK chain whose signatures, roles and dates hold in ``window``; revocation is another matter.

    ca: ``platform`` or ``processor``. anchor: the pin that the root is.
    """

    leaf: x509.Certificate = field(repr=False)
    intermediate: x509.Certificate = field(repr=False)
    anchor: Anchor
    ca: str
    extensions: PckExtensions
    key: ec.EllipticCurvePublicKey = field(repr=False)
    window: Window

    @property
    def issuer(self) -> Issuer:
        """The CA that issued the leaf and its CRL."""
        return Issuer.of(self.intermediate)


def verify_pck_chain(trail: Trail, chain: bytes, roots: Roots, at: int) -> PckChain:
    """``chain`` (PEM, leaf first, exactly three certificates) under a pinned Intel root at ``at``.

    Old platforms wrote leaf, root, CA; the root is told by its name only to put the two in order.
    """
    certificates = read_certificates(chain, "pck_chain")
    trail.equal("pck_chain.length", expected=3, got=len(certificates))
    leaf, intermediate, root = certificates
    if intermediate.subject == intermediate.issuer:
        intermediate, root = root, intermediate
    anchor = find_anchor(trail, "pck_chain.root", root, roots, at)
    upper = _check_link(trail, "pck_chain.intermediate", intermediate, root, at, ca_depth=0)
    kind = CA_KINDS.get(common_name(intermediate))
    trail.require("pck_chain.intermediate.name", kind is not None, "must be the Platform or the Processor CA",
                  expected=list(CA_KINDS), got=common_name(intermediate))
    lower = _check_link(trail, "pck_chain.leaf", leaf, intermediate, at, ca_depth=None)
    trail.equal("pck_chain.leaf.name", expected=PCK_LEAF, got=common_name(leaf))
    window = Window(anchor.not_before, anchor.not_after).meet(upper, lower)
    return PckChain(leaf, intermediate, anchor, kind or "", PckExtensions.of(leaf), check_key(leaf), window)


def _check_link(trail: Trail, rule: str, certificate: x509.Certificate, issuer: x509.Certificate, at: int, *,
                ca_depth: int | None) -> Window:
    """`check_link`, and no extension of Intel's profile is missing: what is absent could not be compared."""
    present = {type(extension.value) for extension in certificate.extensions}
    missing = [kind.oid.dotted_string for kind in _PROFILE if kind not in present]
    if authority_key_identifier(certificate.extensions) is None and not missing:
        missing = [x509.AuthorityKeyIdentifier.oid.dotted_string]  # it is there, without the identifier
    trail.require(f"{rule}.profile", not missing, "extensions of Intel's certificate profile are missing", got=missing)
    return check_link(trail, rule, certificate, Issuer.of(issuer), at, ca_depth=ca_depth)


def find_anchor(trail: Trail, rule: str, root: x509.Certificate, roots: Roots, at: int) -> Anchor:
    """The pin whose whole certificate is ``root``, within its dates at ``at``."""
    anchor = roots.by_certificate(root.public_bytes(Encoding.DER), "intel")
    if anchor is None:
        raise trail.fail(rule, "the chain does not end in a trusted root",
                         expected=[a.name for a in roots.anchors if a.maker in ("intel", None)],
                         got=root.fingerprint(hashes.SHA256()))
    trail.passed(rule, got=anchor.name)
    check_validity(trail, rule, Window(anchor.not_before, anchor.not_after), at)
    return anchor


def verify_root_crl(trail: Trail, crl: bytes | None, root: Anchor, certificate: x509.Certificate,
                    at: int) -> RevocationList:
    """The root's CRL; ``certificate`` is the root certificate whose key identifier it must name."""
    parsed = read_crl(needed(crl, "root_ca_crl"), "root_ca_crl")
    issuer = Issuer(root.subject, root.public_key, Issuer.of(certificate).key_identifier)
    return verify_crl(trail, "root_ca_crl", parsed, issuer, at)


def verify_pck_crl(trail: Trail, crl: bytes, chain: PckChain, at: int) -> RevocationList:
    """The CRL of the CA that issued the PCK leaf."""
    return verify_crl(trail, "pck_crl", read_crl(crl, "pck_crl"), chain.issuer, at)


@dataclass(frozen=True, slots=True)
class TcbSigner:
    """A verified TCB signing certificate: its key, the root above it, and the dates."""

    key: ec.EllipticCurvePublicKey = field(repr=False)
    anchor: Anchor
    root: x509.Certificate = field(repr=False)
    certificate: x509.Certificate = field(repr=False)
    window: Window


def verify_tcb_signer(trail: Trail, rule: str, chain: bytes | None, roots: Roots, at: int) -> TcbSigner:
    """``chain`` (PEM, signing leaf then root) under a pinned Intel root at ``at``."""
    certificates = read_certificates(needed(chain, f"{rule}_issuer_chain"), f"{rule}_issuer_chain")
    trail.equal(f"{rule}.issuer_chain.length", expected=2, got=len(certificates))
    leaf, root = certificates
    anchor = find_anchor(trail, f"{rule}.issuer_chain.root", root, roots, at)
    window = _check_link(trail, f"{rule}.issuer_chain.leaf", leaf, root, at, ca_depth=None)
    trail.equal(f"{rule}.issuer_chain.leaf.name", expected=TCB_SIGNING, got=common_name(leaf))
    return TcbSigner(check_key(leaf), anchor, root, leaf,
                     window.meet(Window(anchor.not_before, anchor.not_after)))


def check_document_signature(trail: Trail, rule: str, document: bytes, signature: bytes | None,
                             signer: TcbSigner) -> None:
    """``signature`` (raw r || s) over the document's exact bytes."""
    check_raw_signature(trail, f"{rule}.signature", signer.key, needed(signature, f"{rule}_signature"), document)


def check_raw_signature(trail: Trail, rule: str, key: ec.EllipticCurvePublicKey, signature: bytes,
                        signed: bytes) -> None:
    """ECDSA P-256 with SHA-256; ``signature`` is r || s, 32 bytes each, big-endian, both in 1..n-1."""
    if len(signature) != 64:
        raise trail.fail(rule, "a raw signature is r || s", expected="64 bytes", got=f"{len(signature)} bytes")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _ORDER and 0 < s < _ORDER):
        raise trail.fail(rule, "r and s must lie in 1..n-1", got=signature)
    try:
        key.verify(encode_dss_signature(r, s), signed, _ECDSA)
    except InvalidSignature:
        raise trail.fail(rule, "the signature does not verify") from None
    trail.passed(rule)


def needed(value: bytes | None, name: str) -> bytes:
    """``value``, or `MissingCollateral` naming what to supply."""
    if value is None:
        raise MissingCollateral(f"collateral.{name}", f"{name} is needed to decide and was not supplied")
    return value
