"""What a verified SNP report says, under the names of AMD's specification in snake case, and what to object to.

Shared by every TEE whose evidence holds such a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from verifier.formats.snp_report import (
    PLATFORM_BITS,
    POLICY_BITS,
    POLICY_DEBUG,
    POLICY_MIGRATE_MA,
    TCBS,
    VMPL_HOST,
    Cpuid,
    ProductLine,
    SigningKey,
    SnpReport,
    TcbLayout,
    named_bits,
    product_line,
)

_BYTES = ("family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest", "author_key_digest",
          "report_id", "report_id_ma", "chip_id")
_PLAIN = ("version", "guest_svn", "vmpl", "signature_algo", "author_key_en", "mask_chip_key", *_BYTES, *TCBS)
_plain_of = attrgetter(*_PLAIN)
_SIGNING_KEYS = {key.value: key.name for key in SigningKey}


def body_claims(report: SnpReport, line: ProductLine | None) -> dict[str, Any]:
    """The report's fields by name, words as hexadecimal text; what its version does not define is left out.

    line: how TCB versions are laid out; None (a processor of no known line) leaves them undecoded. Tables within are
    read-only: machines of one kind have the same few words and versions, and the same tables for them.
    """
    claims = dict(zip(_PLAIN, _plain_of(report), strict=True))
    claims |= {
        "policy": hex(report.policy), "policy_bits": _policy_bits(report.policy),
        "platform_info": hex(report.platform_info), "platform_info_bits": _platform_bits(report.platform_info),
        "flags": hex(report.flags),
        "signing_key": _SIGNING_KEYS.get(report.signing_key, str(report.signing_key)),
        "current_version": _version(report.current_version), "committed_version": _version(report.committed_version),
    }
    if line is not None:
        claims |= _decoded_tcbs(report.tcbs, line)
    cpuid = report.cpuid
    if cpuid is not None:
        claims |= _processor(cpuid)
    if report.version >= 5:
        claims |= {"launch_mit_vector": hex(report.launch_mit_vector),
                   "current_mit_vector": hex(report.current_mit_vector)}
    return claims


@lru_cache(maxsize=1024)
def _policy_bits(policy: int) -> Mapping[str, Any]:
    return MappingProxyType({"abi_minor": policy & 0xFF, "abi_major": policy >> 8 & 0xFF,
                             **named_bits(policy, POLICY_BITS)})


@lru_cache(maxsize=1024)
def _platform_bits(word: int) -> Mapping[str, bool]:
    return MappingProxyType(named_bits(word, PLATFORM_BITS))


@lru_cache(maxsize=1024)
def _processor(cpuid: Cpuid) -> Mapping[str, Any]:
    line = product_line(cpuid)
    named = MappingProxyType({"family": hex(cpuid.family), "model": hex(cpuid.model), "stepping": cpuid.stepping})
    return MappingProxyType({"cpuid": named} | ({} if line is None else {"product": line.value}))


@lru_cache(maxsize=1024)
def _decoded_tcbs(tcbs: tuple[bytes, ...], line: ProductLine) -> Mapping[str, Any]:
    """``tcbs``: in the order of `TCBS`."""
    layout = TcbLayout.of(line)
    return MappingProxyType({f"{name}_decoded": _decoded(tcb, layout) for name, tcb in zip(TCBS, tcbs, strict=True)})


def _decoded(tcb: bytes, layout: TcbLayout) -> Mapping[str, Any]:
    counts = {part: count for part, count in zip(layout.value, tcb, strict=True) if part}
    return MappingProxyType(counts | {"reserved": tcb[layout.reserved]})


@lru_cache(maxsize=1024)
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
