"""Published ways in which verifiers failed, tried here: Azure's virtual TPM (docs/attacks.md, O-01, O-02, O-05, O-09,
and S-05 of the SNP report inside). Whatever is changed is signed again, so that only the rule under test can refuse."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from struct import pack_into

import pytest

from tests.verifier.azure_cases import INIT_DATA, NONCE, AzureCase, azure_case
from verifier import Binding, Expectations, Roots
from verifier.collateral.files import load
from verifier.formats import az_snp_json
from verifier.formats.hcl_report import HclReport
from verifier.formats.runtime_claims import ATTESTATION_KEY
from verifier.formats.snp_report import VMPL_HOST
from verifier.formats.tpm import HashAlg
from verifier.loose.folder import read
from verifier.software_tee.azure_parts import Jwk, select
from verifier.verify import verify

BOTH = pytest.mark.parametrize("kind", ["snp", "tdx"])
CLAIMS_AT, LENGTH_AT, DATA_SIZE_AT, REPORT_SIZE_AT = 1236, 1232, 1216, 8


def mismatches(case: AzureCase) -> set[str]:
    """What an authentic case is not accepted for."""
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted) == (True, False), verdict.error
    return {check.id.removeprefix(f"{case.tee}.") for check in verdict.mismatches}


# -- O-01 user data signed beside the quote ----------------------------------------------------------------------------


@BOTH
def test_o01_data_of_another_quote_by_the_same_key_is_not_bound(kind):
    case = azure_case(kind)
    one, other = case.maker.tpm_quote(NONCE, INIT_DATA), case.maker.tpm_quote(b"attacker" * 6, INIT_DATA)
    assert case.with_parts(tpm_quote=one).verdict().accepted
    assert mismatches(case.with_parts(tpm_quote=other)) == {"binding.report_data"}
    grafted = case.with_parts(tpm_quote=replace(one, signature=other.signature))
    assert grafted.refusal() == "tpm_quote.signature"


@BOTH
def test_o01_a_byte_moved_from_data_to_nonce_is_another_value(kind):
    case = azure_case(kind)
    for told in (NONCE[1:], NONCE + INIT_DATA[:1], NONCE[:-1]):
        moved = case.with_parts(tpm_quote=case.maker.tpm_quote(told, INIT_DATA))
        assert mismatches(moved) == {"binding.report_data"}


@BOTH
def test_o01_user_data_in_the_runtime_claims_binds_nothing(kind):
    """The paravisor puts it there whenever the guest asks; it says nothing of when, or of whose quote it is."""
    case = azure_case(kind)
    vm = replace(case.maker.vm, user_data=NONCE.ljust(64, b"\x00"))
    stale = replace(case, maker=replace(case.maker, vm=vm))
    stale = stale.with_parts(tpm_quote=stale.maker.tpm_quote(b"yesterday's", INIT_DATA))
    assert stale.verdict().claims.body["user_data"] == NONCE.ljust(64, b"\x00")
    assert mismatches(stale) == {"binding.report_data"}


# -- O-02 PCR values outside the signed selection ----------------------------------------------------------------------

ATTACKER = hashlib.sha256(bytes(32) + hashlib.sha256(b"attacker's init data").digest()).digest()


@BOTH
@pytest.mark.parametrize("selections", [
    (), (select(()),), (select(range(24), HashAlg.SHA1),), (select([8]), select([8])),
    (select(range(24)), select(range(24), HashAlg.SHA1)), (select(range(24), HashAlg.SHA1), select(range(24))),
], ids=["none", "of no PCR", "SHA-1 only", "8 twice", "two banks", "two banks the other way"])
def test_o02_only_one_selection_of_the_agreed_bank_is_a_quote(kind, selections):
    case = azure_case(kind).altered(tpm_quote=lambda q: q.selecting(*selections))
    assert case.refusal() == "tpm_quote.pcr_selection"


@BOTH
def test_o02_init_data_in_an_unselected_pcr_8_is_nobodys(kind):
    """A genuine machine quotes all PCRs but 8 and sends the value that the verifier wants to see."""
    case = replace(azure_case(kind), binding=Binding(NONCE, ATTACKER))
    spoofed = case.altered(tpm_quote=lambda q: replace(q, pcrs=(*q.pcrs[:8], ATTACKER, *q.pcrs[9:])).selecting(
        select(pcr for pcr in range(24) if pcr != 8)))
    assert spoofed.parts.tpm_quote.pcrs[8] == ATTACKER
    assert mismatches(spoofed) == {"binding.init_data"}
    claims = spoofed.verdict().claims
    assert claims.init_data == b""
    assert ATTACKER.hex() not in json.dumps(spoofed.verdict().to_dict()["claims"])


@BOTH
def test_o02_a_selected_pcr_8_with_another_value_gives_another_digest(kind):
    case = azure_case(kind).altered(tpm_quote=lambda q: replace(q, pcrs=(*q.pcrs[:8], ATTACKER, *q.pcrs[9:])))
    assert replace(case, binding=Binding(NONCE, ATTACKER)).refusal() == "tpm_quote.pcr_digest"


# -- O-05 the nonce ----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("expected", [
    NONCE[:-1], NONCE[:32], NONCE + b"\x00", NONCE.ljust(64, b"\x00"), hashlib.sha256(NONCE).digest(),
    hashlib.sha384(NONCE).digest(), NONCE[::-1], NONCE.hex().encode(), bytes(48), b"",
])
def test_o05_the_nonce_is_compared_whole_and_untransformed(kind, expected):
    assert mismatches(replace(azure_case(kind), binding=Binding(expected, INIT_DATA))) == {"binding.report_data"}


@BOTH
def test_o05_an_empty_nonce_in_the_quote_meets_no_expectation(kind):
    case = azure_case(kind)
    empty = case.with_parts(tpm_quote=case.maker.tpm_quote(b"", INIT_DATA))
    for expected in (NONCE, b"", bytes(64)):
        assert mismatches(replace(empty, binding=Binding(expected, INIT_DATA))) == {"binding.report_data"}


# -- O-09 Azure --------------------------------------------------------------------------------------------------------


@BOTH
def test_o09_the_report_of_one_vm_with_the_quote_of_another_is_refused(kind):
    a = azure_case(kind)
    b = replace(a, maker=a.other)
    assert b.with_certificates().verdict().authentic is True
    assert a.with_parts(tpm_quote=b.parts.tpm_quote).refusal() == "tpm_quote.signature"
    assert a.with_parts(hcl_report=b.parts.hcl_report).with_certificates().refusal() == (
        "tpm_quote.signature" if kind == "snp" else "td_quote.report_data")


def test_o09_a_td_quote_of_one_vm_with_the_report_of_another_is_refused():
    a = azure_case("tdx")
    b = replace(a, maker=a.other)
    assert a.with_parts(endorsement=b.parts.endorsement).refusal() == "td_quote.report_data"


def test_o09_a_recorded_report_with_the_recorded_quote_of_another_vm_is_refused(corpus):
    names = ("azure/snp-trustee-v1", "azure/snp-trustee-v2")
    folders = [corpus.folder(name) for name in names]
    a, b = (az_snp_json.parts_of(read(folder)) for folder in folders)
    for mine, other, folder in ((a, b, folders[0]), (b, a, folders[1])):
        grafted = az_snp_json.evidence_of(replace(mine, tpm_quote=other.tpm_quote))
        verdict = verify(grafted, collateral=load([folder]), roots=Roots.makers(), at=1_760_000_000,
                         binding=Binding.insecure_unbound())
        assert (verdict.authentic, verdict.error.id) == (False, "az-snp-vtpm.tpm_quote.signature")
    neg = corpus.folder("azure/neg-tpm-quote-of-other-ak")
    verdict = verify(read(neg), collateral=load([neg]), roots=Roots.makers(), at=1_700_000_000,
                     binding=Binding.insecure_unbound())
    assert (verdict.authentic, verdict.error.id) == (False, "az-snp-vtpm.tpm_quote.signature")


@BOTH
@pytest.mark.parametrize("first", [True, False])
def test_o09_a_second_attestation_key_in_the_claims_is_refused(kind, first):
    """Hashed by the paravisor and signed by the hardware, and refused all the same: which one would count?"""
    case = azure_case(kind)
    stranger = Jwk(ATTESTATION_KEY, case.other.key("ak").modulus)
    both = case.altered(claims=lambda m: replace(m, keys=(stranger, *m.keys) if first else (*m.keys, stranger)))
    assert both.refusal() == "ak.count"
    assert both.with_parts(tpm_quote=case.other.tpm_quote(NONCE, INIT_DATA)).refusal() == "ak.count"


@BOTH
def test_o09_claims_with_one_member_twice_are_refused(kind):
    """A lenient reader keeps the last ``keys``, a streaming one the first."""
    case = azure_case(kind)
    stranger = json.dumps({"keys": [Jwk(ATTESTATION_KEY, case.other.key("ak").modulus).to_members()]})
    for mutate in (lambda t: t[:-1] + b"," + stranger[1:].encode(), lambda t: stranger[:-1].encode() + b"," + t[1:],
                   lambda t: t.replace(b'"kid":"HCLAkPub"', b'"kid":"HCLEkPub","kid":"HCLAkPub"')):
        assert case.altered(claims=lambda m, mutate=mutate: replace(m, mutate=mutate)).refusal() == "format.json"


@BOTH
@pytest.mark.parametrize("pad", [lambda t: t + b" ", lambda t: b" " + t, lambda t: t + b"\n" * 20,
                                 lambda t: t.replace(b",", b", ", 1)])
def test_o09_padded_claims_have_another_hash(kind, pad):
    case = azure_case(kind).altered(hcl=lambda h: replace(h, claims=pad(h.claims)))
    assert case.refusal() == "hcl.report_data"


@BOTH
def test_o09_claims_padded_with_what_is_no_json_are_refused_whatever_their_hash(kind):
    for pad in (b"\x00", b"\x00" * 20, b"{}", b",", b"\xef\xbb\xbf"):
        case = azure_case(kind).altered(claims=lambda m, pad=pad: replace(m, mutate=lambda t: t + pad))
        assert case.refusal() == "format.json"


def resized(data: bytes, step: int, *offsets: int) -> bytes:
    changed = bytearray(data)
    for offset in offsets:
        pack_into("<I", changed, offset, int.from_bytes(data[offset : offset + 4], "little") + step)
    return bytes(changed)


@BOTH
@pytest.mark.parametrize("step", [-1, 1])
def test_o09_lengths_off_by_one_are_refused(kind, step):
    """Alone, and all three together, where the claims then lack a byte or have one of the tail."""
    case = azure_case(kind)
    data = case.parts.hcl_report
    for offset in (LENGTH_AT, DATA_SIZE_AT, REPORT_SIZE_AT):
        assert case.with_hcl(resized(data, step, offset)).refusal() == "format.hcl_report"
    together = resized(data, step, LENGTH_AT, DATA_SIZE_AT, REPORT_SIZE_AT)
    assert case.with_hcl(together).refusal() == "format.json"
    spaced = bytearray(together)
    end = CLAIMS_AT + len(case.hcl.claims)
    if step == 1:
        spaced[end] = 0x20
        assert case.with_hcl(bytes(spaced)).refusal() == "hcl.report_data"


@BOTH
def test_o09_the_rest_of_the_nv_index_is_neither_read_nor_claimed(kind):
    case = azure_case(kind)
    end = CLAIMS_AT + len(case.hcl.claims)
    stuffed = case.parts.hcl_report[:end] + b'{"keys":[],"CANARY":1}'.ljust(2600 - end, b"\xee")
    verdict = case.with_hcl(stuffed).verdict()
    assert verdict.accepted
    assert verdict.claims == case.verdict().claims


@BOTH
def test_o09_short_reports_are_refused_without_a_fault(kind):
    case = azure_case(kind)
    for size in (0, 3, 4, 31, 32, 33, 1215, 1216, 1217, 1235, 1236, 1237, 1300):
        assert case.with_hcl(case.parts.hcl_report[:size]).refusal() == "format.hcl_report"


@BOTH
def test_o09_a_nonce_in_the_hardware_report_only_is_refused(kind):
    """There the paravisor's hash must be; the nonce lives in the quote."""
    case = azure_case(kind)
    told = NONCE.ljust(64, b"\x00")
    placed = case.altered(snp=lambda r: replace(r, report_data=told), td=lambda b: replace(b, report_data=told),
                          tdreport=lambda r: replace(r, report_data=told))
    assert placed.refusal() == "hcl.report_data"
    hardware = replace(case, binding=Binding(case.hcl.claims_digest, INIT_DATA))
    assert mismatches(hardware) == {"binding.report_data"}


