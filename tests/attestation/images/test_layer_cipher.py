"""The layer cipher against a vector of NIST and against its own format, byte by byte."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import ImageIntegrityError, MalformedImage, UnsupportedImage
from attestation.images.layer_cipher import PrivateOptions, PublicOptions, authenticate, decrypt, encrypt

DIGEST = "sha256:" + "ab" * 32
PRIVATE = PrivateOptions(bytes(range(32)), DIGEST, bytes(range(16)))
PUBLIC = PublicOptions(bytes(range(32)))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _private(**changes) -> bytes:
    document = {"symkey": _b64(bytes(32)), "digest": DIGEST, "cipheroptions": {"nonce": _b64(bytes(16))}} | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def _public(**changes) -> bytes:
    document = {"cipher": "AES_256_CTR_HMAC_SHA256", "hmac": _b64(bytes(32)), "cipheroptions": {}} | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def test_options_are_written_as_ocicrypt_writes_them():
    assert PRIVATE.to_json() == (
        b'{"symkey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","digest":"sha256:'
        + b"ab" * 32
        + b'","cipheroptions":{"nonce":"AAECAwQFBgcICQoLDA0ODw=="}}'
    )
    assert len(PRIVATE.to_json()) == 193
    assert PUBLIC.to_json() == (
        b'{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","cipheroptions":{}}'
    )
    assert PrivateOptions.from_json(PRIVATE.to_json()) == PRIVATE
    assert PublicOptions.from_json(PUBLIC.to_json()) == PUBLIC


def test_ciphertext_is_that_of_sp_800_38a_f_5_5():
    private = PrivateOptions(
        bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
        DIGEST,
        bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
    )
    plaintext = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    ciphertext = bytes.fromhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    out: list[bytes] = []
    public = encrypt([plaintext[:5], plaintext[5:]], private, out.append)
    assert b"".join(out) == ciphertext
    assert public.hmac == hmac.new(private.symkey, ciphertext, hashlib.sha256).digest()


def test_counter_runs_over_all_128_bits_of_the_nonce():
    private = PrivateOptions(bytes(range(32)), DIGEST, b"\xff" * 16)
    out: list[bytes] = []
    encrypt([bytes(32)], private, out.append)
    block = Cipher(algorithms.AES(private.symkey), modes.ECB()).encryptor()
    assert b"".join(out) == block.update(b"\xff" * 16 + bytes(16))


@given(st.lists(st.binary(max_size=100)), st.integers(1, 64))
def test_whatever_was_encrypted_decrypts_in_pieces_of_any_size(pieces, step):
    private = PrivateOptions.fresh(DIGEST)
    encrypted: list[bytes] = []
    public = encrypt(pieces, private, encrypted.append)
    whole = b"".join(encrypted)
    cut = [whole[start : start + step] for start in range(0, len(whole), step)]
    authenticate(cut, private, public)
    plain: list[bytes] = []
    decrypt(cut, private, public, plain.append)
    assert b"".join(plain) == b"".join(pieces)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: bytes([data[0] ^ 0x80]) + data[1:],
        lambda data: data[16:] + data[:16],
        lambda data: b"",
    ],
    ids=["truncated", "extended", "last-bit", "first-bit", "blocks-moved", "emptied"],
)
def test_altered_ciphertext_is_refused_by_both_passes(change):
    encrypted: list[bytes] = []
    public = encrypt([b"x" * 100], PRIVATE, encrypted.append)
    altered = change(b"".join(encrypted))
    for attempt in (
        lambda: authenticate([altered], PRIVATE, public),
        lambda: decrypt([altered], PRIVATE, public, lambda _: None),
    ):
        with pytest.raises(ImageIntegrityError) as caught:
            attempt()
        assert caught.value.id == "image.layer.hmac"


@pytest.mark.parametrize("bit", [0, 7, 128, 255])
def test_hmac_with_one_bit_changed_is_refused(outcome, bit):
    encrypted: list[bytes] = []
    public = encrypt([b"x" * 100], PRIVATE, encrypted.append)
    altered = PublicOptions((int.from_bytes(public.hmac, "big") ^ 1 << bit).to_bytes(32, "big"))
    assert outcome(lambda: authenticate(encrypted, PRIVATE, altered)) == "image.layer.hmac"
    assert outcome(lambda: decrypt(encrypted, PRIVATE, altered, lambda _: None)) == "image.layer.hmac"


@pytest.mark.parametrize(
    ("data", "id"),
    [
        (_public(cipheroptions={"nonce": _b64(bytes(16))}), "image.public_options.cipheroptions"),
        (_public(cipheroptions={"other": ""}), "image.public_options.cipheroptions"),
        (_public(cipheroptions=None), "image.public_options"),
        (_public(cipheroptions=[]), "image.public_options"),
        (_public(hmac=None), "image.public_options"),
        (_public(hmac=""), "image.public_options"),
        (_public(hmac=_b64(bytes(31))), "image.public_options"),
        (_public(hmac=_b64(bytes(33))), "image.public_options"),
        (_public(hmac=_b64(bytes(32)).rstrip("=")), "image.public_options"),
        (_public(hmac=0), "image.public_options"),
        (_public(cipher=None), "image.public_options"),
        (_public(cipher=""), "image.layer.cipher"),
        (_public(cipher="aes_256_ctr_hmac_sha256"), "image.layer.cipher"),
        (_public(cipher="AES_256_CTR"), "image.layer.cipher"),
        (_public(nonce=_b64(bytes(16))), "image.public_options"),
        (_public(HMAC=_b64(bytes(32))), "image.public_options"),
        (b'{"cipher":"AES_256_CTR_HMAC_SHA256","hmac":"","hmac":"","cipheroptions":{}}', "image.public_options"),
        (b"", "image.public_options"),
        (b"[" * 5000, "image.public_options"),
        (b'"' + b"a" * 5000 + b'"', "image.public_options"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:60].decode(),
)
def test_public_options_are_read_strictly(data, id):
    with pytest.raises((MalformedImage, UnsupportedImage)) as caught:
        PublicOptions.from_json(data)
    assert caught.value.id == id


@pytest.mark.parametrize(
    ("data", "id"),
    [
        (_private(symkey=_b64(bytes(31))), "image.private_options"),
        (_private(symkey=_b64(bytes(33))), "image.private_options"),
        (_private(symkey=None), "image.private_options"),
        (_private(digest=None), "image.private_options"),
        (_private(digest=""), "image.digest"),
        (_private(digest="sha512:" + "ab" * 64), "image.digest"),
        (_private(cipheroptions={}), "image.private_options"),
        (_private(cipheroptions={"nonce": _b64(bytes(15))}), "image.private_options"),
        (_private(cipheroptions={"nonce": _b64(bytes(17))}), "image.private_options"),
        (_private(cipheroptions={"nonce": _b64(bytes(16)), "Nonce": ""}), "image.private_options"),
        (_private(cipheroptions=None), "image.private_options"),
        (_private(hmac=""), "image.private_options"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.decode(),
)
def test_private_options_are_read_strictly(data, id):
    with pytest.raises(MalformedImage) as caught:
        PrivateOptions.from_json(data)
    assert caught.value.id == id
    assert "AAAA" not in str(caught.value)


def test_private_options_show_neither_key_nor_nonce():
    assert repr(PRIVATE) == f"PrivateOptions(digest={DIGEST!r})"


def test_every_layer_gets_a_key_and_a_nonce_of_its_own():
    made = [PrivateOptions.fresh(DIGEST) for _ in range(50)]
    assert len({options.symkey for options in made} | {options.nonce for options in made}) == 100


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(
    st.binary()
    | st.dictionaries(st.sampled_from(["cipher", "hmac", "cipheroptions", "symkey", "digest", "nonce"]), _JSON).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_no_input_raises_anything_but_the_documented_errors(outcome, data):
    assert outcome(lambda: PublicOptions.from_json(data)).startswith(("image.public_options", "image.layer.cipher"))
    assert outcome(lambda: PrivateOptions.from_json(data)).startswith(("image.private_options", "image.digest"))
