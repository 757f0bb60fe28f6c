"""Each rule about logs: kept by a good log, and refusing alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import verifier
from verifier.checks.event_log import check_ccel, check_pcr_log
from verifier.errors import CheckFailed, SetupError
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.events import Event, EventType
from verifier.eventlog.registers import CSV, PCRS, TDX
from verifier.eventlog.tcg import TcgLog
from verifier.software_tee.event_log import BOOT, Measured, SoftwareLog
from verifier.trail import Trail

PCR_LOG = SoftwareLog(tuple(Measured(index, EventType.EV_SEPARATOR, bytes(4)) for index in range(8)),
                      (Algorithm.SHA1, Algorithm.SHA256))
SM3_LOG = SoftwareLog(BOOT, (Algorithm.SM3,))


def told(alter: Callable[[TcgLog], TcgLog], log: SoftwareLog = SoftwareLog()) -> SoftwareLog:  # noqa: B008 - frozen
    return replace(log, told=alter)


def first(**changes: Any) -> Callable[[TcgLog], TcgLog]:
    return lambda log: replace(log, events=(replace(log.events[0], **changes), *log.events[1:]))


def tdx(log: SoftwareLog, trail: Trail | None = None, **changes: bytes):
    values = {index - 1: value for index, value in log.values(Algorithm.SHA384, TDX).items()}
    return check_ccel(trail or Trail("tdx"), log.to_bytes(), values | {int(k[-1]): v for k, v in changes.items()})


def csv(log: SoftwareLog, trail: Trail | None = None, **changes: bytes):
    values = log.values(Algorithm.SM3, CSV) | {int(k[-1]): v for k, v in changes.items()}
    return check_ccel(trail or Trail("csv"), log.to_bytes(), values)


def tpm(log: SoftwareLog, trail: Trail | None = None, **changes: bytes):
    banks = {bank.bank: log.values(bank, PCRS) | {int(k[-2:]): v for k, v in changes.items()} for bank in log.banks}
    return check_pcr_log(trail or Trail("tpm"), log.to_bytes(), banks)


OTHER = Measured(2, EventType.EV_EFI_ACTION, b"another")
EMPTY = (int(Algorithm.SHA384), bytes(48))

# Rule, what refuses by it alone.
BROKEN: dict[str, Callable[[], object]] = {
    "event_log.shape": lambda: check_ccel(Trail("tdx"), b"no log", dict.fromkeys(range(4), bytes(48))),
    "event_log.registers": lambda: tdx(told(first(index=5))),
    "event_log.bank.sha384": lambda: tdx(replace(SoftwareLog(), banks=(Algorithm.SHA256,))),
    "event_log.bank.sm3": lambda: csv(replace(SM3_LOG, banks=(Algorithm.SHA384,))),
    "event_log.bank.sha1": lambda: check_pcr_log(Trail("tpm"), replace(PCR_LOG, banks=(Algorithm.SHA256,)).to_bytes(),
                                                 {"sha1": PCR_LOG.values(Algorithm.SHA1, PCRS)}),
    "event_log.form": lambda: check_pcr_log(Trail("tpm"), b"[]", {"sha1": {0: bytes(20)}}),
    "event_log.quoted": lambda: check_pcr_log(Trail("tpm"), PCR_LOG.to_bytes(), {"sha1": {}}),
    **{f"event_log.replay.rtmr{n}": lambda n=n: tdx(SoftwareLog(), **{f"rtmr{n}": b"\x01" * 48}) for n in range(4)},
    "event_log.replay.rtmr4": lambda: csv(SM3_LOG, rtmr4=b"\x01" * 32),
    **{f"event_log.replay.sha1.pcr{n:02}": lambda n=n: tpm(
        replace(PCR_LOG, banks=(Algorithm.SHA1,)), **{f"pcr{n:02}": b"\x01" * 20}) for n in range(8)},
}
ACCEPTED = {"tdx": lambda trail: tdx(SoftwareLog(), trail), "csv": lambda trail: csv(SM3_LOG, trail),
            "tpm": lambda trail: tpm(PCR_LOG, trail)}


@pytest.mark.parametrize("rule", BROKEN)
def test_rule_refuses_alone(rule):
    with pytest.raises(CheckFailed) as caught:
        BROKEN[rule]()
    assert caught.value.id.partition(".")[2] == rule


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_good_log_keeps_every_rule(kind):
    trail = Trail(kind)
    facts = ACCEPTED[kind](trail)
    assert facts.log.events
    assert trail.checks
    assert all(check.ok for check in trail.checks)
    for check in trail.checks:
        rule = check.id.removeprefix(f"{kind}.")
        assert any(re.fullmatch(pattern, rule) for pattern in rules_in_source()), rule


@cache
def rules_in_source() -> set[str]:
    """Patterns of the rules in the two modules that note any; what is formatted matches anything."""
    home = Path(verifier.__file__).parent
    found = set()
    for name in ("checks/event_log.py", "eventlog/replay.py"):
        for node in ast.walk(ast.parse((home / name).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(
                    r"event_log(\.[a-z0-9_]+)+\.?", node.value):
                found.add(re.escape(node.value) + r"([a-z0-9]+\.)?[a-z0-9]+" * node.value.endswith("."))
    return {rule for rule in found if not any(rule.endswith(setup) for setup in ("banks", "believe"))}


def test_every_rule_in_the_source_has_a_case():
    assert len(rules_in_source()) >= 6
    assert [p for p in rules_in_source() if not any(re.fullmatch(p, rule) for rule in BROKEN)] == []


@pytest.mark.parametrize("alter", [
    first(digests=(EMPTY,)), lambda log: replace(log, events=log.events[1:]),
    lambda log: replace(log, events=log.events[:1] + log.events), lambda log: replace(log, events=log.events[::-1]),
    first(type=int(EventType.EV_NO_ACTION)), first(index=2), lambda log: replace(log, events=()),
], ids=["digest", "missing", "repeated", "order", "no-action", "moved", "none"])
def test_a_log_that_tells_something_else_than_was_measured_refuses(alter):
    with pytest.raises(CheckFailed) as caught:
        tdx(told(alter))
    assert caught.value.id in {f"tdx.event_log.replay.rtmr{n}" for n in range(4)}


@pytest.mark.parametrize("kind", ["tdx", "csv", "tpm"])
def test_every_bit_of_a_log_is_refused_or_changes_no_proved_word(kind):
    """What no digest covers may differ: then it is told as unverified, or is header and padding."""
    short = {"tdx": SoftwareLog((BOOT[0], BOOT[-1]), padding=b""), "csv": replace(SM3_LOG, events=(BOOT[0], BOOT[-1])),
             "tpm": replace(PCR_LOG, events=PCR_LOG.events[:2], padding=b"")}[kind]
    judge = {"tdx": tdx, "csv": csv, "tpm": tpm}[kind]
    good = judge(short)
    data, accepted = short.to_bytes(), 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        log = _Raw(short, bytes(flipped))
        try:
            facts = judge(log)
        except CheckFailed:
            continue
        accepted += 1
        for name, entries in facts.lists.items():
            for entry in entries:
                assert "digests" in entry or entry in good[name], (bit, name, entry)
        assert [e.digests for e in facts.log.events] == [e.digests for e in good.log.events]
    assert accepted < 8 * len(data)


class _Raw:
    """A software log whose bytes were altered on the way."""

    def __init__(self, log: SoftwareLog, data: bytes) -> None:
        self._log, self._data, self.banks = log, data, log.banks

    def values(self, *args: Any) -> dict[int, bytes]:
        return self._log.values(*args)

    def to_bytes(self) -> bytes:
        return self._data


def test_a_log_cut_short_anywhere_refuses():
    log = SoftwareLog()
    for size in range(len(log.to_bytes()) - 64):
        with pytest.raises(CheckFailed):
            tdx(_Raw(log, log.to_bytes()[:size]))


def test_a_report_without_registers_takes_a_log_without_events():
    assert check_ccel(Trail("csv"), SoftwareLog(()).to_bytes(), {}).log.events == ()
    with pytest.raises(CheckFailed) as caught:
        check_ccel(Trail("csv"), SoftwareLog().to_bytes(), {})
    assert caught.value.id == "csv.event_log.registers"


@pytest.mark.parametrize("registers", [{0: bytes(20)}, {0: bytes(48), 1: bytes(32)}, {4: bytes(48)}, {5: bytes(32)}])
def test_registers_that_no_guest_has_are_a_fault_of_the_caller(registers):
    with pytest.raises(SetupError, match=r"^event_log\.registers: "):
        check_ccel(Trail("tdx"), SoftwareLog(()).to_bytes(), registers)


@pytest.mark.parametrize("banks", [{"md5": {0: bytes(16)}}, {"sha1": {24: bytes(20)}}])
def test_banks_that_no_tpm_has_are_a_fault_of_the_caller(banks):
    with pytest.raises(SetupError, match=r"^event_log\.banks: "):
        check_pcr_log(Trail("tpm"), PCR_LOG.to_bytes(), banks)


def test_more_measured_than_told_refuses_and_more_told_than_measured_refuses():
    log = SoftwareLog()
    with pytest.raises(CheckFailed):
        tdx(told(lambda it: replace(it, events=(*it.events, OTHER.event(log.banks)))))
    with pytest.raises(CheckFailed):
        tdx(told(lambda it: replace(it, events=it.events[:-1]), log.then(OTHER)))
    assert tdx(log.then(OTHER))["actions"][-1]["text"] == "another"


def test_events_that_extend_nothing_are_no_facts():
    inform = Event(1, int(EventType.EV_NO_ACTION), (EMPTY,), b"words")
    facts = tdx(told(lambda it: replace(it, events=(inform, *it.events))))
    assert [e.number for e in facts.log.events] == list(range(1, len(BOOT) + 1))
