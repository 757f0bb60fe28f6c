"""What guests, administrators and operators send a broker: `kbs`, and the text of policies."""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from kbs import config
from kbs.audit import export
from kbs.audit.record import Head, next_record
from kbs.errors import (
    AdminDenied,
    MalformedAnswer,
    MalformedRequest,
    PolicyDenied,
    SessionInvalid,
    SetupError,
    StorageError,
    TokenInvalid,
    TooLarge,
    UnsupportedVersion,
)
from kbs.protocol import init_data, jwe, messages, tee_pubkey
from kbs.protocol.init_data import InitData
from kbs.protocol.resource_uri import ResourcePath, ResourceUri
from kbs.protocol.runtime_data import HashAlgorithm, device_digest, hash_offer, primary_digest, selected_hash
from kbs.services import token_keys
from kbs.services.admin_tokens import AdminIdentity, AdminTokens
from kbs.services.init_data_claims import init_data_claims
from kbs.services.tokens import Tokens
from kbs.sessions.challenge import Challenges
from tests.fuzz import seeds
from tests.fuzz.harness import Finding, Target, text
from tests.fuzz.seeds import lazily, these
from verifier.policy.engine import PolicyError
from verifier.policy.lint import lint
from verifier.policy.source import check_source, with_data_in_input

AT = seeds.AT
ANSWER = (MalformedAnswer, TooLarge)
REQUEST = (MalformedRequest, TooLarge)
COOKIE_KEY = bytes(range(32))
INIT_DATA = (b'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = \'\'\'\n[token_configs.kbs]\nurl = "https://kbs"\n'
             b'\'\'\'\n"policy.rego" = """\npackage agent_policy\npolicy_data := {"a": [1]}\n"""\n')
REQUESTS = these(
    messages.encode(messages.Request(tee="tdx", extra_params=hash_offer(HashAlgorithm))),
    b'{"version":"0.4.0","tee":"snp","extra-params":""}')
CHALLENGES = these(
    messages.encode(messages.Challenge(nonce=b64encode(bytes(32)).decode())),
    messages.encode(messages.Challenge(nonce="n", extra_params={"selected-hash-algorithm": "sha512"})))


@cache
def _key(number: int) -> ec.EllipticCurvePrivateKey:
    """Keys that are the same every time."""
    return ec.derive_private_key(number, ec.SECP256R1())


@cache
def _jwk() -> dict[str, str]:
    return tee_pubkey.jwk_of(_key(7).public_key())


@cache
def _rsa_jwk() -> dict[str, str]:
    modulus = (1 << 2047) + (1 << 1024) + 1
    return {"kty": "RSA", "alg": tee_pubkey.RSA_OAEP_256, "e": "AQAB",
            "n": urlsafe_b64encode(modulus.to_bytes(256, "big")).rstrip(b"=").decode()}


def _attestation() -> bytes:
    return messages.encode(messages.Attestation(
        init_data=messages.InitDataDocument("toml", INIT_DATA.decode()),
        runtime_data=messages.RuntimeData(b64encode(bytes(32)).decode(), _jwk()),
        tee_evidence=messages.TeeEvidence({"quote": "AAAA"}, '{"nvidia": {"device_evidence_list": []}}')))


def _attested(body: bytes) -> object:
    """All that is read of an attestation before its evidence is judged."""
    message = messages.decode_attestation(body)
    further = messages.decode_additional_evidence(message.tee_evidence.additional_evidence)
    document = None if message.init_data is None else init_data.parse(message.init_data.body.encode())
    runtime = message.runtime_data
    key = tee_pubkey.parse(runtime.tee_pubkey)
    return (further, document and init_data_claims(document), key,
            primary_digest(runtime.nonce, runtime.tee_pubkey, message.tee_evidence.additional_evidence),
            device_digest(runtime.nonce, runtime.tee_pubkey))


def _same_message(decode: Callable[[bytes], Any]) -> Callable[[bytes, Any], None]:
    def check(_: bytes, message: Any) -> None:
        if decode(messages.encode(message)) != message:
            raise Finding("a message that was written is read as another")
    return check


