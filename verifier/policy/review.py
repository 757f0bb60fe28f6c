"""What an administrator should hear about a policy before it is stored.

A policy that does not compile, calls what it may not, takes too long or brings the engine down is refused. One that
runs but may not say what its author meant draws warnings: names that lead nowhere, outputs that stay undefined for
evidence of some kind, trust claims that AR4SI does not have. The samples are inputs of every kind with every member.

`check_attestation_policy` and `check_release_policy` run the policy in a child process (`verifier.policy.sandbox`): the
native engine may end the process it runs in, and that must not be the broker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from verifier.policy import sandbox
from verifier.policy.engine import CompiledPolicy, PolicyEngine, PolicyError
from verifier.policy.lint import ANY, Tree, lint
from verifier.policy.source import check_source

SAMPLES = ("tdx", "sgx", "snp", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "nitro", "cca", "csv", "nvidia", "sample")
MAX_CPU_SECONDS = 0.05
MAX_WARNINGS = 100

_TRUST_CLAIMS = frozenset({"instance-identity", "configuration", "executables", "file-system", "hardware",
                           "runtime-opaque", "storage-opaque", "sourced-data"})
_EXPECTED_CLAIMS = ("hardware", "executables", "configuration")
# How parts of an attester are named: a class and an index.
_CLASSES = ("cpu", "gpu", "switch", "ppcie", "dcu", "nvidia-dpu")
_PARTS = tuple(f"{kind}{index}" for kind in _CLASSES for index in range(16))
_REQUEST = {"plugin": "resource", "resource-path": ["repository", "type", "tag"], "query": {}}


def check_attestation_policy(engine: PolicyEngine, source: str, *,
                             registered: Collection[str] | None = None) -> list[str]:
    """Warnings about an attestation policy; empty for none.

    registered: the names of the reference values there are, to be told of others that the policy asks for; None tells
    nothing. Raises `PolicyError` for a policy that must not be stored.
    """
    return _checked("attestation", engine, source, registered)


def check_release_policy(engine: PolicyEngine, source: str) -> list[str]:
    """Warnings about a release policy; see `check_attestation_policy`."""
    return _checked("release", engine, source, None)


def _checked(kind: str, engine: PolicyEngine, source: str, registered: Collection[str] | None) -> list[str]:
    check_source(source)
    warnings = sandbox.review(kind, source, None if registered is None else sorted(registered))
    engine.compile(source, name=f"review of {kind}")
    return warnings[:MAX_WARNINGS]


def review_attestation(engine: PolicyEngine, source: str, registered: Collection[str] | None = None) -> list[str]:
    """As `check_attestation_policy`, in this very process: for policies of our own."""
    policy = engine.compile(source, name="policy")
    reference: Tree | str = ANY if registered is None else dict.fromkeys(registered, ANY)
    warnings = lint(source, outputs=("trust_claims", "extensions", "why"), inputs=input_tree(),
                    data={"reference": reference, "reference_values": reference})
    for name in SAMPLES:
        warnings += _judge_claims(name, _timed(policy, "data.policy.trust_claims", sample(name)))
        _timed(policy, "data.policy.why", sample(name))
        _timed(policy, "data.policy.extensions", sample(name))
    return warnings


def review_release(engine: PolicyEngine, source: str) -> list[str]:
    """As `check_release_policy`, in this very process."""
    policy = engine.compile(source, name="policy")
    warnings = lint(source, outputs=("allow", "why"), inputs=token_tree(), data={**_REQUEST, "query": ANY})
    for name in SAMPLES:
        allow = _timed(policy, "data.policy.allow", sample_token(name), _REQUEST)
        if not isinstance(allow, bool):
            warnings.append(f"allow is {'undefined' if allow is None else 'not a boolean'} for a token of {name}: "
                            "nothing is released then")
        _timed(policy, "data.policy.why", sample_token(name), _REQUEST)
    return warnings


def _timed(policy: CompiledPolicy, query: str, input: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> Any:
    policy.evaluate(query, input=input, data=data)  # compiles the query, which is paid once
    begun = time.thread_time()
    value = policy.evaluate(query, input=input, data=data)
    spent = time.thread_time() - begun
    if spent > MAX_CPU_SECONDS:
        raise PolicyError("policy.cost", f"{query} takes too long", expected=f"<= {MAX_CPU_SECONDS * 1000:.0f} ms",
                          got=f"{spent * 1000:.0f} ms")
    return value


def _judge_claims(name: str, claims: Any) -> Iterator[str]:
    if claims is None:
        yield f"trust_claims is undefined for {name}: such evidence is contraindicated"
        return
    if not isinstance(claims, dict):
        raise PolicyError("policy.result", "trust_claims must be an object", got=type(claims).__name__)
    for claim, value in claims.items():
        if claim not in _TRUST_CLAIMS:
            yield f"trust_claims has {claim}, which AR4SI does not know, for {name}"
        elif type(value) is not int or not -128 <= value <= 127:
            raise PolicyError("policy.result", f"{claim} must be a whole number from -128 to 127", got=str(value)[:40])
    for claim in _EXPECTED_CLAIMS:
        if claim not in claims:
            yield f"trust_claims leaves out {claim} for {name}: it counts as not known"


@cache
def sample(name: str) -> dict[str, Any]:
    """A policy input of the TEE ``name`` with every member there can be."""
    text = files("verifier.policy").joinpath("samples", f"{name}.json").read_text("utf-8")
    value: dict[str, Any] = json.loads(text)
    return value


def sample_token(name: str) -> dict[str, Any]:
    """The claims of an affirming token for `sample`."""
    vector = {**dict.fromkeys(sorted(_TRUST_CLAIMS), 0), "hardware": 2, "executables": 3, "configuration": 2}
    return {
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee", "iss": "issuer", "aud": "broker",
        "jti": "token", "eat_nonce": "nonce", "iat": 0, "nbf": 0, "exp": 300,
        "ear.verifier-id": {"build": "build", "developer": "developer"},
        "submods": {"cpu0": {
            "ear.status": "affirming", "ear.trustworthiness-vector": vector, "ear.appraisal-policy-id": "default_cpu",
            "ear.attestkit.policy-digest": "00" * 32, "ear.veraison.annotated-evidence": sample(name),
            "ear.trustee.identifiers": {"validated": {"container_images": [], "container_uids": []}},
        }},
    }


@cache
def input_tree() -> Tree:
    """Every member of every policy input."""
    tree: dict[str, Any] = {}
    for name in SAMPLES:
        tree |= sample(name)
    return {**tree, "init_data_claims": ANY, "runtime_data_claims": ANY}


@cache
def token_tree() -> Tree:
    """Every member of a token's claims."""
    token = sample_token("tdx")
    appraisal = {**token["submods"]["cpu0"], "ear.veraison.annotated-evidence": input_tree()}
    return {**token, "submods": dict.fromkeys(_PARTS, appraisal)}
