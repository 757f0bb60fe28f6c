"""Collateral as plain files that `verifier.collateral.files`, and other people's tools, read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.errors import SetupError

_AS_TEXT = ("tcb_info", "tcb_info_issuer_chain", "qe_identity", "qe_identity_issuer_chain", "pck_crl_issuer_chain",
            "pck_chain")
_AS_HEX = ("tcb_info_signature", "qe_identity_signature", "root_ca_crl", "pck_crl")


def loose_files(collateral: Collateral) -> dict[str, bytes]:
    """File names and contents: Intel's sets as JSON bundles, AMD's certificates and lists, NVIDIA's documents."""
    found = {_intel_name(item): _intel_json(item) for item in collateral.intel_sets}
    if collateral.amd is not None:
        found |= {_digest_name("amd", "pem" if data.startswith(b"-----") else "der", data): data
                  for data in collateral.amd.certificates}
        found |= {_digest_name("amd", "crl", data): data for data in collateral.amd.crls}
    if collateral.nvidia is not None:
        found |= {_digest_name("rim", "xml", data): data for data in collateral.nvidia.rims}
        found |= {_digest_name("status", "ocsp", data): data for data in collateral.nvidia.ocsp_answers}
    return found


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` into ``folder``, which is made where it is not there. Raises `SetupError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.write_bytes(data)
            fresh.replace(folder / name)
    except OSError as error:
        raise SetupError("files.write", f"{folder} cannot be written: {error.strerror}") from None


def _intel_name(item: IntelCollateral) -> str:
    family = item.family
    if family is None:
        return "intel.json"
    return f"intel-{family.tee.lower()}-{family.fmspc.hex()}-{family.evaluation_number}.json"


def _intel_json(item: IntelCollateral) -> bytes:
    """The members that are there, in the form that `verifier.collateral.bundle` reads."""
    told = {}
    for name in (*_AS_TEXT, *_AS_HEX):
        value = getattr(item, name)
        if value is not None:
            told["pck_certificate_chain" if name == "pck_chain" else name] = (
                value.hex() if name in _AS_HEX else value.decode("utf-8"))
    return (json.dumps(told, indent=1, sort_keys=True) + "\n").encode()


def _digest_name(prefix: str, suffix: str, data: bytes) -> str:
    return f"{prefix}-{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
