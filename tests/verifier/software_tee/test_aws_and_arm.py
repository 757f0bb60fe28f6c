"""The small AWS and the small Arm: determined by their seeds, altered in one place at a time, read by the verifier."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from cryptography.x509 import load_der_x509_certificate

from tests.verifier.cose_cases import AT, CHALLENGE, NONCE, RPV
from verifier.collateral.files import load
from verifier.endorsements.collateral import ArmCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Binding, Evidence
from verifier.formats import coco_evidence
from verifier.formats.cca_token import CcaToken, PlatformProfile, RealmProfile
from verifier.formats.cose import CoseSign1
from verifier.formats.nitro_document import NitroDocument
from verifier.results.verdict import Verdict
from verifier.software_tee.arm import CcaPlatform, Realm, SmallArm
from verifier.software_tee.aws import ROLES, Enclave, SmallAws
from verifier.software_tee.keys import KeyRing
from verifier.verify import verify

SEED = b"a seed of some bytes"
AWS, ARM = SmallAws.create(SEED, at=AT), SmallArm.create(SEED, at=AT)


def judge(maker: SmallAws | SmallArm, evidence: Evidence, binding: Binding, at: int = AT) -> Verdict:
    roots = Roots.makers().with_software(maker.roots().values())
    return verify(evidence, collateral=Collateral.none(), roots=roots, at=at, binding=binding)


def test_a_seed_determines_every_byte():
    again = SmallAws.create(SEED, at=AT)
    assert again.evidence(NONCE) == AWS.evidence(NONCE)
    assert again.roots() == AWS.roots()
    assert SmallArm.create(SEED, at=AT).evidence(CHALLENGE, RPV) == ARM.evidence(CHALLENGE, RPV)
    assert SmallArm.create(SEED, at=AT).roots() == ARM.roots()
    assert SmallAws.create(SEED[::-1], at=AT).roots() != AWS.roots()
    assert SmallArm.create(at=AT).roots() != SmallArm.create(at=AT).roots()


def test_keys_are_saved_and_loaded(tmp_path):
    for maker in (AWS, ARM):
        maker.evidence(CHALLENGE)
    for name, maker in (("aws", AWS), ("arm", ARM)):
        maker.keys.save(tmp_path / name)
        other = replace(maker, keys=KeyRing.load(tmp_path / name))
        assert other.evidence(CHALLENGE) == maker.evidence(CHALLENGE)
        assert other.roots() == maker.roots()


def test_evidence_is_accepted_under_the_makers_own_roots_and_binds_what_was_asked():
    assert judge(AWS, AWS.evidence(NONCE), Binding(NONCE)).accepted
    verdict = judge(ARM, ARM.evidence(CHALLENGE, RPV), Binding(CHALLENGE, RPV))
    assert verdict.accepted
    for told in (judge(AWS, AWS.evidence(NONCE), Binding(NONCE)), verdict):
        assert told.claims.software is True
        assert told.flags == ()


def test_evidence_is_told_by_its_bytes():
    for evidence in (AWS.evidence(NONCE), ARM.evidence(CHALLENGE)):
        assert coco_evidence.read(evidence.quote) == evidence


def test_evidence_carries_exactly_what_fits():
    with pytest.raises(SetupError) as caught:
        AWS.evidence(NONCE, bytes(1))
    assert caught.value.id == "software_tee.init_data"
    for report_data, init_data, name in ((bytes(63), RPV, "report_data"), (bytes(65), RPV, "report_data"),
                                         (CHALLENGE, bytes(48), "init_data"), (CHALLENGE, b"", "init_data")):
        with pytest.raises(SetupError) as caught:
            ARM.evidence(report_data, init_data)
        assert caught.value.id == f"software_tee.{name}"


def test_documents_last_as_long_as_they_are_made_to():
    for span in (3600, 365 * 86400):
        maker = SmallAws.create(SEED, at=AT, valid_for=span)
        evidence = maker.evidence(NONCE)
        for at, authentic in ((AT, True), (AT + span, True), (AT + span + 1, False)):
            assert judge(maker, evidence, Binding(NONCE), at).authentic is authentic


def test_an_enclave_is_told_by_its_documents():
    enclave = Enclave(region="eu-west-1", instance_id="i-1", enclave_id="enc1", pcrs={0: b"\x01" * 48, 5: b"\x05" * 48},
                      public_key=b"key", user_data=b"data", indefinite=False)
    maker = AWS.on(enclave)
    document = NitroDocument.from_bytes(CoseSign1.from_bytes(maker.evidence(NONCE).quote, "document").payload)
    assert (document.module_id, document.public_key, document.user_data) == ("i-1-enc1", b"key", b"data")
    assert (document.nonce, document.indefinite, len(document.pcrs)) == (NONCE, False, 16)
    assert document.registers[5] == b"\x05" * 48
    assert document.registers[1] == bytes(48)
    names = [load_der_x509_certificate(der).subject.rfc4514_string().split(",")[0]
             for der in (*document.cabundle, document.certificate)]
    assert names == ["CN=aws.nitro-enclaves", "CN=0123456789abcdef.eu-west-1.aws.nitro-enclaves",
                     "CN=fedcba9876543210.zonal.eu-west-1.aws.nitro-enclaves", "CN=i-1.eu-west-1.aws.nitro-enclaves",
                     "CN=i-1-enc1.eu-west-1.aws"]


@pytest.mark.corpus("nitro")
def test_certificates_have_the_shape_of_genuine_ones(corpus, case):
    if case["expected"]["verdict"] != "verified":
        return
    data = (corpus.folder(case) / "attestation_doc.cbor").read_bytes()
    genuine = NitroDocument.from_bytes(CoseSign1.from_bytes(data, "document").payload)
    ours = AWS.body()
    for theirs, mine in zip((*genuine.cabundle, genuine.certificate), (*ours.cabundle, ours.certificate), strict=True):
        found = [[(e.oid.dotted_string, e.critical) for e in load_der_x509_certificate(der).extensions]
                 for der in (theirs, mine)]
        assert set(found[1]) >= set(found[0]), "older instances have fewer"


def test_a_platform_and_a_realm_are_told_by_their_token():
    platform = CcaPlatform(profile=PlatformProfile.LEGACY, config=b"c", lifecycle=0x3000, small_key=True,
                           instance_id=b"\x01" * 33, implementation_id=bytes(32), verification_service=None,
                           components=ARM.platform.components[:1])
    realm = Realm(profile=None, hash_algo_id="sha-512", initial_measurement=bytes(64), rak_hash="sha-512",
                  extensible_measurements=(bytes(64),) * 4)
    maker = ARM.on(platform, realm)
    token = CcaToken.from_bytes(maker.token(CHALLENGE, RPV))
    assert (token.platform_claims.profile, token.realm_claims.profile) == (PlatformProfile.LEGACY, None)
    assert (token.platform.algorithm.name, token.realm.algorithm.name) == ("ES256", "ES384")
    assert (len(token.platform_claims.challenge), len(token.realm_claims.public_key)) == (64, 97)
    assert judge(maker, maker.evidence(CHALLENGE, RPV), Binding(CHALLENGE, RPV)).accepted
    assert ARM.on().platform == ARM.platform
    assert CcaToken.from_bytes(ARM.token(CHALLENGE)).realm_claims.profile is RealmProfile.V2023


@pytest.mark.parametrize("role", ROLES)
def test_altering_one_certificate_leaves_the_others_as_they_were(role):
    altered = AWS.altered(**{role: lambda c: replace(c, serial=7)})
    for other in ROLES:
        assert (altered.certificate(other) == AWS.certificate(other)) is (other != role)
    assert load_der_x509_certificate(altered.certificate(role)).serial_number == 7


def test_later_alterations_follow_earlier_ones():
    twice = AWS.altered(leaf=lambda c: replace(c, serial=7)).altered(leaf=lambda c: replace(c, serial=c.serial + 1))
    assert load_der_x509_certificate(twice.certificate("leaf")).serial_number == 8
    secured = ARM.altered(platform_claims=lambda c: replace(c, lifecycle=1)).altered(
        platform_claims=lambda c: replace(c, lifecycle=c.lifecycle + 1))
    assert CcaToken.from_bytes(secured.token(CHALLENGE)).platform_claims.lifecycle == 2


def test_a_realm_that_was_altered_is_still_vouched_for():
    maker = ARM.altered(realm_claims=lambda c: replace(c, public_key_hash_algo_id="sha-512"))
    assert judge(maker, maker.evidence(CHALLENGE), Binding(CHALLENGE)).accepted


@pytest.mark.parametrize("maker", [AWS, ARM], ids=["aws", "arm"])
def test_files_hold_what_they_are_named_for(tmp_path, maker):
    for name, data in maker.roots().items():
        assert Roots(()).with_software([data]) != Roots(()), name
    for name, data in maker.collateral_files().items():
        (tmp_path / name).write_bytes(data)
    load([tmp_path])


def test_the_key_as_people_lay_it_beside_a_token_proves_nothing():
    keys = tuple(ARM.collateral_files().values())
    verdict = verify(ARM.evidence(CHALLENGE), collateral=Collateral(arm=ArmCollateral(keys)), roots=Roots.makers(),
                     at=AT, binding=Binding(CHALLENGE))
    assert (verdict.authentic, verdict.flags) == (True, ("CPAK_UNPROVEN",))


def test_private_keys_are_not_shown():
    for maker in (AWS, ARM):
        assert "KeyRing" not in repr(maker)
        assert {f.name for f in fields(maker)} >= {"keys", "issued", "alterations"}
