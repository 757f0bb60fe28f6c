"""What a verified TD report says, and what a policy may object to in it.

Shared by every TEE whose evidence holds a TD quote. Source: Intel "TDX Module Base Architecture Specification",
TDATTRIBUTES.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from verifier.formats.td_report import BASE_FIELDS, TdReport

DEBUG = 1 << 0
# The whole first byte marks a TD that must not be trusted; only its DEBUG bit can be allowed by name.
UNTRUSTED = 0xFF
SEPT_VE_DISABLE = 1 << 28
MIGRATABLE = 1 << 29
# ICSSD, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL; TPA, PERFMON.
_KNOWN = UNTRUSTED | 1 << 16 | 1 << 27 | SEPT_VE_DISABLE | MIGRATABLE | 1 << 30 | 1 << 31 | 1 << 62 | 1 << 63


def body_claims(body: TdReport) -> dict[str, Any]:
    """The TD report's fields by name; those of TD 1.5 only where the report has them."""
    claims = {name: getattr(body, name) for name in BASE_FIELDS}
    for part in (body.v15, body.extended):
        if part is not None:
            claims.update(asdict(part))
    return claims


def flags(body: TdReport) -> tuple[str, ...]:
    """Debugging, migration, a service TD, and attributes that the guest should or should not have."""
    bits = body.attribute_bits
    service_td = body.v15 is not None and any(body.v15.mr_service_td)
    found = (
        ("TD_DEBUG", bool(bits & DEBUG)),
        ("TD_UNTRUSTED", bool(bits & UNTRUSTED & ~DEBUG)),
        ("SEPT_VE_DISABLE_NOT_SET", not bits & SEPT_VE_DISABLE),
        ("MIGRATABLE", bool(bits & MIGRATABLE)),
        ("MRSERVICETD_NONZERO", service_td),
        ("TD_ATTRIBUTES_UNKNOWN", bool(bits & ~_KNOWN)),
    )
    return tuple(name for name, present in found if present)
