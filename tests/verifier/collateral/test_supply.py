"""One object: from memory, disk or its source; once, whoever asks; never an older one, never an unjudged one."""

from __future__ import annotations

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from verifier.collateral import pcs
from verifier.collateral.cache import Cache
from verifier.collateral.flights import Failures, Flights
from verifier.collateral.floors import RolledBack
from verifier.collateral.http import FetchFailed
from verifier.collateral.item import Kind, Name
from verifier.collateral.supply import Policy, Supply, Want
from verifier.errors import CollateralError, MissingCollateral
from verifier.evidence import Tee
from verifier.software_tee import certificates as x509
from verifier.testing import faults

AT = 1_780_000_000
DAY = 86_400
NOW = AT + 10
TCB = pcs.tcb_info_name(Tee.TDX, b"\x00SOFT\x00", "standard")
WANT = Want(TCB, pcs.tcb_info)
QE = Want(Name(Kind.QE_IDENTITY, ("tdx", "standard")), pcs.qe_identity)
ROOT = Want(Name(Kind.ROOT_CRL), pcs.root_crl)
PATH = "/tdx/certification/v4/tcb"


def supply(world, cache: Cache | None = None, **policy: object) -> Supply:
    chosen = Policy(**{"failed": 0.0, "not_found": 0.0, **policy})
    return Supply(world.roots, world.sources(), cache, policy=chosen)


def numbered(number: int, issued: int = AT):
    return {"tcb_info": lambda d: replace(d, evaluation_number=number, issue_date=issued),
            "qe_identity": lambda d: replace(d, evaluation_number=number, issue_date=issued)}


# -- once --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_cache", [True, False])
def test_however_many_threads_ask_it_is_fetched_once(world, with_cache):
    world.service.break_(PATH, faults.slow(0.3))
    one = supply(world, world.cache if with_cache else None)
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: one.get(WANT, NOW), range(64)))
    assert world.service.count(PATH) == 1
    assert {good.item.digest for good in found} == {found[0].item.digest}


def test_however_many_verifiers_share_a_folder_it_is_fetched_once(world):
    world.service.break_(PATH, faults.slow(0.3))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: supply(world, world.cache).get(WANT, NOW), range(8)))
    assert world.service.count(PATH) == 1


def _fetch_in_child(world, barrier, results) -> None:
    one = supply(world, world.cache)
    barrier.wait()
    results.put(one.get(WANT, NOW).item.digest)


def test_however_many_processes_share_a_folder_it_is_fetched_once(world):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    world.service.break_(PATH, faults.slow(0.4))
    children = [context.Process(target=_fetch_in_child, args=(world, barrier, results)) for _ in range(4)]
    for child in children:
        child.start()
    digests = {results.get(timeout=60) for _ in children}
    for child in children:
        child.join()
    assert len(digests) == 1
    assert world.service.count(PATH) == 1


def test_different_objects_do_not_wait_for_each_other(world):
    world.service.break_(PATH, faults.slow(1.5))
    one = supply(world, world.cache)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(one.get, WANT, NOW)
        quick = pool.submit(one.get, QE, NOW)
        quick.result(timeout=30)
        assert not slow.done()
        slow.result()


def test_one_failure_is_everybodys(world):
    world.service.break_(PATH, faults.slow(0.2), times=0)
    world.service.break_(PATH, replace(faults.failing(404), delay=0.3))
    one = supply(world)
    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(lambda _: _error(one), range(8)))
    assert {error.id for error in errors} == {"collateral.fetch.not_found"}
    assert world.service.count(PATH) < 8


def _error(one: Supply, want: Want = WANT, at: int = NOW) -> CollateralError:
    with pytest.raises(CollateralError) as caught:
        one.get(want, at)
    return caught.value


