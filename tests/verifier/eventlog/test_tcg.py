"""The two TCG forms: exact, bounded, and the same bytes again."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.eventlog import tcg
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.events import MAX_EVENTS, MAX_LOG_BYTES, MAX_REGISTER, Event, EventType, type_name
from verifier.eventlog.tcg import NO_SPEC_ID, SpecId, TcgLog

SHA384 = SpecId(((Algorithm.SHA384, 48),), index=1)
EVENT = Event(1, EventType.EV_EFI_ACTION, ((int(Algorithm.SHA384), bytes(range(48))),), b"words")
SHA1_EVENT = Event(4, EventType.EV_EFI_ACTION, ((int(Algorithm.SHA1), bytes(range(20))),), b"words")
LOG = TcgLog(SHA384, (EVENT, replace(EVENT, index=3, data=b"")))
SHA1_LOG = TcgLog(None, (SHA1_EVENT, replace(SHA1_EVENT, index=7)))
HEADER = len(TcgLog(SHA384, ()).to_bytes())


def refused(data: bytes) -> MalformedEvidence:
    with pytest.raises(MalformedEvidence) as caught:
        TcgLog.from_bytes(data)
    assert caught.value.id == "format.event_log"
    return caught.value


def altered(log: TcgLog, offset: int, value: bytes) -> bytes:
    data = log.to_bytes()
    return data[:offset] + value + data[offset + len(value) :]


@pytest.mark.parametrize("padding", [b"", b"\x00", b"\xff", b"\x00" * 7, b"\xff" * 7, b"\x00" * 4096, b"\xff" * 4096])
@pytest.mark.parametrize("log", [LOG, SHA1_LOG, TcgLog(SHA384, ())], ids=["agile", "sha1", "empty"])
def test_a_log_and_its_padding_are_read_and_written_again(log, padding):
    padded = replace(log, padding=padding)
    assert TcgLog.from_bytes(padded.to_bytes()) == padded


@pytest.mark.parametrize("tail", [b"\x00" * 9 + b"\xff", b"\xff" * 9 + b"\x00", b"\xff\x00", b"\x01",
                                  b"\x00" * 8 + b"\x01", b"\xff" * 64 + b"\x01", b"\x00" * 4 + b"\xff" * 4])
@pytest.mark.parametrize("log", [LOG, SHA1_LOG], ids=["agile", "sha1"])
def test_padding_is_one_byte_up_to_the_end(log, tail):
    refused(log.to_bytes() + tail)


@pytest.mark.parametrize("log", [LOG, SHA1_LOG], ids=["agile", "sha1"])
def test_truncation_anywhere_is_refused_or_ends_between_events(log):
    data, whole = log.to_bytes(), 0
    for size in range(len(data)):
        try:
            parsed = TcgLog.from_bytes(data[:size])
        except MalformedEvidence:
            continue
        assert parsed.to_bytes() == data[:size]
        assert parsed.events == log.events[: len(parsed.events)]
        assert len(parsed.events) < len(log.events)
        whole += 1
    assert whole == (2 if log.spec_id else 1)


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
@pytest.mark.parametrize("size", [1, 7, 31, 32, 64, 65536])
def test_padding_alone_is_no_log(byte, size):
    refused(byte * size)


def test_the_header_is_told_from_the_first_record():
    assert TcgLog.from_bytes(LOG.to_bytes()).form == "tcg2"
    assert TcgLog.from_bytes(SHA1_LOG.to_bytes()).form == "tcg1.2"
    unsigned = replace(LOG, spec_id=replace(SHA384, signature=NO_SPEC_ID))
    assert TcgLog.from_bytes(unsigned.to_bytes()) == unsigned
    older = Event(0, EventType.EV_NO_ACTION, ((int(Algorithm.SHA1), bytes(20)),), b"Spec ID Event00\x00rest")
    old = TcgLog(None, (older, SHA1_EVENT))
    assert TcgLog.from_bytes(old.to_bytes()) == old


@pytest.mark.parametrize("algorithms", [(), ((0xC, 48),) * 2, ((0xC, 47),), ((0xB, 48),), ((0x99, 0),), ((0x99, 65),),
                                        tuple((number, 32) for number in range(0x20, 0x29))])
def test_the_algorithms_are_few_distinct_and_of_their_size(algorithms):
    refused(replace(LOG, spec_id=SpecId(algorithms), events=()).to_bytes())


def test_an_unknown_algorithm_is_carried_by_its_declared_size():
    digests = ((0x27, bytes(40)), *EVENT.digests)
    log = TcgLog(SpecId(((0xC, 48), (0x27, 40))), (replace(EVENT, digests=digests),))
    assert TcgLog.from_bytes(log.to_bytes()) == log


@pytest.mark.parametrize(("offset", "value"), [(8, b"\x01"), (0, b"\x18"), (28, b"\x20"), (28, b"\xff\xff\xff\xff"),
                                               (56, b"\x00"), (56, b"\xff\xff\xff\xff")])
def test_a_header_is_exact(offset, value):
    """Its record's digest, register, size, and the count of algorithms."""
    refused(altered(LOG, offset, value))


