"""VCEK and VLEK certificates: every extension AMD demands, once, of its type; nothing that nobody compares."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verifier.endorsements.amd_vek import SUBJECTS, EndorsementKey, resembles
from verifier.endorsements.chain import common_name, read_certificates
from verifier.errors import CheckFailed
from verifier.formats.snp_report import ProductLine, SigningKey, TcbLayout, TcbVersion
from verifier.software_tee import der
from verifier.software_tee.amd import (
    BL_SPL,
    CSP_ID,
    FMC_SPL,
    HWID,
    PRODUCT_NAME,
    SNP_SPL,
    SPL_4,
    SPL_5,
    SPL_6,
    SPL_7,
    STRUCT_VERSION,
    TEE_SPL,
    UCODE_SPL,
)
from verifier.software_tee.certificates import COMMON_NAME, Extension
from verifier.trail import Trail

NAMES = {STRUCT_VERSION: "struct_version", PRODUCT_NAME: "product_name", BL_SPL: "bl_spl", TEE_SPL: "tee_spl",
         SNP_SPL: "snp_spl", SPL_4: "spl4", SPL_5: "spl5", SPL_6: "spl6", SPL_7: "spl7", UCODE_SPL: "ucode_spl",
         FMC_SPL: "fmc_spl", HWID: "hwid", CSP_ID: "csp_id"}
COMMON = (STRUCT_VERSION, PRODUCT_NAME, BL_SPL, TEE_SPL, SNP_SPL, SPL_5, SPL_6, SPL_7, UCODE_SPL)
REQUIRED = {("Milan", "vcek"): (*COMMON, SPL_4, HWID), ("Genoa", "vcek"): (*COMMON, SPL_4, HWID),
            ("Turin", "vcek"): (*COMMON, FMC_SPL, HWID), ("Milan", "vlek"): (*COMMON, SPL_4, CSP_ID),
            ("Turin", "vlek"): (*COMMON, FMC_SPL, CSP_ID)}
INTEGERS = (STRUCT_VERSION, BL_SPL, TEE_SPL, SNP_SPL, SPL_4, SPL_5, SPL_6, SPL_7, UCODE_SPL)


def key_of(certificate: bytes) -> EndorsementKey:
    return EndorsementKey.of(Trail("snp"), *read_certificates(certificate, "leaf"))


def refused(certificate: bytes) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        key_of(certificate)
    return caught.value


def altered(maker, role, change):
    """Reading a leaf looks at no signature; a P-384 key signs faster than an RSA key."""
    cheap = maker.keys.p384("cheap")
    return maker.altered(**{role: lambda c: replace(change(c), signer=cheap)}).certificate(role)


@pytest.mark.corpus("snp")
def test_recorded_certificates_say_what_the_index_says(corpus, case):
    for told in case["expected"].get("endorsement", []):
        key = key_of((corpus.folder(case) / told["cert"]).read_bytes())
        found, line = told["extensions"], told["product_line"]
        assert (key.kind.name, key.line.value, key.product_name) == (told["signing_key"], line, found["product_name"])
        tcb = TcbVersion.from_bytes(key.tcb, TcbLayout.of(key.line))
        assert (tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode) == (
            found.get("fmc_spl"), found["bl_spl"], found["tee_spl"], found["snp_spl"], found["ucode_spl"])
        assert (key.hwid.hex() if key.hwid else None, key.csp_id) == (found.get("hw_id"), found.get("csp_id"))
        assert key.struct_version == found["struct_version"]


def test_both_encodings_of_the_hardware_id_are_read(corpus):
    folder = corpus.folder("snp/milan-v2-vcek-azure-trustee")
    raw, wrapped = (key_of((folder / f"vcek-invalid-{name}.der").read_bytes()) for name in ("legacy", "new"))
    assert raw.hwid == wrapped.hwid == bytes(range(64))


def test_a_turin_vcek_without_a_report_is_read(corpus):
    key = key_of((corpus.folder("snp/kds-crl-openpcc") / "vcek-turin-virtee.der").read_bytes())
    assert (key.line, key.tcb.hex(), key.hwid.hex()) == (ProductLine.TURIN, "0000000000000009", "1e550a8ee5cf9f4d")


def test_a_recorded_stepping_is_a_suffix(corpus):
    key = key_of((corpus.folder("snp/milan-v3-vcek-oak") / "vcek.der").read_bytes())
    assert (key.product_name, key.line, key.stepping) == ("Milan-B0", ProductLine.MILAN, "B0")


@pytest.mark.parametrize(("line", "role"), REQUIRED, ids=[" ".join(pair) for pair in REQUIRED])
def test_each_required_extension_is_missed(snp_maker_of, line, role):
    maker = snp_maker_of(line)
    key_of(maker.certificate(role))
    for oid in REQUIRED[line, role]:
        error = refused(altered(maker, role, lambda c, oid=oid: c.without(oid)))
        assert (error.id, error.got) == (f"snp.{role}.extension.{NAMES[oid]}", "absent")


@pytest.mark.parametrize("oid", INTEGERS, ids=NAMES.get)
@pytest.mark.parametrize("value", [
    b"", b"\x02", b"\x02\x00", b"\x02\x01", b"\x02\x02\x00\x05", b"\x02\x01\x80", b"\x02\x02\x01\x00",
    b"\x04\x01\x05", b"\x16\x015", b"\x02\x01\x05\x00", b"\x02\x81\x01\x05", b"\x30\x03\x02\x01\x05", b"\x05",
], ids=bytes.hex)
def test_an_spl_is_a_minimal_der_integer_of_one_byte(snp_maker, oid, value):
    error = refused(altered(snp_maker, "vcek", lambda c: c.changed(Extension(oid, value))))
    assert error.id == f"snp.vcek.extension.{NAMES[oid]}"


@pytest.mark.parametrize(("count", "octets"), [(0, "020100"), (0x7F, "02017f"), (0x80, "02020080"), (0xD9, "020200d9"),
                                               (0xFF, "020200ff")])
def test_spls_above_0x7f_take_two_octets(snp_maker, count, octets):
    key = key_of(altered(snp_maker, "vcek", lambda c: c.changed(Extension(UCODE_SPL, bytes.fromhex(octets)))))
    assert key.tcb[7] == count


@pytest.mark.parametrize("count", [2, 3, 255])
def test_an_unknown_structure_of_extensions_is_refused(snp_maker, count):
    error = refused(altered(snp_maker, "vcek", lambda c: c.changed(Extension(STRUCT_VERSION, der.integer(count)))))
    assert (error.id, error.got) == ("snp.vcek.extension.struct_version", count)


@pytest.mark.parametrize("size", [0, 8, 32, 63, 65, 128])
@pytest.mark.parametrize("wrap", [bytes, der.octet_string], ids=["raw", "wrapped"])
def test_the_hardware_id_has_64_bytes(snp_maker, size, wrap):
    error = refused(altered(snp_maker, "vcek", lambda c: c.changed(Extension(HWID, wrap(bytes(size))))))
    assert error.id == "snp.vcek.extension.hwid"


@pytest.mark.parametrize("size", [0, 7, 9, 64])
def test_the_hardware_id_has_8_bytes_on_turin(snp_maker_of, size):
    maker = snp_maker_of("Turin")
    error = refused(altered(maker, "vcek", lambda c: c.changed(Extension(HWID, bytes(size)))))
    assert error.id == "snp.vcek.extension.hwid"
    wrapped = altered(maker, "vcek", lambda c: c.changed(Extension(HWID, der.octet_string(bytes(8)))))
    assert key_of(wrapped).hwid == bytes(8)


@pytest.mark.parametrize("name", ["", "milan", "Milan-", "Milan-b0", "Milan-B", "Milan-B00", "Milan-B0\n", "Milan B0",
                                  "Venice", "Rome", "Bergamo", "GenoaX", "Turin-B0-B0"])
def test_only_known_product_lines_are_read(snp_maker, name):
    error = refused(altered(snp_maker, "vcek", lambda c: c.changed(Extension(PRODUCT_NAME, der.ia5(name)))))
    assert error.id == "snp.vcek.extension.product_name"


@pytest.mark.parametrize("value", [der.utf8("Milan"), der.printable("Milan"), b"Milan", der.ia5("Milan") + b"\x00",
                                   b"\x16\x05Mil\xe4n", b""], ids=bytes.hex)
def test_the_product_name_is_an_ia5_string(snp_maker, value):
    error = refused(altered(snp_maker, "vcek", lambda c: c.changed(Extension(PRODUCT_NAME, value))))
    assert error.id == "snp.vcek.extension.product_name"


@pytest.mark.parametrize("value", [b"\x16\x00", der.utf8("CN=x"), b"", der.ia5("CN=\x00x")], ids=bytes.hex)
def test_the_provider_of_a_vlek_is_a_name(snp_maker, value):
    error = refused(altered(snp_maker, "vlek", lambda c: c.changed(Extension(CSP_ID, value))))
    assert error.id == "snp.vlek.extension.csp_id"


@pytest.mark.parametrize(("line", "role", "extension", "name"), [
    ("Milan", "vcek", Extension(CSP_ID, der.ia5("CN=x")), "csp_id"),
    ("Milan", "vlek", Extension(HWID, bytes(64)), "hwid"),
    ("Milan", "vcek", Extension(FMC_SPL, der.integer(0)), "fmc_spl"),
    ("Genoa", "vcek", Extension(FMC_SPL, der.integer(3)), "fmc_spl"),
    ("Turin", "vcek", Extension(SPL_4, der.integer(1)), "spl4"),
    ("Milan", "vcek", Extension("1.3.6.1.4.1.3704.1.3.10", der.integer(9)), "3.10"),
])
def test_an_extension_that_does_not_belong_there_is_refused(snp_maker_of, line, role, extension, name):
    error = refused(altered(snp_maker_of(line), role, lambda c: c.changed(extension)))
    assert error.id == f"snp.{role}.extension.{name}"


def test_an_unused_spl_of_zero_does_no_harm_on_turin(snp_maker_of):
    maker = snp_maker_of("Turin")
    key = key_of(altered(maker, "vcek", lambda c: c.changed(Extension(SPL_4, der.integer(0)))))
    assert key.tcb == key_of(maker.certificate("vcek")).tcb


def test_the_key_is_on_p384(snp_maker):
    for other in (snp_maker.keys.p256("a P-256 key"), snp_maker.ca_key("ask")):
        error = refused(altered(snp_maker, "vcek", lambda c, key=other: replace(c, public_key=key.public_key)))
        assert error.id == "snp.vcek.key"


def test_turin_spls_are_laid_out_as_turin_lays_them_out(snp_maker_of):
    milan, turin = (key_of(snp_maker_of(line).certificate("vcek")) for line in ("Milan", "Turin"))
    assert milan.tcb == bytes((4, 0, 0, 0, 0, 0, 24, 219))
    assert turin.tcb == bytes((1, 1, 2, 4, 0, 0, 0, 71))


def test_only_endorsement_keys_go_by_their_names(snp_maker):
    certificates = {role: read_certificates(snp_maker.certificate(role), role)[0]
                    for role in ("vcek", "vlek", "ask", "asvk", "ark")}
    kinds = {role: SUBJECTS.get(common_name(certificate)) for role, certificate in certificates.items()}
    assert kinds == {"vcek": SigningKey.VCEK, "vlek": SigningKey.VLEK, "ask": None, "asvk": None, "ark": None}


def test_two_common_names_are_no_name(snp_maker):
    def twice(certificate):
        return replace(certificate, subject=(*certificate.subject, (COMMON_NAME, "SEV-VCEK")))

    assert common_name(*read_certificates(altered(snp_maker, "vcek", twice), "leaf")) not in SUBJECTS


def test_resemblance_is_told_by_tcb_and_chip(snp_maker):
    leaf = read_certificates(snp_maker.certificate("vcek"), "leaf")[0]
    tcb, chip = snp_maker.chip.tcb.to_bytes(), snp_maker.chip.hwid
    assert resembles(leaf, tcb, chip)
    assert resembles(leaf, tcb, bytes(64)), "a masked chip id says nothing"
    assert not resembles(leaf, tcb, bytes(63) + b"\x01")
    assert not any(resembles(leaf, tcb[:i] + bytes((tcb[i] ^ 1,)) + tcb[i + 1:], chip) for i in range(8))
