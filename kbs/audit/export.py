"""The log as JSON lines, one record per line and the head last; a copy is checked like the log itself.

Lines hold no freedom: what is read must be byte for byte what would be written, so a changed space is found too.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, BinaryIO

import msgspec

from kbs.audit.record import Head, Record
from kbs.errors import SetupError

MAX_LINE_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 1024

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _RecordLine(msgspec.Struct, forbid_unknown_fields=True):
    seq: _Count
    at: _Count
    kind: str
    previous: str
    hash: str
    body: msgspec.Raw


class _HeadLine(msgspec.Struct, forbid_unknown_fields=True):
    count: _Count
    head: str
    mac: str


def write(records: Iterable[Record], head: Head) -> Iterator[bytes]:
    """Each record's line in order, then the head's."""
    for record in records:
        line = _RecordLine(record.seq, record.at, record.kind, record.previous.hex(), record.hash.hex(),
                           msgspec.Raw(record.body))
        yield msgspec.json.encode(line) + b"\n"
    yield msgspec.json.encode(_HeadLine(head.count, head.hash.hex(), head.mac.hex())) + b"\n"


def read(copy: BinaryIO) -> tuple[Iterator[Record], Head]:
    """The records, read as they are asked for, and the head of a copy; unchecked.

    Both raise `SetupError` naming what is not one of our lines.
    """
    size = copy.seek(0, io.SEEK_END)
    start = copy.seek(max(0, size - _TAIL_BYTES))
    tail = copy.read(_TAIL_BYTES)
    last = tail[tail.rfind(b"\n", 0, -1) + 1:]
    if not last.startswith(b'{"count":'):
        raise SetupError("audit.copy.head", "the copy does not end with the log's head: it was cut")
    copy.seek(0)
    return _records(copy, start + len(tail) - len(last)), _head(last, 0)


def _records(copy: BinaryIO, end: int) -> Iterator[Record]:
    number = position = 0
    while position < end:
        line = copy.readline(MAX_LINE_BYTES)
        number, position = number + 1, position + len(line)
        yield _record(line, number)


def _record(line: bytes, number: int) -> Record:
    value = _decoded(_RECORD, line, number)
    return Record(value.seq, value.at, value.kind, bytes(value.body), _digest(value.previous, number),
                  _digest(value.hash, number))


def _head(line: bytes, number: int) -> Head:
    value = _decoded(_HEAD, line, number)
    return Head(value.count, _digest(value.head, number), _digest(value.mac, number))


def _decoded(decoder: Any, line: bytes, number: int) -> Any:
    try:
        value = decoder.decode(line)
        exact = msgspec.json.encode(value) + b"\n" == line
    except (ValueError, RecursionError):
        raise _unreadable(number, "it is not a record") from None
    if not exact:
        raise _unreadable(number, "it is not written as the log writes")
    return value


def _digest(text: str, number: int) -> bytes:
    if len(text) != 64 or text.strip("0123456789abcdef"):
        raise _unreadable(number, "it holds no SHA-256 digest where one is due")
    return bytes.fromhex(text)


def _unreadable(number: int, why: str) -> SetupError:
    which = f"line {number}" if number else "the last line"
    return SetupError("audit.copy.line", f"{which} of the copy was changed: {why}", got=number or None)


_RECORD = msgspec.json.Decoder(_RecordLine)
_HEAD = msgspec.json.Decoder(_HeadLine)
