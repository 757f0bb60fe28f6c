"""Verified claims, the owner's reference values and a policy make an attestation result.

    1  the policy for each part is chosen       the owner's for its TEE, the owner's for its class, the shipped one
    2  its input is made from the claims        inputs.policy_input
    3  the policy is asked for trust claims     data.policy.trust_claims; what it leaves out is unknown
    4  the result says why                      data.policy.why, and the trust vector in words

Whatever goes wrong with a policy, the part it judges is contraindicated: one that comes to no answer, an answer that is
not eight signed bytes, an extension that poses as the verifier's own claim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from verifier.appraisal.inputs import policy_input
from verifier.claims import Claims
from verifier.errors import SetupError
from verifier.policy.defaults import shipped
from verifier.policy.engine import CompiledPolicy, PolicyEngine, PolicyError
from verifier.reference_values.model import ReferenceValues
from verifier.results.attestation_result import AttestationResult, SubmoduleResult
from verifier.results.ear import RESERVED_CLAIMS
from verifier.results.trust_vector import UNSTATED, Tier, TrustVector, meaning
from verifier.trail import Check

TRUST_CLAIMS = "data.policy.trust_claims"
EXTENSIONS = "data.policy.extensions"
WHY = "data.policy.why"

# Lists of none or one, so that one run answers both and what is undefined stays apart from what is null.
_JUDGEMENT = f'{{"claims": [v | v := {TRUST_CLAIMS}], "extensions": [v | v := {EXTENSIONS}]}}'

_SUBMODULE = re.compile(r"([a-z](?:[a-z-]*[a-z])?)[0-9]+\Z")
_EXTENSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}\Z")
MAX_RULES = 256
MAX_SHOWN = 16


class Appraiser:
    """Appraises under one set of policies and reference values; make a new one when either changes.

    policies: the owner's, by id: ``default_tdx`` for one TEE; ``default_cpu``, ``default_gpu``, ``default_switch`` for
    every part of a class. For a TEE with neither, the shipped policy holds. Safe to share between threads. Raises
    `PolicyError` for a policy that does not compile.
    """

    def __init__(self, engine: PolicyEngine, policies: Mapping[str, str] | None,
                 reference_values: ReferenceValues) -> None:
        self._engine = engine
        self._policies = {name: engine.compile(source, name=name) for name, source in (policies or {}).items()}
        self._shipped: dict[str, CompiledPolicy] = {}
        self._reference_values = reference_values

    def appraise(self, submods: Sequence[tuple[str, Claims]], *, runtime_data: Mapping[str, Any] | None,
                 init_data_claims: Mapping[str, Any] | None, at: int) -> AttestationResult:
        """The result for ``submods``, named by class and index (``cpu0``), at ``at`` (Unix seconds).

        runtime_data and init_data_claims: see `policy_input`. Every part has bound the runtime data, the init data only
        the first, so no other sees them. The result ends with the first of what it rests on: the claims, or any
        reference value that is now good. Raises `SetupError` for ill-named parts or none.
        """
        values = self._reference_values.at(at)
        results = tuple(self._appraise_part(name, claims, policy_input(
            claims, runtime_data=runtime_data, init_data=None if number else init_data_claims), values)
            for number, (name, claims) in enumerate(submods))
        ends = [claims.valid_until for _, claims in submods]
        if values.first_expiry is not None:
            ends.append(values.first_expiry - 1)
        return AttestationResult(submods=results, valid_until=min(ends, default=at))

    def _appraise_part(self, name: str, claims: Claims, document: dict[str, Any],
                       values: ReferenceValues) -> SubmoduleResult:
        policy_id, policy = self._policy_for(name, claims.tee.value)
        fault: tuple[Check, ...] = ()
        try:
            answer = policy.evaluate(_JUDGEMENT, input=document, reference_values=values.json)
            vector, extensions = _vector(answer["claims"]), _extensions(answer["extensions"])
        except SetupError as error:
            vector, extensions, fault = UNSTATED, {}, (_fault(error),)
        told = () if vector.tier is Tier.AFFIRMING else _told(policy, document, values)
        return SubmoduleResult(
            name=name, tee=claims.tee.value, vector=vector, policy_id=policy_id, policy_digest=policy.digest,
            claims=document, software=claims.software, extensions=extensions,
            explanation=(*fault, *told, *_in_words(vector)),
        )

    def _policy_for(self, name: str, tee: str) -> tuple[str, CompiledPolicy]:
        found = _SUBMODULE.match(name)
        if found is None:
            raise SetupError("appraisal.submod", "a part is named by class and index", expected="cpu0", got=name[:40])
        for policy_id in (f"default_{tee}", f"default_{found.group(1)}"):
            if policy_id in self._policies:
                return policy_id, self._policies[policy_id]
        policy_id = f"default_{tee}"
        if policy_id not in self._shipped:
            self._shipped[policy_id] = self._engine.compile(shipped(tee), name=policy_id)
        return policy_id, self._shipped[policy_id]


def _vector(stated: list[Any]) -> TrustVector:
    """From none or one ``trust_claims``; with none, everything is unknown."""
    if not stated:
        return UNSTATED
    if not isinstance(stated[0], dict):
        raise PolicyError("policy.result", "trust_claims must be an object", got=type(stated[0]).__name__)
    return TrustVector.from_claims(stated[0], missing=UNSTATED)


def _extensions(stated: list[Any]) -> dict[str, Any]:
    """From none or one ``extensions``: a list of objects with name and value."""
    found: dict[str, Any] = {}
    entries = stated[0] if stated else []
    if not isinstance(entries, list):
        raise PolicyError("policy.result", "extensions must be a list", got=type(entries).__name__)
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _EXTENSION.match(name) or name in RESERVED_CLAIMS or name in found:
            raise PolicyError("policy.result", "an extension needs a name of its own and a value", got=str(name)[:80])
        if "value" not in entry:
            raise PolicyError("policy.result", f"the extension {name} has no value")
        found[name] = entry["value"]
    return found


def _told(policy: CompiledPolicy, document: dict[str, Any], values: ReferenceValues) -> tuple[Check, ...]:
    """The policy's own account of its rules; empty where it gives none. It never changes the vector."""
    try:
        rules = policy.evaluate(WHY, input=document, reference_values=values.json)
    except PolicyError as error:
        return (_fault(error),)
    return tuple(_rule(entry) for entry in rules[:MAX_RULES]) if isinstance(rules, list) else ()


def _rule(entry: Any) -> Check:
    if not isinstance(entry, dict) or not isinstance(entry.get("rule"), str):
        return Check("policy.why", False, "an object with rule and ok", type(entry).__name__)
    return Check(entry["rule"][:128], entry.get("ok") is True, _shown(entry.get("expected")), _shown(entry.get("got")))


def _shown(value: Any) -> Any:
    """``value``, a long list cut to its beginning."""
    if isinstance(value, list) and len(value) > MAX_SHOWN:
        return [*value[:MAX_SHOWN], f"… and {len(value) - MAX_SHOWN} more"]
    return value


def _fault(error: SetupError) -> Check:
    return Check(error.id, False, error.expected, error.got, error.detail)


@lru_cache(maxsize=256)
def _in_words(vector: TrustVector) -> tuple[Check, ...]:
    """Each claim that says something, with what its value means."""
    said = [(name, value, meaning(name, value)) for name, value in vector if value]
    return tuple(Check(f"trust_claims.{name}", Tier.of(value) is Tier.AFFIRMING, Tier.AFFIRMING.word, value,
                       f"{words.short}: {words.long}") for name, value, words in said)
