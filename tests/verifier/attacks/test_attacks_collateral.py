"""Published ways in which collateral was misused, tried here (docs/attacks.md, C): Intel's documents, chains, lists."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from verifier import Binding, Collateral, Expectations, Verifier
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import IntelCollateral
from verifier.endorsements.intel import CA_KINDS
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension, Revoked
from verifier.software_tee.intel import SmallIntel
from verifier.software_tee.intel_levels import LEVELS
from verifier.software_tee.intel_platform import Platform

UNBOUND = Binding.insecure_unbound()
KINDS = ("tdx-v5-td15", "sgx-v3")
each_kind = pytest.mark.parametrize("kind", KINDS)
SOMEBODY = ((x509.COMMON_NAME, "Somebody"),)


def refusal(case: Any) -> tuple[bool | None, str]:
    verdict = case.verdict()
    assert verdict.accepted is False
    return verdict.authentic, verdict.error.id.partition(".")[2] if verdict.authentic is False else verdict.error.id


# -- C-01 rollback within the window -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("document", "member"), [("tcb_info", "minimum_evaluation_number"),
                                                  ("qe_identity", "minimum_qe_evaluation_number")])
@each_kind
def test_c01_older_documents_are_refused_below_a_floor(intel_case, kind, document, member):
    """Correctly signed and in date, but from before; TCB info and QE identity each have a number of their own."""
    older = intel_case(kind).altered(**{document: lambda d: replace(d, evaluation_number=17)})
    assert older.verdict().accepted
    for floor, accepted in ((17, True), (18, False)):
        verdict = replace(older, expectations=Expectations(**{member: floor})).verdict()
        assert verdict.accepted is accepted
    assert [check.id for check in verdict.mismatches] == [f"{older.tee}.expect.{member}"]
    other = next(m for m in ("minimum_evaluation_number", "minimum_qe_evaluation_number") if m != member)
    assert replace(older, expectations=Expectations(**{other: 18})).verdict().accepted


# -- C-02 time ---------------------------------------------------------------------------------------------------------

HOUR = 3600
# Everything that has dates, how to set its last second, and how to set its first; the names are of its rule.
ENDS = {
    "pck_chain.leaf.validity": ("pck", "not_after", "not_before"),
    "pck_chain.intermediate.validity": ("platform_ca", "not_after", "not_before"),
    "tcb_info.issuer_chain.leaf.validity": ("tcb_signing", "not_after", "not_before"),
    "tcb_info": ("tcb_info", "next_update", "issue_date"), "qe_identity": ("qe_identity", "next_update", "issue_date"),
    "root_ca_crl.validity": ("root_crl", "next_update", "this_update"),
    "pck_crl.validity": ("pck_crl", "next_update", "this_update"),
}


@each_kind
@pytest.mark.parametrize("rule", [*ENDS, "root"])
def test_c02_everything_is_good_up_to_its_last_second_and_the_verdict_says_which(intel_case, kind, rule):
    """CRLs end one second before nextUpdate, the rest after its last second; what ends first ends the verdict."""
    case = intel_case(kind)
    end = case.at + HOUR
    if rule == "root":
        limited = case.altered(root=lambda p: replace(p, not_after=end))
        limited, rule, last = limited.trusting(limited.maker.chain("root")), "pck_chain.root.validity", end
    else:
        name, last_field, _ = ENDS[rule]
        limited = case.altered(**{name: lambda a: replace(a, **{last_field: end})})
        last = end - 1 if rule.endswith("crl.validity") else end
        rule += ".next_update" if rule in ("tcb_info", "qe_identity") else ""
    assert limited.verdict().valid_until == last
    for at in (last - 1, last):
        assert replace(limited, at=at).verdict().accepted
    assert refusal(replace(limited, at=last + 1)) == (False, rule)


@each_kind
@pytest.mark.parametrize("rule", [*ENDS, "root"])
def test_c02_nothing_counts_before_its_first_second(intel_case, kind, rule):
    case = intel_case(kind)
    start = case.at + HOUR
    if rule == "root":
        later = case.altered(root=lambda p: replace(p, not_before=start))
        later, rule = later.trusting(later.maker.chain("root")), "pck_chain.root.validity"
    else:
        name, _, first_field = ENDS[rule]
        later = case.altered(**{name: lambda a: replace(a, **{first_field: start})})
        rule += ".issue_date" if rule in ("tcb_info", "qe_identity") else ""
    assert refusal(replace(later, at=start - 1)) == (False, rule)
    for at in (start, start + 1):
        assert replace(later, at=at).verdict().accepted


@each_kind
def test_c02_windows_that_never_meet_are_refused_at_every_moment(intel_case, kind):
    case = intel_case(kind)
    apart = case.altered(tcb_info=lambda t: replace(t, next_update=case.at),
                         qe_identity=lambda q: replace(q, issue_date=case.at + 1))
    for at in (case.at - 1, case.at, case.at + 1, case.at + 2):
        assert refusal(replace(apart, at=at))[0] is False


@each_kind
def test_c02_prepared_trust_ends_with_what_it_rests_on(intel_case, kind):
    """Judged again and again with one store, across every edge and back."""
    case, prepared = intel_case(kind), Prepared()
    limited = case.altered(tcb_info=lambda t: replace(t, next_update=case.at + 10),
                           pck_crl=lambda c: replace(c, next_update=case.at + 5))
    limited = replace(limited, quote=limited.raw)
    for at, good in ((0, True), (4, True), (5, False), (4, True), (11, False), (-20, False), (3, True)):
        moment = replace(limited, at=case.at + at)
        assert moment.verdict(prepared).accepted is good, at
        assert moment.verdict(prepared).to_dict() == moment.verdict().to_dict()


# -- C-03 revocation ---------------------------------------------------------------------------------------------------

LISTS = {"root_crl": ("root_ca_crl", "root"), "pck_crl": ("pck_crl", "platform_ca")}
BAD_LISTS = {
    "expired": (lambda c, p: replace(p, next_update=c.at), "validity"),
    "not yet valid": (lambda c, p: replace(p, this_update=c.at + 1), "validity"),
    "another issuer": (lambda c, p: replace(p, issuer=SOMEBODY), "issuer"),
    "the right issuer with another key": (lambda c, p: replace(p, signer=c.other.key("root")), "signature"),
    "signed by the signing leaf": (lambda c, p: replace(p, signer=c.maker.key("tcb_signing")), "signature"),
    "another key identifier": (lambda c, p: p.changed(x509.authority_key_identifier(bytes(20))), "authority_key"),
    "without nextUpdate": (lambda c, p: replace(p, next_update=None), "next_update"),
    "indirect": (lambda c, p: p.changed(Extension(x509.ISSUING_POINT, der.sequence(der.implicit(4, b"\xff")), True)),
                 "scope"),
    "for some reasons only": (lambda c, p: p.changed(Extension(
        x509.ISSUING_POINT, der.sequence(der.implicit(3, b"\x06\x40")), True)), "scope"),
    "a delta": (lambda c, p: p.changed(Extension(x509.DELTA_CRL, der.integer(1), True)), "scope"),
    "an unknown critical extension": (lambda c, p: p.changed(Extension("1.2.3", der.NULL, True)), "scope"),
    "an entry with a critical extension": (lambda c, p: replace(p, revoked=(Revoked(
        5, c.at - 9, extensions=(Extension("1.2.3", der.NULL, True),)),)), "entry"),
    "SHA-1": (lambda c, p: replace(p, signer=replace(p.signer, digest="sha1")), "signature.algorithm"),
}


@each_kind
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("fault", BAD_LISTS)
def test_c03_a_list_that_is_not_good_refuses(intel_case, kind, name, fault):
    case, (make, reason) = intel_case(kind), BAD_LISTS[fault]
    assert refusal(case.altered(**{name: lambda p: make(case, p)})) == (False, f"{LISTS[name][0]}.{reason}")


@each_kind
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(("value", "reason"), [(None, "collateral.{}"), (b"", "collateral.crl"),
                                               (b"\x30\x00", "collateral.crl")])
def test_c03_without_a_list_nothing_is_decided(intel_case, kind, name, value, reason):
    member = LISTS[name][0]
    assert refusal(intel_case(kind).given(**{member: value})) == (None, reason.format(member))


@each_kind
def test_c03_lists_do_not_stand_in_for_each_other(intel_case, kind):
    """A certificate that is not found in the wrong list is not thereby good."""
    case = intel_case(kind)
    members = case.intel_collateral
    assert refusal(case.given(pck_crl=members.root_ca_crl)) == (False, "pck_crl.issuer")
    assert refusal(case.given(root_ca_crl=members.pck_crl)) == (False, "root_ca_crl.issuer")
    processor = replace(case, maker=case.maker.on(Platform(ca="processor")))
    assert refusal(case.given(pck_crl=processor.maker.pck_crl)) == (False, "pck_crl.issuer")
    assert refusal(case.trusting(case.other.chain("root")).given(pck_crl=case.other.pck_crl)) == (
        False, "pck_crl.authority_key")


@each_kind
@pytest.mark.parametrize(("crl", "role", "reason"), [
    ("pck_crl", "pck", "pck_chain.leaf.revoked"), ("root_crl", "platform_ca", "pck_chain.intermediate.revoked"),
    ("root_crl", "tcb_signing", "tcb_info.issuer_chain.leaf.revoked"),
])
@pytest.mark.parametrize("reason_code", [None, 0, 1, 6, 8, 10])
def test_c03_whatever_is_listed_is_refused_whatever_the_reason(intel_case, kind, crl, role, reason, reason_code):
    """removeFromCRL (8) has no place in a full list and clears nobody."""
    case = intel_case(kind)
    entries = (Revoked(1, case.at - 50), Revoked(case.maker.serial(role), case.at - 50, reason_code),
               Revoked(1 << 158, case.at - 50))
    assert refusal(case.altered(**{crl: lambda p: replace(p, revoked=entries)})) == (False, reason)


@each_kind
def test_c03_other_serial_numbers_do_not_matter(intel_case, kind):
    case = intel_case(kind)
    serials = [1, case.maker.serial("root"), *(case.maker.serial("pck") ^ 1 << bit for bit in range(0, 150, 7))]
    assert case.altered(pck_crl=lambda p: p.revoking(*serials)).verdict().accepted


# -- C-05 the right signature on the wrong document --------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize(("tcb", "qe"), list(product(["sgx", "tdx"], ["QE", "TD_QE", "QVE"])))
@pytest.mark.parametrize("family", ["own", "other"])
@pytest.mark.parametrize("ca", ["platform", "processor"])
def test_c05_of_all_combinations_only_the_diagonal_passes(intel_case, kind, tcb, qe, family, ca):
    """Each document is genuine and signed; only the pair for this TEE, family and CA is about this quote."""
    case = intel_case(kind)
    other = case.maker.on(Platform(fmspc=b"\x00OTHER"))
    info = (case.maker if family == "own" else other).tcb_info(tcb)
    renamed = case.altered(qe_identity=lambda q: replace(q, id=qe))
    identity = renamed.maker.qe_identity("tdx" if qe == "TD_QE" else "sgx")
    crl = case.maker.on(Platform(ca=ca)).pck_crl
    verdict = case.given(
        tcb_info=info.text, tcb_info_signature=info.signature, qe_identity=identity.text,
        qe_identity_signature=identity.signature, pck_crl=crl).verdict()
    right = (case.tee.value, "TD_QE" if case.tee == "tdx" else "QE", "own", "platform")
    assert verdict.accepted is ((tcb, qe, family, ca) == right)
    if not verdict.accepted:
        reason = verdict.error.id.partition(".")[2]
        assert reason in ("tcb_info.id", "qe_identity.id", "tcb_info.fmspc", "pck_crl.issuer")


@each_kind
@pytest.mark.parametrize("case_of", [str.upper, str.lower, lambda text: "".join(
    c.upper() if i % 2 else c.lower() for i, c in enumerate(text))])
def test_c05_the_family_is_compared_as_bytes(intel_case, kind, case_of):
    case = intel_case(kind).on(fmspc=bytes.fromhex("00a0bcdef0ab"))
    assert case.altered(tcb_info=lambda t: replace(t, document=lambda told: told | {
        "fmspc": case_of(told["fmspc"]), "pceId": case_of(told["pceId"])})).verdict().accepted


@each_kind
@pytest.mark.parametrize(("document", "change"), [
    ("tcb_info", {"version": 1}), ("tcb_info", {"version": 4}), ("tcb_info", {"tcbType": 1}),
    ("tcb_info", {"id": "sgx"}), ("qe_identity", {"version": 1}), ("qe_identity", {"version": 3}),
    ("qe_identity", {"id": "td_qe"}),
])
def test_c05_versions_and_types_that_nobody_knows_are_not_read(intel_case, kind, document, change):
    case = intel_case(kind).altered(**{document: lambda d: replace(d, document=lambda told: told | change)})
    assert refusal(case) == (None, f"collateral.{document}")


def test_c05_version_two_serves_enclaves_and_no_tds(intel_case):
    def flat(told: dict[str, Any]) -> dict[str, Any]:
        levels = []
        for level in told["tcbLevels"]:
            svns = {f"sgxtcbcomp{i:02d}svn": c["svn"] for i, c in enumerate(level["tcb"]["sgxtcbcomponents"], 1)}
            levels.append(level | {"tcb": svns | {"pcesvn": level["tcb"]["pcesvn"]}})
        kept = {name: value for name, value in told.items() if name not in ("id", "tdxModule", "tdxModuleIdentities")}
        return kept | {"version": 2, "tcbLevels": levels}

    for kind, expected in (("sgx-v3", None), ("tdx-v4", "tcb_info.id")):
        case = intel_case(kind).altered(tcb_info=lambda t: replace(t, document=flat))
        if expected is None:
            assert case.verdict().accepted
        else:
            assert refusal(case) == (False, expected)


# -- C-06 the wrong level ----------------------------------------------------------------------------------------------


def test_c06_the_status_of_the_levels_for_tds_counts_for_tds(intel_case):
    """The same components are fine for enclaves and revoked for TDs: each TEE has its own document."""
    broken = tuple(replace(level, status="Revoked") for level in LEVELS)
    case = intel_case("tdx-v4").altered(tcb_info=lambda t: replace(
        t, levels=broken if t.id == "TDX" else t.levels))
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.status) == (True, False, "Revoked")
    enclave = replace(intel_case("sgx-v3"), maker=case.maker).verdict()
    assert enclave.status == "UpToDate"


@each_kind
def test_c06_the_first_level_of_the_file_is_not_preferred(intel_case, kind):
    case = intel_case(kind)
    for order in (tuple(reversed(LEVELS)), (LEVELS[-1], *LEVELS[:-1]), LEVELS):
        levels = order if case.tee == "tdx" else tuple(replace(level, tdx=None) for level in order)
        verdict = case.altered(tcb_info=lambda t, levels=levels: replace(t, levels=levels)).verdict()
        assert (verdict.status, verdict.accepted) == ("UpToDate", True)


# -- C-07 caches and hooks ---------------------------------------------------------------------------------------------


def judge_of(case: Any) -> Verifier:
    return Verifier(case.trusted)


def judged(judge: Verifier, case: Any) -> Any:
    return judge.verify(case.evidence, binding=UNBOUND, collateral=Collateral(intel=case.intel_collateral), at=case.at)


BAD_CASES = {
    "chain": lambda c: c.altered(pck=lambda p: replace(p, signer=c.other.key("platform_ca"))),
    "QE report": lambda c: c.altered(qe_report=lambda r: replace(r, signer=c.other.key("pck"))),
    "attestation key": lambda c: c.altered(quote=lambda q: replace(
        q, signer=c.other.attestation_key, attestation_key=c.other.attestation_key.public_xy)),
    "quote": lambda c: c.altered(quote=lambda q: replace(q, signer=c.other.attestation_key)),
    "TCB info": lambda c: c.given(tcb_info_signature=bytes(63) + b"\x01"),
    "revoked leaf": lambda c: c.altered(pck_crl=lambda p: p.revoking(c.maker.serial("pck"))),
    "revoked CA": lambda c: c.altered(root_crl=lambda p: p.revoking(c.maker.serial("platform_ca"))),
    "other QE": lambda c: c.altered(qe_report=lambda r: replace(r, report=replace(r.report, mr_signer=bytes(32)))),
    "old QE": lambda c: c.altered(qe_report=lambda r: replace(r, report=replace(r.report, isv_svn=1))),
    "old platform": lambda c: c.on(components=(0,) * 16),
    "other family": lambda c: c.altered(tcb_info=lambda t: replace(t, fmspc=bytes(6))),
}


@each_kind
@pytest.mark.parametrize("name", BAD_CASES)
def test_c07_bad_after_good_and_good_after_bad_with_one_verifier(intel_case, kind, name):
    good = intel_case(kind)
    bad = BAD_CASES[name](good)
    for order in ((good, bad, good, bad), (bad, good, bad, good)):
        judge = judge_of(good)
        for case in order:
            verdict = judged(judge, case)
            assert verdict.accepted is (case is good)
            assert verdict.to_dict() == case.verdict().to_dict()


@each_kind
def test_c07_hostile_collateral_of_one_call_does_not_touch_the_next(intel_case, kind):
    """Another maker's whole set, signed by himself, and pieces of it."""
    case = intel_case(kind)
    judge, theirs = judge_of(case), IntelCollateral(**case.other.collateral(case.tee))
    for _ in range(2):
        hostile = judge.verify(case.evidence, binding=UNBOUND, collateral=Collateral(intel=theirs), at=case.at)
        assert hostile.error.id == f"{case.tee}.tcb_info.issuer_chain.root"
        for name in theirs.__dataclass_fields__:
            judged(judge, case.given(**{name: getattr(theirs, name)}))
        assert judged(judge, case).accepted


