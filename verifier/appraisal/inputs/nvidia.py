"""One NVIDIA device: a GPU or an NVSwitch.

Names are Trustee's where its local verifier has them (``arch``, ``measurements``); a device's ``uuid`` is not among
them, since whoever sends evidence may write any: ``ueid`` and ``device_serial`` are what certificates say. Evidence of
several devices is judged device by device (`verifier.appraisal.submodules`); taken as a whole it tells counts only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from verifier.appraisal.inputs.members import present
from verifier.claims import Claims

SWITCH = "LS10"
# Of the certificates for which NVIDIA's responder answers.
_DEVICE, _RIM = frozenset({"boot_rom", "provisioner", "line"}), frozenset({"leaf", "l3", "line"})
_OPERATIONAL = ("debug", "recovery")
_PROTECTED_PCIE = {b"\xaa": True, b"\x55": False}


def nvidia(claims: Claims) -> dict[str, Any]:
    """A device. ``measres``: ``success`` where every manifest of its kind verified and every measurement equals it."""
    body, certified = claims.body, claims.endorsement
    counts = {name: certified.get(name) for name in ("gpu_count", "switch_count")}
    if "arch" not in certified:
        return counts
    rims, mismatched = certified["rims"], certified["measurements_mismatched"]
    verified = all(rim["standing"] == "verified" for rim in rims.values())
    return counts | {
        "kind": "switch" if certified["arch"] == SWITCH else "gpu",
        **{name: certified[name] for name in ("arch", "chip", "hwmodel", "chip_serial", "device_serial", "ueid",
                                              "fwid")},
        **{name: body.get(name) for name in ("driver_version", "vbios_version", "board_id")},
        "measurements": {index: value.hex() for index, value in body["measurements"].items()},
        "measurements_mismatched": list(mismatched),
        "measres": ("fail" if mismatched else "success") if verified else None,
        "revocation": _revocation(certified["ocsp"], _DEVICE),
        "rims": {kind: _rim(rim) for kind, rim in rims.items()},
        "operational_flags": list(certified["operational_flags"]),
        **{name: name in certified["operational_flags"] for name in _OPERATIONAL},
        "protected_pcie": _PROTECTED_PCIE.get(body["opaque"].get("PROTECTED_PCIE_STATUS", b"")),
    }


def _rim(rim: Mapping[str, Any]) -> dict[str, Any]:
    return present({"standing": rim["standing"], "version": rim.get("version"), "tag_id": rim.get("tag_id"),
                    "revocation": _revocation(rim["ocsp"], _RIM) if "ocsp" in rim else None})


def _revocation(answers: Mapping[str, str] | str, needed: Collection[str]) -> str:
    """``good`` when that was answered of all of ``needed``; ``hold`` when of any; else ``not checked``."""
    if not isinstance(answers, Mapping):
        return "not checked"
    if "hold" in answers.values():
        return "hold"
    return "good" if all(answers.get(role) == "good" for role in needed) else "not checked"
