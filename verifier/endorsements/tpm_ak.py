"""Certificates of TPM attestation keys (AK), verified up to a pinned anchor.

Rules of the room: chains have the one shape that makers of cloud TPMs publish: the AK, an intermediate, a root. The
root is pinned (Google, Microsoft) or configured; of Microsoft two intermediates are pinned as well, so that a chain may
come without them; a leaf may also stand directly below a configured root. A supplied root is never needed and never
trusted because it came along. Names only choose between candidates: `check_link` verifies the chosen one.

Revocation lists speak of what their issuer issued; those of other issuers are not asked. Without one, revocation is not
checked, and the claims say so.

Source: TCG "Credential Profile for TPM" 2.5 (extended key usages, subject alternative name); Google and Microsoft as
recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.endorsements.chain import Issuer, check_link, check_validity, public_key_of
from verifier.endorsements.crl import RevocationList, read_crl, verify_crl
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.schemes import INTEL, P384, RSA_SHA256, RSA_SHA384, PublicKey, Scheme
from verifier.endorsements.window import Window
from verifier.errors import MalformedCollateral, MissingCollateral
from verifier.formats import gce_instance
from verifier.formats.gce_instance import GceInstance
from verifier.trail import Trail

MAKERS = ("google", "microsoft")

# Extended key usages (TCG): of an AK, and of an EK, which Google writes into the certificates of its AKs.
AK_PURPOSE, EK_PURPOSE = "2.23.133.8.3", "2.23.133.8.1"
_SUBJECT_ALTERNATIVE_NAME, _EXTENDED_KEY_USAGE = "2.5.29.17", "2.5.29.37"
_JUDGED_HERE = frozenset((_SUBJECT_ALTERNATIVE_NAME, _EXTENDED_KEY_USAGE))
# Directory attributes in the subject alternative name (TCG).
_TPM_NAMES = {"2.23.133.2.1": "manufacturer", "2.23.133.2.2": "model", "2.23.133.2.3": "version"}

_SCHEMES = (RSA_SHA256, RSA_SHA384, INTEL, P384)


@dataclass(frozen=True, slots=True)
class AkChain:
    """A verified chain. anchor: where it ends. instance: what Google says of the machine; None where nothing is said.

    tpm: manufacturer, model and version from the certificate. crl_number: of the newest list that was asked.
    """

    anchor: Anchor
    certificate: x509.Certificate
    window: Window
    crl_checked: bool
    crl_number: int | None
    instance: GceInstance | None
    tpm: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Above:
    """An issuer that is trusted now. issuers: all that a revocation list may come from. serials: of the CA below the
    root, where there is one."""

    issuer: Issuer
    anchor: Anchor
    window: Window
    issuers: tuple[Issuer, ...]
    links: tuple[tuple[str, int, str], ...] = ()


def certificate_of(key: PublicKey, certificates: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """The first certificate of ``key``; None when there is none."""
    wanted = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return next((certificate for certificate in certificates if certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == wanted), None)


def verify_chain(trail: Trail, leaf: x509.Certificate, supplied: Sequence[x509.Certificate], roots: Roots,
                 crls: Sequence[bytes], at: int) -> AkChain:
    """``leaf`` up to an anchor at ``at``, and no list among ``crls`` against it or its intermediate.

    Raises `MissingCollateral` when nobody supplied the leaf's issuer.
    """
    above = _above(trail, leaf, supplied, roots, at)
    window = check_link(trail, "ak_certificate", leaf, above.issuer, at, ca_depth=None,
                        scheme=_scheme(leaf, above.issuer.public_key), known_critical=_JUDGED_HERE)
    _check_purpose(trail, leaf)
    links = (*above.links, ("ak_certificate", leaf.serial_number, above.issuer.name))
    lists = _check_revocation(trail, above.issuers, links, crls, at)
    return AkChain(above.anchor, leaf, window.meet(above.window, *(found.window for found in lists)), bool(lists),
                   max((found.number for found in lists if found.number is not None), default=None),
                   _instance(leaf) if above.anchor.maker in ("google", None) else None, _tpm_names(leaf))


def _above(trail: Trail, leaf: x509.Certificate, supplied: Sequence[x509.Certificate], roots: Roots,
           at: int) -> _Above:
    """The leaf's issuer: an anchor, or a supplied intermediate below one."""
    anchor = _choose_anchor(leaf, roots)
    if anchor is not None:
        return _anchored(trail, anchor, roots, at, ca_depth=0)
    name = leaf.issuer.rfc4514_string()
    named = [certificate for certificate in supplied if certificate.subject.rfc4514_string() == name]
    if not named:
        raise MissingCollateral("collateral.tpm.intermediate",
                                "the issuer of the attestation key's certificate was not supplied", got=name)
    certificate = next((one for one in named if _signed_by(leaf, one.public_key())), named[0])
    root = _choose_anchor(certificate, roots)
    if root is None:
        raise trail.fail("chain.root", "the chain must end in a trusted root", got=certificate.issuer.rfc4514_string())
    top = _anchored(trail, root, roots, at, ca_depth=1)
    window = check_link(trail, "chain.intermediate", certificate, top.issuer, at, ca_depth=0,
                        scheme=_scheme(certificate, top.issuer.public_key), known_critical=_JUDGED_HERE)
    issuer = Issuer.of(certificate)
    return _Above(issuer, root, window.meet(top.window), (*top.issuers, issuer),
                  (("chain.intermediate", certificate.serial_number, top.issuer.name),))


