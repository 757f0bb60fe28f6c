"""Cookies that carry their own challenge."""

from __future__ import annotations

import base64
import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbs.errors import SessionInvalid, StorageError
from kbs.sessions.challenge import Challenges

KEY = bytes(range(32))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def challenges():
    return Challenges(KEY, lifetime=300)


def refusal(challenges, cookie, at=1000):
    with pytest.raises(SessionInvalid) as refused:
        challenges.open(cookie, at)
    return refused.value.id


def test_cookie_gives_back_its_challenge(challenges):
    issued, cookie = challenges.issue("tdx", at=1000)
    assert challenges.open(cookie, at=1000) == issued
    assert (issued.tee, issued.expires_at, len(issued.nonce)) == ("tdx", 1300, 32)


def test_another_worker_with_the_same_key_opens_it(challenges):
    issued, cookie = challenges.issue("az-snp-vtpm", at=1000)
    assert Challenges(KEY, lifetime=1).open(cookie, at=1299) == issued


@pytest.mark.parametrize("at", [1300, 1301, 2**40])
def test_expired_cookie_is_refused(challenges, at):
    _, cookie = challenges.issue("tdx", at=1000)
    assert refusal(challenges, cookie, at) == "session.expired"


def test_cookie_of_another_key_is_refused(challenges):
    _, cookie = Challenges(bytes(32), 300).issue("tdx", at=1000)
    assert refusal(challenges, cookie) == "session.forged"


def test_every_altered_character_is_refused(challenges):
    _, cookie = challenges.issue("tdx", at=1000)
    for position, character in enumerate(cookie):
        for other in ALPHABET.replace(character, ""):
            altered = cookie[:position] + other + cookie[position + 1:]
            assert refusal(challenges, altered) in ("session.forged", "session.malformed")


def test_every_prefix_and_extension_is_refused(challenges):
    _, cookie = challenges.issue("tdx", at=1000)
    for size in range(len(cookie)):
        assert refusal(challenges, cookie[:size]) in ("session.forged", "session.malformed")
    for more in ("A", "AAAA", "=", " ", "\n"):
        assert refusal(challenges, cookie + more) in ("session.forged", "session.malformed")


@given(st.text(max_size=600) | st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).rstrip(b"=").decode()))
def test_no_text_raises_anything_but_the_documented_error(cookie):
    assert refusal(Challenges(KEY, 300), cookie) in ("session.forged", "session.malformed")


def test_nonces_and_ids_are_all_different(challenges):
    issued = [challenges.issue("tdx", at=1000)[0] for _ in range(5000)]
    assert len({challenge.nonce for challenge in issued}) == 5000
    assert len({challenge.id for challenge in issued}) == 5000


def first_nonce(queue):
    queue.put(Challenges(KEY, 300).issue("tdx", 1)[0].nonce)


def test_forked_processes_draw_different_nonces():
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    children = [fork.Process(target=first_nonce, args=(queue,)) for _ in range(8)]
    for child in children:
        child.start()
    nonces = {queue.get(timeout=30) for _ in children}
    for child in children:
        child.join(30)
    assert len(nonces) == 8


def test_token_opens_with_its_own_cookie_only(challenges):
    mine, cookie = challenges.issue("tdx", at=1000)
    other, _ = challenges.issue("tdx", at=1000)
    sealed = mine.seal("head.body.signature")
    assert b"body" not in sealed
    assert challenges.open(cookie, 1000).open(sealed) == "head.body.signature"
    for altered in (sealed[:-1], sealed[:-1] + b"\x00", b"", bytes(12)):
        with pytest.raises(StorageError) as refused:
            mine.open(altered)
        assert refused.value.id == "session.token"
    with pytest.raises(StorageError):
        other.open(sealed)


def test_proof_is_not_shown(challenges):
    issued, _ = challenges.issue("tdx", at=1000)
    assert "proof" not in repr(issued)
