"""OCSP answers: read strictly, verified as RFC 6960 has it, and as OpenSSL says too."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import AT, case_of
from verifier.endorsements.ocsp import MAX_ANSWER_BYTES, read_answer, verify_answer
from verifier.endorsements.schemes import P384
from verifier.errors import CheckFailed, CollateralError, MalformedCollateral
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension
from verifier.software_tee.nvidia import SmallNvidia
from verifier.software_tee.nvidia_ocsp import CERTIFICATE_HOLD, OCSP_NONCE, TRY_LATER, Answer
from verifier.trail import Trail

MAKER = case_of().maker
GOOD = MAKER.answer("provisioner")


def certificate(role: str, maker: SmallNvidia = MAKER) -> library.Certificate:
    return library.load_der_x509_certificate(maker.certificate(role))


def judged(data: bytes, issuer: str = "line", at: int = AT + 10):
    return verify_answer(Trail("nvidia"), "ocsp", read_answer(data, "answer"), certificate(issuer), at, scheme=P384)


def altered(**changes: object) -> bytes:
    return MAKER.altered(ocsp=lambda a: replace(a, **changes)).answer("provisioner")


def test_a_good_answer():
    answer = read_answer(GOOD, "answer")
    assert answer.is_about(certificate("provisioner"), certificate("line"))
    found = judged(GOOD)
    assert (found.on_hold, found.window.not_after) == (False, AT + MAKER.valid_for - 1)


@pytest.mark.parametrize(("certified", "issuer"), [("provisioner", "root"), ("boot_rom", "provisioner"),
                                                   ("line", "root"), ("rim_l3", "rim_line")])
def test_an_answer_is_about_one_certificate(certified, issuer):
    assert not read_answer(GOOD, "answer").is_about(certificate(certified), certificate(issuer))


def test_the_issuer_may_answer_itself_by_key_or_by_name():
    for name in (None, MAKER.name("line")):
        answer = altered(signer=MAKER.key("line"), certificates=(), by_name=name)
        trail = Trail("nvidia")
        verify_answer(trail, "ocsp", read_answer(answer, "answer"), certificate("line"), AT + 10, scheme=P384)
        assert "nvidia.ocsp.responder" in [check.id for check in trail.checks]


def test_a_responder_may_be_named():
    assert not judged(altered(by_name=((x509.COMMON_NAME, "NVIDIA OCSP responder line"),))).on_hold


def test_a_certificate_on_hold_is_told_as_such():
    assert judged(altered(status="revoked", reason=CERTIFICATE_HOLD)).on_hold is True


@pytest.mark.parametrize("reason", [None, 0, 1, 2, 3, 4, 5, 9, 10])
def test_a_certificate_that_is_revoked_for_any_other_reason_is_refused(reason):
    with pytest.raises(CheckFailed) as caught:
        judged(altered(status="revoked", reason=reason))
    assert caught.value.id == "nvidia.ocsp.status"


@pytest.mark.parametrize(("at", "ok"), [(AT - 1, False), (AT, True), (AT + MAKER.valid_for - 1, True),
                                        (AT + MAKER.valid_for, False)])
def test_an_answer_holds_from_this_update_until_just_before_next_update(at, ok):
    if ok:
        judged(GOOD, at=at)
    else:
        with pytest.raises(CheckFailed, match=r"^(nvidia\.ocsp\.responder\.validity|nvidia\.ocsp\.validity): "):
            judged(GOOD, at=at)


def test_a_nonce_is_no_obstacle_even_where_it_is_critical():
    nonce = Extension(OCSP_NONCE, der.octet_string(b"nonce"), critical=True)
    assert not judged(altered(extensions=(nonce,))).on_hold


def test_an_answer_that_tells_nothing_is_malformed():
    with pytest.raises(MalformedCollateral, match="tells nothing"):
        read_answer(altered(outcome=TRY_LATER), "answer")


def test_an_answer_about_two_certificates_or_with_many_certificates_is_malformed():
    class Twice(Answer):
        def _single(self) -> bytes:
            return super()._single() * 2
    fields = {name: getattr(made(), name) for name in Answer.__slots__}
    with pytest.raises(MalformedCollateral, match="about one certificate"):
        read_answer(Twice(**fields).issue(), "answer")
    with pytest.raises(MalformedCollateral, match="about one certificate"):
        read_answer(altered(certificates=(MAKER.certificate("line"),) * 5), "answer")


def made() -> Answer:
    found: list[Answer] = []
    MAKER.altered(ocsp=lambda a: found.append(a) or a).answer("provisioner")
    return found[0]


@pytest.mark.parametrize("data", [b"", b"0", b"\x30\x00", b"not an answer", bytes(MAX_ANSWER_BYTES + 1), GOOD + b"\x00",
                                  MAKER.certificate("line"), GOOD[:-1]])
def test_what_is_no_answer_is_malformed(data):
    with pytest.raises(MalformedCollateral, match=r"^collateral\.ocsp: "):
        read_answer(data, "answer")


def test_cut_anywhere_it_is_malformed():
    for size in range(len(GOOD)):
        with pytest.raises(MalformedCollateral, match=r"^collateral\.ocsp: "):
            read_answer(GOOD[:size], "answer")


def accepted(data: bytes) -> bool:
    try:
        answer = read_answer(data, "answer")
        if not answer.is_about(certificate("provisioner"), certificate("line")):
            return False
        verify_answer(Trail("nvidia"), "ocsp", answer, certificate("line"), AT + 10, scheme=P384)
    except (CheckFailed, CollateralError):
        return False
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_no_bit_of_an_answer_can_be_turned_over(step):
    assert accepted(GOOD)
    found = []
    for bit in range(0, 8 * len(GOOD), step):
        flipped = bytearray(GOOD)
        flipped[bit // 8] ^= 1 << bit % 8
        if accepted(bytes(flipped)):
            found.append(bit)
    assert found == []


@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_answer_is_never_more_than_refused(data):
    damaged = bytearray(GOOD)
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if bytes(damaged) != GOOD:
        assert not accepted(bytes(damaged))


@given(st.binary(max_size=300))
def test_any_bytes_are_malformed(data):
    for candidate in (data, der.sequence(der.enumerated(0), der.explicit(0, der.sequence(data)))):
        with pytest.raises(MalformedCollateral):
            read_answer(candidate, "answer")


@pytest.mark.parametrize("digest", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_every_usual_way_to_name_the_issuer_is_understood(digest):
    """Made by the library's own responder, so that the small one is not its only witness."""
    responder = library.load_der_x509_certificate(MAKER.responder("line"))
    response = ocsp.OCSPResponseBuilder().add_response(
        certificate("provisioner"), certificate("line"), digest, ocsp.OCSPCertStatus.GOOD,
        certificate("line").not_valid_before_utc, certificate("line").not_valid_after_utc, None, None,
    ).responder_id(ocsp.OCSPResponderEncoding.HASH, responder).certificates([responder]).sign(
        MAKER.key("responder-line").private, hashes.SHA384())
    assert accepted(response.public_bytes(Encoding.DER))


