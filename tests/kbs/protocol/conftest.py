"""Messages as the guest sends them, and the guest's keys of every kind."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kbs.protocol import jwe, tee_pubkey


@pytest.fixture
def attestation() -> dict[str, Any]:
    """An attestation as JSON; its key is of the right shape but on no curve, for messages do not look inside."""
    return {
        "init-data": {"format": "toml", "body": 'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n'},
        "runtime-data": {
            "nonce": base64.b64encode(bytes(range(32))).decode(),
            "tee-pubkey": {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "A" * 43, "y": "A" * 43},
        },
        "tee-evidence": {"primary_evidence": {"quote": "AA==", "cc_eventlog": None}, "additional_evidence": ""},
    }


@pytest.fixture
def attestation_body(attestation: dict[str, Any]) -> bytes:
    return json.dumps(attestation).encode()


@pytest.fixture(scope="session")
def private_keys() -> dict[str, jwe.PrivateKey]:
    keys = {name: ec.generate_private_key(curve) for name, curve in tee_pubkey.CURVES.items()}
    return {**keys, "RSA": rsa.generate_private_key(65537, 2048)}


@pytest.fixture(params=["P-256", "P-384", "P-521", "RSA"])
def private_key(request: pytest.FixtureRequest, private_keys: dict[str, jwe.PrivateKey]) -> jwe.PrivateKey:
    return private_keys[request.param]