def test_a_waiting_thread_has_patience_only_so_long():
    flights: Flights[int] = Flights()
    begun, release = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        release.wait(30)
        return 1

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(flights.run, "key", work, 30)
        begun.wait(30)
        with pytest.raises(MissingCollateral) as caught:
            flights.run("key", work, 0.01)
        assert caught.value.id == "collateral.fetch.timeout"
        release.set()
        assert leader.result() == 1
    assert flights.run("key", lambda: 2, 1) == 2


# -- at hand -----------------------------------------------------------------------------------------------------------


def test_what_is_good_is_not_fetched_again_by_anybody(world):
    supply(world, world.cache).get(WANT, NOW)
    supply(world, world.cache).get(WANT, NOW + 100)
    Supply(world.roots, None, world.cache).get(WANT, NOW + 100)
    assert world.service.count() == 1


def test_offline_nothing_is_fetched(world):
    assert _error(Supply(world.roots, None, world.cache)).id == "collateral.offline"
    assert world.service.count() == 0


def test_what_has_expired_is_fetched(world):
    first = world.serve_intel(tcb_info=lambda d: replace(d, next_update=AT + DAY))
    one = supply(world, world.cache)
    one.get(WANT, NOW)
    world.serve_intel(tcb_info=lambda d: replace(d, issue_date=AT + DAY))
    assert one.get(WANT, AT + DAY + 1).item.fetched == AT + DAY + 1
    assert world.service.count(PATH) == 2
    assert first.platform == world.intel.platform


def test_a_judgement_is_not_carried_to_other_roots(world, amd_of):
    supply(world, world.cache).get(WANT, NOW)
    from verifier.endorsements.roots import Roots
    other = Supply(Roots.makers(), None, world.cache)
    assert _error(other).id == "collateral.offline"


def test_what_lies_in_the_folder_is_judged_like_everything_else(world):
    """Somebody with write access puts a forged document there, under a fitting digest."""
    good = supply(world, world.cache).get(WANT, NOW).item
    forged = replace(good, parts={**good.parts, "document": good.parts["document"].replace(b"UpToDate", b"OutOfDat")})
    world.cache.put(forged)
    again = supply(world, world.cache)
    assert again.get(WANT, NOW).item.digest == good.digest
    assert world.service.count(PATH) == 2


def test_memory_is_compared_with_the_disk_from_time_to_time(world):
    ticks = [0.0]
    one = Supply(world.roots, world.sources(), world.cache, policy=Policy(recheck=60), clock=lambda: ticks[0])
    one.get(WANT, NOW)
    world.serve_intel(**numbered(19, AT + 5))
    other = supply(world, Cache(world.folder / "elsewhere"))
    world.cache.put(other.get(WANT, NOW).item)
    assert one.get(WANT, NOW).judged.number == 18
    ticks[0] = 61.0
    assert one.get(WANT, NOW).judged.number == 19


# -- refreshing --------------------------------------------------------------------------------------------------------


def test_what_is_old_is_fetched_anew_before_it_ends(world):
    world.serve_intel(tcb_info=lambda d: replace(d, next_update=AT + 30 * DAY))
    one = supply(world, world.cache, max_age=100 * DAY)
    one.get(WANT, NOW)
    one.get(WANT, AT + 14 * DAY)
    assert world.service.count(PATH) == 1
    assert one.get(WANT, AT + 16 * DAY).item.fetched == AT + 16 * DAY
    assert world.service.count(PATH) == 2


def test_a_day_after_it_was_fetched_it_is_asked_for_again(world):
    one = supply(world, world.cache)
    one.get(ROOT, NOW)
    one.get(ROOT, NOW + DAY - 1)
    assert world.service.count() == 1
    one.get(ROOT, NOW + DAY + 1)
    assert world.service.count() == 2


