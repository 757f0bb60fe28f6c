"""The client against a real broker on a real socket, by the book and otherwise."""

from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.errors import AttesterError, BrokerError, SetupError
from attestation.kbc.refusals import BrokerRefusedError
from kbs.protocol import init_data, jwe, messages, tee_pubkey
from kbs.protocol.runtime_data import HashAlgorithm

URI = "kbs:///default/key/1"


def refused(client: Any, uri: str = URI) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        client.resource(uri)
    return caught.value


def test_secret_is_fetched_with_one_handshake(broker: Any, guest: Any) -> None:
    assert guest.client(broker.url).resource(URI) == b"the secret"
    assert [(method, path) for method, path, _ in broker.requests] == [
        ("POST", "/kbs/v0/auth"), ("POST", "/kbs/v0/attest"), ("GET", "/kbs/v0/resource/default/key/1")]
    assert guest.slept == []


def test_one_attestation_serves_many_resources_and_the_token(broker: Any, guest: Any) -> None:
    broker.secrets["default/key/2"] = b"another"
    client = guest.client(broker.url)
    assert client.resource(URI) == b"the secret"
    assert client.resource("default/key/2") == b"another"
    assert client.resource("kbs://elsewhere:1/default/key/1") == b"the secret"
    assert client.token() in broker.tokens
    assert broker.attested == 1
    assert len(guest.asked) == 1


def test_cookie_and_bearer_go_with_every_fetch(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url)
    client.resource(URI)
    headers = broker.of("/1")[0][2]
    assert headers["Cookie"] == "kbs-session-id=session0"
    assert headers["Authorization"] == f"Bearer {client.token()}"


def test_cookie_renewed_at_attestation_replaces_the_first(broker: Any, guest: Any, reply: Any) -> None:
    broker.once("/attest", lambda r: reply(r.status, r.body, {"Set-Cookie": "kbs-session-id=renewed"}))
    guest.client(broker.url).resource(URI)
    assert broker.of("/1")[0][2]["Cookie"] == "kbs-session-id=renewed"


def test_prefix_of_the_url_is_kept(broker: Any, guest: Any) -> None:
    broker.secrets["/prefix/kbs/v0/x"] = b""
    with pytest.raises(BrokerError):
        guest.client(broker.url + "/prefix/").token()
    assert broker.requests[0][1] == "/prefix/kbs/v0/auth"


def test_token_is_renewed_shortly_before_it_expires(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url)
    client.token()
    guest.now += 300 - 30 - 0.001
    client.token()
    assert broker.attested == 1
    guest.now += 0.002
    client.token()
    assert broker.attested == 2


def test_margin_of_a_short_life_is_a_tenth_of_it(broker: Any, guest: Any) -> None:
    broker.lifetime = 10
    client = guest.client(broker.url)
    client.token()
    guest.now += 8.9
    client.token()
    assert broker.attested == 1
    guest.now += 0.2
    client.token()
    assert broker.attested == 2


def test_the_guests_key_is_made_once_and_is_p256(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url)
    client.token()
    guest.now += 1000
    client.token()
    keys = {json.loads(body)["runtime-data"]["tee-pubkey"]["x"] for body in broker.bodies if b"tee-pubkey" in body}
    assert len(keys) == 1
    assert b'"crv":"P-256"' in broker.bodies[1]


def test_threads_share_one_attestation(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url)
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(client.resource, [URI] * 64)) == {b"the secret"}
    assert broker.attested == 1


def test_threads_share_a_failing_attestation_too(broker: Any, guest: Any, problem: Any) -> None:
    arrived = threading.Barrier(8, timeout=10)
    refusal = problem(401, "AttestationFailed")
    refusal.seconds_before = 0.2
    broker.always("/attest", lambda _: refusal)
    client = guest.client(broker.url)

    def ask(_: int) -> str:
        arrived.wait()
        return refused(client).id

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"kbc.attestation_refused"}
    assert len(broker.of("/attest")) < 8


