"""The AR4SI trust vector."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import SetupError
from verifier.results.trust_vector import CLAIM_NAMES, UNSTATED, Tier, TrustVector, meaning

ORDER = ("none", "affirming", "warning", "contraindicated")
signed_bytes = st.integers(-128, 127)


def tier_by_hand(value: int) -> str:
    """The draft's table, a range at a time."""
    ranges = [("none", range(-1, 2)), ("affirming", range(2, 32)), ("affirming", range(-32, -1)),
              ("warning", range(32, 96)), ("warning", range(-96, -32)), ("contraindicated", range(96, 128)),
              ("contraindicated", range(-128, -96))]
    found = [name for name, values in ranges if value in values]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("value", range(-128, 128))
def test_each_value_has_the_tier_of_the_drafts_table(value):
    assert Tier.of(value).word == tier_by_hand(value)


@given(st.lists(signed_bytes, min_size=8, max_size=8))
def test_the_status_is_the_worst_tier(values):
    vector = TrustVector.from_claims(dict(zip(CLAIM_NAMES, values, strict=True)))
    assert vector.status == max((tier_by_hand(value) for value in values), key=ORDER.index)
    assert vector.to_dict() == dict(zip(CLAIM_NAMES, values, strict=True))


def test_names_are_those_of_tokens():
    assert CLAIM_NAMES == ("instance-identity", "configuration", "executables", "file-system", "hardware",
                           "runtime-opaque",
                           "storage-opaque", "sourced-data")


def test_a_vector_that_says_nothing_has_no_status():
    assert TrustVector().status == "none"


def test_what_is_not_stated_of_the_essentials_is_contraindicated():
    assert UNSTATED.status == "contraindicated"
    assert TrustVector.from_claims({}, missing=UNSTATED) == UNSTATED
    assert TrustVector.from_claims({"executables": 3, "configuration": 2}, missing=UNSTATED).hardware == 97
    assert TrustVector.from_claims({"hardware": 2, "configuration": 2}, missing=UNSTATED).status == "warning"


def test_unknown_claims_are_not_read():
    assert TrustVector.from_claims({"hardwarf": 2, "hardware_": 2}, missing=UNSTATED) == UNSTATED


@pytest.mark.parametrize("value", [True, "2", 2.0, None, [2], 128, -129, 10**30])
def test_a_claim_is_a_signed_byte(value):
    with pytest.raises(SetupError) as caught:
        TrustVector.from_claims({"hardware": value})
    assert caught.value.id == "trust_vector.hardware"


@pytest.mark.parametrize("claim", CLAIM_NAMES)
def test_each_value_of_each_claim_has_a_meaning(claim):
    for value in range(-128, 128):
        words = meaning(claim, value)
        assert words.tag.isidentifier()
        assert words.short
        assert words.long.endswith(".")


@pytest.mark.parametrize(("claim", "value", "tag"), [
    ("hardware", 2, "genuine_hardware"), ("hardware", 97, "unrecognized_hardware"), ("executables", 3, "approved_boot"),
    ("configuration", 36, "unavailable_config"), ("file-system", 0, "no_claim"),
    ("sourced-data", 99, "crypto_validation_failed"),
    ("executables", 4, "affirming_unspecified"),
])
def test_meanings_are_found(claim, value, tag):
    assert meaning(claim, value).tag == tag
