"""Event logs of guests that never booted: events, what they measured, and the registers that result.

    log = SoftwareLog()                                   a TD that boots a kernel directly and pulls one image
    guest = log.guest(GuestImage())                       RTMR0 to 3 are those of the log
    evidence = Evidence(Tee.TDX, intel.quote(guest.td_report(report_data, init_data)), event_log=log.to_bytes())

Each event is one value: replace it, or what is told of it, and registers and log follow or part as a test needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from verifier.eventlog.aael import DOMAIN, INDEX, PULL_IMAGE, RuntimeText
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.efi_variable import GLOBAL, IMAGE_SECURITY, Variable
from verifier.eventlog.events import Event, EventType
from verifier.eventlog.registers import TDX, Layout
from verifier.eventlog.tcg import SpecId, TcgLog
from verifier.software_tee.guest import GuestImage

_KERNEL_PATH = bytes.fromhex("04031400" "72f728144ab61e44b8c39ebdd7f893c7" "04041200" "6b00650072006e0065006c000000"
                             "7fff0400")
_EMPTY_DATABASES = (("PK", GLOBAL), ("KEK", GLOBAL), ("db", IMAGE_SECURITY), ("dbx", IMAGE_SECURITY))


@dataclass(frozen=True, slots=True)
class Measured:
    """One event. ``hashed``: what the digest is over; None is ``data``."""

    index: int
    type: int
    data: bytes
    hashed: bytes | None = None

    def event(self, banks: tuple[Algorithm, ...]) -> Event:
        """With one digest per bank."""
        content = self.data if self.hashed is None else self.hashed
        return Event(self.index, self.type, tuple((int(bank), bank.digest(content)) for bank in banks), self.data)


def variable(index: int, name: str, value: bytes, guid: bytes = GLOBAL,
             type: int = EventType.EV_EFI_VARIABLE_DRIVER_CONFIG) -> Measured:
    """A variable; a boot variable is hashed by its value alone, as EDK II does."""
    hashed = value if type == EventType.EV_EFI_VARIABLE_BOOT else None
    return Measured(index, type, Variable(guid, name, value).to_bytes(), hashed)


def image(index: int, contents: bytes, path: bytes = _KERNEL_PATH) -> Measured:
    """An image that firmware loaded from ``path``; the digest is over ``contents``."""
    head = bytes(8) + len(contents).to_bytes(8, "little") + bytes(8) + len(path).to_bytes(8, "little")
    return Measured(index, EventType.EV_EFI_BOOT_SERVICES_APPLICATION, head + path, contents)


def stub_tag(tag: bytes, description: bytes, contents: bytes) -> Measured:
    """What Linux's EFI stub measures for PCR 9: ``ed223b8f`` load options, ``ec223b8f`` an initrd."""
    return Measured(3, EventType.EV_EVENT_TAG, tag + len(description).to_bytes(4, "little") + description, contents)


def runtime(domain: str, operation: str, content: str) -> Measured:
    """An event of the attestation agent."""
    return Measured(INDEX, EventType.EV_EVENT_TAG, RuntimeText(domain, operation, content).to_tagged())


SEPARATOR = bytes(4)
BOOT: tuple[Measured, ...] = (
    variable(1, "SecureBoot", b"\x01"), *(variable(1, name, b"", guid) for name, guid in _EMPTY_DATABASES),
    Measured(1, EventType.EV_SEPARATOR, SEPARATOR),
    variable(1, "BootOrder", b"\x00\x00", type=EventType.EV_EFI_VARIABLE_BOOT),
    image(2, b"software kernel"),
    Measured(2, EventType.EV_EFI_ACTION, b"Calling EFI Application from Boot Option"),
    Measured(2, EventType.EV_SEPARATOR, SEPARATOR),
    stub_tag(bytes.fromhex("ed223b8f"), b"LOADED_IMAGE::LoadOptions\x00", "console=hvc0\x00".encode("utf-16-le")),
    stub_tag(bytes.fromhex("ec223b8f"), b"Linux initrd\x00", b"software initrd"),
    Measured(2, EventType.EV_EFI_ACTION, b"Exit Boot Services Invocation"),
    runtime(DOMAIN, PULL_IMAGE, '{"digest":"sha256:' + "5" * 64 + '","image":"registry.example/software:1"}'),
)


def _as_is(log: TcgLog) -> TcgLog:
    return log


@dataclass(frozen=True, slots=True)
class SoftwareLog:
    """A guest's measurements. ``told`` alters the log that is handed out, not what was measured."""

    events: tuple[Measured, ...] = BOOT
    banks: tuple[Algorithm, ...] = (Algorithm.SHA384,)
    told: Callable[[TcgLog], TcgLog] = field(default=_as_is, repr=False)
    padding: bytes = b"\xff" * 64

    def then(self, *events: Measured) -> SoftwareLog:
        """The same with more events at the end."""
        return replace(self, events=(*self.events, *events))

    def log(self) -> TcgLog:
        """The log as it is handed out."""
        spec_id = SpecId(tuple((int(bank), bank.size) for bank in self.banks), index=1)
        return self.told(TcgLog(spec_id, tuple(event.event(self.banks) for event in self.events), self.padding))

    def to_bytes(self) -> bytes:
        """The log's bytes."""
        return self.log().to_bytes()

    def values(self, bank: Algorithm, layout: Layout = TDX) -> dict[int, bytes]:
        """What the registers of ``layout`` hold, by index, whatever the log tells."""
        values = {index: register.start(bank.size, extended=any(event.index == index for event in self.events))
                  for index, register in layout.registers.items()}
        for event in self.events:
            if event.type != EventType.EV_NO_ACTION:
                values[event.index] = bank.extend(values[event.index], dict(event.event((bank,)).digests)[bank])
        return values

    def guest(self, image: GuestImage | None = None) -> GuestImage:
        """``image`` (None is the usual one) as a TD that measured this."""
        rtmrs = self.values(Algorithm.SHA384)
        return replace(image or GuestImage(), rtmr0=rtmrs[1], rtmr1=rtmrs[2], rtmr2=rtmrs[3], rtmr3=rtmrs[4])
