"""What goes over the wire beside the messages: statuses, cookies, bounds, rates."""

from __future__ import annotations

import json

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from kbs import errors
from kbs.config import Limits, Tls
from kbs.services.decisions import Refused
from kbs.web import problems
from kbs.web.rate_limit import Buckets

STATUSES = {
    "MalformedRequest": 400, "UnsupportedVersion": 400, "UnsupportedTee": 400, "ProtocolError": 400,
    "SessionInvalid": 401, "TokenInvalid": 401, "AdminDenied": 401, "AuthenticationError": 500,
    "AttestationRefused": 403, "PolicyDenied": 403, "ResourceNotFound": 404, "Conflict": 409, "TooLarge": 413,
    "TooSlow": 408, "RateLimited": 429, "UndecidableEvidence": 503, "StorageError": 500, "SetupError": 500,
    "MalformedAnswer": 500, "KbsError": 500,
}


def test_every_error_has_its_status():
    found = {name: kind for name, kind in vars(errors).items()
             if isinstance(kind, type) and issubclass(kind, Exception)}
    assert set(found) == set(STATUSES)
    for name, kind in found.items():
        answer = problems.problem(kind("some.id", "a sentence"), "ref")
        body = json.loads(answer.data)
        assert (name, answer.status_code) == (name, STATUSES[name])
        assert set(body) <= {"type", "detail", "id", "reference"}
        assert body["type"].startswith("https://github.com/confidential-containers/kbs/errors/")
        assert body["reference"] == "ref"


def test_faults_of_ours_tell_nothing():
    body = problems.problem(errors.StorageError("storage.secret", "at /var/lib/kbs: no space left")).data
    assert b"storage" not in body
    assert b"/var/lib" not in body


def test_unexpected_exceptions_are_answered_and_tell_nothing(caplog):
    app = Flask("x")
    problems.handle(app)
    app.add_url_rule("/", "broken", lambda: {}["canary-key"])
    answer = app.test_client().get("/")
    assert answer.status_code == 500
    assert b"canary" not in answer.data
    assert "canary" not in caplog.text
    assert "KeyError" in caplog.text


def test_refusals_carry_their_reference():
    app = Flask("x")
    problems.handle(app)

    @app.get("/")
    def refuse():
        raise Refused(errors.PolicyDenied("release.policy", "because of the tree"), "abcd")

    answer = app.test_client().get("/")
    assert answer.json == {"type": "https://github.com/confidential-containers/kbs/errors/PolicyDeny",
                           "detail": "access denied by policy", "id": "release.policy", "reference": "abcd"}


def test_unauthorised_answers_say_how_to_authenticate(world):
    assert world.client().get("/kbs/v0/resource/default/key/one").headers["WWW-Authenticate"] == "Bearer"


def test_cookie_is_closed_to_scripts_and_other_sites(world):
    cookie = world.guest().auth().headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/kbs" in cookie
    assert "Max-Age=300" in cookie
    assert "Secure" not in cookie


@pytest.mark.parametrize("settings", [{"tls": Tls(certificate="c", key="k")}, {"public_url": "https://kbs.example"}])
def test_cookie_is_secure_where_guests_come_by_tls(world, settings):
    assert "Secure" in world.restart(**settings).guest().auth().headers["Set-Cookie"]


def test_answers_are_kept_out_of_caches(world):
    for path in ("/healthz", "/kbs/v0/resource/default/key/one", "/nowhere"):
        assert world.client().get(path).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("path", "size"), [
    ("/kbs/v0/auth", 16 * 1024), ("/kbs/v0/attest", 4 * 1024 * 1024), ("/kbs/v0/resource/a/b/c", 8 * 1024 * 1024),
    ("/kbs/v0/resource-policy", 512 * 1024), ("/kbs/v0/admin/revoked-tokens", 64 * 1024),
])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_are_bounded(world, path, size, chunked):
    class Source:
        """Gives zeros for ever, and counts."""

        given = 0

        def read(self, wanted=-1):
            wanted = size * 4 if wanted < 0 else wanted
            self.given += wanted
            return b"0" * wanted

    source = Source()
    length = {} if chunked else {"CONTENT_LENGTH": str(size + 1)}
    overrides = {"wsgi.input_terminated": True} if chunked else {}
    answer = world.client().open(path, method="POST", environ_overrides={"wsgi.input": source, **length, **overrides},
                                 headers={"Authorization": f"Bearer {world.admin_token()}"})
    assert (answer.status_code, source.given <= size + 1) == (413, True)


def test_body_of_exactly_the_bound_is_read(world):
    message = {"version": "0.4.0", "tee": "tdx", "extra-params": ""}
    padded = json.dumps(message).encode().ljust(16 * 1024)
    assert world.client().post("/kbs/v0/auth", data=padded).status_code == 200
    assert world.client().post("/kbs/v0/auth", data=padded + b" ").status_code == 413


@pytest.mark.parametrize("body", [b"", b"[", b"[" * 100_000, b"{}", b"null", b"\xff\xfe", b'{"version":1}',
                                  b'{"version":"0.4.0","tee":"tdx","extra-params":' + b"[" * 5000 + b"]" * 5000 + b"}"])
@pytest.mark.parametrize("path", ["/kbs/v0/auth", "/kbs/v0/attest"])
def test_bodies_that_are_no_message_are_refused(world, path, body):
    guest = world.guest()
    guest.auth()
    answer = guest.client.post(path, data=body)
    assert answer.status_code in (400, 413)
    assert answer.json["type"]


@given(body=st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["version", "tee", "extra-params", "runtime-data", "tee-evidence", "nonce", "tee-pubkey", "init-data", "kty"]),
        inner, max_size=4), max_leaves=12).map(lambda value: json.dumps(value).encode()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_whatever_makes_a_fault_of_ours(world, body):
    guest = world.guest()
    guest.auth()
    for path in ("/kbs/v0/auth", "/kbs/v0/attest"):
        assert guest.client.post(path, data=body).status_code in (200, 400, 401)


def test_address_that_asks_too_often_is_put_off(world):
    bounded = world.restart(limits=Limits(requests_per_second=1, burst=3))
    client = bounded.client()
    statuses = [client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.2"}).status_code == 200
    assert client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.1"}).headers["Retry-After"] == "1"
    assert {client.get("/healthz").status_code for _ in range(10)} == {200}


def test_buckets_fill_up_again_and_stay_few():
    now = [0.0]
    buckets = Buckets(rate=2, burst=4, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [True] * 4 + [False]
    now[0] = 1.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    now[0] = 1000.0
    assert [buckets.take("a") for _ in range(5)] == [True] * 4 + [False]
    for n in range(20_000):
        buckets.take(str(n))
    assert len(buckets._kept) <= 8192


def test_challenges_cost_no_memory(world):
    client = world.client()
    for _ in range(300):
        client.post("/kbs/v0/auth", json={"version": "0.4.0", "tee": "tdx", "extra-params": ""})
    with world.broker.handshake.sessions._database.reading() as link:
        assert link.one(text("SELECT count(*) FROM kbs_challenge"), {}) == (0,)


def test_long_header_is_no_crash(world):
    headers = {"Authorization": "Bearer " + "x" * 300_000}
    answer = world.client().get("/kbs/v0/resource/default/key/one", headers=headers)
    assert answer.status_code == 401
