"""The guest's key: which JWKs are keys, and that one key has one JWK."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from kbs.errors import MalformedRequest
from kbs.protocol import jwe, tee_pubkey


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def uint(value: int) -> str:
    return url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def flipped(text: str) -> str:
    """The same base64url with its first octet's lowest bit changed."""
    data = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    data[0] ^= 1
    return url(bytes(data))


@pytest.fixture
def ec_jwk(private_keys: dict[str, jwe.PrivateKey]) -> dict[str, str]:
    return tee_pubkey.jwk_of(private_keys["P-256"].public_key())


@pytest.fixture
def rsa_jwk(private_keys: dict[str, jwe.PrivateKey]) -> dict[str, str]:
    return tee_pubkey.jwk_of(private_keys["RSA"].public_key())


def refused(jwk: dict[str, str], **options: Any) -> str:
    with pytest.raises(MalformedRequest) as caught:
        tee_pubkey.parse(jwk, **options)
    return caught.value.id


def test_every_accepted_kind_is_read_back(private_key: jwe.PrivateKey) -> None:
    parsed = tee_pubkey.parse(tee_pubkey.jwk_of(private_key.public_key()))
    assert parsed.key.public_numbers() == private_key.public_key().public_numbers()
    assert parsed.alg == ("RSA-OAEP-256" if isinstance(private_key, rsa.RSAPrivateKey) else "ECDH-ES+A256KW")


@pytest.mark.parametrize("kty", ["oct", "OKP", "AKP", "ec", "", "rsa"])
def test_other_kinds_are_refused(ec_jwk: dict[str, str], kty: str) -> None:
    assert refused(ec_jwk | {"kty": kty}) == "protocol.tee_pubkey.kty"


def test_empty_key_is_refused() -> None:
    assert refused({}) == "protocol.tee_pubkey.kty"


@pytest.mark.parametrize("member", ["kid", "use", "d", "n", "key_ops"])
def test_member_that_would_be_hashed_by_one_end_only_is_refused(ec_jwk: dict[str, str], member: str) -> None:
    assert refused(ec_jwk | {member: "x"}) == "protocol.tee_pubkey.members"


@pytest.mark.parametrize("member", ["crv", "alg", "x", "y"])
def test_missing_member_is_refused(ec_jwk: dict[str, str], member: str) -> None:
    del ec_jwk[member]
    assert refused(ec_jwk) == "protocol.tee_pubkey.members"


@pytest.mark.parametrize("alg", ["ECDH-ES", "ECDH-ES+A128KW", "RSA-OAEP-256", "none", ""])
def test_other_algorithm_is_refused(ec_jwk: dict[str, str], alg: str) -> None:
    assert refused(ec_jwk | {"alg": alg}) == "protocol.tee_pubkey.alg"


@pytest.mark.parametrize("crv", ["secp256k1", "P-192", "p-256", "X25519", ""])
def test_other_curve_is_refused(ec_jwk: dict[str, str], crv: str) -> None:
    assert refused(ec_jwk | {"crv": crv}) == "protocol.tee_pubkey.crv"


def test_point_of_one_curve_is_none_of_another(private_keys: dict[str, jwe.PrivateKey]) -> None:
    jwk = tee_pubkey.jwk_of(private_keys["P-384"].public_key())
    assert refused(jwk | {"crv": "P-256"}) == "protocol.tee_pubkey.x"


def test_point_off_the_curve_is_refused(ec_jwk: dict[str, str]) -> None:
    assert refused(ec_jwk | {"y": flipped(ec_jwk["y"])}) == "protocol.tee_pubkey.x"
    assert refused(ec_jwk | {"x": url(bytes(32)), "y": url(bytes(32))}) == "protocol.tee_pubkey.x"


def test_point_on_the_twist_is_refused() -> None:
    # An x whose cubic is no square belongs to no point of P-256, but to points of its twist.
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    x = next(x for x in range(2, 100) if pow(x**3 - 3 * x + b, (p - 1) // 2, p) == p - 1)
    jwk = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": url(x.to_bytes(32, "big")),
           "y": url((4).to_bytes(32, "big"))}
    assert refused(jwk) == "protocol.tee_pubkey.x"


def test_coordinate_beyond_the_field_is_refused(ec_jwk: dict[str, str]) -> None:
    assert refused(ec_jwk | {"x": url(b"\xff" * 32)}) == "protocol.tee_pubkey.x"


@pytest.mark.parametrize("change", [lambda x: url(b"\0" + base64.urlsafe_b64decode(x + "=")), lambda x: x + "=",
                                    lambda x: x[:-1], lambda x: x + "\n", lambda x: ""])
def test_coordinate_of_another_length_or_spelling_is_refused(ec_jwk: dict[str, str], change: Any) -> None:
    assert refused(ec_jwk | {"x": change(ec_jwk["x"])}) == "protocol.tee_pubkey.x"


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_is_refused(rsa_jwk: dict[str, str], bits: int) -> None:
    assert refused(rsa_jwk | {"n": uint(2 ** (bits - 1) + 1)}) == "protocol.tee_pubkey.n"


def test_long_or_even_rsa_is_refused(rsa_jwk: dict[str, str]) -> None:
    assert refused(rsa_jwk | {"n": uint(2**8192 + 1)}) == "protocol.tee_pubkey.n"
    assert refused(rsa_jwk | {"n": uint(2**2047)}) == "protocol.tee_pubkey.n"


@pytest.mark.parametrize("e", [1, 3, 65535, 65536, 65538, 2**32 + 1, 2**64 + 1])
def test_rsa_exponent_out_of_bounds_is_refused(rsa_jwk: dict[str, str], e: int) -> None:
    assert refused(rsa_jwk | {"e": uint(e)}) == "protocol.tee_pubkey.e"


@pytest.mark.parametrize("member", ["n", "e"])
def test_rsa_number_with_leading_zero_is_refused(rsa_jwk: dict[str, str], member: str) -> None:
    number = base64.urlsafe_b64decode(rsa_jwk[member] + "=" * (-len(rsa_jwk[member]) % 4))
    assert refused(rsa_jwk | {member: url(b"\0" + number)}) == f"protocol.tee_pubkey.{member}"
    assert refused(rsa_jwk | {member: ""}) == f"protocol.tee_pubkey.{member}"


def test_rsa1_5_needs_the_flag(rsa_jwk: dict[str, str]) -> None:
    old = rsa_jwk | {"alg": "RSA1_5"}
    assert refused(old) == "protocol.tee_pubkey.alg"
    assert tee_pubkey.parse(old, allow_rsa1_5=True).alg == "RSA1_5"


@given(st.dictionaries(st.sampled_from(["kty", "crv", "alg", "x", "y", "n", "e", "kid"]),
                       st.sampled_from(["EC", "RSA", "P-256", "ECDH-ES+A256KW", "RSA-OAEP-256", "AQAB"]) | st.text()))
def test_no_members_raise_anything_undocumented(jwk: dict[str, str]) -> None:
    with pytest.raises(MalformedRequest):
        tee_pubkey.parse(jwk)


def test_coordinates_keep_their_leading_zeros() -> None:
    key = next(key for key in iter(lambda: ec.generate_private_key(ec.SECP521R1()), None)
               if key.public_key().public_numbers().x < 2**512)
    jwk = tee_pubkey.jwk_of(key.public_key())
    assert len(jwk["x"]) == len(jwk["y"]) == 88
    assert tee_pubkey.parse(jwk).key.public_numbers() == key.public_key().public_numbers()
