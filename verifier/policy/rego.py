"""Rego policies on rego-cpp (the regopy package).

A policy is compiled once for each query, set of ``data`` keys and text of reference values, and then only its input
changes, of which the engine is handed the members that the query can read. Compiled programs are not shared between
threads: each waits in a pool, is taken for one evaluation and put back, so there are as many as ever ran at a time.

A policy is a function: no clock, no random, nothing from outside. What it answered to the members it reads is therefore
kept, under the digest of their text, and given again to the next input that does not differ in them.

What the engine bounds by itself: 10,000,000 statements and 512 levels of calls and of blocks per evaluation, beyond
which there is no answer. That is seconds, not milliseconds; `verifier.policy.review` measures a policy before it is
stored.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict, deque
from collections.abc import Mapping
from threading import Lock
from typing import Any, NamedTuple

from verifier.policy.answers import MAX_ANSWERS, Answers
from verifier.policy.engine import PolicyError
from verifier.policy.native import Program
from verifier.policy.native_input import NativeInput, json_text
from verifier.policy.plan import check_plan
from verifier.policy.reads import Wanted, input_reads, only
from verifier.policy.source import DATA_MEMBER, check_source, with_data_in_input

# How many variants (query, data keys, reference values) of one policy are kept.
MAX_VARIANTS = 8
MAX_POLICIES = 256

# Trustee's function answers reference values as they were registered; its earlier policies found them so under
# `data.reference`. Under `data.reference_values` each is a list, a single value being a list of one.
_PRELUDE = """package policy

query_reference_value(name) := data.reference[name]
"""

_Variant = tuple[str, frozenset[str], str]


class _Pool(NamedTuple):
    """Programs of one variant that nobody is running now, what they read of the input, and what they answered."""

    idle: deque[Program]
    wanted: Wanted | None
    answers: Answers


class RegoEngine:
    """Compiles Rego policies, and keeps those it compiled. Safe to share between threads.

    answers: how many answers are kept of each query of a policy; with 0 every evaluation runs the policy.
    """

    def __init__(self, answers: int = MAX_ANSWERS) -> None:
        self._answers = answers
        self._kept: OrderedDict[tuple[str, bytes], RegoPolicy] = OrderedDict()
        self._lock = Lock()

    def compile(self, source: str, *, name: str) -> RegoPolicy:
        """See `verifier.policy.engine.PolicyEngine`. The same text under the same name is the same policy."""
        key = (name, hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest())
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        check_source(source)
        policy = RegoPolicy(source, name=name, digest=key[1], answers=self._answers)
        with self._lock:
            self._kept[key] = policy
            while len(self._kept) > MAX_POLICIES:
                self._kept.popitem(last=False)
        return policy


class RegoPolicy:
    """One compiled policy; made by `RegoEngine.compile`."""

    def __init__(self, source: str, *, name: str, digest: bytes, answers: int) -> None:
        self._answers = answers
        self.name = name
        self.digest = digest
        self._source = source
        self._pools: OrderedDict[_Variant, _Pool] = OrderedDict()
        self._lock = Lock()
        check_plan(self._program(("data.policy.allow", frozenset(), "{}")).plan())

    def __repr__(self) -> str:
        return f"RegoPolicy({self.name!r}, {self.digest.hex()[:16]})"

    def evaluate(self, query: str, *, input: Mapping[str, Any], data: Mapping[str, Any] | None = None,
                 reference_values: Mapping[str, Any] | str | None = None) -> Any:
        """See `verifier.policy.engine.CompiledPolicy`."""
        variant = (query, frozenset(data or ()), _reference_text(reference_values))
        pool = self._pools.get(variant) or self._new_pool(variant)
        read = only(_with_data(input, data), pool.wanted)
        return pool.answers.of(read, lambda: self._run(pool, variant, read))

    def _run(self, pool: _Pool, variant: _Variant, read: Any) -> Any:
        document = NativeInput(read)
        try:
            program = pool.idle.pop()
        except IndexError:
            program = self._program(variant)
        value = program.run(document)
        pool.idle.append(program)  # only after an answer: a program that failed is not used again
        return value

    def _new_pool(self, variant: _Variant) -> _Pool:
        program = self._program(variant)
        pool = _Pool(deque([program]), input_reads(program.plan()), Answers(self._answers))
        with self._lock:
            self._pools[variant] = pool
            while len(self._pools) > MAX_VARIANTS:
                self._pools.popitem(last=False)
        return pool

    def _program(self, variant: _Variant) -> Program:
        query, keys, reference = variant
        source = with_data_in_input(self._source, keys) if keys else self._source
        modules = ((self.name, source), ("prelude", _PRELUDE))
        return Program(modules, _documents(reference), query)


def _documents(reference: str) -> str:
    try:
        values = json.loads(reference)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise PolicyError("policy.reference_values", "reference values are a JSON object")
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    return json_text({"reference": values, "reference_values": lists})


def _reference_text(values: Mapping[str, Any] | str | None) -> str:
    if isinstance(values, str):
        return values
    return json_text(dict(values)) if values else "{}"


def _with_data(input: Mapping[str, Any], data: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if DATA_MEMBER in input:
        raise PolicyError("policy.input", f"the input may not have a member {DATA_MEMBER}")
    return {**input, DATA_MEMBER: dict(data)} if data else input
