"""The only table from errors to HTTP.

The first row that fits decides; the most particular come first. Bodies are the ones that Confidential Containers
clients read. 401 means "shake hands again" to them, so it stays for sessions and tokens; whatever would fail again just
so gets another status. A guest is told the error's id and where the operator finds the reasons; only what is wrong with
a request itself is explained.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from flask import Flask
from werkzeug.exceptions import HTTPException

from kbs.errors import (
    AdminDenied,
    AttestationRefused,
    Conflict,
    KbsError,
    MalformedRequest,
    PolicyDenied,
    ProtocolError,
    RateLimited,
    ResourceNotFound,
    SessionInvalid,
    SetupError,
    StorageError,
    TokenInvalid,
    TooLarge,
    TooSlow,
    UndecidableEvidence,
    UnsupportedTee,
)
from kbs.protocol.messages import ERROR_TYPE_PREFIX, ErrorBody, encode
from kbs.services.decisions import Refused, as_kbs_error
from kbs.web.exchange import Answer

_LOG = logging.getLogger("kbs.web")


class Row(NamedTuple):
    """``id``: what the error's id must begin with. ``variant``: the last segment of the body's ``type``.

    told: what the guest reads; None shows the error's own sentence.
    """

    kind: type[KbsError]
    id: str
    status: int
    variant: str
    told: str | None


TABLE = (
    Row(PolicyDenied, "admin.", 403, "AdminAuthAccess", "admin access denied"),
    Row(PolicyDenied, "", 403, "PolicyDeny", "access denied by policy"),
    Row(AdminDenied, "", 401, "AdminAuthAccess", "admin access denied"),
    Row(SessionInvalid, "", 401, "AttestationError", None),
    Row(TokenInvalid, "token.missing", 401, "TokenNotFound", None),
    Row(TokenInvalid, "", 401, "TokenVerifierError", None),
    Row(AttestationRefused, "", 403, "AttestationError", "the evidence was refused"),
    Row(UndecidableEvidence, "", 503, "AttestationError", "the evidence could not be judged at present"),
    Row(ResourceNotFound, "release.plugin", 404, "PluginNotFound", None),
    Row(ResourceNotFound, "", 404, "PluginInternalError", None),
    Row(MalformedRequest, "protocol.resource.", 404, "InvalidRequestPath", None),
    Row(MalformedRequest, "policy.", 400, "ParsePolicyError", None),
    Row(MalformedRequest, "reference_value.", 400, "RvpsError", None),
    Row(MalformedRequest, "", 400, "SerdeError", None),
    Row(UnsupportedTee, "", 400, "AttestationError", None),
    Row(ProtocolError, "", 400, "AttestationError", None),
    Row(Conflict, "", 409, "PluginInternalError", None),
    Row(TooLarge, "", 413, "SerdeError", None),
    Row(TooSlow, "", 408, "SerdeError", None),
    Row(RateLimited, "", 429, "AttestationError", None),
    Row(StorageError, "", 500, "PluginInternalError", "the broker failed"),
    Row(SetupError, "policy.", 500, "PolicyEngineError", "the broker failed"),
    Row(SetupError, "", 500, "PluginInternalError", "the broker failed"),
    Row(KbsError, "", 500, "PluginInternalError", "the broker failed"),
)

# Faults of ours are told without their id: it would say what is broken.
_SILENT = 500


def problem(error: KbsError, reference: str | None = None) -> Answer:
    """``error`` as an answer."""
    row = next(row for row in TABLE if isinstance(error, row.kind) and error.id.startswith(row.id))
    told = row.told or _sentence(error)
    id = None if row.status == _SILENT else error.id
    response = _answer(row.status, ErrorBody(ERROR_TYPE_PREFIX + row.variant, told, id, reference))
    if row.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if row.status in (429, 503):
        response.headers["Retry-After"] = "1"
    _LOG.log(logging.ERROR if row.status == _SILENT else logging.INFO, "refused", extra={
        "error": error.id, "status": row.status, "reference": reference})
    return response


def handle(app: Flask) -> None:
    """Have every error that leaves a view answered from the table."""

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Answer:
        return problem(error.error, error.reference)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Answer:
        if error.code == 413:
            return problem(TooLarge("request.size", "the body is too large"))
        return _answer(error.code or 500, ErrorBody(ERROR_TYPE_PREFIX + "InvalidRequestPath",
                                                    "there is nothing here for this method and path"))

    @app.errorhandler(Exception)
    def other(error: Exception) -> Answer:
        return problem(as_kbs_error(error))


def _sentence(error: KbsError) -> str:
    told = error.detail
    if error.expected is not None:
        told += f" (expected {error.expected}, got {error.got})"
    return told[:1000]


def _answer(status: int, body: ErrorBody) -> Answer:
    return Answer(encode(body), status)
