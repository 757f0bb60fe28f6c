"""What is registered is called, as Flask would; what is not is not looked for."""

from __future__ import annotations

import pytest
from flask import Blueprint, Flask, appcontext_tearing_down, g, request_tearing_down

from kbs.web.lean import LeanFlask


def hooks(kind):
    """An application of ``kind`` with every kind of hook, and what is called of them for two requests."""
    app, called = kind("test"), []
    routes = Blueprint("routes", __name__)

    @routes.get("/<name>")
    def view(name):
        called.append(name)
        return name

    def noted(name, gives=None):
        def hook(*given):
            called.append(name)
            return given[0] if gives == "response" else gives
        return hook

    def register(what):
        where, _, kind = what.partition(".")
        owner = app if where == "app" else routes
        getattr(owner, kind)(noted(what, "response" if kind == "after_request" else None))

    return app, routes, called, register


def answered(kind, *registered):
    app, routes, called, register = hooks(kind)
    for what in registered:
        register(what)
    app.register_blueprint(routes)
    client = app.test_client()
    return [client.get("/one").data, client.get("/no/where").status_code, *called]


OF_APP = ("app.before_request", "app.after_request", "app.teardown_request", "app.teardown_appcontext",
          "app.url_value_preprocessor")
OF_BLUEPRINT = ("routes.before_request", "routes.after_request", "routes.teardown_request",
                "routes.url_value_preprocessor")


@pytest.mark.parametrize("registered", [(), *((one,) for one in OF_APP + OF_BLUEPRINT), OF_APP, OF_BLUEPRINT,
                                        OF_APP + OF_APP, OF_APP + OF_BLUEPRINT], ids=lambda names: ",".join(names))
def test_hooks_are_called_as_flask_calls_them(registered):
    assert answered(LeanFlask, *registered) == answered(LeanFlask.__base__, *registered)
    assert LeanFlask.__base__ is Flask


def test_hook_that_answers_ends_the_request():
    app = LeanFlask("test")
    called = []
    app.before_request(lambda: called.append("first"))
    app.before_request(lambda: ("stopped", 418))
    app.before_request(lambda: called.append("never"))
    app.add_url_rule("/", "view", lambda: called.append("never"))
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.data, called) == (418, b"stopped", ["first"])


@pytest.mark.parametrize("signal", [request_tearing_down, appcontext_tearing_down])
def test_receivers_of_signals_are_told(signal):
    app, told = LeanFlask("test"), []
    app.add_url_rule("/", "view", lambda: "x")
    with signal.connected_to(lambda *_, **__: told.append(True), app):
        app.test_client().get("/")
    assert told == [True]


def test_nothing_is_left_of_a_request():
    app = LeanFlask("test")
    app.add_url_rule("/", "view", lambda: str(g.setdefault("seen", 0)))
    client = app.test_client()
    assert [client.get("/").data for _ in range(2)] == [b"0", b"0"]
