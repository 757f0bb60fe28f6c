"""NVIDIA evidence as Confidential Containers put it into JSON: any number of devices.

    {"device_evidence_list": [{"arch": "HOPPER", "uuid": text, "evidence": base64, "certificate": base64}, …]}

``evidence`` is the SPDM report, ``certificate`` the PEM text of the device's chain, leaf first. ``arch`` and ``uuid``
are the sender's words about a device and may be missing or null. `Evidence.quote` is this JSON text.

Answers of an attestation service (NRAS) are not evidence: a service says that it judged some. They are told apart here
so that a verifier can say why it does not decide; see `RemoteClaims`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats.spdm_report import MAX_REPORT_BYTES
from verifier.formats.strict import base64_bytes, json_object, json_value

MAX_DEVICES = 64
MAX_CHAIN_BYTES = 64 * 1024
MAX_NAME = 128

_LIST = "device_evidence_list"
_REQUIRED, _OPTIONAL = {"evidence", "certificate"}, {"arch", "uuid"}
_TOKEN = "JWT"  # noqa: S105 - how the detached form names its first part


@dataclass(frozen=True, slots=True)
class DeviceEvidence:
    """One device: report and chain (PEM) as sent; ``arch`` and ``uuid`` as told, None where they were not."""

    report: bytes = field(repr=False)
    chain: bytes = field(repr=False)
    arch: str | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteClaims:
    """What an attestation service answered, unverified: the ``alg`` of its outer token."""

    algorithm: str


def read(quote: bytes) -> tuple[DeviceEvidence, ...] | RemoteClaims:
    """The devices in `Evidence.quote`, or a service's answer. Raises `MalformedEvidence`."""
    value = json_value(quote, "NVIDIA evidence")
    token = _outer_token(value)
    if token is not None:
        return RemoteClaims(_algorithm(token))
    if not isinstance(value, Mapping) or set(value) != {_LIST}:
        raise _malformed("evidence must hold the list of devices and nothing else", expected=[_LIST],
                         got=sorted(value)[:8] if isinstance(value, Mapping) else type(value).__name__)
    devices = value[_LIST]
    if not isinstance(devices, list) or not 0 < len(devices) <= MAX_DEVICES:
        raise _malformed("there must be some devices", expected=f"1..{MAX_DEVICES}",
                         got=len(devices) if isinstance(devices, list) else type(devices).__name__)
    return tuple(_device(device) for device in devices)


def evidence_of(*devices: DeviceEvidence) -> Evidence:
    """`Evidence` of ``devices`` in this form."""
    return Evidence(Tee.NVIDIA, json.dumps({_LIST: [_told(device) for device in devices]}).encode())


def evidence_from_json(value: Mapping[str, Any]) -> Evidence:
    """`Evidence` from a decoded JSON object. Raises `MalformedEvidence`."""
    evidence = Evidence(Tee.NVIDIA, json.dumps(dict(value)).encode())
    read(evidence.quote)
    return evidence


def evidence_to_json(evidence: Evidence) -> dict[str, Any]:
    """The object again. Raises `MalformedEvidence`."""
    return json_object(evidence.quote, "NVIDIA evidence")


def _device(value: object) -> DeviceEvidence:
    if not isinstance(value, Mapping) or not _REQUIRED <= set(value) <= _REQUIRED | _OPTIONAL:
        raise _malformed("a device has missing or unknown members", expected=sorted(_REQUIRED | _OPTIONAL),
                         got=sorted(value)[:8] if isinstance(value, Mapping) else type(value).__name__)
    return DeviceEvidence(_octets(value["evidence"], "evidence", MAX_REPORT_BYTES),
                          _octets(value["certificate"], "certificate", MAX_CHAIN_BYTES),
                          _name(value.get("arch"), "arch"), _name(value.get("uuid"), "uuid"))


def _octets(value: object, what: str, limit: int) -> bytes:
    if isinstance(value, str) and len(value) > limit * 4 // 3 + 4:
        raise _malformed(f"{what} is too large", expected=f"<= {limit} bytes")
    return base64_bytes(value, what)


def _name(value: object, what: str) -> str | None:
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= MAX_NAME):
        raise _malformed(f"{what} must be a short text or null", got=type(value).__name__)
    return value


def _told(device: DeviceEvidence) -> dict[str, Any]:
    told = {"evidence": b64encode(device.report).decode(), "certificate": b64encode(device.chain).decode()}
    names = {"arch": device.arch, "uuid": device.uuid}
    return {name: text for name, text in names.items() if text is not None} | told


def _outer_token(value: object) -> str | None:
    """The outer token of a service's answer in one of the forms that NVIDIA's tools write, None for anything else."""
    if isinstance(value, Mapping):
        value = value.get("detached_eat", value.get("eat"))
    if isinstance(value, list) and value and isinstance(value[0], list) and value[0][:1] == [_TOKEN]:
        value = value[0][1] if len(value[0]) == 2 else None
    return value if isinstance(value, str) and value.count(".") == 2 else None


def _algorithm(token: str) -> str:
    header = json_object(base64_bytes(token.partition(".")[0], "token header", url=True), "token header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or len(algorithm) > MAX_NAME:
        raise _malformed("the token names no algorithm")
    return algorithm


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("evidence.nvidia", detail, expected=expected, got=got)
