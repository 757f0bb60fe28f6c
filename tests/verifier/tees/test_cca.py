"""The CCA recipe: every rule kept and broken alone, whom it trusts, what it tells, and that no bit goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.verifier.cose_cases import ARM, AT, CHALLENGE, NONCE, OTHER_ARM, RPV, CcaCase, Es512Signer, roots_of
from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer, rules_in_source, without_a_case
from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import ALWAYS
from verifier.errors import CheckFailed, EvidenceError, MalformedCollateral, MissingCollateral
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats import cbor, cose_key
from verifier.formats.cca_token import CcaToken, PlatformProfile, RealmProfile
from verifier.formats.cose import Algorithm, CoseSign1
from verifier.formats.cose_key import EcPoint
from verifier.results.verdict import jsonable
from verifier.software_tee.arm import CcaPlatform, Realm, collection, jwk
from verifier.software_tee.cose import protected_header
from verifier.tees.cca import CcaRecipe

NOBODY = Roots(())
OURS, NAMED = ARM.cpak_jwk(named=False), ARM.cpak_jwk(named=True)
P256, P521 = ARM.keys.p256("a P-256 key"), Es512Signer()

Breaks = Callable[[CcaCase], CcaCase]


def platform(**changes: Any) -> Breaks:
    return lambda case: case.altered(platform=lambda m: replace(m, **changes))


def realm(**changes: Any) -> Breaks:
    return lambda case: case.altered(realm=lambda m: replace(m, **changes))


def bound_with(name: str) -> Breaks:
    """The realm's key bound by another hash than its claim names, of the same length where there is one."""
    def make(case: CcaCase) -> CcaCase:
        key = ARM.realm_claims(CHALLENGE, RPV).public_key
        return case.platform_says(challenge=hashlib.new(name, key).digest())
    return make


def point(curve: str, encoded: bytes) -> Breaks:
    return lambda case: case.realm_says(public_key=cose_key.write(EcPoint(curve, encoded)))


def legacy(encoded: bytes) -> Breaks:
    return lambda case: case.on(realm=Realm(profile=None)).realm_says(public_key=encoded)


OFF_CURVE = b"\x04" + bytes(95) + b"\x05"
P256_POINT = EcPoint("secp256r1", b"\x04" + P256.public_xy)

RULES: dict[str, list[Breaks]] = {
    "platform.cpak": [lambda case: replace(case, roots=NOBODY, cpaks=(
        json.dumps(jwk(ARM.cpak) | {"x": jwk(OTHER_ARM.cpak)["x"]}).encode(),))],
    "platform.signature.curve": [
        platform(protected=protected_header(Algorithm.ES256), signer=P256),
        platform(protected=protected_header(Algorithm.ES512), signer=P521),
        lambda case: replace(case.on(CcaPlatform(small_key=True)), roots=roots_of(NAMED)),
    ],
    "platform.signature.range": [platform(signature=bytes(96)), platform(signature=b"\xff" * 96)],
    "platform.signature": [platform(signer=OTHER_ARM.cpak), platform(signer=ARM.rak), platform(external=b"x"),
                           lambda case: replace(case, maker=OTHER_ARM)],
    "platform.lifecycle": [lambda case, n=n: case.platform_says(lifecycle=n) for n in (
        0, 0xFF, 0x1000, 0x2000, 0x2FFF, 0x3100, 0x4100, 0x5000, 0x50FF, 0x6000, 0xFFFF)],
    "realm.public_key": [
        point("secp384r1", OFF_CURVE), point("secp384r1", b"\x04" + bytes(96)), legacy(OFF_CURVE),
        point("secp256r1", b"\x04" + b"\xff" * 64), legacy(b"\x05" + ARM.rak.public_xy), legacy(b"\x02" + bytes(96)),
        legacy(b"\x06" + ARM.rak.public_xy),
    ],
    "realm.signature.curve": [
        point(*P256_POINT), realm(protected=protected_header(Algorithm.ES256), signer=P256),
        realm(protected=protected_header(Algorithm.ES512), signer=P521)],
    "realm.signature.range": [realm(signature=bytes(96)), realm(signature=b"\xff" * 96)],
    "realm.signature": [realm(signer=OTHER_ARM.rak), realm(signer=ARM.cpak), realm(external=b"x"),
                        point("secp384r1", b"\x04" + OTHER_ARM.rak.public_xy)],
    "platform.challenge.algorithm": [lambda case, name=name: case.realm_says(public_key_hash_algo_id=name) for name in (
        "sha-1", "sha256", "SHA-256", "md5", "none", "sha3-256", "sha-224")],
    "platform.challenge": [
        lambda case: case.platform_says(challenge=bytes(32)), bound_with("sha512"), bound_with("sha384"),
        bound_with("sha3_256"),
        lambda case: case.platform_says(challenge=hashlib.sha256(ARM.rak.public_xy).digest()),
        lambda case: case.platform_says(challenge=hashlib.sha256(b"\x04" + ARM.rak.public_xy).digest()),
        lambda case: case.altered(platform_claims=lambda c: replace(c, challenge=c.challenge + bytes(32))),
    ],
    "size": [lambda case: replace(case, raw=case.evidence.quote + bytes(4 * 1024 * 1024))],
}
BROKEN = [pytest.param(rule, make, id=f"{rule}-{number}")
          for rule, breaks in RULES.items() for number, make in enumerate(breaks)]


