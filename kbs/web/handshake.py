"""``/auth`` and ``/attest``."""

from __future__ import annotations

from flask import Blueprint

from kbs.protocol import messages
from kbs.protocol.messages import API_PREFIX, SESSION_COOKIE
from kbs.services.broker import Broker
from kbs.web.access import Access
from kbs.web.exchange import Answer, call

# Clients in the field send no Path and call below /kbs only.
COOKIE_PATH = "/kbs"


def blueprint(broker: Broker, *, secure_cookies: bool) -> Blueprint:
    """The handshake's two routes; ``secure_cookies`` is for brokers behind TLS."""
    routes = Blueprint("handshake", __name__, url_prefix=API_PREFIX)
    handshake = broker.handshake
    terms = f"Path={COOKIE_PATH}; HttpOnly; SameSite=Strict{'; Secure' if secure_cookies else ''}"

    def with_cookie(answer: bytes, cookie: str, lifetime: int) -> Answer:
        """``cookie`` is one of ours, base64url: nothing in it needs quoting."""
        return Answer(answer, headers=[("Set-Cookie", f"{SESSION_COOKIE}={cookie}; Max-Age={lifetime}; {terms}")])

    @routes.post("/auth", access=Access.PUBLIC)
    def auth() -> Answer:
        asked = call()
        issued = handshake.challenge(asked.body(messages.MAX_REQUEST_BYTES), asked.at)
        return with_cookie(messages.encode(issued.message), issued.cookie, issued.lifetime)

    @routes.post("/attest", access=Access.PUBLIC)
    def attest() -> Answer:
        asked = call()
        cookie = asked.session_cookie
        token = handshake.attest(cookie, asked.body(messages.MAX_ATTESTATION_BYTES), asked.at, asked.peer)
        return with_cookie(messages.encode(messages.TokenAnswer(token)), cookie or "", handshake.session_lifetime)

    return routes
