"""What is asked of the rules of every TEE: that the tables of cases have them all, and that no store changes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import verifier
from verifier.checks.prepared import Prepared

HOME = Path(verifier.__file__).parent
_NOTING = ("constant", "equal", "require", "passed", "fail")


def rules_in_source(*modules: str) -> set[str]:
    """Patterns of the rule names that these modules (paths below ``verifier``) write down: formatted parts match
    anything."""
    return {_pattern(call.args[0]) for module in modules for call in ast.walk(ast.parse((HOME / module).read_text()))
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _NOTING
            and call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr)}


def without_a_case(patterns: Iterable[str], cases: Iterable[str]) -> list[str]:
    """Rules of the source of which no case is."""
    known = [*cases]
    return sorted(pattern for pattern in patterns if not any(re.fullmatch(pattern, rule) for rule in known))


def _pattern(node: ast.Constant | ast.JoinedStr) -> str:
    parts = [node] if isinstance(node, ast.Constant) else node.values
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"[a-z0-9_.]+" for part in parts)


def assert_prepared_trust_never_changes_an_answer(good: Any, broken: Iterable[tuple[str, Any]]) -> None:
    """Every broken case with a store that has seen good evidence and all the broken cases before it, twice; then the
    good one again. Cases have ``verdict(prepared)``."""
    prepared = Prepared()
    answer = _told(good.verdict(prepared))
    assert answer[0] is True
    for rule, case in broken:
        cold = _told(case.verdict())
        assert _told(case.verdict(prepared)) == cold, rule
        assert _told(case.verdict(prepared)) == cold, rule
    assert _told(good.verdict(prepared)) == answer == _told(good.verdict())


def _told(verdict: Any) -> tuple[Any, ...]:
    return (verdict.authentic, verdict.accepted, verdict.error and verdict.error.id, verdict.checks, verdict.flags,
            verdict.valid_until)
