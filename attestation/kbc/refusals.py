"""What a broker's answer other than 200 means.

    401   the session or token does not serve (again): attest anew, once; but see below
    403   the policy releases this not to this guest
    404   nothing is stored there
    408, 429, 5xx   later, perhaps; Retry-After is obeyed
    other the request is at fault

Brokers of the Trustee line answer 401 to nearly everything; the variant in the error's type then tells a policy's
denial (`PolicyDeny`) and a failing plugin, as for absent resources (`PluginInternalError`), from a lost session.
"""

from __future__ import annotations

import email.utils
import time

from attestation.errors import BrokerError
from attestation.kbc.backoff import Transient
from attestation.kbc.transport import Answer
from kbs.errors import KbsError
from kbs.protocol.messages import ErrorBody, decode_error

_LATER = {408, 425, 429, 500, 502, 503, 504}
_DENIED = {"PolicyDeny", "PolicyDenied"}
_FAILED_PLUGIN = {"PluginInternalError"}


class BrokerRefusedError(BrokerError):
    """The broker answered and said no.

    status: of HTTP. broker_id, reference: the broker's own error id and what to quote to its operator, None where it
    told none.
    """

    def __init__(self, id: str, detail: str, answer: Answer, body: ErrorBody | None) -> None:
        self.status = answer.status
        self.broker_id = _plain(body.id) if body else None
        self.reference = _plain(body.reference) if body else None
        super().__init__(id, detail + _told(body))


class ReattestError(BrokerRefusedError):
    """The token or session serves no longer; a new attestation may."""


def refusal(answer: Answer, asked: str) -> BrokerError | Transient:
    """The error to raise for ``answer``; ``asked`` says in words what was asked for."""
    body = _error_body(answer)
    variant = body.variant if body else ""
    if answer.status in _LATER:
        error = BrokerRefusedError("kbc.unavailable", f"{asked}: the broker is not able to answer now", answer, body)
        return Transient(error, _retry_after(answer.retry_after))
    if answer.status == 403 or (answer.status == 401 and variant in _DENIED):
        return BrokerRefusedError("kbc.denied", f"{asked}: the broker's policy denies it", answer, body)
    if answer.status == 404 or (answer.status == 401 and variant in _FAILED_PLUGIN):
        return BrokerRefusedError("kbc.not_found", f"{asked}: the broker has nothing to give", answer, body)
    if answer.status == 401:
        return ReattestError("kbc.unauthenticated", f"{asked}: the broker does not accept this guest", answer, body)
    return BrokerRefusedError("kbc.request", f"{asked}: the broker refuses the request (status {answer.status})",
                              answer, body)


def attestation_refusal(answer: Answer) -> BrokerError | Transient:
    """As `refusal`, for evidence: 401 and 403 both say that it was not accepted, whatever else they say."""
    if answer.status in (401, 403):
        return BrokerRefusedError("kbc.attestation_refused", "the broker refuses this guest's attestation", answer,
                                  _error_body(answer))
    return refusal(answer, "attestation")


def _error_body(answer: Answer) -> ErrorBody | None:
    try:
        return decode_error(answer.body)
    except KbsError:
        return None


def _told(body: ErrorBody | None) -> str:
    if body is None:
        return ""
    told = f": {_plain(body.detail)}"
    if body.id:
        told += f" [{_plain(body.id)}]"
    if body.reference:
        told += f" (reference {_plain(body.reference)})"
    return told


def _plain(text: str | None) -> str | None:
    """For terminals and logs: printable and short."""
    return None if text is None else "".join(c if c.isprintable() else "?" for c in text[:200])


def _retry_after(text: str | None) -> float:
    """Seconds; a date is taken against our clock (RFC 9110 section 10.2.3). Nonsense is 0."""
    if text is None:
        return 0.0
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
