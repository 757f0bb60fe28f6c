"""dstack's JSON, AAEL text, the ACPI table, and how a form is told."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.eventlog import ccel
from verifier.eventlog.aael import AaelLog, RuntimeText
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.ccel import CcelTable
from verifier.eventlog.dstack import DstackLog, RuntimeEvent, log_of_answer
from verifier.eventlog.events import MAX_EVENTS, MAX_LOG_BYTES, EventType
from verifier.eventlog.show import describe
from verifier.eventlog.tcg import SpecId, TcgLog
from verifier.software_tee.event_log import SoftwareLog

RUNTIME = 0x08000001
FIRMWARE = {"imr": 0, "event_type": 4, "digest": "11" * 48, "event": "", "event_payload": "00000000"}
APP = {"imr": 3, "event_type": RUNTIME, "digest": "", "event": "app-id", "event_payload": "c0ffee"}
INIT = b"INIT sha384/" + b"0" * 96


def dstack(*entries: object) -> bytes:
    return json.dumps(list(entries)).encode()


# -- dstack ------------------------------------------------------------------------------------------------------------


def test_a_run_time_events_digest_is_computed_and_firmwares_is_taken():
    hashed = b"\x01\x00\x00\x08:app-id:\xc0\xff\xee"
    first, second = DstackLog.from_bytes(dstack(FIRMWARE, APP)).events
    assert (first.index, first.type, first.digest(Algorithm.SHA384)) == (1, 4, b"\x11" * 48)
    assert (second.index, second.data, second.label) == (4, hashed, "app-id")
    assert second.digest(Algorithm.SHA384) == Algorithm.SHA384.digest(hashed)
    assert RuntimeEvent.from_bytes(hashed) == RuntimeEvent("app-id", b"\xc0\xff\xee")


def test_dstacks_log_is_written_with_every_digest():
    log = DstackLog.from_bytes(dstack(FIRMWARE, APP))
    assert DstackLog.from_bytes(log.to_bytes()) == log
    assert json.loads(log.to_bytes())[1] | {"digest": ""} == APP


@pytest.mark.parametrize("change", [
    {"imr": 4}, {"imr": -1}, {"imr": True}, {"imr": "3"}, {"event_type": 1 << 32}, {"event_type": 1.0}, {"event": None},
    {"event": ""}, {"event": "app:id"}, {"event": ":"}, {"event_payload": "0"}, {"event_payload": None},
    {"digest": "00"}, {"digest": "00" * 48}, {"digest": None}, {"extra": 1}, {"event_type": 4},
])
def test_a_dstack_event_is_exact(change):
    """A name with a colon would let the same hashed bytes be read in two ways."""
    with pytest.raises(MalformedEvidence, match=r"^(format\.dstack|format\.hex): "):
        DstackLog.from_bytes(dstack(APP | change))


@pytest.mark.parametrize("data", [b"", b"[", b"{}", b"[[]]", b"[1]", b"[null]",
                                  dstack(FIRMWARE)[:-1], dstack(FIRMWARE) + b"x",
                                  dstack({k: v for k, v in APP.items() if k != "imr"}),
                                  b'[{"imr":0,"imr":0}]', b"[" * 100, b"[" + b" " * MAX_LOG_BYTES + b"]",
                                  dstack(*[0] * (MAX_EVENTS + 1))])
def test_dstacks_log_is_strict_json(data):
    with pytest.raises(MalformedEvidence, match=r"^(format\.dstack|format\.json): "):
        DstackLog.from_bytes(data)


def test_the_log_of_an_answer():
    assert log_of_answer(json.dumps({"quote": "00", "event_log": "[]"}).encode()) == b"[]"
    for broken in (b"{}", b"[]", b'{"event_log": []}', b"{"):
        with pytest.raises(MalformedEvidence):
            log_of_answer(broken)


@pytest.mark.parametrize("data", [b"", b"\x01\x00\x00\x08", b"\x02\x00\x00\x08:a:b", b"\x01\x00\x00\x08:a",
                                  b"\x01\x00\x00\x08::b", b"\x01\x00\x00\x08:\xff:b"])
def test_a_run_time_event_has_a_name_and_a_payload(data):
    with pytest.raises(MalformedEvidence, match=r"^format\.dstack: "):
        RuntimeEvent.from_bytes(data)


# -- AAEL --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [INIT, INIT + b"\n", INIT + b"\na b c", INIT + b"\na b c d e\nf g {}\n"])
def test_a_text_log_is_read_and_written_again(data):
    log = AaelLog.from_bytes(data)
    assert log.to_bytes() == data
    assert [event.data for event in log.events] == data.rstrip(b"\n").split(b"\n")
    assert all(event.digest(Algorithm.SHA384) == Algorithm.SHA384.digest(event.data) for event in log.events)


@pytest.mark.parametrize("data", [b"", b"INIT", b"INIT sha384/", INIT[:-1], INIT + b"0", b"INIT md5/" + b"0" * 32,
                                  b"init" + INIT[4:], INIT + b"\n\na b c", INIT + b"\na b c\n\n", INIT + b"\na b",
                                  INIT + b"\n a b", INIT + b"\n\xff b c", INIT + b"\r\na b c", b"a b c\n" + INIT,
                                  INIT + b"\na b c" * (MAX_EVENTS + 1), INIT + b"\na b " + b"c" * MAX_LOG_BYTES])
def test_a_text_log_is_exact(data):
    with pytest.raises(MalformedEvidence, match=r"^format\.aael: "):
        AaelLog.from_bytes(data)


def test_a_text_log_that_begins_late_is_not_supported():
    with pytest.raises(UnsupportedEvidence, match=r"^format\.aael: "):
        AaelLog.from_bytes(INIT[:-1] + b"1\na b c")


def test_a_tagged_text():
    text = RuntimeText("domain", "operation", "some content")
    assert text.to_tagged() == b"LEAA\x1d\x00\x00\x00domain operation some content"
    assert RuntimeText.from_tagged(text.to_tagged()) == text
    tagged = text.to_tagged()
    for broken in (b"AAEL" + tagged[4:], tagged[:-1], tagged + b"x", b"LEAA\xff\xff\xff\xff",
                   b"LEAA\x03\x00\x00\x00a b", b"LEAA\x05\x00\x00\x00a\nb c"):
        with pytest.raises(MalformedEvidence):
            RuntimeText.from_tagged(broken)


# -- the table and the forms -------------------------------------------------------------------------------------------


def table(**changes: int) -> CcelTable:
    made = CcelTable(2, 0, 0x10000, 0x7F000000, **changes)
    return replace(made, checksum=-sum(replace(made, checksum=0).to_bytes()) & 0xFF)


def test_the_table_is_exact():
    assert CcelTable.from_bytes(table().to_bytes()) == table()
    data = table().to_bytes()
    assert len(data) == ccel.SIZE == 56
    for size in range(len(data)):
        with pytest.raises(MalformedEvidence):
            CcelTable.from_bytes(data[:size])
    for offset in range(len(data)):
        altered = bytearray(data)
        altered[offset] ^= 1
        with pytest.raises(MalformedEvidence):
            CcelTable.from_bytes(bytes(altered))
    with pytest.raises(MalformedEvidence):
        CcelTable.from_bytes(data + b"\x00")


@pytest.mark.parametrize("length", [0, MAX_LOG_BYTES + 1, 0xFFFFFFFFFFFFFFFF])
def test_the_log_area_is_bounded(length):
    made = replace(table(), log_area_minimum_length=length, checksum=0)
    made = replace(made, checksum=-sum(made.to_bytes()) & 0xFF)
    with pytest.raises(MalformedEvidence, match=r"^format\.ccel_table: "):
        CcelTable.from_bytes(made.to_bytes())


def test_a_form_is_told_by_its_first_bytes():
    forms = {dstack(FIRMWARE): "dstack", INIT: "aael", TcgLog(SpecId(((0xC, 48),)), ()).to_bytes(): "tcg2"}
    assert {data: ccel.parse(data).form for data in forms} == forms


@given(st.binary(max_size=300) | st.binary(max_size=60).map(INIT.__add__) | st.text(max_size=60).map(
    lambda text: b"[" + text.encode()))
def test_whatever_comes_is_read_or_refused(data):
    for read in (ccel.parse, describe):
        with contextlib.suppress(EvidenceError):
            read(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(list(APP)) | st.text(max_size=3), inner, max_size=5), max_leaves=12))
def test_whatever_json_comes_is_read_or_refused(value):
    with contextlib.suppress(MalformedEvidence):
        DstackLog.from_bytes(json.dumps([value]).encode())


# -- show --------------------------------------------------------------------------------------------------------------


def test_show_tells_fields_and_replayed_registers():
    log = SoftwareLog(banks=(Algorithm.SHA1, Algorithm.SHA384))
    told = describe(log.to_bytes())
    assert (told["form"], told["padding_bytes"], len(told["events"])) == ("tcg2", 64, len(log.events))
    assert told["replayed"] == {bank.bank: log.values(bank) for bank in log.banks}
    assert told["events"][0]["unicode_name"] == "SecureBoot"
    assert describe(table().to_bytes())["form"] == "acpi-ccel"
    assert describe(INIT + b"\na b c")["events"][1]["type"] == "AAEL_LINE"
    assert describe(dstack(FIRMWARE, APP))["events"][1]["label"] == "app-id"
    assert describe(TcgLog(SpecId(((0x27, 40),)), ()).to_bytes())["replayed"] == {}


def test_aael_lines_exist_in_no_other_form():
    """A TCG type is 32 bits, a dstack type is bounded to them."""
    assert EventType.AAEL_LINE > 0xFFFFFFFF
    with pytest.raises(MalformedEvidence):
        DstackLog.from_bytes(dstack(FIRMWARE | {"event_type": int(EventType.AAEL_LINE)}))
