"""Every single bit of what a TPM signed, of its signatures, its key and its certificates, turned over: never authentic.

PCR values outside the signed selection are nobody's: there a bit may be turned over, and no claim tells of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from tests.verifier.tpm_cases import TPM, TpmCase
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.loose.folder import read
from verifier.verify import verify

# The X.509 library warns of what altered certificates say before it refuses them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

KINDS = ("p256", "rsa")
RECORDED = ("tpm/azure-kinvolk-bincode", "tpm/trustee-rsa-24pcr", "tpm/goattestation-windows-gcp-sha1",
            "tpm/veraison-parsec-key-attestation")


def flips(data: bytes, step: int, start: int = 0) -> Iterator[bytes]:
    """``data`` with one bit turned over, every ``step``-th bit in turn."""
    for bit in range(start, 8 * len(data), step):
        yield data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1:]


def altered(told: TpmEvidence, step: int) -> Iterator[tuple[str, TpmEvidence]]:
    """The evidence with one bit of one signed or vouching part turned over."""
    for number, quote in enumerate(told.quotes):
        for part in ("message", "signature"):
            for data in flips(getattr(quote, part), step, number):
                quotes = list(told.quotes)
                quotes[number] = replace(quote, **{part: data})
                yield part, replace(told, quotes=tuple(quotes))
        for bank, values in (quote.pcrs or {}).items():
            for index, value in values.items():
                for data in flips(value, 8 * step, index):
                    changed = replace(quote, pcrs={**quote.pcrs, bank: {**values, index: data}})
                    yield "pcrs", replace(told, quotes=(*told.quotes[:number], changed, *told.quotes[number + 1:]))
    for name in ("ak_public", "ak_public_area"):
        if (whole := getattr(told, name)) is not None:
            yield from ((name, replace(told, **{name: data})) for data in flips(whole, step))
    for name in ("ak_creation", "key_certification"):
        if (signed := getattr(told, name)) is not None:
            for part in ("message", "signature", "about"):
                for data in flips(getattr(signed, part), step):
                    yield f"{name}.{part}", replace(told, **{name: replace(signed, **{part: data})})


def judge(evidence: Evidence, roots: Roots, prepared: Prepared | None = None):
    return verify(evidence, collateral=Collateral.none(), roots=roots, at=1_780_000_010,
                  binding=Binding.insecure_unbound(), prepared=prepared)


def refuse_all(evidence: Evidence, roots: Roots, step: int) -> set[str]:
    prepared = Prepared()
    assert judge(evidence, roots, prepared).authentic is True
    seen = set()
    for part, told in altered(TpmEvidence.from_bytes(evidence.quote), step):
        verdict = judge(replace(evidence, quote=told.to_bytes()), roots, prepared)
        assert verdict.authentic is not True, part
        assert verdict.error.id != "verifier.internal", part
        seen.add(part)
    return seen


@cache
def software(kind: str) -> tuple[Evidence, Roots]:
    case = TpmCase(maker=replace(TPM, algorithm=kind, primary=kind == "rsa"), certified=True)
    return case.evidence, Roots.only_software(TPM.roots().values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_bits_of_the_small_tpms_evidence(kind):
    seen = refuse_all(*software(kind), step=17)
    assert seen >= {"message", "signature", "pcrs", "ak_public", "ak_public_area", "ak_creation.about",
                    "key_certification.about", "key_certification.signature"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_of_the_small_tpms_evidence(kind):
    refuse_all(*software(kind), step=1)


@pytest.mark.parametrize("name", RECORDED)
def test_a_sample_of_bits_of_recorded_evidence(corpus, name):
    """The key of these is nobody's: a turned bit of the key itself must break the signature."""
    assert {"message", "signature"} <= refuse_all(read(corpus.folder(name), Tee.TPM), Roots.makers(), step=17)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_every_bit_of_recorded_evidence(corpus, name):
    refuse_all(read(corpus.folder(name), Tee.TPM), Roots.makers(), step=1)


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_bits_of_the_certificates(step):
    evidence, roots = software("p256")
    for number in range(len(evidence.certificates)):
        for data in flips(evidence.certificates[number], step):
            certificates = (*evidence.certificates[:number], data, *evidence.certificates[number + 1:])
            verdict = judge(replace(evidence, certificates=certificates), roots)
            assert verdict.accepted is False
            assert verdict.authentic is not True or verdict.flags == ("AK_UNPROVEN",)


def test_values_outside_the_selection_are_nobodys():
    case = TpmCase().quoting({"sha256": (0,)}, listed=True)
    roots = Roots.only_software(TPM.roots().values())
    honest = judge(case.evidence, roots)
    forged = case.first(lambda quote: replace(quote, pcrs={"sha256": quote.pcrs["sha256"] | {8: b"\x01" * 32}}))
    verdict = judge(forged.evidence, roots)
    assert verdict.authentic is True
    assert verdict.claims == honest.claims
    assert (set(verdict.claims.body["pcrs"]["sha256"]), verdict.claims.init_data) == ({"0"}, b"")
