"""Azure's recipes as wholes: what they keep, what they tell unverified, and that no bit goes unnoticed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifier.azure_cases import AMD, AT, KINDS, UNBOUND, AzureCase, azure_case
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, CollateralError, EvidenceError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.hcl_report import ClaimsHash, HclReport, ReportType
from verifier.software_tee.azure_parts import hashed, select
from verifier.verify import inspect

# The X.509 library warns of what altered certificates say before it refuses them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
BOTH = pytest.mark.parametrize("kind", ["snp", "tdx"])
DOCUMENTED = (CheckFailed, EvidenceError, CollateralError)


# -- what is claimed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_guest_bound_is_in_the_quote_and_what_hardware_signed_is_the_hash(kind):
    case = azure_case(kind)
    claims = case.verdict().claims
    assert (claims.report_data, claims.init_data) == (case.binding.report_data, case.binding.init_data)
    assert claims.body["report_data"] == case.hcl.claims_digest
    assert claims.software is True
    assert claims.endorsement["ak_certificate"]["software"] is True
    inner = claims.body["snp" if kind == "snp" else "tdx"]
    assert {name: claims.body[name] for name in inner} == inner


@pytest.mark.parametrize("kind", KINDS)
def test_inspection_tells_what_verification_proves(kind):
    case = azure_case(kind)
    assert inspect(case.sent) == case.verdict().claims.body


@BOTH
def test_inspection_of_parts_that_nobody_recorded_leaves_them_out(kind):
    told = inspect(azure_case(kind).with_parts(tpm_quote=None, endorsement=None).sent)
    assert {"tpm_quote", "pcrs", "nonce", "tdx"} & set(told) == set()
    assert told["vm_configuration"]["secure-boot"] is True


@BOTH
@pytest.mark.parametrize("hash_kind", ClaimsHash)
def test_the_claims_may_be_hashed_by_each_of_three_hashes(kind, hash_kind):
    case = azure_case(kind)
    changed = replace(case, maker=replace(case.maker, claims_hash=hash_kind))
    assert changed.verdict().accepted
    assert changed.hcl.claims_hash is hash_kind


@BOTH
def test_early_claims_are_accepted(kind):
    case = azure_case(kind)
    early = replace(case, maker=replace(case.maker, vm=replace(case.maker.vm, user_data=b"")))
    assert early.verdict().accepted
    assert early.verdict().claims.body["user_data"] is None


@BOTH
def test_a_quote_without_pcr_8_claims_no_init_data(kind):
    case = azure_case(kind).altered(tpm_quote=lambda q: q.selecting(select([*range(8), 9])))
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.claims.init_data) == (True, False, b"")
    assert set(verdict.claims.body["pcrs"]) == {*map(str, range(8)), "9"}


@BOTH
def test_without_a_tpm_quote_hardware_is_proved_and_nothing_is_bound(kind):
    case = azure_case(kind).with_parts(tpm_quote=None)
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("TPM_QUOTE_MISSING",))
    assert (verdict.claims.report_data, verdict.claims.init_data) == (b"", b"")
    assert {check.id.partition(".")[2] for check in verdict.mismatches} == {
        "accept.tpm_quote_missing", "binding.report_data", "binding.init_data"}
    empty = replace(case, binding=Binding(b""))
    assert "binding.report_data" in {check.id.partition(".")[2] for check in empty.verdict().mismatches}
    assert "pcrs" not in verdict.claims.body


@pytest.mark.parametrize(("changes", "flags"), [
    ({"td_attributes": b"\x01\0\0\x10" + bytes(4)}, ("TD_DEBUG",)), ({"td_attributes": bytes(8)},
                                                                    ("SEPT_VE_DISABLE_NOT_SET",)),
    ({"td_attributes": b"\0\0\0\x30" + bytes(4)}, ("MIGRATABLE",)),
])
def test_flags_of_the_td_are_told_and_refused_by_default(changes, flags):
    case = azure_case("tdx")
    image = replace(case.maker.vm.image, **changes)
    verdict = replace(case, maker=replace(case.maker, vm=replace(case.maker.vm, image=image))).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, flags)


def test_a_bound_service_td_is_told_and_refused_by_default():
    """The version of the TDREPORT says that there is one."""
    bound = {"mr_service_td": b"\x05" * 48}
    case = azure_case("tdx-td15").altered(
        td=lambda b: replace(b, v15=replace(b.v15, **bound)),
        tdreport=lambda r: hashed(replace(r, report_type=b"\x81\0\1\0", **bound)))
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("MRSERVICETD_NONZERO",))
    assert case.altered(tdreport=lambda r: replace(r, report_type=b"\x81\0\0\0")).refusal() == "tdreport.type"


@pytest.mark.parametrize(("bit", "flag"), [(18, "MIGRATE_MA_ALLOWED"), (19, "DEBUG_ALLOWED")])
def test_flags_of_the_snp_guest_are_told_and_refused_by_default(bit, flag):
    verdict = azure_case().altered(snp=lambda r: replace(r, policy=r.policy | 1 << bit)).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, (flag,))


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_every_version_of_the_snp_report(version):
    case = azure_case()
    image = replace(case.maker.vm.image, snp_version=version)
    assert replace(case, maker=replace(case.maker, vm=replace(case.maker.vm, image=image))).verdict().accepted


# -- what is missing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "missing"), [("snp", "collateral.amd.vcek"), ("tdx", "collateral.td_quote")])
def test_without_what_vouches_for_the_hardware_report_nothing_is_decided(kind, missing):
    verdict = azure_case(kind).with_parts(endorsement=None).verdict()
    assert (verdict.authentic, verdict.error.id) == (None, missing)


def test_a_vcek_may_come_from_the_caller():
    case = azure_case().with_parts(endorsement=None)
    amd = case.supplied.amd
    again = replace(case, collateral=Collateral(amd=replace(amd, certificates=(*amd.certificates,
                                                                              AMD.certificate("vcek")))))
    assert again.verdict().accepted


def test_a_td_quote_without_collateral_is_undecided_and_one_of_another_td_refused_all_the_same():
    case = replace(azure_case("tdx"), collateral=Collateral.none())
    assert (case.verdict().authentic, case.verdict().error.id) == (None, "collateral.intel")
    other = case.altered(td=lambda b: replace(b, mr_td=bytes(48)))
    assert other.refusal() == "td_quote.mr_td"


def test_how_the_tcb_stands_is_told_when_only_the_last_step_is_missing():
    case = azure_case("tdx")
    intel = replace(case.supplied.intel, pck_crl=None)
    image = replace(case.maker.vm.image, td_attributes=bytes(8))
    changed = replace(case, collateral=Collateral(intel=intel), maker=replace(case.maker, vm=replace(
        case.maker.vm, image=image)))
    verdict = changed.verdict()
    assert (verdict.authentic, verdict.status, verdict.flags) == (None, "UpToDate", ("SEPT_VE_DISABLE_NOT_SET",))


@BOTH
def test_a_certificate_whose_authority_is_unknown_is_told_as_unjudged_and_changes_nothing(kind):
    case = azure_case(kind)
    verdict = case.with_certificates(case.maker.certificate("ak")).verdict()
    assert verdict.accepted
    assert verdict.claims.endorsement["ak_certificate"] is None


@BOTH
def test_the_caller_may_have_the_certificates(kind):
    case = azure_case(kind)
    supplied = TpmCollateral(certificates=(case.other.certificate("ak"), *case.maker.certificates))
    verdict = replace(case.with_certificates(), tpm=supplied).verdict()
    assert verdict.accepted
    assert verdict.claims.endorsement["ak_certificate"]["subject"] == "CN=software.ConfidentialVM.invalid"


@BOTH
def test_a_good_certificate_never_stands_in_for_the_hardware(kind):
    """The whole second path is right; the hardware's root is trusted by nobody."""
    case = azure_case(kind)
    only_cloud = replace(case, roots=Roots.only_software([case.maker.roots()["azure-vtpm.pem"]]))
    assert only_cloud.refusal().endswith("chain.root")


