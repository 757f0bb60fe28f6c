"""The SNP recipe as a whole: what it keeps, what it tells unverified, and that no bit goes unnoticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier.checks.prepared import Prepared
from verifier.checks.snp import Endorsed
from verifier.endorsements.collateral import AmdCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, CollateralError, EvidenceError
from verifier.evidence import Evidence, Tee
from verifier.formats.snp_report import SigningKey
from verifier.tees.snp import SnpRecipe

# Warnings of the X.509 library about names in damaged certificates; `verifier.endorsements.chain` silences them.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be")
FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def warm_case(snp_case):
    """A case whose endorsement has been prepared."""
    case = snp_case()
    case.prepared = Prepared()
    case.amd = AmdCollateral(**case.maker.collateral())
    case.verify()
    assert len(case.prepared) == 1
    return case


# -- prepared trust --------------------------------------------------------------------------------------------------


def test_what_is_prepared_gives_the_same_claims_and_the_same_trail(warm_case):
    warm, warm_trail = warm_case.verify(), [check.id for check in warm_case.trail.checks]
    warm_case.prepared = Prepared(0)
    assert warm_case.verify() == warm
    assert [check.id for check in warm_case.trail.checks] == warm_trail


def test_a_warm_verification_reads_no_certificate(warm_case, monkeypatch):
    monkeypatch.setattr("verifier.checks.snp.read_supplied", None)
    warm_case.body = replace(warm_case.body, report_data=bytes(range(64)))
    assert warm_case.verify().report_data == bytes(range(64))


def test_a_warm_verification_still_checks_the_report(warm_case):
    good = warm_case.maker.report(warm_case.body)
    warm_case.report = good[:0x50] + b"\x01" + good[0x51:]
    assert warm_case.refusal().id == "snp.report.signature"
    warm_case.report = None
    warm_case.body = replace(warm_case.body, policy=0x10000)
    assert warm_case.refusal().id == "snp.report.policy.bit17"


def test_tables_that_verdicts_share_cannot_be_changed(snp_case):
    body = snp_case(version=5, line="Turin").verify().body
    tables = [name for name, value in body.items() if isinstance(value, Mapping)]
    assert tables == ["policy_bits", "platform_info_bits", "current_tcb_decoded", "reported_tcb_decoded",
                      "committed_tcb_decoded", "launch_tcb_decoded", "cpuid"]
    for name in tables:
        with pytest.raises(TypeError):
            body[name]["debug"] = False


def test_words_that_reports_have_in_common_are_noted_with_the_same_checks(snp_case):
    def noted(**changes):
        case = snp_case(**changes)
        case.verify()
        return next(check for check in case.trail.checks if check.id == "snp.report.vmpl")

    assert noted() is noted(report_data=b"\x01" * 64)
    assert noted(vmpl=1).got == 1
    assert noted().got == 0


def test_prepared_trust_ends_with_its_window(warm_case):
    end = warm_case.verify().valid_until
    for at, rule in ((warm_case.maker.issued - 1, "snp.vcek.validity"), (end + 1, "snp.crl.validity")):
        warm_case.at = at
        assert warm_case.refusal().id == rule
    warm_case.at = end
    assert warm_case.verify().valid_until == end
    validity = [check for check in warm_case.trail.checks if check.id == "snp.endorsement.validity"]
    assert [check.got for check in validity] == [end], "the trail tells this moment, not that of preparation"


def test_other_inputs_do_not_meet_prepared_trust(warm_case, snp_maker):
    original = warm_case.amd
    revoked = snp_maker.altered(crl=lambda c: c.revoking(snp_maker.serial("ask"))).crl
    warm_case.amd = AmdCollateral(original.certificates, (revoked,))
    assert warm_case.refusal().id == "snp.chain.ask.revoked"
    warm_case.amd, warm_case.roots = original, Roots.makers()
    assert warm_case.refusal().id == "snp.chain.root"
    warm_case.roots = None
    warm_case.certificates = (snp_maker.altered(ark=lambda c: replace(c, serial=5)).certificate("ark"),)
    warm_case.verify()
    warm_case.certificates = (b"junk",)
    assert isinstance(warm_case.refusal(), EvidenceError)


@pytest.mark.parametrize("change", [
    {"chip_id": bytes(range(64))}, {"reported_tcb": bytes((4, 0, 0, 0, 0, 0, 24, 218))}, {"cpuid_model": 0x11},
    {"flags": 1 << 2}, {"version": 2, "cpuid_family": 0, "cpuid_model": 0, "cpuid_stepping": 0},
], ids=["chip id", "reported TCB", "processor", "signing key", "version"])
def test_another_platform_does_not_meet_prepared_trust(warm_case, change):
    warm_case.body = replace(warm_case.body, **change)
    if "version" in change:
        assert warm_case.verify()
        assert len(warm_case.prepared) == 2
    else:
        assert isinstance(warm_case.refusal(), CheckFailed)
        assert len(warm_case.prepared) == 1


def test_a_refused_chain_is_never_kept(snp_case, snp_maker):
    case = snp_case(maker=snp_maker.altered(vcek=lambda c: replace(c, signer=snp_maker.keys.rsa_pss("stranger"))))
    case.prepared = Prepared()
    for _ in range(2):
        assert case.refusal().id == "snp.vcek.signature"
    assert len(case.prepared) == 0
    assert case.prepared.find(Endorsed, "anything", case.at) is None


def test_good_after_bad_and_bad_after_good_are_judged_alone(warm_case, snp_maker_of, snp_case):
    genoa = snp_case(line="Genoa")
    genoa.prepared = warm_case.prepared
    for _ in range(2):
        assert warm_case.verify().endorsement["product_line"] == "Milan"
        assert genoa.verify().endorsement["product_line"] == "Genoa"
        bad = snp_case()
        bad.prepared, bad.amd = warm_case.prepared, AmdCollateral(snp_maker_of("Genoa").certificates())
        assert bad.refusal().id == "snp.report.cpuid.certificate"


# -- the trail -------------------------------------------------------------------------------------------------------

BEFORE_THE_CHAIN = ["report.signature_algo", "report.signing_key", "report.cpuid", "certificates.count",
                    "vcek.extension.struct_version", "vcek.extension.all", "report.signing_key.certificate",
                    "report.cpuid.certificate"]
PINNED = ["chain.root", "chain.ark.validity", "chain.ask.validity", "vcek.validity", "vcek.issuer", "vcek.ca",
          "vcek.key_usage", "vcek.signature.identifier", "vcek.signature.algorithm", "vcek.signature", "crl.absent"]
AFTER_THE_CHAIN = [
    "vcek.tcb.bootloader", "vcek.tcb.tee", "vcek.tcb.byte2", "vcek.tcb.byte3", "vcek.tcb.byte4", "vcek.tcb.byte5",
    "vcek.tcb.snp", "vcek.tcb.microcode", "vcek.chip_id", "endorsement.validity", "report.signature.encoding",
    "report.signature.range", "report.signature", "report.reserved_04c", "report.reserved_18b", "report.reserved_1eb",
    "report.reserved_1ef", "report.reserved_208", "report.reserved_330", "report.reserved_1f8",
    "report.current_tcb.reserved", "report.reported_tcb.reserved", "report.committed_tcb.reserved",
    "report.launch_tcb.reserved", "report.author_key_digest", "report.policy.bit17", "report.policy.reserved",
    "report.platform_info.reserved", "report.flags.reserved", "report.vmpl"]


def test_the_trail_of_genuine_evidence_names_every_rule_in_order(corpus, snp_case):
    folder, case = corpus.folder("snp/milan-v3-vcek-oak"), snp_case()
    case.report, case.roots = (folder / "report.bin").read_bytes(), Roots.makers()
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(),))
    case.verify()
    told = [check.id.removeprefix("snp.") for check in case.trail.checks if check.id != "snp.vcek.extensions"]
    assert told == [*BEFORE_THE_CHAIN, *PINNED, *AFTER_THE_CHAIN]
    assert all(check.ok for check in case.trail.checks)


def test_the_trail_says_which_root_and_whether_the_chip_is_masked(snp_case):
    case = snp_case(chip_id=bytes(64))
    case.verify()
    details = {check.id: check.detail for check in case.trail.checks}
    assert details["snp.chain.root"] == "a root added by configuration"
    assert details["snp.vcek.chip_id"] == "CHIP_ID is masked"


# -- telling without believing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("line", ["Milan", "Turin"])
def test_inspection_tells_what_verification_proves(snp_case, version, line):
    case = snp_case(version=version, line=line)
    recipe = SnpRecipe()
    told = recipe.inspect(recipe.parse(Evidence(Tee.SNP, case.maker.report(case.body))))
    proved = dict(case.verify().body)
    if version == 2 and line == "Turin":
        decoded = [name for name in proved if name.endswith("_decoded")]
        told, proved = ({k: v for k, v in claims.items() if k not in decoded} for claims in (told, proved))
    assert told == proved


def test_the_tcb_of_an_unknown_processor_is_told_undecoded(snp_case):
    recipe = SnpRecipe()
    told = recipe.inspect(recipe.parse(Evidence(Tee.SNP, snp_case(cpuid_family=0x17).body.to_bytes())))
    assert "reported_tcb_decoded" not in told
    assert "product" not in told
    assert told["cpuid"]["family"] == "0x17"


@pytest.mark.parametrize(("key", "name"), [(0, "VCEK"), (1, "VLEK"), (2, "2"), (6, "6"), (7, "NONE")])
def test_the_signing_key_is_told_by_name(snp_case, key, name):
    recipe = SnpRecipe()
    body = snp_case(flags=key << 2).body
    assert recipe.inspect(recipe.parse(Evidence(Tee.SNP, body.to_bytes())))["signing_key"] == name


def test_claims_of_later_versions_are_absent_before(snp_case):
    told = {version: set(snp_case(version=version).verify().body) for version in (2, 3, 4, 5)}
    assert told[3] - told[2] == {"cpuid", "product"}
    assert told[4] == told[3]
    assert told[5] - told[4] == {"launch_mit_vector", "current_mit_vector"}


# -- no bit unnoticed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "line", "signing_key"), [
    (3, "Milan", SigningKey.VCEK), (5, "Turin", SigningKey.VCEK),
    pytest.param(5, "Milan", SigningKey.VLEK, marks=pytest.mark.slow),
])
def test_every_single_bit_flip_is_refused(snp_case, version, line, signing_key):
    """All 1184 bytes, signed or not. With the endorsement prepared, each flip costs one signature at most."""
    case = snp_case(version=version, line=line, signing_key=signing_key)
    case.prepared = Prepared()
    good = case.maker.report(case.body)
    case.report = good
    case.verify()
    accepted = []
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        case.report = bytes(flipped)
        try:
            case.verify()
        except (CheckFailed, EvidenceError):
            continue
        accepted.append(bit)
    assert accepted == []


@FIXTURES
@given(st.binary(max_size=1300))
def test_any_bytes_are_refused_with_a_documented_error(snp_case, data):
    case = snp_case()
    case.report = data
    assert isinstance(case.refusal(), EvidenceError | CheckFailed | CollateralError)


@FIXTURES
@given(st.binary(min_size=1180, max_size=1180), st.sampled_from([2, 3, 4, 5]))
def test_any_report_that_nobody_signed_is_refused(snp_case, rest, version):
    case = snp_case()
    case.report = version.to_bytes(4, "little") + rest
    assert isinstance(case.refusal(), EvidenceError | CheckFailed)


@settings(FIXTURES, max_examples=150)
@given(data=st.data())
def test_a_damaged_certificate_is_never_more_than_refused(snp_case, data):
    """One byte changed, cut off or put in anywhere in leaf or authority."""
    case = snp_case()
    certificates = list(case.maker.certificates())
    which = data.draw(st.integers(0, 1))
    damaged = bytearray(certificates[which])
    at = data.draw(st.integers(0, len(damaged) - 1))
    kind = data.draw(st.sampled_from(["change", "cut", "insert"]))
    if kind == "change":
        damaged[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del damaged[at:]
    else:
        damaged.insert(at, data.draw(st.integers(0, 255)))
    certificates[which] = bytes(damaged)
    case.amd = AmdCollateral()
    case.certificates = tuple(certificates)
    assert isinstance(case.refusal(), EvidenceError | CheckFailed | CollateralError)


@FIXTURES
@given(st.lists(st.binary(max_size=80), max_size=4), st.lists(st.binary(max_size=80), max_size=2))
def test_any_bytes_as_collateral_are_refused_with_a_documented_error(snp_case, certificates, crls):
    case = snp_case()
    case.amd = AmdCollateral(tuple(certificates), tuple(crls))
    assert isinstance(case.refusal(), CollateralError)


@pytest.mark.slow
@pytest.mark.parametrize("artefact", ["vcek", "ask", "crl"])
def test_every_single_bit_flip_of_what_vouches_for_the_key_is_refused(snp_case, artefact):
    case = snp_case()
    leaf, ca, root = case.maker.certificates()
    good = {"vcek": leaf, "ask": ca, "crl": case.maker.crl}[artefact]
    accepted = []
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        bad = bytes(flipped)
        case.amd = AmdCollateral((bad if artefact == "vcek" else leaf, bad if artefact == "ask" else ca, root),
                                 (bad if artefact == "crl" else case.maker.crl,))
        try:
            case.verify()
        except (CheckFailed, EvidenceError, CollateralError):
            continue
        accepted.append(bit)
    assert accepted == []