@pytest.mark.parametrize(("rule", "make"), BROKEN)
def test_rule_refuses_alone(rule, make):
    verdict = make(CcaCase()).verdict()
    assert isinstance(verdict.error, CheckFailed), verdict.error
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (False, False, f"cca.{rule}")
    assert [check.id for check in verdict.mismatches] == ([f"cca.{rule}"] if rule != "size" else [])
    assert verdict.claims is None


@pytest.mark.parametrize("platform_profile", PlatformProfile)
@pytest.mark.parametrize("realm_profile", [None, *RealmProfile])
@pytest.mark.parametrize("rak_hash", ["sha-256", "sha-384", "sha-512"])
@pytest.mark.parametrize("small_key", [False, True])
def test_a_token_that_keeps_every_rule_is_accepted(platform_profile, realm_profile, rak_hash, small_key):
    """The halves' profiles are independent of each other."""
    case = CcaCase().on(CcaPlatform(profile=platform_profile, small_key=small_key),
                        Realm(profile=realm_profile, rak_hash=rak_hash))
    verdict = replace(case, roots=roots_of(case.maker.cpak_jwk(named=True))).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags, verdict.error) == (True, True, (), None)
    assert len(verdict.claims.body["platform"]["challenge"]) * 8 == int(rak_hash[-3:])


@pytest.mark.parametrize(("signer", "algorithm", "name"), [(P256, Algorithm.ES256, "secp256r1"),
                                                           (P521, Algorithm.ES512, "secp521r1")])
def test_a_realm_key_may_be_on_another_curve_of_cose(signer, algorithm, name):
    public = signer.private.public_key()
    size = (public.curve.key_size + 7) // 8
    numbers = public.public_numbers()
    encoded = b"\x04" + numbers.x.to_bytes(size, "big") + numbers.y.to_bytes(size, "big")
    case = point(name, encoded)(CcaCase())
    case = realm(signer=signer, protected=protected_header(algorithm))(case)
    assert case.verdict().accepted


def test_a_platform_key_may_be_on_p521():
    pem = pem_of(P521.private)
    case = platform(signer=P521, protected=protected_header(Algorithm.ES512))(CcaCase())
    assert replace(case, roots=roots_of(pem)).verdict().accepted


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_every_rule_in_source_and_trail_has_a_case():
    patterns = rules_in_source("tees/cca.py", "endorsements/arm.py", "checks/cose_signature.py")
    assert len(patterns) >= 7
    assert without_a_case(patterns, RULES) == []
    noted = {check.id.partition(".")[2] for check in CcaCase().verdict().checks}
    assert noted - {"accept.status", "accept.flags"} == set(RULES) - {"size"}


def test_prepared_trust_never_changes_an_answer():
    assert_prepared_trust_never_changes_an_answer(
        CcaCase(), ((param.values[0], param.values[1](CcaCase())) for param in BROKEN))


