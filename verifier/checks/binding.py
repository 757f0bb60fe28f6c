"""What the guest bound into its evidence, against what the caller expects.

Exact length, constant time; nothing is padded or cut to fit, because a caller that expects 48 bytes in a 64-byte field
must say what the other 16 are.
"""

from __future__ import annotations

import hmac

from verifier.claims import Claims
from verifier.evidence import Binding
from verifier.trail import Check


def compare_binding(claims: Claims, binding: Binding) -> list[Check]:
    """One check per demanded field: ``<tee>.binding.report_data`` and ``<tee>.binding.init_data``."""
    demands = (("report_data", binding.report_data, claims.report_data),
               ("init_data", binding.init_data, claims.init_data))
    return [
        Check(f"{claims.tee}.binding.{name}", same_bytes(expected, got), expected, got,
              "the guest must have bound this value")
        for name, expected, got in demands if expected is not None
    ]


def same_bytes(expected: bytes, got: bytes) -> bool:
    """Equal at exact length, in constant time; empty never equals empty."""
    return bool(expected) and len(expected) == len(got) and hmac.compare_digest(expected, got)