@BOTH
def test_the_certificates_of_the_key_bound_how_long_it_holds(kind):
    case = azure_case(kind)
    end = AT + 1000
    short = case.altered(ak=lambda p: replace(p, not_after=end))
    assert short.verdict().valid_until == end
    assert replace(short, at=end + 1).refusal() == "vtpm.ak_certificate.validity"
    assert case.verdict().valid_until > end


@BOTH
@pytest.mark.parametrize("bad", [b"", b"junk", b"0\x03\x02\x01\x00", b"-----BEGIN CERTIFICATE-----\n"])
def test_unreadable_certificates_are_the_fault_of_whoever_brought_them(kind, bad):
    case = azure_case(kind)
    assert case.with_certificates(bad).verdict().authentic is False
    assert replace(case, tpm=TpmCollateral(certificates=(bad,))).verdict().authentic is None


@BOTH
def test_a_certificate_of_a_key_that_no_tpm_has_is_the_fault_of_whoever_brought_it(kind):
    case = azure_case(kind)
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    odd = case.altered(ak=lambda p: replace(p, public_key=key))
    assert odd.refusal() == "collateral.certificate.key"
    assert odd.altered(intermediate=lambda p: replace(p, public_key=key), ak=lambda p: replace(
        p, public_key=case.maker.key("ak").public_key)).refusal() == "collateral.certificate.key"


