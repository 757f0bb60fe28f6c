"""The record of every rule that was applied, in order.

A `Trail` belongs to one verification. `equal` and `require` note a rule that holds and raise `CheckFailed` for the
first that does not, after noting it, so that a refusal always shows what led to it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from verifier.errors import CheckFailed


class Check(NamedTuple):
    """One rule applied once. ``expected`` and ``got`` are None where a comparison makes no sense."""

    id: str
    ok: bool
    expected: Any = None
    got: Any = None
    detail: str | None = None


_ZERO = "reserved bytes must be zero"
_new = tuple.__new__  # a verification notes a hundred checks, and the class's own way takes three times as long


@cache
def _all_zero(prefix: str, rules: tuple[str, ...]) -> tuple[Check, ...]:
    """What `Trail.zeros` notes where all is well: rules come from the source, so there are few."""
    return tuple(Check(prefix + rule, True, None, None, _ZERO) for rule in rules)


@lru_cache(4096)
def _held(id: str, same: str | bytes | None, detail: str | None) -> Check:
    """A rule that held, and of which nothing is told that only one verification has: the same object each time, by
    which whoever writes checks down knows it again."""
    return Check(id, True, same, same, detail)


class Trail:
    """Collects checks under ``prefix`` (the TEE's name): ``Trail("tdx")`` notes ``tdx.quote.signature``."""

    __slots__ = ("_checks", "_prefix", "_start", "prefix")

    def __init__(self, prefix: str, _checks: list[Check] | None = None) -> None:
        self.prefix = prefix
        self._prefix = prefix + "."
        self._checks: list[Check] = [] if _checks is None else _checks
        self._start = len(self._checks)

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was noted so far, in order."""
        return tuple(self._checks)

    @property
    def own_checks(self) -> tuple[Check, ...]:
        """What was noted through this branch since it began."""
        return tuple(self._checks[self._start :])

    def branch(self) -> Trail:
        """A trail that writes into this one and knows which checks are its own, so that they can be kept."""
        return Trail(self.prefix, self._checks)

    def equal(self, rule: str, *, expected: Any, got: Any, detail: str | None = None) -> None:
        """``got`` must equal ``expected``; byte strings at exact length and in constant time."""
        if isinstance(expected, bytes) and isinstance(got, bytes):
            ok = len(expected) == len(got) and hmac.compare_digest(expected, got)
        else:
            ok = type(expected) is type(got) and expected == got
        self._note(rule, ok, expected, got, detail)

    def constant(self, rule: str, *, expected: str | bytes, got: str | bytes) -> None:
        """As `equal`, for an ``expected`` that is the same for all evidence of this kind."""
        if type(expected) is type(got) and expected == got:
            self._checks.append(_held(self._prefix + rule, expected, None))
        else:
            self._note(rule, False, expected, got, None)

    def require(self, rule: str, ok: bool, detail: str, *, expected: Any = None, got: Any = None) -> None:
        """``ok`` must be True itself; ``detail`` says in words what is demanded."""
        self._note(rule, ok is True, expected, got, detail)

    def zeros(self, rules: tuple[str, ...], values: Sequence[bytes]) -> None:
        """Each of ``values`` must be zero bytes; ``rules`` has one name for each."""
        if len(rules) == len(values) and not b"".join(values).strip(b"\x00"):
            self._checks.extend(_all_zero(self._prefix, rules))
            return
        for rule, value in zip(rules, values, strict=True):
            clean = not value.strip(b"\x00")
            self.require(rule, clean, _ZERO, got=None if clean else value)

    def passed(self, rule: str, detail: str | None = None, *, got: Any = None) -> None:
        """Note a rule that was established by a call which raises on anything else."""
        id = self._prefix + rule
        self._checks.append(_held(id, None, detail) if got is None else _new(Check, (id, True, None, got, detail)))

    def fail(self, rule: str, detail: str, *, expected: Any = None, got: Any = None) -> CheckFailed:
        """Note a broken rule and hand back the error to raise."""
        check = Check(self._prefix + rule, False, expected, got, detail)
        self._checks.append(check)
        return CheckFailed(check.id, detail, expected=expected, got=got)

    def extend(self, checks: Iterable[Check]) -> None:
        """Take over what a prepared object established when it was prepared."""
        self._checks.extend(checks)

    def _note(self, rule: str, ok: bool, expected: Any, got: Any, detail: str | None) -> None:
        check = _new(Check, (self._prefix + rule, ok, expected, got, detail))
        self._checks.append(check)
        if not ok:
            raise CheckFailed(check.id, detail or "does not match", expected=expected, got=got)
