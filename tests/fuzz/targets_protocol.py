"""What guest and broker say to each other: `kbs.protocol`."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from kbs.errors import (
    MalformedAnswer,
    MalformedRequest,
    TooLarge,
    UnsupportedVersion,
)
from kbs.protocol import init_data, jwe, messages, tee_pubkey
from kbs.protocol.init_data import InitData
from kbs.protocol.resource_uri import ResourcePath, ResourceUri
from kbs.protocol.runtime_data import HashAlgorithm, device_digest, hash_offer, primary_digest, selected_hash
from kbs.services.init_data_claims import init_data_claims
from tests.fuzz import envelopes
from tests.fuzz.envelopes import p256
from tests.fuzz.harness import Finding, Target, text
from tests.fuzz.seeds import lazily, these

ANSWER = (MalformedAnswer, TooLarge)
REQUEST = (MalformedRequest, TooLarge)
INIT_DATA = (b'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = \'\'\'\n[token_configs.kbs]\nurl = "https://kbs"\n'
             b'\'\'\'\n"policy.rego" = """\npackage agent_policy\npolicy_data := {"a": [1]}\n"""\n')
REQUESTS = these(
    messages.encode(messages.Request(tee="tdx", extra_params=hash_offer(HashAlgorithm))),
    b'{"version":"0.4.0","tee":"snp","extra-params":""}')
CHALLENGES = these(
    messages.encode(messages.Challenge(nonce=b64encode(bytes(32)).decode())),
    messages.encode(messages.Challenge(nonce="n", extra_params={"selected-hash-algorithm": "sha512"})))


@cache
def _jwk() -> dict[str, str]:
    return tee_pubkey.jwk_of(p256(7).public_key())


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
    plain = jwe.decrypt(data, p256(7))
    if plain != b"the secret":
        raise Finding("an envelope that was altered opens")
    return plain


def _bound(_: bytes, document: InitData) -> None:
    init_data_claims(document)
    for tee in init_data.FIELD_BYTES:
        document.field_for(tee)


def _same_path(path: ResourcePath) -> None:
    if ResourcePath.parse(str(path)) != path or ResourcePath.parse(path.path) != path:
        raise Finding("one resource has two names")


TARGETS = (
    Target("protocol.additional_evidence", text(messages.decode_additional_evidence), REQUEST, these(
        b'{"nvidia": {"device_evidence_list": []}}', b"")),
    Target("protocol.attestation", messages.decode_attestation, REQUEST, lazily(lambda: [_attestation()]),
           (_same_message(messages.decode_attestation),)),
    Target("protocol.attested", _attested, REQUEST, lazily(lambda: [_attestation()])),
    Target("protocol.challenge", messages.decode_challenge, ANSWER, CHALLENGES,
           (_same_message(messages.decode_challenge),)),
    Target("protocol.error", messages.decode_error, ANSWER, these(
        messages.encode(messages.ErrorBody(messages.ERROR_TYPE_PREFIX + "PolicyDeny", "no", "a.b", "c"))),
        (lambda _, body: body.variant,)),
    Target("protocol.init_data", init_data.parse, REQUEST, these(INIT_DATA), (_bound,)),
    Target("protocol.jwe", _opened, ANSWER, lazily(lambda: [envelopes.jwe(b"the secret", p256(7).public_key())])),
    Target("protocol.request", messages.decode_request, (*REQUEST, UnsupportedVersion), REQUESTS,
           (_same_message(messages.decode_request),)),
    Target("protocol.resource_path", text(ResourcePath.parse), (MalformedRequest,), these(
        b"kbs:///repository/type/tag", b"/a/b/c", b"kbs://host:8080/a/b/c"),
        (lambda _, path: _same_path(path),)),
    Target("protocol.resource_uri", text(ResourceUri.parse), (MalformedRequest,), these(
        b"kbs+plugin://[::1]:80/a/b?c=d", b"kbs:///repository/type/tag"), (lambda _, uri: uri.target,)),
    Target("protocol.selected_hash", _selected, ANSWER, CHALLENGES),
    Target("protocol.tee_pubkey", _parsed_jwk, (MalformedRequest,), lazily(lambda: [
        json.dumps(_jwk()).encode(), json.dumps(_rsa_jwk()).encode()])),
    Target("protocol.token_answer", messages.decode_token_answer, ANSWER, these(b'{"token":"a.b.c"}'),
           (_same_message(messages.decode_token_answer),)),
)
