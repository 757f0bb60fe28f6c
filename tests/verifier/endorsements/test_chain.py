"""Reading certificates: exactly the form that makers give them; and dates at every edge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.endorsements.chain import MAX_CERTIFICATE_BYTES, MAX_CERTIFICATES, read_certificates
from verifier.endorsements.window import Window
from verifier.errors import MalformedCollateral
from verifier.formats.der import Tag, only
from verifier.software_tee import der
from verifier.software_tee.certificates import pem

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what the X.509 library says of altered certificates


@pytest.fixture(scope="session")
def chain(intel_case) -> bytes:
    return intel_case().maker.pck_chain


def names(data: bytes) -> list[str]:
    return [c.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
            for c in read_certificates(data, "it")]


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedCollateral) as caught:
        read_certificates(data, "it")
    return caught.value.id


@pytest.mark.parametrize("form", [
    lambda pem: pem, lambda pem: pem + b"\x00", lambda pem: pem + b"\x00" * 500, lambda pem: pem.rstrip(b"\n"),
    lambda pem: pem.replace(b"\n", b"\r\n"), lambda pem: b"\n \t" + pem, lambda pem: pem + b"\r\n \x00\n",
    lambda pem: pem.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n\n\n"),
])
def test_pem_as_makers_and_guests_write_it(chain, form):
    assert names(form(chain)) == ["Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", "Intel SGX Root CA"]


def test_der_is_one_certificate(intel_case):
    encoded = intel_case().maker.certificate("pck")
    assert [c.public_bytes(Encoding.DER) for c in read_certificates(encoded, "it")] == [encoded]


@pytest.mark.parametrize("form", [
    lambda pem: b"x" + pem, lambda pem: pem + b"x", lambda pem: b"\x00" + pem, lambda pem: pem[:-27],
    lambda pem: pem.replace(b"END CERTIFICATE", b"END certificate"), lambda pem: pem.replace(b"MII", b"MI", 1),
    lambda pem: pem.replace(b"MII", b"MI!", 1), lambda pem: pem.replace(b"MII", b"M=I", 1),
    lambda pem: pem.replace(b"-----BEGIN", b"----BEGIN", 1),
    lambda pem: pem.replace(b"\n-----BEGIN", b"\n\x00-----BEGIN", 1),
    lambda pem: pem.replace(b"\n-----BEGIN", b"\n# a comment\n-----BEGIN", 1), lambda pem: pem.replace(b"\n", b""),
    lambda pem: b"-----BEGIN CERTIFICATE-----\n" + pem, lambda pem: pem * 4, lambda pem: pem + b" " * 200_000,
    lambda pem: b"-----BEGIN CERTIFICATE-----\n" + b"A" * 30_000 + b"\n-----END CERTIFICATE-----\n",
    lambda pem: b"-----BEGIN RSA PRIVATE KEY-----\nQUJD\n-----END RSA PRIVATE KEY-----\n" + pem,
    lambda pem: b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    lambda _: b"", lambda _: b"-----BEGIN", lambda _: b"\x30\x82", lambda _: bytes(100_000),
])
def test_other_forms_are_refused(chain, form):
    assert refusal(form(chain)) == "collateral.certificate"


def test_as_many_certificates_as_a_chain_may_have(chain, intel_case):
    one = pem(intel_case().maker.certificate("root"))
    assert len(read_certificates(one * MAX_CERTIFICATES, "it")) == MAX_CERTIFICATES
    assert refusal(one * (MAX_CERTIFICATES + 1)) == "collateral.certificate"


def test_bytes_after_der_are_refused(intel_case):
    encoded = intel_case().maker.certificate("pck")
    for size in (*range(1, 65), 2 * MAX_CERTIFICATE_BYTES):
        assert refusal(encoded + bytes(size)) == "collateral.certificate"


def test_every_truncation_of_der_is_refused(intel_case):
    encoded = intel_case().maker.certificate("pck")
    for size in range(len(encoded)):
        assert refusal(encoded[:size]) == "collateral.certificate"


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_altered_certificates_are_read_as_they_are_or_refused(intel_case, data):
    """What is read encodes to the very bytes that were given, so that nothing is verified that was not there."""
    encoded = intel_case().maker.certificate(data.draw(st.sampled_from(["pck", "platform_ca", "root"])))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(encoded)))
        end = data.draw(st.integers(start, min(len(encoded), start + 8)))
        encoded = encoded[:start] + data.draw(st.binary(max_size=8)) + encoded[end:]
    try:
        certificate = read_certificates(encoded, "it")[0]
    except MalformedCollateral:
        return
    assert certificate.public_bytes(Encoding.DER) == encoded


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda b: b"\x30\x82\x01\x00" + b)
       | st.binary(max_size=200).map(lambda b: b"-----BEGIN CERTIFICATE-----\n" + b + b"\n-----END CERTIFICATE-----\n"))
def test_any_bytes_are_certificates_or_refused(data):
    assert refusal(data) == "collateral.certificate"


BROKEN_TIMES = [b"260101000000Z", b"20260101000000Z", b"000000000000Z", b"999999999999Z", b"99991231235959Z",
                b"2601010000Z", b"260101000060Z", b"260229000000Z", b"260101000000+0100", b""]


@pytest.mark.parametrize("time", BROKEN_TIMES)
@pytest.mark.parametrize("tag", [0x17, 0x18])
def test_dates_of_every_form_are_read_or_refused(intel_case, time, tag):
    """No date makes the verifier itself fail: year 0000, no seconds, a leap second, an offset …"""
    last = der.time(2_524_607_999)
    right, odd = (der.sequence(first, last) for first in (der.time(1_577_836_800), der.element(tag, time)))

    def with_odd_dates(tbs: bytes) -> bytes:
        content = only(tbs, "tbs", Tag.SEQUENCE)
        assert content.count(right) == 1
        return der.sequence(content.replace(right, odd))

    verdict = intel_case().altered(pck=lambda p: replace(p, mutate=with_odd_dates)).verdict()
    assert verdict.error is None or verdict.error.id in (
        "collateral.certificate", "tdx.pck_chain.leaf.validity"), verdict.error


def test_windows_meet_in_what_they_have_in_common():
    assert Window(1, 9).meet(Window(3, 12), Window(0, 8)) == Window(3, 8)
    assert Window(1, 2).meet(Window(5, 6)) == Window(5, 2)
    assert [Window(1, 3).contains(at) for at in range(5)] == [False, True, True, True, False]
    assert not any(Window(5, 2).contains(at) for at in range(9))
