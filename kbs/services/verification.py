"""The guest's evidence to verified claims, and these to the parts of the attester: cpu0 first, then devices.

The primary evidence must bind the nonce, the guest's key and the text of the additional evidence; the additional
evidence must bind nonce and key. All of it must verify: there is no token for a part. Only a processor can be primary:
a GPU answers whoever asks it, and only the primary evidence says which guest has it. Each kind of evidence comes once,
and one piece of NVIDIA evidence makes a part for each device in it.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kbs.errors import AttestationRefused, KbsError, MalformedRequest, UndecidableEvidence, UnsupportedTee
from kbs.protocol import init_data, messages, tee_pubkey
from kbs.protocol.init_data import InitData
from kbs.protocol.messages import Attestation
from kbs.protocol.runtime_data import device_digest, primary_digest, report_data_for
from verifier.appraisal.expectations import ACCEPTABLE_STATUSES, Expectations
from verifier.appraisal.submodules import CPU, DEVICES, submodules
from verifier.claims import Claims
from verifier.endorsements.collateral import Collateral
from verifier.errors import EvidenceError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.coco_evidence import evidence_from_json
from verifier.policy.defaults import SHIPPED
from verifier.results.verdict import Verdict
from verifier.verify import Verifier

# More would not fit into a token.
MAX_PARTS = 32

# What no policy is asked about: debugging, keys for which nobody vouches (anybody can make one), firmware that is not
# its maker's, attributes nobody knows, and a revoked TCB are refused before it. Whether an outdated TCB or one of these
# objections may pass is the attestation policy's to say; the shipped ones say no.
LEFT_TO_POLICY = ("MIGRATABLE", "MIGRATE_MA_ALLOWED", "MRSERVICETD_NONZERO", "SEPT_VE_DISABLE_NOT_SET", "VMPL1",
                  "VMPL2", "VMPL3", "VMPL_HOST", "SGX_PROVISION_KEY", "SGX_EINIT_TOKEN_KEY", "UNSIGNED",
                  "SHA1_SIGNATURE", "SHA1_PCRS", "NOT_PRODUCTION", "CCA_NOT_SECURED", "MEASUREMENTS_NOT_COMPARED",
                  "RIM_REJECTED", "CERTIFICATE_HOLD", "SWITCHES_NOT_ATTESTED")
EXPECTATIONS = Expectations(accepted_statuses=ACCEPTABLE_STATUSES, allowed_flags=LEFT_TO_POLICY)


@dataclass(frozen=True, slots=True)
class Submodule:
    """One piece of evidence and the verdict on it. name: that of its part (``cpu0``), or the TEE's where it may make
    several (``nvidia``)."""

    name: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Part:
    """Evidence with what it must bind, not yet judged."""

    name: str
    evidence: Evidence
    binding: Binding


class Verification:
    """``collateral`` gives what the makers say at present.

    insecure_sample_tee admits the unsigned evidence of clients under test; the verifier's roots must admit it as well.
    """

    def __init__(self, verifier: Verifier, collateral: Callable[[], Collateral], *,
                 insecure_sample_tee: bool = False) -> None:
        self._verifier = verifier
        self._collateral = collateral
        self._additional = {tee.value: tee for tee in Tee
                            if tee in SHIPPED and (tee is not Tee.SAMPLE or insecure_sample_tee)}
        self._primary = {name: tee for name, tee in self._additional.items() if tee not in DEVICES}

    def admit(self, name: str) -> Tee:
        """The TEE of that name, as primary. Raises `UnsupportedTee` for a device's, for one that no shipped policy
        appraises, or not admitted."""
        return _admitted(self._primary, name)

    def prepare(self, tee: Tee, nonce: bytes, message: Attestation, document: InitData | None) -> tuple[Part, ...]:
        """The parts of ``message``, from a guest of kind ``tee`` that was challenged with ``nonce``.

        Raises `MalformedRequest`, `UnsupportedTee`, or `AttestationRefused` for evidence that is none.
        """
        runtime, evidence = message.runtime_data, message.tee_evidence
        if not hmac.compare_digest(messages.nonce_bytes(runtime.nonce, MalformedRequest), nonce):
            raise AttestationRefused("attestation.nonce", "the runtime data answers another challenge")
        tee_pubkey.parse(runtime.tee_pubkey)
        primary = primary_digest(runtime.nonce, runtime.tee_pubkey, evidence.additional_evidence)
        bound = document.field_for(tee) if document else None
        parts = [_part(f"{CPU}0", tee, evidence.primary_evidence, primary, bound)]
        if evidence.additional_evidence:
            parts += self._others(tee, message)
        return tuple(parts)

    def _others(self, primary: Tee, message: Attestation) -> list[Part]:
        """What stands beside the primary evidence: each kind once, the primary's own not again."""
        runtime = message.runtime_data
        digest = device_digest(runtime.nonce, runtime.tee_pubkey)
        parts: list[Part] = []
        processors = 1
        for name, value in messages.decode_additional_evidence(message.tee_evidence.additional_evidence).items():
            tee = _admitted(self._additional, name)
            if tee is primary:
                raise AttestationRefused("attestation.composite.duplicate", "each kind of evidence may come once",
                                         got=name)
            if tee in DEVICES:
                parts.append(_part(tee.value, tee, value, digest, None))
            else:
                parts.append(_part(f"{CPU}{processors}", tee, value, digest, None))
                processors += 1
        return parts

    def judge(self, parts: Sequence[Part], at: int) -> tuple[Submodule, ...]:
        """The verdict on each part at ``at`` (Unix seconds)."""
        collateral = self._collateral()
        return tuple(Submodule(part.name, self._verifier.verify(
            part.evidence, binding=part.binding, collateral=collateral, at=at)) for part in parts)


