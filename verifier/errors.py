"""Everything the verifier can raise.

    VerifierError
    ├── EvidenceError            the attester's evidence is at fault: refuse
    │   ├── MalformedEvidence        bytes do not have the shape they claim
    │   └── UnsupportedEvidence      well-formed, of a kind this verifier has no recipe for
    ├── CheckFailed              a named rule does not hold: refuse
    ├── CollateralError          what should vouch for the evidence is at fault
    │   ├── MissingCollateral        needed and not supplied: nothing can be decided
    │   └── MalformedCollateral      supplied and unreadable: nothing can be decided
    └── SetupError               our own configuration or call is at fault

Each error carries a stable dotted ``id`` (``tdx.qe_identity.mrsigner``) that logs, metrics and results share and, where
they exist, the expected and the found value. Messages never contain secrets: evidence,
certificates and collateral are public.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self


class Standing(NamedTuple):
    """What was established of signed evidence before it was refused or left undecided.

    ``status`` is the maker's TCB status, or ``NotSupported`` where the maker publishes no level that is reached.
    """

    status: str
    advisory_ids: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class VerifierError(Exception):
    """Root of the tree.

    ``id`` is a stable dotted name; ``detail`` a sentence for people; ``expected`` and ``got`` are None where a
    comparison makes no sense; ``standing`` is None unless every signature held and only the last step failed.
    """

    standing: Standing | None = None

    def __init__(self, id: str, detail: str, *, expected: Any = None, got: Any = None) -> None:
        self.id = id
        self.detail = detail
        self.expected = expected
        self.got = got
        super().__init__(id, detail)

    def at_standing(self, status: str, advisory_ids: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> Self:
        """This error, telling how far the evidence had come."""
        self.standing = Standing(status, advisory_ids, flags)
        return self

    def __str__(self) -> str:
        told = f"{self.id}: {self.detail}"
        if self.expected is not None or self.got is not None:
            told += f" (expected {readable(self.expected)}, got {readable(self.got)})"
        return told


class EvidenceError(VerifierError):
    """The attester's evidence is at fault."""


class MalformedEvidence(EvidenceError):
    """The bytes do not have the shape they claim."""


class UnsupportedEvidence(EvidenceError):
    """Well-formed, but of a kind or version without a recipe."""


class CheckFailed(VerifierError):
    """A rule that must hold does not; ``id`` names the rule."""


class CollateralError(VerifierError):
    """Endorsements or revocation lists are at fault; the evidence itself was not judged."""


class MissingCollateral(CollateralError):
    """Something needed to decide was not supplied."""


class MalformedCollateral(CollateralError):
    """Something needed to decide could not be read."""


class SetupError(VerifierError):
    """The caller's configuration, arguments or files are at fault."""


def readable(value: Any) -> str:
    """``value`` as it appears in messages and JSON: bytes as lower-case hex, the rest as text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value)