def _selected(challenge: bytes) -> object:
    message = messages.decode_challenge(challenge)
    offered = messages.Request(tee="tdx", extra_params=hash_offer(HashAlgorithm))
    return selected_hash(offered, message), messages.nonce_bytes(message.nonce)


def _parsed_jwk(data: bytes) -> object:
    try:
        value = msgspec.json.decode(data, type=messages.Jwk)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # refused with the message that it stands in
    found = tee_pubkey.parse(value), tee_pubkey.parse(value, allow_rsa1_5=True)
    if tee_pubkey.jwk_of(found[0].key) != value:
        raise Finding("one key has two JWKs")
    return found


def _opened(data: bytes) -> bytes:
    """An envelope for our key; whatever opens is what was enclosed."""
    plain = jwe.decrypt(data, _key(7))
    if plain != b"the secret":
        raise Finding("an envelope that was altered opens")
    return plain


@cache
def _challenges() -> Challenges:
    return Challenges(COOKIE_KEY, 300)


def _cookie(number: int) -> bytes:
    """As the broker writes one, with a nonce that is the same every time."""
    from kbs.sessions import challenge

    payload = bytes((1, 3)) + b"tdx" + (AT + 300).to_bytes(8, "big") + bytes((number,)) * 32
    return challenge._encode(payload + _challenges()._mac(payload)).encode()


def _session(cookie: str) -> object:
    found = _challenges().open(cookie, AT)
    if cookie.encode() not in (_cookie(1), _cookie(2)):
        raise Finding("a cookie opens that was never issued")
    return found


@cache
def _token_keys() -> tuple[token_keys.TokenKey, ...]:
    return tuple(token_keys.TokenKey.of(_key(number)) for number in (11, 12))


def _tokens() -> Tokens:
    return Tokens(_token_keys, issuer="https://kbs", audience="https://kbs")


