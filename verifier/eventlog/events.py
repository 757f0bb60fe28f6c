"""One event of a log, as parsed: which register it says it was extended into, its digests, and what it says it was.

Only the digests of extended events can ever be confirmed. Type and data are the log keeper's words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from verifier.eventlog.algorithms import Algorithm

MAX_LOG_BYTES = 2 * 1024 * 1024
MAX_EVENTS = 8192
MAX_REGISTER = 23


class EventType(IntEnum):
    """Event types (TCG PC Client Platform Firmware Profile, "Event types"; dstack).

    AAEL_LINE does not exist on the wire: it marks a line of the text form, so that no other log can hold one.
    """

    EV_PREBOOT_CERT = 0x0
    EV_POST_CODE = 0x1
    EV_UNUSED = 0x2
    EV_NO_ACTION = 0x3
    EV_SEPARATOR = 0x4
    EV_ACTION = 0x5
    EV_EVENT_TAG = 0x6
    EV_S_CRTM_CONTENTS = 0x7
    EV_S_CRTM_VERSION = 0x8
    EV_CPU_MICROCODE = 0x9
    EV_PLATFORM_CONFIG_FLAGS = 0xA
    EV_TABLE_OF_DEVICES = 0xB
    EV_COMPACT_HASH = 0xC
    EV_IPL = 0xD
    EV_IPL_PARTITION_DATA = 0xE
    EV_NONHOST_CODE = 0xF
    EV_NONHOST_CONFIG = 0x10
    EV_NONHOST_INFO = 0x11
    EV_OMIT_BOOT_DEVICE_EVENTS = 0x12
    EV_POST_CODE2 = 0x13
    EV_DSTACK_RUNTIME = 0x08000001
    EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001
    EV_EFI_VARIABLE_BOOT = 0x80000002
    EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003
    EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004
    EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005
    EV_EFI_GPT_EVENT = 0x80000006
    EV_EFI_ACTION = 0x80000007
    EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008
    EV_EFI_HANDOFF_TABLES = 0x80000009
    EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000A
    EV_EFI_HANDOFF_TABLES2 = 0x8000000B
    EV_EFI_VARIABLE_BOOT2 = 0x8000000C
    EV_EFI_GPT_EVENT2 = 0x8000000D
    EV_EFI_HCRTM_EVENT = 0x80000010
    EV_EFI_VARIABLE_AUTHORITY = 0x800000E0
    EV_EFI_SPDM_FIRMWARE_BLOB = 0x800000E1
    EV_EFI_SPDM_FIRMWARE_CONFIG = 0x800000E2
    EV_EFI_SPDM_DEVICE_POLICY = 0x800000E3
    EV_EFI_SPDM_DEVICE_AUTHORITY = 0x800000E4
    AAEL_LINE = 1 << 32


def type_name(type: int) -> str:
    """The type's name; its number in hexadecimal where it has none."""
    try:
        return EventType(type).name
    except ValueError:
        return f"{type:#010x}"


@dataclass(frozen=True, slots=True)
class Event:
    """digests: (algorithm number, digest) in log order; numbers outside `Algorithm` cannot be replayed.

    label: a name that the log gives beside the event and that no digest covers; empty where it gives none.
    """

    index: int
    type: int
    digests: tuple[tuple[int, bytes], ...]
    data: bytes
    label: str = ""

    @property
    def extends(self) -> bool:
        """EV_NO_ACTION informs and is never extended."""
        return self.type != EventType.EV_NO_ACTION

    def digest(self, algorithm: Algorithm) -> bytes | None:
        """The digest for one bank; None when the event has none."""
        return dict(self.digests).get(algorithm)


class ParsedLog(Protocol):
    """What every form of log offers: its events in order, none of them believed."""

    @property
    def form(self) -> str:
        """``tcg2``, ``tcg1.2``, ``dstack`` or ``aael``."""

    @property
    def events(self) -> tuple[Event, ...]:
        """In the order in which they were extended."""
