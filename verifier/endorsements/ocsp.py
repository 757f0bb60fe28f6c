"""Answers of OCSP responders, verified before they are believed.

An answer is one basic response about one certificate, as a client gets it that asked about one. It counts only when it
is signed by the issuer of that certificate, or by a responder that this issuer certified for the purpose, and lies in
its window; ``at`` equal to nextUpdate is too late, and an answer without nextUpdate would never end. A nonce ties an
answer to one question on the wire; whoever asks compares it there. What was asked earlier is judged by its window
alone. The responder's own revocation is not looked into: its certificate is short-lived or says so
(id-pkix-ocsp-nocheck).
Source: RFC 6960 sections 3.2, 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from verifier.endorsements.chain import Issuer, check_link, check_signature, read_certificates, told_moment
from verifier.endorsements.schemes import Scheme
from verifier.endorsements.window import Window, unix
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader
from verifier.trail import Trail

MAX_ANSWER_BYTES = 64 * 1024
MAX_CERTIFICATES = 4
HOLD = x509.ReasonFlags.certificate_hold

# How a responder may name the issuer. The answer is signed by the issuer or for it: the name only has to be clear.
_NAMING = ("sha1", "sha256", "sha384", "sha512")
_BIT_STRING = 0x03
_EKU = frozenset({ExtensionOID.EXTENDED_KEY_USAGE.dotted_string})


@dataclass(frozen=True, slots=True)
class OcspAnswer:
    """One answer as read, nothing believed. certificates: those that came along."""

    single: ocsp.OCSPSingleResponse
    response: ocsp.OCSPResponse
    certificates: tuple[x509.Certificate, ...] = field(repr=False)

    def is_about(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        """Whether the answer names ``certificate``, which ``issuer`` issued."""
        if self.single.serial_number != certificate.serial_number:
            return False
        asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, self.single.hash_algorithm).build()
        return (self.single.issuer_name_hash, self.single.issuer_key_hash) == (
            asked.issuer_name_hash, asked.issuer_key_hash)

    def is_given_by(self, certificate: x509.Certificate) -> bool:
        """Whether ``certificate`` is the responder that the answer names, by name or by the SHA-1 of its key."""
        if self.response.responder_name is not None:
            return certificate.subject == self.response.responder_name
        key = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
        return key == self.response.responder_key_hash


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a verified answer says. on_hold: suspended, and perhaps to be reinstated; whoever is revoked for any other
    reason has been refused. window: the answer's span and the responder's."""

    on_hold: bool
    window: Window


def read_answer(data: bytes, field_name: str) -> OcspAnswer:
    """A successful answer, DER. Raises `MalformedCollateral`, also for one that tells nothing (``tryLater`` …)."""
    if len(data) > MAX_ANSWER_BYTES:
        raise _malformed(field_name, "is too large", expected=f"<= {MAX_ANSWER_BYTES} bytes", got=f"{len(data)} bytes")
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise _malformed(field_name, "tells nothing", expected="SUCCESSFUL", got=response.response_status.name)
        answer = _answer(response, field_name)
        _check_octets(data, response.signature, field_name)
    except (ValueError, TypeError, UnsupportedAlgorithm, MalformedEvidence, x509.DuplicateExtension,
            x509.InvalidVersion, x509.UnsupportedGeneralNameType) as error:
        raise _malformed(field_name, f"is not readable ({type(error).__name__})") from None
    return answer


def _answer(response: ocsp.OCSPResponse, field_name: str) -> OcspAnswer:
    found, certificates = list(response.responses), tuple(response.certificates)
    if len(found) != 1 or len(certificates) > MAX_CERTIFICATES:
        raise _malformed(field_name, "must be about one certificate and bring few", got=[len(found), len(certificates)])
    if found[0].hash_algorithm.name not in _NAMING:
        raise _malformed(field_name, "names the issuer in an unknown way", got=found[0].hash_algorithm.name)
    # The library reads these when they are first asked for: ask now, while its errors can be told.
    _ = response.extensions, response.single_extensions, response.tbs_response_bytes, response.signature_algorithm_oid
    _ = found[0].certificate_status, found[0].revocation_reason, found[0].this_update_utc, found[0].next_update_utc
    readable = tuple(again for certificate in certificates
                     for again in read_certificates(certificate.public_bytes(Encoding.DER), field_name))
    return OcspAnswer(found[0], response, readable)


