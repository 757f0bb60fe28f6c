"""A policy that nobody has run yet, run in a child process with bounded time and memory.

The native engine ends its process on some policies, and nothing in it bounds memory. The child's environment tells
nothing of its parent's, and it dies alone. Its memory is watched, not limited by the kernel: the engine's
allocator reserves far more address space than it ever uses, and does not start under a limit.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from verifier.policy.engine import PolicyError

MAX_MEMORY_BYTES = 512 * 1024 * 1024
MAX_CPU_SECONDS = 10
MAX_SECONDS = 60

# What the child needs to start and to write its scratch files.
_ENVIRONMENT = ("LD_LIBRARY_PATH", "TMPDIR")
# The child looks for this package where its parent found it, and nowhere else.
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from verifier.policy.sandbox import main; main()"


def review(kind: str, source: str, registered: list[str] | None) -> list[str]:
    """The warnings of `verifier.policy.review` for ``source``, found in a child. Raises `PolicyError`."""
    order = json.dumps({"kind": kind, "source": source, "registered": registered})
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        child = subprocess.run([sys.executable, "-I", "-c", _CHILD, json.dumps(sys.path)], input=order.encode(),
                               env=environment, capture_output=True, timeout=MAX_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise PolicyError("policy.cost", "the policy takes too long", expected=f"<= {MAX_SECONDS} s") from None
    if child.returncode != 0:
        raise PolicyError("policy.review", "the policy brings the engine down, or needs too much time or memory",
                          got=f"exit {child.returncode}")
    return _answer(child.stdout)


def _answer(output: bytes) -> list[str]:
    try:
        answer = json.loads(output)
        error, warnings = answer["error"], list(answer["warnings"])
    except (ValueError, TypeError, KeyError):
        raise PolicyError("policy.review", "the child that tried the policy gave no readable answer") from None
    if error:
        raise PolicyError(error["id"], error["detail"], expected=error["expected"], got=error["got"],
                          line=error["line"])
    return warnings


def main() -> None:
    """The child: reads one order from standard input, writes one answer to standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    Thread(target=_watch_memory, daemon=True).start()
    order = json.load(sys.stdin)
    json.dump({"error": None, "warnings": [], **_judged(order)}, sys.stdout)


def _watch_memory() -> None:
    """Ends the process once it uses too much; the engine runs without the interpreter lock, so this goes on.

    The kernel's record of the most ever used will not do: it begins with what the parent used.
    """
    page = resource.getpagesize()
    while int(Path("/proc/self/statm").read_text().split()[1]) * page < MAX_MEMORY_BYTES:
        time.sleep(0.01)
    os._exit(1)


def _judged(order: dict[str, Any]) -> dict[str, Any]:
    from verifier.policy.rego import RegoEngine
    from verifier.policy.review import review_attestation, review_release

    engine = RegoEngine(answers=0)  # what is measured is run
    try:
        if order["kind"] == "release":
            return {"warnings": review_release(engine, order["source"])}
        return {"warnings": review_attestation(engine, order["source"], order["registered"])}
    except PolicyError as error:
        return {"error": {"id": error.id, "detail": error.detail, "expected": error.expected, "got": error.got,
                          "line": error.line}}
