"""An attestation result as EAR token claims, to be signed by whoever issues the token.

Source: draft-fv-rats-ear as Confidential Containers profiles it. Beyond that profile a token names the one it is for
(``aud``), the challenge it answers (``eat_nonce``), itself (``jti``) and the digest of the policy behind each part, so
that a relying party can refuse what is not meant for it. No token outlives what its result rests on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.errors import SetupError
from verifier.results.attestation_result import AttestationResult, SubmoduleResult

EAT_PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
ANNOTATED_EVIDENCE = "ear.veraison.annotated-evidence"
POLICY_DIGEST = "ear.attestkit.policy-digest"

# What only the verifier states of a part.
RESERVED_CLAIMS = frozenset({"ear.status", "ear.trustworthiness-vector", "ear.appraisal-policy-id", ANNOTATED_EVIDENCE,
                             POLICY_DIGEST})


def ear_claims(result: AttestationResult, *, issued_at: int, issuer: str, verifier_id: Mapping[str, str], lifetime: int,
               audience: str, nonce: str, jti: str) -> dict[str, Any]:
    """The claims of a token for ``result``, as plain JSON values.

    issued_at: Unix seconds. verifier_id: ``build`` and ``developer``. lifetime: seconds, cut where the result ends
    sooner. nonce: the challenge as the guest received it. Raises `SetupError`: ``ear.lifetime`` for a result that has
    already ended or a lifetime below one second, ``ear.verifier_id`` for other members.
    """
    if lifetime < 1 or result.valid_until <= issued_at:
        raise SetupError("ear.lifetime", "the result does not last long enough for a token", expected=f"> {issued_at}",
                         got=min(result.valid_until, issued_at + lifetime))
    if set(verifier_id) != {"build", "developer"}:
        raise SetupError("ear.verifier_id", "names build and developer", expected=["build", "developer"],
                         got=sorted(verifier_id))
    return {
        "eat_profile": EAT_PROFILE, "iss": issuer, "aud": audience, "jti": jti, "eat_nonce": nonce,
        "iat": issued_at, "nbf": issued_at, "exp": min(issued_at + lifetime, result.valid_until),
        "ear.verifier-id": dict(verifier_id),
        "submods": {submod.name: _appraisal(submod) for submod in result.submods},
    }


def _appraisal(submod: SubmoduleResult) -> dict[str, Any]:
    taken = RESERVED_CLAIMS & submod.extensions.keys()
    if taken:
        raise SetupError("ear.extensions", "a policy may not state what the verifier states", got=sorted(taken))
    return {
        **submod.extensions,
        "ear.status": submod.status,
        "ear.trustworthiness-vector": submod.vector.to_dict(),
        "ear.appraisal-policy-id": submod.policy_id,
        POLICY_DIGEST: submod.policy_digest.hex(),
        ANNOTATED_EVIDENCE: dict(submod.claims),
    }
