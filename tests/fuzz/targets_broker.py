"""What a broker is handed besides the protocol's messages: cookies, tokens, keys, settings, log, policies."""

from __future__ import annotations

import io
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kbs import config
from kbs.audit import export
from kbs.audit.record import Head, next_record
from kbs.errors import (
    AdminDenied,
    PolicyDenied,
    SessionInvalid,
    SetupError,
    StorageError,
    TokenInvalid,
)
from kbs.protocol import tee_pubkey
from kbs.services import token_keys
from kbs.services.admin_tokens import AdminIdentity, AdminTokens
from kbs.services.tokens import Tokens
from kbs.sessions.challenge import Challenges
from tests.fuzz import seeds
from tests.fuzz.envelopes import jws, p256
from tests.fuzz.harness import Finding, Target, of_file, text
from tests.fuzz.seeds import lazily, these
from verifier.formats.strict import base64url
from verifier.policy.engine import PolicyError
from verifier.policy.lint import lint
from verifier.policy.source import check_source, with_data_in_input

AT = seeds.AT
COOKIE_KEY = bytes(range(32))


@cache
def _jwk() -> dict[str, str]:
    return tee_pubkey.jwk_of(p256(7).public_key())


@cache
def _challenges() -> Challenges:
    return Challenges(COOKIE_KEY, 300)


def _cookie(number: int) -> bytes:
    """As the broker writes one, with a nonce that is the same every time."""

    payload = bytes((1, 3)) + b"tdx" + (AT + 300).to_bytes(8, "big") + bytes((number,)) * 32
    return base64url(payload + _challenges()._mac(payload)).encode()


def _session(cookie: str) -> object:
    found = _challenges().open(cookie, AT)
    if cookie.encode() not in (_cookie(1), _cookie(2)):
        raise Finding("a cookie opens that was never issued")
    return found


@cache
def _token_keys() -> tuple[token_keys.TokenKey, ...]:
    return tuple(token_keys.TokenKey.of(p256(number)) for number in (11, 12))


def _tokens() -> Tokens:
    return Tokens(_token_keys, issuer="https://kbs", audience="https://kbs")


@cache
def _token() -> str:
    runtime = {"runtime_data_claims": {"nonce": "n", "tee-pubkey": _jwk()}}
    return jws(p256(11), (_token_keys()[0].header, {
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iss": "https://kbs", "aud": "https://kbs",
        "iat": AT, "exp": AT + 300, "jti": "t-1",
        "submods": {"cpu0": {"ear.status": "affirming", "ear.veraison.annotated-evidence": runtime}}}))


def _verified(token: str) -> object:
    found = _tokens().verify(token, AT)
    if token.rpartition(".")[0] != _token().rpartition(".")[0]:
        raise Finding("a token verifies that was never issued")
    return found


def _resigned(payload: bytes) -> object:
    """Claims that our own key signed, whatever they are."""
    return _tokens()._read(_token_keys()[0], payload)


def _claims() -> bytes:
    return urlsafe_b64decode(_token().split(".")[1] + "==")


@cache
def _admin() -> tuple[AdminTokens, str]:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = {"role": "admin", "exp": AT + 300, "iat": AT, "sub": "someone"}
    signed = ".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
                      for part in ({"alg": "EdDSA", "typ": "JWT"}, claims))
    token = f"{signed}.{urlsafe_b64encode(key.sign(signed.encode())).rstrip(b'=').decode()}"
    return AdminTokens([AdminIdentity.from_pem("owner", pem)], {"admin": "^/kbs/v0/.*$"}), token


def _administrator(token: str) -> object:
    found = _admin()[0].authorise(token, "/kbs/v0/resource/a/b/c", AT)
    if token.rpartition(".")[0] != _admin()[1].rpartition(".")[0]:
        raise Finding("an administrator's token verifies that nobody signed")
    return found


def _pem() -> Iterator[bytes]:
    blocks = [p256(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for number in (11, 12)]
    yield blocks[0]
    yield b"".join(blocks)
    yield p256(7).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _identity(pem: bytes) -> object:
    return AdminIdentity.from_pem("owner", pem)


def _audit_copy() -> bytes:
    record = next_record(bytes(32), 1, AT, "release", b'{"who":"guest"}')
    return b"".join(export.write([record], Head.at(1, record.hash, COOKIE_KEY)))


def _audit(data: bytes) -> object:
    records, head = export.read(io.BytesIO(data))
    found = tuple(records)
    if b"".join(export.write(found, head)) != data:
        raise Finding("a copy is read that is written otherwise")
    return found


def _config(path: Path) -> object:
    found = config.load(path, {})
    return found.address, found.url


def _environment(data: bytes) -> object:
    """Settings from the environment, which holds no NUL."""
    lines = (line.partition(b"=") for line in data.split(b"\n") if b"\0" not in line)
    surroundings = {name.decode("ascii", "replace"): value.decode("utf-8", "replace") for name, _, value in lines}
    return config.load(None, {"XDG_STATE_HOME": "/state"} | surroundings)


def _policy(source: str) -> object:
    check_source(source)
    with_data_in_input(source, ("reference", "token"))
    tree: Mapping[str, Any] = {"a": {"b": None}}
    return lint(source, outputs=("allow", "executables"), inputs=tree, data=tree)  # type: ignore[arg-type]


def _stored_token() -> bytes:
    """As storage has it, with a nonce that is the same every time."""
    challenge = _challenges().open(_cookie(1).decode(), AT)
    return bytes(12) + challenge._cipher().encrypt(bytes(12), b"token", challenge.id)


def _sealed_token(data: bytes) -> object:
    return _challenges().open(_cookie(1).decode(), AT).open(data)


def _policies() -> list[bytes]:
    return [path.read_bytes() for path in sorted((seeds.PROJECT / "verifier" / "policy").rglob("*.rego"))]


TARGETS = (
    Target("broker.admin_key", _identity, (SetupError,), lazily(_pem)),
    Target("broker.admin_token", text(_administrator), (AdminDenied, PolicyDenied), lazily(lambda: [
        _admin()[1].encode()])),
    Target("broker.audit_copy", _audit, (SetupError,), lazily(lambda: [_audit_copy()])),
    Target("broker.config", of_file("kbs.toml", _config), (SetupError,), these(
        b'state = "/state"\nlisten = "127.0.0.1:8080"\n[limits]\nburst = 3\n[admin.roles]\na = "^/kbs/v0/a$"\n'
        b'[[admin.identity]]\nname = "n"\nkey = "k.pem"\n', b'insecure_http = true\nlisten = "[::]:80"\n'),
        brief_runs=600),
    Target("broker.config_environment", _environment, (SetupError,), these(
        b"KBS_LISTEN=127.0.0.1:1\nKBS_TOKEN_LIFETIME=60\nKBS_TRUST_COLLATERAL=a,b\nKBS_INSECURE_HTTP=true"),
        brief_runs=600),
    Target("broker.cookie", text(_session), (SessionInvalid,), lazily(lambda: [_cookie(1), _cookie(2)])),
    Target("broker.policy_source", text(_policy), (PolicyError,), _policies, brief_runs=200),
    Target("broker.sealed_token", _sealed_token, (StorageError,), lazily(lambda: [_stored_token()])),
    Target("broker.token", text(_verified), (TokenInvalid,), lazily(lambda: [_token().encode()])),
    Target("broker.token_claims", _resigned, (TokenInvalid,), lazily(lambda: [_claims()])),
    Target("broker.token_keys", token_keys.read, (SetupError,), lazily(_pem), brief_runs=600),
)