def test_broker_may_select_another_hash_that_was_offered(broker: Any, guest: Any) -> None:
    broker.hash = HashAlgorithm.SHA512
    assert guest.client(broker.url).resource(URI) == b"the secret"
    assert guest.asked[0][48:] != bytes(16)


def test_what_the_guest_binds_is_what_the_broker_recomputes(broker: Any, guest: Any) -> None:
    guest.client(broker.url).token()
    assert len(guest.asked[0]) == 64
    assert guest.asked[0][48:] == bytes(16)


# -- the broker says no ------------------------------------------------------------------------------------------------

def test_refused_evidence_is_not_offered_again(broker: Any, guest: Any) -> None:
    # The guest is told one hash and the broker expects the other, so the evidence binds the wrong digest.
    broker.hash = HashAlgorithm.SHA512
    broker.once("/auth", lambda r: type(r)(200, r.body.replace(b"sha512", b"sha384"), r.headers))
    error = refused(guest.client(broker.url))
    assert isinstance(error, BrokerRefusedError)
    assert (error.id, error.status, error.broker_id, error.reference) == (
        "kbc.attestation_refused", 401, "kbs.attestation.refused", "R-17")
    assert "kbs.attestation.refused" in error.detail
    assert "R-17" in error.detail
    assert len(broker.of("/attest")) == 1


@pytest.mark.parametrize(("status", "variant", "id"), [
    (403, "PolicyDeny", "kbc.denied"),
    (401, "PolicyDeny", "kbc.denied"),
    (404, "ResourceNotFound", "kbc.not_found"),
    (401, "PluginInternalError", "kbc.not_found"),
    (400, "BadRequest", "kbc.request"),
    (413, "TooLarge", "kbc.request"),
])
def test_a_no_is_taken_for_an_answer(broker: Any, guest: Any, problem: Any, status: int, variant: str,
                                     id: str) -> None:
    broker.always("/1", lambda _: problem(status, variant, id="kbs.x", reference="R-1"))
    client = guest.client(broker.url)
    client.token()
    error = refused(client)
    assert isinstance(error, BrokerRefusedError)
    assert (error.id, error.status, error.reference) == (id, status, "R-1")
    assert f"because of {variant}" in error.detail
    assert len(broker.of("/1")) == 1
    assert broker.attested == 1


def test_token_that_was_held_and_serves_no_longer_is_earned_anew_once(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url)
    client.token()
    broker.tokens.clear()
    assert client.resource(URI) == b"the secret"
    assert broker.attested == 2


def test_token_that_was_just_earned_and_does_not_serve_is_not_earned_again(broker: Any, guest: Any,
                                                                           problem: Any) -> None:
    broker.always("/1", lambda _: problem(401, "TokenNotFound"))
    assert refused(guest.client(broker.url)).id == "kbc.unauthenticated"
    assert broker.attested == 1


def test_broker_that_never_accepts_its_own_tokens_costs_two_attestations(broker: Any, guest: Any, problem: Any) -> None:
    broker.always("/1", lambda _: problem(401, "TokenNotFound"))
    client = guest.client(broker.url)
    client.token()
    assert refused(client).id == "kbc.unauthenticated"
    assert broker.attested == 2


def test_refusal_without_a_body_of_the_protocol_is_told_by_its_status(broker: Any, guest: Any, reply: Any) -> None:
    broker.always("/1", lambda _: reply(403, b"<html>forbidden</html>"))
    error = refused(guest.client(broker.url))
    assert error.id == "kbc.denied"
    assert "html" not in error.detail


def test_what_the_broker_tells_cannot_steer_a_terminal(broker: Any, guest: Any, reply: Any) -> None:
    body = messages.encode(messages.ErrorBody(type="x", detail="\x1b[2J\r\n" + "y" * 5000, id="\x07", reference="\x1b"))
    broker.always("/1", lambda _: reply(403, body))
    error = refused(guest.client(broker.url))
    assert str(error).isprintable()
    assert len(str(error)) < 500


