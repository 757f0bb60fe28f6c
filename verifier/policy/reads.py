"""Which members of ``input`` a compiled query can read, so that nothing else is handed to the engine.

Handing a value over costs more than judging it, and a policy reads a tenth of what it is given. The answer comes from
the plan: every local that can hold a part of the input is followed through references, assignments and iterations to
where it is used. What is only tested for being there is needed without its members; a use that is not understood needs
everything below; a statement that is not understood needs the whole input. A policy therefore sees no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Wanted = dict[str | None, Any]
"""Members by name, the key None standing for every name; each with what is wanted of it, None for everything."""

_INPUT, _DATA = 0, 1
_MAX_STATEMENTS = 20_000
_MAX_DEPTH = 64
_MAX_PATHS = 256  # that one local can hold
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]+\Z")

_Path = tuple[str | None, ...]

# Statements that read no local.
_SILENT = frozenset({"BreakStmt", "MakeArrayStmt", "MakeNullStmt", "MakeNumberIntStmt", "MakeNumberRefStmt",
                     "MakeObjectStmt", "MakeSetStmt", "NopStmt", "ResetLocalStmt"})
# Statements that read what all their fields but `_UNREAD` name.
_DEEP = frozenset({"ArrayAppendStmt", "AssignVarOnceStmt", "EqualStmt", "IsArrayStmt", "IsObjectStmt", "IsSetStmt",
                   "LenStmt", "NotEqualStmt", "ObjectInsertOnceStmt", "ObjectInsertStmt", "ObjectMergeStmt",
                   "ResultSetAddStmt", "ReturnLocalStmt", "SetAddStmt"})
_UNREAD = frozenset({"target", "result", "file", "row", "col"})
_NESTED = frozenset({"BlockStmt", "NotStmt"})


def only(value: Any, wanted: Wanted | None) -> Any:
    """``value`` with those members only; lists and plain values whole."""
    if wanted is None or not isinstance(value, Mapping):
        return value
    if None in wanted:
        return {name: only(item, wanted.get(name, wanted[None])) for name, item in value.items()}
    return {name: only(value[name], below) for name, below in wanted.items() if name in value}


class _NotUnderstoodError(Exception):
    """The plan holds something that this analysis does not follow."""


def input_reads(plan: dict[str, Any]) -> Wanted | None:
    """What the plan's query can read of ``input``; None for everything."""
    try:
        reads = _Reads(plan)
    except (_NotUnderstoodError, KeyError, TypeError, IndexError):
        return None
    wanted: Wanted | None = {}
    for path, deep in sorted(reads.needs, key=lambda need: (len(need[0]), need[1])):
        wanted = _with(wanted, path, deep)
    return None if wanted is None else _with_any(wanted)


