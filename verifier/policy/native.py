"""The door to rego-cpp: one interpreter with one compiled query, for one thread at a time.

Rules of the door: handles never leave it; every answer is read as text and must have the one shape of success, because
the engine reports some failures as if they were results. Its log is silenced: it would print policies to the terminal.
"""

from __future__ import annotations

import json
import re
import sys
import weakref
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from verifier.policy.engine import PolicyError

if TYPE_CHECKING:
    from verifier.policy.native_input import NativeInput

# The engine brings an allocator of its own, which the C++ library must meet before any other: where that library is
# loaded already (by numpy, by grpc), memory taken by one is given back to the other, and the process ends.
_MAPS = Path("/proc/self/maps")
if "regopy" not in sys.modules and _MAPS.exists() and "libstdc++.so" in _MAPS.read_text("utf-8", "replace"):
    raise PolicyError("policy.engine", "the policy engine must be loaded before numpy, grpc and the like: import "
                      "verifier.policy.native first")
try:
    from regopy import Node, NodeKind, RegoError
    from regopy import rego_shared as rego
except OSError as error:  # its shared library is there and one that it needs is not
    raise PolicyError("policy.engine", f"the policy engine cannot be loaded: {error}. On Debian: apt-get install "
                      "libatomic1") from None

__all__ = ["Program", "rego"]

_RESULT = "result"
_ERROR_OFFSET = re.compile(r"\(error [^|()]*\|(\d+)\|")
_ERROR_MESSAGE = re.compile(r"\(errormsg \d+:([^()\n]*)\)")


class Program:
    """``query`` over ``modules`` (name and text) and ``data`` (a JSON object's text), ready to run.

    Raises `PolicyError`: ``policy.syntax`` with the line in the first module, ``policy.reference_values`` for ``data``.
    """

    def __init__(self, modules: Iterable[tuple[str, str]], data: str, query: str) -> None:
        self._interpreter = rego.rego_new()
        weakref.finalize(self, rego.rego_free, self._interpreter).atexit = False
        rego.rego_set_log_level(self._interpreter, rego.LogLevel.NONE)
        for name, text in modules:
            self._add_module(name, text)
        try:
            rego.rego_add_data_json(self._interpreter, data)
        except RegoError:
            raise PolicyError("policy.reference_values", "the engine cannot read the reference values") from None
        self._bundle = self._build(query)
        weakref.finalize(self, rego.rego_free_bundle, self._bundle).atexit = False

    def _add_module(self, name: str, text: str) -> None:
        try:
            rego.rego_add_module(self._interpreter, name, text)
        except RegoError as error:
            raise _syntax_error(str(error), text) from None

    def _build(self, query: str) -> Any:
        try:
            rego.rego_set_query(self._interpreter, f"{_RESULT} := {query}")
            bundle = rego.rego_build(self._interpreter)
        except RegoError as error:
            raise PolicyError("policy.syntax", f"the policy does not compile: {_message(str(error))}") from None
        if not rego.rego_bundle_ok(bundle):
            rego.rego_free_bundle(bundle)
            raise PolicyError("policy.syntax", "the policy does not compile: its rules contradict each other")
        return bundle

    def run(self, input: NativeInput) -> Any:
        """The query's value; None where it is undefined. Raises `PolicyError`."""
        input.hand_to(self._interpreter)
        try:
            output = rego.rego_bundle_query(self._interpreter, self._bundle)
        except RegoError as error:
            raise _evaluation_error(_message(str(error))) from None
        try:
            if not rego.rego_output_ok(output):
                raise _evaluation_error(_node_message(Node(rego.rego_output_node(output))))
            return _value(rego.rego_output_string(output))
        except UnicodeDecodeError:
            raise _evaluation_error("its value is not Unicode text") from None
        finally:
            rego.rego_free_output(output)

    def plan(self) -> dict[str, Any]:
        """The compiled form, as JSON (Open Policy Agent's IR)."""
        with TemporaryDirectory() as folder:
            rego.rego_bundle_save(self._interpreter, folder, self._bundle)
            plan: dict[str, Any] = json.loads((Path(folder) / "plan.json").read_text("utf-8"))
            return plan


def _value(text: str) -> Any:
    if text == "undefined":
        return None
    try:
        answer = json.loads(text)
        return answer["bindings"][_RESULT]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise _evaluation_error(_message(text)) from None


def _evaluation_error(message: str) -> PolicyError:
    return PolicyError("policy.evaluation", f"the policy came to no answer: {message}")


def _syntax_error(told: str, text: str) -> PolicyError:
    offset = _ERROR_OFFSET.search(told)
    line = text.encode()[:int(offset.group(1))].count(b"\n") + 1 if offset else None
    return PolicyError("policy.syntax", f"the policy does not parse: {_message(told)}", line=line)


def _message(told: str) -> str:
    found = _ERROR_MESSAGE.search(told)
    return found.group(1)[:200] if found else "the engine gives no reason"


def _node_message(node: Node) -> str:
    """The first message in an error tree: errors hold a message, what it is about, and a code."""
    if node.kind == NodeKind.ErrorMessage:
        return str(rego.rego_node_value(node._impl))[:200]
    if node.kind in (NodeKind.ErrorSeq, NodeKind.Error) and len(node):
        return _node_message(node.at(0))
    return "the engine gives no reason"
