"""What registers confirm: every rule that accepts, and what refuses it alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.errors import CheckFailed, MalformedEvidence, SetupError
from verifier.eventlog.algorithms import BANKS, Algorithm
from verifier.eventlog.events import Event, EventType
from verifier.eventlog.registers import CSV, PCRS, TDX
from verifier.eventlog.replay import ReplayedLog, believe, replay, startup_locality
from verifier.eventlog.tcg import SpecId, TcgLog
from verifier.trail import Trail

ALL = tuple(Algorithm)


def event(index: int, content: bytes, type: int = EventType.EV_EFI_ACTION, banks: tuple[Algorithm, ...] = ALL) -> Event:
    return Event(index, int(type), tuple((int(bank), bank.digest(content)) for bank in banks), content)


def log(*events: Event, banks: tuple[Algorithm, ...] = ALL) -> TcgLog:
    return TcgLog(SpecId(tuple((int(bank), bank.size) for bank in banks)), events)


def locality(value: bytes) -> Event:
    return event(0, b"StartupLocality\x00" + value, EventType.EV_NO_ACTION)


def fold(bank: Algorithm, start: bytes, *contents: bytes) -> bytes:
    for content in contents:
        start = bank.digest(start + bank.digest(content))
    return start


@pytest.mark.parametrize("bank", Algorithm)
def test_each_bank_is_replayed_from_zero(bank):
    events = (event(4, b"one"), event(5, b"other"), event(4, b"two"))
    zero = bytes(bank.size)
    assert replay(events, bank, PCRS) == {4: fold(bank, zero, b"one", b"two"), 5: fold(bank, zero, b"other")}


def test_known_answers():
    """FIPS 180-4 and GB/T 32905, "abc"."""
    answers = {"sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
               "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
               "sm3": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"}
    assert {name: BANKS[name].digest(b"abc").hex() for name in answers} == answers


def test_no_action_never_extends():
    inform = event(4, b"words", EventType.EV_NO_ACTION)
    assert replay((inform, event(4, b"one"), inform), Algorithm.SHA256, PCRS) == replay(
        (event(4, b"one"),), Algorithm.SHA256, PCRS)


def test_startup_locality_starts_pcr_0_and_nothing_else():
    events = (locality(b"\x03"), event(0, b"one"), event(1, b"one"))
    values = replay(events, Algorithm.SHA256, PCRS)
    assert values[0] == fold(Algorithm.SHA256, bytes(31) + b"\x03", b"one")
    assert values[1] == fold(Algorithm.SHA256, bytes(32), b"one")


@pytest.mark.parametrize("events", [
    (locality(b"\x03"), locality(b"\x03")), (event(0, b"one"), locality(b"\x03")), (locality(b""),),
    (locality(b"\x03\x00"),), (locality(b"\x01"),), (replace(locality(b"\x03"), index=1),),
], ids=["twice", "late", "empty", "long", "unknown", "elsewhere"])
def test_startup_locality_is_one_event_before_the_first(events):
    with pytest.raises(MalformedEvidence):
        startup_locality(events)
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("tpm"), log(*events), {Algorithm.SHA256: dict.fromkeys(range(24), bytes(32))}, PCRS)
    assert caught.value.id == "tpm.event_log.shape"


def test_dynamic_registers_start_at_ones_until_they_are_extended():
    for index in range(24):
        register = PCRS.registers[index]
        assert register.start(2, extended=True) == b"\x00\x00"
        assert register.start(2, extended=False) == (b"\xff\xff" if 17 <= index <= 22 else b"\x00\x00")
    assert all(not any(register.start(48, extended=False)) for register in TDX.registers.values())


@pytest.mark.parametrize("broken", [event(5, b"one", banks=(Algorithm.SHA1,)), event(24, b"one")])
def test_replay_needs_a_register_and_a_digest(broken):
    with pytest.raises(MalformedEvidence, match=r"^format\.event_log: "):
        replay((broken,), Algorithm.SHA256, PCRS)


# -- believe -----------------------------------------------------------------------------------------------------------

EVENTS = (event(0, b"zero"), event(4, b"four"), event(8, b"eight"), event(4, b"four again"))


def signed(*banks: Algorithm, **changes: bytes) -> dict[Algorithm, dict[int, bytes]]:
    values = {}
    for bank in banks:
        values[bank] = {i: PCRS.registers[i].start(bank.size, extended=False) for i in range(24)}
        values[bank] |= replay(EVENTS, bank, PCRS)
    return values


def test_what_replays_is_believed_in_every_signed_bank():
    trail = Trail("tpm")
    found = believe(trail, log(*EVENTS), signed(Algorithm.SHA1, Algorithm.SHA256), PCRS)
    assert [(e.number, e.register.name, e.said) for e in found.events] == [
        (n, f"pcr{e.index:02}", e) for n, e in enumerate(EVENTS)]
    assert all([bank for bank, _ in e.digests] == [Algorithm.SHA1, Algorithm.SHA256] for e in found.events)
    assert found.unexplained == found.unsigned == ()
    ids = {check.id for check in trail.checks}
    assert {"tpm.event_log.bank.sha1", "tpm.event_log.replay.sha1.pcr00", "tpm.event_log.replay.sha256.pcr23"} <= ids
    assert found.values["pcr04"]["sha256"] == signed(Algorithm.SHA256)[Algorithm.SHA256][4]


@pytest.mark.parametrize("bank", [Algorithm.SHA1, Algorithm.SHA256])
@pytest.mark.parametrize("index", [0, 1, 4, 8])
def test_every_bank_and_register_is_compared(bank, index):
    """PCR 1 has no event: a firmware register that holds something nobody logged."""
    banks = signed(Algorithm.SHA1, Algorithm.SHA256)
    banks[bank][index] = b"\x01" * bank.size
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("tpm"), log(*EVENTS), banks, PCRS)
    assert caught.value.id == f"tpm.event_log.replay.{bank.bank}.pcr{index:02}"


def test_a_register_of_the_operating_system_without_events_is_told_as_unexplained():
    banks = signed(Algorithm.SHA256)
    banks[Algorithm.SHA256][10] = b"\x01" * 32
    assert believe(Trail("tpm"), log(*EVENTS), banks, PCRS).unexplained == ("pcr10",)
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("tpm"), log(*EVENTS), banks, PCRS, required=(10,))
    assert caught.value.id == "tpm.event_log.replay.sha256.pcr10"


def test_a_required_register_that_is_not_signed_refuses():
    banks = signed(Algorithm.SHA256)
    del banks[Algorithm.SHA256][10]
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("tpm"), log(*EVENTS), banks, PCRS, required=(10,))
    assert caught.value.id == "tpm.event_log.replay.sha256.pcr10"


def test_events_of_unsigned_registers_are_left_out():
    banks = signed(Algorithm.SHA256)
    del banks[Algorithm.SHA256][4]
    found = believe(Trail("tpm"), log(*EVENTS), banks, PCRS)
    assert [e.register.name for e in found.events] == ["pcr00", "pcr08"]
    assert found.unsigned == ("pcr04",)


def test_a_signed_bank_that_the_log_lacks_refuses():
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("tpm"), log(*(event(e.index, e.data, banks=(Algorithm.SHA1,)) for e in EVENTS)),
                signed(Algorithm.SHA256), PCRS)
    assert caught.value.id == "tpm.event_log.bank.sha256"


@pytest.mark.parametrize(("layout", "index"), [(TDX, 0), (TDX, 5), (CSV, 5)])
def test_a_confidential_guests_log_speaks_of_signed_registers_only(layout, index):
    bank = Algorithm.SHA384 if layout is TDX else Algorithm.SM3
    strange = event(index, b"one")
    values = {number: bytes(bank.size) for number in layout.registers}
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("x"), log(strange), {bank: values}, layout)
    assert caught.value.id == "x.event_log.registers"


def test_a_confidential_guests_registers_are_all_explained():
    values = {number: bytes(48) for number in TDX.registers} | {4: b"\x01" * 48}
    with pytest.raises(CheckFailed) as caught:
        believe(Trail("tdx"), log(), {Algorithm.SHA384: values}, TDX)
    assert caught.value.id == "tdx.event_log.replay.rtmr3"


def test_only_believe_makes_replayed_logs():
    found = believe(Trail("tpm"), log(*EVENTS), signed(Algorithm.SHA256), PCRS)
    with pytest.raises(SetupError, match=r"^event_log\.believe: "):
        ReplayedLog(form="tcg2", events=found.events, values={}, unexplained=(), unsigned=(), _seal=object())


def test_separators_are_counted_by_digest_whatever_they_are_called():
    hidden = replace(event(7, bytes(4)), type=int(EventType.EV_IPL), data=b"not a separator")
    events = (event(7, b"before"), event(7, bytes(4), EventType.EV_SEPARATOR), event(7, b"after"), hidden,
              event(7, b"\xff\xff\xff\xff"), event(7, b"last"))
    values = {Algorithm.SHA256: replay(events, Algorithm.SHA256, PCRS)}
    assert [e.separators for e in believe(Trail("tpm"), log(*events), values, PCRS).events] == [0, 0, 1, 1, 2, 3]


def test_a_boot_order_is_no_error_separator_and_an_error_separator_elsewhere_is_one():
    word = b"\x01\x00\x00\x00"
    orders = (event(index, word, EventType.EV_EFI_VARIABLE_BOOT) for index in (1, 7))
    events = (*orders, event(1, word, EventType.EV_SEPARATOR))
    values = {Algorithm.SHA256: replay(events, Algorithm.SHA256, PCRS)}
    found = believe(Trail("tpm"), log(*events), values, PCRS).events
    assert [e.separator for e in found] == [None, word, word]
