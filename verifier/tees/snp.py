"""AMD SEV-SNP: attestation reports of version 2 to 5, signed by a VCEK or a VLEK, on Milan, Genoa and Turin.

The maker's rules are `verifier.checks.snp`. AMD publishes no TCB status: whether a TCB is new enough is for the
caller's expectations. Claim names are those of AMD's specification in snake case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifier.checks import snp
from verifier.checks.snp import Endorsed
from verifier.claims import Claims
from verifier.evidence import Evidence, Tee
from verifier.formats.snp_report import (
    PLATFORM_BITS,
    POLICY_BITS,
    POLICY_DEBUG,
    POLICY_MIGRATE_MA,
    VMPL_HOST,
    ProductLine,
    SigningKey,
    SnpReport,
    TcbLayout,
    named_bits,
    product_line,
)
from verifier.tees.base import Context

_BYTES = ("family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest",
          "report_id", "report_id_ma", "chip_id")
_TCBS = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")


@dataclass(frozen=True, slots=True)
class SnpQuote:
    """A report and the certificates that came with it, nothing believed."""

    report: SnpReport
    certificates: tuple[bytes, ...]


class SnpRecipe:
    """The recipe for SEV-SNP attestation reports."""

    tee = Tee.SNP

    def parse(self, evidence: Evidence) -> SnpQuote:
        """Exactly one report; certificates are read by `verify`."""
        return SnpQuote(SnpReport.from_bytes(evidence.quote), evidence.certificates)

    def inspect(self, quote: SnpQuote) -> dict[str, Any]:
        """The report's fields. Version 2 does not name its processor: its TCBs are decoded as Milan's and Genoa's."""
        cpuid = quote.report.cpuid
        return body_claims(quote.report, product_line(cpuid) if cpuid else ProductLine.MILAN)

    def verify(self, quote: SnpQuote, context: Context) -> Claims:
        """Every rule of `verifier.checks.snp`, in its order."""
        trail, report = context.trail, quote.report
        endorsed = snp.endorse(trail, report, quote.certificates, context.collateral.amd, context.roots, context.at,
                               context.prepared)
        snp.check_signature(trail, report, endorsed.key)
        snp.check_report(trail, report, endorsed.key.line)
        return Claims(
            tee=self.tee, body=body_claims(report, endorsed.key.line), endorsement=endorsement_claims(report, endorsed),
            software=endorsed.chain.anchor.software, report_data=report.report_data, init_data=report.host_data,
            valid_until=endorsed.window.not_after, flags=_flags(report),
        )


def body_claims(report: SnpReport, line: ProductLine | None) -> dict[str, Any]:
    """The report's fields by name, words as hexadecimal text; what its version does not define is left out.

    line: how TCB versions are laid out; None (a processor of no known line) leaves them undecoded.
    """
    policy, signing_key = report.policy, report.signing_key
    claims: dict[str, Any] = {name: getattr(report, name) for name in _BYTES}
    claims |= {
        "version": report.version, "guest_svn": report.guest_svn, "vmpl": report.vmpl,
        "signature_algo": report.signature_algo, "policy": hex(policy),
        "policy_bits": {"abi_minor": policy & 0xFF, "abi_major": policy >> 8 & 0xFF, **named_bits(policy, POLICY_BITS)},
        "platform_info": hex(report.platform_info),
        "platform_info_bits": named_bits(report.platform_info, PLATFORM_BITS),
        "flags": hex(report.flags), "author_key_en": report.author_key_en, "mask_chip_key": report.mask_chip_key,
        "signing_key": SigningKey(signing_key).name if signing_key in (0, 1, 7) else str(signing_key),
        "current_version": _version(report.current_version), "committed_version": _version(report.committed_version),
    }
    claims |= {name: getattr(report, name) for name in _TCBS}
    if line is not None:
        claims |= _decoded_tcbs(report, TcbLayout.of(line))
    return claims | _later_fields(report)


def _later_fields(report: SnpReport) -> dict[str, Any]:
    """What versions 3 and 5 added."""
    claims: dict[str, Any] = {}
    if report.cpuid is not None:
        family, model, stepping = report.cpuid
        claims["cpuid"] = {"family": hex(family), "model": hex(model), "stepping": stepping}
        line = product_line(report.cpuid)
        if line is not None:
            claims["product"] = line.value
    if report.version >= 5:
        claims["launch_mit_vector"] = hex(report.launch_mit_vector)
        claims["current_mit_vector"] = hex(report.current_mit_vector)
    return claims


def _decoded_tcbs(report: SnpReport, layout: TcbLayout) -> dict[str, Any]:
    parts, reserved, claims = layout.value, layout.reserved, {}
    for name in _TCBS:
        value = getattr(report, name)
        counts: dict[str, Any] = {part: count for part, count in zip(parts, value, strict=True) if part}
        claims[f"{name}_decoded"] = counts | {"reserved": value[reserved]}
    return claims


def _version(value: bytes) -> str:
    build, minor, major = value
    return f"{major}.{minor}.{build}"


def endorsement_claims(report: SnpReport, endorsed: Endorsed) -> dict[str, Any]:
    """What the verified certificates say. ``hwid`` is a VCEK's, ``csp_id`` a VLEK's; moments are Unix seconds."""
    key, chain = endorsed.key, endorsed.chain
    claims: dict[str, Any] = {
        "product_line": key.line.value, "product_name": key.product_name, "endorsement_key": key.kind.name,
        "chip_id_masked": not any(report.chip_id), "crl_checked": chain.crl_checked,
        "vek": {"serial": f"{key.certificate.serial_number:x}", "struct_version": key.struct_version,
                "root_sha256": chain.anchor.sha256_certificate, "crl_number": chain.crl_number,
                "not_before": key.validity.not_before, "not_after": key.validity.not_after},
    }
    return claims | ({"csp_id": key.csp_id} if key.hwid is None else {"hwid": key.hwid})


def _flags(report: SnpReport) -> tuple[str, ...]:
    """What a policy may object to: debugging, migration, and a report asked for below the guest's highest privilege."""
    found = [name for bit, name in ((POLICY_DEBUG, "DEBUG_ALLOWED"), (POLICY_MIGRATE_MA, "MIGRATE_MA_ALLOWED"))
             if report.policy & bit]
    if report.vmpl:
        found.append("VMPL_HOST" if report.vmpl == VMPL_HOST else f"VMPL{report.vmpl}")
    return tuple(found)
