"""What a replayed log says in terms that a policy can use.

Every fact is an entry of a list, with the event's number, its register and how many separators (the words that close a
phase) came before it; there is no first and no last. An entry holds proved values; what the log merely says of it is
under ``unverified``. An event's type is not hashed, so a fact is read only from registers that take such events, and
secure boot is told by digests alone: no type, name or order in the log can hide or invent it.

A log leaves things unsaid: that a fact is absent proves nothing while its register has events under ``digests``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import rfc8785

from verifier.errors import EvidenceError
from verifier.eventlog import trustee
from verifier.eventlog.aael import DOMAIN, PULL_IMAGE, RuntimeText
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.device_path import LoadOption, read_boot_order
from verifier.eventlog.dstack import RuntimeEvent
from verifier.eventlog.efi_variable import GLOBAL, Variable, guid_text
from verifier.eventlog.events import EventType, type_name
from verifier.eventlog.gpt import PartitionTable
from verifier.eventlog.payload import Payload, narrow_text, proved, wide_text
from verifier.eventlog.replay import BOOT_PCRS, ERROR_SEPARATOR, ReplayedEvent, ReplayedLog
from verifier.eventlog.signature_list import Signature, read_signature_lists
from verifier.formats.strict import json_object

LISTS = (
    "separators", "secure_boot", "variables", "signature_databases", "authorities", "boot_order", "boot_options",
    "partition_tables", "versions", "actions", "images", "load_options", "initrds", "grub_commands", "command_lines",
    "texts", "sections", "runtime_events", "image_pulls", "dstack_events", "digests",
)

Entry = Mapping[str, Any]
Found = Iterator[tuple[str, dict[str, Any]]]

_SECURE_BOOT = {value: Variable(GLOBAL, "SecureBoot", value).to_bytes() for value in (b"\x01", b"\x00", b"")}
_DATABASES = ("PK", "KEK", "db", "dbx")
_POLICY_PCR, _FIRMWARE_PCRS = frozenset({7}), frozenset(range(8))
_LOADER_PCRS, _STUB_PCR, _RUNTIME_PCRS = frozenset(range(8, 16)), frozenset({12}), frozenset(range(16, 24))

# Events whose description says what the digest is of: registers, type, words at the start of the data, list.
_IMAGES = (EventType.EV_EFI_BOOT_SERVICES_APPLICATION, EventType.EV_EFI_BOOT_SERVICES_DRIVER,
           EventType.EV_EFI_RUNTIME_SERVICES_DRIVER)
_IMAGE_PCRS = frozenset(range(2, 7))
_DESCRIBED = (
    (_LOADER_PCRS, EventType.EV_EVENT_TAG, bytes.fromhex("ed223b8f"), "load_options"),
    (_LOADER_PCRS, EventType.EV_EVENT_TAG, bytes.fromhex("ec223b8f"), "initrds"),
    (_LOADER_PCRS, EventType.EV_IPL, b"grub_linuxefi Initrd\x00", "initrds"),
    (_LOADER_PCRS, EventType.EV_IPL, b"grub_linuxefi Kernel\x00", "images"),
    (_IMAGE_PCRS, EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2, b"\x0btd_payload\x00", "images"),
    *((_IMAGE_PCRS, type, b"", "images") for type in _IMAGES),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """``lists``: a tuple of entries for each name of `LISTS`; see docs/formats/event-log.md for their members."""

    log: ReplayedLog
    lists: Mapping[str, tuple[Entry, ...]]

    @classmethod
    def of(cls, log: ReplayedLog) -> Facts:
        """The facts of ``log``. Never raises for what events contain: what cannot be read stays a digest."""
        lists: dict[str, list[Entry]] = {name: [] for name in LISTS}
        section: dict[str, dict[str, Any]] = {}
        for event in log.events:
            place = {"number": event.number, "register": event.register.name, "separators": event.separators}
            named = section.pop(event.register.name, None)
            if named is not None:
                named["digests"] = _digests(event)
            for name, entry in _read(event):
                entry = place | entry
                lists[name].append(entry)
                if name == "sections":
                    section[event.register.name] = entry
        return cls(log, {name: tuple(entries) for name, entries in lists.items()})

    def __getitem__(self, name: str) -> tuple[Entry, ...]:
        """One list."""
        return self.lists[name]

    @property
    def secure_boot_enabled(self) -> bool | None:
        """What every event about it says, all before their register's first separator; None where there is no one
        answer."""
        told = {entry["enabled"] if entry["separators"] == 0 else None for entry in self["secure_boot"]}
        return told.pop() if len(told) == 1 else None

    def claims(self) -> dict[str, Any]:
        """All of it as plain values; lists without entries are left out."""
        lists = {name: list(entries) for name, entries in self.lists.items() if entries}
        return {
            "form": self.log.form, "registers": self.log.values, "unexplained_registers": list(self.log.unexplained),
            "unsigned_registers": list(self.log.unsigned), "secure_boot_enabled": self.secure_boot_enabled, **lists,
            "uefi_event_logs": trustee.uefi_event_logs(self.log),
        }


def _digests(event: ReplayedEvent) -> dict[str, bytes]:
    return {algorithm.bank: digest for algorithm, digest in event.digests}


def _read(event: ReplayedEvent) -> Found:
    """The entries of one event: what its digests tell, what its proved payload tells, or only its digests."""
    if event.separator is not None:
        yield "separators", {"error": event.separator == ERROR_SEPARATOR}
        return
    if event.register.pcrs & _POLICY_PCR:
        for value, hashed in _SECURE_BOOT.items():
            if event.is_hash_of(hashed):
                yield "secure_boot", {"enabled": value == b"\x01"}
    payload = proved(event)
    entries = _read_payload(event, payload) if payload is not None else []
    yield from entries
    if not entries:
        yield _described(event, content_proved=payload is not None)


def _read_payload(event: ReplayedEvent, payload: Payload) -> list[tuple[str, dict[str, Any]]]:
    pcrs, read = _READERS.get(event.said.type, (frozenset(), _no_fact))
    if not event.register.pcrs & pcrs:
        return []
    try:
        return list(read(event, payload))
    except EvidenceError:
        return []


def _described(event: ReplayedEvent, *, content_proved: bool) -> tuple[str, dict[str, Any]]:
    said = event.said
    unverified = {"type_name": type_name(said.type)} | trustee.describe(said.type, said.data)
    if said.label:
        unverified["label"] = said.label
    entry = {"digests": _digests(event), "unverified": unverified}
    for pcrs, type, head, name in _DESCRIBED:
        if said.type == type and event.register.pcrs & pcrs and said.data.startswith(head) and not content_proved:
            return name, entry
    return "digests", entry | {"content_proved": content_proved}


# -- readers: from a proved payload to entries -------------------------------------------------------------------------


def _no_fact(_event: ReplayedEvent, _payload: Payload) -> Found:
    yield from ()


def _policy_variable(_event: ReplayedEvent, payload: Payload) -> Found:
    variable = Variable.from_bytes(payload.content)
    named: dict[str, Any] = {"name": variable.name, "guid": guid_text(variable.guid)}
    if variable.name in _DATABASES:
        signatures = [_signature(signature) for signature in read_signature_lists(variable.data)]
        yield "signature_databases", named | {"signatures": signatures}
    else:
        yield "variables", named | {"data": variable.data}


def _signature(signature: Signature) -> dict[str, Any]:
    """Certificates and keys by their SHA-256, digests as they stand."""
    hashed = signature.kind in ("x509", "rsa2048")
    value = Algorithm.SHA256.digest(signature.data) if hashed else signature.data
    return {"kind": signature.kind, "owner": signature.owner, "value": value}


def _authority(_event: ReplayedEvent, payload: Payload) -> Found:
    """The entry of a database that vouched for an image (16 bytes of owner first), or a variable of shim's."""
    variable = Variable.from_bytes(payload.content)
    entry: dict[str, Any] = {"name": variable.name, "guid": guid_text(variable.guid)}
    if variable.name in _DATABASES and len(variable.data) > 16:
        entry |= {"owner": guid_text(variable.data[:16]), "sha256": Algorithm.SHA256.digest(variable.data[16:])}
    else:
        entry["data"] = variable.data
    yield "authorities", entry


