"""Tries policies on documents, with the reference values that are in force, and says why."""

from __future__ import annotations

import time
from typing import Any

from kbs.protocol.resource_uri import ResourcePath
from kbs.services.broker import Broker
from kbs.services.release import ALLOW
from kbs.services.release import WHY as RELEASE_WHY
from kbs.services.shelf import ATTESTATION_POLICIES
from verifier.appraisal.appraiser import TRUST_CLAIMS, WHY
from verifier.policy.defaults import SHIPPED, shipped
from verifier.policy.rego import RegoEngine
from verifier.results.trust_vector import UNSTATED, TrustVector


def try_release(broker: Broker, claims: dict[str, Any], path: str, own: str | None) -> dict[str, Any]:
    """Whether the policy in force, or ``own``, releases ``path`` to a token with ``claims``."""
    segments = ResourcePath.parse(path)
    asked = {"plugin": "resource", "resource-path": [segments.repository, segments.type, segments.tag], "query": {}}
    policy = RegoEngine().compile(own, name="test") if own is not None else broker.shelf.in_force().release_policy
    allow = policy.evaluate(ALLOW, input=claims, data=asked)
    rules = policy.evaluate(RELEASE_WHY, input=claims, data=asked)
    return {"yes": allow is True, "answer": f"allow is {allow!r}", "rules": _rules(rules)}


def try_attestation(broker: Broker, document: dict[str, Any], name: str, own: str | None) -> dict[str, Any]:
    """What the policy ``name`` in force, or ``own``, makes of a policy input."""
    text = own if own is not None else broker.shelf.policy_text(ATTESTATION_POLICIES, name)
    if text is None:
        tee = next((tee for tee in SHIPPED if tee in document), name.removeprefix("default_"))
        text = shipped(tee)
    policy = RegoEngine().compile(text, name="test")
    values = broker.shelf.reference_values().at(int(time.time())).json
    claims = policy.evaluate(TRUST_CLAIMS, input=document, reference_values=values)
    vector = TrustVector.from_claims(claims if isinstance(claims, dict) else {}, missing=UNSTATED)
    rules = policy.evaluate(WHY, input=document, reference_values=values)
    return {"yes": vector.status == "affirming", "answer": vector.status, "vector": vector.to_dict(),
            "rules": _rules(rules)}


def _rules(told: Any) -> list[dict[str, Any]]:
    """A policy's own account, as far as it has the usual shape."""
    found = told if isinstance(told, list) else []
    return [{"id": str(rule.get("rule")), "ok": rule.get("ok") is True, "expected": rule.get("expected"),
             "got": rule.get("got")} for rule in found if isinstance(rule, dict)]
