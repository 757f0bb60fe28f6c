"""Certificates: strict reading, and one link of a chain at a moment.

Rules of the room: chains have the fixed shape their maker publishes; nothing is searched for. Every link is checked in
the same straight line (validity, issuer, role, algorithm, signature) and no check depends on the outcome of another.
Source: RFC 5280 section 6.1, narrowed to what TEE makers issue.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.endorsements.schemes import AMD, INTEL, PublicKey, Scheme
from verifier.endorsements.window import Window, unix
from verifier.errors import MalformedCollateral
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader
from verifier.trail import Trail

EXTENSION_TWICE = "collateral.certificate.extension_twice"
MAX_CERTIFICATES = 10
MAX_CERTIFICATE_BYTES = 16 * 1024
MAX_PEM_BYTES = MAX_CERTIFICATES * MAX_CERTIFICATE_BYTES

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\r\n]{1,24000}-----END CERTIFICATE-----")
# PCK chains inside quotes end in a newline, a NUL, or are padded with NULs to the buffer's size.
_BETWEEN = b" \t\r\n"
_AFTER = b" \t\r\n\x00"

# AMD gives every VCEK and VLEK serial number 0; RFC 5280 wants it positive and the X.509 library warns about it.
warnings.filterwarnings("ignore", message="Parsed a serial number which wasn't positive")
# A certificate that somebody else wrote may have an odd name; names are compared, and nobody wants to be told.
warnings.filterwarnings("ignore", message="Attribute's length must be")


@dataclass(frozen=True, slots=True)
class Issuer:
    """The key that must have signed the next certificate, with the name it goes by (RFC 4514)."""

    name: str
    public_key: PublicKey
    key_identifier: bytes | None = None

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Issuer:
        """The issuer that an already verified certificate is."""
        return cls(certificate.subject.rfc4514_string(), public_key_of(certificate.public_key()),
                   subject_key_identifier(certificate))


def read_certificates(data: bytes, field: str) -> tuple[x509.Certificate, ...]:
    """All certificates of one DER certificate or one PEM text, at most `MAX_CERTIFICATES`.

    PEM blocks may be separated by white space and followed by white space and NULs; anything else between or around
    them raises `MalformedCollateral`, as does trailing data after DER.
    """
    if b"-----BEGIN" not in data:
        return (_load(data, field),)
    if len(data) > MAX_PEM_BYTES:
        raise _malformed(field, "is too large", expected=f"<= {MAX_PEM_BYTES} bytes", got=f"{len(data)} bytes")
    blocks, position = [], 0
    for match in _BLOCK.finditer(data):
        if data[position : match.start()].strip(_BETWEEN):
            raise _malformed(field, "has bytes between PEM blocks")
        blocks.append(match.group())
        position = match.end()
    if data[position:].strip(_AFTER):
        raise _malformed(field, "has bytes after the last PEM block")
    if not 0 < len(blocks) <= MAX_CERTIFICATES:
        raise _malformed(field, "has too few or too many certificates", expected=f"1..{MAX_CERTIFICATES}",
                         got=len(blocks))
    return tuple(_load(block, field) for block in blocks)


def _load(data: bytes, field: str) -> x509.Certificate:
    if len(data) > 2 * MAX_CERTIFICATE_BYTES:
        raise _malformed(field, "holds an oversized certificate", got=f"{len(data)} bytes")
    try:
        pem = data.startswith(b"-----BEGIN")
        certificate = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
        _ = certificate.extensions, certificate.subject, certificate.issuer, certificate.public_key()
    except x509.DuplicateExtension as error:
        raise MalformedCollateral(EXTENSION_TWICE, f"{field} has a certificate with one extension twice",
                                  got=error.oid.dotted_string) from None
    except (ValueError, TypeError, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
            UnsupportedAlgorithm) as error:
        raise _malformed(field, f"is not a readable certificate ({type(error).__name__})") from None
    if not ends_with_signature(certificate.public_bytes(Encoding.DER), certificate.signature):
        raise _malformed(field, "has a signature that is not made of whole octets")
    return certificate


def ends_with_signature(document: bytes, signature: bytes) -> bool:
    """True when the BIT STRING that ends the DER has no unused bits: with them, a second encoding would verify too."""
    return document.endswith(b"\x00" + signature)


def _malformed(field: str, detail: str, *, expected: object = None, got: object = None) -> MalformedCollateral:
    return MalformedCollateral("collateral.certificate", f"{field} {detail}", expected=expected, got=got)


def public_key_of(key: object) -> PublicKey:
    """``key`` if it is of a kind that TEE makers use. Raises `MalformedCollateral` otherwise."""
    if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return key
    raise MalformedCollateral("collateral.certificate.key", "only EC and RSA keys are used by TEE makers",
                              got=type(key).__name__)


def common_name(certificate: x509.Certificate) -> str:
    """The subject's common name; empty when there is none or more than one."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    value = names[0].value if len(names) == 1 else ""
    return value if isinstance(value, str) else ""


def subject_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """The subject key identifier, or None when the certificate has none."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            return extension.value.digest
    return None


def authority_key_identifier(extensions: x509.Extensions) -> bytes | None:
    """The authority key identifier, or None when there is none."""
    for extension in extensions:
        if isinstance(extension.value, x509.AuthorityKeyIdentifier):
            return extension.value.key_identifier
    return None


def validity(certificate: x509.Certificate) -> Window:
    """The certificate's own dates."""
    return Window(unix(certificate.not_valid_before_utc), unix(certificate.not_valid_after_utc))


