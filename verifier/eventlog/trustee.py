"""The log in the shape that Trustee's policies read: ``uefi_event_logs``, one entry per extended event.

    index, type_name, digest_matches_event, digests [{alg, digest}], details

``details`` holds what the event's data say, in Trustee's words: ``string``, ``unicode_name`` with ``variable_data``,
``device_paths`` (an image named ``File(kernel)`` is what policies call tdvfkernel, a ``LOADED_IMAGE::LoadOptions``
string tdvfkernelparams), ``data`` of a run-time event. Where the data do not hash to the digest they prove nothing, and
are told under ``unverified``; type and index stand as the log has them. Source: confidential-containers/trustee,
deps/eventlog.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

from verifier.errors import EvidenceError
from verifier.eventlog.aael import RuntimeText
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.device_path import ImageLoad
from verifier.eventlog.efi_variable import Variable
from verifier.eventlog.events import EventType, type_name
from verifier.eventlog.replay import ReplayedEvent, ReplayedLog
from verifier.formats.strict import json_value

ALG_NAMES = {Algorithm.SHA1: "SHA-1", Algorithm.SHA256: "SHA-256", Algorithm.SHA384: "SHA-384",
             Algorithm.SHA512: "SHA-512", Algorithm.SM3: "SM3"}
_PRINTABLE = re.compile(rb"[\x20-\x7e\t\n]+")


def uefi_event_logs(log: ReplayedLog, *, dangerous_descriptions: bool = False) -> list[dict[str, Any]]:
    """One entry per event; ``dangerous_descriptions`` True puts unproved words beside proved ones, and the raw data.

    That is Trustee's own shape: whoever reads ``details`` there must look at ``digest_matches_event`` first.
    """
    return [_entry(event, dangerous_descriptions) for event in log.events]


def _entry(event: ReplayedEvent, dangerous_descriptions: bool) -> dict[str, Any]:
    matches = event.is_hash_of(event.said.data)
    details = describe(event.said.type, event.said.data)
    told = {"index": event.said.index, "type_name": type_name(event.said.type), "digest_matches_event": matches,
            "digests": digests(event)}
    if dangerous_descriptions:
        return told | {"event": b64encode(event.said.data).decode(), "details": details}
    return told | ({"details": details} if matches else {"details": {}, "unverified": {"details": details}})


def digests(event: ReplayedEvent) -> list[dict[str, str]]:
    """The proved digests, one per signed bank."""
    return [{"alg": ALG_NAMES[algorithm], "digest": digest.hex()} for algorithm, digest in event.digests]


def describe(type: int, data: bytes) -> dict[str, Any]:
    """What ``data`` say, whether or not anything proves it; empty where they say nothing in a known form."""
    try:
        return _DESCRIBE.get(type, _nothing)(data)
    except EvidenceError:
        return {}


def _nothing(_: bytes) -> dict[str, Any]:
    return {}


def _string(data: bytes) -> dict[str, Any]:
    """The first printable run."""
    found = _PRINTABLE.search(data)
    return {"string": found[0].decode() if found else ""}


def _blob(data: bytes) -> dict[str, Any]:
    """A size, and that many characters of a name."""
    name = data[1 : 1 + data[0]] if data else b""
    return {"string": name.rstrip(b"\x00").decode("ascii", "replace")}


def _variable(data: bytes) -> dict[str, Any]:
    variable = Variable.from_bytes(data)
    return {"variable_name": str(UUID(bytes=variable.guid)), "unicode_name": variable.name,
            "unicode_name_length": len(variable.name.encode("utf-16-le")) // 2,
            "variable_data": b64encode(variable.data).decode(), "variable_data_length": len(variable.data)}


def _image(data: bytes) -> dict[str, Any]:
    paths = ImageLoad.from_bytes(data).paths
    return {"device_paths": list(paths)} if paths else {}


def _tag(data: bytes) -> dict[str, Any]:
    told = _string(data[8:])
    try:
        text = RuntimeText.from_tagged(data)
    except EvidenceError:
        return told
    return told | {"unicode_name": "AAEL", "data": {"domain": text.domain, "operation": text.operation,
                                                    "content": _content(text.content)}}


def _content(text: str) -> Any:
    try:
        return json_value(text, "content")
    except EvidenceError:
        return text


_DESCRIBE: dict[int, Callable[[bytes], dict[str, Any]]] = {
    **dict.fromkeys((EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, EventType.EV_EFI_VARIABLE_BOOT,
                     EventType.EV_EFI_VARIABLE_BOOT2, EventType.EV_EFI_VARIABLE_AUTHORITY), _variable),
    **dict.fromkeys((EventType.EV_EFI_BOOT_SERVICES_APPLICATION, EventType.EV_EFI_BOOT_SERVICES_DRIVER,
                     EventType.EV_EFI_RUNTIME_SERVICES_DRIVER), _image),
    **dict.fromkeys((EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2, EventType.EV_EFI_HANDOFF_TABLES2), _blob),
    **dict.fromkeys((EventType.EV_IPL, EventType.EV_EFI_ACTION, EventType.EV_ACTION, EventType.EV_POST_CODE,
                     EventType.EV_PLATFORM_CONFIG_FLAGS), _string),
    EventType.EV_EVENT_TAG: _tag,
}
