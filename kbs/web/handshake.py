"""``/auth`` and ``/attest``."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from kbs.protocol import messages
from kbs.protocol.messages import API_PREFIX, SESSION_COOKIE
from kbs.services.broker import Broker
from kbs.web.access import Access, peer
from kbs.web.reading import body

# Clients in the field send no Path and call below /kbs only.
COOKIE_PATH = "/kbs"


def blueprint(broker: Broker, *, secure_cookies: bool) -> Blueprint:
    """The handshake's two routes; ``secure_cookies`` is for brokers behind TLS."""
    routes = Blueprint("handshake", __name__, url_prefix=API_PREFIX)
    handshake = broker.handshake
    terms = f"Path={COOKIE_PATH}; HttpOnly; SameSite=Strict{'; Secure' if secure_cookies else ''}"

    def with_cookie(answer: bytes, cookie: str, lifetime: int) -> Response:
        """``cookie`` is one of ours, base64url: nothing in it needs quoting."""
        return Response(answer, headers={"Set-Cookie": f"{SESSION_COOKIE}={cookie}; Max-Age={lifetime}; {terms}"},
                        content_type="application/json")

    @routes.post("/auth", access=Access.PUBLIC)
    def auth() -> Response:
        issued = handshake.challenge(body(messages.MAX_REQUEST_BYTES), g.at)
        return with_cookie(messages.encode(issued.message), issued.cookie, issued.lifetime)

    @routes.post("/attest", access=Access.PUBLIC)
    def attest() -> Response:
        cookie = request.cookies.get(SESSION_COOKIE)
        token = handshake.attest(cookie, body(messages.MAX_ATTESTATION_BYTES), g.at, peer())
        return with_cookie(messages.encode(messages.TokenAnswer(token)), cookie or "", handshake.session_lifetime)

    return routes