# -- prepared trust --------------------------------------------------------------------------------------------------


def test_a_warm_verification_verifies_the_realm_alone(monkeypatch):
    prepared = Prepared()
    assert CcaCase().verdict(prepared).accepted
    monkeypatch.setattr("verifier.tees.cca.candidates", None)
    verdict = replace(CcaCase(), challenge=bytes(64)).verdict(prepared)
    assert (verdict.accepted, verdict.claims.report_data, len(prepared)) == (True, bytes(64), 1)


def test_other_trust_does_not_meet_what_was_prepared():
    prepared = Prepared()
    assert CcaCase().verdict(prepared).accepted
    assert isinstance(replace(CcaCase(), roots=NOBODY).verdict(prepared).error, MissingCollateral)
    beside = replace(CcaCase(), roots=NOBODY, cpaks=(OURS,)).verdict(prepared)
    assert beside.flags == ("CPAK_UNPROVEN",)
    assert CcaCase().verdict(prepared).flags == ()
    wrong = replace(CcaCase(), roots=NOBODY, cpaks=(OTHER_ARM.cpak_jwk(named=False),)).verdict(prepared)
    assert wrong.error.id == "cca.platform.signature"


def test_what_is_refused_is_never_kept():
    prepared = Prepared()
    for make in (platform(signer=OTHER_ARM.cpak), lambda case: case.platform_says(lifecycle=0)):
        for _ in range(2):
            assert make(CcaCase()).verdict(prepared).authentic is False
    assert len(prepared) == 0


# -- whom it trusts --------------------------------------------------------------------------------------------------


def trusted(roots: Roots, *cpaks: bytes) -> Any:
    return replace(CcaCase(), roots=roots, cpaks=cpaks).verdict()


def test_a_provisioned_key_makes_it_hardware():
    verdict = trusted(Roots.makers().with_provisioned([NAMED]))
    assert (verdict.accepted, verdict.claims.software, verdict.flags) == (True, False, ())
    assert verdict.claims.endorsement == {
        "cpak_trust": "provisioned",
        "cpak_sha256": Roots(()).with_provisioned([NAMED]).keys[0].sha256_public_key}


def test_a_key_that_was_named_as_a_software_root_does_not():
    verdict = trusted(Roots.makers().with_software([NAMED]))
    assert (verdict.accepted, verdict.claims.software, verdict.flags) == (True, True, ())
    assert verdict.claims.endorsement["cpak_trust"] == "provisioned"


def test_a_key_that_lay_beside_the_token_proves_nothing():
    verdict = trusted(Roots.makers(), OTHER_ARM.cpak_jwk(named=False), OURS)
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("CPAK_UNPROVEN",))
    assert (verdict.claims.software, verdict.claims.endorsement["cpak_trust"]) == (True, "unproven")
    assert [check.id for check in verdict.mismatches] == ["cca.accept.cpak_unproven"]
    allowed = replace(CcaCase(), roots=NOBODY, cpaks=(OURS,),
                      expectations=Expectations(allowed_flags=("CPAK_UNPROVEN",)))
    assert allowed.verdict().accepted
    assert replace(allowed, expectations=Expectations(allowed_flags=("CPAK_UNPROVEN",), refuse_software=True)
                   ).verdict().accepted is False


def test_without_any_key_nothing_is_decided():
    for roots in (NOBODY, Roots.makers(), NOBODY.with_provisioned([json.dumps(
            jwk(ARM.cpak) | {"implementation_id": "00" * 32}).encode()])):
        verdict = trusted(roots)
        assert isinstance(verdict.error, MissingCollateral)
        assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, "collateral.arm.cpak")
        assert jsonable(dict(verdict.unverified))["realm"]["challenge"] == CHALLENGE.hex()


def test_a_key_that_cannot_be_read_decides_nothing():
    verdict = trusted(NOBODY, b"junk")
    assert isinstance(verdict.error, MalformedCollateral)
    assert verdict.authentic is None


