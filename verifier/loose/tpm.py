"""A folder with a TPM's evidence: the files that tools and people leave, told by their conventional names.

In this order, the first that is there: go-tpm-tools' ``*.pb``; go-attestation's ``dump.json``; Parsec's
``evidence.cbor``; ``evidence.json`` with an ``ak_public``; az-cvm-vtpm's ``quote.bin`` beside a key; single files
(``attest.bin`` and ``signature.bin``, the same per bank, tpm2-tools' ``quote.msg`` and ``quote.sig``); certificates of
an attestation key alone. Keys and a log beside them fill what the evidence itself lacks, never what it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from verifier.errors import EvidenceError, MalformedEvidence
from verifier.evidence import Evidence
from verifier.formats.strict import json_object
from verifier.formats.tpm import HashAlg
from verifier.formats.tpm_captures import (
    Capture,
    from_bincode,
    from_go_attestation,
    from_go_tpm_tools,
    from_parsec,
    is_parsec,
    pcr_file,
)
from verifier.formats.tpm_evidence import TpmEvidence, TpmQuote
from verifier.formats.tpm_json import evidence_from_json, evidence_of
from verifier.formats.tpm_key_file import read_key_file
from verifier.formats.tpm_signature import TpmSignature

_KEYS = ("ak.der", "ak.pem", "akpub.pem", "akpub.der", "ak.tpmt_public", "ak.pub")
_LOGS = ("eventlog.bin", "binary_bios_measurements")
_BANKS = tuple(alg.bank for alg in HashAlg)
_PCRS = ("quotepcr.out", "quote.pcrs", "pcrs.bin")
_PAIRS = (("attest.bin", "signature.bin", _PCRS), ("quote.msg", "quote.sig", _PCRS),
          *((f"attest-{bank}.bin", f"signature-{bank}.bin", (f"pcrs-{bank}.bin",)) for bank in _BANKS))
_CERTIFICATES = ("ak-cert.der", "ak-cert.pem", "cert-*.der", "cert-*.pem", "tpm_ek_intermediate_*.der",
                 "tpm_ek_intermediate_*.crt")

NAMES: tuple[str, ...] = ("*.pb", "dump.json", "evidence.cbor", "evidence.json", "quote.bin", *_KEYS, *_LOGS,
                          *dict.fromkeys(name for message, signature, pcrs in _PAIRS
                                         for name in (message, signature, *pcrs)), *_CERTIFICATES)


def assemble(files: Mapping[str, bytes]) -> Evidence | None:
    """The evidence, or None when there is none of a TPM's. Raises `EvidenceError`."""
    told = files.get("evidence.json")
    if told is not None and "ak_public" in (value := json_object(told, "evidence")):
        return evidence_from_json(value)
    certificates = tuple(data for name, data in sorted(files.items()) if _is_certificate(name))
    capture = _capture(files) or _single_files(files)
    if capture is None:
        if told is not None or not certificates or "quote.bin" in files:
            return None
        capture = Capture(TpmEvidence(quotes=()))
    log = next((files[name] for name in _LOGS if name in files), None)
    return evidence_of(_with_key(capture.evidence, files), tuple(dict.fromkeys(capture.certificates + certificates)),
                       log if capture.event_log is None else capture.event_log)


def _capture(files: Mapping[str, bytes]) -> Capture | None:
    """What one tool recorded in one file."""
    protobufs = [data for name, data in sorted(files.items()) if name.endswith(".pb")]
    if len(protobufs) > 1:
        raise _ambiguous("more than one protobuf of evidence", len(protobufs))
    if protobufs:
        return from_go_tpm_tools(protobufs[0])
    if "dump.json" in files and {"AK", "Quote"} <= set(json_object(files["dump.json"], "dump")):
        return from_go_attestation(files["dump.json"])
    if is_parsec(files.get("evidence.cbor", b"")):
        return from_parsec(files["evidence.cbor"])
    if "quote.bin" in files and any(name in files for name in _KEYS):
        return from_bincode(files["quote.bin"])
    return None


def _single_files(files: Mapping[str, bytes]) -> Capture | None:
    quotes = [_quote(files, *names) for names in _PAIRS if names[0] in files]
    return Capture(TpmEvidence(quotes=tuple(quotes))) if quotes else None


def _quote(files: Mapping[str, bytes], message: str, signature: str, pcrs: tuple[str, ...]) -> TpmQuote:
    values = [files[name] for name in pcrs if name in files]
    if len(values) > 1:
        raise _ambiguous("more than one file of PCR values", len(values))
    signed = _signature(files[signature]) if signature in files else None
    return TpmQuote(files[message], signed, pcr_file(values[0], files[message]) if values else None)


def _signature(data: bytes) -> bytes:
    """TPMT_SIGNATURE, also from the RSA number alone (``tpm2_quote --format plain``)."""
    try:
        return TpmSignature.from_bytes(data).to_bytes()
    except EvidenceError:
        if len(data) not in (256, 384, 512):
            raise
        return TpmSignature.raw_rsassa_sha256(data).to_bytes()


def _with_key(evidence: TpmEvidence, files: Mapping[str, bytes]) -> TpmEvidence:
    """``evidence`` with key and public area, from the files where it has none."""
    if evidence.ak_public is None and evidence.ak_public_area is None:
        found = [read_key_file(files[name]) for name in _KEYS if name in files]
        area = next((one.area for one in found if one.area is not None), None)
        return replace(evidence, ak_public=found[0].spki if found else None, ak_public_area=area)
    if evidence.ak_public_area is None:
        return evidence
    return replace(evidence, ak_public=read_key_file(evidence.ak_public_area).spki)


def _is_certificate(name: str) -> bool:
    return name.startswith(("ak-cert.", "cert-", "tpm_ek_intermediate_"))


def _ambiguous(detail: str, count: int) -> MalformedEvidence:
    return MalformedEvidence("folder.tpm", detail, expected=1, got=count)
