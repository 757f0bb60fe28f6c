"""AMD's endorsements, verified: VCEK or VLEK under its ASK or ASVK under the ARK, and the ARK's revocation list.

Rules of the room: chains have AMD's one shape, ARK, ASK (VCEK) or ASVK (VLEK), leaf. For AMD's own product lines both
CA keys are pinned and supplied CA certificates are not used at all; a supplied ARK is only compared with the pin. Below
a root that was added by configuration the ASK or ASVK must come along and verify under it.

Revocation: the ARK's list speaks of what the ARK issued, the ASK and ASVK (RFC 5280 section 6.3). AMD numbers every
leaf 0 and publishes no list for them; should the ARK's list name a leaf's number all the same, the leaf is refused too,
since nobody but AMD can have put it there.

Source: AMD "VCEK Certificate and KDS Interface Specification" (57230), chapters 2 to 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.endorsements.amd_vek import SUBJECTS, EndorsementKey, resembles
from verifier.endorsements.chain import (
    EXTENSION_TWICE,
    Issuer,
    check_link,
    check_validity,
    common_name,
    read_certificates,
)
from verifier.endorsements.crl import RevocationList, read_crl, verify_crl
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.window import Window
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats.snp_report import SigningKey
from verifier.trail import Trail

_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
MAX_SUPPLIED = 16  # items (a certificate, or one PEM text of several) that may come with one piece of evidence


@dataclass(frozen=True, slots=True)
class Chain:
    """A verified chain above an endorsement key, and how long all of it holds.

    anchor: the ARK as pinned or configured. crl_number: the newest list that was asked; None when none was supplied.
    """

    anchor: Anchor
    window: Window
    crl_checked: bool
    crl_number: int | None


@dataclass(frozen=True, slots=True)
class _Intermediate:
    """The ASK or ASVK: an issuer with its serial number and dates, pinned or just verified."""

    issuer: Issuer
    serial: int
    window: Window


def read_supplied(trail: Trail, with_evidence: Sequence[bytes], as_collateral: Sequence[bytes],
                  ) -> tuple[x509.Certificate, ...]:
    """Every supplied certificate, DER or PEM, the evidence's own first.

    What came with the evidence is the attester's fault (`MalformedEvidence`), the rest `MalformedCollateral`; an
    extension that occurs twice breaks a rule wherever it came from (`CheckFailed`).
    """
    trail.require("certificates.count", len(with_evidence) <= MAX_SUPPLIED,
                  "evidence may bring only so many certificates", expected=f"<= {MAX_SUPPLIED}", got=len(with_evidence))
    try:
        own = _read(trail, with_evidence)
    except MalformedCollateral as error:
        raise MalformedEvidence(error.id, error.detail, expected=error.expected, got=error.got) from None
    return own + _read(trail, as_collateral)


def _read(trail: Trail, items: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(certificate for item in items for certificate in read_certificates(item, "certificate"))
    except MalformedCollateral as error:
        if error.id == EXTENSION_TWICE:
            raise trail.fail("certificates.extension_twice", error.detail, got=error.got) from None
        raise


def choose(certificates: Sequence[x509.Certificate], kind: SigningKey, tcb: bytes,
           chip_id: bytes) -> x509.Certificate | None:
    """The certificate that most likely belongs to a report; None when there is no VCEK or VLEK at all.

    A hint and no more: whatever is chosen goes through every rule, and the first that it breaks tells why it was wrong.
    """
    leaves = [c for c in certificates if common_name(c) in SUBJECTS]
    of_kind = [c for c in leaves if SUBJECTS[common_name(c)] is kind]
    fitting = [c for c in of_kind if resembles(c, tcb, chip_id)]
    return next(iter((*fitting, *of_kind, *leaves)), None)


def verify_chain(trail: Trail, key: EndorsementKey, supplied: Sequence[x509.Certificate], roots: Roots,
                 crls: Sequence[bytes], at: int) -> Chain:
    """``key`` under its CA under a trusted ARK at ``at``, and no list among ``crls`` against it."""
    role = "ask" if key.kind is SigningKey.VCEK else "asvk"
    below = _configured_roots(key, supplied, roots)
    pinned = roots.of_role("amd", role, key.line)
    if below and not (pinned and _signed_by(key.certificate, pinned.public_key)):
        anchor, certificate = next((pair for pair in below if _signed_by(key.certificate, pair[1].public_key())),
                                   below[0])
        above = _verify_intermediate(trail, role, key, anchor, certificate, at)
    else:
        anchor = _pinned_root(trail, key, supplied, roots)
        above = _pinned_intermediate(trail, role, anchor, pinned, at)
    leaf = check_link(trail, key.rule, key.certificate, above.issuer, at, ca_depth=None)
    serials = (("ark", anchor.serial), (role, above.serial), (key.rule, key.certificate.serial_number))
    lists = _check_revocation(trail, anchor, roots, serials, crls, at)
    window = leaf.meet(above.window, *(found.window for found in lists))
    numbers = [found.number for found in lists if found.number is not None]
    return Chain(anchor, window, bool(lists), max(numbers, default=None))


def _pinned_root(trail: Trail, key: EndorsementKey, supplied: Sequence[x509.Certificate], roots: Roots) -> Anchor:
    """AMD's own ARK for the line. Whatever else goes by its name among ``supplied`` must be trusted too."""
    ark = roots.of_role("amd", "ark", key.line)
    if ark is None:
        raise trail.fail("chain.root", "the chain does not end in a trusted root",
                         expected=[anchor.name for anchor in roots.anchors if anchor.maker in ("amd", None)],
                         got=key.certificate.issuer.rfc4514_string())
    for certificate in supplied:
        if certificate.subject.rfc4514_string() == ark.subject:
            der = certificate.public_bytes(Encoding.DER)
            trail.require("chain.root", roots.by_certificate(der, "amd") is not None,
                          "a supplied root must be a trusted one", expected=ark.sha256_certificate,
                          got=certificate.fingerprint(hashes.SHA256()))
    trail.passed("chain.root", got=ark.name)
    return ark


