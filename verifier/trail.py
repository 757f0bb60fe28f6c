"""The record of every rule that was applied, in order.

A `Trail` belongs to one verification. `equal` and `require` note a rule that holds and raise `CheckFailed` for the
first that does not, after noting it, so that a refusal always shows what led to it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any, NamedTuple

from verifier.errors import CheckFailed


class Check(NamedTuple):
    """One rule applied once. ``expected`` and ``got`` are None where a comparison makes no sense."""

    id: str
    ok: bool
    expected: Any = None
    got: Any = None
    detail: str | None = None


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

    def require(self, rule: str, ok: bool, detail: str, *, expected: Any = None, got: Any = None) -> None:
        """``ok`` must be True itself; ``detail`` says in words what is demanded."""
        self._note(rule, ok is True, expected, got, detail)

    def passed(self, rule: str, detail: str | None = None, *, got: Any = None) -> None:
        """Note a rule that was established by a call which raises on anything else."""
        self._checks.append(Check(self._prefix + rule, True, None, got, detail))

    def fail(self, rule: str, detail: str, *, expected: Any = None, got: Any = None) -> CheckFailed:
        """Note a broken rule and hand back the error to raise."""
        check = Check(self._prefix + rule, False, expected, got, detail)
        self._checks.append(check)
        return CheckFailed(check.id, detail, expected=expected, got=got)

    def extend(self, checks: Iterable[Check]) -> None:
        """Take over what a prepared object established when it was prepared."""
        self._checks.extend(checks)

    def _note(self, rule: str, ok: bool, expected: Any, got: Any, detail: str | None) -> None:
        check = Check(self._prefix + rule, ok, expected, got, detail)
        self._checks.append(check)
        if not ok:
            raise CheckFailed(check.id, detail or "does not match", expected=expected, got=got)