@pytest.mark.parametrize(("status", "reason", "told"), [("good", None, b": good"), ("revoked", None, b": revoked"),
                                                        ("revoked", CERTIFICATE_HOLD, b"certificateHold"),
                                                        ("unknown", None, b": unknown")])
def test_openssl_reads_the_same_from_the_same_answer(tmp_path, status, reason, told):
    for name, role in (("subject.pem", "provisioner"), ("issuer.pem", "line"), ("root.pem", "root")):
        (tmp_path / name).write_bytes(MAKER.chain(role))
    (tmp_path / "chain.pem").write_bytes(MAKER.chain("line", "root"))
    (tmp_path / "answer.der").write_bytes(altered(status=status, reason=reason))
    ran = subprocess.run(
        ["openssl", "ocsp", "-issuer", "issuer.pem", "-cert", "subject.pem", "-respin", "answer.der", "-CAfile",
         "root.pem", "-verify_other", "issuer.pem", "-no_nonce", "-attime", str(AT + 10), "-validity_period",
         "1000000000"], cwd=tmp_path, capture_output=True, check=False)
    assert told in ran.stdout, (ran.stdout, ran.stderr)
    assert b"Response verify OK" in ran.stderr + ran.stdout, ran.stderr


def test_openssl_rejects_a_responder_that_is_not_one(tmp_path):
    maker = MAKER.altered(responder=lambda c: c.without("2.5.29.37"))
    for name, role in (("subject.pem", "provisioner"), ("issuer.pem", "line"), ("root.pem", "root")):
        (tmp_path / name).write_bytes(MAKER.chain(role))
    (tmp_path / "answer.der").write_bytes(maker.answer("provisioner"))
    ran = subprocess.run(
        ["openssl", "ocsp", "-issuer", "issuer.pem", "-cert", "subject.pem", "-respin", "answer.der", "-CAfile",
         "root.pem", "-verify_other", "issuer.pem", "-no_nonce", "-attime", str(AT + 10)], cwd=tmp_path,
        capture_output=True, check=False)
    assert b"Response Verify Failure" in ran.stderr + ran.stdout
