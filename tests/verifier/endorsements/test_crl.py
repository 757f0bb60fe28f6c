"""Revocation lists: what is read, what may be asked of them, and of whom they say nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.endorsements.chain import Issuer, read_certificates
from verifier.endorsements.crl import MAX_CRL_BYTES, read_crl, verify_crl
from verifier.errors import CheckFailed, MalformedCollateral
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.trail import Trail

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what the X.509 library says of altered lists


@pytest.fixture(scope="session")
def root(intel_case):
    return read_certificates(intel_case().maker.certificate("root"), "root")[0]


def verified(crl: bytes, root, at: int):
    return verify_crl(Trail("tdx"), "root_ca_crl", read_crl(crl, "it"), Issuer.of(root), at)


def test_a_list_tells_its_issuer_number_window_and_serial_numbers(intel_case, intel_at, root):
    crl = intel_case().altered(root_crl=lambda p: p.changed(x509.crl_number(77)).revoking(5, 0xFF, 1 << 150))
    found = verified(crl.maker.root_crl, root, intel_at)
    assert found.issuer == root.subject.rfc4514_string()
    assert (found.number, found.serials) == (77, {5, 0xFF, 1 << 150})
    assert found.window == (intel_at, intel_at + 365 * 24 * 3600 - 1)


@pytest.mark.parametrize("reason", [None, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10])
def test_an_entry_counts_whatever_its_reason(intel_case, intel_at, root, reason):
    """removeFromCRL (8) belongs into delta lists; in a full one it does not clear a certificate."""
    crl = intel_case().altered(root_crl=lambda p: replace(p, revoked=(x509.Revoked(9, intel_at, reason),)))
    assert verified(crl.maker.root_crl, root, intel_at).serials == {9}


def test_a_list_without_number_or_key_identifier_can_still_be_asked(intel_case, intel_at, root):
    bare = intel_case().altered(root_crl=lambda p: replace(p, extensions=()))
    assert verified(bare.maker.root_crl, root, intel_at).number is None


def test_pem_is_read_too(intel_case, root, intel_at):
    crl = read_crl(intel_case().maker.root_crl, "it")
    assert verified(crl.public_bytes(Encoding.PEM), root, intel_at).serials == frozenset()


def test_a_list_says_nothing_of_anothers_certificates(intel_case, intel_at, root):
    maker = intel_case().maker
    found = verified(maker.root_crl, root, intel_at)
    foreign = read_certificates(maker.certificate("pck"), "it")[0]
    with pytest.raises(CheckFailed) as caught:
        found.check_not_listed(Trail("tdx"), "leaf", foreign)
    assert caught.value.id == "tdx.leaf.scope"
    ours = read_certificates(maker.certificate("platform_ca"), "it")[0]
    found.check_not_listed(Trail("tdx"), "leaf", ours)
    with pytest.raises(CheckFailed) as caught:
        replace(found, serials=frozenset({ours.serial_number})).check_not_listed(Trail("tdx"), "leaf", ours)
    assert caught.value.id == "tdx.leaf.revoked"


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedCollateral) as caught:
        read_crl(data, "it")
    return caught.value.id


@pytest.mark.parametrize("data", [b"", b"0", b"junk", b"-----BEGIN X509 CRL-----", bytes(64), b"\x30\x80\x00\x00"])
def test_other_bytes_are_refused(data):
    assert refusal(data) == "collateral.crl"


def test_size_is_bounded_before_anything_is_read(intel_case):
    assert refusal(intel_case().maker.root_crl + bytes(MAX_CRL_BYTES)) == "collateral.crl"


def test_truncations_and_trailing_bytes_are_refused(intel_case):
    crl = intel_case().maker.root_crl
    for size in range(len(crl)):
        assert refusal(crl[:size]) == "collateral.crl"
    for size in range(1, 65):
        assert refusal(crl + bytes(size)) == "collateral.crl"


def test_a_signature_has_one_encoding(intel_case):
    """Unused bits at the end of its BIT STRING would be a second one wherever the last bits are zero."""
    found = 0
    for number in range(8):
        crl = intel_case().altered(root_crl=lambda p, number=number: p.changed(x509.crl_number(number))).maker.root_crl
        signature = read_crl(crl, "it").signature
        found += signature[-1] % 2 == 0
        for unused in range(1, 8):
            altered = bytearray(crl)
            altered[-len(signature) - 1] = unused
            assert refusal(bytes(altered)) == "collateral.crl"
    assert found >= 1


def test_every_bit_counts(intel_case, intel_at, root):
    crl = intel_case().altered(root_crl=lambda p: p.revoking(0xABCDEF)).maker.root_crl
    for position in range(len(crl)):
        for bit in range(8):
            altered = bytearray(crl)
            altered[position] ^= 1 << bit
            with pytest.raises((MalformedCollateral, CheckFailed)):
                verified(bytes(altered), root, intel_at)


@pytest.mark.parametrize("serial", [b"\x02\x02\x00\x05", b"\x02\x00", b"\x04\x01\x05"])
def test_serial_numbers_have_one_encoding(intel_case, serial):
    """A padded serial number would be another than the revoked one for a reader, and the same for the next."""
    entry = _Raw(der.sequence(serial, der.time(1_780_000_000)))
    crl = intel_case().altered(root_crl=lambda p: replace(p, revoked=(entry,)))
    assert refusal(crl.maker.root_crl) == "collateral.crl"


class _Raw:
    """An entry as it stands."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def to_bytes(self) -> bytes:
        return self._data


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_lists_are_read_as_they_are_or_refused(intel_case, data):
    crl = intel_case().altered(root_crl=lambda p: p.revoking(1, 2, 3)).maker.root_crl
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(crl)))
        end = data.draw(st.integers(start, min(len(crl), start + 8)))
        crl = crl[:start] + data.draw(st.binary(max_size=8)) + crl[end:]
    try:
        read = read_crl(crl, "it")
    except MalformedCollateral:
        return
    assert read.public_bytes(Encoding.DER) == crl
