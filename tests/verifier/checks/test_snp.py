"""AMD's rules about a report, each broken alone in a report that is otherwise signed as it should be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier.endorsements.collateral import AmdCollateral
from verifier.formats.snp_report import VMPL_HOST, SigningKey, SnpReport, TcbVersion
from verifier.software_tee import der
from verifier.software_tee.amd import (
    BL_SPL,
    FMC_SPL,
    HWID,
    PRODUCT_NAME,
    SNP_SPL,
    SPL_4,
    SPL_5,
    SPL_6,
    SPL_7,
    TEE_SPL,
    UCODE_SPL,
)
from verifier.software_tee.certificates import Extension

VLEK = SigningKey.VLEK
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
LEGACY_SPLS = (BL_SPL, TEE_SPL, SPL_4, SPL_5, SPL_6, SPL_7, SNP_SPL, UCODE_SPL)
TURIN_SPLS = (FMC_SPL, BL_SPL, TEE_SPL, SNP_SPL, SPL_5, SPL_6, SPL_7, UCODE_SPL)
LEGACY_NAMES = ("bootloader", "tee", "byte2", "byte3", "byte4", "byte5", "snp", "microcode")
TURIN_NAMES = ("fmc", "bootloader", "tee", "snp", "byte4", "byte5", "byte6", "microcode")


# -- header ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("line", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize("signing_key", [SigningKey.VCEK, VLEK])
def test_a_report_with_nothing_wrong_is_authentic(snp_case, version, line, signing_key):
    claims = snp_case(version=version, line=line, signing_key=signing_key).verify()
    assert claims.endorsement["product_line"] == line
    assert claims.flags == ()


@pytest.mark.parametrize("algorithm", [0, 2, 0x101, 0xFFFFFFFF])
def test_another_signature_algorithm_is_refused(snp_case, algorithm):
    assert snp_case(signature_algo=algorithm).refusal().id == "snp.report.signature_algo"


@pytest.mark.parametrize("key", range(2, 8))
def test_a_report_signed_by_no_key_or_an_unknown_one_is_refused(snp_case, key):
    assert snp_case(flags=key << 2).refusal().id == "snp.report.signing_key"


def test_a_vlek_report_with_a_vcek_chain_is_refused_and_the_reverse(snp_case):
    for key, leaf in ((SigningKey.VCEK, "vlek"), (VLEK, "vcek")):
        case = snp_case(signing_key=key)
        case.amd = AmdCollateral(case.maker.certificates(leaf))
        error = case.refusal()
        assert (error.id, error.expected, error.got) == ("snp.report.signing_key.certificate", key.name, leaf.upper())


@pytest.mark.parametrize(("family", "model"), [(0x19, 0x20), (0x19, 0x9F), (0x19, 0xB0), (0x1A, 0x12), (0x1A, 0x50),
                                               (0x17, 0x31), (0, 0), (0xFF, 0xFF)])
def test_an_unknown_processor_is_refused(snp_case, family, model):
    assert snp_case(cpuid_family=family, cpuid_model=model).refusal().id == "snp.report.cpuid"


@pytest.mark.parametrize(("family", "model"), [(0x19, 0x11), (0x19, 0xA0), (0x1A, 0x02)])
def test_a_key_of_another_line_than_the_processor_is_refused(snp_case, family, model):
    assert snp_case(cpuid_family=family, cpuid_model=model).refusal().id == "snp.report.cpuid.certificate"


@pytest.mark.parametrize(("line", "model"), [("Milan", 0x00), ("Milan", 0x0F), ("Genoa", 0x10), ("Genoa", 0x1F),
                                             ("Genoa", 0xA0), ("Genoa", 0xAF), ("Turin", 0x00), ("Turin", 0x11)])
def test_every_model_of_a_line_is_known(snp_case, line, model):
    assert snp_case(line=line, cpuid_model=model).verify().body["product"] == line


def test_version_2_takes_the_line_of_the_verified_certificate(snp_case):
    claims = snp_case(version=2, line="Turin").verify()
    assert claims.endorsement["product_line"] == "Turin"
    assert claims.body["reported_tcb_decoded"]["fmc"] == 1
    assert "product" not in claims.body


# -- key and report --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "spls", "names"), [("Milan", LEGACY_SPLS, LEGACY_NAMES),
                                                     ("Turin", TURIN_SPLS, TURIN_NAMES)], ids=["Milan", "Turin"])
def test_every_spl_must_equal_its_byte_of_the_reported_tcb(snp_case, snp_maker_of, line, spls, names):
    maker = snp_maker_of(line)
    tcb = maker.chip.tcb.to_bytes()
    for index, (oid, name) in enumerate(zip(spls, names, strict=True)):
        count = tcb[index] + (1 if index % 2 else -1) if tcb[index] else 1
        other = maker.altered(vcek=lambda c, oid=oid, n=count: c.changed(Extension(oid, der.integer(n))))
        error = snp_case(maker=other).refusal()
        assert (error.id, error.expected, error.got) == (f"snp.vcek.tcb.{name}", count, tcb[index])


@pytest.mark.parametrize("index", range(8))
def test_every_byte_of_the_reported_tcb_must_equal_its_spl(snp_case, index):
    for line, names in (("Genoa", LEGACY_NAMES), ("Turin", TURIN_NAMES)):
        case = snp_case(line=line, signing_key=VLEK)
        tcb = bytearray(case.body.reported_tcb)
        tcb[index] ^= 1
        case.body = replace(case.body, reported_tcb=bytes(tcb))
        assert case.refusal().id == f"snp.vlek.tcb.{names[index]}"


def test_the_certificate_is_compared_with_the_reported_tcb_and_no_other(snp_case):
    newer = TcbVersion(None, 9, 9, 99, 255).to_bytes()
    assert snp_case(current_tcb=newer, committed_tcb=newer, launch_tcb=bytes(8)).verify().flags == ()


def test_a_milan_certificate_that_fits_only_under_turins_layout_is_refused(snp_maker, snp_case):
    """Bytes 1 2 3 4 … are boot loader 1 before Turin and FMC 1 on it."""
    def laid_out_as_turin(certificate):
        for oid, count in zip(TURIN_SPLS[1:], (2, 3, 4, 0, 0, 0, 8), strict=True):
            certificate = certificate.changed(Extension(oid, der.integer(count)))
        return certificate

    case = snp_case(maker=snp_maker.altered(vcek=laid_out_as_turin), reported_tcb=bytes((1, 2, 3, 4, 0, 0, 0, 8)))
    assert case.refusal().id == "snp.vcek.tcb.bootloader"


@pytest.mark.parametrize("line", ["Milan", "Turin"])
def test_a_vcek_of_another_chip_is_refused(snp_case, snp_maker_of, line):
    maker = snp_maker_of(line)
    hwid = bytes((maker.chip.hwid[0] ^ 1,)) + maker.chip.hwid[1:]
    other = maker.altered(vcek=lambda c: c.changed(Extension(HWID, hwid)))
    assert snp_case(maker=other).refusal().id == "snp.vcek.chip_id"


@pytest.mark.parametrize("index", [0, 7, 8, 63])
def test_every_byte_of_the_chip_id_counts(snp_case, index):
    for line in ("Milan", "Turin"):
        case = snp_case(line=line)
        chip_id = bytearray(case.body.chip_id)
        chip_id[index] ^= 1
        case.body = replace(case.body, chip_id=bytes(chip_id))
        assert case.refusal().id == "snp.vcek.chip_id"


def test_a_masked_chip_id_is_authentic_and_told(snp_case):
    for line in ("Milan", "Turin"):
        claims = snp_case(line=line, chip_id=bytes(64)).verify()
        assert claims.endorsement["chip_id_masked"] is True
        assert claims.body["chip_id"] == bytes(64)
        assert claims.endorsement["hwid"] == snp_case(line=line).maker.chip.hwid
    assert snp_case().verify().endorsement["chip_id_masked"] is False


def test_a_vlek_names_its_provider_and_no_chip(snp_case):
    claims = snp_case(signing_key=VLEK).verify()
    assert claims.endorsement["csp_id"] == "CN=software-tee.invalid"
    assert "hwid" not in claims.endorsement
    assert snp_case(signing_key=VLEK, chip_id=bytes(range(64))).verify().body["chip_id"] == bytes(range(64))


def test_a_turin_chip_id_ends_in_zeros_under_a_vlek_too(snp_case):
    case = snp_case(line="Turin", signing_key=VLEK, chip_id=bytes(range(1, 9)) + bytes(56))
    assert case.verify().body["chip_id"][:8] == bytes(range(1, 9))
    case.body = replace(case.body, chip_id=bytes(range(1, 10)) + bytes(55))
    assert case.refusal().id == "snp.report.chip_id.reserved"


def test_the_product_name_decides_the_line_of_the_key(snp_maker, snp_case):
    for name, line in (("Milan", "Milan"), ("Milan-B1", "Milan")):
        named = snp_maker.altered(vcek=lambda c, name=name: c.changed(Extension(PRODUCT_NAME, der.ia5(name))))
        assert snp_case(maker=named).verify().endorsement["product_line"] == line
    genoa = snp_maker.altered(vcek=lambda c: c.changed(Extension(PRODUCT_NAME, der.ia5("Genoa"))))
    assert snp_case(maker=genoa).refusal().id == "snp.report.cpuid.certificate"
    assert snp_case(version=2, maker=genoa).refusal().id == "snp.chain.root", "no root of that line is trusted"


# -- signature -------------------------------------------------------------------------------------------------------


def with_signature(case, r: int | None = None, s: int | None = None) -> bytes:
    """The case's report with another r or s."""
    report = SnpReport.from_bytes(case.maker.report(case.body))
    numbers = {"signature_r": r, "signature_s": s}
    changes = {name: number.to_bytes(72, "little") for name, number in numbers.items() if number is not None}
    return replace(report, **changes).to_bytes()


