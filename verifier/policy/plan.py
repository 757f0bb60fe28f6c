"""What a compiled policy calls, read from its plan.

A plan is the engine's intermediate form (Open Policy Agent's IR, as JSON). It is complete: a call through ``with``,
through a reference in brackets or from a rule that nothing uses is in it as well, which no search of the text could
promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from verifier.policy.builtins import ALLOWED
from verifier.policy.engine import PolicyError

_FUNCTION_PREFIX = "g0."


def check_plan(plan: dict[str, Any]) -> None:
    """Every function called must be the policy's own or allowed. Raises `PolicyError`."""
    functions = plan.get("funcs", {}).get("funcs") or []
    own = {function["name"] for function in functions}
    known = {builtin["name"] for builtin in plan["static"].get("builtin_funcs") or []}
    for function in functions:
        for name, line in _calls(function["blocks"]):
            if name not in own:
                _check_call(name, line, known)
    for name in sorted(known):
        _check_call(name, None, known)


def _check_call(name: str, line: int | None, known: set[str]) -> None:
    if name in ALLOWED:
        return
    if name in known:
        raise PolicyError("policy.builtin", "the policy calls a function that policies may not call", got=name,
                          line=line)
    raise PolicyError("policy.function", "the policy calls a function that does not exist",
                      got=name.removeprefix(_FUNCTION_PREFIX), line=line)


def _calls(node: Any) -> Iterator[tuple[str, int | None]]:
    """Every function called in ``node`` with its line, from 1."""
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if node.get("type") == "CallStmt":
                row = node["stmt"].get("row")
                yield node["stmt"]["func"], None if row is None else row + 1
            pending.extend(node.values())
