"""Cases of a small TPM for every folder's tests, and what the verifier says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence
from verifier.formats.tpm_evidence import TpmEvidence, TpmQuote
from verifier.formats.tpm_json import evidence_of
from verifier.results.verdict import Verdict
from verifier.software_tee.certificates import pem
from verifier.software_tee.keys import EcKey, KeyRing
from verifier.software_tee.tpm import SmallTpm
from verifier.software_tee.tpm_keys import TpmKey
from verifier.verify import verify

AT = 1_780_000_000
NONCE = bytes(range(32))
ALL = {"sha256": range(24)}
TPM, OTHER = (SmallTpm.create(seed, at=AT) for seed in (b"the small TPM of tests", b"another of the same name"))
KEYS = KeyRing(b"keys of nobody in particular")


@dataclass(frozen=True)
class TpmCase:
    """One piece of TPM evidence and all that its verdict depends on; each method gives a case that differs.

    quotes: each as (nonce, selection, listed). certified: whether another key is certified. told: a last change to the
    evidence. collateral: None is the maker's own. trusted: beside the unaltered maker's root.
    """

    maker: SmallTpm = TPM
    quotes: tuple[tuple[bytes, Mapping[str, Iterable[int]], bool], ...] = ((NONCE, ALL, True),)
    certified: bool = False
    told: Callable[[TpmEvidence], TpmEvidence] = field(default=lambda told: told)
    certificates: tuple[bytes, ...] | None = None
    collateral: TpmCollateral | None = None
    roots: Roots | None = None
    event_log: bytes | None = None
    at: int = AT + 10
    binding: Binding = field(default_factory=Binding.insecure_unbound)
    expectations: Expectations | None = None

    def altered(self, **alterations: Any) -> TpmCase:
        """Artefacts altered, everything that depends on them signed again."""
        return replace(self, maker=self.maker.altered(**alterations))

    def quoting(self, *selections: Mapping[str, Iterable[int]], listed: bool = False) -> TpmCase:
        """A quote for each selection."""
        return replace(self, quotes=tuple((NONCE, selection, listed) for selection in selections))

    def telling(self, **changes: Any) -> TpmCase:
        """The evidence with members changed, nothing signed again."""
        return replace(self, told=lambda told, first=self.told: replace(first(told), **changes))

    def first(self, change: Callable[[TpmQuote], TpmQuote]) -> TpmCase:
        """The evidence with its first quote changed, nothing signed again."""
        def told(evidence: TpmEvidence) -> TpmEvidence:
            before = self.told(evidence)
            return replace(before, quotes=(change(before.quotes[0]), *before.quotes[1:]))
        return replace(self, told=told)

    @property
    def unendorsed(self) -> TpmCase:
        """Nobody vouches for the key."""
        return replace(self, certificates=(), collateral=TpmCollateral())

    @property
    def evidence(self) -> Evidence:
        quotes = [self.maker.quote(nonce, selected, listed=listed) for nonce, selected, listed in self.quotes]
        told = self.maker.told(*quotes, certified=self.quotes[0][0] if self.certified else None)
        certificates = self.maker.certificates if self.certificates is None else self.certificates
        return evidence_of(self.told(told), certificates, self.event_log)

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        own = TpmCollateral(**self.maker.collateral()) if self.collateral is None else self.collateral
        roots = Roots.only_software([pem(TPM.certificate("root"))]) if self.roots is None else self.roots
        return verify(self.evidence, collateral=Collateral(tpm=own), roots=roots, at=self.at, binding=self.binding,
                      expectations=self.expectations, prepared=prepared)

    def refusal(self) -> str:
        """The id that refuses, which must be the only rule that failed."""
        verdict = self.verdict()
        assert verdict.authentic is False, verdict
        assert [check.id for check in verdict.checks if not check.ok] in ([], [verdict.error.id])
        return verdict.error.id


def signer(change: Callable[[TpmKey], TpmKey]) -> Callable[[Any], Any]:
    """An alteration of an attestation: another key or scheme signs."""
    return lambda made: replace(made, signer=change(made.signer))


def attest(**changes: Any) -> Callable[[Any], Any]:
    """An alteration of an attestation: other fields, signed as they are."""
    return lambda made: replace(made, attest=replace(made.attest, **changes))


def somebody(label: str = "somebody") -> EcKey:
    """A key of nobody's."""
    return KEYS.p256(label)
