"""Decisions are written whole: what many share is written once, and put back for whoever reads."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from kbs.audit.established import Established, whole
from kbs.audit.record import Entry, Kind, Outcome
from kbs.services import trees
from kbs.services.verification import Submodule
from verifier.errors import CheckFailed
from verifier.results.verdict import refuse
from verifier.trail import Check

MANY = tuple(Check(f"tdx.rule{number}", True, bytes([number]), bytes([number])) for number in range(40))


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch):
    monkeypatch.setattr(trees, "_known", trees._Known())


def tree(checks):
    """The tree of a verdict that made ``checks``, decoded, and what it refers to."""
    established: dict[str, bytes] = {}
    verdict = refuse("tdx", CheckFailed("tdx.last", "does not hold"), tuple(checks))
    told = trees.of_verdicts([Submodule("cpu0", verdict)], established)
    return msgspec.json.decode(told["cpu0"]["checks"]), established


def test_checks_that_nobody_wrote_before_are_written_out():
    told, established = tree(MANY)
    assert [check["id"] for check in told] == [check.id for check in MANY]
    assert not established


def test_a_run_of_checks_written_before_is_a_reference_and_what_is_new_stands_in_its_place():
    whole_list, _ = tree(MANY)
    new = Check("tdx.new", False, 1, 2)
    told, established = tree((*MANY[:20], new, *MANY[20:]))
    assert [check.get("id") for check in told] == [None, "tdx.new", None]
    assert [check.get("rules") for check in told] == [20, None, 20]
    for check, part in ((told[0], whole_list[:20]), (told[2], whole_list[20:])):
        text = established[check["established"]]
        assert hashlib.sha256(text).hexdigest() == check["established"]
        assert msgspec.json.decode(text) == part


def test_a_short_run_is_written_out():
    tree(MANY)
    told, established = tree(MANY[:trees.MIN_RUN - 1])
    assert len(told) == trees.MIN_RUN - 1
    assert not established


def test_a_check_that_failed_stands_in_the_decision_however_often_it_was_written():
    checks = (*MANY[:20], Check("tdx.broken", False, 1, 2), *MANY[20:])
    for _ in range(3):
        told, established = tree(checks)
        assert [check["id"] for check in told] == [check.id for check in checks]
        assert not established


def test_an_equal_check_of_another_object_is_another_check():
    """Equal is not the same: True equals 1, and only the object itself was written out."""
    tree([Check("a", True, 1, 1)])
    told, _ = tree([Check("a", True, True, True)])
    assert told[0]["got"] is True


def test_what_is_forgotten_is_written_out_again(monkeypatch):
    monkeypatch.setattr(trees, "MAX_KEPT", 50)
    tree(MANY)
    tree([Check(f"other{number}", True) for number in range(20)])
    told, established = tree(MANY)
    assert [check.get("id") for check in told] == [check.id for check in MANY]
    assert not established


class Log:
    """An audit log in memory."""

    def __init__(self):
        self.entries = []

    def append(self, entry, at):
        self.entries.append((entry, at))

    def of_kind(self, kind):
        return [Told(entry) for entry, _ in self.entries if entry.kind is kind]


class Told:
    """A record as far as `whole` looks at it."""

    def __init__(self, entry):
        self.body = entry.body()

    def told(self):
        return msgspec.json.decode(self.body)


def test_reading_puts_every_check_back_in_its_order():
    tree(MANY)
    new = Check("tdx.new", False, 1, 2)
    established: dict[str, bytes] = {}
    verdict = refuse("tdx", CheckFailed("tdx.last", "does not hold"), (*MANY, new))
    decision = {"verification": trees.of_verdicts([Submodule("cpu0", verdict)], established)}
    log, entry = Log(), Entry(Kind.ATTESTATION, Outcome.REFUSED, "tdx.new", {}, decision)
    Established(log).append(established, 7)
    [told] = whole([Told(entry)], log)
    assert [check["id"] for check in told["decision"]["verification"]["cpu0"]["checks"]] == [
        *(check.id for check in MANY), "tdx.new"]


def test_a_reference_to_nothing_stays_a_reference():
    told = {"verification": {"cpu0": {"checks": [{"established": "00", "rules": 3}]}}}
    entry = Entry(Kind.ATTESTATION, Outcome.ALLOWED, None, {}, told)
    [read] = whole([Told(entry)], Log())
    assert read["decision"] == told


def test_what_was_committed_is_not_written_again_and_what_was_not_is():
    log = Log()
    established, wanted = Established(log), {"aa": b"[]"}
    established.append(established.missing(wanted), 7)
    assert established.missing(wanted) == wanted, "the transaction may yet fail"
    established.note(wanted)
    assert established.missing(wanted | {"bb": b"[1]"}) == {"bb": b"[1]"}