def test_a_provisioned_platform_is_not_vouched_for_by_a_key_beside_the_token():
    """Otherwise whoever supplies collateral could sign for a platform whose key is known."""
    case = replace(CcaCase(), maker=OTHER_ARM, cpaks=(OTHER_ARM.cpak_jwk(named=False),))
    assert case.verdict().error.id == "cca.platform.signature"
    assert replace(case, roots=NOBODY).verdict().flags == ("CPAK_UNPROVEN",)


def test_of_many_keys_the_one_that_signed_is_found():
    others = [pem_of(ARM.keys.p384(f"other {number}").private) for number in range(5)]
    verdict = trusted(NOBODY.with_provisioned([*others, OURS]))
    assert (verdict.accepted, verdict.claims.software) == (True, False)
    assert trusted(NOBODY.with_provisioned(others)).error.id == "cca.platform.signature"


# -- what is told ----------------------------------------------------------------------------------------------------


def test_challenge_and_personalization_value_are_what_is_bound():
    case = CcaCase()
    claims = case.verdict().claims
    assert (claims.report_data, claims.init_data, claims.valid_until) == (CHALLENGE, RPV, ALWAYS.not_after)
    assert replace(case, binding=Binding(CHALLENGE, RPV)).verdict().accepted
    for binding, name in ((Binding(CHALLENGE[:32]), "report_data"), (Binding(CHALLENGE + b"\x00"), "report_data"),
                          (Binding(bytes(64)), "report_data"), (Binding(CHALLENGE, RPV[:48]), "init_data"),
                          (Binding(CHALLENGE, bytes(64)), "init_data"), (Binding(NONCE), "report_data")):
        verdict = replace(case, binding=binding).verdict()
        assert (verdict.authentic, verdict.accepted) == (True, False)
        assert [check.id for check in verdict.mismatches] == [f"cca.binding.{name}"]


@pytest.mark.parametrize("lifecycle", [0x4000, 0x4007, 0x40FF])
def test_debugging_outside_the_platform_is_a_flag_that_is_refused_until_it_is_allowed(lifecycle):
    case = CcaCase().platform_says(lifecycle=lifecycle)
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("CCA_NOT_SECURED",))
    assert replace(case, expectations=Expectations(allowed_flags=("CCA_NOT_SECURED",))).verdict().accepted
    both = replace(case, roots=NOBODY, cpaks=(OURS,)).verdict()
    assert both.flags == ("CPAK_UNPROVEN", "CCA_NOT_SECURED")


@pytest.mark.parametrize("lifecycle", [0x3000, 0x3003, 0x30FF])
def test_every_secured_state_is_one(lifecycle):
    verdict = CcaCase().platform_says(lifecycle=lifecycle).verdict()
    assert (verdict.accepted, verdict.flags) == (True, ())
    assert verdict.claims.body["platform"]["lifecycle"] == hex(lifecycle)


def test_claims_tell_both_halves():
    verdict = CcaCase().verdict()
    told = jsonable(verdict.claims.named())
    mine, realm_told = ARM.platform, told["realm"]
    assert told["platform"]["implementation_id"] == mine.implementation_id.hex()
    assert told["platform"]["instance_id"] == mine.instance_id.hex()
    assert (told["platform"]["lifecycle"], told["platform"]["lifecycle_name"]) == ("0x3003", "secured")
    assert [part["measurement_type"] for part in told["platform"]["sw_components"]] == ["RSE_BL2", "AP_BL31", "RMM"]
    assert realm_told["initial_measurement"] == ARM.realm.initial_measurement.hex()
    assert realm_told["public_key_form"] == "COSE_Key"
    assert len(realm_told["extensible_measurements"]) == 4
    assert verdict.claims.status is None


def test_a_component_tells_only_what_it_has():
    bare = replace(ARM.platform.components[0], measurement_type=None, version=None, hash_algo_id=None)
    claims = CcaCase().platform_says(sw_components=(bare,), verification_service=None).verdict().claims
    assert set(claims.body["platform"]["sw_components"][0]) == {"signer_id", "measurement_value"}
    assert claims.body["platform"]["verification_service"] is None


