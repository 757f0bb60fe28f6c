"""Certificates and revocation lists as parameters, signed at the end.

Each artefact is a frozen value that says everything about it: `dataclasses.replace` changes one thing, `issue` signs
the result, whatever it has become. ``mutate`` sees the to-be-signed bytes last; ``signer`` may be any key. So every
rule of a verifier can be broken alone, with everything else correctly signed. Source: RFC 5280 sections 4.1, 4.2, 5.1.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from verifier.software_tee import der
from verifier.software_tee.keys import SigningKey

T = TypeVar("T")
Alteration = Callable[[T], T]

NOT_BEFORE = 1_577_836_800  # 2020-01-01T00:00:00Z
NOT_AFTER = 2_524_607_999  # 2049-12-31T23:59:59Z

COMMON_NAME, COUNTRY, LOCALITY = "2.5.4.3", "2.5.4.6", "2.5.4.7"
STATE, ORGANIZATION, ORGANIZATIONAL_UNIT = "2.5.4.8", "2.5.4.10", "2.5.4.11"

SUBJECT_KEY_IDENTIFIER, KEY_USAGE, BASIC_CONSTRAINTS = "2.5.29.14", "2.5.29.15", "2.5.29.19"
CRL_NUMBER, CRL_REASON, DELTA_CRL, ISSUING_POINT = "2.5.29.20", "2.5.29.21", "2.5.29.27", "2.5.29.28"
CRL_DISTRIBUTION_POINTS, AUTHORITY_KEY_IDENTIFIER = "2.5.29.31", "2.5.29.35"

DIGITAL_SIGNATURE, NON_REPUDIATION, KEY_CERT_SIGN, CRL_SIGN = 0, 1, 5, 6
KEY_COMPROMISE, REMOVE_FROM_CRL = 1, 8


def unchanged(value: T) -> T:
    """The alteration that alters nothing."""
    return value


def composed(first: Mapping[str, Alteration[Any]], then: Mapping[str, Any]) -> dict[str, Alteration[Any]]:
    """Alterations by artefact, each of ``then`` applied to what the one of ``first`` made."""
    return dict(first) | {name: _sequence(first.get(name, unchanged), after) for name, after in then.items()}


def _sequence(first: Alteration[Any], then: Alteration[Any]) -> Alteration[Any]:
    return lambda artefact: then(first(artefact))


class NamedPart(Protocol):
    """A part of an artefact that goes by an object identifier."""

    @property
    def oid(self) -> str:
        """Dotted form."""


P = TypeVar("P", bound=NamedPart)


def without(parts: tuple[P, ...], oid: str) -> tuple[P, ...]:
    """``parts`` with every part of that name removed."""
    return tuple(part for part in parts if part.oid != oid)


def doubled(parts: tuple[P, ...], oid: str) -> tuple[P, ...]:
    """``parts`` with the part of that name twice."""
    return tuple(again for part in parts for again in ((part, part) if part.oid == oid else (part,)))


def changed(parts: tuple[P, ...], part: P) -> tuple[P, ...]:
    """``parts`` with ``part`` in the place of the one of its name, or at the end when there is none."""
    if all(known.oid != part.oid for known in parts):
        return (*parts, part)
    return tuple(part if known.oid == part.oid else known for known in parts)


class Extension(NamedTuple):
    """An X.509 extension; ``value`` is the content of extnValue's OCTET STRING."""

    oid: str
    value: bytes
    critical: bool = False

    def to_bytes(self) -> bytes:
        """DER."""
        flag = der.boolean(True) if self.critical else b""
        return der.sequence(der.oid(self.oid), flag, der.octet_string(self.value))


def basic_constraints(ca: bool, path_length: int | None = None) -> Extension:
    """Critical, as all makers have it; ``path_length`` None sets no limit."""
    inner = (der.boolean(True) if ca else b"") + (b"" if path_length is None else der.integer(path_length))
    return Extension(BASIC_CONSTRAINTS, der.sequence(inner), critical=True)


def key_usage(*bits: int) -> Extension:
    """Critical."""
    return Extension(KEY_USAGE, der.named_bits(*bits), critical=True)


def subject_key_identifier(identifier: bytes) -> Extension:
    """Of the key in the certificate."""
    return Extension(SUBJECT_KEY_IDENTIFIER, der.octet_string(identifier))


def authority_key_identifier(identifier: bytes) -> Extension:
    """Of the issuer's key."""
    return Extension(AUTHORITY_KEY_IDENTIFIER, der.sequence(der.implicit(0, identifier)))


def crl_distribution_point(url: str) -> Extension:
    """One full name."""
    name = der.explicit(0, der.explicit(0, der.implicit(6, url.encode("ascii"))))
    return Extension(CRL_DISTRIBUTION_POINTS, der.sequence(der.sequence(name)))


Name = tuple[tuple[str, str], ...]


