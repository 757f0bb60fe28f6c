"""Which loose files are NVIDIA's collateral: reference manifests (XML) and OCSP answers (DER)."""

from __future__ import annotations

from verifier.endorsements.collateral import NvidiaCollateral
from verifier.endorsements.ocsp import read_answer
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats.rim import SWID, SignedRim
from verifier.formats.xml_subset import MAX_DOCUMENT_BYTES

SUFFIXES = (".xml", ".swidtag", ".ocsp", ".resp")

_BASIC_RESPONSE = bytes.fromhex("2b0601050507300101")  # id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1
_HEAD = 64  # the name stands within the first octets of an answer


def recognise(data: bytes) -> NvidiaCollateral | None:
    """What ``data`` is; None when it is neither. Raises `MalformedCollateral` for a manifest that cannot be read."""
    if data.lstrip()[:1] == b"<" and SWID.encode() in data[:MAX_DOCUMENT_BYTES]:
        return _manifest(data)
    if data[:1] == b"0" and _BASIC_RESPONSE in data[:_HEAD]:
        read_answer(data, "OCSP answer")
        return NvidiaCollateral(ocsp_answers=(data,))
    return None


def _manifest(data: bytes) -> NvidiaCollateral:
    try:
        SignedRim.from_bytes(data)
    except MalformedEvidence as error:
        raise MalformedCollateral("collateral.rim", f"not a signed reference manifest: {error.detail}",
                                  expected=error.expected, got=error.got) from None
    return NvidiaCollateral(rims=(data,))
