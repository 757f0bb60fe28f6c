"""The port of policy engines, and the one error they raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from verifier.errors import SetupError


class PolicyError(SetupError):
    """A policy cannot be used, or did not come to an answer.

    ``id`` is one of ``policy.size``, ``policy.syntax``, ``policy.package``, ``policy.builtin``, ``policy.function``
    (the text), ``policy.input``, ``policy.reference_values``, ``policy.evaluation``, ``policy.result`` (a run),
    ``policy.cost``, ``policy.review`` (the check before it is stored) and ``policy.engine`` (the engine itself). Only
    ``policy.input`` may be a guest's doing. ``line`` is the line of the policy's text, from 1; None where there is
    none.
    """

    def __init__(self, id: str, detail: str, *, expected: Any = None, got: Any = None, line: int | None = None) -> None:
        super().__init__(id, detail, expected=expected, got=got)
        self.line = line

    def __str__(self) -> str:
        told = super().__str__()
        return told if self.line is None else f"{told} at line {self.line}"


class CompiledPolicy(Protocol):
    """A policy that may be evaluated any number of times, by any number of threads."""

    name: str
    digest: bytes
    """SHA-256 of the policy's text as UTF-8."""

    def evaluate(self, query: str, *, input: Mapping[str, Any], data: Mapping[str, Any] | None = None,
                 reference_values: Mapping[str, Any] | str | None = None) -> Any:
        """The value of ``query`` (such as ``data.policy.allow``) as plain JSON values; None where it is undefined.

        input: what the policy reads as ``input``; JSON values. data: what it reads as ``data.<key>``, changing from
        call to call. reference_values: what ``query_reference_value(name)`` answers, changing rarely: a mapping, or its
        JSON text where the caller has that at hand (cheaper). Sets come back as lists. Raises `PolicyError`
        (``policy.input``, ``policy.reference_values``, ``policy.evaluation``).
        """


class PolicyEngine(Protocol):
    """What turns text into policies."""

    def compile(self, source: str, *, name: str) -> CompiledPolicy:
        """Raises `PolicyError` with ``policy.size``, ``policy.syntax``, ``policy.package``, ``policy.builtin`` or
        ``policy.function``."""