def encoded_name(name: Name) -> bytes:
    """A distinguished name of one attribute per set; the country as PrintableString, the rest as UTF8String."""
    return der.sequence(*(
        der.set_of(der.sequence(der.oid(kind), der.printable(text) if kind == COUNTRY else der.utf8(text)))
        for kind, text in name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate to be.

    serial: 0 is what AMD gives its leaves. not_before / not_after: Unix seconds. public_key: SubjectPublicKeyInfo, DER.
    algorithm: the AlgorithmIdentifier inside the signed part and beside the signature, None for the signer's own.
    """

    subject: Name
    issuer: Name
    serial: int
    public_key: bytes
    extensions: tuple[Extension, ...]
    signer: SigningKey
    not_before: int = NOT_BEFORE
    not_after: int = NOT_AFTER
    algorithm: bytes | None = None
    mutate: Alteration[bytes] = unchanged

    def without(self, oid: str) -> Certificate:
        """The same with that extension missing."""
        return replace(self, extensions=without(self.extensions, oid))

    def doubled(self, oid: str) -> Certificate:
        """The same with that extension twice."""
        return replace(self, extensions=doubled(self.extensions, oid))

    def changed(self, extension: Extension) -> Certificate:
        """The same with ``extension`` instead of the one of its name, or added."""
        return replace(self, extensions=changed(self.extensions, extension))

    def to_be_signed(self) -> bytes:
        """TBSCertificate, DER."""
        extensions = der.sequence(*(extension.to_bytes() for extension in self.extensions))
        return der.sequence(
            der.explicit(0, der.integer(2)), der.integer(self.serial), self.algorithm or self.signer.algorithm,
            encoded_name(self.issuer), der.sequence(der.time(self.not_before), der.time(self.not_after)),
            encoded_name(self.subject), self.public_key, der.explicit(3, extensions) if self.extensions else b"")

    def issue(self) -> bytes:
        """The certificate, DER."""
        return _signed(self.mutate(self.to_be_signed()), self.signer, self.algorithm)


@dataclass(frozen=True, slots=True)
class Revoked:
    """One entry of a revocation list; ``reason`` None leaves the reason code out (RFC 5280 section 5.3.1)."""

    serial: int
    moment: int
    reason: int | None = KEY_COMPROMISE
    extensions: tuple[Extension, ...] = ()

    def to_bytes(self) -> bytes:
        """DER."""
        extensions = self.extensions
        if self.reason is not None:
            extensions = (Extension(CRL_REASON, der.enumerated(self.reason)), *extensions)
        tail = der.sequence(*(extension.to_bytes() for extension in extensions)) if extensions else b""
        return der.sequence(der.integer(self.serial), der.time(self.moment), tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """A revocation list to be. ``next_update`` None leaves the field out."""

    issuer: Name
    this_update: int
    next_update: int | None
    signer: SigningKey
    extensions: tuple[Extension, ...]
    revoked: tuple[Revoked, ...] = ()
    algorithm: bytes | None = None
    mutate: Alteration[bytes] = unchanged

    def revoking(self, *serials: int) -> RevocationList:
        """The same, listing ``serials`` as well, revoked when the list was made."""
        return replace(self, revoked=(*self.revoked, *(Revoked(serial, self.this_update) for serial in serials)))

    def without(self, oid: str) -> RevocationList:
        """The same with that extension missing."""
        return replace(self, extensions=without(self.extensions, oid))

    def changed(self, extension: Extension) -> RevocationList:
        """The same with ``extension`` instead of the one of its name, or added."""
        return replace(self, extensions=changed(self.extensions, extension))

    def to_be_signed(self) -> bytes:
        """TBSCertList, DER."""
        entries = der.sequence(*(entry.to_bytes() for entry in self.revoked)) if self.revoked else b""
        extensions = der.sequence(*(extension.to_bytes() for extension in self.extensions))
        return der.sequence(
            der.integer(1), self.algorithm or self.signer.algorithm, encoded_name(self.issuer),
            der.time(self.this_update), b"" if self.next_update is None else der.time(self.next_update), entries,
            der.explicit(0, extensions) if self.extensions else b"")

    def issue(self) -> bytes:
        """The list, DER."""
        return _signed(self.mutate(self.to_be_signed()), self.signer, self.algorithm)


def crl_number(number: int) -> Extension:
    """The list's own number."""
    return Extension(CRL_NUMBER, der.integer(number))


def pem(*certificates: bytes) -> bytes:
    """DER certificates as one PEM text, in the order given."""
    return b"".join(_pem_block(certificate) for certificate in certificates)


def _pem_block(certificate: bytes) -> bytes:
    text = base64.b64encode(certificate)
    lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"


def _signed(tbs: bytes, signer: SigningKey, algorithm: bytes | None) -> bytes:
    return der.sequence(tbs, algorithm or signer.algorithm, der.bit_string(signer.sign(tbs)))