# -- the broker is ill -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("ending", ["/auth", "/attest", "/1"])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_passing_illness_is_waited_for(broker: Any, guest: Any, reply: Any, ending: str, status: int) -> None:
    broker.once(ending, lambda _: reply(status, b""), times=3)
    assert guest.client(broker.url).resource(URI) == b"the secret"
    assert guest.slept == [0.25, 0.5, 1.0]


def test_pauses_are_shortened_at_random_by_up_to_a_half(broker: Any, guest: Any, reply: Any) -> None:
    guest.jitter = 1.0
    broker.once("/auth", lambda _: reply(503, b""), times=3)
    guest.client(broker.url).token()
    assert guest.slept == [0.125, 0.25, 0.5]


def test_failed_attestation_begins_again_with_another_challenge(broker: Any, guest: Any, reply: Any) -> None:
    broker.once("/attest", lambda _: reply(503, b""), times=2)
    guest.client(broker.url).token()
    nonces = [json.loads(body)["runtime-data"]["nonce"] for body in broker.bodies if b"runtime-data" in body]
    assert len(set(nonces)) == len(nonces) == 3
    assert len(set(guest.asked)) == 3


def test_answer_lost_on_the_way_is_asked_for_again(broker: Any, guest: Any, reply: Any) -> None:
    for ending in ("/auth", "/attest", "/1"):
        broker.once(ending, lambda r: reply(r.status, r.body, r.headers, cut_after=5))
    assert guest.client(broker.url).resource(URI) == b"the secret"
    assert broker.attested == 2


def test_retry_after_is_obeyed(broker: Any, guest: Any, reply: Any) -> None:
    broker.once("/auth", lambda _: reply(429, b"", {"Retry-After": "17"}))
    guest.client(broker.url).token()
    assert guest.slept == [17.0]


def test_retry_after_beyond_the_deadline_ends_it_at_once(broker: Any, guest: Any, reply: Any) -> None:
    broker.always("/auth", lambda _: reply(429, b"", {"Retry-After": "3600"}))
    assert refused(guest.client(broker.url)).id == "kbc.unavailable"
    assert guest.slept == []


@pytest.mark.parametrize("text", ["soon", "-5", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 400, "\u00b2", ""])
def test_retry_after_that_says_nothing_is_not_obeyed(broker: Any, guest: Any, reply: Any, text: str) -> None:
    broker.once("/auth", lambda _: reply(503, b"", {"Retry-After": text}))
    guest.client(broker.url).token()
    assert guest.slept == [0.25]


def test_lasting_illness_ends_with_the_deadline(broker: Any, guest: Any, reply: Any) -> None:
    broker.always("/auth", lambda _: reply(503, b""))
    client = guest.client(broker.url, deadline=30)
    error = refused(client)
    assert isinstance(error, BrokerRefusedError)
    assert (error.id, error.status) == ("kbc.unavailable", 503)
    assert guest.now < 1030
    assert max(guest.slept) <= 10


def test_broker_that_is_not_there_is_tried_until_the_deadline(guest: Any) -> None:
    error = refused(guest.client("http://127.0.0.1:9", deadline=5))
    assert error.id == "kbc.unreachable"
    assert len(guest.slept) > 2