@BOTH
@pytest.mark.parametrize("upper", [b"\x01" + bytes(31), bytes(31) + b"\x80", b"\xff" * 32])
def test_o09_the_upper_half_of_the_report_data_is_zero(kind, upper):
    case = azure_case(kind)
    told = case.hcl.claims_digest[:32] + upper
    changed = case.altered(snp=lambda r: replace(r, report_data=told), td=lambda b: replace(b, report_data=told),
                           tdreport=lambda r: replace(r, report_data=told))
    assert changed.refusal() == "hcl.report_data"


@BOTH
def test_o09_the_key_comes_from_the_claims_and_from_nowhere_else(kind):
    """A certificate of the cloud's own authority for a stranger's key, which signs: the claims name another key."""
    case = azure_case(kind)
    forged = case.with_parts(tpm_quote=case.other.tpm_quote(NONCE, INIT_DATA))
    assert forged.refusal() == "tpm_quote.signature"
    certified = case.altered(ak=lambda p: replace(p, public_key=case.other.key("ak").public_key),
                             tpm_quote=lambda q: replace(q, signer=case.other.key("ak")))
    assert certified.refusal() == "tpm_quote.signature"


@BOTH
def test_o09_pcr_8_is_the_extension_of_the_digest_and_not_the_digest(kind):
    digest = hashlib.sha256(b"init data").digest()
    extended = hashlib.sha256(bytes(32) + digest).digest()
    case = azure_case(kind)
    with_it = case.with_parts(tpm_quote=case.maker.tpm_quote(NONCE, extended))
    assert replace(with_it, binding=Binding(NONCE, extended)).verdict().accepted
    for wrong in (digest, hashlib.sha256(digest).digest(), hashlib.sha256(digest + bytes(32)).digest()):
        assert mismatches(replace(with_it, binding=Binding(NONCE, wrong))) == {"binding.init_data"}


