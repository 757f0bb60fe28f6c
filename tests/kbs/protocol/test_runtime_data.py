"""Report data: every byte of the challenge and of the key is in it, in one canonical form."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from kbs.errors import MalformedAnswer, UnsupportedTee
from kbs.protocol.messages import Challenge, Request
from kbs.protocol.runtime_data import (
    REPORT_DATA_BYTES,
    UNSIZED,
    HashAlgorithm,
    device_digest,
    hash_offer,
    primary_digest,
    report_data_for,
    selected_hash,
    workload_digest,
)
from verifier.evidence import Tee

KEY = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "eHg", "y": "eXk"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def test_primary_digest_is_over_sorted_members_without_white_space() -> None:
    text = ('{"additional-evidence":"","nonce":"bm9uY2U=","tee-pubkey":'
            '{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eHg","y":"eXk"}}')
    assert primary_digest("bm9uY2U=", KEY) == hashlib.sha384(text.encode()).digest()


def test_device_digest_has_no_member_for_additional_evidence() -> None:
    text = ('{"nonce":"bm9uY2U=","tee-pubkey":'
            '{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eHg","y":"eXk"}}')
    assert device_digest("bm9uY2U=", KEY) == hashlib.sha384(text.encode()).digest()


@pytest.mark.parametrize(("algorithm", "size"), [("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_hash_is_selectable(algorithm: str, size: int) -> None:
    digest = primary_digest("n", KEY, "", HashAlgorithm(algorithm))
    assert len(digest) == size


def test_canonical_form_is_that_of_rfc_8785() -> None:
    # RFC 8785 section 3.2.2 and 3.2.3: numbers, escapes and the order of UTF-16 code units.
    value = {"numbers": [333333333.33333329, 1e30, 4.5, 2e-3, 1e-27],
             "string": "\u20ac$\u000f\nA'B\"\\\\\"/", "literals": [None, True, False]}
    assert rfc8785.dumps(value).hex() == (
        "7b226c69746572616c73223a5b6e756c6c2c747275652c66616c73655d2c226e756d62657273223a5b3333333333333333332e33333333"
        "3333332c31652b33302c342e352c302e3030322c31652d32375d2c22737472696e67223a22e282ac245c75303030665c6e4127425c225c"
        "5c5c5c5c222f227d")
    order = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    assert list(json.loads(rfc8785.dumps(order))) == ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("changed", [
    {"alg": "RSA-OAEP-256"}, {"kty": "RSA"}, {"crv": "P-384"}, {"x": "eHk"}, {"use": "enc"}, {"Alg": "x"},
])
def test_every_member_of_the_key_is_bound(changed: dict[str, str]) -> None:
    assert primary_digest("n", KEY | changed) != primary_digest("n", KEY)
    assert device_digest("n", KEY | changed) != device_digest("n", KEY)


def test_order_of_members_does_not_matter() -> None:
    assert primary_digest("n", dict(reversed(KEY.items()))) == primary_digest("n", KEY)


@given(st.tuples(TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS))
def test_different_inputs_have_different_encodings(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    def digests(nonce: str, x: str, additional: str) -> tuple[bytes, bytes]:
        return primary_digest(nonce, {"x": x}, additional), device_digest(nonce, {"x": x})

    assert (digests(*one)[0] == digests(*other)[0]) == (one == other)
    assert (digests(*one)[1] == digests(*other)[1]) == (one[:2] == other[:2])


@given(TEXTS, TEXTS, st.integers(0, 12))
def test_characters_moved_across_a_border_change_the_digest(nonce: str, x: str, cut: int) -> None:
    joined = nonce + x
    assert (primary_digest(joined[:cut], {"x": joined[cut:]}) == primary_digest(nonce, {"x": x})) == (
        joined[:cut] == nonce)


@given(st.binary(max_size=64), TEXTS)
def test_evidence_for_a_workload_opens_no_handshake(data: bytes, nonce: str) -> None:
    assert workload_digest(data) not in (primary_digest(nonce, KEY), device_digest(nonce, KEY))


def test_workload_digest_of_runtime_data_itself_is_another() -> None:
    text = rfc8785.dumps({"additional-evidence": "", "nonce": "n", "tee-pubkey": KEY})
    assert workload_digest(text) != primary_digest("n", KEY)


@pytest.mark.parametrize("tee", ["tdx", "sgx", "snp", "cca", "csv"])
def test_hardware_report_data_is_the_digest_then_zeros(tee: str) -> None:
    digest = primary_digest("n", KEY)
    assert report_data_for(tee, digest) == digest + bytes(16)
    assert report_data_for(tee, bytes(64)) == bytes(64)


@pytest.mark.parametrize("tee", ["nvidia", "tpm"])
@pytest.mark.parametrize("size", [32, 48, 64])
def test_narrow_report_data_is_the_beginning_of_the_digest(tee: str, size: int) -> None:
    digest = bytes(range(size))
    assert report_data_for(tee, digest) == bytes(range(32))


@pytest.mark.parametrize("tee", ["sample", "az-snp-vtpm", "az-tdx-vtpm", "nitro"])
@pytest.mark.parametrize("size", [32, 48, 64])
def test_report_data_without_a_size_is_the_digest(tee: str, size: int) -> None:
    assert report_data_for(tee, b"d" * size) == b"d" * size


def test_a_digest_beyond_a_wide_field_is_a_fault() -> None:
    with pytest.raises(ValueError, match="longer than the report data"):
        report_data_for("tdx", bytes(65))


def test_every_tee_has_one_placement() -> None:
    assert {*REPORT_DATA_BYTES, *UNSIZED} == {str(tee) for tee in Tee}
    assert not UNSIZED & REPORT_DATA_BYTES.keys()


def test_tee_without_placement_is_refused() -> None:
    with pytest.raises(UnsupportedTee) as caught:
        report_data_for("abacus", bytes(48))
    assert caught.value.id == "protocol.report_data.tee"


OFFER = Request(tee="tdx", extra_params=hash_offer([HashAlgorithm.SHA384, HashAlgorithm.SHA512]))


@pytest.mark.parametrize("extra", ["", None, {}])
def test_silent_broker_means_sha384(extra: Any) -> None:
    assert selected_hash(OFFER, Challenge(nonce="n", extra_params=extra)) is HashAlgorithm.SHA384


def test_selected_hash_is_taken() -> None:
    challenge = Challenge(nonce="n", extra_params={"selected-hash-algorithm": "sha512"})
    assert selected_hash(OFFER, challenge) is HashAlgorithm.SHA512


@pytest.mark.parametrize("extra", [
    {"selected-hash-algorithm": "sha256"}, {"selected-hash-algorithm": "md5"}, {"selected-hash-algorithm": None},
    {"selected-hash-algorithm": ["sha384"]}, {"other": 1}, "sha512", ["sha512"], 0,
])
def test_hash_that_was_not_offered_is_refused(extra: Any) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        selected_hash(OFFER, Challenge(nonce="n", extra_params=extra))
    assert caught.value.id == "protocol.challenge.hash"


@given(st.text(st.characters(codec="ascii"), max_size=20) | TEXTS,
       st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8) | TEXTS, TEXTS, max_size=6))
def test_digest_is_over_rfc_8785_whatever_the_texts(nonce: str, key: dict[str, str]) -> None:
    text = rfc8785.dumps({"nonce": nonce, "tee-pubkey": key})
    assert device_digest(nonce, key) == hashlib.sha384(text).digest()