def test_broker_that_hangs_is_given_up(broker: Any, guest: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attestation.kbc.transport.READ_SECONDS", 0.05)
    broker.always("/auth", lambda r: reply(r.status, r.body, r.headers, seconds_before=1))
    assert refused(guest.client(broker.url, deadline=1)).id == "kbc.unreachable"


def test_answer_that_trickles_is_given_up_at_the_deadline(broker: Any, guest: Any, reply: Any,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs out between two pieces of an answer that never stops coming."""
    from urllib3 import HTTPResponse

    read1 = HTTPResponse.read1

    def late(self: Any, amt: int | None = None) -> bytes:
        guest.now += 40
        return read1(self, 1)

    monkeypatch.setattr(HTTPResponse, "read1", late)
    assert refused(guest.client(broker.url)).id == "kbc.deadline"


# -- the broker lies ---------------------------------------------------------------------------------------------------

def with_nonce(raw: bytes) -> Any:
    text = base64.b64encode(raw).decode()
    return lambda r: type(r)(200, messages.encode(messages.Challenge(nonce=text)), r.headers)


@pytest.mark.parametrize("change", [
    with_nonce(bytes(31)), with_nonce(bytes(33)), with_nonce(b""), with_nonce(bytes(64)),
    lambda r: type(r)(200, b'{"nonce":"not base64 at all","extra-params":""}', r.headers),
    lambda r: type(r)(200, b'{"nonce":"A","nonce":"B","extra-params":""}', r.headers),
    lambda r: type(r)(200, b"garbage", r.headers),
    lambda r: type(r)(200, b"", r.headers),
    lambda r: type(r)(200, r.body.replace(b'"extra-params":""', b'"extra-params":{"selected-hash-algorithm":"md5"}'),
                      r.headers),
], ids=range(9))
def test_malformed_challenge_gets_no_evidence(broker: Any, guest: Any, change: Any) -> None:
    broker.always("/auth", change)
    assert refused(guest.client(broker.url)).id == "kbc.malformed"
    assert guest.asked == []


@pytest.mark.parametrize("headers", [{}, {"Set-Cookie": "other=1"}, {"Set-Cookie": "kbs-session-id="},
                                     {"Set-Cookie": "kbs-session-id=a b"}, {"Set-Cookie": "xkbs-session-id=a"}])
def test_challenge_without_a_session_gets_no_evidence(broker: Any, guest: Any, reply: Any,
                                                      headers: dict[str, str]) -> None:
    broker.always("/auth", lambda r: reply(200, r.body, headers))
    assert refused(guest.client(broker.url)).id == "kbc.session"
    assert guest.asked == []


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token":""}', b'{"token":1}', b"[]", b'{"token":"a","token":"b"}'])
def test_malformed_token_answer_is_refused(broker: Any, guest: Any, reply: Any, body: bytes) -> None:
    broker.always("/attest", lambda _: reply(200, body))
    assert refused(guest.client(broker.url)).id == "kbc.malformed"


def test_token_that_is_no_jwt_with_an_expiry_is_refused(broker: Any, guest: Any, reply: Any, jwt: Any) -> None:
    for token in ("x", "a.b", "a.b.c", "....", jwt({}), jwt({"exp": "soon"}), jwt({"exp": -1}), jwt({"exp": True}),
                  jwt({"iat": 10, "exp": 10}), jwt({"iat": 10, "exp": 9}), jwt({"exp": 1}) + "\r\nHost: evil",
                  jwt({"exp": 1}) + " ", jwt({"exp": 1}) + "\n"):
        told = messages.encode(messages.TokenAnswer(token))
        broker.changes = [lambda path, _, told=told: reply(200, told) if path.endswith("/attest") else None]
        assert refused(guest.client(broker.url)).id == "kbc.token", token


def test_token_without_time_of_issue_is_kept_for_a_minute(broker: Any, guest: Any, reply: Any, jwt: Any) -> None:
    told = messages.encode(messages.TokenAnswer(jwt({"exp": 2**33})))
    broker.always("/attest", lambda _: reply(200, told))
    client = guest.client(broker.url)
    client.token()
    guest.now += 53
    client.token()
    assert len(broker.of("/attest")) == 1
    guest.now += 2
    client.token()
    assert len(broker.of("/attest")) == 2


def test_token_is_not_kept_longer_than_a_day(broker: Any, guest: Any) -> None:
    broker.lifetime = 10.0 * 365 * 24 * 3600
    client = guest.client(broker.url)
    client.token()
    guest.now += 24 * 3600
    client.token()
    assert broker.attested == 2


def test_envelope_for_another_key_is_refused(broker: Any, guest: Any, reply: Any) -> None:
    other = tee_pubkey.parse(tee_pubkey.jwk_of(ec.generate_private_key(ec.SECP256R1()).public_key()))
    broker.always("/1", lambda _: reply(200, jwe.encrypt(b"mine", other)))
    error = refused(guest.client(broker.url))
    assert error.id == "kbc.envelope"
    assert "protocol.jwe.decrypt" in error.detail


@pytest.mark.parametrize("body", [b"", b"the secret in the clear", b"{}", b"[]", b"\xff" * 100])
def test_secret_that_is_not_in_an_envelope_is_refused(broker: Any, guest: Any, reply: Any, body: bytes) -> None:
    broker.always("/1", lambda _: reply(200, body))
    assert refused(guest.client(broker.url)).id == "kbc.envelope"


@pytest.mark.parametrize("ending", ["/auth", "/attest", "/1"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(broker: Any, guest: Any, reply: Any, ending: str, status: int) -> None:
    broker.always(ending, lambda _: reply(status, b"", {"Location": "http://127.0.0.1:1/kbs/v0/auth"}))
    error = refused(guest.client(broker.url))
    assert (error.id, error.got) == ("kbc.redirect", status)


@pytest.mark.parametrize(("ending", "size"), [
    ("/auth", messages.MAX_CHALLENGE_BYTES), ("/attest", messages.MAX_TOKEN_ANSWER_BYTES), ("/1", jwe.MAX_JWE_BYTES),
])
def test_oversized_answer_is_not_read_to_its_end(broker: Any, guest: Any, reply: Any, ending: str, size: int) -> None:
    broker.always(ending, lambda r: reply(200, b" " * (size + 1), r.headers))
    assert refused(guest.client(broker.url)).id == "kbc.answer.size"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_compressed_answer_is_refused(broker: Any, guest: Any, reply: Any, encoding: str) -> None:
    broker.always("/auth", lambda r: reply(200, r.body, r.headers | {"Content-Encoding": encoding}))
    assert refused(guest.client(broker.url)).id == "kbc.encoding"
    assert broker.requests[0][2]["Accept-Encoding"] == "identity"


# -- the guest's own part ----------------------------------------------------------------------------------------------

def test_failing_attester_is_told_and_not_tried_again(broker: Any, guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> Any:
        raise AttesterError("attester.tsm.io", "no")

    monkeypatch.setattr(guest, "evidence", fail)
    with pytest.raises(AttesterError) as caught:
        guest.client(broker.url).resource(URI)
    assert caught.value.id == "attester.tsm.io"
    assert len(broker.requests) == 1


@pytest.mark.parametrize("uri", ["", "a/b/../c", "http://x/a/b/c", "kbs:///a/b/c\n", "kbs:///a/%2e%2e/c"])
def test_what_is_no_resource_uri_reaches_no_broker(broker: Any, guest: Any, uri: str) -> None:
    with pytest.raises(SetupError) as caught:
        guest.client(broker.url).resource(uri)
    assert caught.value.id == "kbc.resource"
    assert broker.requests == []


def test_other_plugins_are_reached_with_their_query(broker: Any, guest: Any) -> None:
    broker.secrets["/kbs/v0/nebula-ca/credential?name=pod"] = b"credential"
    assert guest.client(broker.url).resource("kbs+nebula-ca:///credential?name=pod") == b"credential"


DOCUMENT = b'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n'


def test_init_data_that_the_hardware_does_not_vouch_for_is_not_sent(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url, init_data=init_data.parse(DOCUMENT))
    with pytest.raises(AttesterError) as caught:
        client.resource(URI)
    assert caught.value.id == "attester.init_data"
    assert broker.of("/attest") == []


def test_secrets_and_tokens_stay_out_of_representations(broker: Any, guest: Any) -> None:
    client = guest.client(broker.url)
    client.resource(URI)
    token = client.token()
    earned, _ = client._earned
    assert token not in repr(earned)
    assert "session0" not in repr(earned)
    assert token not in repr(client)


def test_interrupted_attestation_leaves_the_next_caller_free(broker: Any, guest: Any,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    client = guest.client(broker.url)
    with monkeypatch.context() as patch:
        patch.setattr(guest, "evidence", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            client.token()
    assert client.resource(URI) == b"the secret"
