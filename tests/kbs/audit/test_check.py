"""Everything that can be done to a log is found."""

from __future__ import annotations

import random

import pytest

from kbs.audit.check import check
from kbs.audit.record import GENESIS, Entry, Head, Kind, Outcome, Record, next_record

KEY = bytes(range(32))


def chain(count, key=KEY):
    records, previous = [], GENESIS
    for seq in range(1, count + 1):
        body = Entry(Kind.RELEASE, Outcome.ALLOWED, subject={"resource": f"a/b/{seq}"}).body()
        records.append(next_record(previous, seq, 1000 + seq, "release", body))
        previous = records[-1].hash
    return records, Head.at(count, previous, key)


def ids(records, head, key=KEY, known=()):
    return {finding.id for finding in check(records, head, key, known).findings}


def altered(record, **changes):
    members = {name: getattr(record, name) for name in ("seq", "at", "kind", "body", "previous", "hash")}
    return Record(**(members | changes))


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_untouched_log_has_no_findings(count):
    assert ids(*chain(count)) == set()


@pytest.mark.parametrize("where", [0, 3, 8])
@pytest.mark.parametrize("change", [
    {"at": 5}, {"kind": "admin"}, {"body": b'{"outcome":"allowed"}'}, {"hash": bytes(32)}, {"previous": b"x" * 32},
])
def test_changed_record_is_found_at_its_place(where, change):
    records, head = chain(9)
    records[where] = altered(records[where], **change)
    report = check(records, head, KEY)
    assert "audit.record.hash" in {finding.id for finding in report.findings}
    assert min(finding.seq for finding in report.findings if finding.seq) == where + 1


def test_every_changed_byte_of_a_body_is_found():
    records, head = chain(3)
    for position in range(len(records[1].body)):
        body = bytearray(records[1].body)
        body[position] ^= 1
        assert "audit.record.hash" in ids([records[0], altered(records[1], body=bytes(body)), records[2]], head)


def test_record_rewritten_with_a_fresh_hash_breaks_the_next_link():
    records, head = chain(5)
    forged = next_record(records[1].previous, 3, 1, "release", b'{"forged":1}')
    records[2] = altered(forged, previous=records[2].previous)
    assert "audit.record.hash" in ids(records, head)
    records[2] = next_record(records[1].hash, 3, 1, "release", b'{"forged":1}')
    report = check(records, head, KEY)
    assert [(f.id, f.seq) for f in report.findings] == [("audit.record.previous", 4)]


def test_whole_tail_rewritten_without_the_key_is_found_at_the_head():
    records, _ = chain(5)
    forged, previous = records[:2], records[1].hash
    for seq in (3, 4, 5):
        forged.append(next_record(previous, seq, 1, "release", b"{}"))
        previous = forged[-1].hash
    genuine = chain(5)[1]
    assert ids(forged, genuine) == {"audit.head.hash"}
    assert ids(forged, Head(5, previous, genuine.mac)) == {"audit.head.mac"}
    assert ids(forged, Head.at(5, previous, bytes(32))) == {"audit.head.mac"}


@pytest.mark.parametrize("gone", range(9))
def test_removed_record_is_found(gone):
    records, head = chain(9)
    del records[gone]
    found = ids(records, head)
    assert "audit.head.count" in found
    assert ("audit.head.hash" if gone == 8 else "audit.record.sequence") in found


@pytest.mark.parametrize("kept", range(9))
def test_cut_tail_is_found(kept):
    records, head = chain(9)
    assert ids(records[:kept], head) == {"audit.head.count", "audit.head.hash"}
    assert "audit.head.mac" in ids(records[:kept], Head(kept, records[kept - 1].hash if kept else GENESIS, head.mac))


def test_every_swap_of_two_records_is_found():
    records, head = chain(6)
    for a in range(6):
        for b in range(a + 1, 6):
            swapped = list(records)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            assert "audit.record.sequence" in ids(swapped, head)
            renumbered = [altered(record, seq=n) for n, record in enumerate(swapped, 1)]
            assert "audit.record.hash" in ids(renumbered, head)


def test_doubled_and_inserted_records_are_found():
    records, head = chain(4)
    assert "audit.record.sequence" in ids([*records[:2], records[1], *records[2:]], head)
    extra = next_record(records[-1].hash, 5, 1, "release", b"{}")
    assert ids([*records, extra], head) == {"audit.head.count", "audit.head.hash"}


def test_shortened_log_with_its_own_old_head_is_found_by_a_hash_noted_elsewhere():
    records, head = chain(9)
    _, old = chain(5)
    assert ids(records[:5], old) == set()
    assert ids(records[:5], old, known=[head.hash]) == {"audit.known.absent"}
    assert ids(records, head, known=[records[4].hash, head.hash]) == set()


def test_log_without_its_key_is_proved_by_the_noted_head_only():
    records, head = chain(3)
    assert ids(records, head, key=None) == {"audit.head.unproved"}
    assert ids(records, head, key=None, known=[head.hash]) == set()
    assert ids(records, head, key=None, known=[records[1].hash]) == {"audit.head.unproved"}


@pytest.mark.parametrize("seq", [-1, 2**70])
def test_impossible_numbers_are_findings_not_crashes(seq):
    records, head = chain(2)
    assert "audit.record.hash" in ids([altered(records[0], seq=seq), records[1]], head)
    assert "audit.head.mac" in ids(records, Head(seq, head.hash, head.mac))


def test_findings_are_bounded():
    records, head = chain(400)
    broken = [altered(record, body=b"{}") for record in records]
    assert len(check(broken, head, KEY).findings) == 100


def test_no_two_different_records_share_the_hashed_bytes():
    random.seed(7)
    seen = {}
    for _ in range(2000):
        kind = "".join(random.choices("ab", k=random.randint(0, 3)))
        body = "".join(random.choices("ab", k=random.randint(0, 3))).encode()
        seen.setdefault(next_record(GENESIS, 1, 1, kind, body).hash, set()).add((kind, body))
    assert all(len(group) == 1 for group in seen.values())
