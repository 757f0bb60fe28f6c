"""Keys of recipients: PEM and JWK give the same key, weak and foreign ones are refused."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.jwk import ECKey, RSAKey

from attestation.errors import SetupError
from attestation.images.jwe_keys import JwePrivateKey, JweRecipient, KeyAlgorithm


def _jwk(key, private: bool, **more) -> bytes:
    kind = RSAKey if isinstance(key, rsa.RSAPrivateKey) else ECKey
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return json.dumps({**kind.import_key(pem).as_dict(private=private), **more}).encode()


def _pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _refused(attempt) -> str:
    with pytest.raises(SetupError) as caught:
        attempt()
    return caught.value.id


@pytest.mark.parametrize("name", ["rsa", "p256", "p384", "p521"])
def test_pem_and_jwk_are_the_same_key(keys, recipient, private_key, name):
    from_jwk = JweRecipient.from_bytes(_jwk(keys[name], private=False))
    assert from_jwk.key == recipient(name).key
    assert from_jwk.algorithm == (KeyAlgorithm.RSA_OAEP if name == "rsa" else KeyAlgorithm.ECDH_ES_A256KW)
    assert (
        JwePrivateKey.from_bytes(_jwk(keys[name], private=True)).key.private_numbers() == keys[name].private_numbers()
    )


def test_algorithm_comes_from_the_caller_then_from_the_jwk(keys):
    jwk = _jwk(keys["rsa"], private=False, alg="RSA-OAEP-256", use="enc", kid="owner")
    assert JweRecipient.from_bytes(jwk).algorithm is KeyAlgorithm.RSA_OAEP_256
    assert JweRecipient.from_bytes(jwk, KeyAlgorithm.RSA_OAEP).algorithm is KeyAlgorithm.RSA_OAEP


def test_algorithm_of_another_kind_of_key_is_refused(keys):
    assert (
        _refused(lambda: JweRecipient.from_bytes(_pem(keys["rsa"]), KeyAlgorithm.ECDH_ES_A256KW))
        == "image.key.algorithm"
    )
    assert _refused(lambda: JweRecipient.from_bytes(_pem(keys["p256"]), KeyAlgorithm.RSA_OAEP)) == "image.key.algorithm"


@pytest.mark.parametrize("alg", ["RSA1_5", "dir", "A256KW", "PBES2-HS256+A128KW", "ECDH-ES", "rsa-oaep", 7])
def test_algorithms_off_the_list_are_refused(keys, alg):
    assert (
        _refused(lambda: JweRecipient.from_bytes(_jwk(keys["rsa"], private=False, alg=alg))) == "image.key.unreadable"
    )


@pytest.mark.filterwarnings("ignore:Key size should be .= 2048")
def test_weak_rsa_is_refused():
    weak = rsa.generate_private_key(65537, 1024)
    pem = weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert _refused(lambda: JweRecipient.from_bytes(_pem(weak))) == "image.key.size"
    assert _refused(lambda: JwePrivateKey.from_bytes(pem)) == "image.key.size"


def test_rsa_with_an_enormous_exponent_is_refused(keys):
    jwk = json.loads(_jwk(keys["rsa"], private=False))
    jwk["e"] = base64.urlsafe_b64encode((2**64 + 1).to_bytes(9, "big")).rstrip(b"=").decode()
    assert _refused(lambda: JweRecipient.from_bytes(json.dumps(jwk).encode())) in (
        "image.key.size",
        "image.key.unreadable",
    )


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256K1()), ec.generate_private_key(ec.SECP224R1())], ids=["secp256k1", "p224"]
)
def test_other_curves_are_refused(key):
    assert _refused(lambda: JweRecipient.from_bytes(_pem(key))) == "image.key.curve"


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), dsa.generate_private_key(2048)], ids=["ed25519", "dsa"]
)
def test_other_kinds_of_key_are_refused(key):
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert _refused(lambda: JweRecipient.from_bytes(_pem(key))) == "image.key.unreadable"
    assert _refused(lambda: JwePrivateKey.from_bytes(pem)) == "image.key.unreadable"


def test_point_off_the_curve_is_refused(keys):
    jwk = json.loads(_jwk(keys["p256"], private=False))
    jwk["y"] = jwk["x"]
    assert _refused(lambda: JweRecipient.from_bytes(json.dumps(jwk).encode())) == "image.key.jwk"


def test_halves_that_do_not_belong_together_are_refused(keys):
    jwk = json.loads(_jwk(keys["p256"], private=True))
    other = json.loads(_jwk(ec.generate_private_key(ec.SECP256R1()), private=True))
    assert _refused(lambda: JwePrivateKey.from_bytes(json.dumps(jwk | {"d": other["d"]}).encode())) == "image.key.jwk"


@pytest.mark.parametrize(
    "change",
    [{"use": "sig"}, {"kty": "oct"}, {"crv": "P-192"}, {"x": 5}, {"x5u": "https://host"}, {"x": "AA"}],
    ids=str,
)
def test_damaged_jwks_are_refused(keys, change):
    jwk = json.loads(_jwk(keys["p256"], private=False)) | change
    assert _refused(lambda: JweRecipient.from_bytes(json.dumps(jwk).encode())) == "image.key.jwk"


@pytest.mark.parametrize(
    "data", [b"", b"no key", b"{", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(data):
    assert _refused(lambda: JweRecipient.from_bytes(data)) in ("image.key.unreadable", "image.key.jwk")
    assert _refused(lambda: JwePrivateKey.from_bytes(data)) in ("image.key.unreadable", "image.key.jwk")


def test_private_key_under_a_passphrase_is_refused(keys):
    pem = keys["p256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    assert _refused(lambda: JwePrivateKey.from_bytes(pem)) == "image.key.unreadable"


def test_private_key_given_as_recipient_is_refused(keys, key_files):
    assert _refused(lambda: JweRecipient.from_file(key_files["p256"][0])) == "image.key.unreadable"
    assert _refused(lambda: JweRecipient.from_bytes(_jwk(keys["p256"], private=True))) == "image.key.jwk"


def test_key_file_that_is_missing_or_too_large_is_refused(tmp_path):
    assert _refused(lambda: JweRecipient.from_file(tmp_path / "none")) == "image.read"
    (tmp_path / "large").write_bytes(bytes(65 * 1024))
    assert _refused(lambda: JweRecipient.from_file(tmp_path / "large")) == "image.read"
    assert _refused(lambda: JweRecipient.from_file(tmp_path)) == "image.read"


def test_private_key_does_not_show_itself(private_key):
    assert repr(private_key("p256")) == "JwePrivateKey()"
