"""Trust that is kept answers exactly as it would anew, and no longer than it holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from verifier.checks.prepared import Prepared
from verifier.endorsements.window import Window

WINDOW = Window(10, 20)


@dataclass(frozen=True)
class Thing:
    name: str
    window: Window = WINDOW


class Other(Thing):
    pass


def test_what_was_kept_is_found_within_its_window_and_not_outside():
    prepared = Prepared()
    thing = Thing("a")
    assert prepared.keep("key", thing) is thing
    assert [prepared.find(Thing, "key", at) is thing for at in (9, 10, 15, 20, 21)] == [False, True, True, True, False]
    assert prepared.find(Thing, "key", 15) is thing


def test_a_key_belongs_to_one_kind():
    prepared = Prepared()
    prepared.keep("key", Thing("a"))
    assert prepared.find(Other, "key", 15) is None
    assert prepared.find(Thing, "other", 15) is None


def test_a_later_one_takes_the_place():
    prepared = Prepared()
    prepared.keep("key", Thing("a"))
    prepared.keep("key", Thing("b", Window(30, 40)))
    assert prepared.find(Thing, "key", 15) is None
    assert prepared.find(Thing, "key", 35).name == "b"
    assert len(prepared) == 1


def test_the_least_recently_used_goes_first():
    prepared = Prepared(3)
    for name in "abc":
        prepared.keep(name, Thing(name))
    assert prepared.find(Thing, "a", 15)
    prepared.keep("d", Thing("d"))
    assert [prepared.find(Thing, name, 15) is not None for name in "abcd"] == [True, False, True, True]
    assert len(prepared) == 3


@pytest.mark.parametrize("capacity", [0, -1])
def test_without_capacity_nothing_is_kept(capacity):
    prepared = Prepared(capacity)
    prepared.keep("key", Thing("a"))
    assert len(prepared) == 0
    assert prepared.find(Thing, "key", 15) is None


def test_many_threads_keep_and_find_within_the_bound():
    prepared = Prepared(50)

    def work(seed: int) -> int:
        wrong = 0
        for number in range(500):
            name = str((seed * 7919 + number) % 120)
            prepared.keep(name, Thing(name))
            found = prepared.find(Thing, name, 15)
            wrong += found is not None and found.name != name
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 0
    assert len(prepared) == 50


def test_only_what_verified_is_kept(intel_case):
    """After evidence that fails in its chain, its key and its documents, nothing of these is there."""
    prepared = Prepared()
    case = intel_case()
    forged_chain = case.altered(pck=lambda p: replace(p, signer=case.other.key("platform_ca")))
    forged_key = case.altered(qe_report=lambda r: replace(r, signer=case.other.key("pck")))
    forged_document = case.given(tcb_info_signature=bytes(64))
    for kept, forged in enumerate((forged_chain, forged_key, forged_document)):
        assert forged.verdict(prepared).authentic is False
        assert len(prepared) == kept  # nothing, then the chain, then the attestation key
    assert case.verdict(prepared).accepted
    assert len(prepared) == 5  # documents, revocation list, platform