# -- prepared trust ----------------------------------------------------------------------------------------------------


@BOTH
def test_what_is_prepared_gives_the_same_claims_and_the_same_trail(kind):
    prepared, case = Prepared(), azure_case(kind)
    cold = case.verdict(prepared)
    warm = case.verdict(prepared)
    assert (warm.claims, warm.checks) == (cold.claims, cold.checks) == (case.verdict().claims, case.verdict().checks)


@BOTH
def test_a_warm_verification_reads_no_certificate(kind, monkeypatch):
    prepared, case = Prepared(), azure_case(kind)
    sent = case.sent
    case.verdict(prepared)
    monkeypatch.setattr("verifier.checks.hcl.read_certificates", None)
    monkeypatch.setattr("verifier.checks.snp.read_supplied", None)
    monkeypatch.setattr("verifier.checks.dcap.intel.verify_pck_chain", None)
    assert replace(case, evidence=sent).verdict(prepared).accepted


@BOTH
def test_the_key_of_another_vm_does_not_meet_prepared_trust(kind):
    prepared, case = Prepared(), azure_case(kind)
    assert case.verdict(prepared).accepted
    other = replace(case, maker=case.other)
    mixed = other.with_certificates(*case.sent.certificates)
    verdict = mixed.verdict(prepared)
    assert (verdict.authentic, verdict.error.id) == (False, f"{case.tee}.ak_certificate.key")


# -- no bit unnoticed --------------------------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def accepted_bits(case: AzureCase, data: bytes, bits: Iterator[int] | range,
                  put: Callable[[AzureCase, bytes], AzureCase]) -> list[int]:
    """Bits that can be turned over without the evidence becoming inauthentic. Trust is prepared once."""
    prepared, found = Prepared(), []
    base = replace(case, evidence=case.sent, binding=UNBOUND, collateral=case.supplied)
    assert base.verdict(prepared).accepted
    for bit in bits:
        verdict = put(base, flipped(data, bit)).verdict(prepared)
        assert verdict.error is None or verdict.error.id != "verifier.internal", bit
        if verdict.authentic is not False:
            found.append(bit)
    return found


def indifferent(case: AzureCase) -> set[int]:
    """Bytes of an HCL report that nobody can check: the rest of the NV index, and of a TDREPORT CPUSVN and MAC."""
    end = 1236 + len(case.hcl.claims)
    tail = set(range(end, len(case.parts.hcl_report)))
    return tail if case.tee is Tee.AZ_SNP_VTPM else tail | set(range(32 + 16, 32 + 32)) | set(range(32 + 224, 32 + 256))


def in_quote(name: str) -> Callable[[AzureCase, bytes], AzureCase]:
    return lambda case, data: case.with_parts(tpm_quote=replace(case.parts.tpm_quote, **{name: data}))


