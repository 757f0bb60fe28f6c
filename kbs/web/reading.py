"""JSON bodies of administrators, bounded before they are read."""

from __future__ import annotations

from typing import Any

from kbs.errors import MalformedRequest
from kbs.web.exchange import call
from verifier.errors import MalformedEvidence
from verifier.formats.strict import json_object

MAX_SMALL_BODY = 64 * 1024
MAX_POLICY_BODY = 512 * 1024


def json_body(limit: int, *members: str) -> dict[str, Any]:
    """A JSON object with exactly ``members``. Raises `MalformedRequest`."""
    try:
        found = json_object(call().body(limit), "body")
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
