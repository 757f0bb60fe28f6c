"""What of an event's data may be read: only bytes that hash to the event's digest.

    most types                   all of the data
    EV_EFI_VARIABLE_BOOT         all of it, or the variable's value alone (EDK II): then its name is not proved
    EV_IPL                       all of it; or after a loader's label, with or without the NUL that ends it (GRUB);
                                 or the ASCII name of a section that the text names in UTF-16 (systemd-stub)
    EV_PLATFORM_CONFIG_FLAGS     all of it, or what follows 16 bytes of name and a u32 of size (td-shim)
    images, firmware, code       nothing: their digest is over something that is not in the log

An event of which nothing is proved still proves its digest. What the log says beside it is a description: `describe`
gives it for people, and it goes nowhere but under the name ``unverified``. Source: TCG PC Client Platform Firmware
Profile, "Event types"; observed logs for GRUB, EDK II and td-shim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from verifier.errors import MalformedEvidence
from verifier.eventlog.efi_variable import Variable, utf16
from verifier.eventlog.events import EventType
from verifier.eventlog.replay import ReplayedEvent
from verifier.formats.reader import Reader

# Labels that boot loaders put before a text without hashing them.
_LABEL = re.compile(rb"(grub_cmd|kernel_cmdline|grub_kernel_cmdline|module_cmdline):? ([^\x00]*)", re.DOTALL)
_SECTION = re.compile(r"\.[a-z0-9]{1,15}\Z", re.ASCII)
_NAMED = 20  # 16 bytes of name, 4 of size

# The digest of these is over what was loaded or found, whatever the data say.
OPAQUE = frozenset({
    EventType.EV_POST_CODE, EventType.EV_POST_CODE2, EventType.EV_S_CRTM_CONTENTS, EventType.EV_CPU_MICROCODE,
    EventType.EV_NONHOST_CODE, EventType.EV_EFI_BOOT_SERVICES_APPLICATION, EventType.EV_EFI_BOOT_SERVICES_DRIVER,
    EventType.EV_EFI_RUNTIME_SERVICES_DRIVER, EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB,
    EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2, EventType.EV_EFI_HANDOFF_TABLES, EventType.EV_EFI_HANDOFF_TABLES2,
    EventType.EV_EFI_SPDM_FIRMWARE_BLOB,
})


@dataclass(frozen=True, slots=True)
class Payload:
    """``content``: exactly the hashed bytes. ``whole``: they are all of the event's data. ``label``: not hashed."""

    content: bytes
    whole: bool
    label: str = ""


def proved(event: ReplayedEvent) -> Payload | None:
    """The part of the event's data that its digests prove, in every signed bank; None where there is none."""
    if event.said.type in OPAQUE:
        return None
    if event.is_hash_of(event.said.data):
        return Payload(event.said.data, whole=True)
    parts = _PARTS.get(event.said.type)
    for content, label in parts(event.said.data) if parts is not None else ():
        if event.is_hash_of(content):
            return Payload(content, whole=False, label=label)
    return None


def _value_of_variable(data: bytes) -> Iterator[tuple[bytes, str]]:
    try:
        variable = Variable.from_bytes(data)
    except MalformedEvidence:
        return
    yield variable.data, variable.name


def _text_of_loader(data: bytes) -> Iterator[tuple[bytes, str]]:
    labelled = _LABEL.match(data)
    if labelled is not None:
        text, label = labelled[2], labelled[1].decode()
        yield text, label
        yield text + b"\x00", label
    section = wide_text(data)
    if section is not None and _SECTION.match(section):
        yield section.encode() + b"\x00", ""


def _named_table(data: bytes) -> Iterator[tuple[bytes, str]]:
    reader = Reader(data, "event_log")
    if len(data) > _NAMED:
        name, size = reader.take(16, "name"), reader.uint(4, "size")
        if size == reader.remaining:
            yield reader.rest(), name.rstrip(b"\x00").decode("ascii", "replace")


_PARTS: dict[int, Callable[[bytes], Iterator[tuple[bytes, str]]]] = {
    EventType.EV_EFI_VARIABLE_BOOT: _value_of_variable, EventType.EV_EFI_VARIABLE_BOOT2: _value_of_variable,
    EventType.EV_IPL: _text_of_loader, EventType.EV_PLATFORM_CONFIG_FLAGS: _named_table,
}


def wide_text(data: bytes) -> str | None:
    """UTF-16LE text with one NUL at its end; None where ``data`` are something else."""
    if len(data) < 4 or len(data) % 2 or not data.endswith(b"\x00\x00"):
        return None
    try:
        return utf16(Reader(data, "event_log"), data[:-2])
    except MalformedEvidence:
        return None


def narrow_text(data: bytes) -> str | None:
    """UTF-8 text with or without one NUL at its end; None where ``data`` are something else."""
    try:
        text = data.removesuffix(b"\x00").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text
