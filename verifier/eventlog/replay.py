"""From a log that says so to events that happened: replay, and what it confirms.

    1  no event claims a register that nobody signed (CC logs)            event_log.registers
    2  every event of a signed register has a digest in the bank          event_log.bank.<bank>
    3  the digests, in order, give the value that was signed              event_log.replay.<register>

R starts as `registers` says and becomes H(R || digest) for every event but EV_NO_ACTION, with the digest as recorded;
what an event's data hash to is another question (`payload`). A register that holds something and has no events is not
explained: that refuses, except for PCRs that an operating system extends without telling the firmware's log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from verifier.errors import MalformedEvidence, SetupError
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.events import Event, EventType, ParsedLog
from verifier.eventlog.registers import FIRMWARE, Layout, Register
from verifier.trail import Trail

STARTUP_LOCALITY = b"StartupLocality\x00"
LOCALITIES = (0, 3, 4)
# The words that firmware hashes to close a register's phase; the third says that something went wrong.
SEPARATORS = (bytes(4), b"\xff\xff\xff\xff", b"\x01\x00\x00\x00")
ERROR_SEPARATOR = SEPARATORS[2]
BOOT_VARIABLES = (EventType.EV_EFI_VARIABLE_BOOT, EventType.EV_EFI_VARIABLE_BOOT2)
BOOT_PCRS = frozenset({1, 5})

Signed = Mapping[Algorithm, Mapping[int, bytes]]

_BELIEVED_HERE = object()


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """An event that was extended. ``digests`` are proved; ``said`` (type, data, label) is proved by nothing.

    number: its place in the log, from 0, the header not counted. separators: how many separators stand before it in
    its register, told by their digests, so that no label can hide one.
    """

    number: int
    register: Register
    digests: tuple[tuple[Algorithm, bytes], ...]
    separators: int
    said: Event

    def is_hash_of(self, content: bytes) -> bool:
        """Whether ``content`` hashes to the digest in every signed bank."""
        return all(algorithm.digest(content) == digest for algorithm, digest in self.digests)

    @property
    def separator(self) -> bytes | None:
        """The word of `SEPARATORS` that this is the hash of; None for any other event.

        The third word is also the value of a BootOrder (options 1 and 0), and is that where the event says so and its
        register takes boot variables.
        """
        for place, word in enumerate(SEPARATORS):
            if all(_separator_digests(algorithm)[place] == digest for algorithm, digest in self.digests):
                boot = self.said.type in BOOT_VARIABLES and self.register.pcrs & BOOT_PCRS
                return None if word == ERROR_SEPARATOR and boot else word
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedLog:
    """What signed registers prove of a log; made by `believe` only.

    values: what each register held, by name and bank. unexplained: registers that hold something, of which the log
    tells nothing. unsigned: registers with events, of which no signed value is known; their events are left out.
    """

    form: str
    events: tuple[ReplayedEvent, ...]
    values: Mapping[str, Mapping[str, bytes]]
    unexplained: tuple[str, ...]
    unsigned: tuple[str, ...]
    _seal: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._seal is not _BELIEVED_HERE:
            raise SetupError("event_log.believe", "replayed events come from verifier.eventlog.replay.believe only")


@cache
def _separator_digests(algorithm: Algorithm) -> tuple[bytes, ...]:
    return tuple(map(algorithm.digest, SEPARATORS))


def replay(events: Iterable[Event], algorithm: Algorithm, layout: Layout) -> dict[int, bytes]:
    """The value of each register that has events in one bank; nothing is compared and nothing believed.

    Raises `MalformedEvidence` when an extending event has no digest in the bank or a register outside ``layout``, and
    for a StartupLocality event that cannot be one.
    """
    events = tuple(events)
    values: dict[int, bytes] = {}
    locality = startup_locality(events) if layout.tpm else 0
    for event in events:
        if event.extends:
            register, digest = layout.registers.get(event.index), event.digest(algorithm)
            if register is None or digest is None:
                raise MalformedEvidence("format.event_log", "an event has no such register, or no digest in the bank",
                                        expected=algorithm.bank, got=event.index)
            before = values.get(event.index)
            if before is None:
                before = _start(register, algorithm.size, locality)
            values[event.index] = algorithm.extend(before, digest)
    return values


def _start(register: Register, size: int, locality: int) -> bytes:
    start = register.start(size, extended=True)
    return start[:-1] + bytes((locality,)) if register.pcrs == {0} else start


def startup_locality(events: Iterable[Event]) -> int:
    """The locality that started the TPM, 0 unless an event says another. Raises `MalformedEvidence`."""
    found: int | None = None
    extended = False
    for event in events:
        extended = extended or (event.extends and event.index == 0)
        if event.type == EventType.EV_NO_ACTION and event.data.startswith(STARTUP_LOCALITY):
            told = event.data[len(STARTUP_LOCALITY) :]
            if event.index != 0 or found is not None or extended or len(told) != 1 or told[0] not in LOCALITIES:
                raise MalformedEvidence("format.event_log", "StartupLocality must come once, before PCR 0 is extended",
                                        expected=list(LOCALITIES), got=told)
            found = told[0]
    return found or 0


def believe(trail: Trail, log: ParsedLog, signed: Signed, layout: Layout, *,
            required: Collection[int] = ()) -> ReplayedLog:
    """``log``, as far as ``signed`` register values confirm it, by bank and index.

    Of a confidential guest every extending event must be of a signed register, and every signed register must be
    explained. Of a TPM events of PCRs that are not signed are left out, and PCR 0 to 7 and those in ``required`` must
    be explained. Raises `CheckFailed`.
    """
    covered = {index for bank in signed.values() for index in bank}
    strange = sorted({event.index for event in log.events if event.extends} - covered)
    if not layout.tpm:
        trail.require("event_log.registers", not strange, "every event must be of a register whose value is signed",
                      expected=sorted(covered), got=strange)
    unexplained: dict[str, None] = {}
    for algorithm, bank in signed.items():
        demanded = (set(bank) & FIRMWARE) | set(required) if layout.tpm else set(bank)
        unexplained |= dict.fromkeys(_compare(trail, log.events, algorithm, bank, layout, demanded))
    values = {layout.registers[index].name: {algorithm.bank: bank[index] for algorithm, bank in signed.items()
                                             if index in bank} for index in sorted(covered)}
    return ReplayedLog(form=log.form, events=tuple(_confirmed(log.events, signed, layout)), values=values,
                       unexplained=tuple(unexplained), _seal=_BELIEVED_HERE,
                       unsigned=tuple(layout.registers[index].name for index in strange))


def _compare(trail: Trail, events: Iterable[Event], algorithm: Algorithm, bank: Mapping[int, bytes], layout: Layout,
             demanded: set[int]) -> list[str]:
    """Replays one bank; gives the names of the registers that the log does not explain and need not."""
    told = [event for event in events if event.index in bank]
    complete = all(event.digest(algorithm) is not None for event in told if event.extends)
    trail.require(f"event_log.bank.{algorithm.bank}", complete, "every event must have a digest in the signed bank")
    try:
        replayed = replay(told, algorithm, layout)
    except MalformedEvidence as error:
        raise trail.fail("event_log.shape", error.detail, expected=error.expected, got=error.got) from None
    rule = f"event_log.replay.{algorithm.bank}." if layout.tpm else "event_log.replay."
    unexplained = []
    for index in sorted({*bank, *demanded}):
        register, value = layout.registers[index], bank.get(index)
        start = register.start(algorithm.size, extended=False)
        if index in replayed or index in demanded or value == start:
            trail.equal(rule + register.name, expected=value, got=replayed.get(index, start),
                        detail="the log must give the value that was signed")
        else:
            unexplained.append(register.name)
    return unexplained


def _confirmed(events: Iterable[Event], signed: Signed, layout: Layout) -> Iterable[ReplayedEvent]:
    separators = dict.fromkeys(layout.registers, 0)
    for number, event in enumerate(events):
        digests = tuple((algorithm, digest) for algorithm, bank in signed.items()
                        if event.index in bank and (digest := event.digest(algorithm)) is not None)
        if event.extends and digests:
            found = ReplayedEvent(number, layout.registers[event.index], digests, separators[event.index], event)
            separators[event.index] += found.separator is not None
            yield found
