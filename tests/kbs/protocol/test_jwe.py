"""The secret's envelope: opened only by its addressee, and alike by another implementation."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe as other
from joserfc.jwk import ECKey, RSAKey

from kbs.errors import KbsError, MalformedAnswer, SetupError, TooLarge
from kbs.protocol import jwe, tee_pubkey
from kbs.protocol.tee_pubkey import TeePublicKey

ALGORITHMS = ["ECDH-ES+A256KW", "RSA-OAEP-256", "A256GCM"]


def url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def recipient(key: jwe.PrivateKey) -> TeePublicKey:
    return tee_pubkey.parse(tee_pubkey.jwk_of(key.public_key()))


def for_other(key: jwe.PrivateKey) -> ECKey | RSAKey:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return RSAKey.import_key(pem) if isinstance(key, rsa.RSAPrivateKey) else ECKey.import_key(pem)


def sealed(key: jwe.PrivateKey, plaintext: bytes = b"secret") -> dict[str, str]:
    told: dict[str, str] = json.loads(jwe.encrypt(plaintext, recipient(key)))
    return told


def with_header(message: dict[str, str], **changes: Any) -> dict[str, str]:
    header = json.loads(raw(message["protected"])) | changes
    return message | {"protected": url(json.dumps({k: v for k, v in header.items() if v is not None}).encode())}


def refused(message: dict[str, Any] | bytes, key: jwe.PrivateKey) -> str:
    with pytest.raises(MalformedAnswer) as caught:
        jwe.decrypt(message if isinstance(message, bytes) else json.dumps(message).encode(), key)
    return caught.value.id


@pytest.fixture
def p256(private_keys: dict[str, jwe.PrivateKey]) -> jwe.PrivateKey:
    return private_keys["P-256"]


@pytest.mark.parametrize("plaintext", [b"", b"x", bytes(range(256)) * 300])
def test_what_was_sealed_opens(private_key: jwe.PrivateKey, plaintext: bytes) -> None:
    assert jwe.decrypt(jwe.encrypt(plaintext, recipient(private_key)), private_key) == plaintext


def test_members_are_the_five_of_the_protocol(private_key: jwe.PrivateKey) -> None:
    message = sealed(private_key)
    header = json.loads(raw(message["protected"]))
    assert list(message) == ["protected", "encrypted_key", "iv", "ciphertext", "tag"]
    assert header["enc"] == "A256GCM"
    assert set(header) == ({"alg", "enc"} if isinstance(private_key, rsa.RSAPrivateKey) else {"alg", "enc", "epk"})
    assert (len(raw(message["iv"])), len(raw(message["tag"]))) == (12, 16)


def test_what_we_seal_joserfc_opens(private_key: jwe.PrivateKey) -> None:
    message = sealed(private_key, b"for the other")
    opened = other.decrypt_json(message, for_other(private_key), algorithms=ALGORITHMS)  # type: ignore[arg-type]
    assert opened.plaintext == b"for the other"


def test_what_joserfc_seals_we_open(private_key: jwe.PrivateKey) -> None:
    alg = "RSA-OAEP-256" if isinstance(private_key, rsa.RSAPrivateKey) else "ECDH-ES+A256KW"
    # Its JSON form puts epk beside the protected header; its compact form has everything inside, as the protocol wants.
    compact = other.encrypt_compact({"alg": alg, "enc": "A256GCM"}, b"from the other", for_other(private_key),
                                    algorithms=ALGORITHMS)
    members = dict(zip(("protected", "encrypted_key", "iv", "ciphertext", "tag"), compact.split("."), strict=True))
    assert jwe.decrypt(json.dumps(members).encode(), private_key) == b"from the other"


def test_rsa1_5_is_sealed_for_guests_of_the_oldest_kind_and_never_opened(
    private_keys: dict[str, jwe.PrivateKey],
) -> None:
    key = private_keys["RSA"]
    assert isinstance(key, rsa.RSAPrivateKey)
    old = tee_pubkey.parse(tee_pubkey.jwk_of(key.public_key()) | {"alg": "RSA1_5"}, allow_rsa1_5=True)
    body = jwe.encrypt(b"secret", old)
    message = json.loads(body)
    assert json.loads(raw(message["protected"]))["alg"] == "RSA1_5"
    assert len(key.decrypt(raw(message["encrypted_key"]), padding.PKCS1v15())) == 32
    assert refused(body, key) == "protocol.jwe.alg"


def test_concat_kdf_gives_the_key_of_rfc_7518_appendix_c() -> None:
    shared = bytes([158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218,
                    128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196])
    assert url(jwe.concat_kdf(shared, "A128GCM", 128, b"Alice", b"Bob")) == "VqqN6vgjbSBcIijNcacQGg"


def test_agreement_gives_the_shared_secret_of_rfc_7518_appendix_c() -> None:
    alice = ec.derive_private_key(int.from_bytes(raw("0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo"), "big"),
                                  ec.SECP256R1())
    bob = tee_pubkey.parse({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW",
                            "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
                            "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"})
    assert isinstance(bob.key, ec.EllipticCurvePublicKey)
    assert list(alice.exchange(ec.ECDH(), bob.key)[:6]) == [158, 86, 217, 29, 129, 113]


def test_key_wrap_is_that_of_rfc_3394_section_4_6() -> None:
    kek = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")
    key = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    wrapped = bytes.fromhex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21")
    assert aes_key_wrap(kek, key) == wrapped
    assert aes_key_unwrap(kek, wrapped) == key


def test_envelope_for_another_key_of_the_same_kind_does_not_open(p256: jwe.PrivateKey) -> None:
    message = sealed(ec.generate_private_key(ec.SECP256R1()))
    assert refused(message, p256) == "protocol.jwe.decrypt"


def test_every_changed_bit_of_every_member_is_refused(p256: jwe.PrivateKey) -> None:
    message = sealed(p256)
    for member in ("encrypted_key", "iv", "ciphertext", "tag"):
        octets = raw(message[member])
        for bit in range(len(octets) * 8):
            changed = bytearray(octets)
            changed[bit // 8] ^= 1 << bit % 8
            assert refused(message | {member: url(bytes(changed))}, p256) == "protocol.jwe.decrypt"


def test_every_changed_byte_of_the_protected_header_is_refused(private_key: jwe.PrivateKey) -> None:
    message = sealed(private_key)
    header = raw(message["protected"])
    for position in range(len(header)):
        changed = bytearray(header)
        changed[position] ^= 1
        assert refused(message | {"protected": url(bytes(changed))}, private_key).startswith("protocol.jwe.")


def test_header_that_says_the_same_in_other_words_is_refused(p256: jwe.PrivateKey) -> None:
    message = sealed(p256)
    spaced = json.dumps(json.loads(raw(message["protected"])), indent=1).encode()
    assert refused(message | {"protected": url(spaced)}, p256) == "protocol.jwe.decrypt"


@pytest.mark.parametrize(("changes", "id"), [
    ({"alg": "ECDH-ES"}, "protocol.jwe.alg"),
    ({"alg": "RSA-OAEP-256"}, "protocol.jwe.alg"),
    ({"alg": "dir"}, "protocol.jwe.alg"),
    ({"alg": None}, "protocol.jwe.header.shape"),
    ({"enc": "A128GCM"}, "protocol.jwe.enc"),
    ({"enc": "A256CBC-HS512"}, "protocol.jwe.enc"),
    ({"zip": "DEF"}, "protocol.jwe.header.shape"),
    ({"crit": ["x"]}, "protocol.jwe.header.shape"),
    ({"apu": "QWxpY2U"}, "protocol.jwe.header.shape"),
    ({"epk": None}, "protocol.jwe.epk"),
    ({"epk": {"kty": "EC", "crv": "P-384", "x": "", "y": ""}}, "protocol.jwe.epk"),
    ({"epk": {"kty": "OKP", "crv": "P-256", "x": "", "y": ""}}, "protocol.jwe.epk"),
    ({"epk": {"kty": "EC", "crv": "P-256", "x": url(bytes(32)), "y": url(bytes(32))}}, "protocol.jwe.epk"),
    ({"epk": {"kty": "EC", "crv": "P-256", "x": "", "y": ""}}, "protocol.jwe.epk"),
    ({"epk": {"kty": "EC", "crv": "P-256", "x": "", "y": "", "d": ""}}, "protocol.jwe.header.shape"),
])
def test_header_other_than_this_guests_key_calls_for_is_refused(p256: jwe.PrivateKey, changes: dict[str, Any],
                                                                id: str) -> None:
    assert refused(with_header(sealed(p256), **changes), p256) == id


def test_ephemeral_key_in_an_rsa_header_is_refused(private_keys: dict[str, jwe.PrivateKey]) -> None:
    epk = json.loads(raw(sealed(private_keys["P-256"])["protected"]))["epk"]
    assert refused(with_header(sealed(private_keys["RSA"]), epk=epk), private_keys["RSA"]) == "protocol.jwe.epk"


@pytest.mark.parametrize("changes", [{"aad": ""}, {"unprotected": {"alg": "dir"}}, {"header": {}}, {"recipients": []}])
def test_members_outside_the_protected_header_are_refused(p256: jwe.PrivateKey, changes: dict[str, Any]) -> None:
    assert refused(sealed(p256) | changes, p256) == "protocol.jwe.shape"


def test_tag_glued_to_the_ciphertext_is_refused(p256: jwe.PrivateKey) -> None:
    message = sealed(p256)
    message |= {"ciphertext": url(raw(message["ciphertext"]) + raw(message["tag"])), "tag": ""}
    assert refused(message, p256) == "protocol.jwe.tag"


@pytest.mark.parametrize("size", [*range(24), 24, 32, 39, 41, 48])
def test_wrapped_key_of_any_other_length_is_refused(p256: jwe.PrivateKey, size: int) -> None:
    assert refused(sealed(p256) | {"encrypted_key": url(bytes(size))}, p256) == "protocol.jwe.encrypted_key"


@pytest.mark.parametrize("size", [16, 24])
def test_rsa_wrapped_content_key_of_another_length_is_refused(private_keys: dict[str, jwe.PrivateKey],
                                                              size: int) -> None:
    key = private_keys["RSA"]
    assert isinstance(key, rsa.RSAPrivateKey)
    wrapped = key.public_key().encrypt(bytes(size), jwe._OAEP)
    assert refused(sealed(key) | {"encrypted_key": url(wrapped)}, key) == "protocol.jwe.encrypted_key"


def test_message_may_hold_no_key_twice(p256: jwe.PrivateKey) -> None:
    body = json.dumps(sealed(p256)).encode()
    assert refused(body[:-1] + b', "tag": ""}', p256) == "protocol.jwe.duplicate_key"


def test_sizes_are_bounded_on_both_ends(p256: jwe.PrivateKey) -> None:
    with pytest.raises(SetupError) as sealing:
        jwe.encrypt(bytes(jwe.MAX_RESOURCE_BYTES + 1), recipient(p256))
    assert sealing.value.id == "protocol.jwe.size"
    with pytest.raises(TooLarge) as opening:
        jwe.decrypt(b" " * (jwe.MAX_JWE_BYTES + 1), p256)
    assert opening.value.id == "protocol.jwe.size"


def test_secret_of_the_largest_size_goes_through(p256: jwe.PrivateKey) -> None:
    secret = bytes(jwe.MAX_RESOURCE_BYTES)
    assert jwe.decrypt(jwe.encrypt(secret, recipient(p256)), p256) == secret


KEY = ec.generate_private_key(ec.SECP256R1())


@given(st.binary(max_size=120) | st.dictionaries(
    st.sampled_from(["protected", "encrypted_key", "iv", "ciphertext", "tag", "aad"]), st.text(max_size=20),
).map(lambda members: json.dumps(members).encode()))
def test_no_bytes_raise_anything_undocumented(body: bytes) -> None:
    with pytest.raises(KbsError):
        jwe.decrypt(body, KEY)
