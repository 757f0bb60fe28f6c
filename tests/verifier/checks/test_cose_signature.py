"""COSE signatures, alone and against another library (python-cwt), in both directions and over recorded evidence."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from cwt import COSE, COSEKey, VerifyError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifier.cose_cases import ARM, AWS, CHALLENGE, NONCE, RPV, Es512Signer
from verifier.checks.cose_signature import check_signature
from verifier.endorsements.roots.keys import read_key
from verifier.errors import CheckFailed
from verifier.formats.cca_token import CcaToken
from verifier.formats.cose import SIGNATURE_SIZES, Algorithm, CoseSign1
from verifier.formats.nitro_document import NitroDocument
from verifier.software_tee.aws import SmallAws
from verifier.software_tee.cose import Message, protected_header
from verifier.software_tee.keys import KeyRing
from verifier.trail import Trail

RING = KeyRing(b"keys that sign COSE messages")
SIGNERS = {Algorithm.ES256: RING.p256("p256"), Algorithm.ES384: RING.p384("p384"), Algorithm.ES512: Es512Signer()}
CURVES = {Algorithm.ES256: ec.SECP256R1(), Algorithm.ES384: ec.SECP384R1(), Algorithm.ES512: ec.SECP521R1()}
each_algorithm = pytest.mark.parametrize("algorithm", Algorithm)


def message(algorithm: Algorithm, **changes: object) -> Message:
    made = Message(payload=b"payload", signer=SIGNERS[algorithm], protected=protected_header(algorithm), tagged=True)
    return replace(made, **changes)


def refusal(made: Message | bytes, key: object) -> str:
    data = made if isinstance(made, bytes) else made.issue()
    with pytest.raises(CheckFailed) as caught:
        check_signature(Trail("x"), "message", CoseSign1.from_bytes(data, "message"), key)
    return caught.value.id


@each_algorithm
def test_a_signed_message_holds_and_every_rule_is_noted(algorithm):
    trail, signer = Trail("x"), SIGNERS[algorithm]
    check_signature(trail, "message", CoseSign1.from_bytes(message(algorithm).issue(), "message"),
                    signer.private.public_key())
    assert [(check.id, check.ok) for check in trail.checks] == [
        ("x.message.curve", True), ("x.message.range", True), ("x.message", True)]


@each_algorithm
def test_another_key_of_the_curve_is_refused(algorithm):
    assert refusal(message(algorithm), ec.generate_private_key(CURVES[algorithm]).public_key()) == "x.message"


@each_algorithm
def test_an_algorithm_has_its_one_curve(algorithm):
    for other in set(Algorithm) - {algorithm}:
        assert refusal(message(algorithm), SIGNERS[other].private.public_key()) == "x.message.curve"
    for curve in (ec.SECP256K1(), ec.BrainpoolP384R1()):
        assert refusal(message(algorithm), ec.generate_private_key(curve).public_key()) == "x.message.curve"
    for key in (rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(), None, b"key"):
        assert refusal(message(algorithm), key) == "x.message.curve"


@each_algorithm
def test_r_and_s_lie_in_their_range(algorithm):
    order, half = CURVES[algorithm].group_order, SIGNATURE_SIZES[algorithm] // 2
    key = SIGNERS[algorithm].private.public_key()
    good = CoseSign1.from_bytes(message(algorithm).issue(), "message").signature
    for value in (0, order, order + 1, (1 << 8 * half) - 1):
        odd = value.to_bytes(half, "big")
        for signature in (odd + good[half:], good[:half] + odd):
            assert refusal(message(algorithm, signature=signature), key) == "x.message.range"


@each_algorithm
def test_degenerate_and_swapped_signatures_do_not_verify(algorithm):
    order, half = CURVES[algorithm].group_order, SIGNATURE_SIZES[algorithm] // 2
    good = CoseSign1.from_bytes(message(algorithm).issue(), "message").signature
    ones = [pair[0].to_bytes(half, "big") + pair[1].to_bytes(half, "big")
            for pair in ((1, 1), (1, order - 1), (order - 1, 1))]
    little = good[:half][::-1] + good[half:][::-1]
    for signature in (*ones, good[half:] + good[:half], little):
        assert refusal(message(algorithm, signature=signature), SIGNERS[algorithm].private.public_key()) in (
            "x.message", "x.message.range")


@each_algorithm
def test_what_else_is_signed_does_not_pass_for_the_message(algorithm):
    key = SIGNERS[algorithm].private.public_key()
    assert refusal(message(algorithm, external=b"context"), key) == "x.message"
    good = CoseSign1.from_bytes(message(algorithm).issue(), "message")
    for altered in (replace(good, payload=b"Payload"), replace(good, payload=b"")):
        assert refusal(altered.to_bytes(), key) == "x.message"


# -- another library -------------------------------------------------------------------------------------------------


def their_key(key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey, algorithm: Algorithm) -> COSEKey:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    else:
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return COSEKey.from_pem(pem, alg=algorithm.name)


def tagged(data: bytes) -> bytes:
    """The other library knows a message by its tag."""
    return data if data.startswith(b"\xd2") else b"\xd2" + data


@settings(max_examples=20)
@given(st.binary(max_size=300), st.sampled_from(Algorithm))
def test_the_other_library_verifies_what_the_makers_sign(payload, algorithm):
    key = SIGNERS[algorithm].private
    data = message(algorithm, payload=payload).issue()
    assert COSE.new().decode(data, their_key(key.public_key(), algorithm)) == payload
    with pytest.raises(VerifyError):
        COSE.new().decode(data[:-1] + bytes((data[-1] ^ 1,)), their_key(key.public_key(), algorithm))


@settings(max_examples=20)
@given(st.binary(max_size=300), st.sampled_from(Algorithm))
def test_what_the_other_library_signs_is_verified(payload, algorithm):
    key = SIGNERS[algorithm].private
    data = COSE.new(alg_auto_inclusion=True).encode_and_sign(payload, their_key(key, algorithm))
    read = CoseSign1.from_bytes(data, "message", must_be_tagged=True)
    check_signature(Trail("x"), "message", read, key.public_key())
    assert (read.payload, read.algorithm, read.to_bytes()) == (payload, algorithm, data)
    assert refusal(replace(read, payload=payload + b"x").to_bytes(), key.public_key()) == "x.message"


def test_the_other_library_verifies_a_small_makers_document_and_token():
    document = AWS.evidence(NONCE).quote
    payload = COSE.new().decode(tagged(document), their_key(AWS.key("leaf").private.public_key(), Algorithm.ES384))
    assert cbor2.loads(payload)["nonce"] == NONCE
    token = cbor2.loads(ARM.token(CHALLENGE, RPV)).value
    platform = COSE.new().decode(token[44234], their_key(ARM.cpak.private.public_key(), Algorithm.ES384))
    realm = COSE.new().decode(token[44241], their_key(ARM.rak.private.public_key(), Algorithm.ES384))
    assert (cbor2.loads(platform)[2395], cbor2.loads(realm)[10]) == (0x3003, CHALLENGE)


def test_a_document_and_a_token_that_the_other_library_signs_are_verified():
    made = COSE.new(alg_auto_inclusion=True)
    document = made.encode_and_sign(AWS.body().to_bytes(), their_key(AWS.key("leaf").private, Algorithm.ES384))
    message = CoseSign1.from_bytes(document, "nitro_document")
    leaf = load_der_x509_certificate(NitroDocument.from_bytes(message.payload).certificate)
    check_signature(Trail("nitro"), "document.signature", message, leaf.public_key())
    realm = ARM.realm_claims(CHALLENGE, RPV)
    halves = {44234: made.encode_and_sign(ARM.platform_claims(realm).to_bytes(),
                                          their_key(ARM.cpak.private, Algorithm.ES384)),
              44241: made.encode_and_sign(realm.to_bytes(), their_key(ARM.rak.private, Algorithm.ES384))}
    token = CcaToken.from_bytes(cbor2.dumps(cbor2.CBORTag(399, halves)))
    check_signature(Trail("cca"), "realm.signature", token.realm, ARM.rak.private.public_key())
    check_signature(Trail("cca"), "platform.signature", token.platform, ARM.cpak.private.public_key())


@pytest.mark.corpus("nitro")
def test_both_libraries_judge_recorded_documents_alike(corpus, case):
    data = (corpus.folder(case) / "attestation_doc.cbor").read_bytes()
    message = CoseSign1.from_bytes(data, "nitro_document")
    try:
        key = load_der_x509_certificate(NitroDocument.from_bytes(message.payload).certificate).public_key()
    except ValueError:
        assert case["case"] == "nitro/neg-fortanix-tampered-certificate"
        return
    if case["expected"]["checks"]["cose_signature_es384"]:
        assert COSE.new().decode(tagged(data), their_key(key, Algorithm.ES384)) == message.payload
        check_signature(Trail("x"), "message", message, key)
    else:
        with pytest.raises(VerifyError):
            COSE.new().decode(tagged(data), their_key(key, Algorithm.ES384))
        assert refusal(data, key) == "x.message"


@pytest.mark.corpus("cca")
def test_both_libraries_judge_recorded_platforms_alike(corpus, case):
    folder = corpus.folder(case)
    token = CcaToken.from_bytes((folder / "token.cbor").read_bytes())
    key = read_key((folder / "cpak.jwk.json").read_bytes(), software=False).public_key
    platform = token.platform
    assert case["expected"]["checks"]["platform_signature_by_cpak"] is True
    assert COSE.new().decode(platform.to_bytes(), their_key(key, platform.algorithm)) == platform.payload
    check_signature(Trail("x"), "message", platform, key)


def test_a_document_of_one_maker_is_not_another_makers():
    stranger = SmallAws.create(at=AWS.issued)
    assert refusal(stranger.evidence(NONCE).quote, AWS.key("leaf").private.public_key()) == "x.message"
