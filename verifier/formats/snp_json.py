"""SNP evidence as Confidential Containers put it into JSON.

    {"attestation_report": {...}, "cert_chain": null | [{"cert_type": "VCEK" | ..., "data": [ints]}]}

``attestation_report`` is one of the two structures of `verifier.formats.snp_serde` or, as an addition of ours, the raw
report in base64 text. Whatever form it has, the 1184 bytes that were signed are rebuilt from it; anything that does not
determine them all raises `MalformedEvidence`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from verifier.evidence import Evidence, Tee
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader
from verifier.formats.snp_report import SIZE
from verifier.formats.snp_serde import check_names, malformed, members_of, octets, report_bytes, report_structure
from verifier.formats.strict import base64_bytes

MAX_CERTIFICATES = 16
MAX_CERTIFICATE_BYTES = 32 * 1024

_CERTIFICATES = ("VCEK", "VLEK", "ASK", "ARK")
_NOT_CERTIFICATES = ("Empty", "CRL")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z", re.ASCII)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*\Z")
_COMMON_NAME = bytes.fromhex("550403")  # 2.5.4.3
_SET, _VERSION = 0x31, 0xA0


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object. Raises `MalformedEvidence`.

    A missing ``cert_chain`` is the same as null. What an entry calls itself is believed by nobody; CRLs and entries of
    unknown type are left out, because whoever is judged does not choose the revocation list.
    """
    check_names(value, "evidence", {"attestation_report"}, {"cert_chain"})
    return Evidence(Tee.SNP, _report(value["attestation_report"]), _chain(value.get("cert_chain")))


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The object that Confidential Containers' attester makes of ``evidence`` (sev 6 and later), certificates as DER.

    Raises `MalformedEvidence` for a report that this form cannot carry whole (reserved bytes set) and for a certificate
    that is not one of AMD's four kinds.
    """
    chain = [_entry(data) for data in evidence.certificates]
    return {"attestation_report": report_structure(evidence.quote), "cert_chain": chain or None}


def _report(value: object) -> bytes:
    if isinstance(value, Mapping):
        return report_bytes(value)
    raw = base64_bytes(value, "attestation_report")
    if len(raw) != SIZE:
        raise malformed("attestation_report", "has the wrong length", expected=SIZE, got=len(raw))
    return raw


def _chain(value: object) -> tuple[bytes, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_CERTIFICATES:
        raise malformed("cert_chain", "must be null or a short list", expected=f"<= {MAX_CERTIFICATES} entries",
                        got=type(value).__name__)
    found = (_certificate(entry) for entry in value)
    return tuple(data for kind, data in found if kind in _CERTIFICATES)


def _certificate(entry: object) -> tuple[str, bytes]:
    members = members_of(entry, "cert_chain", ("cert_type", "data"))
    data = members["data"]
    if not isinstance(data, list) or len(data) > MAX_CERTIFICATE_BYTES:
        raise malformed("cert_chain.data", "must be an array of integers", expected=f"<= {MAX_CERTIFICATE_BYTES}",
                        got=type(data).__name__)
    return _type(members["cert_type"]), octets(data, "cert_chain.data", len(data))


def _type(value: object) -> str:
    if isinstance(value, Mapping):
        other = members_of(value, "cert_type", ("OTHER",))["OTHER"]
        if isinstance(other, str) and _UUID.match(other):
            return "OTHER"
        raise malformed("cert_type", "OTHER must be a UUID", got=type(other).__name__)
    if isinstance(value, str) and value in _CERTIFICATES + _NOT_CERTIFICATES:
        return value
    raise malformed("cert_type", "is not a certificate type", expected=[*_CERTIFICATES, *_NOT_CERTIFICATES],
                    got=repr(value)[:40])


def _entry(data: bytes) -> dict[str, Any]:
    pem = _PEM.match(data)
    plain = base64_bytes(b"".join(pem.group(1).split()).decode(), "certificate") if pem else data
    return {"cert_type": _kind(_common_name(plain)), "data": list(plain)}


def _kind(name: bytes) -> str:
    if name in (b"SEV-VCEK", b"SEV-VLEK"):
        return name.removeprefix(b"SEV-").decode()
    for prefix, kind in ((b"ARK-", "ARK"), (b"SEV-", "ASK")):
        if name.startswith(prefix):
            return kind
    raise malformed("cert_chain", "a certificate is of no kind that AMD issues", got=name)


def _common_name(certificate: bytes) -> bytes:
    """The subject's one common name (RFC 5280 section 4.1), or nothing; no more of the certificate is looked at."""
    outer = Reader(der.only(certificate, "certificate", Tag.SEQUENCE), "certificate", order="big")
    tbs = Reader(der.expect(outer, Tag.SEQUENCE), "certificate", order="big")
    skipped = [der.element(tbs)[0] for _ in range(5)]  # version, serial number, algorithm, issuer, validity
    if skipped[0] != _VERSION:
        raise tbs.malformed("not a version 3 certificate", got=hex(skipped[0]))
    subject = Reader(der.expect(tbs, Tag.SEQUENCE), "certificate", order="big")
    names = [content for oid, content in _attributes(subject) if oid == _COMMON_NAME]
    return names[0] if len(names) == 1 else b""


def _attributes(subject: Reader) -> list[tuple[bytes, bytes]]:
    found = []
    while subject.remaining:
        tag, content = der.element(subject)
        if tag != _SET:
            raise subject.malformed("a relative name is not a set", expected=hex(_SET), got=hex(tag))
        attribute = Reader(der.only(content, "certificate", Tag.SEQUENCE), "certificate", order="big")
        found.append((der.expect(attribute, Tag.OBJECT_IDENTIFIER), der.element(attribute)[1]))
    return found
