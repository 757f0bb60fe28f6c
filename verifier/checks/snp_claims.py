"""What a verified SNP report says, under the names of AMD's specification in snake case, and what to object to.

Shared by every TEE whose evidence holds such a report.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

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

_BYTES = ("family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest",
          "report_id", "report_id_ma", "chip_id")
_TCBS = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb")
_DECODED = tuple((name, f"{name}_decoded") for name in _TCBS)


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
    return {decoded: dict(_decoded(getattr(report, name), layout)) for name, decoded in _DECODED}


@lru_cache(maxsize=1024)
def _decoded(tcb: bytes, layout: TcbLayout) -> tuple[tuple[str, Any], ...]:
    """The components of a TCB version: machines of one kind have the same few."""
    counts = tuple((part, count) for part, count in zip(layout.value, tcb, strict=True) if part)
    return (*counts, ("reserved", tcb[layout.reserved]))


def _version(value: bytes) -> str:
    build, minor, major = value
    return f"{major}.{minor}.{build}"


def flags(report: SnpReport) -> tuple[str, ...]:
    """What a policy may object to: debugging, migration, and a report asked for below the guest's highest privilege."""
    found = [name for bit, name in ((POLICY_DEBUG, "DEBUG_ALLOWED"), (POLICY_MIGRATE_MA, "MIGRATE_MA_ALLOWED"))
             if report.policy & bit]
    if report.vmpl:
        found.append("VMPL_HOST" if report.vmpl == VMPL_HOST else f"VMPL{report.vmpl}")
    return tuple(found)
