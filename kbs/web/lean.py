"""A Flask that does not look, at every request, for what nobody registered.

Where somebody does register a hook of a blueprint, a teardown or a receiver of a signal, Flask's own way is taken. What
Flask hands to these methods differs from version to version and is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from flask import Flask, Request, Response, appcontext_tearing_down, request_tearing_down
from flask.sessions import NullSession, SessionInterface, SessionMixin
from flask.typing import ResponseReturnValue


class LeanFlask(Flask):
    """Its views and hooks are ordinary functions, and it has no sessions."""

    session_interface: SessionInterface

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.session_interface = _NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Every function is an ordinary one; Flask would look anew at each call."""
        return func

    def preprocess_request(self, *given: Any) -> ResponseReturnValue | None:
        """Call the application's hooks until one has an answer."""
        if self.url_value_preprocessors or self.before_request_funcs.keys() - {None}:
            return super().preprocess_request(*given)
        for hook in self.before_request_funcs.get(None, ()):
            answer = hook()
            if answer is not None:
                return cast(ResponseReturnValue, answer)  # of an ordinary function, so it is nothing to be awaited
        return None

    def process_response(self, *given: Any) -> Response:
        """Pass the response, which is given last, through the application's hooks."""
        if self.after_request_funcs.keys() - {None}:
            return super().process_response(*given)
        response: Response = given[-1]
        for hook in reversed(self.after_request_funcs.get(None, ())):
            response = cast(Response, hook(response))
        return response

    def do_teardown_request(self, *given: Any) -> None:
        """Nothing, where nobody waits for it."""
        if self.teardown_request_funcs or request_tearing_down.receivers:
            super().do_teardown_request(*given)

    def do_teardown_appcontext(self, *given: Any) -> None:
        """Nothing, where nobody waits for it."""
        if self.teardown_appcontext_funcs or appcontext_tearing_down.receivers:
            super().do_teardown_appcontext(*given)


class _NoSessions(SessionInterface):
    """Flask's own kind of sessions: there are none."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> SessionMixin:  # noqa: ARG002 - Flask gives both
        return self._none