def _choose_anchor(certificate: x509.Certificate, roots: Roots) -> Anchor | None:
    """The anchor that goes by the issuer's name, of several the one that signed."""
    name = certificate.issuer.rfc4514_string()
    named = [anchor for anchor in roots.anchors if anchor.subject == name and anchor.maker in (*MAKERS, None)]
    return next((anchor for anchor in named if _signed_by(certificate, anchor.public_key)), next(iter(named), None))


def _anchored(trail: Trail, anchor: Anchor, roots: Roots, at: int, *, ca_depth: int) -> _Above:
    """An anchor as an issuer: a pinned key with its dates, or a configured root, which must be a CA."""
    pinned = Issuer(anchor.subject, anchor.public_key)
    if anchor.role == "intermediate":
        return _pinned_intermediate(trail, anchor, pinned, roots, at)
    trail.passed("chain.root", "a trusted root", got=anchor.name)
    if anchor.certificate is None:
        window = Window(anchor.not_before, anchor.not_after)
        check_validity(trail, "chain.root", window, at)
        return _Above(pinned, anchor, window, (pinned,))
    issuer = Issuer.of(anchor.certificate)
    window = check_link(trail, "chain.root", anchor.certificate, issuer, at, ca_depth=ca_depth,
                        scheme=_scheme(anchor.certificate, issuer.public_key))
    return _Above(issuer, anchor, window, (issuer,))


def _pinned_intermediate(trail: Trail, anchor: Anchor, issuer: Issuer, roots: Roots, at: int) -> _Above:
    """Its own dates and those of its maker's root, whose revocation list may name it."""
    root = next((one for one in roots.anchors if (one.maker, one.role) == (anchor.maker, "root")), None)
    if root is None:
        raise trail.fail("chain.root", "the root of a pinned intermediate is not trusted", got=anchor.name)
    trail.passed("chain.root", "a trusted root", got=root.name)
    above, own = (Window(one.not_before, one.not_after) for one in (root, anchor))
    check_validity(trail, "chain.root", above, at)
    trail.passed("chain.intermediate", "a pinned intermediate", got=anchor.name)
    check_validity(trail, "chain.intermediate", own, at)
    top = Issuer(root.subject, root.public_key)
    return _Above(issuer, root, own.meet(above), (top, issuer), (("chain.intermediate", anchor.serial, top.name),))


def _check_purpose(trail: Trail, leaf: x509.Certificate) -> None:
    """A certificate that lists purposes must list one of a TPM's: its CA may certify other things too."""
    purposes = [oid.dotted_string for extension in leaf.extensions
                if isinstance(extension.value, x509.ExtendedKeyUsage) for oid in extension.value]
    trail.require("ak_certificate.purpose", not purposes or bool({AK_PURPOSE, EK_PURPOSE} & set(purposes)),
                  "the certificate must be of a TPM's key", expected=[AK_PURPOSE, EK_PURPOSE], got=purposes)


def _check_revocation(trail: Trail, issuers: Sequence[Issuer], links: Sequence[tuple[str, int, str]],
                      crls: Sequence[bytes], at: int) -> list[RevocationList]:
    lists = []
    for data in crls:
        crl = read_crl(data, "crl")
        name = crl.issuer.rfc4514_string()
        issuer = next((one for one in issuers if one.name == name), None)
        if issuer is None:
            trail.passed("crl.other_issuer", "a list of another issuer is not asked", got=name)
            continue
        found = verify_crl(trail, "crl", crl, issuer, at, scheme=_scheme(crl, issuer.public_key))
        for rule, serial, of in links:
            if of == name:
                found.check_serial(trail, rule, serial)
        lists.append(found)
    if not lists:
        trail.passed("crl.absent", "no revocation list of this chain was supplied; revocation is not checked")
    return lists


def _instance(leaf: x509.Certificate) -> GceInstance | None:
    value = next((extension.value for extension in leaf.extensions
                  if extension.oid.dotted_string == gce_instance.OID), None)
    return GceInstance.from_bytes(value.value) if isinstance(value, x509.UnrecognizedExtension) else None


def _tpm_names(leaf: x509.Certificate) -> tuple[tuple[str, str], ...]:
    names: list[tuple[str, str]] = []
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            for directory in extension.value.get_values_for_type(x509.DirectoryName):
                names += [(_TPM_NAMES[one.oid.dotted_string], str(one.value)) for one in directory
                          if one.oid.dotted_string in _TPM_NAMES]
    return tuple(names)


def _scheme(signed: x509.Certificate | x509.CertificateRevocationList, key: PublicKey) -> Scheme:
    """The one of the makers' schemes that fits; one that does not fit when there is none, which then refuses."""
    return next((scheme for scheme in _SCHEMES if scheme.fits(key, signed.signature_algorithm_oid)), RSA_SHA256)


def _signed_by(certificate: x509.Certificate, key: object) -> bool:
    """A hint for choosing between issuers of one name; `check_link` verifies the chosen one."""
    try:
        public = public_key_of(key)
        scheme = _scheme(certificate, public)
        if not scheme.fits(public, certificate.signature_algorithm_oid):
            return False
        scheme.verify(public, certificate.signature, certificate.tbs_certificate_bytes)
    except (InvalidSignature, MalformedCollateral):
        return False
    return True