def test_c07_a_shared_store_keeps_verifiers_with_other_roots_apart(intel_case):
    """What one has established under its roots is nothing to one that does not trust them."""
    case, prepared = intel_case(), Prepared()
    arguments = {"binding": UNBOUND, "collateral": Collateral(intel=case.intel_collateral), "at": case.at}
    trusting = Verifier(case.trusted, prepared=prepared)
    makers = Verifier(prepared=prepared)
    for _ in range(2):
        assert trusting.verify(case.evidence, **arguments).accepted
        assert makers.verify(case.evidence, **arguments).error.id == "tdx.pck_chain.root"


def test_c07_sixteen_threads_judge_good_and_bad_of_two_tees_with_one_verifier(intel_case):
    cases = []
    for kind in KINDS:
        good = intel_case(kind)
        cases += [(good, True), *((BAD_CASES[name](good), False) for name in ("quote", "revoked leaf", "old platform"))]
    frozen = [(case.evidence, Collateral(intel=case.intel_collateral), case.verdict().to_dict(), accepted)
              for case, accepted in cases]
    judge, at = judge_of(intel_case()), intel_case().at

    def work(seed: int) -> int:
        order = random.Random(seed).choices(frozen, k=25)
        wrong = 0
        for evidence, collateral, expected, accepted in order:
            verdict = judge.verify(evidence, binding=UNBOUND, collateral=collateral, at=at)
            wrong += verdict.accepted is not accepted or verdict.to_dict() != expected
        return wrong

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(work, range(16))) == 0


