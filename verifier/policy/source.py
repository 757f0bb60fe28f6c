"""Rego text as tokens: what is looked at before a native parser sees it, and where it reads ``data``.

The engine compiles ``data`` into a policy once and for all, but for a release decision ``data`` differs with every
request. References to it are therefore turned into references to a member of ``input``, token by token, so that text in
strings and comments is never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from verifier.policy.engine import PolicyError

MAX_POLICY_BYTES = 256 * 1024
MAX_NESTING = 100
PACKAGE = "policy"
# Where the values of `data` travel inside `input`.
DATA_MEMBER = "__data"

_TOKEN = re.compile(r"""
    (?P<blank>\s+|\#[^\n]*)
  | (?P<template>\$["`])
  | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
  | (?P<sign>:=|==|!=|<=|>=|.)
""", re.VERBOSE)


class Token(NamedTuple):
    """kind: ``template``, ``string``, ``name``, ``number`` or ``sign``. start: offset in the text. line: from 1."""

    kind: str
    text: str
    start: int
    line: int


def tokens(source: str) -> Iterator[Token]:
    """The tokens of ``source`` without blanks and comments."""
    line = 1
    for match in _TOKEN.finditer(source):
        text, kind = match.group(), match.lastgroup or "sign"
        if kind != "blank":
            yield Token(kind, text, match.start(), line)
        line += text.count("\n")


def check_source(source: str) -> None:
    """Bounds and shape, before anything else reads the text. Raises `PolicyError`."""
    _check_text(source)
    depth = 0
    for token in tokens(source):
        if token.kind == "template":
            raise PolicyError("policy.syntax", "template strings are not supported; use concat or sprintf",
                              line=token.line)
        if token.text in ("(", "[", "{"):
            depth += 1
            if depth > MAX_NESTING:
                raise PolicyError("policy.syntax", "brackets nest too deeply", expected=f"<= {MAX_NESTING}",
                                  line=token.line)
        elif token.text in (")", "]", "}"):
            depth -= 1
    _check_package(source)


def _check_text(source: str) -> None:
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError:
        raise PolicyError("policy.syntax", "the policy is not Unicode text") from None
    if size > MAX_POLICY_BYTES:
        raise PolicyError("policy.size", "the policy is too large", expected=f"<= {MAX_POLICY_BYTES} bytes",
                          got=f"{size} bytes")
    if "\0" in source:
        raise PolicyError("policy.syntax", "the policy holds a NUL character",
                          line=source[:source.index("\0")].count("\n") + 1)


def _check_package(source: str) -> None:
    opening = []
    for token in tokens(source):
        opening.append(token)
        if len(opening) == 3:
            break
    named = [token.text for token in opening[:2]]
    nested = len(opening) == 3 and opening[2].text in (".", "[")
    if named != ["package", PACKAGE] or nested:
        raise PolicyError("policy.package", "the policy must be in its own package", expected=f"package {PACKAGE}",
                          got=" ".join(token.text for token in opening)[:80], line=opening[0].line if opening else 1)


def with_data_in_input(source: str, keys: Collection[str]) -> str:
    """``source`` with every ``data.<key>`` and ``data["<key>"]`` reading ``input.__data`` instead; same lines."""
    found = list(tokens(source))
    pieces, end = [], 0
    for index, token in enumerate(found):
        follows_dot = index > 0 and found[index - 1].text == "."
        if token.text == "data" and token.kind == "name" and not follows_dot and _member(found, index) in keys:
            pieces += [source[end:token.start], f"input.{DATA_MEMBER}"]
            end = token.start + len(token.text)
    return "".join(pieces) + source[end:]


def _member(found: list[Token], index: int) -> str | None:
    """The literal key with which the reference at ``index`` goes on; None for any other continuation."""
    after = found[index + 1:index + 4]
    if len(after) >= 2 and after[0].text == "." and after[1].kind == "name":
        return after[1].text
    if len(after) == 3 and after[0].text == "[" and after[1].kind == "string" and after[2].text == "]":
        return string_value(after[1].text)
    return None


def string_value(text: str) -> str | None:
    """What a string token stands for; None when its escapes are not JSON's."""
    if text.startswith("`"):
        return text[1:-1]
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
