"""NVIDIA's services: reference integrity manifests by id, and the status of a certificate (OCSP, RFC 6960).

Requests for a status carry no nonce: an answer is good until its nextUpdate for whoever asks, so that it can be kept
and carried across an air gap. Source: NVIDIA "RIM Service API", "OCSP Service API"; RFC 6960 appendix A.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from verifier.collateral.http import Door, Origin
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.sources import Sources
from verifier.errors import MalformedCollateral, MalformedEvidence, MissingCollateral
from verifier.formats.strict import base64_bytes, json_object

REQUEST_TYPE = "application/ocsp-request"


def rim_name(manifest_id: str) -> Name:
    """The name of a manifest, such as ``NV_GPU_DRIVER_GH100_550.90.07``."""
    return Name(Kind.RIM, (manifest_id,))


def ocsp_name(certificate: x509.Certificate, issuer: x509.Certificate) -> Name:
    """The name of a certificate's status."""
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Name(Kind.OCSP, (hashlib.sha256(key).hexdigest(), f"{certificate.serial_number:x}"))


def manifest(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """A signed manifest: what the service wraps as base64 in JSON, with its SHA-256 beside it."""
    if not sources.rim:
        raise MissingCollateral("collateral.source", "no source of NVIDIA's manifests is configured")
    answer = door.get(Origin.parse(sources.rim), f"/v1/rim/{name.about[0]}")
    try:
        told = json_object(answer.body, "manifest")
        document = base64_bytes(told.get("rim"), "rim")
    except MalformedEvidence as error:
        raise MalformedCollateral("collateral.fetch.document", f"{answer.url}: {error.detail}") from None
    stated = told.get("sha256")
    if stated is not None and stated != hashlib.sha256(document).hexdigest():
        raise MalformedCollateral("collateral.fetch.digest", f"{answer.url} answers with a manifest of another digest",
                                  expected=str(stated)[:64], got=hashlib.sha256(document).digest())
    return Item(name, {"document": document}, answer.url, at)


def status(door: Door, sources: Sources, name: Name, at: int, certificate: x509.Certificate,
           issuer: x509.Certificate) -> Item:
    """The responder's answer about ``certificate``, DER, with the two certificates that it is about."""
    if not sources.ocsp:
        raise MissingCollateral("collateral.source", "no source of NVIDIA's certificate status is configured")
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA384()).build()
    answer = door.post(Origin.parse(sources.ocsp), "/", request.public_bytes(Encoding.DER), REQUEST_TYPE)
    return Item(name, {"answer": answer.body, "certificate": certificate.public_bytes(Encoding.DER),
                       "issuer": issuer.public_bytes(Encoding.DER)}, answer.url, at)
