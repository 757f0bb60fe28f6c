"""Hygon CSV, by the names of Trustee's claims.

Left out are the chip's serial number and the mask ``anonce`` of a version 1 report, which nobody signed, and reserved
bytes, which are zero. One-bit fields of the policy are booleans.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.claims import Claims

_NAMES = ("version", "user_pubkey_digest", "vm_id", "vm_version", "mnonce", "measure", "build", "rtmr_version", "rtmr0",
          "rtmr1", "rtmr2", "rtmr3", "rtmr4")
_BITS = ("nodbg", "noks", "es", "nosend", "domain", "csv", "csv3", "asid_reuse")
_NUMBERS = ("hsk_version", "cek_version", "api_major", "api_minor")


def csv(claims: Claims) -> dict[str, Any]:
    """A guest."""
    body = claims.body
    return {name: body.get(name) for name in _NAMES} | {"policy": _policy(body["policy"])}


def _policy(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: bool(fields[name]) for name in _BITS} | {name: fields[name] for name in _NUMBERS}
