"""SM2 against the standard's example, the openssl command and textbook arithmetic; and what must never verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.endorsements import sm2
from verifier.endorsements.sm2 import GX, GY, MAX_USER_ID_BYTES, N, P, Sm2PublicKey, hmac_sm3, sm3
from verifier.formats.der import only
from verifier.software_tee import der
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.sm2 import GENERATOR, Sm2Key, add

# GB/T 32918.5-2017, appendix A: the example signature on the recommended curve.
EXAMPLE_KEY = Sm2PublicKey(0x09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020,
                           0xCCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13)
EXAMPLE_SCALAR = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
EXAMPLE_ID, EXAMPLE_MESSAGE = b"1234567812345678", b"message digest"
EXAMPLE_R = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
EXAMPLE_S = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
EXAMPLE_Z = "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"


@pytest.fixture(scope="module")
def key() -> Sm2Key:
    return Sm2Key.of(KeyRing(b"keys of the SM2 tests"), "sm2", b"a name")


def public(key: Sm2Key) -> Sm2PublicKey:
    return Sm2PublicKey(*key.public)


def refused(key: Sm2PublicKey, r: int, s: int, message: bytes, user_id: bytes) -> bool:
    with pytest.raises(InvalidSignature):
        key.verify(r, s, message, user_id)
    return True


# -- the standards' examples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "digest"), [
    (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
    (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
])
def test_sm3_gives_the_digests_of_its_standard(message, digest):
    """GB/T 32905-2016, appendix A."""
    assert sm3(message).hex() == digest


def test_the_hmac_is_the_one_of_rfc_2104():
    key, data = b"k" * 16, b"data"
    inner = sm3(bytes(b ^ 0x36 for b in key.ljust(64, b"\x00")) + data)
    assert hmac_sm3(key, data) == sm3(bytes(b ^ 0x5C for b in key.ljust(64, b"\x00")) + inner)
    if "sm3" in hashlib.algorithms_available:
        assert hmac_sm3(key, data) == hmac.digest(key, data, "sm3")


def test_the_example_signature_of_the_standard_verifies():
    assert EXAMPLE_KEY.identity_digest(EXAMPLE_ID).hex() == EXAMPLE_Z
    EXAMPLE_KEY.verify(EXAMPLE_R, EXAMPLE_S, EXAMPLE_MESSAGE, EXAMPLE_ID)
    assert Sm2Key(EXAMPLE_SCALAR, EXAMPLE_ID).public == (EXAMPLE_KEY.x, EXAMPLE_KEY.y)


@pytest.mark.parametrize("flip", ["r", "s", "message", "id"])
def test_the_example_with_any_bit_turned_over_does_not(flip):
    values = {"r": EXAMPLE_R, "s": EXAMPLE_S, "message": int.from_bytes(EXAMPLE_MESSAGE, "big"),
              "id": int.from_bytes(EXAMPLE_ID, "big")}
    sizes = {"r": 256, "s": 256, "message": 8 * len(EXAMPLE_MESSAGE), "id": 8 * len(EXAMPLE_ID)}
    for bit in range(0, sizes[flip], 5):
        turned = values | {flip: values[flip] ^ 1 << bit}
        message = turned["message"].to_bytes(len(EXAMPLE_MESSAGE), "big")
        assert refused(EXAMPLE_KEY, turned["r"], turned["s"], message, turned["id"].to_bytes(len(EXAMPLE_ID), "big"))


# -- another implementation --------------------------------------------------------------------------------------------


@pytest.fixture
def openssl(tmp_path):
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl command: apt-get install openssl")

    def run(*arguments: str) -> None:
        done = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return run


def test_what_openssl_signs_verifies(openssl, tmp_path):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-out", "key.pem")
    openssl("pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "public.der")
    key = Sm2PublicKey.from_spki(with_named_algorithm((tmp_path / "public.der").read_bytes()))
    for number in range(4):
        message = bytes(range(number * 60))
        (tmp_path / "message").write_bytes(message)
        openssl("pkeyutl", "-sign", "-inkey", "key.pem", "-in", "message", "-out", "signature", "-rawin", "-digest",
                "sm3", "-pkeyopt", "distid:HYGON-SSD-PEK")
        r, s = numbers((tmp_path / "signature").read_bytes())
        key.verify(r, s, message, b"HYGON-SSD-PEK")
        assert refused(key, r, s, message, b"HYGON-SSD-CEK")
        assert refused(key, r, s, message + b"\x00", b"HYGON-SSD-PEK")


def test_openssl_verifies_what_the_software_maker_signs(openssl, tmp_path, key):
    (tmp_path / "public.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(public(key).spki)
                                          + b"-----END PUBLIC KEY-----\n")
    for message in (b"one", b"another" * 100):
        (tmp_path / "message").write_bytes(message)
        (tmp_path / "signature").write_bytes(der.sequence(*map(der.integer, key.sign(message))))
        openssl("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-in", "message", "-sigfile", "signature",
                "-rawin", "-digest", "sm3", "-pkeyopt", f"distid:{key.user_id.decode()}")


def numbers(signature: bytes) -> tuple[int, int]:
    """r and s of SEQUENCE { INTEGER, INTEGER }."""
    content = only(signature, "signature", 0x30)
    size = content[1]
    return int.from_bytes(content[2:2 + size], "big"), int.from_bytes(content[4 + size:], "big")


def with_named_algorithm(spki: bytes) -> bytes:
    """Some releases of openssl name the curve, some say id-sm2 instead; the point is the same."""
    return sm2.SPKI_PREFIX + spki[-64:]


# -- what must never verify --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("r", "s"), [
    (0, EXAMPLE_S), (EXAMPLE_R, 0), (N, EXAMPLE_S), (EXAMPLE_R, N), (N + EXAMPLE_R, EXAMPLE_S),
    (EXAMPLE_R, N + EXAMPLE_S), (-EXAMPLE_R, EXAMPLE_S), (0, 0), (1, 1), (N - 1, N - 1), (1, N - 2),
    (EXAMPLE_S, EXAMPLE_R), (EXAMPLE_R, N - EXAMPLE_S), (N - EXAMPLE_R, EXAMPLE_S),
])
def test_degenerate_and_swapped_numbers_do_not_verify(r, s):
    """Also s negated: SM2 has no second signature of that kind."""
    assert refused(EXAMPLE_KEY, r, s, EXAMPLE_MESSAGE, EXAMPLE_ID)


@pytest.mark.parametrize("r", [1, 2, EXAMPLE_R, N - 1])
def test_r_and_s_that_cancel_each_other_do_not_verify(r):
    """t = r + s = 0 takes the key out of the equation: r = e + x(s*G) can then be met by anybody."""
    assert refused(EXAMPLE_KEY, r, N - r, EXAMPLE_MESSAGE, EXAMPLE_ID)


def test_a_signature_that_needs_no_key_is_refused():
    """For t = 0, s = -r: choose s, compute the x of s*G, and look for a message whose e is r - x. Here r is set so."""
    s = 12345
    point = sm2._sum_of_products(s, (GX, GY, 1), 0, (GX, GY, 1))
    x = point[0] * pow(point[2], -2, P) % P
    e = int.from_bytes(sm3(EXAMPLE_KEY.identity_digest(EXAMPLE_ID) + EXAMPLE_MESSAGE), "big")
    assert refused(EXAMPLE_KEY, (e + x) % N, (N - (e + x)) % N, EXAMPLE_MESSAGE, EXAMPLE_ID)


@pytest.mark.parametrize("r", [1, 5, N - 1])
def test_a_sum_at_infinity_does_not_verify(key, r):
    """s*G + t*P is infinity for s = -r*d / (1 + d), which only the owner of the key can choose."""
    s = -r * key.scalar * pow(1 + key.scalar, -1, N) % N
    point = sm2._sum_of_products(s, (GX, GY, 1), (r + s) % N, (*key.public, 1))
    assert point[2] == 0
    assert refused(public(key), r, s, b"message", key.user_id)


@pytest.mark.parametrize(("x", "y"), [
    (0, 0), (EXAMPLE_KEY.x, EXAMPLE_KEY.y ^ 1), (EXAMPLE_KEY.x ^ 1, EXAMPLE_KEY.y), (EXAMPLE_KEY.y, EXAMPLE_KEY.x),
    (EXAMPLE_KEY.x + P, EXAMPLE_KEY.y), (EXAMPLE_KEY.x, EXAMPLE_KEY.y + P), (EXAMPLE_KEY.x, EXAMPLE_KEY.y - P),
    (P, 1), (1, P), (1 << 300, 1),
])
def test_a_key_off_the_curve_is_not_made(x, y):
    with pytest.raises(ValueError, match="not a point"):
        Sm2PublicKey(x, y)


def test_a_key_in_der_has_one_form():
    spki = EXAMPLE_KEY.spki
    assert Sm2PublicKey.from_spki(spki) == EXAMPLE_KEY
    for bad in (spki + b"\x00", spki[:-1], spki[:26] + b"\x02" + spki[27:], b"", spki[1:] + b"\x00"):
        with pytest.raises(ValueError, match=r"SM2|point"):
            Sm2PublicKey.from_spki(bad)


def test_a_user_id_is_bounded_and_part_of_what_is_signed():
    assert EXAMPLE_KEY.identity_digest(bytes(MAX_USER_ID_BYTES)) != EXAMPLE_KEY.identity_digest(b"")
    with pytest.raises(ValueError, match="too long"):
        EXAMPLE_KEY.identity_digest(bytes(MAX_USER_ID_BYTES + 1))


# -- the arithmetic ----------------------------------------------------------------------------------------------------


def affine(point):
    x, y, z = point
    return None if z == 0 else (x * pow(z, -2, P) % P, y * pow(z, -3, P) % P)


def textbook(scalar, point):
    total = None
    for bit in bin(scalar)[2:]:
        total = add(total, total)
        total = add(total, point) if bit == "1" else total
    return total


@settings(max_examples=40)
@given(st.integers(0, N), st.integers(0, N), st.sampled_from([1, 2, 3, N - 1, N - 3, EXAMPLE_SCALAR]))
def test_the_sum_of_products_is_the_textbooks(u, v, multiple):
    """Also of points that are equal, opposite or small multiples of one another, where formulas have exceptions."""
    other = textbook(multiple, GENERATOR)
    expected = add(textbook(u, GENERATOR), textbook(v, other))
    assert affine(sm2._sum_of_products(u, (*GENERATOR, 1), v, (*other, 1))) == expected


@pytest.mark.parametrize(("u", "v"), [(0, 0), (0, 1), (1, 0), (1, 1), (N, 0), (0, N), (N, N), (N - 1, 1), (1, N - 1),
                                      (2, N - 2), (3, N - 1), ((1 << 256) - 1, (1 << 256) - 1)])
def test_the_exceptions_of_the_formulas(u, v):
    for multiple in (1, 2, N - 1):
        other = textbook(multiple, GENERATOR)
        expected = add(textbook(u, GENERATOR), textbook(v, other))
        assert affine(sm2._sum_of_products(u, (*GENERATOR, 1), v, (*other, 1))) == expected


@settings(max_examples=25)
@given(st.binary(max_size=200), st.binary(min_size=16, max_size=40))
def test_what_the_software_maker_signs_verifies_for_that_message_alone(message, seed):
    key = Sm2Key.of(KeyRing(seed), "sm2", b"somebody")
    r, s = key.sign(message)
    public(key).verify(r, s, message, b"somebody")
    assert (r, s) == key.sign(message)
    assert refused(public(key), r, s, message + b"\x00", b"somebody")
    assert refused(EXAMPLE_KEY, r, s, message, b"somebody")