def test_c07_a_small_store_forgets_and_judges_the_same(intel_case):
    case = intel_case()
    small = Verifier(case.trusted, prepared=Prepared(1))
    for _ in range(3):
        for candidate in (case, intel_case("sgx-v3"), BAD_CASES["revoked leaf"](case)):
            assert judged(small, candidate).to_dict() == candidate.verdict().to_dict()


def test_c07_verified_documents_cannot_be_rewritten(intel_case):
    """What a signature was checked for is frozen; there is no hook between checking and use."""
    from verifier.endorsements.tcb_info import TcbInfo

    info = TcbInfo.from_json(intel_case().maker.tcb_info("tdx").text)
    for name in ("levels", "fmspc", "window"):
        with pytest.raises(AttributeError):
            setattr(info, name, ())
    with pytest.raises(AttributeError):
        info.levels[0].status = "UpToDate"
    assert isinstance(info.levels, tuple)


# -- several sets ------------------------------------------------------------------------------------------------------


def sets(*makers_and_tees: tuple[SmallIntel, str]) -> Collateral:
    return Collateral.none().joined(
        [Collateral(intel=IntelCollateral(**maker.collateral(tee))) for maker, tee in makers_and_tees])


@each_kind
def test_c04_the_set_is_chosen_by_the_verified_certificate_and_verified_again(intel_case, kind):
    """Sets for other TEEs, families and makers lie beside it; a forged hint only picks what is then refused."""
    case = intel_case(kind)
    other_family, stranger = case.maker.on(Platform(fmspc=b"\x00OTHER")), case.other
    around = [(other_family, "tdx"), (other_family, "sgx"), (case.maker, "tdx"), (case.maker, "sgx")]
    for order in (around, around[::-1]):
        verdict = judge_of(case).verify(case.evidence, binding=UNBOUND, collateral=sets(*order), at=case.at)
        assert verdict.accepted, verdict.error
    only_others = judge_of(case).verify(case.evidence, binding=UNBOUND, collateral=sets(*around[:2]), at=case.at)
    assert (only_others.authentic, only_others.error.id) == (None, "collateral.intel")
    forged = judge_of(case).verify(case.evidence, binding=UNBOUND, at=case.at,
                                   collateral=sets((stranger, case.tee), (other_family, case.tee)))
    assert (forged.authentic, forged.error.id) == (False, f"{case.tee}.tcb_info.issuer_chain.root")


def test_c04_of_several_sets_in_date_the_newest_counts(intel_case):
    """An older one cannot be brought in by standing first."""
    case = intel_case()
    older = case.altered(tcb_info=lambda t: replace(t, evaluation_number=17, levels=(
        replace(LEVELS[0], sgx=(0,), pce_svn=0, tdx=(0, 0, 0)),)))
    newer = case.altered(tcb_info=lambda t: replace(t, evaluation_number=19, levels=(
        replace(LEVELS[0], status="OutOfDate"),)))
    for order in ((older, newer), (newer, older)):
        collateral = sets(*((each.maker, "tdx") for each in order))
        verdict = judge_of(case).verify(case.evidence, binding=UNBOUND, collateral=collateral, at=case.at)
        assert (verdict.status, verdict.claims.named()["tcb"]["evaluation_number"]) == ("OutOfDate", 19)


def test_the_names_of_the_cas_are_two():
    assert set(CA_KINDS.values()) == {"platform", "processor"}