def _pinned_intermediate(trail: Trail, role: str, ark: Anchor, pinned: Anchor | None, at: int) -> _Intermediate:
    if pinned is None:
        raise trail.fail(f"chain.{role}", "no certificate authority of this kind is pinned", expected=role)
    window = _dates(ark).meet(_dates(pinned))
    check_validity(trail, "chain.ark", _dates(ark), at)
    check_validity(trail, f"chain.{role}", _dates(pinned), at)
    return _Intermediate(Issuer(pinned.subject, pinned.public_key), pinned.serial, window)


def _configured_roots(key: EndorsementKey, supplied: Sequence[x509.Certificate],
                      roots: Roots) -> list[tuple[Anchor, x509.Certificate]]:
    """Roots added by configuration, each with a supplied certificate that its names put between it and ``key``."""
    return [
        (anchor, certificate)
        for anchor in roots.anchors
        if anchor.software and anchor.certificate and common_name(anchor.certificate) == f"ARK-{key.line}"
        for certificate in supplied
        if certificate.subject == key.certificate.issuer and certificate.issuer == anchor.certificate.subject
        and roots.by_certificate(certificate.public_bytes(Encoding.DER), "amd") is None
    ]


def _verify_intermediate(trail: Trail, role: str, key: EndorsementKey, anchor: Anchor, certificate: x509.Certificate,
                         at: int) -> _Intermediate:
    """A supplied ASK or ASVK under a configured root."""
    root = anchor.certificate
    assert root is not None  # noqa: S101 - `_configured_roots` takes no other
    trail.passed("chain.root", "a root added by configuration", got=anchor.name)
    upper = check_link(trail, "chain.ark", root, Issuer.of(root), at, ca_depth=1)
    for rule, public_key in (("chain.ark", root.public_key()), (f"chain.{role}", certificate.public_key())):
        trail.require(f"{rule}.key", isinstance(public_key, rsa.RSAPublicKey), "AMD's CA keys are RSA keys",
                      got=type(public_key).__name__)
    name = f"SEV-{key.line}" if role == "ask" else f"SEV-VLEK-{key.line}"
    trail.equal(f"chain.{role}.name", expected=name, got=common_name(certificate))
    window = check_link(trail, f"chain.{role}", certificate, Issuer.of(root), at, ca_depth=0)
    return _Intermediate(Issuer.of(certificate), certificate.serial_number, upper.meet(window))


def _check_revocation(trail: Trail, ark: Anchor, roots: Roots, serials: Sequence[tuple[str, int]],
                      crls: Sequence[bytes], at: int) -> list[RevocationList]:
    """Every list that goes by the ARK's name must be the ARK's, in force, and name none of ``serials``.

    A list of another trusted root says nothing here; one of nobody's is a mistake that must not pass for a list.
    """
    issuer, lists = ark_issuer(ark), []
    others = {anchor.subject for anchor in roots.anchors} - {ark.subject}
    for data in crls:
        crl = read_crl(data, "crl")
        if crl.issuer.rfc4514_string() in others:
            trail.passed("crl.other_issuer", "a list of another root is not asked", got=crl.issuer.rfc4514_string())
            continue
        found = verify_crl(trail, "crl", crl, issuer, at)
        for rule, serial in serials:
            found.check_serial(trail, rule if rule in ("vcek", "vlek") else f"chain.{rule}", serial)
        lists.append(found)
    if not lists:
        trail.passed("crl.absent", "no revocation list of this product line was supplied; revocation is not checked")
    return lists


def ark_issuer(ark: Anchor) -> Issuer:
    """AMD's key identifiers are the SHA-1 of the key (RFC 5280 section 4.2.1.2), so a pinned key determines its own."""
    if ark.certificate is not None:
        return Issuer.of(ark.certificate)
    return Issuer(ark.subject, ark.public_key, x509.SubjectKeyIdentifier.from_public_key(ark.public_key).digest)


def _dates(anchor: Anchor) -> Window:
    return Window(anchor.not_before, anchor.not_after)


def _signed_by(certificate: x509.Certificate, key: object) -> bool:
    """A hint for choosing between issuers of one name; `check_link` verifies the chosen one."""
    if not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, _PSS, hashes.SHA384())
    except InvalidSignature:
        return False
    return True