@BOTH
def test_one_bit_of_each_byte_of_the_report_turned_over_is_noticed(kind):
    """All of them in the slow tests."""
    case, chosen = azure_case(kind), random.Random(kind)
    data = case.parts.hcl_report
    expected = indifferent(case)
    bits = [8 * byte + chosen.randrange(8) for byte in range(0, len(data), 6) if byte not in expected]
    assert accepted_bits(case, data, bits, AzureCase.with_hcl) == []


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_the_report_turned_over_is_noticed_but_where_nobody_can(kind, bit):
    case = azure_case(kind)
    data = case.parts.hcl_report
    found = accepted_bits(case, data, range(bit, 8 * len(data), 8), AzureCase.with_hcl)
    assert [position // 8 for position in found] == sorted(indifferent(case))


@BOTH
@pytest.mark.parametrize("name", ["message", "signature"])
@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_bits_of_the_quote_turned_over_are_noticed(kind, name, step):
    case = azure_case(kind)
    data = getattr(case.parts.tpm_quote, name)
    assert accepted_bits(case, data, range(0, 8 * len(data), step), in_quote(name)) == []


@BOTH
def test_a_bit_of_each_pcr_value_turned_over_is_noticed(kind):
    case = azure_case(kind)
    for index, value in enumerate(case.parts.tpm_quote.pcrs):
        def put(base: AzureCase, data: bytes, index: int = index) -> AzureCase:
            pcrs = list(base.parts.tpm_quote.pcrs)
            pcrs[index] = data
            return in_quote("pcrs")(base, tuple(pcrs))
        assert accepted_bits(case, value, range(index, 256, 61), put) == []


def test_bits_of_the_td_quote_turned_over_are_noticed():
    case, chosen = azure_case("tdx"), random.Random(1)
    data = case.parts.endorsement
    bits = [8 * byte + chosen.randrange(8) for byte in range(0, 1258, 4)]
    found = accepted_bits(case, data, bits, lambda c, d: c.with_parts(endorsement=d))
    # The type of the certification data may say that the chain lies elsewhere: then nothing is decided.
    assert all(case.with_parts(endorsement=flipped(data, bit)).verdict().authentic is None for bit in found)
    assert len(found) <= 2


@BOTH
def test_truncated_parts_are_refused(kind):
    case = replace(azure_case(kind), evidence=azure_case(kind).sent, binding=UNBOUND)
    parts, prepared = case.parts, Prepared()
    end = 1236 + len(case.hcl.claims)
    for size in range(0, end, 11):
        assert case.with_hcl(parts.hcl_report[:size]).verdict(prepared).authentic is False
    for name, data in (("message", parts.tpm_quote.message), ("signature", parts.tpm_quote.signature)):
        for size in range(0, len(data), 5):
            assert in_quote(name)(case, data[:size]).verdict(prepared).authentic is False, (name, size)


@settings(max_examples=30)
@given(kind=st.sampled_from(["snp", "tdx"]), data=st.binary(max_size=400))
def test_any_bytes_for_any_part_give_a_documented_answer(kind, data):
    case = replace(azure_case(kind), evidence=azure_case(kind).sent)
    variants = [case.with_hcl(data), case.with_hcl(case.parts.hcl_report[:1236] + data),
                case.with_parts(endorsement=data), in_quote("message")(case, data), in_quote("signature")(case, data),
                replace(case, evidence=Evidence(case.tee, data)), case.with_certificates(data)]
    for variant in variants:
        verdict = variant.verdict()
        assert isinstance(verdict.error, DOCUMENTED), verdict.error
        assert verdict.authentic is not True


@settings(max_examples=40)
@given(kind=st.sampled_from(["snp", "tdx"]), start=st.integers(0, 1300), data=st.binary(min_size=1, max_size=60))
def test_any_bytes_written_over_the_report_are_refused(kind, start, data):
    case = replace(azure_case(kind), evidence=azure_case(kind).sent)
    good = case.parts.hcl_report
    bad = good[:start] + data + good[start + len(data):]
    changed = {index for index, (before, after) in enumerate(zip(good, bad, strict=True)) if before != after}
    assert case.with_hcl(bad).verdict().authentic is (changed <= indifferent(case))


# -- kinds kept apart --------------------------------------------------------------------------------------------------


def test_the_report_of_the_other_kind_of_vm_is_refused():
    snp, tdx = azure_case("snp"), azure_case("tdx")
    for case, other in ((snp, tdx), (tdx, snp)):
        mixed = case.with_hcl(other.parts.hcl_report)
        assert mixed.refusal() == "hcl_report.report_type"
        verdict = replace(case, evidence=replace(other.sent, tee=case.tee)).verdict()
        assert (verdict.authentic, verdict.error.id) == (False, "format.az_json")


def test_a_header_that_calls_the_report_by_the_other_kind_is_refused():
    for kind, report_type in (("snp", ReportType.TDX), ("tdx", ReportType.SNP)):
        case = azure_case(kind)
        data = replace(HclReport.from_bytes(case.parts.hcl_report), report_type=report_type).to_bytes()
        assert case.with_hcl(data).refusal() == "hcl_report.report_type"


@BOTH
def test_a_verdict_is_plain_values_ready_for_json(kind):
    told = azure_case(kind).verdict().to_dict()
    assert json.loads(json.dumps(told))["claims"]["tpm_quote"]["magic"] == "ff544347"


def test_the_small_hardware_is_not_trusted_by_default():
    for kind in ("snp", "tdx"):
        assert replace(azure_case(kind), roots=Roots.makers()).verdict().authentic is False
