"""Which keys may be a CCA platform's, and what they are believed to be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.cose_cases import ARM, CHALLENGE, OTHER_ARM, RPV
from verifier.endorsements.arm import MAX_KEY_BYTES, MAX_SUPPLIED, Cpak, Trust, candidates
from verifier.endorsements.collateral import ArmCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.roots.keys import spki_digest
from verifier.errors import MalformedCollateral
from verifier.software_tee.arm import jwk

PLATFORM = ARM.platform_claims(ARM.realm_claims(CHALLENGE, RPV))
NOBODY = Roots(())
OURS, NAMED = ARM.cpak_jwk(named=False), ARM.cpak_jwk(named=True)
PEM = ARM.cpak.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = ARM.cpak.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
OTHERS = OTHER_ARM.cpak_jwk(named=False)
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_bytes(
    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DIGEST = spki_digest(ARM.cpak.private.public_key())


def found(roots: Roots, *supplied: bytes) -> list[tuple[bytes | None, str, bool]]:
    return [(key.sha256_public_key, key.trust.value, key.software)
            for key in candidates(PLATFORM, roots, ArmCollateral(supplied) if supplied else None)]


def named(**ids: str) -> bytes:
    told = {"implementation_id": PLATFORM.implementation_id.hex(), "instance_id": PLATFORM.instance_id.hex()} | ids
    return json.dumps(jwk(ARM.cpak) | {name: value for name, value in told.items() if value}).encode()


def altered(**members: object) -> bytes:
    return json.dumps(jwk(ARM.cpak) | members).encode()


@pytest.mark.parametrize("file", [OURS, NAMED, PEM, DER])
def test_a_key_is_what_the_caller_says_that_it_is(file):
    assert found(NOBODY, file) == [(DIGEST, "unproven", True)]
    assert found(NOBODY.with_provisioned([file])) == [(DIGEST, "provisioned", False)]
    if file is not DER:
        assert found(NOBODY.with_software([file])) == [(DIGEST, "provisioned", True)]


def test_there_may_be_none():
    assert found(NOBODY) == []
    assert found(Roots.makers()) == []
    assert candidates(PLATFORM, NOBODY, ArmCollateral()) == ()


def test_what_is_provisioned_counts_as_that_though_it_lies_beside_the_token_too():
    for roots in (NOBODY.with_provisioned([OURS]), NOBODY.with_provisioned([NAMED])):
        assert found(roots, OURS, PEM) == [(DIGEST, "provisioned", False)]


def test_hardware_comes_before_software_and_both_before_what_lies_beside():
    roots = NOBODY.with_software([PEM]).with_provisioned([OTHERS])
    third = json.dumps(jwk(ARM.rak)).encode()
    assert [(trust, software) for _, trust, software in found(roots, third)] == [
        ("provisioned", False), ("provisioned", True), ("unproven", True)]


def test_a_key_for_this_platform_leaves_no_room_for_another():
    roots = NOBODY.with_provisioned([NAMED, OTHERS])
    assert found(roots, OTHERS, json.dumps(jwk(ARM.rak)).encode()) == [(DIGEST, "provisioned", False)]


@pytest.mark.parametrize("ids", [
    {"implementation_id": "00" * 32}, {"instance_id": "01" + "00" * 32},
    {"implementation_id": "00" * 32, "instance_id": ""}, {"implementation_id": "", "instance_id": "01" + "00" * 32},
])
def test_a_key_of_another_platform_is_never_used(ids):
    file = named(**ids)
    assert found(NOBODY.with_provisioned([file])) == []
    assert found(NOBODY, file) == []
    assert found(NOBODY.with_provisioned([file]), OURS) == [], "nor its copy that says nothing"
    assert found(NOBODY.with_software([file]), PEM) == []


@pytest.mark.parametrize("ids", [{"implementation_id": ""}, {"instance_id": ""}])
def test_a_key_may_name_its_platform_in_part(ids):
    assert found(NOBODY.with_provisioned([named(**ids)])) == [(DIGEST, "provisioned", False)]
    assert found(NOBODY, named(**ids)) == [(DIGEST, "unproven", True)]


def test_keys_of_other_kinds_of_machines_are_passed_over():
    assert found(NOBODY.with_provisioned([RSA])) == []
    assert found(NOBODY.with_provisioned([RSA, OURS])) == [(DIGEST, "provisioned", False)]
    assert found(NOBODY, RSA, OURS) == [(DIGEST, "unproven", True)]


UNREADABLE = "not a public key (PEM, DER or JWK)"


@pytest.mark.parametrize(("file", "detail"), [
    (b"", UNREADABLE), (b"{}", UNREADABLE), (b"{", UNREADABLE), (b"junk", UNREADABLE), (PEM[:-30], UNREADABLE),
    (DER + b"\x00", UNREADABLE), (OURS + b"x", UNREADABLE),
    (altered(crv="P-256"), UNREADABLE), (altered(crv=["P-384"]), UNREADABLE), (altered(kty="OKP"), UNREADABLE),
    (altered(x=1), UNREADABLE), (altered(y="AA"), UNREADABLE), (altered(y=None), UNREADABLE),
    (altered(implementation_id="00"), UNREADABLE), (bytes(MAX_KEY_BYTES + 1), "a key is too large"),
])
def test_a_key_beside_a_token_that_cannot_be_read_decides_nothing(file, detail):
    with pytest.raises(MalformedCollateral) as caught:
        found(NOBODY, file)
    assert (caught.value.id, caught.value.detail) == ("collateral.arm.cpak", detail)


def test_coordinates_that_are_no_point_are_a_key_that_nobody_has():
    file = altered(x=jwk(OTHER_ARM.cpak)["x"])
    assert candidates(PLATFORM, NOBODY, ArmCollateral((file,))) == (Cpak(None, None, Trust.UNPROVEN, software=True),)
    assert found(NOBODY, file, OURS)[1] == (DIGEST, "unproven", True)


def test_the_number_of_keys_beside_a_token_is_bounded():
    assert len(found(NOBODY, *[OURS] * MAX_SUPPLIED)) == MAX_SUPPLIED
    with pytest.raises(MalformedCollateral, match="too many keys"):
        found(NOBODY, *[OURS] * (MAX_SUPPLIED + 1))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_keys_on_every_curve_of_cose_are_read(curve):
    key = ec.generate_private_key(curve).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert candidates(PLATFORM, NOBODY, ArmCollateral((pem,)))[0].public_key == key


@given(st.binary(max_size=200) | st.dictionaries(
    st.sampled_from(("kty", "crv", "x", "y", "n", "e", "implementation_id", "instance_id")),
    st.none() | st.integers() | st.text(max_size=10) | st.sampled_from(("EC", "RSA", "P-384", "AQAB"))).map(
        lambda members: json.dumps(members).encode()))
def test_no_input_raises_anything_else(data):
    try:
        keys = candidates(replace(PLATFORM, lifecycle=0), NOBODY, ArmCollateral((data,)))
    except MalformedCollateral:
        return
    assert len(keys) <= 1
