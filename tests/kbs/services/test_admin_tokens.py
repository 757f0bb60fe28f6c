"""Who may administer."""

from __future__ import annotations

import base64
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kbs.errors import AdminDenied, KbsError, PolicyDenied, SetupError
from kbs.services.admin_tokens import AdminIdentity, AdminTokens

ROLES = {"admin": "^/kbs/v0/.*$", "policies": "^/kbs/v0/(resource|attestation)-policy$"}
TARGET = "/kbs/v0/resource/a/b/c"
PRIVATE = {"EdDSA": ed25519.Ed25519PrivateKey.generate(), "ES256": ec.generate_private_key(ec.SECP256R1()),
           "RS256": rsa.generate_private_key(65537, 2048)}


def pem_of(private):
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def identity(algorithm, **more):
    return AdminIdentity.from_pem(f"ops-{algorithm}", pem_of(PRIVATE[algorithm]), **more)


@pytest.fixture
def admins():
    return AdminTokens([identity(algorithm) for algorithm in PRIVATE], ROLES)


@pytest.fixture
def token(at):
    def token(algorithm="EdDSA", *, key=None, headers=None, **claims):
        full = {"role": "admin", "exp": at + 60, "iat": at} | claims
        full = {name: value for name, value in full.items() if value is not ...}
        return jwt.api_jws.encode(json.dumps(full).encode(), key or PRIVATE[algorithm], algorithm, headers=headers)

    return token


def refusal(admins, token, at, target=TARGET):
    with pytest.raises(KbsError) as refused:
        admins.authorise(token, target, at)
    assert isinstance(refused.value, AdminDenied | PolicyDenied)
    return refused.value.id


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_token_of_a_configured_key_is_accepted(admins, token, at, algorithm):
    found = admins.authorise(token(algorithm, sub="alex"), TARGET, at)
    assert (found.identity, found.role, found.subject) == (f"ops-{algorithm}", "admin", "alex")


@pytest.mark.parametrize("missing", [None, ""])
def test_no_token_is_refused(admins, at, missing):
    assert refusal(admins, missing, at) == "admin.token.missing"


def test_without_identities_nobody_is_an_administrator(token, at):
    assert refusal(AdminTokens([], ROLES), token(), at) == "admin.token.signature"


def test_without_roles_nobody_may_do_anything(token, at):
    assert refusal(AdminTokens([identity("EdDSA")], {}), token(), at) == "admin.role"


def test_token_of_another_key_is_refused(admins, token, at):
    for algorithm, other in (("EdDSA", ed25519.Ed25519PrivateKey.generate()),
                             ("ES256", ec.generate_private_key(ec.SECP256R1())),
                             ("RS256", rsa.generate_private_key(65537, 2048))):
        assert refusal(admins, token(algorithm, key=other), at) == "admin.token.signature"


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_algorithms_belong_to_their_keys(at, encode_part, algorithm):
    """Every algorithm over every key: only the diagonal may pass, and public keys are no shared secrets."""
    admins = AdminTokens([identity(algorithm)], ROLES)
    claims = {"role": "admin", "exp": at + 60}
    for other in PRIVATE:
        if other != algorithm:
            assert refusal(admins, jwt.encode(claims, PRIVATE[other], other), at) == "admin.token.signature"
    for alg in ("HS256", "none", "None", "ES384", "PS256", "EdDSA ", None, 5, "ES256K"):
        signed = encode_part({"alg": alg, "typ": "JWT"}) + "." + encode_part(claims)
        for secret in (pem_of(PRIVATE[algorithm]), b""):
            mac = encode_part(hmac.digest(secret, signed.encode(), "sha256").hex())
            assert refusal(admins, f"{signed}.{mac}", at) == "admin.token.signature"
            if alg in ("none", "None"):
                assert refusal(admins, f"{signed}.", at) == "admin.token.signature"


@pytest.mark.parametrize("headers", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"typ": "JOSE"}])
def test_headers_that_ask_for_more_are_refused(at, encode_part, headers, admins, token):
    honest = token().split(".")
    forged = ".".join([encode_part({"alg": "EdDSA", "typ": "JWT"} | headers), *honest[1:]])
    assert refusal(admins, forged, at) == "admin.token.header"


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1780000060", 1780000060.5, True, None, [], -1, 2**63], ids=repr)
def test_times_of_the_wrong_type_are_refused_not_ignored(admins, token, at, name, value):
    assert refusal(admins, token(**{name: value}), at) == f"admin.token.{name}"


