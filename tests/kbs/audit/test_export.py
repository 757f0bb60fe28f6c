"""A copy of the log is checked like the log itself."""

from __future__ import annotations

import io
import json

import pytest

from kbs.audit import export
from kbs.audit.check import check
from kbs.audit.record import GENESIS, Entry, Head, Kind, Outcome, next_record
from kbs.errors import SetupError

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def copy():
    records, previous = [], GENESIS
    for seq in range(1, 4):
        body = Entry(Kind.RELEASE, Outcome.ALLOWED, subject={"resource": f"a/b/{seq}", "name": "é"}).body()
        records.append(next_record(previous, seq, 1000 + seq, "release", body))
        previous = records[-1].hash
    return b"".join(export.write(records, Head.at(3, previous, KEY)))


def findings(copy):
    """The ids of what is wrong with a copy, whether its lines are unreadable or its chain broken."""
    try:
        records, head = export.read(io.BytesIO(copy))
        return {finding.id for finding in check(records, head, KEY).findings}
    except SetupError as error:
        return {error.id}


def test_copy_is_intact_and_each_line_is_json(copy):
    assert findings(copy) == set()
    lines = [json.loads(line) for line in copy.splitlines()]
    assert lines[0]["body"]["subject"] == {"resource": "a/b/1", "name": "é"}
    assert lines[-1]["count"] == 3


def test_every_changed_bit_is_found(copy):
    missed = []
    for position in range(len(copy) * 8):
        altered = bytearray(copy)
        altered[position // 8] ^= 1 << position % 8
        if not findings(bytes(altered)):
            missed.append(position)
    assert missed == []


def test_every_truncation_is_found(copy):
    assert [size for size in range(len(copy)) if not findings(copy[:size])] == []


def test_removed_and_reordered_lines_are_found(copy):
    lines = copy.splitlines(keepends=True)
    for n in range(3):
        assert findings(b"".join(lines[:n] + lines[n + 1:]))
    assert findings(lines[1] + lines[0] + lines[2] + lines[3])
    assert findings(b"".join(lines[:3])) == {"audit.copy.head"}
    assert findings(copy + b"\n") == {"audit.copy.head"}
    assert findings(copy + lines[3]) == {"audit.copy.line"}


@pytest.mark.parametrize("spaced", [
    lambda c: c.replace(b'"seq":1', b'"seq": 1'), lambda c: c.replace(b'{"seq":1,', b'{"at":1001,"seq":1,'),
    lambda c: b"\n" + c, lambda c: c.replace(b"}\n{", b"}\r\n{"),
])
def test_lines_leave_no_freedom(copy, spaced):
    altered = spaced(copy)
    assert altered != copy
    assert findings(altered) == {"audit.copy.line"}


def test_empty_log_has_an_intact_copy():
    assert findings(b"".join(export.write([], Head.at(0, GENESIS, KEY)))) == set()
    assert findings(b"") == {"audit.copy.head"}
