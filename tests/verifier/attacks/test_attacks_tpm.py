"""Published flaws of TPM verifiers, built as attacks on this one: user data, PCR selection, keys, nonces."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.verifier.tpm_cases import ALL, NONCE, OTHER, TPM, TpmCase, attest, somebody
from verifier.appraisal.expectations import Expectations
from verifier.endorsements.collateral import TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding
from verifier.formats.tpm_public import Attributes
from verifier.formats.tpm_signature import SignatureScheme
from verifier.software_tee import certificates as x509
from verifier.software_tee.keys import EcKey
from verifier.software_tee.tpm_guest import init_data_pcr
from verifier.software_tee.tpm_keys import TpmKey

ATTACKERS = init_data_pcr(hashlib.sha256(b"attacker's init data").digest())
OWNERS = init_data_pcr(hashlib.sha256(b"the owner's init data").digest())


def failed(verdict):
    return [check.id for check in verdict.checks if not check.ok]


# -- O-01: everything bound goes through the one signed nonce --------------------------------------------------------


def test_o01_a_certification_for_other_data_is_not_taken_with_a_quote():
    """Quote of a good machine, and another statement by the same key for other data."""
    other = TPM.certification(b"other data")
    case = TpmCase(certified=True).telling(key_certification=other)
    assert case.refusal() == "tpm.key_certification.nonce"


def test_o01_quotes_for_two_nonces_are_not_one_statement():
    case = TpmCase(quotes=((NONCE, {"sha256": range(24)}, True), (b"other", {"sha384": range(24)}, False)))
    assert case.refusal() == "tpm.quotes.nonce"


def test_o01_a_byte_moved_from_data_to_nonce_is_another_nonce():
    data, nonce = b"data", b"nonce"
    case = replace(TpmCase(quotes=((data + nonce, ALL, True),)), binding=Binding(data + nonce[:-1]))
    assert failed(case.verdict()) == ["tpm.binding.report_data"]


def test_o01_quotes_of_two_boots_or_two_tpms_are_not_one_statement():
    banks = ({"sha1": range(24)}, {"sha256": range(24)})
    case = TpmCase().quoting(*banks)
    rebooted = replace(TPM, guest=replace(TPM.guest, reset_count=2)).quote(NONCE, banks[1], listed=False)
    assert case.telling(quotes=(TPM.quote(NONCE, banks[0], listed=False), rebooted)).refusal() == "tpm.quotes.boot"
    foreign = OTHER.quote(NONCE, banks[1], listed=False)
    assert case.telling(quotes=(TPM.quote(NONCE, banks[0], listed=False), foreign)).refusal() == (
        "tpm.tpm_quote.signature")


# -- O-02: PCR values outside the signed selection -------------------------------------------------------------------


def forging_pcr8(case):
    return case.first(lambda quote: replace(
        quote, pcrs={"sha256": {**TPM.guest.values("sha256"), **quote.pcrs.get("sha256", {}), 8: ATTACKERS}}))


def test_o02_an_empty_selection_is_refused():
    assert TpmCase().quoting({}).refusal() == "tpm.tpm_quote.pcr_selection"
    assert forging_pcr8(TpmCase().quoting({"sha256": ()})).refusal() == "tpm.tpm_quote.pcr_selection"


def test_o02_init_data_outside_the_selection_is_no_init_data():
    case = replace(forging_pcr8(TpmCase().quoting({"sha256": set(range(24)) - {8}})),
                   binding=Binding(NONCE, ATTACKERS))
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.claims.init_data) == (True, False, b"")
    assert failed(verdict) == ["tpm.binding.init_data"]
    assert "8" not in verdict.claims.body["pcrs"]["sha256"]


def test_o02_init_data_inside_the_selection_must_be_the_signed_value():
    assert forging_pcr8(TpmCase()).refusal() == "tpm.tpm_quote.pcr_digest"


def test_o02_init_data_in_another_bank_is_no_init_data():
    guest = TPM.guest.holding("sha1", 8, hashlib.sha1(b"x").digest())
    case = replace(TpmCase(maker=replace(TPM, guest=guest)).quoting({"sha1": range(24)}),
                   binding=Binding(NONCE, hashlib.sha1(b"x").digest()),
                   expectations=Expectations(allowed_flags=("SHA1_PCRS",)))
    assert failed(case.verdict()) == ["tpm.binding.init_data"]


def test_o02_only_a_sha1_bank_is_flagged():
    assert failed(TpmCase().quoting({"sha1": range(24)}).verdict()) == ["tpm.accept.sha1_pcrs"]


def test_o02_a_bank_named_twice_is_refused():
    case = TpmCase().altered(quote=lambda made: replace(made, attest=replace(made.attest, attested=replace(
        made.attest.attested, selections=made.attest.attested.selections * 2))))
    assert case.refusal() == "tpm.tpm_quote.pcr_selection"
    assert TpmCase().quoting({"sha256": (8,)}, {"sha256": (8,)}).refusal() == "tpm.quotes.banks"


def test_o02_two_banks_prove_only_what_came_along_and_fits():
    case = TpmCase().quoting({"sha1": (0,), "sha256": (8,)})
    claims = case.verdict().claims
    assert {bank: set(values) for bank, values in claims.body["pcrs"].items()} == {"sha1": {"0"}, "sha256": {"8"}}
    listed = TpmCase().quoting({"sha256": (8,), "sha1": (0,)}, listed=True)
    assert listed.refusal() == "tpm.tpm_quote.pcr_values"


def test_o02_resettable_registers_are_marked():
    claims = TpmCase().verdict().claims
    assert claims.body["pcrs_resettable"] == [16, 17, 18, 19, 20, 21, 22, 23]
    assert TpmCase().quoting({"sha256": (0, 8)}).verdict().claims.body["pcrs_resettable"] == []


def test_o02_honest_init_data_is_accepted_and_no_other():
    guest = TPM.guest.holding("sha256", 8, OWNERS)
    honest = replace(TpmCase(maker=replace(TPM, guest=guest)), binding=Binding(NONCE, OWNERS))
    assert honest.verdict().accepted is True
    for wrong in (ATTACKERS, OWNERS[:-1], OWNERS + b"\x00", hashlib.sha256(b"the owner's init data").digest()):
        assert failed(replace(honest, binding=Binding(NONCE, wrong)).verdict()) == ["tpm.binding.init_data"]


# -- O-03: the key was never proved to be a TPM's --------------------------------------------------------------------


def test_o03_any_key_can_sign_and_is_accepted_by_nobody():
    verdict = TpmCase(maker=replace(TPM, other_ak=TpmKey(somebody(), SignatureScheme.ECDSA))).unendorsed.verdict()
    assert (verdict.authentic, failed(verdict)) == (True, ["tpm.accept.ak_unproven"])


def test_o03_another_keys_certificate_does_not_help():
    case = replace(TpmCase(maker=replace(TPM, other_ak=TpmKey(somebody(), SignatureScheme.ECDSA))),
                   certificates=TPM.certificates, collateral=TpmCollateral())
    assert failed(case.verdict()) == ["tpm.accept.ak_unproven"]


def test_o03_a_chain_of_the_attackers_own_making_is_refused():
    case = replace(TpmCase(maker=OTHER), certificates=(*OTHER.certificates, OTHER.certificate("root")))
    assert case.refusal() == "tpm.chain.intermediate.authority_key"
    unnamed = OTHER.altered(intermediate=lambda c: c.without(x509.AUTHORITY_KEY_IDENTIFIER))
    unnamed_case = replace(case, maker=unnamed, certificates=unnamed.certificates)
    assert unnamed_case.refusal() == "tpm.chain.intermediate.signature"


def test_o03_a_key_without_the_restriction_is_refused():
    """An unrestricted key signs whatever it is given, magic number and all."""
    for flag in (Attributes.RESTRICTED, Attributes.SIGN, Attributes.FIXED_TPM, Attributes.SENSITIVE_DATA_ORIGIN):
        case = TpmCase().altered(ak_public=lambda area, flag=flag: replace(area, attributes=area.attributes & ~flag))
        assert case.refusal() == "tpm.ak.public.attributes"
    case = TpmCase().altered(ak_public=lambda area: replace(area, attributes=area.attributes | Attributes.DECRYPT))
    assert case.refusal() == "tpm.ak.public.decrypt"


def test_o03_weak_keys_are_refused():
    weak = EcKey(ec.derive_private_key(7, ec.SECP224R1()))
    assert TpmCase(maker=replace(TPM, other_ak=TpmKey(weak, SignatureScheme.ECDSA))).refusal() == "tpm.ak.key"


def test_o03_what_no_tpm_made_is_refused():
    assert TpmCase().altered(quote=attest(magic=0xFF544346)).refusal() == "tpm.tpm_quote.magic"
    creation = TPM.creation()
    other = replace(TPM.quote(NONCE), message=creation.message, signature=creation.signature)
    assert TpmCase().telling(quotes=(other,)).refusal() == "tpm.tpm_quote.type"


def test_o03_a_name_that_is_not_the_signers_is_refused():
    """The public area of an honest key is put beside another's quotes, or its attributes are embellished."""
    unrestricted = TPM.altered(ak_public=lambda area: replace(
        area, attributes=area.attributes & ~Attributes.RESTRICTED))
    embellished = TpmCase(maker=unrestricted).telling(ak_public_area=TPM.ak_public.to_bytes())
    assert embellished.refusal() == "tpm.ak_creation.name"
    moved = TpmCase(maker=replace(TPM, primary=True)).telling(ak_creation=TPM.creation())
    assert moved.refusal() == "tpm.ak_creation.signer"
    told = TpmCase(maker=unrestricted).telling(ak_public_area=TPM.ak_public.to_bytes(), ak_creation=None).verdict()
    assert (told.authentic, told.claims.body["ak_name_confirmed"]) == (True, False)


