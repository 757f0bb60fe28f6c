"""Request bodies, bounded before they are read."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response, request

from kbs.errors import MalformedRequest, TooLarge
from verifier.errors import MalformedEvidence
from verifier.formats.strict import json_object

MAX_SMALL_BODY = 64 * 1024
MAX_POLICY_BODY = 512 * 1024


def body(limit: int) -> bytes:
    """The whole body, at most ``limit`` bytes. Raises `TooLarge`; never more than one byte too many is read."""
    request.max_content_length = limit + 1  # a body without a stated length is cut here, and the cut must show
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise TooLarge("request.size", "the body is too large", expected=f"<= {limit} bytes")
    return data


def json_body(limit: int, *members: str) -> dict[str, Any]:
    """A JSON object with exactly ``members``. Raises `MalformedRequest`."""
    try:
        found = json_object(body(limit), "body")
    except MalformedEvidence as error:
        raise MalformedRequest("request.json", error.detail) from None
    if set(found) != set(members):
        raise MalformedRequest("request.members", "the body has missing or unknown members",
                               expected=", ".join(members), got=", ".join(sorted(found))[:200])
    return found


def text(members: dict[str, Any], name: str) -> str:
    """A member that must be text. Raises `MalformedRequest`."""
    value = members[name]
    if not isinstance(value, str):
        raise MalformedRequest("request.members", f"{name} must be text", expected="text", got=type(value).__name__)
    return value


def json_answer(value: Any, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, content_type="application/json")
