"""Everything the broker can raise.

    KbsError
    ├── ProtocolError            the request is at fault: it can never succeed as it is
    │   ├── MalformedRequest         the bytes are not the message they claim to be
    │   ├── UnsupportedVersion       a protocol version this broker does not speak
    │   └── UnsupportedTee           a kind of TEE this broker has no recipe for, or does not admit
    ├── MalformedAnswer          the broker's answer is at fault; raised in guests only
    ├── AuthenticationError      who asks is not established
    │   ├── SessionInvalid           no session, expired, or its challenge already used
    │   ├── TokenInvalid             the attestation token does not verify
    │   └── AdminDenied              the admin token does not verify or its role does not suffice
    ├── AttestationRefused       the evidence was judged and is not true
    ├── PolicyDenied             who asks is established; the policy does not release this to them
    ├── ResourceNotFound         nothing under that name
    ├── Conflict                 somebody else changed it first, or it exists already
    ├── TooLarge                 a body, field or list beyond its bound
    ├── RateLimited              too many requests: the same request may succeed later
    ├── UndecidableEvidence      the evidence could not be judged: collateral is missing or a service did not answer
    ├── StorageError             our own storage is at fault
    └── SetupError               our own configuration, files or call is at fault

Each error carries a stable dotted ``id`` (``protocol.request.shape``) that logs, metrics, audit log and answer share,
and a ``detail`` for people. Which HTTP status an error becomes is decided in one table of the web room, never here.
Neither ``detail`` nor ``expected`` nor ``got`` may hold a secret, a token or a body: they reach logs, and for
`ProtocolError` the guest.
"""

from __future__ import annotations

from typing import Any


class KbsError(Exception):
    """Root of the tree.

    ``id`` is a stable dotted name; ``detail`` a sentence for people; ``expected`` and ``got`` are None where a
    comparison makes no sense.
    """

    def __init__(self, id: str, detail: str, *, expected: Any = None, got: Any = None) -> None:
        self.id = id
        self.detail = detail
        self.expected = expected
        self.got = got
        super().__init__(id, detail)

    def __str__(self) -> str:
        told = f"{self.id}: {self.detail}"
        if self.expected is not None or self.got is not None:
            told += f" (expected {self.expected}, got {self.got})"
        return told


class ProtocolError(KbsError):
    """The request is at fault."""


class MalformedRequest(ProtocolError):
    """The bytes are not the message they claim to be."""


class UnsupportedVersion(ProtocolError):
    """A protocol version that is not spoken here."""


class UnsupportedTee(ProtocolError):
    """A kind of TEE without a recipe, or one that the configuration does not admit."""


class MalformedAnswer(KbsError):
    """What the broker answered is not the message it claims to be, or was not made for this guest's key."""


class AuthenticationError(KbsError):
    """Who asks is not established."""


class SessionInvalid(AuthenticationError):
    """No session, an expired one, or one whose challenge was already used."""


class TokenInvalid(AuthenticationError):
    """The attestation token does not verify."""


class AdminDenied(AuthenticationError):
    """The admin token does not verify, or its role does not suffice."""


class AttestationRefused(KbsError):
    """The evidence was judged and refused."""


class PolicyDenied(KbsError):
    """No policy releases this to the one who asks."""


class ResourceNotFound(KbsError):
    """Nothing is stored under that name."""


class Conflict(KbsError):
    """Somebody else changed it first, or it exists already."""


class TooLarge(KbsError):
    """A body, field or list beyond its bound."""


class TooSlow(KbsError):
    """A body that did not arrive in time."""


class RateLimited(KbsError):
    """Too many requests; the same request may succeed later."""


class UndecidableEvidence(KbsError):
    """The evidence was not judged, because what should vouch for it could not be had."""


class StorageError(KbsError):
    """Our own storage failed or holds something unreadable."""


class SetupError(KbsError):
    """Our own configuration, files or call is at fault."""
