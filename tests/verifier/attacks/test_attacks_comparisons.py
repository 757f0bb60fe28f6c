"""Comparisons that went wrong elsewhere: vectors as one number, unknown words as good ones, lengths cut to fit."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace

import pytest

from verifier.appraisal.expectations import DEFAULT_STATUSES, Expectations
from verifier.endorsements.collateral import AmdCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.snp_report import SigningKey
from verifier.software_tee.intel_documents import TcbLevel
from verifier.verify import verify

UNBOUND = Binding.insecure_unbound()


def with_document(case, change):
    """``case`` with TCB info of whatever members, signed again."""
    def altered(document):
        told = copy.deepcopy(document)
        change(told)
        return told
    return case.altered(tcb_info=lambda info: replace(info, document=altered))


def first_level(change):
    return lambda told: change(told["tcbLevels"][0])


# -- V-04 version vectors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgxtcbcomponents", "tdxtcbcomponents"])
@pytest.mark.parametrize("count", [0, 1, 7, 15, 17])
def test_v04_a_vector_of_another_length_is_no_vector(intel_case, name, count):
    def change(level):
        component = level["tcb"][name][0]
        level["tcb"][name] = [component] * count
    verdict = with_document(intel_case(), first_level(change)).verdict()
    assert verdict.authentic is None
    assert verdict.error.id.startswith("collateral.tcb_info.tcbLevels.tcb")
    assert name in f"{verdict.error.id} {verdict.error.detail}"


@pytest.mark.parametrize(("platform", "level", "reached"), [
    ((3, 1), (2, 2), False), ((2, 2), (2, 2), True), ((2, 3), (2, 2), True), ((255, 1), (1, 2), False)])
def test_v04_a_high_component_does_not_excuse_a_low_one(intel_case, platform, level, reached):
    case = intel_case().on(components=(*platform, *[9] * 14))
    date = case.maker.issued - 86_400
    levels = (TcbLevel(sgx=(*level, *[9] * 14), pce_svn=0, tdx=tuple([0] * 16), date=date, status="UpToDate"),
              TcbLevel(sgx=tuple([0] * 16), pce_svn=0, tdx=tuple([0] * 16), date=date, status="OutOfDate"))
    verdict = case.altered(tcb_info=lambda info: replace(info, levels=levels)).verdict()
    assert verdict.status == ("UpToDate" if reached else "OutOfDate")


def snp_verdict(maker, at, expectations, tcb=None):
    body = maker.body(version=3, signing_key=SigningKey.VCEK)
    if tcb is not None:
        body = replace(body, committed_tcb=tcb)
    return verify(Evidence(Tee.SNP, maker.report(body)), at=at + 10, binding=UNBOUND, expectations=expectations,
                  collateral=Collateral(amd=AmdCollateral(**maker.collateral("vcek"))),
                  roots=Roots.only_software([maker.certificate("ark")]))


def test_v04_a_high_microcode_does_not_excuse_old_firmware(snp_maker, snp_at):
    wanted = Expectations(minimum_committed_tcb={"snp": 0x18, "microcode": 1})
    assert snp_verdict(snp_maker, snp_at, wanted, bytes([0, 0, 0, 0, 0, 0, 0x18, 1])).accepted
    verdict = snp_verdict(snp_maker, snp_at, wanted, bytes([0, 0, 0, 0, 0, 0, 0x17, 0xFF]))
    assert [check.id for check in verdict.mismatches] == ["snp.expect.minimum_committed_tcb"]


def test_v04_minimum_tcbs_agree_with_four_lines(snp_maker, snp_at):
    chance = random.Random(4)
    names = ("bootloader", "tee", "snp", "microcode")
    for _ in range(60):
        have, want = ([chance.choice((0, 1, 2, 127, 128, 255)) for _ in names] for _ in range(2))
        tcb = bytes([have[0], have[1], 0, 0, 0, 0, have[2], have[3]])
        wanted = Expectations(minimum_committed_tcb=dict(zip(names, want, strict=True)))
        assert snp_verdict(snp_maker, snp_at, wanted, tcb).accepted is all(
            one >= other for one, other in zip(have, want, strict=True))


# -- V-05 unknown words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["FooBar", "revoked", "uptodate", "UpToDate ", " UpToDate", "", None, 5, [],
                                    ["UpToDate"], {"UpToDate": True}, True, "UpToDate\x00"])
@pytest.mark.parametrize("kind", ["tdx-v4", "sgx-v3"])
def test_v05_a_status_that_nobody_defined_is_no_status(intel_case, kind, status):
    def change(level):
        level["tcbStatus"] = status
    verdict = with_document(intel_case(kind), first_level(change)).verdict()
    assert verdict.authentic is None
    assert verdict.error.id.startswith("collateral.tcb_info.tcbLevels")
    assert not verdict.accepted


def test_v05_revoked_cannot_be_accepted_by_anybody(intel_case):
    with pytest.raises(SetupError) as caught:
        Expectations(accepted_statuses=(*DEFAULT_STATUSES, "Revoked"))
    assert caught.value.id == "expect.accepted_statuses"
    with pytest.raises(SetupError):
        Expectations.from_file(json.dumps({"accepted_statuses": ["Revoked"]}).encode())

    def change(told):
        for level in told["tcbLevels"]:
            level["tcbStatus"] = "Revoked"

    verdict = with_document(intel_case(), change).verdict()
    assert (verdict.status, verdict.accepted) == ("Revoked", False)


# -- V-11 the comparison that matters ----------------------------------------------------------------------------------


def test_v11_one_bit_in_any_byte_of_the_report_data_refuses(intel_case):
    case = intel_case().says(report_data=bytes(range(64)))
    assert replace(case, binding=Binding(bytes(range(64)))).verdict().accepted
    for index in range(64):
        other = bytearray(range(64))
        other[index] ^= 1 << index % 8
        verdict = replace(case, binding=Binding(bytes(other))).verdict()
        assert [check.id for check in verdict.mismatches] == ["tdx.binding.report_data"]


@pytest.mark.parametrize("expected", [b"", bytes(1), bytes(48), bytes(63), bytes(65), bytes(128)])
def test_v11_expected_report_data_of_another_length_equals_nothing(intel_case, expected):
    """The field is all zero, and so is what is expected: shorter and longer are still not the same."""
    case = intel_case().says(report_data=bytes(64))
    assert not replace(case, binding=Binding(expected)).verdict().accepted


@pytest.mark.parametrize("name", ["mr_td", "rtmr0", "rtmr3", "report_data", "accepted_statuses"])
def test_v11_an_empty_list_allows_nothing(intel_case, name):
    assert intel_case().verdict().accepted
    assert not replace(intel_case(), expectations=Expectations(**{name: ()})).verdict().accepted


def test_v11_an_all_zero_reference_value_stands_for_zeros_only(intel_case):
    case = replace(intel_case(), expectations=Expectations(mr_td=(bytes(48),)))
    assert [check.id for check in case.verdict().mismatches] == ["tdx.expect.mr_td"]
    assert case.says(mr_td=bytes(48)).verdict().accepted


# -- V-14 bits inverted or misplaced -----------------------------------------------------------------------------------

# By hand from AMD's specification: GUEST_POLICY and PLATFORM_INFO, bit by bit.
GUEST_POLICY = {16: "smt_allowed", 17: "reserved_mbo_17", 18: "migrate_ma", 19: "debug", 20: "single_socket",
                21: "cxl_allow", 22: "mem_aes_256_xts", 23: "rapl_dis", 24: "ciphertext_hiding_dram",
                25: "page_swap_disable"}
PLATFORM_INFO = {0: "smt_en", 1: "tsme_en", 2: "ecc_en", 3: "rapl_dis", 4: "ciphertext_hiding_dram_en",
                 5: "alias_check_complete", 7: "tio_en"}


@pytest.mark.parametrize(("field", "table", "always"), [("policy", GUEST_POLICY, 1 << 17),
                                                        ("platform_info", PLATFORM_INFO, 0)])
def test_v14_each_named_bit_is_that_bit_and_no_other(snp_case, field, table, always):
    for bit, name in table.items():
        for value in (always, always | 1 << bit):
            bits = snp_case(**{field: value}).verify().body[f"{field}_bits"]
            assert bits[name] is bool(value >> bit & 1)
            others = {other: on for other, on in bits.items() if other in table.values() and other != name}
            assert others == {other: bool(always >> position & 1)
                              for position, other in table.items() if other != name}


@pytest.mark.parametrize(("bit", "flag"), [(18, "MIGRATE_MA_ALLOWED"), (19, "DEBUG_ALLOWED")])
def test_v14_what_is_refused_is_the_bit_that_is_set(snp_case, bit, flag):
    assert snp_case(policy=1 << 17).verify().flags == ()
    assert snp_case(policy=1 << 17 | 1 << bit).verify().flags == (flag,)
    for other in set(GUEST_POLICY) - {17, 18, 19}:
        assert snp_case(policy=1 << 17 | 1 << other).verify().flags == ()
