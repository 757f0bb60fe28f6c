"""Gets one object: from memory, from disk, or from its source, in this order.

Rules of the room: nothing leaves here, and nothing is kept, that `judge` has not found good at the caller's moment;
what was judged once is remembered under the digest of every byte it rested on. Nothing that is older than what was
accepted before leaves either. One thread and one process fetch an object while the others wait. What is good but no
longer young is handed out and fetched anew, in the background where the process lives long enough; when that fails it
is used until its own end.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, Thread

from verifier.checks.prepared import Prepared
from verifier.collateral import floors
from verifier.collateral.cache import Cache
from verifier.collateral.flights import Failures, Flights
from verifier.collateral.floors import Floors, MemoryFloors
from verifier.collateral.http import Door, FetchFailed
from verifier.collateral.item import Item, Name
from verifier.collateral.judge import Beside, Judged, judge
from verifier.collateral.sources import Sources
from verifier.endorsements.roots import Roots
from verifier.errors import CollateralError, MissingCollateral, SetupError

Fetch = Callable[[Door, Sources, Name, int], Item]
_MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Policy:
    """When what is good is fetched anew, and for how long failures count. Times in seconds.

    refresh_at: the fraction of its own span after which an object is no longer young. max_age: after so long since it
    was fetched it is not young either. background: refresh beside the caller (services), or before answering it
    (commands). recheck: how long memory is used without a look at the disk. failed, not_found: how long the same is not
    asked again. patience: how long one waits for another thread or process that is fetching the same.
    """

    refresh_at: float = 0.5
    max_age: int = 24 * 3600
    background: bool = False
    recheck: float = 60.0
    failed: float = 30.0
    not_found: float = 300.0
    patience: float = 20.0


@dataclass(frozen=True)
class Want:
    """One object: its name, how it is fetched, and what it is judged beside."""

    name: Name
    fetch: Fetch
    beside: Beside = Beside()  # noqa: RUF009 - frozen

    @property
    def key(self) -> str:
        """What a flight is called."""
        return self.name.text


@dataclass(frozen=True, slots=True)
class Good:
    """An object and its judgement."""

    item: Item
    judged: Judged


@dataclass(frozen=True, slots=True)
class _Remembered:
    item: Item
    looked: float


class Supply:
    """Objects for one set of roots and sources. Safe to share between threads.

    sources None: nothing is fetched. cache None: memory only, floors included. items: what is at hand already, as from
    a bundle; judged like everything else.
    """

    def __init__(self, roots: Roots, sources: Sources | None = None, cache: Cache | None = None, *,
                 policy: Policy | None = None, door: Door | None = None, items: tuple[Item, ...] = (),
                 prepared: Prepared | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.roots, self.sources, self.cache = roots, sources, cache
        self.policy = policy or Policy()
        self.floors: Floors = cache.floors if cache is not None else MemoryFloors()
        self._door = door or (sources.door() if sources is not None else None)
        self._clock = clock
        self._prepared = Prepared() if prepared is None else prepared
        self._flights: Flights[Good] = Flights()
        self._failures = Failures(clock)
        self._at_hand = {item.name: item for item in items}
        self._memory: OrderedDict[Name, _Remembered] = OrderedDict()
        self._lock = Lock()

    def get(self, want: Want, at: int) -> Good:
        """The object, good at ``at``. Raises `CollateralError`, or `SetupError` where the cache cannot be used."""
        found = self._warm(want, at)
        if found is None:
            return self._fetched(want, at)
        return found if self._enough(found, at) else self._refreshed(want, found, at)

    def ready(self, want: Want, at: int) -> Good | None:
        """The object if nothing has to be fetched for it."""
        found = self._warm(want, at)
        return found if found is not None and self._enough(found, at) else None

    def keep(self, item: Item, at: int, beside: Beside) -> Good:
        """Judge ``item``, raise its floor and remember it, unless a later one is remembered: then that one is given.

        Raises `CollateralError`, `floors.RolledBack` for one with a lower number than was accepted before.
        """
        judged = self._judge(item, at, beside)
        floors.accept(self.floors, item, judged)
        if self.cache is None:
            return self._later(item, judged, at, beside) or self._remember(Good(item, judged))
        with self.cache.storing(item.name):
            later = self._later(item, judged, at, beside)
            if later is None:
                self.cache.put(item)
        return self._remember(later or Good(item, judged))

    def _later(self, item: Item, judged: Judged, at: int, beside: Beside) -> Good | None:
        """What is there already, if it is of a later date than ``item`` and good."""
        kept = self._below(item.name)
        for other in kept if judged.guarded else ():
            found = self._good(other, at, beside)
            if found is not None and floors.measure(found.judged) > floors.measure(judged):
                return found
        return None

    # -- at hand -------------------------------------------------------------------------------------------------------

    def _warm(self, want: Want, at: int) -> Good | None:
        with self._lock:
            remembered = self._memory.get(want.name)
            if remembered is not None:
                self._memory.move_to_end(want.name)
        if remembered is not None and (self.cache is None or self._clock() - remembered.looked < self.policy.recheck):
            judged = self._prepared.find(Judged, self._judgement(remembered.item, want.beside), at)
            if judged is not None:
                return Good(remembered.item, judged)
        return self._from_below(want, at)

    def _from_below(self, want: Want, at: int) -> Good | None:
        """From disk and from what was given; the later of the two."""
        found = [good for item in self._below(want.name) if (good := self._good(item, at, want.beside)) is not None]
        return self._remember(max(found, key=lambda good: floors.measure(good.judged))) if found else None

    def _below(self, name: Name) -> list[Item]:
        kept = self.cache.get(name) if self.cache is not None else self._remembered(name)
        return [item for item in (kept, self._at_hand.get(name)) if item is not None]

    def _remembered(self, name: Name) -> Item | None:
        with self._lock:
            found = self._memory.get(name)
        return None if found is None else found.item

    def _good(self, item: Item, at: int, beside: Beside) -> Good | None:
        """``item`` if it is good now; one that is not is as if it were not there."""
        try:
            judged = self._judge(item, at, beside)
            floors.check(self.floors, item, judged)
        except CollateralError:
            return None
        return Good(item, judged)

    def _judge(self, item: Item, at: int, beside: Beside) -> Judged:
        """`judge`, once per bytes, roots and span of time."""
        key = self._judgement(item, beside)
        found = self._prepared.find(Judged, key, at)
        return found if found is not None else self._prepared.keep(key, judge(item, self.roots, at, beside))

    def _judgement(self, item: Item, beside: Beside) -> tuple[bytes, Name, bytes, Beside]:
        """Under what a judgement is kept: every byte that it rests on."""
        return item.digest, item.name, self.roots.digest, beside

    def _remember(self, good: Good) -> Good:
        with self._lock:
            self._memory[good.item.name] = _Remembered(good.item, self._clock())
            self._memory.move_to_end(good.item.name)
            while len(self._memory) > _MAX_REMEMBERED:
                self._memory.popitem(last=False)
        return good

    # -- fetching ------------------------------------------------------------------------------------------------------

    def _enough(self, found: Good, at: int) -> bool:
        return self.sources is None or self._young(found, at)

    def _young(self, found: Good, at: int) -> bool:
        own, fetched = found.judged.own, found.item.fetched
        start = max(own.not_before, min(fetched, own.not_after))
        until = start + self.policy.refresh_at * (own.not_after - start)
        return at <= min(until, fetched + self.policy.max_age)

    def _refreshed(self, want: Want, found: Good, at: int) -> Good:
        """What is there, while somebody looks for newer; without a background, whichever is had now."""
        if self.policy.background:
            if not self._flights.busy(want.key) and self._failures.recent(want.key) is None:
                Thread(target=self._quietly, args=(want, at), name=f"refresh {want.key}", daemon=True).start()
            return found
        return self._quietly(want, at) or found

    def _quietly(self, want: Want, at: int) -> Good | None:
        try:
            return self._fetched(want, at, refreshing=True)
        except (CollateralError, SetupError):
            return None  # noted among the failures; what is there is still good

    def _fetched(self, want: Want, at: int, *, refreshing: bool = False) -> Good:
        if self.sources is None or self._door is None:
            raise MissingCollateral("collateral.offline", f"{want.name} is not at hand, and nothing is fetched")
        failed = self._failures.recent(want.key)
        if failed is not None:
            raise failed
        return self._flights.run(want.key, lambda: self._fly(want, at, refreshing), self.policy.patience)

    def _fly(self, want: Want, at: int, refreshing: bool) -> Good:
        """The one fetch of this process; another process may have been faster, or be at it now."""
        if self.cache is None:
            return self._ask(want, at)
        with self.cache.flight(want.name, self.policy.patience):
            found = self._from_below(want, at)
            if found is not None and (not refreshing or self._young(found, at)):
                return found
            return self._ask(want, at)

    def _ask(self, want: Want, at: int) -> Good:
        if self.sources is None or self._door is None:  # `_fetched` has seen to it
            raise MissingCollateral("collateral.offline", f"{want.name} is not at hand, and nothing is fetched")
        try:
            good = self.keep(want.fetch(self._door, self.sources, want.name, at), at, want.beside)
        except CollateralError as error:
            self._failures.note(want.key, error, self._pause(error))
            raise
        self._failures.forget(want.key)
        return good

    def _pause(self, error: CollateralError) -> float:
        if isinstance(error, FetchFailed) and error.retry_after is not None:
            return min(max(error.retry_after, self.policy.failed), 3600.0)
        return self.policy.not_found if error.id == "collateral.fetch.not_found" else self.policy.failed
