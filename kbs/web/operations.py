"""Health, metrics, and the discovery of our token keys."""

from __future__ import annotations

from flask import Blueprint

from kbs import metrics
from kbs.errors import KbsError
from kbs.services.broker import Broker
from kbs.services.token_keys import jwks
from kbs.web.access import Access
from kbs.web.exchange import Answer, json_answer
from kbs.web.problems import problem

JWKS_PATH = "/.well-known/jwks.json"


def blueprint(broker: Broker, *, url: str) -> Blueprint:
    """``url``: how others reach this broker."""
    routes = Blueprint("operations", __name__)

    @routes.get("/healthz", access=Access.PUBLIC)
    def healthz() -> Answer:
        """The process answers."""
        return json_answer({"status": "ok"})

    @routes.get("/readyz", access=Access.PUBLIC)
    def readyz() -> Answer:
        """Requests can be served."""
        try:
            broker.check_ready()
        except KbsError as error:
            response = problem(error)
            response.status_code = 503
            return response
        return json_answer({"status": "ready"})

    @routes.get("/metrics", access=Access.OPERATIONS)
    def expose() -> Answer:
        return Answer(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    @routes.get(JWKS_PATH, access=Access.PUBLIC)
    def keys() -> Answer:
        return json_answer(jwks(broker.token_keys()))

    @routes.get("/.well-known/openid-configuration", access=Access.PUBLIC)
    def openid() -> Answer:
        return json_answer({
            "issuer": broker.handshake.terms.issuer, "jwks_uri": url + JWKS_PATH, "subject_types_supported": ["public"],
            "response_types_supported": ["id_token"], "id_token_signing_alg_values_supported": ["ES256"],
        })

    return routes
