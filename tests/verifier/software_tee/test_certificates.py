"""Certificates and lists, read by libraries that did not write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509

from verifier.software_tee import certificates
from verifier.software_tee.certificates import AUTHORITY_KEY_IDENTIFIER, BASIC_CONSTRAINTS, Extension, Revoked
from verifier.software_tee.intel import SmallIntel


def test_openssl_accepts_the_intel_chain(intel: SmallIntel, openssl: Callable[..., str]) -> None:
    openssl("verify", "-x509_strict", "-CAfile", intel.chain("root"), "-untrusted", intel.chain("platform_ca"),
            intel.chain("pck"))
    openssl("verify", "-x509_strict", "-CAfile", intel.chain("root"), intel.chain("tcb_signing"))


def test_openssl_accepts_the_revocation_lists(intel: SmallIntel, openssl: Callable[..., str]) -> None:
    listed = intel.altered(root_crl=lambda crl: crl.revoking(intel.serial("platform_ca")))
    assert "verify OK" in openssl("crl", "-inform", "DER", "-in", listed.root_crl, "-noout", "-verify", "-CAfile",
                                  intel.chain("root"))
    text = openssl("crl", "-inform", "DER", "-in", listed.root_crl, "-noout", "-text")
    assert f"{intel.serial('platform_ca'):X}" in text.replace(":", "").upper()


def test_pem_is_what_others_write(intel: SmallIntel) -> None:
    certificate = x509.load_der_x509_certificate(intel.certificate("pck"))
    from cryptography.hazmat.primitives.serialization import Encoding
    assert certificates.pem(intel.certificate("pck")) == certificate.public_bytes(Encoding.PEM)


def test_extensions_can_be_left_out_changed_and_doubled(intel: SmallIntel) -> None:
    without = intel.altered(pck=lambda c: c.without(BASIC_CONSTRAINTS)).certificate("pck")
    with pytest.raises(x509.ExtensionNotFound):
        x509.load_der_x509_certificate(without).extensions.get_extension_for_class(x509.BasicConstraints)

    changed = intel.altered(pck=lambda c: c.changed(certificates.basic_constraints(ca=True))).certificate("pck")
    constraints = x509.load_der_x509_certificate(changed).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca

    doubled = intel.altered(pck=lambda c: c.doubled(BASIC_CONSTRAINTS)).certificate("pck")
    with pytest.raises(x509.DuplicateExtension):
        _ = x509.load_der_x509_certificate(doubled).extensions

    added = intel.altered(pck=lambda c: c.changed(Extension("1.2.3.4", b"\x05\x00", critical=True))).certificate("pck")
    extension = x509.load_der_x509_certificate(added).extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.3.4"))
    assert extension.critical


@pytest.mark.parametrize("alter", [
    lambda c: replace(c, serial=0), lambda c: replace(c, not_after=c.not_before), lambda c: replace(c, issuer=()),
    lambda c: c.without(AUTHORITY_KEY_IDENTIFIER), lambda c: replace(c, mutate=lambda tbs: tbs[:-1] + b"\x01"),
])
@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
def test_what_is_altered_is_signed_all_the_same(intel: SmallIntel, alter: Callable[..., object]) -> None:
    """Everything a certificate says may be wrong, and only that: its signature holds over what it says."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    genuine = x509.load_der_x509_certificate(intel.certificate("pck"))
    altered = x509.load_der_x509_certificate(intel.altered(pck=alter).certificate("pck"))
    assert altered.tbs_certificate_bytes != genuine.tbs_certificate_bytes
    intel.key("platform_ca").private.public_key().verify(
        altered.signature, altered.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))


def test_a_wrong_signer_changes_nothing_but_the_signature(intel: SmallIntel) -> None:
    wrong = intel.key("processor_ca")
    altered = x509.load_der_x509_certificate(
        intel.altered(pck=lambda c: replace(c, signer=wrong)).certificate("pck"))
    genuine = x509.load_der_x509_certificate(intel.certificate("pck"))
    assert altered.tbs_certificate_bytes == genuine.tbs_certificate_bytes
    assert altered.signature != genuine.signature


def test_lists_can_lack_their_end_and_carry_reasons(intel: SmallIntel, at: int) -> None:
    endless = x509.load_der_x509_crl(intel.altered(pck_crl=lambda c: replace(c, next_update=None)).pck_crl)
    assert endless.next_update_utc is None
    removed = x509.load_der_x509_crl(intel.altered(
        pck_crl=lambda c: replace(c, revoked=(Revoked(5, at, certificates.REMOVE_FROM_CRL),))).pck_crl)
    entry = removed.get_revoked_certificate_by_serial_number(5)
    assert entry is not None
    assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.remove_from_crl


def test_alterations_of_one_artefact_follow_each_other(intel: SmallIntel) -> None:
    once = intel.altered(pck=lambda c: replace(c, serial=c.serial + 1))
    twice = once.altered(pck=lambda c: replace(c, serial=c.serial * 2))
    assert twice.serial("pck") == (intel.serial("pck") + 1) * 2
