"""What the appraisal of an attester came to: one result for each of its parts, and the worst of them for the whole.

A result is what a policy said of verified claims; unlike a check that fails, an unfavourable one is not an error. Each
part carries why: the policy's own account of its rules where it gives one, else its trust vector in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from verifier.errors import SetupError
from verifier.results.trust_vector import Tier, TrustVector
from verifier.trail import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmoduleResult:
    """The result of one part (``cpu0``).

    name: class and index. tee: its name on the wire. policy_id and policy_digest (SHA-256): the policy applied.
    claims: what the policy saw, as plain JSON values; it goes into the token. software: the evidence ends in a root
    that is not a hardware maker's. extensions: further claims of the policy's for the token, by name. explanation:
    each rule with what was expected and found.
    """

    name: str
    tee: str
    vector: TrustVector
    policy_id: str
    policy_digest: bytes
    claims: Mapping[str, Any]
    software: bool
    explanation: tuple[Check, ...] = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """``none``, ``affirming``, ``warning`` or ``contraindicated``: the vector's worst tier."""
        return self.vector.status


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """The result for the whole attester.

    submods: at least one, names unique. valid_until: Unix seconds, inclusive: the last moment at which everything it
    rests on (endorsements, revocation lists, reference values) still holds.
    """

    submods: tuple[SubmoduleResult, ...]
    valid_until: int

    def __post_init__(self) -> None:
        names = [submod.name for submod in self.submods]
        if not names or len(set(names)) != len(names):
            raise SetupError("attestation_result.submods", "needs parts with names of their own", got=names)

    @property
    def tier(self) -> Tier:
        """The worst tier of all parts."""
        return max(submod.vector.tier for submod in self.submods)

    @property
    def status(self) -> str:
        """``none``, ``affirming``, ``warning`` or ``contraindicated``."""
        return self.tier.word

    @property
    def software(self) -> bool:
        """True when any part's evidence is not hardware's."""
        return any(submod.software for submod in self.submods)

    @property
    def explanation(self) -> tuple[Check, ...]:
        """Every part's explanation, each rule under the part's name (``cpu0.hardware.tcb_status``)."""
        return tuple(check._replace(id=f"{submod.name}.{check.id}")
                     for submod in self.submods for check in submod.explanation)
