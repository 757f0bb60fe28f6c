"""What a record may hold."""

from __future__ import annotations

import json

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from kbs.audit.record import MAX_TEXT, Entry, Kind, Outcome, plain

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KEYS = st.text(st.characters(codec="ascii"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2**53 + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)


@given(VALUES)
def test_body_is_canonical_json_as_in_rfc_8785(decision):
    body = Entry(Kind.ADMIN, Outcome.ALLOWED, decision=decision).body()
    assert body == rfc8785.dumps(json.loads(body))


def test_long_texts_lists_and_depths_are_cut():
    deep = []
    for _ in range(100):
        deep = [deep]
    told = plain({"text": "x" * 100_000, "bytes": bytes(100_000), "list": list(range(100_000)), "deep": deep})
    assert len(told["text"]) == len(told["bytes"]) == MAX_TEXT + 1
    assert len(told["list"]) == 512
    assert len(json.dumps(told)) < 10_000


def test_integers_that_other_languages_would_round_are_text():
    assert plain([2**53, -2**53, 2**53 - 1, True]) == [str(2**53), str(-2**53), 2**53 - 1, True]


def test_unknown_values_become_text():
    assert plain({"kind": Kind.ADMIN, 3: b"\xff"}) == {"kind": "admin", "3": "ff"}
