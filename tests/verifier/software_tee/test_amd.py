"""The small AMD: chains by OpenSSL, reports by P-384, extensions byte by byte as AMD writes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.formats.snp_cert_table import ARK, ASK, VCEK, VLEK, CertTable
from verifier.formats.snp_report import SIGNED_SIZE, ProductLine, SigningKey, SnpReport, TcbVersion, product_line
from verifier.software_tee.amd import CSP_ID, FMC_SPL, HWID, SPL_4, UCODE_SPL, Chip, SmallAmd

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")


def verify_report(report: bytes, key: ec.EllipticCurvePublicKey) -> None:
    r, s = report[0x2A0:0x2E8], report[0x2E8:0x330]
    assert not any(r[48:] + s[48:] + report[0x330:])
    signature = encode_dss_signature(int.from_bytes(r, "little"), int.from_bytes(s, "little"))
    key.verify(signature, report[:SIGNED_SIZE], ec.ECDSA(hashes.SHA384()))


def extension(der: bytes, oid: str) -> bytes | None:
    for each in x509.load_der_x509_certificate(der).extensions:
        if each.oid.dotted_string == oid:
            return each.value.public_bytes()
    return None


def test_openssl_accepts_both_chains(amd: SmallAmd, openssl: Callable[..., str]) -> None:
    for leaf, ca in (("vcek", "ask"), ("vlek", "asvk")):
        openssl("verify", "-attime", str(amd.issued), "-CAfile", amd.chain("ark"), "-untrusted", amd.chain(ca),
                amd.chain(leaf))


def test_openssl_accepts_the_revocation_list(amd: SmallAmd, openssl: Callable[..., str]) -> None:
    listed = amd.altered(crl=lambda crl: crl.revoking(amd.serial("ask")))
    assert "verify OK" in openssl("crl", "-inform", "DER", "-in", listed.crl, "-noout", "-verify", "-CAfile",
                                  amd.chain("ark"))
    assert "010001" in openssl("crl", "-inform", "DER", "-in", listed.crl, "-noout", "-text")


def test_ca_signatures_are_pss_with_the_parameters_amd_uses(amd: SmallAmd) -> None:
    ark = x509.load_der_x509_certificate(amd.certificate("ark"))
    parameters = ark.signature_algorithm_parameters
    assert isinstance(parameters, padding.PSS)
    assert (parameters._salt_length, parameters.mgf._algorithm.name) == (48, "sha384")
    assert ark.public_key().key_size == 4096


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("key", [SigningKey.VCEK, SigningKey.VLEK])
def test_reports_are_signed_by_the_key_they_name(amd: SmallAmd, version: int, key: SigningKey) -> None:
    report = amd.report(replace(amd.body(version=version, signing_key=key), report_data=bytes(range(64))))
    parsed = SnpReport.from_bytes(report)
    assert (parsed.version, parsed.signing_key, parsed.report_data) == (version, key, bytes(range(64)))
    assert any(parsed.chip_id) is (key is SigningKey.VCEK)
    leaf = x509.load_der_x509_certificate(amd.certificate("vlek" if key is SigningKey.VLEK else "vcek"))
    verify_report(report, leaf.public_key())


def test_certificates_and_report_say_the_same_of_the_chip(amd: SmallAmd) -> None:
    vcek = amd.certificate("vcek")
    report = SnpReport.from_bytes(amd.report(amd.body()))
    assert extension(vcek, HWID) == report.chip_id
    assert extension(vcek, UCODE_SPL) == b"\x02\x02\x00\xdb", "an SPL above 0x7f takes two octets"
    assert extension(vcek, FMC_SPL) is None
    assert product_line(report.cpuid) is ProductLine.MILAN
    assert extension(amd.certificate("vlek"), HWID) is None
    assert extension(amd.certificate("vlek"), CSP_ID) == b"\x16\x17CN=software-tee.invalid"


def test_turin_has_its_own_layout() -> None:
    """Parameters only: a line's RSA keys take time, and their kind is the same for all."""
    chip = Chip.of("Turin")
    parts = {part.oid: part.value for part in chip.extensions("vcek")}
    assert (len(parts[HWID]), parts[FMC_SPL], SPL_4 in parts) == (8, b"\x02\x01\x01", False)
    body = SmallAmd.create(at=0, line="Turin").body(version=5)
    assert body.chip_id == chip.hwid + bytes(56)
    assert body.reported_tcb == bytes((1, 1, 2, 4, 0, 0, 0, 71))
    assert product_line(body.cpuid) is ProductLine.TURIN


def test_the_certificate_table_is_the_hosts(amd: SmallAmd) -> None:
    table = CertTable.from_bytes(amd.cert_table())
    assert [(entry.guid, entry.data) for entry in table.entries] == list(
        zip((VCEK, ASK, ARK), amd.certificates(), strict=True))
    assert CertTable.from_bytes(amd.cert_table("vlek")).entries[0].guid == VLEK


def test_any_part_can_be_wrong_alone(amd: SmallAmd) -> None:
    key = x509.load_der_x509_certificate(amd.certificate("vcek")).public_key()
    flipped = amd.altered(report=lambda r: replace(r, mutate=lambda signed: signed[:-1] + b"\x01"))
    report = flipped.report(amd.body())
    assert report[SIGNED_SIZE - 1] == 1
    verify_report(report, key)

    bare = amd.altered(vcek=lambda c: c.without(HWID))
    assert extension(bare.certificate("vcek"), HWID) is None
    assert bare.certificate("ask") == amd.certificate("ask")

    moved = amd.on(replace(amd.chip, tcb=replace(amd.chip.tcb, snp=23)))
    assert SnpReport.from_bytes(moved.report(moved.body())).reported_tcb == TcbVersion(None, 4, 0, 23, 219).to_bytes()


def test_leaves_are_dated_by_the_moment_and_cas_are_not(amd: SmallAmd, at: int) -> None:
    later = SmallAmd(amd.keys, at + 5, chip=amd.chip)
    assert [later.certificate(role) == amd.certificate(role) for role in ("ark", "ask", "asvk", "vcek", "vlek")] == [
        True, True, True, False, False]