@pytest.mark.parametrize("fault", [faults.down(), faults.failing(404), faults.forged(), faults.failing(429, "3600")])
def test_while_the_source_fails_what_is_good_is_used_to_its_end_and_not_longer(world, fault):
    world.serve_intel(tcb_info=lambda d: replace(d, next_update=AT + 30 * DAY))
    one = supply(world, world.cache)
    one.get(WANT, NOW)
    world.service.break_(PATH, fault)
    for days in (2, 16, 30):
        assert one.get(WANT, AT + days * DAY).item.fetched == NOW
    assert _error(one, at=AT + 30 * DAY + 1)


def test_a_service_refreshes_beside_whoever_asks(world):
    one = supply(world, world.cache, background=True)
    one.get(WANT, NOW)
    world.service.break_(PATH, faults.slow(0.2))
    late = NOW + 2 * DAY
    assert one.get(WANT, late).item.fetched == NOW
    until = time.monotonic() + 30
    while one.get(WANT, late).item.fetched == NOW and time.monotonic() < until:
        time.sleep(0.02)
    assert one.get(WANT, late).item.fetched == late
    assert world.service.count(PATH) == 2


# -- failures ----------------------------------------------------------------------------------------------------------


def test_failures_count_for_a_while(world):
    ticks = [0.0]
    one = Supply(world.roots, world.sources(), policy=Policy(failed=30, not_found=300), clock=lambda: ticks[0])
    world.service.break_(PATH, faults.failing(404), times=1)
    assert _error(one).id == "collateral.fetch.not_found"
    ticks[0] = 299.0
    assert _error(one).id == "collateral.fetch.not_found"
    assert world.service.count(PATH) == 1
    ticks[0] = 301.0
    assert one.get(WANT, NOW).judged.number == 18


def test_a_busy_source_is_left_alone_as_long_as_it_asks_for(world):
    ticks = [0.0]
    one = Supply(world.roots, world.sources(), policy=Policy(failed=30), clock=lambda: ticks[0])
    world.service.break_(PATH, faults.failing(429, "120"), times=1)
    assert _error(one).id == "collateral.fetch.busy"
    ticks[0] = 119.0
    assert isinstance(_error(one), FetchFailed)
    assert world.service.count(PATH) == 1
    ticks[0] = 121.0
    assert one.get(WANT, NOW)


def test_failures_are_bounded_in_number():
    failures = Failures(clock=lambda: 0.0)
    for number in range(10_050):
        failures.note(str(number), MissingCollateral("x", "y"), 10)
    assert failures.recent("0") is None
    assert failures.recent("10049") is not None


# -- rollback ----------------------------------------------------------------------------------------------------------


def test_an_older_document_is_refused_though_signed_and_in_date(world):
    world.serve_intel(tcb_info=lambda d: replace(d, evaluation_number=19, next_update=AT + DAY))
    one = supply(world, world.cache)
    one.get(WANT, NOW)
    world.serve_intel(**numbered(18))
    with pytest.raises(RolledBack) as caught:
        one.get(WANT, AT + DAY + 1)
    assert (caught.value.id, caught.value.expected, caught.value.got) == ("collateral.rollback", ">= 19", 18)


@pytest.mark.parametrize("gone", [False, True])
def test_nor_after_a_restart_nor_when_the_object_is_gone(world, gone):
    world.serve_intel(**numbered(19))
    supply(world, world.cache).get(WANT, NOW)
    world.serve_intel(**numbered(18))
    if gone:
        world.cache.remove(TCB)
        assert _error(supply(world, world.cache)).id == "collateral.rollback"
    else:
        assert supply(world, world.cache).get(WANT, NOW + 2 * DAY).judged.number == 19


def test_an_older_file_put_back_is_not_used(world):
    older = supply(world, Cache(world.folder / "elsewhere")).get(WANT, NOW).item
    world.serve_intel(**numbered(19))
    supply(world, world.cache).get(WANT, NOW)
    world.cache.put(older)
    assert _error(Supply(world.roots, None, world.cache)).id == "collateral.offline"
    assert supply(world, world.cache).get(WANT, NOW).judged.number == 19


