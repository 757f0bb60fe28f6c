"""Input that is made to cost: lengths, depth, numbers of things. Refused early, by documented errors, within bounds."""

from __future__ import annotations

import ast
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

import verifier
from verifier.appraisal.expectations import Expectations
from verifier.collateral.bundle import from_json
from verifier.collateral.files import recognise
from verifier.endorsements.chain import MAX_CERTIFICATES, Issuer, check_link, read_certificates
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, CollateralError, MalformedCollateral, MalformedEvidence, VerifierError
from verifier.evidence import MAX_EVIDENCE_BYTES, Binding, Evidence, Tee
from verifier.formats import cbor, coco_evidence
from verifier.formats.strict import json_value
from verifier.software_tee import certificates as x509
from verifier.software_tee import der as write
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.maker import TEES, SoftwareTee
from verifier.software_tee.makers import REPORT_DATA_SIZES
from verifier.trail import Trail
from verifier.verify import verify

AT = 1_780_000_000
DEEP = 100_000
MAX_MEMORY = 64 * 1024 * 1024


def peak(call) -> int:
    """Bytes that ``call`` held at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def judged(tee: Tee, quote: bytes, **more):
    return verify(Evidence(tee, quote, **more), collateral=Collateral.none(), roots=Roots.makers(), at=AT,
                  binding=Binding.insecure_unbound())


# -- D-01 lengths and recursion ----------------------------------------------------------------------------------------

BRACKETS = [b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP]


@pytest.mark.parametrize("data", BRACKETS, ids=["open lists", "open objects", "lists", "objects"])
@pytest.mark.parametrize("read", [
    lambda data: json_value(data, "x"), coco_evidence.read, from_json, Expectations.from_file,
    lambda data: from_json(b'{"tcb_info":' + data + b"}")],
    ids=["json", "evidence", "bundle", "expectations", "member"])
def test_d01_deep_json_is_refused_and_the_stack_survives(read, data):
    with pytest.raises(VerifierError, match=r"^(collateral\.bundle|evidence\.kind|expect\.file|format\.json): "):
        read(data)


@pytest.mark.parametrize("item", [b"\x81", b"\x9f", b"\xa1\x00", b"\xbf\x00", b"\xd2", b"\xc0", b"\x81\xa1\x00"])
def test_d01_deep_cbor_is_refused(item):
    with pytest.raises(MalformedEvidence, match=r"^format\.x: "):
        cbor.decode(item * DEEP, "x", max_size=len(item) * DEEP, tags=(18,), indefinite_top=True)


def test_d01_deep_der_is_refused():
    nested = b""
    for _ in range(300):
        nested = write.sequence(nested)
    for read in (lambda data: read_certificates(data, "x"), recognise):
        with pytest.raises(CollateralError, match=r"^(collateral\.certificate|collateral\.crl): "):
            read(nested)


@pytest.fixture(scope="module")
def software():
    return SoftwareTee.create(at=AT, tees=TEES)


@pytest.mark.parametrize("tee", TEES)
def test_d01_no_length_field_makes_anything_large(software, tee):
    """Every few bytes of valid evidence become the largest number there is."""
    quote = software.evidence(tee, bytes(REPORT_DATA_SIZES.get(tee, 64))).quote
    positions = range(0, len(quote), max(1, len(quote) // 120))

    def all_of_them() -> None:
        for at in positions:
            assert judged(tee, quote[:at] + b"\xff\xff\xff\xff" + quote[at + 4:]).authentic is not True

    assert peak(all_of_them) < MAX_MEMORY


@pytest.mark.parametrize("tee", [*TEES, Tee.SAMPLE])
def test_d01_evidence_beyond_the_bound_is_not_read(tee):
    much = bytes(MAX_EVIDENCE_BYTES + 1)
    for evidence in ({"quote": much}, {"quote": b"", "event_log": much}, {"quote": b"", "certificates": (much,)}):
        verdict = judged(tee, **evidence)
        assert (verdict.authentic, verdict.error.id) == (False, f"{tee.value}.size")


# -- D-02 compression --------------------------------------------------------------------------------------------------


def test_d02_the_verifier_decompresses_nothing():
    """No bomb without an unpacker: images are unpacked by the guest, under bounds of its own."""
    unpackers = {"zlib", "gzip", "bz2", "lzma", "zipfile", "tarfile", "zstandard", "brotli", "shutil.unpack_archive"}
    for path in Path(verifier.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else (
                {node.module} if isinstance(node, ast.ImportFrom) else set())
            assert not names & unpackers, path


# -- D-03 expensive before anything is known ---------------------------------------------------------------------------


def certificate(public_key: bytes | None = None, serial: int = 1) -> bytes:
    signer = KeyRing(b"denial of service").p256("ca")
    name = ((x509.COMMON_NAME, "Intel SGX PCK Platform CA"),)
    return x509.Certificate(subject=name, issuer=name, serial=serial, signer=signer,
                            public_key=public_key or signer.public_key,
                            extensions=(x509.basic_constraints(ca=True),)).issue()


def rsa_key(n: int, e: int) -> bytes:
    algorithm = write.sequence(write.oid("1.2.840.113549.1.1.1"), b"\x05\x00")
    return write.sequence(algorithm, write.bit_string(write.sequence(write.integer(n), write.integer(e))))


def test_d03_a_crowd_of_issuers_of_one_name_is_not_searched():
    crowd = b"".join(x509.pem(certificate(serial=serial)) for serial in range(100))
    with pytest.raises(MalformedCollateral) as caught:
        read_certificates(crowd, "chain")
    assert caught.value.expected is not None
    assert len(read_certificates(b"".join(x509.pem(certificate(serial=serial)) for serial in range(MAX_CERTIFICATES)),
                                 "chain")) == MAX_CERTIFICATES


@pytest.mark.parametrize(("bits", "e"), [(65_536, 65_537), (16_384, 65_537), (4_096, (1 << 4_096) + 1), (1_024, 3)])
def test_d03_keys_of_absurd_size_are_asked_nothing(bits, e):
    data = certificate(rsa_key((1 << bits) - 1, e))
    try:
        [read] = read_certificates(data, "chain")
        issuer = Issuer.of(read)
    except CollateralError:
        return
    with pytest.raises(CheckFailed) as caught:
        check_link(Trail("tdx"), "link", read, issuer, AT, ca_depth=0)
    assert caught.value.id in ("tdx.link.key_usage", "tdx.link.signature.algorithm")


@pytest.mark.parametrize("size", [0, 1, 3, 7, 64, 4096])
@pytest.mark.parametrize("fill", [0x00, 0x30, 0x7B, 0x2D, 0x3C, 0xD9, 0xFF])
def test_d03_no_file_of_one_byte_repeated_is_anything(size, fill):
    with suppress(CollateralError):
        assert recognise(bytes((fill,)) * size) is None