@pytest.mark.parametrize("value", [0, ORDER, ORDER + 1, (1 << 384) - 1])
def test_r_and_s_lie_in_their_range(snp_case, value):
    case = snp_case()
    for name in ("r", "s"):
        case.report = with_signature(case, **{name: value})
        assert case.refusal().id == "snp.report.signature.range"


@pytest.mark.parametrize("value", [1 << 384, 1 << 575])
def test_the_upper_bytes_of_r_and_s_are_zero(snp_case, value):
    case = snp_case()
    for name in ("r", "s"):
        case.report = with_signature(case, **{name: value + 1})
        assert case.refusal().id == "snp.report.signature.encoding"


@pytest.mark.parametrize(("r", "s"), [(1, 1), (1, ORDER - 1), (ORDER - 1, 1)])
def test_degenerate_signatures_do_not_verify(snp_case, r, s):
    case = snp_case()
    case.report = with_signature(case, r, s)
    assert case.refusal().id == "snp.report.signature"


def test_r_and_s_swapped_or_big_endian_do_not_verify(snp_case):
    case = snp_case()
    good = SnpReport.from_bytes(case.maker.report(case.body))
    swapped = replace(good, signature_r=good.signature_s, signature_s=good.signature_r)
    big_endian = replace(good, **{name: getattr(good, name)[:48][::-1] + bytes(24)
                                  for name in ("signature_r", "signature_s")})
    for report in (swapped, big_endian):
        case.report = report.to_bytes()
        assert case.refusal().id in ("snp.report.signature", "snp.report.signature.range")


