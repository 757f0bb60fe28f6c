"""Certificate revocation lists, verified before they are asked anything.

A list counts only when it is signed by the issuer taken from the verified chain, names that issuer, lies in its window,
and carries nothing that narrows its scope. ``at`` equal to nextUpdate is too late; thisUpdate must not lie ahead.
Source: RFC 5280 sections 5 and 6.3.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.endorsements.chain import (
    Issuer,
    authority_key_identifier,
    check_crl_signature,
    ends_with_signature,
    told_moment,
)
from verifier.endorsements.schemes import Scheme
from verifier.endorsements.window import Window, unix
from verifier.errors import MalformedCollateral
from verifier.trail import Trail

MAX_CRL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A verified list. ``number`` is the CRL number, None when absent; ``serials`` those revoked or on hold."""

    issuer: str
    window: Window
    number: int | None
    serials: frozenset[int] = field(repr=False)

    def check_not_listed(self, trail: Trail, rule: str, certificate: x509.Certificate) -> None:
        """``certificate`` must not be revoked; it must come from the list's issuer, or the list says nothing of it."""
        trail.equal(f"{rule}.scope", expected=self.issuer, got=certificate.issuer.rfc4514_string())
        self.check_serial(trail, rule, certificate.serial_number)

    def check_serial(self, trail: Trail, rule: str, serial: int) -> None:
        """As `check_not_listed`, for a certificate whose issuer the caller knows to be the list's."""
        trail.require(f"{rule}.revoked", serial not in self.serials, "the certificate is revoked", got=f"{serial:x}")


def read_crl(data: bytes, field: str) -> x509.CertificateRevocationList:
    """A CRL from DER or PEM, unverified. Raises `MalformedCollateral`."""
    if len(data) > MAX_CRL_BYTES:
        raise MalformedCollateral("collateral.crl", f"{field} is too large", expected=f"<= {MAX_CRL_BYTES} bytes",
                                  got=f"{len(data)} bytes")
    try:
        pem = data.startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
        _ = crl.extensions, crl.issuer, crl.next_update_utc
    except (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
            UnsupportedAlgorithm) as error:
        raise MalformedCollateral("collateral.crl", f"{field} is not a readable CRL ({type(error).__name__})") from None
    if not ends_with_signature(crl.public_bytes(Encoding.DER), crl.signature):
        raise MalformedCollateral("collateral.crl", f"{field} has a signature that is not made of whole octets")
    return crl


def verify_crl(trail: Trail, rule: str, crl: x509.CertificateRevocationList, issuer: Issuer, at: int, *,
               scheme: Scheme | None = None) -> RevocationList:
    """``crl`` as a list that may be asked: issuer, signature, window and scope hold at ``at``.

    scheme: how the maker signs, None for Intel's and AMD's.
    """
    trail.equal(f"{rule}.issuer", expected=issuer.name, got=crl.issuer.rfc4514_string())
    authority = authority_key_identifier(crl.extensions)
    if authority is not None and issuer.key_identifier is not None:
        trail.equal(f"{rule}.authority_key", expected=issuer.key_identifier, got=authority)
    check_crl_signature(trail, f"{rule}.signature", crl, issuer.public_key, scheme)
    window = _window(trail, rule, crl)
    ok = window.contains(at)
    trail.require(f"{rule}.validity", ok, "the moment must lie in [thisUpdate, nextUpdate)",
                  expected=[window.not_before, window.not_after + 1], got=told_moment(ok, at))
    number = _scope(trail, rule, crl)
    return RevocationList(issuer.name, window, number, _serials(trail, rule, crl))


def _window(trail: Trail, rule: str, crl: x509.CertificateRevocationList) -> Window:
    end = crl.next_update_utc
    trail.require(f"{rule}.next_update", end is not None, "a list without nextUpdate never ends")
    return Window(unix(crl.last_update_utc), unix(end) - 1 if end else 0)


def _scope(trail: Trail, rule: str, crl: x509.CertificateRevocationList) -> int | None:
    number = None
    for extension in crl.extensions:
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        elif not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            narrows = isinstance(extension.value, x509.IssuingDistributionPoint | x509.DeltaCRLIndicator)
            trail.require(f"{rule}.scope", not (narrows or extension.critical),
                          "delta, indirect and partial lists are refused", got=extension.oid.dotted_string)
    return number


def _serials(trail: Trail, rule: str, crl: x509.CertificateRevocationList) -> frozenset[int]:
    try:
        for entry in crl:
            for extension in entry.extensions:
                trail.require(f"{rule}.entry", not extension.critical, "an entry with a critical extension refuses",
                              got=extension.oid.dotted_string)
        return frozenset(entry.serial_number for entry in crl)
    except (ValueError, x509.DuplicateExtension) as error:
        raise MalformedCollateral("collateral.crl", f"an entry is unreadable ({type(error).__name__})") from None
