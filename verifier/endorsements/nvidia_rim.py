"""NVIDIA's reference integrity manifests, verified.

    1  the signature says how it was made, and only in the one way that NVIDIA signs     rim.algorithms
    2  its certificates chain to the pinned root of reference values                     rim.chain.*
    3  the leaf's key signed it                                                          rim.signature
    4  the digest it claims is that of the document without it                           rim.digest
    5  the values are read from the bytes of step 4, and are a primary NVIDIA manifest   rim.tag, rim.maker, rim.active

A manifest that does not verify is no reference for anything. It says nothing against the device either, so it is a
`RejectedRim`, which tells why, and the caller decides what its absence means.
Source: W3C XML Signature 1.1; Canonical XML 1.1; RFC 6931 (identifiers of algorithms).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from verifier.endorsements.chain import read_certificates, validity
from verifier.endorsements.nvidia import Chain, check_raw_signature, verify_rim_chain
from verifier.endorsements.ocsp import OcspAnswer
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import ALWAYS, Window, unix
from verifier.errors import CheckFailed, MalformedCollateral, MalformedEvidence
from verifier.formats.rim import Rim, SignedRim
from verifier.trail import Check, Trail

_C14N11 = "http://www.w3.org/2006/12/xml-c14n11"
_ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
ALGORITHMS = (_C14N11, _ECDSA_SHA384, _ENVELOPED, _C14N11, _SHA384)
MAX_RIMS = 256

_MAKER = {"FirmwareManufacturer": "NVIDIA Corporation", "FirmwareManufacturerId": "5703", "PayloadType": "direct",
          "BindingSpec": "RIMIM"}
_PRIMARY = {"corpus": "false", "patch": "false", "supplemental": "false"}


@dataclass(frozen=True, slots=True)
class VerifiedRim:
    """A manifest that may be compared with; ``checks`` say why."""

    rim: Rim
    chain: Chain
    checks: tuple[Check, ...] = field(repr=False)
    window: Window


@dataclass(frozen=True, slots=True)
class RejectedRim:
    """A manifest that may not: ``reason`` is the id of the first rule that did not hold. window: for how long."""

    reason: str
    detail: str
    window: Window


def read_rims(documents: Sequence[bytes]) -> tuple[SignedRim, ...]:
    """Every manifest, each once. Raises `MalformedCollateral` for what is none."""
    if len(documents) > MAX_RIMS:
        raise MalformedCollateral("collateral.rim", "too many manifests", expected=f"<= {MAX_RIMS}", got=len(documents))
    try:
        return tuple(SignedRim.from_bytes(document) for document in dict.fromkeys(documents))
    except MalformedEvidence as error:
        raise MalformedCollateral("collateral.rim", f"not a signed reference manifest: {error.detail}",
                                  expected=error.expected, got=error.got) from None


def judge_rim(prefix: str, document: SignedRim, answers: Sequence[OcspAnswer], roots: Roots,
              at: int) -> VerifiedRim | RejectedRim:
    """Whether ``document`` may be compared with at ``at``. Its rules are noted on a trail of their own."""
    trail = Trail(prefix)
    try:
        return _verify(trail, document, answers, roots, at)
    except (CheckFailed, MalformedCollateral) as error:
        return RejectedRim(error.id, error.detail, _steady(document, answers, at))


def _verify(trail: Trail, document: SignedRim, answers: Sequence[OcspAnswer], roots: Roots, at: int) -> VerifiedRim:
    trail.equal("rim.algorithms", expected=ALGORITHMS, got=document.algorithms)
    chain = verify_rim_chain(trail, document.certificates, answers, roots, at)
    check_raw_signature(trail, "rim.signature", chain.key, document.signature, document.signed_info)
    trail.equal("rim.digest", expected=document.digest, got=hashlib.sha384(document.signed).digest())
    rim = _read(document.signed)
    for rule, expected, values in (("rim.tag", _PRIMARY, rim.attributes), ("rim.maker", _MAKER, rim.meta)):
        trail.equal(rule, expected=expected, got={name: values[name] for name in expected})
    trail.require("rim.active", bool(rim.active), "a manifest without active references vouches for nothing")
    return VerifiedRim(rim, chain, trail.checks, chain.window)


def _read(signed: bytes) -> Rim:
    """The values of the very bytes whose digest was signed."""
    try:
        return Rim.from_bytes(signed)
    except MalformedEvidence as error:
        raise MalformedCollateral("collateral.rim", error.detail, expected=error.expected, got=error.got) from None


def _steady(document: SignedRim, answers: Sequence[OcspAnswer], at: int) -> Window:
    """The span around ``at`` in which no date that could matter passes: in it the same rule refuses again."""
    spans = [*_spans(_readable(document.certificates)),
             *(span for answer in answers for span in _spans(answer.certificates))]
    for answer in answers:
        end = answer.single.next_update_utc
        spans.append(Window(unix(answer.single.this_update_utc), ALWAYS.not_after if end is None else unix(end) - 1))
    starts = [moment for span in spans for moment in (span.not_before, span.not_after + 1)]
    return Window(max((moment for moment in starts if moment <= at), default=ALWAYS.not_before),
                  min((moment - 1 for moment in starts if moment > at), default=ALWAYS.not_after))


def _spans(certificates: Iterable[x509.Certificate]) -> list[Window]:
    return [validity(certificate) for certificate in certificates]


def _readable(items: Sequence[bytes]) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for item in items:
        try:
            found.extend(read_certificates(item, "RIM certificates"))
        except MalformedCollateral:
            continue  # it has no dates that matter
    return found