def _check_octets(data: bytes, signature: bytes, field_name: str) -> None:
    """The signature's BIT STRING must be of whole octets: with unused bits a second encoding would verify too."""
    response = Reader(der.only(data, "ocsp", Tag.SEQUENCE), "ocsp", order="big")
    der.expect(response, Tag.ENUMERATED)
    typed = Reader(der.only(der.element(response)[1], "ocsp", Tag.SEQUENCE), "ocsp", order="big")
    der.expect(typed, Tag.OBJECT_IDENTIFIER)
    basic = Reader(der.only(der.expect(typed, Tag.OCTET_STRING), "ocsp", Tag.SEQUENCE), "ocsp", order="big")
    der.expect(basic, Tag.SEQUENCE)
    der.expect(basic, Tag.SEQUENCE)
    if der.element(basic) != (_BIT_STRING, b"\x00" + signature):
        raise _malformed(field_name, "has a signature that is not made of whole octets")


def verify_answer(trail: Trail, rule: str, answer: OcspAnswer, issuer: x509.Certificate, at: int, *,
                  scheme: Scheme) -> Revocation:
    """What ``answer``, about a certificate of the verified ``issuer``, says at ``at``.

    scheme: how answers and responders' certificates are signed. Refuses revoked and unknown certificates; one on hold
    is told as such. Notes ``<rule>.responder``, ``.signature``, ``.validity``, ``.extensions`` and ``.status``.
    """
    responder, window = _responder(trail, rule, answer, issuer, at, scheme)
    response, single = answer.response, answer.single
    check_signature(trail, f"{rule}.signature", responder.public_key, response.signature, response.tbs_response_bytes,
                    response.signature_algorithm_oid, scheme)
    unknown = [extension.oid.dotted_string for extensions in (response.extensions, response.single_extensions)
               for extension in extensions if extension.critical and not isinstance(extension.value, x509.OCSPNonce)]
    trail.require(f"{rule}.extensions", not unknown, "an unknown critical extension refuses", got=unknown)
    end = single.next_update_utc
    trail.require(f"{rule}.next_update", end is not None, "an answer without nextUpdate never ends")
    own = Window(unix(single.this_update_utc), unix(end) - 1 if end else 0)
    fresh = own.contains(at)
    trail.require(f"{rule}.validity", fresh, "the moment must lie in [thisUpdate, nextUpdate)",
                  expected=[own.not_before, own.not_after + 1], got=told_moment(fresh, at))
    return Revocation(_status(trail, rule, single), own.meet(window))


def _responder(trail: Trail, rule: str, answer: OcspAnswer, issuer: x509.Certificate, at: int,
               scheme: Scheme) -> tuple[Issuer, Window]:
    """The issuer itself, or the certificate that the answer brings for the responder it names, under the issuer."""
    if answer.is_given_by(issuer):
        trail.passed(f"{rule}.responder", "the issuer answers itself", got=issuer.subject.rfc4514_string())
        return Issuer.of(issuer), Window(unix(issuer.not_valid_before_utc), unix(issuer.not_valid_after_utc))
    delegate = next((certificate for certificate in answer.certificates if answer.is_given_by(certificate)), None)
    if delegate is None:
        raise trail.fail(f"{rule}.responder", "the answer names a responder that is not the issuer, and brings no "
                                              "certificate of it")
    window = check_link(trail, f"{rule}.responder", delegate, Issuer.of(issuer), at, ca_depth=None, scheme=scheme,
                        known_critical=_EKU)
    purposes = [purpose for extension in delegate.extensions if isinstance(extension.value, x509.ExtendedKeyUsage)
                for purpose in extension.value]
    trail.require(f"{rule}.responder.purpose", ExtendedKeyUsageOID.OCSP_SIGNING in purposes,
                  "the responder must be certified for OCSP signing", got=[p.dotted_string for p in purposes])
    trail.passed(f"{rule}.responder", "a responder that the issuer certified",
                 got=delegate.subject.rfc4514_string())
    return Issuer.of(delegate), window


def _status(trail: Trail, rule: str, single: ocsp.OCSPSingleResponse) -> bool:
    """True when the certificate is on hold, False when it is good."""
    status, reason = single.certificate_status, single.revocation_reason
    on_hold = status is ocsp.OCSPCertStatus.REVOKED and reason is HOLD
    trail.require(f"{rule}.status", on_hold or status is ocsp.OCSPCertStatus.GOOD,
                  "the certificate must be known and not revoked", expected="good",
                  got=status.name.lower() if reason is None else f"{status.name.lower()}: {reason.value}")
    return on_hold


def _malformed(field_name: str, detail: str, *, expected: object = None, got: object = None) -> MalformedCollateral:
    return MalformedCollateral("collateral.ocsp", f"{field_name} {detail}", expected=expected, got=got)