def _boot_variable(_event: ReplayedEvent, payload: Payload) -> Found:
    """Whole, or the value alone, whose name is then the log's word."""
    if payload.whole:
        variable = Variable.from_bytes(payload.content)
        name, value = variable.name, variable.data
        named: dict[str, Any] = {"name": name}
    else:
        name, value = payload.label, payload.content
        named = {"unverified": {"name": name}}
    if name == "BootOrder":
        yield "boot_order", named | {"order": list(read_boot_order(value))}
    elif name.startswith("Boot"):
        option = LoadOption.from_bytes(value)
        yield "boot_options", named | {"active": option.active, "description": option.description,
                                       "device_paths": [list(path) for path in option.paths],
                                       "optional_data": option.optional_data}
    else:
        yield "variables", named | {"data": value}


def _partition_table(_event: ReplayedEvent, payload: Payload) -> Found:
    table = PartitionTable.from_bytes(payload.content)
    yield "partition_tables", {"disk": table.disk, "partitions": [asdict(entry) for entry in table.partitions]}


def _version(_event: ReplayedEvent, payload: Payload) -> Found:
    text = wide_text(payload.content) or narrow_text(payload.content)
    yield "versions", {"text": text} if text else {"data": payload.content}


def _action(_event: ReplayedEvent, payload: Payload) -> Found:
    text = narrow_text(payload.content)
    if text:
        yield "actions", {"text": text}


