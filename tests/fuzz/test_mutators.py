"""Mutations inside a form keep the form, so that they reach what lies behind it."""

from __future__ import annotations

import base64
import json
from random import Random

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import seeds
from tests.fuzz.harness import pack, unpack
from tests.fuzz.mutators import Mutator
from verifier.formats import der
from verifier.formats.reader import Reader

CERTIFICATE = (seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/vcek.der").read_bytes()
DOCUMENT = {"quote": base64.b64encode(b"a quote" * 9).decode(), "list": [1, 2, {"hex": "00ff" * 8}], "text": "a b"}
SEEDS = 300


def shorter(data: bytes, limit: int) -> bytes:
    """In place of libFuzzer's own mutation."""
    return (data[1:] + b"\x5a")[:limit]


MUTATOR = Mutator(shorter)


def inside(data: bytes) -> list[bytes]:
    return [MUTATOR.inside(data, Random(seed), 0) for seed in range(SEEDS)]


def fraction(results: list[bytes], holds) -> float:
    return sum(map(holds, results)) / len(results)


def is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict | list)
    except ValueError:
        return False


def is_der(data: bytes) -> bool:
    reader = Reader(data, "der", order="big")
    try:
        while reader.remaining:
            der.element(reader)
    except Exception:
        return False
    return True


@pytest.mark.parametrize(("data", "holds"), [
    (json.dumps(DOCUMENT).encode(), is_json), (CERTIFICATE, is_der),
    (cbor2.dumps({1: b"bytes", "list": [1, {2: "text"}]}), lambda data: bool(cbor2.loads(data)) or True),
    (pack([b"one", b"{}", CERTIFICATE]), lambda data: unpack(data) is not None)])
def test_most_mutations_keep_the_form_and_change_something(data, holds):
    found = inside(data)
    assert fraction(found, lambda one: one != data) > 0.9
    assert fraction([one for one in found if one[:1] == data[:1]], holds) > 0.85
    assert len(set(found)) > 20


def test_base64_and_certificates_are_mutated_inside():
    document = json.dumps({"quote": base64.b64encode(CERTIFICATE).decode()}).encode()
    decoded = []
    for one in filter(is_json, inside(document)):
        value = json.loads(one)
        if isinstance(value, dict) and isinstance(value.get("quote"), str) and len(value["quote"]) > 200:
            decoded.append(base64.b64decode(value["quote"] + "=="))
    assert len(decoded) > SEEDS / 3
    assert fraction(decoded, is_der) > 0.6


def test_a_pem_block_stays_one():
    pem = x509.load_der_x509_certificate(CERTIFICATE).public_bytes(Encoding.PEM)
    blocks = [one for one in inside(pem) if one.startswith(b"-----BEGIN CERTIFICATE-----\n")]
    assert len(blocks) > SEEDS / 2
    assert all(one.rstrip().endswith(b"-----END CERTIFICATE-----") for one in blocks)


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_any_input_is_mutated_within_the_limit_and_the_same_each_time(data, seed):
    found = MUTATOR(data, 64, seed)
    assert len(found) <= 64
    assert MUTATOR(data, 64, seed) == found


@given(st.integers(0, 5), st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_what_is_almost_cbor_is_mutated_too(kind, data, seed):
    """Tags 0 to 5 make dates, big numbers and decimals of whatever follows them."""
    assert isinstance(MUTATOR(bytes((0xC0 + kind,)) + data, 64, seed), bytes)


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_parts_come_back(parts):
    assert unpack(pack(parts)) == parts