def test_lists_go_by_their_number(world):
    one = supply(world, world.cache)
    world.serve_intel(root_crl=lambda c: c.changed(x509.crl_number(7)))
    one.get(ROOT, NOW)
    world.cache.remove(ROOT.name)
    for number, good in ((6, False), (7, True), (8, True), (7, False)):
        world.serve_intel(root_crl=lambda c, number=number: c.changed(x509.crl_number(number)))
        world.cache.remove(ROOT.name)
        fresh = supply(world, world.cache)
        if good:
            assert fresh.get(ROOT, NOW).judged.number == number
        else:
            assert _error(fresh, ROOT).id == "collateral.rollback"


def test_a_list_without_a_number_does_not_get_below_one_with(world):
    supply(world, world.cache).get(ROOT, NOW)
    world.cache.remove(ROOT.name)
    world.serve_intel(root_crl=lambda c: c.without(x509.CRL_NUMBER))
    assert _error(supply(world, world.cache), ROOT).id == "collateral.rollback"


def test_lists_that_have_no_numbers_go_by_their_dates(world):
    bare = {"root_crl": lambda c: replace(c, this_update=AT + 5).without(x509.CRL_NUMBER)}
    world.serve_intel(**bare)
    supply(world, world.cache).get(ROOT, NOW)
    world.cache.remove(ROOT.name)
    world.serve_intel(root_crl=lambda c: c.without(x509.CRL_NUMBER))
    assert _error(supply(world, world.cache), ROOT).id == "collateral.rollback"


def test_the_early_set_does_not_raise_the_floor_of_the_standard_one(world):
    early = world.intel.altered(**numbered(19))
    world.serve(early=early)
    number_of = {}
    for update in ("early", "standard", "18", "19"):
        want = Want(pcs.tcb_info_name(Tee.TDX, b"\x00SOFT\x00", update), pcs.tcb_info)
        number_of[update] = supply(world, world.cache).get(want, NOW).judged.number
    assert number_of == {"early": 19, "standard": 18, "18": 18, "19": 19}


def test_an_older_copy_of_the_same_number_does_not_replace_a_newer_one(world):
    """Copies of a service are not all of the same hour; nothing is wrong with that."""
    world.serve_intel(**numbered(18, AT + 5))
    supply(world, world.cache).get(WANT, NOW)
    world.serve_intel(**numbered(18, AT))
    assert supply(world, world.cache).get(WANT, NOW + 2 * DAY).judged.own.not_before == AT + 5


def test_two_processes_one_with_newer_one_with_older_end_with_the_newer(world):
    newer, older = world.intel.altered(**numbered(19)), world.intel
    for first, second in ((newer, older), (older, newer)):
        folder = Cache(world.folder / f"{first is newer}")
        for moment, maker in enumerate((first, second)):
            world.serve(intel=maker)
            supply(world, folder, max_age=0).get(WANT, NOW + moment)
        assert Supply(world.roots, None, folder).get(WANT, NOW).judged.number == 19


def test_a_document_of_a_revoked_signer_raises_no_floor(world):
    """Whoever stole a signing key could otherwise shut everybody out for good."""
    from verifier.collateral.judge import Beside
    altered = world.intel.altered(root_crl=lambda c: c.revoking(world.intel.serial("tcb_signing")), **numbered(9999))
    world.serve(intel=altered)
    one = supply(world, world.cache)
    assert _error(one, replace(WANT, beside=Beside(altered.root_crl))).id == (
        "collateral.tcb_info.issuer_chain.leaf.revoked")
    assert world.cache.floors.export() == {}


def test_a_software_maker_raises_no_floor_of_another_root(world):
    world.serve_intel(**numbered(9999))
    supply(world, world.cache).get(WANT, NOW)
    assert all(name.endswith(f"@{_root_key(world)}") for name in world.cache.floors.export())


def _root_key(world) -> str:
    return next(a.sha256_public_key.hex() for a in world.roots.anchors if "SGX" in a.subject)
