"""What a fuzz target is, and what counts as a finding.

Rules of the room: a target takes any bytes whatever and lets nothing out but a `Finding`. An error that the parser's
own docstring names is a good answer; every other exception is a finding, an `AssertionError` or `RecursionError`
included, and so is a value that is not written again as it was read. Targets are rows of visible tables
(`targets_<room>`); a row says how to parse, which errors may leave the parser, where the first inputs come from and
what else must hold.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from verifier.errors import EvidenceError, MalformedCollateral, MalformedEvidence, SetupError

Seeds = Callable[[], Iterable[bytes]]
Property = Callable[[bytes, Any], None]

# The documented errors, by how docstrings speak of them.
MALFORMED = (MalformedEvidence,)
EVIDENCE = (EvidenceError,)
COLLATERAL = (MalformedCollateral,)
SETUP = (SetupError,)

_MAGIC = b"parts/1\n"
MAX_PARTS = 32


class Finding(Exception):
    """A property does not hold. What the parser itself raised stands behind it as the cause."""


@dataclass(frozen=True)
class Target:
    """One row.

    name: ``<room>.<parser>``. parse: what is fuzzed. errors: what may leave it. seeds: the first inputs. holds: further
    properties, each called with the input and what was parsed. brief_runs: how many inputs the test suite tries.
    """

    name: str
    parse: Callable[[bytes], Any]
    errors: tuple[type[Exception], ...]
    seeds: Seeds
    holds: Sequence[Property] = field(default=())
    brief_runs: int = 1000

    def __call__(self, data: bytes) -> bool:
        """Try one input; True when it was parsed. Raises `Finding`."""
        try:
            parsed = self.parse(data)
        except self.errors:
            return False
        except Finding:
            raise
        except Exception as error:
            raise Finding(f"{self.name}: {type(error).__name__} is no documented error") from error
        for property_ in self.holds:
            self._hold(property_, data, parsed)
        return True

    def _hold(self, property_: Property, data: bytes, parsed: Any) -> None:
        try:
            property_(data, parsed)
        except Finding:
            raise
        except Exception as error:
            raise Finding(f"{self.name}: what was parsed cannot be used ({type(error).__name__})") from error


def written_exactly(write: Callable[[Any], bytes] = lambda value: value.to_bytes(),
                    of: Callable[[bytes, Any], bytes] = lambda data, _: data) -> Property:
    """What was read is written as the very bytes that it was read from; ``of`` cuts off what belongs to nobody."""
    def check(data: bytes, parsed: Any) -> None:
        if write(parsed) != of(data, parsed):
            raise Finding("to_bytes(from_bytes(x)) is not x")
    return check


def written_again(read: Callable[[bytes], Any],
                  write: Callable[[Any], bytes] = lambda value: value.to_bytes()) -> Property:
    """Where one value has several encodings: what is written is read as the same value, and written the same again."""
    def check(_: bytes, parsed: Any) -> None:
        once = write(parsed)
        again = read(once)
        if again != parsed or write(again) != once:
            raise Finding("from_bytes(to_bytes(value)) is not value")
    return check


def never(*errors: type[Exception]) -> tuple[type[Exception], ...]:
    """For a parser that has no documented error, and for `Target.errors` made of several groups."""
    return errors


# -- inputs of several parts ------------------------------------------------------------------------------------------


def pack(parts: Iterable[bytes]) -> bytes:
    """Several byte strings as one input: a line that says so, then each behind its length (4 bytes, little-endian)."""
    return _MAGIC + b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def unpack(data: bytes) -> list[bytes] | None:
    """The parts again; None when ``data`` is not in that form. The last part may be cut short, as inputs are."""
    if not data.startswith(_MAGIC):
        return None
    parts, rest = list[bytes](), data[len(_MAGIC):]
    while rest and len(parts) < MAX_PARTS:
        size = int.from_bytes(rest[:4], "little")
        parts.append(rest[4:4 + size])
        rest = rest[4 + size:]
    return parts


def of_parts(parse: Callable[..., Any], count: int) -> Callable[[bytes], Any]:
    """A parser of exactly ``count`` byte strings; other inputs give None."""
    def run(data: bytes) -> Any:
        parts = unpack(data)
        return parse(*parts) if parts is not None and len(parts) == count else None
    return run


def pack_files(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Named files as one input."""
    return pack(name.encode() + b"\x00" + content for name, content in files)


def unpack_files(data: bytes, names: Sequence[str]) -> dict[str, bytes]:
    """Named files again, of those names only. A pattern (``*.pb``) stands for a file that fits it."""
    found = {}
    for part in unpack(data) or []:
        name, _, content = part.partition(b"\x00")
        told = name.decode("ascii", "replace")
        if told in names:
            found[told.replace("*", "x")] = content
    return found


@cache
def scratch() -> Path:
    """A folder of this process's own, for parsers that want a file."""
    folder = Path(tempfile.mkdtemp(prefix="attestkit-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def of_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A reader of a file of that name, given its bytes."""
    def run(data: bytes) -> Any:
        path = scratch() / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return read(path)
    return run


def text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """A parser of text, given bytes; what is no UTF-8 comes as Latin-1, so that every input is some text."""
    def run(data: bytes) -> Any:
        try:
            return parse(data.decode("utf-8"))
        except UnicodeDecodeError:
            return parse(data.decode("latin-1"))
    return run
