"""Keys, claims and tokens to be tampered with."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from kbs.protocol.tee_pubkey import jwk_of
from kbs.services import token_keys
from kbs.services.tokens import Tokens

AT = 1_780_000_000


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def at():
    return AT


@pytest.fixture(scope="session")
def encode_part():
    """A JWT's part from any JSON value or text."""
    return lambda value: b64url(value.encode() if isinstance(value, str) else json.dumps(value).encode())


@pytest.fixture(scope="session")
def keys():
    return token_keys.read(token_keys.generate())


@pytest.fixture(scope="session")
def guest_jwk():
    return jwk_of(ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.fixture
def claims(guest_jwk):
    """The claims of a token as the handshake makes them."""
    return {
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iss": "https://kbs", "aud": "https://kbs",
        "iat": AT, "exp": AT + 300, "jti": "t-1", "eat_nonce": "bm9uY2U",
        "submods": {"cpu0": {"ear.status": "affirming", "ear.veraison.annotated-evidence": {
            "runtime_data_claims": {"nonce": "n", "tee-pubkey": dict(guest_jwk)}}}},
    }


@pytest.fixture
def tokens(keys):
    return Tokens(lambda: keys, issuer="https://kbs", audience="https://kbs")