def test_inspection_tells_what_verification_proves():
    recipe = CcaRecipe()
    assert recipe.inspect(recipe.parse(CcaCase().evidence)) == CcaCase().verdict().claims.body


# -- no bit unnoticed ------------------------------------------------------------------------------------------------


def flipped_token(case: CcaCase, bits: Callable[[int], Any]) -> int:
    prepared, data, turned = Prepared(), bytearray(case.evidence.quote), 0
    assert replace(case, raw=bytes(data)).verdict(prepared).authentic is True
    for position in range(len(data)):
        for bit in bits(position):
            data[position] ^= 1 << bit
            verdict = replace(case, raw=bytes(data)).verdict(prepared)
            if isinstance(verdict.error, MissingCollateral):  # it says that it is of another platform
                assert case.cpaks or position in identity(case), (position, bit)
            else:
                assert (verdict.authentic, verdict.claims) == (False, None), (position, bit, verdict.error)
            assert verdict.accepted is False
            assert verdict.error.id != "verifier.internal"
            data[position] ^= 1 << bit
            turned += 1
    return turned


def identity(case: CcaCase) -> range | set[int]:
    """Where implementation id and instance id are: with another one the token is of a platform nobody knows."""
    data, mine = case.evidence.quote, case.maker.platform
    places: set[int] = set()
    for value in (mine.implementation_id, mine.instance_id):
        places |= set(range(data.index(value), data.index(value) + len(value)))
    return places


CASES = {
    "2023": CcaCase(), "legacy": CcaCase().on(CcaPlatform(profile=PlatformProfile.LEGACY), Realm(profile=None)),
    "key of no platform": replace(CcaCase(), roots=roots_of(OURS)),
}


@pytest.mark.parametrize("name", CASES)
def test_no_bit_of_a_token_can_be_turned_over(name):
    """All of protected headers, a third of the signatures' bytes, some of the rest; all of it in the slow tests."""
    data, thorough = CASES[name].evidence.quote, name == "2023"
    token, whole = CcaToken.from_bytes(data), set()
    for header in re.finditer(re.escape(bytes.fromhex("d28444a1013822a0")), data):
        whole |= set(range(header.start(), header.end()))
    assert len(whole) == 2 * 8
    if thorough:
        for signature in (token.platform.signature, token.realm.signature):
            whole |= set(range(data.index(signature), data.index(signature) + len(signature), 3))
    assert flipped_token(CASES[name], lambda position: range(8) if position in whole else (
        (position % 8,) if position % 5 == 0 else ())) > (800 if thorough else 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_bit_at_all_of_a_token_can_be_turned_over(name):
    assert flipped_token(CASES[name], lambda _: range(8)) > 9_000


def test_every_truncation_is_refused():
    data = CcaCase().evidence.quote
    for size in range(len(data)):
        with pytest.raises(EvidenceError):
            CcaRecipe().parse(Evidence(Tee.CCA, data[:size]))
    verdict = replace(CcaCase(), raw=data + b"\x00").verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "format.cca_token")


def test_a_realm_key_that_is_no_cose_key_is_malformed():
    for content in (b"\x04" + ARM.rak.public_xy, cbor.encode({}), cbor.encode({1: 2, -1: 2}), b"\xff"):
        verdict = CcaCase().realm_says(public_key=content).verdict()
        assert (verdict.authentic, verdict.error.id) == (False, "format.cca_token")


def test_the_other_signature_of_the_same_bytes_is_the_same_evidence():
    token = CcaToken.from_bytes(CcaCase().evidence.quote)
    order = ARM.rak.private.curve.group_order

    def twin(message: CoseSign1) -> bytes:
        s = order - int.from_bytes(message.signature[48:], "big")
        return replace(message, signature=message.signature[:48] + s.to_bytes(48, "big")).to_bytes()

    raw = collection(twin(token.platform), twin(token.realm))
    assert replace(CcaCase(), raw=raw).verdict().to_dict() == CcaCase().verdict().to_dict()
    assert replace(CcaCase(), raw=raw, at=AT + 10**9).verdict().authentic is True, "nothing in a token has dates"