@cache
def _token() -> str:
    runtime = {"runtime_data_claims": {"nonce": "n", "tee-pubkey": _jwk()}}
    return _tokens().issue({
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iss": "https://kbs", "aud": "https://kbs",
        "iat": AT, "exp": AT + 300, "jti": "t-1",
        "submods": {"cpu0": {"ear.status": "affirming", "ear.veraison.annotated-evidence": runtime}}})


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
    blocks = [_key(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for number in (11, 12)]
    yield blocks[0]
    yield b"".join(blocks)
    yield _key(7).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


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


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="attestkit-fuzz-kbs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _config(data: bytes) -> object:
    path = _folder() / "kbs.toml"
    path.write_bytes(data)
    found = config.load(path, {})
    return found.address, found.url


def _environment(data: bytes) -> object:
    """Settings from the environment, which holds no NUL."""
    lines = (line.partition(b"=") for line in data.split(b"\n") if b"\0" not in line)
    surroundings = {name.decode("ascii", "replace"): value.decode("utf-8", "replace") for name, _, value in lines}
    return config.load(None, {"XDG_STATE_HOME": "/state"} | surroundings)


def _bound(_: bytes, document: InitData) -> None:
    init_data_claims(document)
    for tee in init_data.FIELD_BYTES:
        document.field_for(tee)


def _policy(source: str) -> object:
    check_source(source)
    with_data_in_input(source, ("reference", "token"))
    tree: Mapping[str, Any] = {"a": {"b": None}}
    return lint(source, outputs=("allow", "executables"), inputs=tree, data=tree)  # type: ignore[arg-type]


def _sealed_token(data: bytes) -> object:
    return _challenges().open(_cookie(1).decode(), AT).open(data)


def _policies() -> list[bytes]:
    return [path.read_bytes() for path in sorted((seeds.PROJECT / "verifier" / "policy").rglob("*.rego"))]


TARGETS = (
    Target("kbs.additional_evidence", text(messages.decode_additional_evidence), REQUEST, these(
        b'{"nvidia": {"device_evidence_list": []}}', b"")),
    Target("kbs.admin_key", _identity, (SetupError,), lazily(_pem)),
    Target("kbs.admin_token", text(_administrator), (AdminDenied, PolicyDenied), lazily(lambda: [
        _admin()[1].encode()])),
    Target("kbs.attestation", messages.decode_attestation, REQUEST, lazily(lambda: [_attestation()]),
           (_same_message(messages.decode_attestation),)),
    Target("kbs.attested", _attested, REQUEST, lazily(lambda: [_attestation()])),
    Target("kbs.audit_copy", _audit, (SetupError,), lazily(lambda: [_audit_copy()])),
    Target("kbs.challenge", messages.decode_challenge, ANSWER, CHALLENGES, (_same_message(messages.decode_challenge),)),
    Target("kbs.config", _config, (SetupError,), these(
        b'state = "/state"\nlisten = "127.0.0.1:8080"\n[limits]\nburst = 3\n[admin.roles]\na = "^/kbs/v0/a$"\n'
        b'[[admin.identity]]\nname = "n"\nkey = "k.pem"\n', b'insecure_http = true\nlisten = "[::]:80"\n'),
        brief_runs=600),
    Target("kbs.config_environment", _environment, (SetupError,), these(
        b"KBS_LISTEN=127.0.0.1:1\nKBS_TOKEN_LIFETIME=60\nKBS_TRUST_COLLATERAL=a,b\nKBS_INSECURE_HTTP=true"),
        brief_runs=600),
    Target("kbs.cookie", text(_session), (SessionInvalid,), lazily(lambda: [_cookie(1), _cookie(2)])),
    Target("kbs.error", messages.decode_error, ANSWER, these(
        messages.encode(messages.ErrorBody(messages.ERROR_TYPE_PREFIX + "PolicyDeny", "no", "a.b", "c"))),
        (lambda _, body: body.variant,)),
    Target("kbs.init_data", init_data.parse, REQUEST, these(INIT_DATA), (_bound,)),
    Target("kbs.jwe", _opened, ANSWER, lazily(lambda: [jwe.encrypt(b"the secret", tee_pubkey.parse(_jwk()))])),
    Target("kbs.policy_source", text(_policy), (PolicyError,), _policies, brief_runs=200),
    Target("kbs.request", messages.decode_request, (*REQUEST, UnsupportedVersion), REQUESTS,
           (_same_message(messages.decode_request),)),
    Target("kbs.resource_path", text(ResourcePath.parse), (MalformedRequest,), these(
        b"kbs:///repository/type/tag", b"/a/b/c", b"kbs://host:8080/a/b/c"),
        (lambda _, path: _same_path(path),)),
    Target("kbs.resource_uri", text(ResourceUri.parse), (MalformedRequest,), these(
        b"kbs+plugin://[::1]:80/a/b?c=d", b"kbs:///repository/type/tag"), (lambda _, uri: uri.target,)),
    Target("kbs.sealed_token", _sealed_token, (StorageError,), lazily(lambda: [
        _challenges().open(_cookie(1).decode(), AT).seal("token")])),
    Target("kbs.selected_hash", _selected, ANSWER, CHALLENGES),
    Target("kbs.tee_pubkey", _parsed_jwk, (MalformedRequest,), lazily(lambda: [
        json.dumps(_jwk()).encode(), json.dumps(_rsa_jwk()).encode()])),
    Target("kbs.token", text(_verified), (TokenInvalid,), lazily(lambda: [_token().encode()])),
    Target("kbs.token_answer", messages.decode_token_answer, ANSWER, these(b'{"token":"a.b.c"}'),
           (_same_message(messages.decode_token_answer),)),
    Target("kbs.token_claims", _resigned, (TokenInvalid,), lazily(lambda: [_claims()])),
    Target("kbs.token_keys", token_keys.read, (SetupError,), lazily(_pem), brief_runs=600),
)


def _same_path(path: ResourcePath) -> None:
    if ResourcePath.parse(str(path)) != path or ResourcePath.parse(path.path) != path:
        raise Finding("one resource has two names")
