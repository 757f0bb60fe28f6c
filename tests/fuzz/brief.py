"""The short run of the test suite: few inputs for each target, the same ones every time, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.fuzz.seeds import PROJECT

RUN = PROJECT / "tests" / "fuzz" / "run.py"
NEEDS = ("atheris", "cbor2")
needs_atheris = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDS),
    reason="needs the package atheris: pip install --group fuzz")


@cache
def _same_addresses() -> tuple[str, ...]:
    """libFuzzer's choices depend on where objects lie: at the same places in every run, where the system allows it."""
    program = shutil.which("setarch")
    if program is None or subprocess.run([program, "-R", "true"], capture_output=True, check=False).returncode:
        return ()
    return program, "-R"


def run_briefly(reproducers: Path, *targets: str) -> None:
    """Run these targets or rooms; fails with what was found and where its reproducer is."""
    done = subprocess.run([*_same_addresses(), sys.executable, RUN, "--brief", "--reproducers", reproducers, *targets],
                          capture_output=True, text=True, check=False, cwd=PROJECT,
                          env=os.environ | {"PYTHONHASHSEED": "0"})
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert " ok\n" in done.stdout, done.stdout
