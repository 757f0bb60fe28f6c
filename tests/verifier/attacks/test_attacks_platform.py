"""Flawless evidence of machines that should not be believed: keys extracted, generations broken, other buildings.

No signature tells these from honest machines, so what refuses is what the caller pins. Every case is signed throughout
by the software makers.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verifier.azure_cases import azure_case
from verifier.appraisal.appraiser import Appraiser
from verifier.appraisal.expectations import Expectations
from verifier.endorsements.collateral import AmdCollateral, Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.snp_report import SigningKey
from verifier.policy.rego import RegoEngine
from verifier.reference_values.model import ReferenceValues
from verifier.verify import verify

UNBOUND = Binding.insecure_unbound()


def failed(verdict) -> list[str]:
    assert verdict.authentic is True, verdict.error
    return [check.id for check in verdict.mismatches]


def snp_verdict(maker, at, expectations, **changes):
    body = replace(maker.body(version=3, signing_key=SigningKey.VCEK), **changes)
    return verify(Evidence(Tee.SNP, maker.report(body)), at=at + 10, binding=UNBOUND, expectations=expectations,
                  collateral=Collateral(amd=AmdCollateral(**maker.collateral("vcek"))),
                  roots=Roots.only_software([maker.certificate("ark")]))


# -- P-01 a key that somebody took out ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("tdx-v4", "ppid"), ("tdx-v5-td15", "platform_instance_id"),
                                            ("sgx-v3", "ppid"), ("tdx-v4", "fmspc")])
def test_p01_a_flawless_quote_of_an_unlisted_intel_platform_is_refused(intel_case, kind, name):
    case = intel_case(kind)
    platform = case.maker.platform
    mine = {"ppid": platform.ppid, "platform_instance_id": platform.instance_id,
            "fmspc": platform.fmspc}[name]
    other = bytes((mine[0] ^ 1,)) + mine[1:]
    listed = replace(case, expectations=Expectations(**{name: (other, mine)}))
    assert listed.verdict().accepted
    unlisted = replace(case, expectations=Expectations(**{name: (other,)}))
    assert failed(unlisted.verdict()) == [f"{case.tee.value}.expect.{name}"]


def test_p01_a_flawless_report_of_an_unlisted_amd_chip_is_refused(snp_maker, snp_at):
    chip = snp_maker.body(version=3, signing_key=SigningKey.VCEK).chip_id
    other = bytes((chip[0] ^ 1,)) + chip[1:]
    assert snp_verdict(snp_maker, snp_at, Expectations(chip_id=(other, chip))).accepted
    assert failed(snp_verdict(snp_maker, snp_at, Expectations(chip_id=(other,)))) == ["snp.expect.chip_id"]


def test_p01_a_chip_that_hides_its_id_is_on_no_list(snp_maker, snp_at):
    verdict = snp_verdict(snp_maker, snp_at, Expectations(chip_id=(bytes(range(64)),)), chip_id=bytes(64))
    assert failed(verdict) == ["snp.expect.chip_id"]


# -- P-02 a generation broken in software ------------------------------------------------------------------------------


def test_p02_a_generation_that_is_not_listed_is_refused_however_new_its_tcb(snp_maker_of, snp_at):
    for line, accepted in (("Milan", False), ("Genoa", True), ("Turin", True)):
        verdict = snp_verdict(snp_maker_of(line), snp_at, Expectations(products=("Genoa", "Turin")))
        assert verdict.accepted is accepted
        assert failed(verdict) == ([] if accepted else ["snp.expect.products"])


def test_p02_a_listed_generation_may_still_need_a_listed_chip(snp_maker, snp_at):
    chip = snp_maker.body(version=3, signing_key=SigningKey.VCEK).chip_id
    listed = Expectations(products=("Milan",), chip_id=(chip,))
    assert snp_verdict(snp_maker, snp_at, listed).accepted
    unlisted = Expectations(products=("Milan",), chip_id=(bytes(64 * [7]),))
    assert failed(snp_verdict(snp_maker, snp_at, unlisted)) == ["snp.expect.chip_id"]


@pytest.mark.parametrize(("values", "status"), [
    ({}, "contraindicated"), ({"snp_products": "Milan"}, "contraindicated"),
    ({"snp_products": "Milan", "snp_chip_ids": "another"}, "contraindicated"),
    ({"snp_products": "Genoa", "snp_chip_ids": "own"}, "contraindicated"),
    ({"snp_products": "Milan", "snp_chip_ids": "own"}, "affirming")])
def test_p02_the_shipped_policy_takes_milan_only_on_a_chip_that_the_owner_lists(snp_maker, snp_at, values, status):
    claims = replace(snp_verdict(snp_maker, snp_at, Expectations()).claims, software=False)
    least = claims.body["reported_tcb_decoded"]
    chips = {"own": claims.body["chip_id"].hex(), "another": "07" * 64}
    known = {"snp_launch_measurement": claims.body["measurement"].hex(), "snp_min_bootloader": least["bootloader"],
             "snp_min_tee_svn": least["tee"], "snp_min_snp_svn": least["snp"], "snp_min_microcode": least["microcode"]}
    values = {name: chips.get(value, value) for name, value in values.items()}
    result = Appraiser(RegoEngine(), None, ReferenceValues.of(known | values)).appraise(
        [("cpu0", claims)], at=snp_at + 10, runtime_data={"nonce": "nonce"}, init_data_claims=None)
    assert result.status == status
    failing = [check.id for check in result.explanation if not check.ok and ".trust_claims." not in check.id]
    assert failing == ([] if status == "affirming" else ["cpu0.hardware.generation"])


# -- P-03 firmware that must be asked for ------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "accepted"), [(1 << 5, True), (1 << 5 | 1 << 1, True), (0, False), (1 << 1, False)])
def test_p03_a_platform_that_does_not_check_for_aliased_memory_can_be_refused(snp_maker, snp_at, bits, accepted):
    expectations = Expectations(required_platform_info=("alias_check_complete",))
    verdict = snp_verdict(snp_maker, snp_at, expectations, platform_info=bits)
    assert failed(verdict) == ([] if accepted else ["snp.expect.required_platform_info"])


@pytest.mark.parametrize("which", ["reported", "committed", "current", "launch"])
def test_p03_each_tcb_has_a_floor_of_its_own_and_the_floor_itself_is_enough(snp_maker, snp_at, which):
    own = snp_maker.body(version=3, signing_key=SigningKey.VCEK)
    name = f"minimum_{which}_tcb"
    level = getattr(own, f"{which}_tcb")[6]  # the SNP component of Milan's layout
    assert snp_verdict(snp_maker, snp_at, Expectations(**{name: {"snp": level}})).accepted
    above = Expectations(**{name: {"snp": level + 1}})
    assert failed(snp_verdict(snp_maker, snp_at, above)) == [f"snp.expect.{name}"]


# -- P-04 a genuine processor, another building ------------------------------------------------------------------------


def test_p04_the_cloud_quote_of_another_vm_does_not_vouch_for_this_td(corpus):
    """The virtual TPM that a cloud's chain vouches for must be the one whose key this very TD measured."""
    del corpus
    case = azure_case("tdx")
    other = replace(case, maker=case.other)
    grafted = case.with_parts(tpm_quote=other.parts.tpm_quote)
    assert grafted.refusal() == "tpm_quote.signature"