def read_init_data(message: Attestation) -> InitData | None:
    """The guest's init data, None when it has none. Raises `MalformedRequest`."""
    return None if message.init_data is None else init_data.parse(message.init_data.body.encode())


def accepted(judged: Sequence[Submodule]) -> tuple[tuple[str, Claims], ...]:
    """Every part by class and number with its claims. Raises the refusal of the first evidence that was not accepted.
    """
    for submodule in judged:
        refusal = _refusal(submodule.verdict)
        if refusal is not None:
            raise refusal
    numbers: Counter[str] = Counter()
    parts: list[tuple[str, Claims]] = []
    for submodule in judged:
        for kind, claims in submodules(submodule.verdict.require()):
            parts.append((f"{kind}{numbers[kind]}", claims))
            numbers[kind] += 1
    if len(parts) > MAX_PARTS:
        raise AttestationRefused("attestation.composite.parts", "the evidence is of too many devices",
                                 expected=f"<= {MAX_PARTS}", got=len(parts))
    return tuple(parts)


def _admitted(known: dict[str, Tee], name: str) -> Tee:
    tee = known.get(name)
    if tee is None:
        raise UnsupportedTee("attestation.tee", "this kind of TEE is not verified here", expected=", ".join(known),
                             got=name[:32])
    return tee


def _part(name: str, tee: Tee, value: Any, digest: bytes, bound: bytes | None) -> Part:
    try:
        evidence = evidence_from_json(tee, value)
    except EvidenceError as error:
        raise AttestationRefused(error.id, error.detail) from None
    return Part(name, evidence, Binding(report_data_for(tee, digest), bound))


def _refusal(verdict: Verdict) -> KbsError | None:
    if verdict.accepted:
        return None
    if verdict.authentic is None:
        cause = verdict.error
        return UndecidableEvidence(cause.id if cause else "attestation.undecided", "the evidence could not be judged")
    cause_id = verdict.error.id if verdict.error else next((c.id for c in verdict.mismatches), "attestation.refused")
    return AttestationRefused(cause_id, "the evidence was judged and refused")