def test_expiry_is_required_and_holds(admins, token, at):
    assert refusal(admins, token(exp=...), at) == "admin.token.exp"
    assert refusal(admins, token(exp=at), at) == "admin.token.expired"
    assert admins.authorise(token(exp=at + 1), TARGET, at).role == "admin"


def test_token_of_the_future_is_refused(admins, token, at):
    assert refusal(admins, token(nbf=at + 1), at) == "admin.token.not_yet"
    assert refusal(admins, token(iat=at + 61), at) == "admin.token.not_yet"
    assert admins.authorise(token(iat=at + 60, nbf=at), TARGET, at).role == "admin"


@pytest.mark.parametrize("role", [..., "", None, 1, ["admin"], True])
def test_role_is_required_and_a_text(admins, token, at, role):
    assert refusal(admins, token(role=role), at) == "admin.token.role"


def test_unknown_role_may_do_nothing(admins, token, at):
    assert refusal(admins, token(role="owner"), at) == "admin.role"


@pytest.mark.parametrize(("target", "fits"), [
    ("/kbs/v0/resource-policy", True), ("/kbs/v0/attestation-policy", True),
    ("/kbs/v0/resource-policy/", False), ("/kbs/v0/resource-policy\n", False), ("/kbs/v0/resource-policy?x=1", False),
    ("/KBS/v0/resource-policy", False), ("//kbs/v0/resource-policy", False), ("/kbs/v0/resource/a/b/c", False),
    ("/x/kbs/v0/resource-policy", False),
])
def test_role_reaches_exactly_what_its_pattern_spans(admins, token, at, target, fits):
    if fits:
        assert admins.authorise(token(role="policies"), target, at).role == "policies"
    else:
        assert refusal(admins, token(role="policies"), at, target) == "admin.role"


def test_issuer_and_audience_are_demanded_where_configured(token, at):
    admins = AdminTokens([identity("EdDSA", issuer="https://idp", audience="kbs")], ROLES)
    assert refusal(admins, token(aud="kbs"), at) == "admin.token.iss"
    assert refusal(admins, token(iss="https://other", aud="kbs"), at) == "admin.token.iss"
    assert refusal(admins, token(iss="https://idp"), at) == "admin.token.aud"
    assert refusal(admins, token(iss="https://idp", aud="other"), at) == "admin.token.aud"
    for audience in ("kbs", ["other", "kbs"]):
        assert admins.authorise(token(iss="https://idp", aud=audience), TARGET, at).role == "admin"


def test_duplicated_claims_are_refused(admins, at):
    text = b'{"role":"guest","role":"admin","exp":%d}' % (at + 60)
    token = jwt.api_jws.encode(text, PRIVATE["EdDSA"], "EdDSA")
    assert refusal(admins, token, at) == "admin.token.signature"


@pytest.mark.parametrize("token", ["a", "a.b", "a.b.c", "é.é.é", "e30.e30.AA", "x" * 20_000, "null.e30.AA"])
def test_what_is_no_token_is_refused(admins, at, token):
    assert refusal(admins, token, at) in ("admin.token.shape", "admin.token.signature")


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP384R1()),
                                 ec.generate_private_key(ec.SECP256K1())])
def test_weak_and_foreign_keys_are_refused(key):
    with pytest.raises(SetupError) as refused:
        AdminIdentity.from_pem("x", pem_of(key))
    assert refused.value.id == "admin.key"


def test_key_of_an_algorithm_that_nobody_knows_is_refused():
    der = PRIVATE["ES256"].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    unknown = base64.b64encode(der.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d027f")))
    with pytest.raises(SetupError) as refused:
        AdminIdentity.from_pem("x", b"-----BEGIN PUBLIC KEY-----\n" + unknown + b"\n-----END PUBLIC KEY-----\n")
    assert refused.value.id == "admin.key"


def test_file_without_a_key_is_refused():
    with pytest.raises(SetupError) as refused:
        AdminIdentity.from_pem("x", b"garbage")
    assert refused.value.id == "admin.key"
