"""Hygon CSV: attestation reports of version 1 to 3, signed by a chip's PEK.

The maker's rules are `verifier.checks.csv`. Hygon publishes no TCB status and no revocation, and its certificates have
no dates. Claim names are those of Hygon's structures.

What a version 1 report proves is less than it looks. Its signature covers the fields as stored, XORed with ``anonce``,
and not ``anonce`` itself: whoever passes the report on can choose another and so change every field at once, by the
same four bytes over and over. A measurement that is compared with an expected value ties ``anonce`` down; fields that
are read without one (``policy``, ``vm_id``) are worth nothing, since whoever can choose the guest can choose its report
data too. Versions 2 and 3 have no mask.

Versions 2 and 3 are told apart by flags that travel beside the report, unsigned. What version 2 reserves must be zero,
so all that this can do is to show a report without host data as one with host data of zeros. These therefore count as
no host data: `Claims.init_data` is empty.

In no version does anything sign the chip's serial number. It finds a CEK at Hygon's key server and is told under
``unverified`` only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifier.checks import csv
from verifier.claims import Claims
from verifier.endorsements.hygon import Chain, HygonKey
from verifier.endorsements.window import ALWAYS
from verifier.evidence import Evidence, Tee
from verifier.formats import csv_json
from verifier.formats.csv_report import POLICY_NODBG, CsvReport, TeeInfo, policy_fields
from verifier.formats.hygon_cert import SIGNIFICANT, CsvCertificate
from verifier.formats.strict import json_object
from verifier.tees.base import Context

_BYTES = ("user_pubkey_digest", "vm_id", "vm_version", "report_data", "mnonce", "measure")
_REGISTERS = ("rtmr0", "rtmr1", "rtmr2", "rtmr3", "rtmr4")


@dataclass(frozen=True, slots=True)
class CsvQuote:
    """A report, and the HSK and CEK if they came with it; nothing believed."""

    report: CsvReport
    certificates: tuple[bytes, ...]


class CsvRecipe:
    """The recipe for CSV attestation reports."""

    tee = Tee.CSV

    def parse(self, evidence: Evidence) -> CsvQuote:
        """One report, raw or in the JSON of `verifier.formats.csv_json`."""
        if evidence.quote.lstrip()[:1] == b"{":
            told = csv_json.evidence_from_json(json_object(evidence.quote, "evidence"))
            return CsvQuote(CsvReport.from_bytes(told.quote), told.certificates + evidence.certificates)
        return CsvQuote(CsvReport.from_bytes(evidence.quote), evidence.certificates)

    def inspect(self, quote: CsvQuote) -> dict[str, Any]:
        """The report's fields."""
        return body_claims(quote.report)

    def verify(self, quote: CsvQuote, context: Context) -> Claims:
        """Every rule of `verifier.checks.csv`, in its order."""
        trail, report = context.trail, quote.report
        pek = csv.check_report(trail, report)
        endorsed = csv.endorse(trail, pek, quote.certificates, context.collateral.hygon, context.roots, context.at,
                               context.prepared)
        return Claims(
            tee=self.tee, body=body_claims(report), endorsement=endorsement_claims(endorsed.chain, pek),
            software=endorsed.chain.root.software, report_data=report.info.report_data,
            init_data=_init_data(report.info), valid_until=ALWAYS.not_after, flags=_flags(report.info),
        )


def body_claims(report: CsvReport) -> dict[str, Any]:
    """The report's fields by name, words as hexadecimal text; what its version does not define is left out.

    ``csv_policy`` is ``policy.raw`` as it is on the wire, 4 bytes.
    """
    info = report.info
    claims: dict[str, Any] = {"version": report.version} | {name: getattr(info, name) for name in _BYTES}
    claims |= {
        "policy": {**policy_fields(info.policy), "raw": hex(info.policy)},
        "csv_policy": info.policy.to_bytes(4, "little"),
        "sig_usage": hex(info.sig_usage), "sig_algo": hex(info.sig_algo),
    }
    if report.version == 1:
        claims["anonce"] = hex(info.anonce)
    else:
        claims |= {"build": info.build, "rtmr_version": info.rtmr_version}
        claims |= {name: getattr(info, name) for name in _REGISTERS}
    if report.version == 3:
        claims["host_data"] = info.host_data
    serial_number = report.signer.serial_number.rstrip(b"\x00").decode("ascii", "replace")
    return claims | ({"unverified": {"serial_number": serial_number}} if serial_number else {})


def endorsement_claims(chain: Chain, pek: HygonKey) -> dict[str, Any]:
    """What the verified certificates say. Coordinates are big-endian, as everybody but Hygon writes them."""
    claims: dict[str, Any] = {key.rule: _certificate_claims(key) for key in (chain.hsk, chain.cek, pek)}
    return claims | {"hrk": {"key_id": chain.root.key_id, "certificate_sha256": chain.root.sha256_certificate}}


def _certificate_claims(key: HygonKey) -> dict[str, Any]:
    certificate = key.certificate
    firmware = [certificate.firmware_major, certificate.firmware_minor] if isinstance(
        certificate, CsvCertificate) else None
    return {"usage": hex(certificate.usage), "fw": firmware, "user_id": certificate.user_id.decode(),
            "x_be": certificate.x[:SIGNIFICANT][::-1], "y_be": certificate.y[:SIGNIFICANT][::-1]}


def _init_data(info: TeeInfo) -> bytes:
    """What the host bound, 64 bytes, or nothing."""
    return info.host_data if any(info.host_data) else b""


def _flags(info: TeeInfo) -> tuple[str, ...]:
    """What is refused until it is allowed by name: only debugging.

    Genuine guests rarely set NOKS, NOSEND or ES, so these are for a policy that reads ``policy`` or pins
    ``csv_policy``.
    """
    return () if info.policy & POLICY_NODBG else ("CSV_DEBUG_ALLOWED",)
