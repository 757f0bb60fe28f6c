"""The CCA token and its JSON: both halves by their own profiles, each claim at its edges."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.cose_cases import ARM, CHALLENGE, RPV
from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import cbor, coco_evidence
from verifier.formats.cbor import Tagged
from verifier.formats.cca_json import evidence_from_json, evidence_to_json
from verifier.formats.cca_token import (
    MAX_COMPONENTS,
    MAX_SIZE,
    CcaToken,
    PlatformClaims,
    PlatformProfile,
    RealmClaims,
    RealmProfile,
    SoftwareComponent,
)
from verifier.software_tee.arm import Realm

REALM_CLAIMS = ARM.realm_claims(CHALLENGE, RPV)
PLATFORM_CLAIMS = ARM.platform_claims(REALM_CLAIMS)
LEGACY_REALM = ARM.on(realm=Realm(profile=None)).realm_claims(CHALLENGE, RPV)
TOKEN = ARM.token(CHALLENGE, RPV)
PARTS = cbor.decode(TOKEN, "token", max_size=MAX_SIZE, tags=(399,)).value
COMPONENT = {1: "RMM", 2: bytes(32), 4: "1", 5: bytes(32), 6: "sha-256"}


def values(claims: PlatformClaims | RealmClaims) -> dict[int, object]:
    return cbor.decode(claims.to_bytes(), "claims", max_size=MAX_SIZE)


def without(mapping: dict[int, object], key: int) -> dict[int, object]:
    return {k: v for k, v in mapping.items() if k != key}


def refuses(read: object, value: object) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        read(cbor.encode(value))
    assert caught.value.id == "format.cca_token"
    return caught.value.detail


@pytest.mark.parametrize("claims", [
    PLATFORM_CLAIMS, replace(PLATFORM_CLAIMS, profile=PlatformProfile.LEGACY, verification_service=None, config=b""),
    replace(PLATFORM_CLAIMS, sw_components=(SoftwareComponent(measurement_value=bytes(64), signer_id=bytes(48)),)),
    REALM_CLAIMS, LEGACY_REALM, replace(REALM_CLAIMS, extensible_measurements=(bytes(48),) * 4),
], ids=["platform", "legacy platform", "bare component", "realm", "legacy realm", "other hash"])
def test_claims_are_read_and_written(claims):
    assert type(claims).from_bytes(claims.to_bytes()) == claims


def test_a_token_is_read_and_written():
    token = CcaToken.from_bytes(TOKEN)
    assert token.to_bytes() == TOKEN
    assert (token.platform_claims, token.realm_claims) == (PLATFORM_CLAIMS, REALM_CLAIMS)
    assert token.realm_claims.profile is RealmProfile.V2023


@pytest.mark.corpus("cca")
def test_recorded_tokens_are_written_as_they_were_read(corpus, case):
    data = (corpus.folder(case) / "token.cbor").read_bytes()
    token = CcaToken.from_bytes(data)
    assert token.to_bytes() == data
    assert token.platform_claims.profile == case["format"]["platform_profile"]
    assert token.realm_claims.profile == case["format"]["realm_profile"]


@pytest.mark.parametrize("number", range(256))
def test_every_lifecycle_has_a_name(number):
    names = {0x00: "unknown", 0x10: "assembly-and-test", 0x20: "cca-platform-rot-provisioning", 0x30: "secured",
             0x40: "non-cca-platform-rot-debug", 0x50: "recoverable-cca-platform-rot-debug", 0x60: "decommissioned"}
    for low in (0, 3, 255):
        claims = replace(PLATFORM_CLAIMS, lifecycle=number << 8 | low)
        assert claims.lifecycle_name == names.get(number, "invalid")


PLATFORM_EDGES = {
    10: ([bytes(32), bytes(48), bytes(64)], [b"", bytes(20), bytes(31), bytes(33), bytes(63), bytes(65), "x", None]),
    256: ([b"\x01" + bytes(32)], [bytes(33), b"\x02" + bytes(32), b"\x01" + bytes(31), b"\x01" + bytes(33), "x"]),
    2395: ([0, 0x3000, 0xFFFF], [-1, 0x10000, "secured", None]),
    2396: ([bytes(32)], [bytes(31), bytes(33), b"", "x"]),
    2400: (["x", "x" * 1024], ["", "x" * 1025, b"x", None]),
    2401: ([b"", bytes(1024)], [bytes(1025), "x", None]),
    2402: (["sha-256", "anything"], ["", "x" * 17, 1, b"sha-256"]),
    2399: ([(COMPONENT,), (COMPONENT,) * MAX_COMPONENTS, ({2: bytes(48), 5: bytes(64)},)],
           [(), (COMPONENT,) * (MAX_COMPONENTS + 1), (1,), ({},), COMPONENT, (without(COMPONENT, 2),),
            (without(COMPONENT, 5),), ({**COMPONENT, 3: "x"},), ({**COMPONENT, 2: bytes(31)},),
            ({**COMPONENT, 5: b""},), ({**COMPONENT, 1: b"x"},), ({**COMPONENT, 4: ""},), ({**COMPONENT, 6: 1},)]),
}
REALM_EDGES = {
    10: ([bytes(64)], [bytes(63), bytes(65), bytes(32), b"", "x", None]),
    44235: ([bytes(64)], [bytes(63), bytes(65), b"", None]),
    44236: (["sha-512"], ["", 1, b"x"]),
    44237: ([b"x", bytes(256)], [b"", bytes(257), "x", {1: 2}]),
    44238: ([bytes(32), bytes(48), bytes(64)], [bytes(20), b"", (bytes(32),), "x"]),
    44239: ([(bytes(32),) * 4, (bytes(64),) * 4],
            [(), (bytes(32),) * 3, (bytes(32),) * 5, (bytes(32),) * 3 + (bytes(31),), ("x",) * 4, bytes(128), None]),
    44240: (["sha-256", "sha-1"], ["", 1, "x" * 17]),
}


@pytest.mark.parametrize(("claims", "key", "edges"), [
    *(pytest.param(PLATFORM_CLAIMS, key, edges, id=f"platform {key}") for key, edges in PLATFORM_EDGES.items()),
    *(pytest.param(REALM_CLAIMS, key, edges, id=f"realm {key}") for key, edges in REALM_EDGES.items())])
def test_each_claim_is_bounded(claims, key, edges):
    inside, outside = edges
    for value in inside:
        type(claims).from_bytes(cbor.encode({**values(claims), key: value}))
    for value in outside:
        refuses(type(claims).from_bytes, {**values(claims), key: value})


@pytest.mark.parametrize("claims", [PLATFORM_CLAIMS, REALM_CLAIMS], ids=["platform", "realm"])
def test_each_claim_must_be_there_and_no_other(claims):
    told = values(claims)
    for key in set(told) - {2400, 265}:
        assert refuses(type(claims).from_bytes, without(told, key)).endswith("is missing")
    for key in (1, 2394, 44241, -1, "profile"):
        assert refuses(type(claims).from_bytes, {**told, key: 1}) == "unknown members"
    for value in (None, 1, (), b""):
        assert refuses(type(claims).from_bytes, value) == "not a map"


def test_a_platform_names_its_profile_and_a_realm_without_one_is_legacy():
    assert refuses(PlatformClaims.from_bytes, without(values(PLATFORM_CLAIMS), 265)) == "profile is missing"
    assert RealmClaims.from_bytes(LEGACY_REALM.to_bytes()).profile is None
    assert refuses(RealmClaims.from_bytes, without(values(REALM_CLAIMS), 265)).startswith("realm public key has")


@pytest.mark.parametrize("size", [0, 96, 98, 65, 107])
def test_a_legacy_realm_key_has_the_size_of_a_point(size):
    told = {**values(LEGACY_REALM), 44237: bytes(size)}
    assert refuses(RealmClaims.from_bytes, told) == "realm public key has the wrong length"


@pytest.mark.parametrize("name", ["", "http://arm.com/CCA-SSD/1.0.1", "tag:arm.com,2023:realm#1.0.1", "x" * 129])
def test_another_profile_is_not_supported(name):
    for claims in (PLATFORM_CLAIMS, REALM_CLAIMS):
        with pytest.raises(UnsupportedEvidence if 0 < len(name) < 129 else MalformedEvidence,
                           match=r"^(format\.cca_token|format\.cca_token\.profile): "):
            type(claims).from_bytes(cbor.encode({**values(claims), 265: name}))


def test_a_half_with_the_profile_of_the_other_is_not_supported():
    for claims, name in ((PLATFORM_CLAIMS, RealmProfile.V2023), (REALM_CLAIMS, PlatformProfile.V2023)):
        with pytest.raises(UnsupportedEvidence) as caught:
            type(claims).from_bytes(cbor.encode({**values(claims), 265: str(name)}))
        assert (caught.value.id, caught.value.got) == ("format.cca_token.profile", name)


@pytest.mark.parametrize("value", [
    PARTS, Tagged(18, PARTS), Tagged(399, ()), Tagged(399, {}), Tagged(399, {44234: PARTS[44234]}),
    Tagged(399, {44241: PARTS[44241]}), Tagged(399, {**PARTS, 1: b""}), Tagged(399, {**PARTS, 44234: b""}),
    Tagged(399, {**PARTS, 44241: "x"}), Tagged(399, {44234: Tagged(18, ()), 44241: PARTS[44241]}),
    Tagged(399, {**PARTS, 44234: PARTS[44234][1:]}), Tagged(399, {**PARTS, 44241: PARTS[44241] + b"\x00"}),
    Tagged(399, Tagged(399, PARTS)), Tagged(399, {44234: PARTS[44241], 44241: PARTS[44234]}),
])
def test_a_token_is_exactly_two_tagged_messages(value):
    with pytest.raises(EvidenceError, match=r"^(format\.cca_token|format\.cca_token\.profile): "):
        CcaToken.from_bytes(cbor.encode(value))


def test_a_half_of_indefinite_length_is_refused():
    with pytest.raises(MalformedEvidence, match="indefinite length"):
        CcaToken.from_bytes(bytes.fromhex("d9018f") + cbor.encode_open_map(PARTS))
    for claims in (PLATFORM_CLAIMS, REALM_CLAIMS):
        with pytest.raises(MalformedEvidence, match="indefinite length"):
            type(claims).from_bytes(cbor.encode_open_map(values(claims)))


def test_every_truncation_is_refused():
    for size in range(len(TOKEN)):
        with pytest.raises(MalformedEvidence, match=r"^format\.cca_token: "):
            CcaToken.from_bytes(TOKEN[:size])
    for claims in (PLATFORM_CLAIMS, REALM_CLAIMS):
        data = claims.to_bytes()
        for size in range(len(data)):
            with pytest.raises(MalformedEvidence):
                type(claims).from_bytes(data[:size])


def test_a_token_is_bounded():
    with pytest.raises(MalformedEvidence, match="too large"):
        CcaToken.from_bytes(bytes(MAX_SIZE + 1))


@given(st.binary(max_size=300))
def test_no_input_raises_anything_else(data):
    for read in (CcaToken.from_bytes, PlatformClaims.from_bytes, RealmClaims.from_bytes):
        for prefix in (b"", bytes.fromhex("d9018f"), bytes.fromhex("d9018fa219accad284")):
            try:
                read(prefix + data)
            except EvidenceError:
                continue


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3))
def test_an_altered_token_is_refused_or_tells_all_that_it_says(changes):
    data = bytearray(TOKEN)
    for position, change in changes:
        data[position % len(data)] ^= change
    try:
        token = CcaToken.from_bytes(bytes(data))
    except EvidenceError:
        return
    assert token.to_bytes() == bytes(data)


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [Tee.CCA, None])
def test_evidence_is_the_same_raw_and_as_json(told):
    evidence = Evidence(Tee.CCA, TOKEN)
    assert coco_evidence.read(TOKEN, told) == evidence
    assert coco_evidence.read(json.dumps(evidence_to_json(evidence)).encode(), told) == evidence
    assert evidence_to_json(evidence) == {"token": list(TOKEN)}


@pytest.mark.parametrize("value", [
    {}, {"token": None}, {"token": "2QGP"}, {"token": [256]}, {"token": [-1]}, {"token": [1.0]}, {"token": [True]},
    {"token": ["1"]}, {"token": [None]}, {"token": {}}, {"token": [1], "extra": 1}, {"Token": [1]},
    {"token": [0] * (MAX_SIZE + 1)},
])
def test_other_json_is_refused(value):
    with pytest.raises(MalformedEvidence) as caught:
        evidence_from_json(value)
    assert caught.value.id == "evidence.json"