def _loader_text(event: ReplayedEvent, payload: Payload) -> Found:
    text = wide_text(payload.content) if payload.whole else None
    text = text or narrow_text(payload.content)
    if text is None:
        return
    if payload.label:
        name = "grub_commands" if payload.label == "grub_cmd" else "command_lines"
        yield name, {"text": text, "unverified": {"label": payload.label}}
    elif payload.whole:
        yield "command_lines" if event.register.pcrs <= _STUB_PCR else "texts", {"text": text}
    else:
        yield "sections", {"name": text}


def _shim_table(_event: ReplayedEvent, payload: Payload) -> Found:
    """td-shim's command line: text up to the first NUL, NUL to the end."""
    text, _, rest = payload.content.partition(b"\x00")
    line = narrow_text(text)
    if payload.label == "td_payload_info" and line is not None and not any(rest):
        yield "command_lines", {"text": line, "unverified": {"label": payload.label}}


def _runtime_tag(_event: ReplayedEvent, payload: Payload) -> Found:
    yield from _runtime_text(RuntimeText.from_tagged(payload.content))


def _runtime_line(_event: ReplayedEvent, payload: Payload) -> Found:
    if payload.content.startswith(b"INIT "):
        yield "actions", {"text": payload.content.decode("ascii")}
    else:
        yield from _runtime_text(RuntimeText.from_bytes(payload.content))


def _runtime_text(text: RuntimeText) -> Found:
    yield "runtime_events", asdict(text)
    if (text.domain, text.operation) == (DOMAIN, PULL_IMAGE):
        pull = _canonical_object(text.content)
        if pull is not None:
            yield "image_pulls", {"content": pull}


def _canonical_object(text: str) -> dict[str, Any] | None:
    """A JSON object in canonical form (RFC 8785); None for any other spelling, which may hide a second reading."""
    try:
        value = json_object(text, "content")
        return value if rfc8785.dumps(value) == text.encode() else None
    except (EvidenceError, rfc8785.CanonicalizationError):
        return None


def _dstack_event(_event: ReplayedEvent, payload: Payload) -> Found:
    event = RuntimeEvent.from_bytes(payload.content)
    yield "dstack_events", {"name": event.name, "payload": event.payload}


_READERS: dict[int, tuple[frozenset[int], Callable[[ReplayedEvent, Payload], Found]]] = {
    EventType.EV_EFI_VARIABLE_DRIVER_CONFIG: (_POLICY_PCR, _policy_variable),
    EventType.EV_EFI_VARIABLE_AUTHORITY: (_POLICY_PCR, _authority),
    EventType.EV_EFI_VARIABLE_BOOT: (BOOT_PCRS, _boot_variable),
    EventType.EV_EFI_VARIABLE_BOOT2: (BOOT_PCRS, _boot_variable),
    EventType.EV_EFI_GPT_EVENT: (frozenset({5}), _partition_table),
    EventType.EV_S_CRTM_VERSION: (frozenset({0}), _version),
    EventType.EV_EFI_ACTION: (_FIRMWARE_PCRS, _action), EventType.EV_ACTION: (_FIRMWARE_PCRS, _action),
    EventType.EV_IPL: (_LOADER_PCRS, _loader_text),
    EventType.EV_PLATFORM_CONFIG_FLAGS: (frozenset(range(2, 7)), _shim_table),
    EventType.EV_EVENT_TAG: (_RUNTIME_PCRS, _runtime_tag),
    EventType.AAEL_LINE: (_RUNTIME_PCRS, _runtime_line),
    EventType.EV_DSTACK_RUNTIME: (_RUNTIME_PCRS, _dstack_event),
}
