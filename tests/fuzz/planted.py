"""Faults planted on purpose, to see that fuzzing finds them. No room of `targets`."""

from __future__ import annotations

from tests.fuzz.harness import MALFORMED, Target, written_exactly
from tests.fuzz.seeds import these
from verifier.formats.strict import json_object


def _undocumented(data: bytes) -> object:
    return json_object(data, "planted")["member"]


def _lossy(data: bytes) -> bytes:
    return data.rstrip(b"\x00")


TARGETS = (
    Target("planted.undocumented_error", _undocumented, MALFORMED, these(b'{"member": [1, 2]}'), brief_runs=5000),
    Target("planted.written_otherwise", _lossy, (), these(b"text"), (written_exactly(bytes),), brief_runs=5000),
    Target("planted.nothing", lambda data: json_object(data, "planted"), MALFORMED, these(b"{}")),
)
