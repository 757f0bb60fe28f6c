"""The unsigned sample, by the names of Trustee's claims."""

from __future__ import annotations

from typing import Any

from verifier.claims import Claims


def sample(claims: Claims) -> dict[str, Any]:
    """What a client under test said."""
    return {name: claims.body.get(name) for name in ("svn", "launch_digest", "platform_version", "debug")}
