"""How long a token serves. The guest does not verify it: the broker that made it will."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from attestation.errors import BrokerError
from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes

_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*\Z", re.ASCII)
LONGEST_LIFETIME = 24 * 3600.0
# Of a token that does not say when it was issued.
UNTOLD_LIFETIME = 60.0

_Moment = Annotated[float, Meta(ge=0, le=2**40)]


class _Claims(msgspec.Struct, frozen=True):
    exp: _Moment
    iat: _Moment | None = None


def lifetime_of(token: str) -> float:
    """Seconds from issue to expiry, which needs no agreement between the guest's clock and the broker's.

    A guest's clock is the host's to set. Raises `BrokerError` for what is no JWT with an expiry.
    """
    match = _JWT.match(token)
    try:
        claims = _CLAIMS.decode(base64_bytes(match and match[1], "claims", url=True))
    except (MalformedEvidence, ValueError):
        raise BrokerError("kbc.token", "the broker's token is no JWT with an expiry") from None
    if claims.iat is None:
        return UNTOLD_LIFETIME
    lifetime = claims.exp - claims.iat
    if lifetime <= 0:
        raise BrokerError("kbc.token", "the broker's token has expired at issue")
    return min(lifetime, LONGEST_LIFETIME)


_CLAIMS = msgspec.json.Decoder(_Claims)