def check_validity(trail: Trail, rule: str, window: Window, at: int) -> None:
    """``at`` must lie within ``window``, ends included; notes ``<rule>.validity``."""
    ok = window.contains(at)
    trail.require(f"{rule}.validity", ok, "the moment must lie within the validity dates",
                  expected=[window.not_before, window.not_after], got=told_moment(ok, at))


def told_moment(ok: bool, at: int) -> int | None:
    """``at`` where it refuses. Checks that hold are kept and told again at other moments, so they do not tell it."""
    return None if ok else at


def check_link(trail: Trail, rule: str, certificate: x509.Certificate, issuer: Issuer, at: int, *, ca_depth: int | None,
               scheme: Scheme | None = None, known_critical: frozenset[str] = frozenset()) -> Window:
    """One certificate under its issuer at ``at``; returns its dates.

    ca_depth: None for a leaf (must not be a CA); for a CA the number of CA certificates that follow below it, which
    its path length must allow. scheme: how the maker signs, None for Intel's and AMD's. known_critical: dotted names of
    further critical extensions that the caller judges itself. Notes ``<rule>.validity``, ``.issuer``, ``.role``,
    ``.extensions`` and ``.signature``.
    """
    window = validity(certificate)
    check_validity(trail, rule, window, at)
    trail.equal(f"{rule}.issuer", expected=issuer.name, got=certificate.issuer.rfc4514_string())
    authority = authority_key_identifier(certificate.extensions)
    if authority is not None and issuer.key_identifier is not None:
        trail.equal(f"{rule}.authority_key", expected=issuer.key_identifier, got=authority)
    _check_role(trail, rule, certificate, ca_depth, known_critical)
    _check_identifiers(trail, f"{rule}.signature", certificate.public_bytes(Encoding.DER))
    check_signature(trail, f"{rule}.signature", issuer.public_key, certificate.signature,
                    certificate.tbs_certificate_bytes, certificate.signature_algorithm_oid, scheme)
    return window


def _check_role(trail: Trail, rule: str, certificate: x509.Certificate, ca_depth: int | None,
                known_critical: frozenset[str]) -> None:
    constraints: x509.BasicConstraints | None = None
    usage: x509.KeyUsage | None = None
    unknown: list[str] = []
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints):
            constraints = extension.value
        elif isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
        elif extension.critical and extension.oid.dotted_string not in known_critical:
            unknown.append(extension.oid.dotted_string)
    trail.require(f"{rule}.extensions", not unknown, "an unknown critical extension refuses", got=unknown)
    is_ca = constraints is not None and constraints.ca
    trail.equal(f"{rule}.ca", expected=ca_depth is not None, got=is_ca)
    if ca_depth is None:
        trail.require(f"{rule}.key_usage", usage is None or (usage.digital_signature and not usage.key_cert_sign),
                      "a leaf signs documents, not certificates")
        return
    assert constraints is not None  # noqa: S101 - established by the rule above
    allowed = constraints.path_length
    trail.require(f"{rule}.path_length", allowed is None or allowed >= ca_depth, "the path is longer than allowed",
                  expected=f">= {ca_depth}", got=allowed)
    trail.require(f"{rule}.key_usage", usage is not None and usage.key_cert_sign, "a CA must be allowed to sign")


def _check_identifiers(trail: Trail, rule: str, document: bytes) -> None:
    """The algorithm named beside a certificate's signature is the signed one, byte for byte (RFC 5280 section 4.1.1.2).

    The library sees to this for revocation lists, not for certificates.
    """
    outer = Reader(der.only(document, "certificate", Tag.SEQUENCE), "certificate", order="big")
    signed = Reader(der.expect(outer, Tag.SEQUENCE), "certificate", order="big")
    tag, inside = der.element(signed)
    while tag != Tag.SEQUENCE:  # version and serial number
        tag, inside = der.element(signed)
    trail.require(f"{rule}.identifier", der.element(outer) == (tag, inside),
                  "the algorithm beside the signature must be the signed one")


def check_crl_signature(trail: Trail, rule: str, crl: x509.CertificateRevocationList, key: PublicKey,
                        scheme: Scheme | None = None) -> None:
    """The CRL must be signed by ``key`` with the algorithm its kind of key uses."""
    check_signature(trail, rule, key, crl.signature, crl.tbs_certlist_bytes, crl.signature_algorithm_oid, scheme)


def check_signature(trail: Trail, rule: str, key: PublicKey, signature: bytes, signed: bytes,
                    algorithm: x509.ObjectIdentifier, scheme: Scheme | None = None) -> None:
    """``signature`` over ``signed`` by ``key`` as ``scheme`` demands; None is the scheme of Intel's or AMD's keys.

    The algorithm is decided by scheme and key; the algorithm that the certificate names must agree.
    """
    demanded = scheme or (INTEL if isinstance(key, ec.EllipticCurvePublicKey) else AMD)
    trail.require(f"{rule}.algorithm", demanded.fits(key, algorithm), f"must be {demanded.told}",
                  got=algorithm.dotted_string if isinstance(key, ec.EllipticCurvePublicKey) else
                  f"{algorithm.dotted_string}, {key.key_size}")
    try:
        demanded.verify(key, signature, signed)
    except InvalidSignature:
        raise trail.fail(rule, "the signature does not verify") from None
    trail.passed(rule)
