"""TCG event logs: the crypto-agile form with a Spec ID header, and the older SHA-1 form without one.

    header   index u32, EV_NO_ACTION u32, 20 zero bytes, size u32, TCG_EfiSpecIdEvent
    event    index u32, type u32, count u32, count x (algorithm u16, digest), size u32, data
    SHA-1    index u32, type u32, digest 20, size u32, data                          every record, no header

Little-endian. The log ends with the buffer or at padding: 0x00 or 0xFF, one of them, up to the end. Every event of a
crypto-agile log has one digest of each algorithm that the header declares. Source: TCG PC Client Platform Firmware
Profile 1.06, "Event logging"; TCG EFI Platform Specification (SHA-1 form).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from verifier.eventlog.algorithms import SIZES, Algorithm
from verifier.eventlog.events import MAX_EVENTS, MAX_LOG_BYTES, MAX_REGISTER, Event, EventType
from verifier.formats.reader import Reader

SPEC_ID = b"Spec ID Event"  # "00" and "02" head a SHA-1 log, whose records need no header to be read
SPEC_ID_03 = SPEC_ID + b"03\x00"
NO_SPEC_ID = bytes(16)  # what attestation-agent writes where it keeps a log of its own
MAX_ALGORITHMS = 8
MAX_DIGEST_SIZE = 64

_RECORD = Struct("<II20sI")
_EVENT = Struct("<III")
_SPEC = Struct("<16sIBBBBI")
_PADDING = (b"\x00", b"\xff")


@dataclass(frozen=True, slots=True)
class SpecId:
    """TCG_EfiSpecIdEvent. algorithms: (TPM_ALG_ID, digest size in bytes); index: the register its record names."""

    algorithms: tuple[tuple[int, int], ...]
    platform_class: int = 0
    version_minor: int = 0
    version_major: int = 2
    errata: int = 0
    uintn_size: int = 2
    vendor_info: bytes = b""
    signature: bytes = SPEC_ID_03
    index: int = 0

    @classmethod
    def from_bytes(cls, data: bytes, index: int = 0) -> SpecId:
        """Exactly one structure. Raises `MalformedEvidence`."""
        reader = Reader(data, "event_log")
        signature, platform, minor, major, errata, uintn, count = reader.unpack(_SPEC, "Spec ID event")
        if signature not in (SPEC_ID_03, NO_SPEC_ID):
            raise reader.malformed("not a Spec ID event", expected=SPEC_ID_03, got=signature)
        if not 0 < count <= MAX_ALGORITHMS:
            raise reader.malformed("numberOfAlgorithms is out of bounds", expected=f"1 to {MAX_ALGORITHMS}", got=count)
        algorithms = tuple((reader.uint(2, "algorithmId"), reader.uint(2, "digestSize")) for _ in range(count))
        for number, size in algorithms:
            _check_algorithm(reader, number, size)
        if len(dict(algorithms)) != count:
            raise reader.malformed("an algorithm is declared twice", got=[number for number, _ in algorithms])
        vendor = reader.take(reader.uint(1, "vendorInfoSize"), "vendorInfo")
        reader.end()
        return cls(algorithms, platform, minor, major, errata, uintn, vendor, signature, index)

    def to_bytes(self) -> bytes:
        """The structure again, without its record."""
        head = _SPEC.pack(self.signature, self.platform_class, self.version_minor, self.version_major, self.errata,
                          self.uintn_size, len(self.algorithms))
        table = b"".join(number.to_bytes(2, "little") + size.to_bytes(2, "little") for number, size in self.algorithms)
        return head + table + len(self.vendor_info).to_bytes(1, "little") + self.vendor_info


@dataclass(frozen=True, slots=True)
class TcgLog:
    """``spec_id`` None is the SHA-1 form. ``padding`` is kept so that `to_bytes` gives the same bytes."""

    spec_id: SpecId | None
    events: tuple[Event, ...]
    padding: bytes = b""

    @property
    def form(self) -> str:
        """``tcg2`` or ``tcg1.2``."""
        return "tcg1.2" if self.spec_id is None else "tcg2"

    @classmethod
    def from_bytes(cls, data: bytes) -> TcgLog:
        """A whole log. Raises `MalformedEvidence`."""
        reader = Reader(data, "event_log")
        if not 0 < len(data) <= MAX_LOG_BYTES:
            raise reader.malformed("the log's size is out of bounds", expected=f"1 to {MAX_LOG_BYTES} bytes",
                                   got=f"{len(data)} bytes")
        spec_id = _spec_id(data)
        if spec_id is not None:
            reader.take(_RECORD.size + len(spec_id.to_bytes()), "header")
        sizes = () if spec_id is None else spec_id.algorithms
        events: list[Event] = []
        while reader.remaining and not _is_padding(data, reader.position):
            if len(events) == MAX_EVENTS:
                raise reader.malformed("too many events", expected=f"<= {MAX_EVENTS}")
            event = _read_event(reader, sizes) if spec_id is not None else _read_record(reader)
            events.append(_checked(reader, event, first=spec_id is None and not events))
        if spec_id is None and not events:
            raise reader.malformed("a log begins with a record")
        return cls(spec_id, tuple(events), reader.rest())

    def to_bytes(self) -> bytes:
        """The log again."""
        if self.spec_id is None:
            return b"".join(map(_record_bytes, self.events)) + self.padding
        head = self.spec_id.to_bytes()
        record = _RECORD.pack(self.spec_id.index, EventType.EV_NO_ACTION, bytes(20), len(head))
        return record + head + b"".join(map(_event_bytes, self.events)) + self.padding


def _check_algorithm(reader: Reader, number: int, size: int) -> None:
    known = SIZES.get(number)
    if not 0 < size <= MAX_DIGEST_SIZE or known not in (None, size):
        raise reader.malformed(f"the digest size of algorithm {number:#06x} is wrong",
                               expected=known or f"1 to {MAX_DIGEST_SIZE}", got=size)


def _spec_id(data: bytes) -> SpecId | None:
    """The header, if the first record is one: an EV_NO_ACTION that says so."""
    reader = Reader(data, "event_log")
    index, type, digest, size = reader.unpack(_RECORD, "first record")
    if type != EventType.EV_NO_ACTION:
        return None
    event = reader.take(size, "first event")
    if event[:16] not in (SPEC_ID_03, NO_SPEC_ID):
        return None
    if any(digest) or index > MAX_REGISTER:
        raise reader.malformed("the header's record must name a register and have no digest", got=[index, digest])
    return SpecId.from_bytes(event, index)


def _is_padding(data: bytes, position: int) -> bool:
    """Whether nothing but one kind of padding follows. No event begins with eight equal bytes 0x00 or 0xFF."""
    head = data[position : position + 8]
    for byte in _PADDING:
        if not head.strip(byte):
            return data.count(byte, position) == len(data) - position
    return False


def _read_event(reader: Reader, sizes: tuple[tuple[int, int], ...]) -> Event:
    index, type, count = reader.unpack(_EVENT, "event")
    if count != len(sizes):
        raise reader.malformed("an event must have one digest of each declared algorithm", expected=len(sizes),
                               got=count)
    known, digests = dict(sizes), []
    for _ in range(count):
        number = reader.uint(2, "algorithm")
        if number not in known:
            raise reader.malformed("an event has an algorithm that the header does not declare, or twice one",
                                   expected=list(known), got=number)
        digests.append((number, reader.take(known.pop(number), "digest")))
    return Event(index, type, tuple(digests), reader.take(reader.uint(4, "event size"), "event data"))


def _read_record(reader: Reader) -> Event:
    index, type, digest, size = reader.unpack(_RECORD, "event")
    return Event(index, type, ((int(Algorithm.SHA1), digest),), reader.take(size, "event data"))


def _checked(reader: Reader, event: Event, *, first: bool) -> Event:
    informs = event.type == EventType.EV_NO_ACTION
    if event.index > MAX_REGISTER and not (informs and event.index == 0xFFFFFFFF):
        raise reader.malformed("there is no such register", expected=f"<= {MAX_REGISTER}", got=event.index)
    if event.type == EventType.EV_PREBOOT_CERT:
        raise reader.malformed("event type 0 is reserved")
    if informs and not first and event.data.startswith(SPEC_ID):
        raise reader.malformed("a second header")
    return event


def _event_bytes(event: Event) -> bytes:
    digests = b"".join(number.to_bytes(2, "little") + digest for number, digest in event.digests)
    size = len(event.data).to_bytes(4, "little")
    return _EVENT.pack(event.index, event.type, len(event.digests)) + digests + size + event.data


def _record_bytes(event: Event) -> bytes:
    return _RECORD.pack(event.index, event.type, event.digests[0][1], len(event.data)) + event.data
