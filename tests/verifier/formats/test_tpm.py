"""TPM structures: what real TPMs wrote is read and written back; nothing is padded, cut or guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.tpm_cases import NONCE, TPM
from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.formats.gce_instance import GceInstance
from verifier.formats.tpm import RESETTABLE, HashAlg, PcrSelection
from verifier.formats.tpm_attest import GENERATED, AttestType, CertifyInfo, CreationInfo, QuoteInfo, TpmAttest
from verifier.formats.tpm_creation import CreationData, hierarchy_of, qualified_name
from verifier.formats.tpm_key_file import read_key_file, read_spki
from verifier.formats.tpm_public import Attributes, KeyType, Scheme, TpmPublic
from verifier.formats.tpm_signature import SignatureScheme, TpmSignature
from verifier.software_tee.tpm import instance_extension
from verifier.software_tee.tpm_keys import AK_ATTRIBUTES, EK_ATTRIBUTES, TpmKey

QUOTE = TPM.quote(NONCE)
CERTIFICATION = TPM.certification(NONCE)
AREAS = [TpmKey.of(TPM.keys, "tpm/ak", algorithm).public_area(attributes).to_bytes()
         for algorithm in ("p256", "p384", "rsa") for attributes in (AK_ATTRIBUTES, EK_ATTRIBUTES)]
INSTANCE = GceInstance(zone="here", project_number=1, project_id="some-project", instance_id=2**63, instance_name="vm",
                       security_version=0, production=True)
SAMPLES = [
    (TpmAttest, QUOTE.message), (TpmAttest, CERTIFICATION.message), (TpmAttest, TPM.creation().message),
    (TpmSignature, QUOTE.signature), (CreationData, TPM.creation().about), *((TpmPublic, area) for area in AREAS),
]


@pytest.mark.parametrize(("kind", "data"), SAMPLES)
def test_what_is_read_is_written_back_and_every_truncation_and_addition_is_refused(kind, data):
    assert kind.from_bytes(data).to_bytes() == data
    for size in range(len(data)):
        with pytest.raises(EvidenceError):
            kind.from_bytes(data[:size])
    with pytest.raises(EvidenceError):
        kind.from_bytes(data + b"\x00")


@pytest.mark.parametrize("kind", [TpmAttest, TpmSignature, CreationData, TpmPublic])
@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_whole_or_refused(kind, data):
    try:
        read = kind.from_bytes(data)
    except EvidenceError:
        return
    assert read.to_bytes() == data


@pytest.mark.parametrize(("kind", "data"), SAMPLES)
@given(position=st.integers(0, 1000), byte=st.integers(0, 255))
def test_any_changed_byte_is_read_whole_or_refused(kind, data, position, byte):
    position %= len(data)
    changed = data[:position] + bytes((byte,)) + data[position + 1:]
    try:
        read = kind.from_bytes(changed)
        if kind is TpmPublic:
            read.public_key()
    except EvidenceError:
        return
    assert read.to_bytes() == changed


def test_a_recorded_attestation_and_public_area(corpus):
    folder = corpus.folder("tpm/gce-cos-85-no-nonce")
    attest = TpmAttest.from_bytes((folder / "attest-sha384.bin").read_bytes())
    assert (attest.magic, attest.type) == (GENERATED, AttestType.QUOTE)
    assert attest.pcr_selections == (PcrSelection(HashAlg.SHA384, tuple(range(24))),)
    assert len(attest.pcr_digest) == 32
    area = TpmPublic.from_bytes((folder / "ak.tpmt_public").read_bytes())
    assert area.type is KeyType.RSA
    assert area.attributes == AK_ATTRIBUTES
    assert (area.scheme, area.symmetric) == (Scheme(SignatureScheme.RSASSA, HashAlg.SHA256), None)
    assert hierarchy_of(area.name, attest.qualified_signer) == "endorsement"
    signature = TpmSignature.from_bytes((folder / "signature-sha384.bin").read_bytes())
    assert (signature.scheme, signature.hash, len(signature.parts[0])) == (SignatureScheme.RSASSA, HashAlg.SHA256, 256)


def test_fields_stand_where_the_specification_has_them():
    data = bytes.fromhex(
        "ff544347" "8018" "0003" "000b01" "0002" "abcd" "0000000000000001" "00000002" "00000003" "01"
        "00000000000000ff" "00000001" "000b" "03" "810001" "0002" "beef")
    assert TpmAttest.from_bytes(data) == TpmAttest(
        qualified_signer=b"\x00\x0b\x01", extra_data=b"\xab\xcd", clock=1, reset_count=2, restart_count=3, safe=True,
        firmware_version=255, attested=QuoteInfo((PcrSelection(HashAlg.SHA256, (0, 7, 16)),), b"\xbe\xef"))


@pytest.mark.parametrize(("before", "after"), [
    ("00000000000000010000000200000003" + "01", "00000000000000010000000200000003" + "02"),  # safe
    ("00000001000b03", "00000011000b03"), ("00000001000b03", "ffffffff000b03"),  # number of selections
    ("000b03810001", "000b00810001"), ("000b03810001", "000b05810001"),  # size of a bitmap
    ("000b03810001", "000a03810001"),  # hash of a bank
])
def test_what_no_tpm_writes_is_refused(before, after):
    data = ("ff544347" "8018" "0003" "000b01" "0002" "abcd" "0000000000000001" "00000002" "00000003" "01"
            "00000000000000ff" "00000001" "000b" "03" "810001" "0002" "beef")
    assert before in data
    with pytest.raises(EvidenceError):
        TpmAttest.from_bytes(bytes.fromhex(data.replace(before, after)))


def test_another_type_keeps_its_bytes_and_has_no_pcrs():
    made = TpmAttest(type=0x8014, qualified_signer=b"", extra_data=b"", clock=0, reset_count=0, restart_count=0,
                     safe=False, firmware_version=0, attested=b"anything")
    again = TpmAttest.from_bytes(made.to_bytes())
    assert (again, again.pcr_selections, again.pcr_digest) == (made, (), b"")


def test_the_other_types_are_told_apart():
    assert isinstance(TpmAttest.from_bytes(CERTIFICATION.message).attested, CertifyInfo)
    assert isinstance(TpmAttest.from_bytes(TPM.creation().message).attested, CreationInfo)


@pytest.mark.parametrize(("head", "error"), [
    ("0015000b", UnsupportedEvidence), ("0010000b", UnsupportedEvidence), ("00180000", UnsupportedEvidence),
    ("0018000b00000000", MalformedEvidence), ("0014000b0000", MalformedEvidence)])
def test_unknown_schemes_hashes_and_empty_signatures_are_refused(head, error):
    with pytest.raises(error, match=r"^(format\.tpmt_signature|tpm\.hash|tpm\.signature\.scheme): "):
        TpmSignature.from_bytes(bytes.fromhex(head))
    with pytest.raises(MalformedEvidence):
        TpmSignature.from_bytes(bytes.fromhex("0014000b") + (513).to_bytes(2, "big") + bytes(513))


def test_a_raw_signature_means_rsassa_with_sha256():
    read = TpmSignature.raw_rsassa_sha256(bytes(range(256)))
    assert TpmSignature.from_bytes(read.to_bytes()) == read
    assert (read.scheme, read.hash) == (SignatureScheme.RSASSA, HashAlg.SHA256)


# -- public areas ----------------------------------------------------------------------------------------------------


def test_public_areas_of_other_kinds_are_refused():
    area = TPM.ak_public.to_bytes()
    for start, value in ((0, b"\x00\x08"), (2, b"\x00\x10"), (10, b"\x00\x03"), (12, b"\x00\x11"), (16, b"\x00\x10"),
                         (18, b"\x00\x11")):
        with pytest.raises(UnsupportedEvidence):
            TpmPublic.from_bytes(area[:start] + value + area[start + len(value):])


def test_an_rsa_modulus_has_exactly_the_bits_it_claims():
    area = TpmPublic.from_bytes(AREAS[4])
    short = replace(area, unique=replace(area.unique, modulus=area.unique.modulus[1:]))
    zeros = replace(area, unique=replace(area.unique, modulus=b"\x00" + area.unique.modulus[1:]))
    fewer = replace(area, unique=replace(area.unique, bits=2040))
    for wrong in (short, zeros, fewer):
        with pytest.raises(MalformedEvidence, match=r"^format\.tpmt_public: "):
            TpmPublic.from_bytes(wrong.to_bytes())


def test_numbers_that_are_no_key_are_refused():
    area = TPM.ak_public
    off_curve = replace(area, unique=replace(area.unique, y=bytes(32)))
    with pytest.raises(MalformedEvidence, match=r"^format\.tpmt_public: "):
        TpmPublic.from_bytes(off_curve.to_bytes()).public_key()
    with pytest.raises(MalformedEvidence):
        TpmPublic.from_bytes(replace(area, unique=replace(area.unique, x=bytes(33))).to_bytes())
    even = TpmPublic.from_bytes(AREAS[4])
    with pytest.raises(MalformedEvidence):
        replace(even, unique=replace(even.unique, exponent=4)).public_key()


def test_an_exponent_of_zero_is_65537_and_zeros_of_a_coordinate_may_be_missing():
    assert TpmPublic.from_bytes(AREAS[4]).public_key().public_numbers().e == 65537
    key = next(key for n in range(1, 2000)
               if (key := ec.derive_private_key(n, ec.SECP256R1()).public_key()).public_numbers().x >> 248 == 0)
    numbers = key.public_numbers()
    area = replace(TPM.ak_public, unique=replace(TPM.ak_public.unique, x=numbers.x.to_bytes(31, "big"),
                                                 y=numbers.y.to_bytes(32, "big")))
    assert TpmPublic.from_bytes(area.to_bytes()).public_key() == key


def test_a_name_is_the_digest_of_the_area_and_a_qualified_name_of_the_path(corpus):
    told = corpus.case("tpm/goattestation-windows-gcp-sha1")["expected"]["claims"]
    data = (corpus.folder("tpm/goattestation-windows-gcp-sha1") / "ak.tpmt_public").read_bytes()
    assert TpmPublic.from_bytes(data).name.hex() == told["ak_public"]["name"]
    assert TpmPublic.from_sized(len(data).to_bytes(2, "big") + data) == TpmPublic.from_bytes(data)
    with pytest.raises(MalformedEvidence):
        TpmPublic.from_sized((len(data) - 1).to_bytes(2, "big") + data)
    with pytest.raises(UnsupportedEvidence):
        qualified_name(b"\x00\x12" + bytes(32), b"")
    with pytest.raises(UnsupportedEvidence):
        _ = replace(TPM.ak_public, name_alg=HashAlg.SM3).name


def test_banks_have_names_and_sizes():
    assert [(alg.bank, alg.size) for alg in HashAlg] == [
        ("sha1", 20), ("sha256", 32), ("sha384", 48), ("sha512", 64), ("sm3", 32)]
    assert all(HashAlg.of_bank(alg.bank) is alg for alg in HashAlg)
    with pytest.raises(UnsupportedEvidence):
        HashAlg.of_bank("SHA256")
    assert 8 not in RESETTABLE
    assert Attributes.RESTRICTED | Attributes.SIGN == 0x50000


# -- key files -------------------------------------------------------------------------------------------------------


def test_a_key_file_may_be_pem_der_or_a_public_area():
    key = TPM.ak.key.private.public_key()
    area = TPM.ak_public.to_bytes()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data, found in ((pem, None), (b"\n" + pem, None), (TPM.ak.key.public_key, None), (area, area),
                        (len(area).to_bytes(2, "big") + area, area)):
        read = read_key_file(data)
        assert (read.spki, read.area) == (TPM.ak.key.public_key, found)


@pytest.mark.parametrize("data", [
    b"", b"0", b"-----BEGIN PUBLIC KEY-----\n", b"\x00\x01", bytes(300),
    ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)],
    ids=["nothing", "digit", "cut PEM", "cut area", "zeros", "Ed25519"])
def test_other_files_are_no_keys(data):
    with pytest.raises(EvidenceError, match=r"^(format\.tpm2b_public|format\.tpm_key): "):
        read_key_file(data)


def test_a_key_has_one_encoding():
    spki = TPM.ak.key.public_key
    assert read_spki(spki) == TPM.ak.key.private.public_key()
    compressed = TPM.ak.key.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    other = spki[:-68] + b"\x03\x22\x00" + compressed  # the same key with a compressed point
    other = b"\x30" + bytes((len(other) - 2,)) + other[2:]
    assert read_key_file(other).spki == spki
    pem = TPM.ak.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data in (other, pem, spki + b"\x00", b""):
        with pytest.raises(MalformedEvidence):
            read_spki(data)
    assert isinstance(read_spki(rsa.generate_private_key(65537, 1024).public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo)), rsa.RSAPublicKey)


# -- Google's extension ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instance", [
    INSTANCE, replace(INSTANCE, production=False), replace(INSTANCE, security_version=None, production=None),
    replace(INSTANCE, production=None)])
def test_an_instance_is_read_and_every_truncation_refused(instance):
    data = instance_extension(instance).value
    assert GceInstance.from_bytes(data) == instance
    for size in range(len(data)):
        with pytest.raises(MalformedEvidence):
            GceInstance.from_bytes(data[:size])


@given(data=st.binary(max_size=80), at=st.integers(0, 200), byte=st.integers(0, 255))
def test_any_other_extension_is_malformed(data, at, byte):
    good = instance_extension(INSTANCE).value
    at %= len(good)
    for candidate in (data, good[:at] + bytes((byte,)) + good[at + 1:]):
        try:
            GceInstance.from_bytes(candidate)
        except MalformedEvidence:
            continue
