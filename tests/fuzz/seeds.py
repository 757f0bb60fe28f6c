"""Where first inputs come from: recorded evidence, the recordings of this project, and the software makers.

Recorded evidence is read where it lies (`ATTESTKIT_EVIDENCE`, by default ``shared/evidence`` beside the project) and is
simply absent where there is none. What the makers make comes from a seed: the same every time.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

AT = 1_780_000_000
SEED = b"attestkit fuzzing, version 1"
PROJECT = Path(__file__).resolve().parents[2]
RECORDINGS = PROJECT / "fixtures" / "recordings"
# As in tests/conftest.py, which cannot be imported beside Atheris: it loads the policy engine.
RECORDED = Path(os.environ.get("ATTESTKIT_EVIDENCE") or PROJECT.parent / "shared" / "evidence")
MAX_SEED_BYTES = 512 * 1024
MAX_FILES = 64  # of one pattern

Bytes = Callable[[], Iterable[bytes]]


def recorded(*patterns: str) -> Bytes:
    """The recorded files whose path fits, ``*`` as in a shell: ``snp/*/report.bin``."""
    return lambda: (path.read_bytes() for path in _paths(RECORDED, patterns))


def made(*patterns: str) -> Bytes:
    """As `recorded`, among the project's own recordings."""
    return lambda: (path.read_bytes() for path in _paths(RECORDINGS, patterns))


def _paths(root: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for pattern in patterns:
        fitting = (path for path in sorted(root.glob(pattern)) if path.is_file())
        yield from islice((path for path in fitting if path.stat().st_size <= MAX_SEED_BYTES), MAX_FILES)


def these(*seeds: bytes) -> Bytes:
    """Just these."""
    return lambda: seeds


def many(*groups: Bytes) -> Bytes:
    """Several together."""
    return lambda: (seed for group in groups for seed in group())


def lazily(make: Callable[[], Iterable[bytes]]) -> Bytes:
    """What costs something to make, made once."""
    return cache(lambda: tuple(make()))


def within(seeds: Bytes, take: Callable[[bytes], Iterable[bytes]], *errors: type[Exception]) -> Bytes:
    """What ``take`` finds inside each seed; seeds that it does not read are passed over."""
    def inside() -> Iterator[bytes]:
        for seed in seeds():
            try:
                yield from tuple(take(seed))
            except errors:
                continue
    return lazily(inside)


def as_json(value: Any) -> bytes:
    """Compact JSON, byte strings as base64."""
    return json.dumps(value, separators=(",", ":"), default=lambda data: base64.b64encode(data).decode()).encode()


@cache
def tee() -> Any:
    """A software TEE of every maker."""
    from verifier.software_tee.maker import TEES, SoftwareTee

    return SoftwareTee.create(SEED, at=AT, tees=TEES)


@cache
def evidence(kind: str) -> Any:
    """What the software TEE's attester of that kind hands over."""
    from verifier.software_tee.makers import REPORT_DATA_SIZES

    return tee().evidence(kind, bytes(range(REPORT_DATA_SIZES.get(kind, 64))))


def quote(*kinds: str) -> Bytes:
    """`Evidence.quote` of the software TEE's evidence."""
    return lambda: (evidence(kind).quote for kind in kinds)


def published(kind: str, *suffixes: str) -> Bytes:
    """What the makers publish for that TEE, of files with these suffixes."""
    def files() -> Iterator[bytes]:
        maker = tee().maker(kind)
        for name, data in (maker.collateral_files() | maker.roots()).items():
            if not suffixes or name.endswith(suffixes):
                yield data
    return lazily(files)


@cache
def event_log() -> bytes:
    """The log of a TD that never booted."""
    from verifier.software_tee.event_log import SoftwareLog

    return SoftwareLog().to_bytes()


@cache
def cert_table() -> bytes:
    """The table that a host hands to a guest, of a recording's certificates."""
    from verifier.formats.snp_cert_table import ASK, VCEK, CertEntry, CertTable

    folder = RECORDINGS / "snp" / "accepted-v3-milan-vcek"
    return CertTable((CertEntry(VCEK, (folder / "vcek.der").read_bytes()),
                      CertEntry(ASK, (folder / "ask.der").read_bytes()))).to_bytes()
