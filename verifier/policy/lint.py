"""Misspellings that a policy's grammar allows: names that lead nowhere.

Rego takes a wrong name for something undefined, so a misspelled rule is silent. Read here from the tokens: names that
occur once, members of ``input`` that no input has, members of ``data`` that are never there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from verifier.policy.builtins import ALLOWED
from verifier.policy.source import Token, string_value, tokens

ANY = "*"
"""As a key of a tree: every name. As a value: whatever lies below is not known beforehand."""

_LANGUAGE = frozenset({
    "as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package", "some",
    "true", "with", "data", "input", "policy", "rego", "v1", "query_reference_value", "_",
}) | {name.split(".")[0] for name in ALLOWED}

Tree = Mapping[str, Any]


def lint(source: str, *, outputs: Collection[str], inputs: Tree, data: Tree) -> list[str]:
    """One sentence for each suspicious name.

    outputs: rules that are asked from outside. inputs, data: trees of the members there are; what is neither a mapping
    nor `ANY` is a value without members.
    """
    found = list(tokens(source))
    return [*_once(found, outputs), *_unknown(found, "input", inputs), *_unknown(found, "data", data)]


def _once(found: list[Token], outputs: Collection[str]) -> Iterator[str]:
    names = [token for index, token in enumerate(found) if token.kind == "name" and not _is_member(found, index)]
    counts = Counter(token.text for token in names)
    for token in names:
        if counts[token.text] == 1 and token.text not in _LANGUAGE and token.text not in outputs:
            yield f"line {token.line}: {token.text} occurs only once; is it misspelled, or a rule that nothing uses?"


def _is_member(found: list[Token], index: int) -> bool:
    return index > 0 and found[index - 1].text == "."


def _unknown(found: list[Token], root: str, tree: Tree) -> Iterator[str]:
    told: set[str] = set()
    for path, line in _references(found, root):
        known = _known(path, tree)
        shown = ".".join((root, *path[:known + 1]))
        if known < len(path) and shown not in told:
            told.add(shown)
            yield f"line {line}: there is no {shown}"


def _known(path: tuple[str, ...], tree: Any) -> int:
    """How many steps of ``path`` are in ``tree``."""
    for index, step in enumerate(path):
        if tree == ANY:
            return len(path)
        if not isinstance(tree, Mapping) or (step not in tree and ANY not in tree):
            return index
        tree = tree[step] if step in tree else tree[ANY]
    return len(path)


def _references(found: list[Token], root: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every literal path under ``root`` with its line, also through names that stand for such a path."""
    stands_for = _aliases(found, root)
    for index, token in enumerate(found):
        if token.kind != "name" or _is_member(found, index):
            continue
        if token.text == root:
            yield _path(found, index), token.line
        elif token.text in stands_for:
            yield stands_for[token.text] + _path(found, index), token.line


def _aliases(found: list[Token], root: str) -> dict[str, tuple[str, ...]]:
    """Names assigned a path under ``root`` exactly once and nothing else."""
    assigned: dict[str, list[tuple[str, ...] | None]] = {}
    for index, token in enumerate(found[:-2]):
        if token.kind == "name" and found[index + 1].text in (":=", "="):
            whole = found[index + 2].text == root and _ends_line(found, index + 2)
            assigned.setdefault(token.text, []).append(_path(found, index + 2) if whole else None)
    return {name: paths[0] for name, paths in assigned.items() if len(paths) == 1 and paths[0] is not None}


def _ends_line(found: list[Token], index: int) -> bool:
    after = index + 1 + sum(_widths(found, index))
    return after >= len(found) or found[after].line > found[index].line or found[after].text in (";", "}")


def _path(found: list[Token], index: int) -> tuple[str, ...]:
    """The literal members that follow the name at ``index``."""
    path, at = [], index + 1
    for width in _widths(found, index):
        member = found[at + 1]
        path.append(member.text if width == 2 else string_value(member.text) or "")
        at += width
    return tuple(path)


def _widths(found: list[Token], index: int) -> Iterator[int]:
    """The length in tokens of each literal member after the name at ``index``: 2 for ``.name``, 3 for ``["name"]``."""
    at = index + 1
    while at + 1 < len(found):
        if found[at].text == "." and found[at + 1].kind == "name":
            width = 2
        elif found[at].text == "[" and found[at + 1].kind == "string" and found[at + 2:at + 3] and (
                found[at + 2].text == "]"):
            width = 3
        else:
            return
        yield width
        at += width