def test_o09_the_kind_of_hash_is_not_the_attackers_choice():
    """The header is not signed: it may name another hash, under which the hardware signed something else."""
    case = azure_case()
    for kind in (2, 3):
        data = resized(case.parts.hcl_report, kind - 1, 1228)
        assert HclReport.from_bytes(data).claims_hash == kind
        assert case.with_hcl(data).refusal() == "hcl.report_data"


# -- S-05 VMPL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vmpl", "rule"), [
    (1, "hcl.vmpl"), (2, "hcl.vmpl"), (3, "hcl.vmpl"), (VMPL_HOST, "hcl.vmpl"), (4, "report.vmpl"),
    (0xFFFFFFFE, "report.vmpl")])
def test_s05_a_report_that_the_paravisor_did_not_ask_for_is_refused(vmpl, rule):
    """Below VMPL 0 the guest asks for its own reports, and would name its own attestation key in them."""
    assert azure_case().altered(snp=lambda r: replace(r, vmpl=vmpl)).refusal() == rule


def test_s05_no_expectation_allows_another_level():
    case = azure_case().altered(snp=lambda r: replace(r, vmpl=2))

    allowed = replace(case, expectations=Expectations(allowed_flags=("VMPL2",), vmpl=(2,)))
    assert allowed.refusal() == "hcl.vmpl"