class _Reads:
    """The analysis of one plan: ``needs`` are paths with True for everything below, False for being there."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._functions = {function["name"]: function for function in plan["funcs"].get("funcs") or []}
        self._strings = [entry["value"] for entry in plan["static"].get("strings") or []]
        self._paths: dict[int, set[_Path]] = {_INPUT: {()}}
        self.needs: set[tuple[_Path, bool]] = set()
        statements = self._reachable(plan["plans"]["plans"])
        while sum(self._follow(kind, stmt) for kind, stmt in statements):
            pass  # until nothing new is held anywhere
        for kind, stmt in statements:
            self._use(kind, stmt)

    def _reachable(self, plans: list[Any]) -> list[tuple[str, dict[str, Any]]]:
        """Every statement that a plan can come to, through the functions it calls."""
        found: list[tuple[str, dict[str, Any]]] = []
        seen: set[str] = set()
        pending: list[Any] = [plan["blocks"] for plan in plans]
        while pending:
            for kind, stmt in _statements(pending.pop()):
                found.append((kind, stmt))
                if len(found) > _MAX_STATEMENTS:
                    raise _NotUnderstoodError
                name: str = stmt["func"] if kind == "CallStmt" else ""
                if name in self._functions and name not in seen:
                    seen.add(name)
                    if self._functions[name]["params"][:2] != [_INPUT, _DATA]:
                        raise _NotUnderstoodError
                    pending.append(self._functions[name]["blocks"])
        return found

    def _follow(self, kind: str, stmt: dict[str, Any]) -> bool:
        """Pass on which paths a local can hold; True when that was news."""
        if kind == "DotStmt":
            key = self._key(stmt["key"])
            return key is not None and self._hold(stmt["target"], stmt["source"], (key,))
        if kind == "AssignVarStmt":
            return self._hold(stmt["target"], stmt["source"], ())
        if kind == "ScanStmt":
            return self._hold(stmt["value"], stmt["source"], (None,))
        return False

    def _hold(self, target: int, source: Any, step: _Path) -> bool:
        local = _local(source)
        came = {path + step for path in self._paths.get(local, ())} if local is not None else set()
        held = self._paths.setdefault(target, set())
        if target == _INPUT or len(came | held) > _MAX_PATHS or any(len(path) > _MAX_DEPTH for path in came):
            raise _NotUnderstoodError
        news = not came <= held
        held |= came
        return news

    def _use(self, kind: str, stmt: dict[str, Any]) -> None:
        if kind in ("IsDefinedStmt", "IsUndefinedStmt"):
            self._need(_local(stmt["source"]), deep=False)
        elif kind == "DotStmt":
            self._need(_local(stmt["source"]), deep=self._key(stmt["key"]) is None)
            self._need(_local(stmt["key"]) if _is_local(stmt["key"]) else None, deep=True)
            self._need(stmt["target"], deep=False)
        elif kind == "ScanStmt":
            self._need(_local(stmt["source"]), deep=False)
            self._need(stmt["value"], deep=False)
        elif kind == "CallStmt":
            self._use_call(stmt)
        elif kind in _DEEP:
            boolean = kind in ("EqualStmt", "NotEqualStmt") and "bool" in (stmt["a"]["type"], stmt["b"]["type"])
            for name in stmt.keys() - _UNREAD:
                self._need(_local(stmt[name]), deep=not boolean)
        elif kind not in _SILENT | _NESTED | {"AssignVarStmt"}:
            raise _NotUnderstoodError

    def _use_call(self, stmt: dict[str, Any]) -> None:
        arguments = [_local(argument) for argument in stmt["args"]]
        if stmt["func"] in self._functions:
            if arguments[:2] != [_INPUT, _DATA]:
                raise _NotUnderstoodError
            arguments = arguments[2:]
        for argument in arguments:
            self._need(argument, deep=True)

    def _need(self, local: int | None, *, deep: bool) -> None:
        if local is not None:
            self.needs |= {(path, deep) for path in self._paths.get(local, ())}

    def _key(self, operand: dict[str, Any]) -> str | None:
        """The member a reference names literally; None for any other key."""
        if operand["type"] != "string_index":
            return None
        text: str = self._strings[operand["value"]]
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if not _PLAIN_KEY.match(text):
            raise _NotUnderstoodError
        return text


def _statements(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    pending = [node]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            if isinstance(node.get("stmt"), dict):
                yield node["type"], node["stmt"]
            pending.extend(node.values())


def _is_local(operand: Any) -> bool:
    return isinstance(operand, int) or (isinstance(operand, dict) and operand.get("type") == "local")


def _local(operand: Any) -> int | None:
    """The local an operand names, given bare or with its type; None for a constant."""
    if isinstance(operand, int):
        return operand
    value = operand["value"] if operand["type"] == "local" else None
    return value if value is None else int(value)


def _with(wanted: Wanted | None, path: _Path, deep: bool) -> Wanted | None:
    """``wanted`` and what lies at ``path``."""
    if wanted is None:
        return None
    if not path:
        return None if deep else wanted
    return {**wanted, path[0]: _with(wanted.get(path[0], {}), path[1:], deep)}


def _with_any(wanted: Wanted) -> Wanted:
    """``wanted`` with what is wanted of every member put into each that is named, so that one look-up tells all."""
    every = wanted.get(None, {})
    merged = {name: every if name is None else _merged(tree, every) for name, tree in wanted.items()}
    return {name: tree if tree is None else _with_any(tree) for name, tree in merged.items()}


def _merged(one: Wanted | None, other: Wanted | None) -> Wanted | None:
    if one is None or other is None:
        return None
    both = {name: _merged(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**one, **other, **both}
