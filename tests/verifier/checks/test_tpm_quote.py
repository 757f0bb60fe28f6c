"""One quote over one agreed bank, as TEEs with a TPM inside them use it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.verifier.tpm_cases import NONCE, OTHER, TPM
from verifier.checks.tpm_quote import check_quote, check_quote_of_banks
from verifier.errors import CheckFailed, MalformedEvidence
from verifier.formats.tpm_signature import TpmSignature
from verifier.trail import Trail

KEY = TPM.ak.key.private.public_key()
RSA = replace(TPM, algorithm="rsa")
ALL = TPM.guest.values("sha256")


def check(quote, *, key=KEY, pcrs=None, bank="sha256", raw=False):
    trail = Trail("tee")
    signature = TpmSignature.from_bytes(quote.signature)
    quoted = check_quote(trail, message=quote.message, signature=signature.parts[0] if raw else signature, key=key,
                         pcrs=ALL if pcrs is None else pcrs, bank=bank)
    return quoted, trail


def refused(quote, **options):
    with pytest.raises(CheckFailed) as caught:
        check(quote, **options)
    return caught.value.id


def test_a_quote_proves_the_selected_values_and_no_others():
    quoted, trail = check(TPM.quote(NONCE, {"sha256": (0, 8)}))
    assert quoted.pcrs == {"sha256": {0: ALL[0], 8: ALL[8]}}
    assert (quoted.pcr("sha256", 8), quoted.pcr("sha256", 7), quoted.pcr("sha1", 8)) == (ALL[8], None, None)
    assert quoted.attest.extra_data == NONCE
    assert [check.id for check in trail.checks] == [f"tee.tpm_quote.{rule}" for rule in (
        "signature.scheme", "signature", "magic", "type", "pcr_selection", "pcr_values", "pcr_digest")]


def test_values_outside_the_selection_may_be_anything():
    quoted, _ = check(TPM.quote(NONCE, {"sha256": (0,)}), pcrs={0: ALL[0], 8: b"attacker", 99: b""})
    assert quoted.pcrs == {"sha256": {0: ALL[0]}}


@pytest.mark.parametrize("selected", [
    {}, {"sha256": ()}, {"sha1": (0,)}, {"sha1": (0,), "sha256": (0,)}, {"sha256": (0,), "sha384": ()},
    {"sha384": range(24)}])
def test_other_banks_than_the_agreed_one_are_refused(selected):
    assert refused(TPM.quote(NONCE, selected, listed=False)) == "tee.tpm_quote.pcr_selection"


def test_another_bank_may_be_agreed():
    quote = TPM.quote(NONCE, {"sha384": (0, 1)}, listed=False)
    assert check(quote, pcrs=TPM.guest.values("sha384"), bank="sha384")[0].pcr("sha384", 1) is not None


@pytest.mark.parametrize("change", [
    lambda pcrs: pcrs.pop(8), lambda pcrs: pcrs.update({8: b""}), lambda pcrs: pcrs.update({8: bytes(31)}),
    lambda pcrs: pcrs.update({8: bytes(33)}), lambda pcrs: pcrs.clear()])
def test_a_selected_value_must_be_there_at_its_length(change):
    pcrs = dict(ALL)
    change(pcrs)
    assert refused(TPM.quote(NONCE), pcrs=pcrs) == "tee.tpm_quote.pcr_values"


def test_lengths_that_add_up_are_not_enough():
    """Two values cut elsewhere give the same joined bytes."""
    joined = ALL[0] + ALL[1]
    pcrs = ALL | {0: joined[:31], 1: joined[31:]}
    assert refused(TPM.quote(NONCE, {"sha256": (0, 1)}), pcrs=pcrs) == "tee.tpm_quote.pcr_values"


def test_values_change_places_and_the_digest_does_not_fit():
    pcrs = ALL | {0: ALL[1], 1: ALL[0]}
    assert refused(TPM.quote(NONCE), pcrs=pcrs) == "tee.tpm_quote.pcr_digest"


def test_a_raw_signature_is_rsassa_with_sha256():
    key = RSA.ak.key.private.public_key()
    assert check(RSA.quote(NONCE), key=key, raw=True)[0].pcrs == {"sha256": ALL}
    assert refused(TPM.quote(NONCE), raw=True) == "tee.tpm_quote.signature.scheme"
    assert refused(RSA.quote(NONCE), key=OTHER.ca_key("root").private.public_key(), raw=True) == (
        "tee.tpm_quote.signature.scheme")


def test_a_signed_message_that_is_no_attestation_is_malformed():
    message = hashlib.sha256(b"no attestation").digest()
    with pytest.raises(MalformedEvidence, match=r"^format\.tpms_attest: "):
        check(replace(TPM.quote(NONCE), message=message, signature=TPM.ak.sign(message).to_bytes()))


def test_without_values_the_digest_stands_alone():
    quote, trail = TPM.quote(NONCE), Trail("tee")
    quoted = check_quote_of_banks(trail, message=quote.message, signature=TpmSignature.from_bytes(quote.signature),
                                  key=KEY, pcrs=None)
    assert quoted.pcrs == {}
    assert len(quoted.attest.pcr_digest) == 32


def test_a_bank_that_the_tpm_does_not_have_may_be_selected_empty_beside_another():
    quote = TPM.quote(NONCE, {"sha1": (), "sha256": (0,)}, listed=False)
    quoted = check_quote_of_banks(Trail("tee"), message=quote.message, key=KEY, pcrs=quote.pcrs,
                                  signature=TpmSignature.from_bytes(quote.signature))
    assert quoted.pcrs == {"sha256": {0: ALL[0]}}