# -- O-05: the nonce is compared at exact length ---------------------------------------------------------------------


@pytest.mark.parametrize("expected", [
    NONCE[:-1], NONCE + b"\x00", NONCE.ljust(64, b"\x00"), hashlib.sha256(NONCE).digest(), NONCE[::-1], b"",
    NONCE.hex().encode(), bytes(32)])
def test_o05_no_other_nonce_is_taken(expected):
    verdict = replace(TpmCase(), binding=Binding(expected)).verdict()
    assert failed(verdict) == ["tpm.binding.report_data"]


@pytest.mark.parametrize("signed", [b"", NONCE[:16], NONCE + bytes(32), bytes(32)])
def test_o05_no_other_signed_nonce_is_taken(signed):
    case = replace(TpmCase(quotes=((signed, ALL, True),)), binding=Binding(NONCE))
    assert failed(case.verdict()) == ["tpm.binding.report_data"]
    empty = replace(TpmCase(quotes=((b"", ALL, True),)), binding=Binding(b""))
    assert failed(empty.verdict()) == ["tpm.binding.report_data"]


def test_o05_the_right_nonce_is_taken():
    assert replace(TpmCase(), binding=Binding(NONCE)).verdict().accepted is True
    assert replace(TpmCase(), binding=Binding(NONCE), roots=Roots(())).refusal() == "tpm.chain.root"
