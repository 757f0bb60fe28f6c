"""The log builder: what it measures is what its registers hold, and each part can be altered alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.events import EventType
from verifier.eventlog.registers import CSV, PCRS, TDX
from verifier.eventlog.replay import replay
from verifier.eventlog.tcg import TcgLog
from verifier.software_tee.event_log import BOOT, Measured, SoftwareLog, variable
from verifier.software_tee.guest import GuestImage


@pytest.mark.parametrize(("layout", "bank"), [(TDX, Algorithm.SHA384), (CSV, Algorithm.SM3), (PCRS, Algorithm.SHA256)])
def test_registers_are_those_that_the_log_replays_to(layout, bank):
    log = SoftwareLog(banks=(bank,))
    values = log.values(bank, layout)
    assert set(values) == set(layout.registers)
    assert values.items() >= replay(log.log().events, bank, layout).items()


def test_a_log_is_the_same_every_time_and_parses():
    assert SoftwareLog().to_bytes() == SoftwareLog().to_bytes()
    log = TcgLog.from_bytes(SoftwareLog().to_bytes())
    assert (len(log.events), log.padding, log.spec_id.index) == (len(BOOT), b"\xff" * 64, 1)


def test_what_is_told_can_part_from_what_was_measured():
    honest = SoftwareLog()
    liar = replace(honest, told=lambda log: replace(log, events=log.events[:-1]))
    assert liar.values(Algorithm.SHA384) == honest.values(Algorithm.SHA384)
    assert len(liar.log().events) == len(honest.log().events) - 1


def test_a_guest_holds_the_logs_registers_and_is_otherwise_the_same():
    log, image = SoftwareLog().then(variable(1, "KEK", b"")), GuestImage(mr_td=bytes(48))
    guest = log.guest(image)
    assert guest.mr_td == image.mr_td
    assert (guest.rtmr0, guest.rtmr3) != (image.rtmr0, image.rtmr3)
    assert [guest.rtmr0, guest.rtmr1, guest.rtmr2, guest.rtmr3] == [
        replay(log.log().events, Algorithm.SHA384, TDX)[index] for index in range(1, 5)]


def test_informational_events_are_told_and_not_measured():
    log = SoftwareLog((Measured(1, EventType.EV_NO_ACTION, b"words"),))
    assert log.values(Algorithm.SHA384)[1] == bytes(48)
    assert len(log.log().events) == 1