def test_a_report_signed_by_another_key_is_refused(snp_maker, snp_case):
    forged = snp_maker.altered(report=lambda r: replace(r, signer=snp_maker.keys.p384("another P-384 key")))
    assert snp_case(maker=forged).refusal().id == "snp.report.signature"


def test_the_signature_covers_the_first_672_bytes(snp_case):
    case = snp_case()
    good = case.maker.report(case.body)
    for index in (0x04, 0x50, 0xBF, 0x29F):
        case.report = good[:index] + bytes((good[index] ^ 1,)) + good[index + 1:]
        assert case.refusal().id == "snp.report.signature"


# -- the report's own rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize(("name", "size"), [("reserved_04c", 4), ("reserved_18b", 21), ("reserved_1eb", 1),
                                            ("reserved_1ef", 1), ("reserved_208", 152), ("reserved_330", 368)])
def test_reserved_bytes_are_zero(snp_case, version, name, size):
    for index in {0, size // 2, size - 1}:
        case = snp_case(version=version, **{name: bytes(index) + b"\x80" + bytes(size - index - 1)})
        assert case.refusal().id == f"snp.report.{name}"


@pytest.mark.parametrize("name", ["cpuid_family", "cpuid_model", "cpuid_stepping"])
def test_the_processor_bytes_are_reserved_in_version_2(snp_case, name):
    assert snp_case(version=2, **{name: 1}).refusal().id == "snp.report.reserved_188"


@pytest.mark.parametrize("name", ["launch_mit_vector", "current_mit_vector"])
def test_mitigation_vectors_are_reserved_before_version_5(snp_case, name):
    for version in (2, 3, 4):
        assert snp_case(version=version, **{name: 1 << 63}).refusal().id == "snp.report.reserved_1f8"
    assert snp_case(version=5, **{name: 1 << 63}).verify().body[name] == "0x8000000000000000"


@pytest.mark.parametrize("name", ["current_tcb", "committed_tcb", "launch_tcb"])
@pytest.mark.parametrize(("line", "reserved"), [("Milan", range(2, 6)), ("Genoa", range(2, 6)), ("Turin", range(4, 7))])
def test_reserved_bytes_of_every_tcb_are_zero(snp_case, name, line, reserved):
    for index in range(8):
        tcb = bytes(index) + b"\x01" + bytes(7 - index)
        case = snp_case(line=line, **{name: tcb})
        if index in reserved:
            assert case.refusal().id == f"snp.report.{name}.reserved"
        else:
            assert case.verify().body[name] == tcb


def test_a_reserved_byte_of_the_reported_tcb_is_zero_even_if_the_certificate_says_otherwise(snp_maker, snp_case):
    other = snp_maker.altered(vcek=lambda c: c.changed(Extension(SPL_5, der.integer(1))))
    tcb = bytearray(snp_maker.chip.tcb.to_bytes())
    tcb[3] = 1
    assert snp_case(maker=other, reported_tcb=bytes(tcb)).refusal().id == "snp.report.reported_tcb.reserved"


def test_each_policy_bit_is_allowed_demanded_or_unknown(snp_case):
    for bit in range(64):
        case = snp_case(policy=0x30000 ^ (1 << bit))
        if bit == 17:
            assert case.refusal().id == "snp.report.policy.bit17"
        elif bit > 25:
            assert case.refusal().id == "snp.report.policy.reserved"
        else:
            claims = case.verify()
            assert claims.body["policy"] == hex(case.body.policy)
            assert claims.flags == {18: ("MIGRATE_MA_ALLOWED",), 19: ("DEBUG_ALLOWED",)}.get(bit, ())


def test_each_platform_bit_is_known_or_refused(snp_case):
    """Bit 6 has no name in the specification; genuine Turin firmware sets it."""
    for bit in range(64):
        case = snp_case(platform_info=1 << bit)
        if bit > 7:
            assert case.refusal().id == "snp.report.platform_info.reserved"
        else:
            assert case.verify().body["platform_info"] == hex(1 << bit)


def test_each_flag_bit_is_known_or_refused(snp_case):
    for bit in range(5, 32):
        assert snp_case(flags=1 << bit).refusal().id == "snp.report.flags.reserved"
    for bit, name in ((0, "author_key_en"), (1, "mask_chip_key")):
        assert snp_case(flags=1 << bit).verify().body[name] is True


@pytest.mark.parametrize(("vmpl", "flags"), [(0, ()), (1, ("VMPL1",)), (2, ("VMPL2",)), (3, ("VMPL3",)),
                                             (VMPL_HOST, ("VMPL_HOST",))])
def test_each_privilege_level_is_authentic_and_all_but_the_highest_are_told(snp_case, vmpl, flags):
    claims = snp_case(vmpl=vmpl).verify()
    assert (claims.flags, claims.body["vmpl"]) == (flags, vmpl)


@pytest.mark.parametrize("vmpl", [4, 5, 255, 0xFFFFFFFE])
def test_another_privilege_level_does_not_exist(snp_case, vmpl):
    assert snp_case(vmpl=vmpl).refusal().id == "snp.report.vmpl"


def test_an_author_key_digest_needs_its_flag(snp_case):
    digest = bytes(47) + b"\x01"
    assert snp_case(author_key_digest=digest).refusal().id == "snp.report.author_key_digest"
    claims = snp_case(author_key_digest=digest, flags=1).verify()
    assert (claims.body["author_key_digest"], claims.body["author_key_en"]) == (digest, True)


def test_objections_come_together(snp_case):
    assert snp_case(policy=0xF0000, vmpl=2).verify().flags == ("DEBUG_ALLOWED", "MIGRATE_MA_ALLOWED", "VMPL2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_what_the_guest_may_choose_is_never_judged(snp_case, data):
    """Whatever is bound, measured or named by guest and owner, a signed report stays authentic."""
    sizes = {"report_data": 64, "measurement": 48, "host_data": 32, "id_key_digest": 48, "family_id": 16,
             "image_id": 16, "report_id": 32, "report_id_ma": 32}
    chosen = {name: data.draw(st.binary(min_size=size, max_size=size)) for name, size in sizes.items()}
    claims = snp_case(guest_svn=data.draw(st.integers(0, 0xFFFFFFFF)), **chosen).verify()
    assert {name: claims.body[name] for name in chosen} == chosen
    assert (claims.report_data, claims.init_data) == (chosen["report_data"], chosen["host_data"])