@pytest.mark.parametrize(("offset", "value"), [
    (0, b"\xff\xff\xff\xff"), (0, bytes([MAX_REGISTER + 1])), (8, b"\x00\x00"), (8, b"\x02\x00"), (8, b"\xff\xff"),
    (8, b"\xff\xff\xff\xff"), (12, b"\x0b\x00"), (12, b"\x00\x00"), (62, b"\xff\xff\xff\xff"),
    (62, b"\x06\x00\x00\x00"), (4, b"\x00\x00\x00\x00"),
])
def test_an_event_is_exact(offset, value):
    """Register -1 and beyond the last, digest counts 0, 2, 65535, an undeclared algorithm, sizes, the reserved type."""
    refused(altered(LOG, HEADER + offset, value))


def test_an_event_has_each_declared_digest_once():
    two = SpecId(((0xB, 32), (0xC, 48)))
    twice = ((0xB, bytes(32)), (0xB, bytes(32)))
    for digests in (twice, ((0xB, bytes(32)),), EVENT.digests, ()):
        refused(TcgLog(two, (replace(EVENT, digests=digests),)).to_bytes())
    swapped = TcgLog(two, (replace(EVENT, digests=((0xC, bytes(48)), (0xB, bytes(32)))),))
    assert TcgLog.from_bytes(swapped.to_bytes()) == swapped


@pytest.mark.parametrize("log", [LOG, SHA1_LOG], ids=["agile", "sha1"])
def test_a_second_header_is_refused(log):
    second = replace(log.events[0], type=int(EventType.EV_NO_ACTION), data=SHA384.to_bytes())
    refused(replace(log, events=(*log.events, second)).to_bytes())


def test_an_informational_event_may_name_no_register():
    """SP 800-155 events do; nothing else may."""
    inform = replace(EVENT, index=0xFFFFFFFF, type=int(EventType.EV_NO_ACTION), data=b"SP800-155 Event")
    log = replace(LOG, events=(EVENT, inform))
    assert TcgLog.from_bytes(log.to_bytes()) == log
    refused(replace(LOG, events=(replace(EVENT, index=0xFFFFFFFF),)).to_bytes())


def test_size_and_number_of_events_are_bounded(monkeypatch):
    assert "bounds" in refused(b"").detail
    assert "bounds" in refused(LOG.to_bytes() + bytes(MAX_LOG_BYTES)).detail
    small = replace(SHA1_EVENT, data=b"")
    most = TcgLog(None, (small,) * MAX_EVENTS).to_bytes()
    assert len(TcgLog.from_bytes(most).events) == MAX_EVENTS
    assert "too many" in refused(most + TcgLog(None, (small,)).to_bytes()).detail


def test_padding_is_looked_at_once(monkeypatch):
    """A log of two million zeros costs one look, not one per event."""
    looks = []
    real = tcg._is_padding
    monkeypatch.setattr(tcg, "_is_padding", lambda *args: looks.append(args) or real(*args))
    TcgLog.from_bytes(LOG.to_bytes() + bytes(1_000_000))
    assert len(looks) == len(LOG.events) + 1


def test_types_have_names():
    assert type_name(0x80000001) == "EV_EFI_VARIABLE_DRIVER_CONFIG"
    assert type_name(0x12345678) == "0x12345678"


def events(algorithms: tuple[Algorithm, ...]) -> st.SearchStrategy[Event]:
    digests = st.tuples(*(st.tuples(st.just(int(a)), st.binary(min_size=a.size, max_size=a.size)) for a in algorithms))
    types = st.sampled_from([t for t in EventType if 0 < t < 1 << 32]) | st.integers(1 << 16, 1 << 20)
    return st.builds(Event, st.integers(0, MAX_REGISTER), types.map(int), digests, st.binary(max_size=64).filter(
        lambda data: not data.startswith(b"Spec ID Event")))


@settings(max_examples=50)
@given(st.data())
def test_any_log_is_read_as_it_was_written(data):
    algorithms = tuple(data.draw(st.lists(st.sampled_from(Algorithm), min_size=1, unique=True)))
    spec = SpecId(tuple((int(a), a.size) for a in algorithms), vendor_info=data.draw(st.binary(max_size=255)))
    log = TcgLog(spec, tuple(data.draw(st.lists(events(algorithms), max_size=5))))
    assert TcgLog.from_bytes(log.to_bytes()) == log


@given(st.binary(max_size=400) | st.binary(max_size=200).map(LOG.to_bytes().__add__))
def test_whatever_comes_is_read_exactly_or_refused(data):
    try:
        log = TcgLog.from_bytes(data)
    except MalformedEvidence:
        return
    assert log.to_bytes() == data


@given(st.integers(0, len(LOG.to_bytes()) - 1), st.integers(0, 255))
def test_one_altered_byte_is_read_exactly_or_refused(offset, value):
    data = altered(LOG, offset, bytes([value]))
    with contextlib.suppress(MalformedEvidence):
        assert TcgLog.from_bytes(data).to_bytes() == data
