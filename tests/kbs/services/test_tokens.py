"""Attestation tokens: what is issued, and everything that is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc import jwk as jose_jwk
from joserfc import jwt as jose_jwt

from kbs.errors import SetupError, TokenInvalid
from kbs.services import token_keys
from kbs.services.tokens import Tokens
from verifier.formats.strict import base64url


@pytest.fixture
def sign(keys, encode_part):
    """A token with any header and claims under any key, truly signed as ES256."""
    def sign(claims, header=None, key=keys[0].private):
        signed = encode_part(dict(keys[0].header) | (header or {})) + "." + encode_part(claims)
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
        return signed + "." + base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    return sign


def refusal(tokens, token, at):
    with pytest.raises(TokenInvalid) as refused:
        tokens.verify(token, at)
    return refused.value.id


def test_issued_token_verifies_and_names_the_guests_key(tokens, claims, at, guest_jwk):
    token = tokens.issue(claims)
    for _ in range(2):  # the second time from what was kept
        found = tokens.verify(token, at)
        assert (found.id, found.expires_at) == ("t-1", at + 300)
        assert found.claims == claims
        assert found.key.alg == "ECDH-ES+A256KW"
    assert "t-1" in repr(found)
    assert guest_jwk["x"] not in repr(found)


def test_another_library_verifies_it_with_the_published_keys(tokens, keys, claims):
    published = jose_jwk.KeySet.import_key_set(token_keys.jwks(keys))
    assert jose_jwt.decode(tokens.issue(claims), published, algorithms=["ES256"]).claims == claims


def test_header_carries_kid_and_public_key_only(tokens, keys, claims):
    header = jwt.get_unverified_header(tokens.issue(claims))
    assert header == {"typ": "JWT", "alg": "ES256", "kid": keys[0].kid, "jwk": keys[0].jwk}
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}


def test_kid_is_the_thumbprint_of_rfc_7638(keys):
    assert jose_jwk.ECKey.import_key(dict(keys[0].jwk)).thumbprint() == keys[0].kid


@pytest.mark.parametrize("later", [300, 301, 10**6])
def test_expired_token_is_refused_even_when_it_was_kept(tokens, claims, at, later):
    token = tokens.issue(claims)
    tokens.verify(token, at)
    assert tokens.verify(token, at + 299).id == "t-1"
    assert refusal(tokens, token, at + later) == "token.expired"


def test_token_of_the_future_is_refused(tokens, claims, at):
    token = tokens.issue(claims)
    assert tokens.verify(token, at - 60).id == "t-1"
    assert refusal(tokens, token, at - 61) == "token.not_yet"


def test_token_of_another_broker_is_refused(claims, at, tokens):
    others = token_keys.read(token_keys.generate())
    token = Tokens(lambda: others, issuer="https://kbs", audience="https://kbs").issue(claims)
    assert refusal(tokens, token, at) == "token.header"


def test_key_in_the_header_is_never_used(tokens, keys, claims, sign, at):
    attacker = token_keys.read(token_keys.generate())[0]
    own = sign(claims, {"jwk": attacker.jwk}, attacker.private)
    assert refusal(tokens, own, at) == "token.header"
    both = sign(claims, {"jwk": attacker.jwk, "kid": attacker.kid}, attacker.private)
    assert refusal(tokens, both, at) == "token.header"
    assert refusal(tokens, sign(claims, {}, attacker.private), at) == "token.signature"


@pytest.mark.parametrize("member", [
    {"crit": []}, {"crit": ["exp"]}, {"crit": "exp"}, {"b64": False}, {"x5c": ["MIIB"]}, {"jku": "https://x"},
    {"x5u": "https://x"}, {"cty": "JWT"}, {"zip": "DEF"}, {"typ": "jwt"}, {"typ": "JWE"}, {"kid": "other"},
    {"kid": None}, {"jwk": None},
])
def test_any_other_header_is_refused(tokens, claims, sign, at, member):
    assert refusal(tokens, sign(claims, member), at) == "token.header"


ALGORITHMS = ["none", "None", "NONE", "HS256", "RS256", "ES384", "EdDSA", "ES256 ", "es256", "", None, 1]


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_any_other_algorithm_is_refused(tokens, keys, claims, encode_part, at, alg):
    header = dict(keys[0].header) | {"alg": alg}
    signed = encode_part(header) + "." + encode_part(claims)
    pem = keys[0].public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, json.dumps(keys[0].jwk).encode(), b""):
        forged = encode_part("") if not secret else encode_part(hmac.digest(secret, signed.encode(), "sha256").hex())
        assert refusal(tokens, f"{signed}.{forged}", at) == "token.header"


def test_duplicated_header_member_is_refused(tokens, keys, claims, encode_part, at):
    text = json.dumps(keys[0].header)[:-1] + ',"alg":"ES256"}'
    token = tokens.issue(claims).split(".")
    assert refusal(tokens, ".".join([encode_part(text), *token[1:]]), at) == "token.shape"


WRONG = ["1780000300", 1780000300.0, float("nan"), True, None, [], {}, -1, 2**63, ""]


@pytest.mark.parametrize(("name", "value"), [
    (name, value) for name in ("exp", "iat", "iss", "aud", "jti", "eat_profile") for value in WRONG
    if (name, value) != ("jti", WRONG[0])], ids=repr)
def test_claim_of_the_wrong_type_is_refused_not_ignored(tokens, claims, sign, at, name, value):
    assert refusal(tokens, sign(claims | {name: value}), at) in (f"token.{name}", "token.shape")


@pytest.mark.parametrize("name", ["exp", "iat", "iss", "aud", "jti", "eat_profile"])
def test_missing_claim_is_refused(tokens, claims, sign, at, name):
    del claims[name]
    assert refusal(tokens, sign(claims), at) == f"token.{name}"


@pytest.mark.parametrize("name", ["iss", "aud", "eat_profile"])
def test_token_for_somebody_else_is_refused(tokens, claims, sign, at, name):
    assert refusal(tokens, sign(claims | {name: "https://other"}), at) == f"token.{name}"


def test_list_of_audiences_is_refused(tokens, claims, sign, at):
    assert refusal(tokens, sign(claims | {"aud": ["https://kbs"]}), at) == "token.aud"


def test_guest_key_is_read_from_one_place_only(tokens, claims, sign, at, guest_jwk):
    inside = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"].pop("runtime_data_claims")
    elsewhere = claims | {"tee-pubkey": guest_jwk, "customized_claims": {"runtime_data": inside},
                          "tdx": {"attester_runtime_data": inside}}
    assert refusal(tokens, sign(elsewhere), at) == "token.tee_pubkey"


def test_extra_key_beside_the_bound_one_changes_nothing(tokens, claims, sign, at):
    claims["tee-pubkey"] = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "AAAA", "y": "AAAA"}
    assert tokens.verify(sign(claims), at).key.alg == "ECDH-ES+A256KW"


@pytest.mark.parametrize("broken", [{"x": "AAAA"}, {"kty": "oct"}, {"crv": "secp256k1"}, {"d": "x"}, {"x": 1}])
def test_guest_key_that_is_no_key_is_refused(tokens, claims, sign, at, broken):
    claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]["tee-pubkey"].update(broken)
    assert refusal(tokens, sign(claims), at) == "token.tee_pubkey"


def test_every_flipped_character_is_refused(tokens, claims, at):
    token = tokens.issue(claims)
    for position in range(0, len(token), 7):
        other = "A" if token[position] != "A" else "B"
        assert refusal(tokens, token[:position] + other + token[position + 1:], at).startswith("token.")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "x" * 600_000, "e30.e30.", "e30", "null.null.null"])
def test_what_is_no_token_is_refused(tokens, at, token):
    assert refusal(tokens, token, at) in ("token.shape", "token.header")


def test_deeply_nested_claims_are_refused(tokens, sign, at):
    assert refusal(tokens, sign("[" * 100_000), at) == "token.shape"


def test_tokens_outlive_one_rotation_and_not_the_removal_of_their_key(claims, at):
    pem = token_keys.generate()
    present = [token_keys.read(pem)]
    tokens = Tokens(lambda: present[0], issuer="https://kbs", audience="https://kbs")
    token = tokens.issue(claims)
    pem = token_keys.rotated(pem)
    present[0] = token_keys.read(pem)
    assert len(present[0]) == 2
    assert tokens.verify(token, at).kid == present[0][1].kid
    assert jwt.get_unverified_header(tokens.issue(claims))["kid"] == present[0][0].kid
    present[0] = token_keys.read(token_keys.rotated(pem))
    assert refusal(tokens, token, at) == "token.header"


def test_published_keys_hold_no_private_member(keys):
    (published,) = token_keys.jwks(keys)["keys"]
    assert set(published) == {"kty", "crv", "x", "y", "alg", "use", "kid"}
    assert hashlib.sha256(rfc8785.dumps(keys[0].jwk)).digest()


def pem_with(known: str, unknown: str) -> bytes:
    """A token key whose algorithm identifier was altered."""
    der = load_pem_private_key(token_keys.generate(), None).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    altered = base64.b64encode(der.replace(bytes.fromhex(known), bytes.fromhex(unknown)))
    return b"-----BEGIN PRIVATE KEY-----\n" + altered + b"\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(("known", "unknown"), [("2a8648ce3d0201", "2a8648ce3d027f"),
                                                ("2a8648ce3d030107", "2a8648ce3d03017f")])
def test_key_of_an_algorithm_that_nobody_knows_is_refused(known, unknown):
    with pytest.raises(SetupError) as refused:
        token_keys.read(pem_with(known, unknown))
    assert refused.value.id == "token.key.file"


@pytest.mark.parametrize("pem", [b"", b"garbage", token_keys.generate() + b"tail", token_keys.generate() * 9,
                                 b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_file_that_holds_no_token_keys_is_refused(pem):
    with pytest.raises(SetupError) as refused:
        token_keys.read(pem)
    assert refused.value.id == "token.key.file"


def test_key_of_another_kind_is_refused():
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(SetupError) as refused:
            token_keys.read(pem)
        assert refused.value.id == "token.key.curve"


def test_private_key_is_not_shown(keys):
    assert "private" not in repr(keys[0])
