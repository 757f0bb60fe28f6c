"""Where the recorded evidence is, and what every room's tests share."""

from __future__ import annotations

import verifier.policy.native  # isort: skip # noqa: F401 - before numpy, see there

import json
import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# A busy machine is no finding: examples are bounded in number, not in milliseconds.
settings.register_profile("attestkit", deadline=None)
settings.load_profile("attestkit")


@dataclass(frozen=True)
class Corpus:
    """Recorded evidence of real hardware with verdicts; read in place, never copied."""

    root: Path

    @property
    def cases(self) -> list[dict[str, Any]]:
        """All cases of the index."""
        return _index(self.root)

    def of(self, *tees: str) -> list[dict[str, Any]]:
        """The cases of the given TEEs."""
        return [case for case in self.cases if case["tee"] in tees]

    def case(self, name: str) -> dict[str, Any]:
        """One case by its folder."""
        return next(case for case in self.cases if case["case"] == name)

    def folder(self, case: dict[str, Any] | str) -> Path:
        """Where a case's files are."""
        return self.root / (case if isinstance(case, str) else case["case"])


@cache
def _index(root: Path) -> list[dict[str, Any]]:
    return json.loads((root / "INDEX.json").read_text("utf-8"))


def corpus_root() -> Path:
    """`ATTESTKIT_EVIDENCE`, or ``shared/evidence`` beside the project."""
    told = os.environ.get("ATTESTKIT_EVIDENCE")
    return Path(told) if told else Path(__file__).resolve().parents[2] / "shared" / "evidence"


def pytest_report_header() -> str:
    root = corpus_root()
    return f"recorded evidence: {root}" if root.is_dir() else "recorded evidence: MISSING (set ATTESTKIT_EVIDENCE)"


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    root = corpus_root()
    if not root.is_dir():
        pytest.skip("no recorded evidence: set ATTESTKIT_EVIDENCE to its folder")
    return Corpus(root)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``@pytest.mark.corpus("tdx", "sgx")`` runs a test once per recorded case (argument ``case``)."""
    marker = metafunc.definition.get_closest_marker("corpus")
    if marker is None or "case" not in metafunc.fixturenames:
        return
    root = corpus_root()
    cases = Corpus(root).of(*marker.args) if root.is_dir() else []
    metafunc.parametrize("case", cases, ids=[case["case"] for case in cases])


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Nothing but tests marked ``network`` reaches beyond this machine, by a socket or by resolving a name."""
    if request.node.get_closest_marker("network"):
        return
    monkeypatch.setenv("ATTESTKIT_OFFLINE", "1")
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not _is_here(address[0]):
            raise PermissionError(f"a test reached for {address[0]}")
        connect(self, address)

    def resolve_here(host: Any, *more: Any, **named: Any) -> Any:
        if host is not None and not _is_here(host):
            raise socket.gaierror(f"a test asked for {host}")
        return resolve(host, *more, **named)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)


def _is_here(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name == "localhost" or name.startswith("127.") or name == "::1"
