"""Every route against every kind of caller."""

from __future__ import annotations

import base64

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from flask import Blueprint

from kbs.config import Admin
from kbs.errors import SetupError
from kbs.web.access import Access, GuardedFlask

PUBLIC = {("POST", "/kbs/v0/auth"), ("POST", "/kbs/v0/attest"), ("GET", "/healthz"), ("GET", "/readyz"),
          ("GET", "/.well-known/jwks.json"), ("GET", "/.well-known/openid-configuration")}
GUEST = {("GET", "/kbs/v0/resource/<repository>/<type>/<tag>")}
OPERATIONS = {("GET", "/metrics")}
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW")


def routes(app):
    return {(method, rule.rule): rule for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD"}}


def concrete(rule):
    return (rule.replace("<repository>", "default").replace("<type>", "key").replace("<tag>", "one")
            .replace("<path:name>", "mr_td").replace("<name>", "default_cpu"))


def callers(world, guest_token):
    stranger = ed25519.Ed25519PrivateKey.generate()
    now = int(world.clock())
    return {
        "none": None, "empty": "", "garbage": "x.y.z", "guest": guest_token,
        "expired": world.admin_token(exp=now - 1), "no role": world.admin_token(role=""),
        "wrong role": world.admin_token(role="reader"), "no expiry": world.admin_token(exp=None),
        "other key": jwt.encode({"role": "admin", "exp": now + 60}, stranger, "EdDSA"),
        "unsigned": jwt.encode({"role": "admin", "exp": now + 60}, None, "none"),
        "shared secret": jwt.encode({"role": "admin", "exp": now + 60}, "x" * 32, "HS256"),
    }


def test_every_route_is_in_exactly_one_class(world):
    found = {key: world.app.access[rule.endpoint] for key, rule in routes(world.app).items()}
    assert {key for key, access in found.items() if access is Access.PUBLIC} == PUBLIC
    assert {key for key, access in found.items() if access is Access.GUEST} == GUEST
    assert {key for key, access in found.items() if access is Access.OPERATIONS} == OPERATIONS
    assert len([key for key, access in found.items() if access is Access.ADMIN]) == 20


def test_admin_routes_are_closed_to_everybody_but_administrators(world, monkeypatch):
    guest = world.guest()
    guest.handshake()
    reached = []
    for name in dir(world.broker.administration):
        if not name.startswith("_"):
            monkeypatch.setattr(world.broker.administration, name, lambda *a, name=name, **k: reached.append(name))
    monkeypatch.setattr(type(world.broker.audit), "last", lambda *_: reached.append("last"))
    for (method, path), rule in routes(world.app).items():
        if world.app.access[rule.endpoint] is not Access.ADMIN or path.endswith("audit/head"):
            continue
        for caller, token in callers(world, guest.token).items():
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            answer = guest.client.open(concrete(path), method=method, data=b"{}", headers=headers)
            expected = 403 if caller == "wrong role" else 401
            assert (method, path, caller, answer.status_code) == (method, path, caller, expected)
            assert answer.json["type"].endswith("/AdminAuthAccess")
    assert reached == []


def test_audit_head_is_closed_as_well(world):
    assert world.client().get("/kbs/v0/admin/audit/head").status_code == 401
    assert world.admin("GET", "/kbs/v0/admin/audit/head").json["count"] > 0


def test_administrators_reach_every_admin_route(world):
    for (method, path), rule in routes(world.app).items():
        if world.app.access[rule.endpoint] is Access.ADMIN:
            answer = world.admin(method, concrete(path), b"{}")
            assert answer.status_code not in (401, 403, 405, 500), (method, path, answer.data)


def test_every_other_method_is_refused_without_a_word(world):
    known = routes(world.app)
    for path in {path for _, path in known}:
        for method in METHODS:
            if (method, path) not in known:
                answer = world.admin(method, concrete(path))
                assert (path, method, answer.status_code) == (path, method, 405)


SPELLINGS = [
    "//kbs/v0/resource-policy", "/kbs//v0/resource-policy", "/kbs/v0//resource-policy", "/kbs/v0/resource-policy/",
    "/kbs/v0/./resource-policy", "/kbs/v0/x/../resource-policy", "/kbs/v0/%2e/resource-policy",
    "/kbs/v0/x/%2e%2e/resource-policy", "/KBS/v0/resource-policy", "/kbs/v0/Resource-Policy",
    "/kbs/v0/resource%2dpolicy/", "/kbs/v0/resource-policy%2f", "/kbs/v0/resource-policy%00",
    "/kbs/v0/resource-policy;x", "\\kbs\\v0\\resource-policy", "/kbs/v0/resource-policy%0a",
    "/kbs/v1/resource-policy", "/kbs/v0", "/kbs", "/",
]


@pytest.mark.parametrize("path", SPELLINGS)
def test_other_spellings_lead_nowhere_not_even_by_redirect(world, path):
    for answer in (world.client().get(path), world.admin("GET", path)):
        assert (answer.status_code, answer.headers.get("Location")) == (404, None)


@pytest.mark.parametrize("header", [
    {"X-Forwarded-User": "admin"}, {"X-Original-URL": "/healthz"}, {"X-Rewrite-URL": "/healthz"},
    {"X-HTTP-Method-Override": "GET"}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Remote-User": "admin"},
    {"Authorization": "Basic YWRtaW46YWRtaW4="}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  "},
    {"Cookie": "admin=1"}, {"Cookie": "Authorization=Bearer x"},
])
def test_headers_that_claim_an_identity_are_not_believed(world, header):
    assert world.client().post("/kbs/v0/resource/a/b/c", data=b"x", headers=header).status_code == 401


def test_role_reaches_as_far_as_its_pattern(world):
    narrow = world.restart(admin=Admin(roles={"policies": "^/kbs/v0/(resource|attestation)-policy$",
                                              "one": "^/kbs/v0/resource/default/key/one$"}))
    assert narrow.admin("GET", "/kbs/v0/resource-policy", role="policies").status_code == 200
    assert narrow.admin("GET", "/kbs/v0/resource-policy?x=1", role="policies").status_code == 403
    assert narrow.admin("GET", "/kbs/v0/admin/audit", role="policies").status_code == 403
    assert narrow.admin("POST", "/kbs/v0/resource/default/key/one", b"x", role="one").status_code == 200
    assert narrow.admin("POST", "/kbs/v0/resource/default/key/two", b"x", role="one").status_code == 403
    assert narrow.admin("POST", "/kbs/v0/resource/default/key/one%0a", b"x", role="one").status_code in (403, 404)
    assert narrow.admin("GET", "/kbs/v0/resource-policy", role="admin").status_code == 403


def test_route_without_an_access_class_cannot_be_registered():
    app = GuardedFlask("x")
    with pytest.raises(SetupError) as refused:
        app.add_url_rule("/open", "open", lambda: "")
    assert refused.value.id == "web.access"
    routes = Blueprint("b", __name__)
    routes.add_url_rule("/open", "open", lambda: "")
    with pytest.raises(SetupError):
        app.register_blueprint(routes)
    with pytest.raises(SetupError):
        app.route("/open", access="public")(lambda: "")
    with pytest.raises(SetupError):
        app.add_url_rule("/open", "open", lambda: "", provide_automatic_options=True, access=Access.PUBLIC)
    assert list(app.url_map.iter_rules()) == []


@pytest.mark.parametrize(("address", "headers", "status"), [
    ("127.0.0.1", {}, 200), ("::1", {}, 200), ("192.0.2.7", {}, 401), ("", {}, 401),
    ("127.0.0.1", {"X-Forwarded-For": "192.0.2.7"}, 401), ("127.0.0.1", {"Forwarded": "for=192.0.2.7"}, 401),
    ("127.0.0.1", {"Via": "1.1 proxy"}, 401),
])
def test_metrics_are_for_this_machine_and_administrators(world, address, headers, status):
    answer = world.client().get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == status
    with_token = headers | {"Authorization": f"Bearer {world.admin_token()}"}
    answer = world.client().get("/metrics", headers=with_token, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == (200 if status == 200 else 403)


def test_bodies_of_the_admin_api_are_the_ones_of_the_field(world):
    encoded = base64.urlsafe_b64encode(b"package policy\ndefault allow = false\n").decode()
    for policy in (encoded, encoded.rstrip("=")):
        assert world.admin("POST", "/kbs/v0/resource-policy", {"policy": policy}).status_code == 200
    assert world.admin("GET", "/kbs/v0/resource-policy").json == ["resource-policy"]
    assert world.admin("GET", "/kbs/v0/reference-value/mr_td").json == [world.tee.guest.mr_td.hex()]
    assert world.admin("GET", "/kbs/v0/reference-value/absent").status_code == 404
    answer = world.admin("POST", "/kbs/v0/attestation-policy", {
        "type": "rego", "policy_id": "default_dcu", "policy": encoded.rstrip("=")})
    assert answer.status_code == 200
    assert "no TEE is judged by default_dcu" in answer.json["warnings"][0]
    assert "default_dcu" in world.admin("GET", "/kbs/v0/attestation-policy").json


@pytest.mark.parametrize(("path", "body", "status", "variant"), [
    ("/kbs/v0/resource-policy", {"policy": "!!!"}, 400, "SerdeError"),
    ("/kbs/v0/resource-policy", {"policy": 1}, 400, "SerdeError"),
    ("/kbs/v0/resource-policy", {}, 400, "SerdeError"),
    ("/kbs/v0/resource-policy", {"policy": "cGFja2FnZQ", "more": 1}, 400, "SerdeError"),
    ("/kbs/v0/resource-policy", {"policy": "cGFja2FnZQ"}, 400, "ParsePolicyError"),
    ("/kbs/v0/attestation-policy", {"type": "cel", "policy_id": "x", "policy": ""}, 400, "SerdeError"),
    ("/kbs/v0/attestation-policy", {"type": "rego", "policy_id": "../x", "policy": ""}, 400, "SerdeError"),
    ("/kbs/v0/reference-value", {"version": "9", "type": "sample", "payload": ""}, 400, "RvpsError"),
    ("/kbs/v0/reference-value", {"version": "0.1.0", "type": "corim", "payload": ""}, 400, "RvpsError"),
    ("/kbs/v0/reference-value", {"version": "0.1.0", "type": "sample", "payload": "bnVsbA=="}, 400, "RvpsError"),
    ("/kbs/v0/admin/revoked-tokens", {"id": "a b"}, 400, "SerdeError"),
    ("/kbs/v0/admin/resources/default/key/one/rollback", {"version": 0}, 400, "SerdeError"),
    ("/kbs/v0/admin/resources/default/key/one/rollback", {"version": 99}, 404, "PluginInternalError"),
    ("/kbs/v0/resource/default/key/empty", b"", 400, "SerdeError"),
])
def test_what_administrators_may_not_store_is_refused_by_name(world, path, body, status, variant):
    answer = world.admin("POST", path, body)
    assert (answer.status_code, answer.json["type"].rsplit("/", 1)[1]) == (status, variant)
    assert answer.json["detail"]


def test_refused_policy_leaves_the_present_one_in_force(world):
    guest = world.guest()
    guest.handshake()
    policy = base64.urlsafe_b64encode(b"package policy\nallow if {").decode()
    assert world.admin("POST", "/kbs/v0/resource-policy", {"policy": policy}).status_code == 400
    assert guest.get().status_code == 200


@pytest.mark.parametrize("segments", ["../b/c", "a/../c", "a/b/..", ".a/b/c", "a/b/c d", "a/b/c%5c", "a/b/c%00",
                                      "a/b/" + "x" * 256, "a/b/%252f", "a/b/%c3%a9"])
def test_resource_names_are_checked_before_anything_is_stored(world, segments):
    answer = world.admin("POST", f"/kbs/v0/resource/{segments}", b"x")
    assert answer.status_code == 404
    assert [entry.key for entry in world.broker.administration.resources()] == ["default/key/one"]


def test_routes_that_are_remembered_keep_their_own_arguments(world):
    app = GuardedFlask("x")
    routes = Blueprint("routes", __name__)
    routes.get("/<one>/<two>", access=Access.PUBLIC)(lambda one, two: f"{one} {two}")
    app.register_blueprint(routes)
    client = app.test_client()
    for path, told in [("/a/b", b"a b"), ("/b/a", b"b a"), ("/a/b", b"a b"), (f"/{'x' * 300}/b", b"x" * 300 + b" b")]:
        assert client.get(path).data == told
    assert client.post("/a/b").status_code == 405
    assert client.get("/a").status_code == 404
