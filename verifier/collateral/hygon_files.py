"""Hygon's certificates among collateral files: HRK, HSK, CEK and PEK, alone or in a row, told by their fields."""

from __future__ import annotations

from verifier.endorsements.collateral import HygonCollateral
from verifier.errors import MalformedEvidence
from verifier.formats.hygon_cert import CA_SIZE, resembles_ca, resembles_certificate, split_certificates


def recognise(data: bytes) -> HygonCollateral | None:
    """``data`` as collateral when all of it is Hygon certificates, else None.

    832 bytes (HRK or HSK), 2084 (CEK or PEK), 2916 (the key server's ``hsk_cek``), or more of them in a row.
    """
    try:
        certificates = tuple(certificate.to_bytes() for certificate in split_certificates(data))
    except MalformedEvidence:
        return None
    known = all(resembles_ca(one) if len(one) == CA_SIZE else resembles_certificate(one) for one in certificates)
    return HygonCollateral(certificates) if known else None
