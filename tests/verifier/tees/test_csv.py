"""The CSV recipe as a whole: what it claims, keeps and tells unverified, and that no bit goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier.checks.csv import Endorsed
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, HygonCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import ALWAYS
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.csv_json import evidence_to_json
from verifier.formats.csv_report import CsvReport
from verifier.formats.hygon_cert import CsvCertificate
from verifier.results.verdict import Verdict
from verifier.software_tee.hygon import SmallHygon
from verifier.tees.csv import CsvRecipe
from verifier.verify import inspect, verify

AT = 1_780_000_000
DATA, HOST_DATA = bytes(range(64)), bytes(range(64, 128))
HYGON = SmallHygon.create(b"the small Hygon of recipes", at=AT)
OTHER = SmallHygon.create(b"the other Hygon of recipes", at=AT)
CHAIN = HygonCollateral((HYGON.certificate("hsk"), HYGON.certificate("cek")))
ROOTS = Roots.only_software([HYGON.certificate("hrk")])
KINDS = ("v1", "v1-raw", "v2", "v2-raw", "v3")
FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@dataclass(frozen=True)
class Subject:
    """Evidence that is authentic, and the trust to judge its alterations with."""

    quote: bytes
    collateral: HygonCollateral = CHAIN
    roots: Roots = ROOTS
    certificates: tuple[bytes, ...] = ()
    prepared: Prepared = field(default_factory=Prepared)

    def judge(self, quote: bytes | None = None, binding: Binding | None = None, at: int = AT) -> Verdict:
        evidence = Evidence(Tee.CSV, self.quote if quote is None else quote, self.certificates)
        return verify(evidence, collateral=Collateral(hygon=self.collateral), roots=self.roots, at=at,
                      binding=binding or Binding.insecure_unbound(), prepared=self.prepared)


def quote_of(kind: str, maker: SmallHygon = HYGON) -> bytes:
    chosen = replace(maker, raw=kind.endswith("raw"))
    version = int(kind[1])
    return chosen.report(version, chosen.info(version, DATA, HOST_DATA))


def subject_of(kind: str) -> Subject:
    subject = Subject(quote_of(kind))
    assert subject.judge().accepted
    return subject


@pytest.fixture
def genuine(corpus) -> Subject:
    folder: Path = corpus.folder("csv/csvrs-v1-full-chain")
    subject = Subject((folder / "report.cert").read_bytes(), HygonCollateral(((folder / "hsk_cek.cert").read_bytes(),)),
                      Roots.makers())
    assert subject.judge().authentic is True
    return subject


# -- claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_guest_bound_is_compared(kind):
    subject = subject_of(kind)
    init_data = HOST_DATA if kind == "v3" else b""
    verdict = subject.judge(binding=Binding(DATA, init_data if kind == "v3" else None))
    assert verdict.accepted
    assert (verdict.claims.report_data, verdict.claims.init_data) == (DATA, init_data)
    for position in range(64):
        wrong = DATA[:position] + bytes((DATA[position] ^ 1,)) + DATA[position + 1:]
        refused = subject.judge(binding=Binding(wrong))
        assert (refused.authentic, refused.accepted) == (True, False)
    for other in (DATA[:63], DATA + b"\x00", DATA[:32], b""):
        assert not subject.judge(binding=Binding(other)).accepted


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_init_data_that_no_field_carries_is_not_there(kind):
    for demanded in (bytes(64), bytes(32), HOST_DATA):
        assert not subject_of(kind).judge(binding=Binding(DATA, demanded)).accepted


def test_claims_are_named_as_hygon_names_the_fields():
    names = {kind: set(subject_of(kind).judge().claims.body) for kind in KINDS}
    assert names["v1"] == names["v1-raw"] == {
        "version", "user_pubkey_digest", "vm_id", "vm_version", "report_data", "mnonce", "measure", "policy",
        "csv_policy", "sig_usage", "sig_algo", "anonce", "unverified"}
    assert names["v2"] == names["v2-raw"] == (names["v1"] - {"anonce"}) | {
        "build", "rtmr_version", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "rtmr4"}
    assert names["v3"] == names["v2"] | {"host_data"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_claimed_is_what_the_guest_is(kind):
    claims = subject_of(kind).judge().claims
    guest = HYGON.guest
    told = claims.named()
    for name in ("measure", "user_pubkey_digest", "vm_id", "vm_version", "mnonce"):
        assert told[name] == getattr(guest, name)
    assert told["csv_policy"] == guest.policy.to_bytes(4, "little")
    assert told["policy"]["raw"] == "0x45"
    assert (told["policy"]["nodbg"], told["policy"]["es"], told["policy"]["csv3"]) == (1, 1, 1)
    assert told["pek"]["fw"] == [1, 4]
    assert told["hrk"]["key_id"] == HYGON.key_id("hrk")
    assert (claims.valid_until, claims.status, claims.software) == (ALWAYS.not_after, None, True)


@pytest.mark.parametrize("kind", KINDS)
def test_debugging_is_the_one_objection_and_every_other_bit_is_told(kind):
    version, maker = int(kind[1]), replace(HYGON, raw=kind.endswith("raw"))
    for bit in range(32):
        info = replace(maker.info(version), policy=0x45 ^ 1 << bit)
        verdict = Subject(maker.report(version, info)).judge()
        assert verdict.authentic is True
        assert verdict.flags == (("CSV_DEBUG_ALLOWED",) if bit == 0 else ())
        assert verdict.accepted is (bit != 0)
        assert verdict.claims.body["policy"]["raw"] == hex(0x45 ^ 1 << bit)


def test_a_refusal_for_debugging_names_it():
    info = replace(HYGON.info(2), policy=0x44)
    verdict = Subject(HYGON.report(2, info)).judge()
    assert [check.id for check in verdict.mismatches] == ["csv.accept.csv_debug_allowed"]


@pytest.mark.parametrize("kind", KINDS)
def test_inspection_tells_what_verification_proves(kind):
    subject = subject_of(kind)
    assert inspect(Evidence(Tee.CSV, subject.quote)) == dict(subject.judge().claims.body)


def test_a_serial_number_that_nobody_told_is_absent():
    quote = replace(HYGON, serial_number=b"").report(1, HYGON.info(1))
    assert "unverified" not in Subject(quote).judge().claims.body


@pytest.mark.parametrize("kind", KINDS)
def test_json_and_raw_evidence_give_one_verdict(kind):
    subject = subject_of(kind)
    certificates = (HYGON.certificate("hsk"), HYGON.certificate("cek"))
    text = json.dumps(evidence_to_json(Evidence(Tee.CSV, subject.quote, certificates))).encode()
    alone = replace(subject, collateral=HygonCollateral())
    verdict = alone.judge(text)
    assert verdict.accepted
    assert verdict.claims == subject.judge().claims
    assert alone.judge(b" " + text).accepted
    assert alone.judge().authentic is None


# -- prepared trust ----------------------------------------------------------------------------------------------------


def test_what_is_prepared_gives_the_same_claims_and_the_same_trail():
    subject = Subject(quote_of("v1"))
    cold, warm = subject.judge(), subject.judge()
    assert len(subject.prepared) == 1
    assert (warm.claims, [check.id for check in warm.checks]) == (cold.claims, [check.id for check in cold.checks])


def test_a_warm_verification_reads_no_certificate_of_the_chain(monkeypatch):
    subject = subject_of("v1")
    monkeypatch.setattr("verifier.checks.csv.read_supplied", None)
    monkeypatch.setattr("verifier.checks.csv.verify_chain", None)
    other = HYGON.report(1, HYGON.info(1, bytes(64)))
    assert subject.judge(other).claims.report_data == bytes(64)


def test_a_warm_verification_still_checks_the_report():
    subject = subject_of("v1")
    forged = HYGON.altered(report=lambda r: replace(r, signer=OTHER.key("pek"))).report(1, HYGON.info(1))
    assert subject.judge(forged).error.id == "csv.report.signature"


def test_other_inputs_do_not_meet_prepared_trust():
    subject = subject_of("v1")
    for other, why in ((replace(subject, roots=Roots.makers()), "csv.chain.root"),
                       (replace(subject, collateral=HygonCollateral(CHAIN.certificates[:1])), "collateral.hygon.cek"),
                       (replace(subject, certificates=(b"junk",)), "format.hygon_certs"),
                       (replace(subject, certificates=(OTHER.certificate("cek"),)), None)):
        verdict = other.judge()
        assert (verdict.error.id if verdict.error else None) == why
    other_pek = HYGON.altered(pek=lambda p: replace(p, signers=(OTHER.key("cek"), None)))
    assert subject.judge(quote_of("v1", other_pek)).error.id == "csv.pek.signature"
    assert subject.judge().accepted


def test_a_refused_chain_is_never_kept():
    subject = Subject(quote_of("v1"), roots=Roots.makers())
    for _ in range(2):
        assert subject.judge().error.id == "csv.chain.root"
    assert len(subject.prepared) == 0
    assert subject.prepared.find(Endorsed, "anything", AT) is None


def test_hygons_trust_has_no_dates(genuine):
    for at in (0, AT, ALWAYS.not_after):
        verdict = genuine.judge(at=at)
        assert (verdict.authentic, verdict.valid_until) == (True, ALWAYS.not_after)


# -- no bit unnoticed --------------------------------------------------------------------------------------------------


def flips(data: bytes, start: int, end: int, step: int = 1) -> Iterator[tuple[int, bytes]]:
    altered = bytearray(data)
    for bit in range(8 * start, 8 * end, step):
        altered[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(altered)
        altered[bit // 8] ^= 1 << bit % 8


# Bits that mean nothing: the owner's signature, which nobody can verify, and what the guest library leaves of the
# signer, which nobody signed. Where the firmware's HMAC is still whole, it covers both.
OWNER_R, OWNER_S, SERIAL_NUMBER, MAC = (1564 + 8, 1564 + 40), (1564 + 80, 1564 + 112), (2084, 2148), (2180, 2212)


def indifferent(quote: bytes) -> set[int]:
    """The bytes of ``quote`` in which a bit may be turned over unnoticed."""
    report = CsvReport.from_bytes(quote)
    if report.as_firmware_wrote_it:
        return set()
    signer = len(quote) - 2212 if report.version == 1 else 20 + 0x490
    return {signer + position for start, end in (OWNER_R, OWNER_S, SERIAL_NUMBER, MAC)
            for position in range(start, end)}


# The bit of the flags that makes version 2 version 3, whose host data is then zeros.
VERSION_3 = (8 * 16 + 1, 2)


def signed(verdict: Verdict) -> tuple[object, ...]:
    """What is claimed, without what nobody signs."""
    unsigned = ("unverified", "version", "host_data")
    body = {name: value for name, value in verdict.claims.body.items() if name not in unsigned}
    return body, verdict.claims.endorsement, verdict.claims.report_data, verdict.claims.init_data


def every_bit_counts(subject: Subject, step: int) -> int:
    """Flips every ``step``-th bit; gives how many."""
    ignored, expected, turned = indifferent(subject.quote), subject.judge(), 0
    report = CsvReport.from_bytes(subject.quote)
    for bit, quote in flips(subject.quote, 0, len(subject.quote), step):
        verdict, turned = subject.judge(quote), turned + 1
        if verdict.authentic is not False:
            assert bit // 8 in ignored or (bit, report.version) == VERSION_3, (bit // 8, bit % 8)
            # The signed part and everything claimed of it are the same: only the unverified name may differ.
            assert signed(verdict) == signed(expected)
        assert verdict.error is None or verdict.error.id != "verifier.internal"
    return turned


@pytest.mark.parametrize("kind", ["v1", "v1-raw", "v3"])
def test_a_sample_of_bits_counts(kind):
    assert every_bit_counts(subject_of(kind), 59) > 340


SAMPLED = [pytest.param(13, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("step", SAMPLED)
def test_the_bits_of_what_is_signed_and_of_the_signature_count_in_genuine_evidence(genuine, step):
    """Also of the mask, and of usage and algorithm, which version 1 does not sign."""
    turned = 0
    for bit, quote in flips(genuine.quote, 0, 0x150, step):
        verdict = genuine.judge(quote)
        assert verdict.authentic is False, bit
        reasons = {"csv.report.signature", "csv.report.signature.encoding", "csv.report.signature.range",
                   "csv.report.sig_usage", "csv.report.sig_algo"}
        assert verdict.error.id in reasons, (bit, verdict.error)
        turned += 1
    assert turned == -(-8 * 0x150 // step)


@pytest.mark.parametrize("step", SAMPLED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_of_what_is_signed_and_of_the_signature_count(kind, step):
    subject = subject_of(kind)
    start, end = (0, 0x150) if kind.startswith("v1") else (0, 20 + 0x490)
    for bit, quote in flips(subject.quote, start, end, step if kind.startswith("v1") else 3 * step):
        verdict = subject.judge(quote)
        if (bit, int(kind[1])) == VERSION_3:
            assert (verdict.claims.body["host_data"], verdict.claims.init_data) == (bytes(64), b"")
            continue
        assert verdict.authentic is False, bit


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_at_all_counts(kind):
    """Of the longer reports every third: each bit of a byte gets its turn."""
    subject = subject_of(kind)
    step = 1 if kind.startswith("v1") else 3
    assert every_bit_counts(subject, step) == -(-8 * len(subject.quote) // step)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_bit_at_all_of_genuine_evidence_counts(genuine):
    assert indifferent(genuine.quote) == set()
    assert every_bit_counts(genuine, 1) == 8 * 2548


def chain_flips(subject: Subject, data: bytes, step: int) -> None:
    for bit, altered in flips(data, 0, len(data), step):
        verdict = replace(subject, collateral=HygonCollateral((altered,)), prepared=Prepared(0)).judge()
        assert verdict.authentic is not True, bit
        assert verdict.error.id != "verifier.internal"


def test_a_sample_of_bits_of_the_genuine_chain_counts(genuine):
    chain_flips(genuine, genuine.collateral.certificates[0], 211)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_third_bit_of_the_genuine_chain_counts(genuine):
    chain_flips(genuine, genuine.collateral.certificates[0], 3)


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_cut_off_anywhere_is_refused(kind):
    subject = subject_of(kind)
    for size in range(0, len(subject.quote), 3):
        verdict = subject.judge(subject.quote[:size])
        assert verdict.authentic is False
        assert verdict.error.id.startswith(("format.", "csv."))


def test_json_cut_off_anywhere_is_refused():
    text = json.dumps(evidence_to_json(Evidence(Tee.CSV, quote_of("v1")))).encode()
    for size in range(1, len(text), 97):
        assert Subject(b"").judge(text[:size]).authentic is False


@FIXTURES
@given(st.one_of(st.binary(max_size=3000), st.binary(min_size=2548, max_size=2548),
                 st.binary(min_size=4096, max_size=4096)))
def test_any_bytes_are_refused_with_a_documented_error(data):
    verdict = Subject(b"").judge(data)
    assert verdict.authentic is False
    assert verdict.error.id != "verifier.internal"


@FIXTURES
@given(st.lists(st.binary(max_size=2100), max_size=3), st.lists(st.binary(max_size=2100), max_size=3))
def test_any_bytes_beside_a_report_are_a_documented_error(certificates, supplied):
    subject = Subject(quote_of("v1"), HygonCollateral(tuple(supplied)), certificates=tuple(certificates))
    verdict = subject.judge()
    assert verdict.authentic is not True
    assert verdict.error.id != "verifier.internal"


@settings(FIXTURES, max_examples=150)
@given(data=st.data())
def test_a_certificate_with_any_field_changed_is_refused(data):
    """Not signed again: the PEK of another certificate is never this one's."""
    report = CsvReport.from_bytes(quote_of("v2"))
    pek = CsvCertificate.from_bytes(report.signer.pek)
    name = data.draw(st.sampled_from(["version", "firmware_major", "firmware_minor", "reserved_006", "usage",
                                      "algorithm", "curve", "uid_size"]))
    value = data.draw(st.integers(0, 250))
    changed = replace(report, signer=replace(report.signer, pek=replace(pek, **{name: value}).to_bytes()))
    verdict = Subject(changed.to_bytes()).judge()
    assert verdict.authentic is (getattr(pek, name) == value)


def test_the_recipe_is_the_one_of_its_tee():
    assert CsvRecipe().tee is Tee.CSV
