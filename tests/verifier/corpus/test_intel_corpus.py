"""Every recorded TDX and SGX quote, with every appraisal the index lists, against what is expected of it.

The index was made with Intel's own algorithm and with dcap-qvl; both are asked again here, case by case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dcap_qvl
import pytest

from verifier import Binding, Evidence, Roots, Tee, Verdict, Verifier
from verifier.collateral.files import load
from verifier.endorsements.collateral import Collateral
from verifier.results.verdict import jsonable

UNBOUND = Binding.insecure_unbound()
# The recorded set has no PCK CRL of that week; revocation cannot be decided, so neither can the verdict.
NO_PCK_CRL = {("tdx/oasis-v4-c0806f", "collateral.json"), ("sgx/mobilecoin-00906ed", "collateral-3.json")}
# dcap-qvl makes policy out of these; Intel's library and this verifier report them (docs/divergences.md).
DCAP_QVL_POLICY = ("Debug mode is enabled", "Invalid MR service TD", "SEPT_VE_DISABLE is not enabled")


def quote_of(folder: Path) -> bytes:
    name = "quote.bin" if (folder / "quote.bin").exists() else "quote.dat"
    return (folder / name).read_bytes()


def verdict_on(folder: Path, case: dict[str, Any], appraisal: dict[str, Any], at: int) -> Verdict:
    roots = Roots.makers()
    if "trust_anchor" in appraisal:
        roots = roots.with_software([(folder / appraisal["trust_anchor"]).read_bytes()])
    evidence = Evidence(Tee(case["tee"]), quote_of(folder))
    collateral = load([folder / appraisal["collateral"]])
    return Verifier(roots).verify(evidence, binding=UNBOUND, collateral=collateral, at=at)


@pytest.mark.corpus("tdx", "sgx")
def test_each_appraisal_gives_the_expected_status_advisories_flags_and_claims(corpus, case):
    folder = corpus.folder(case)
    for appraisal in case["appraisals"]:
        reference = appraisal["reference"]
        if "status" not in reference:
            continue
        verdict = verdict_on(folder, case, appraisal, appraisal["at"])
        told = (verdict.status, list(verdict.advisory_ids))
        assert told == (reference["status"], reference["advisory_ids"]), appraisal["collateral"]
        if (case["case"], appraisal["collateral"]) in NO_PCK_CRL:
            assert verdict.authentic is None
            assert verdict.error.id == "collateral.pck_crl"
            continue
        assert list(verdict.flags) == reference["policy_flags"]
        assert verdict.authentic is (reference["status"] != "NotSupported")
        if verdict.authentic:
            _check_claims(verdict, case, reference)


def _check_claims(verdict: Verdict, case: dict[str, Any], reference: dict[str, Any]) -> None:
    claims = verdict.to_dict()["claims"]
    expected = case["expected"]
    assert {name: claims[name] for name in expected["claims"]} == expected["claims"]
    for name, value in expected.get("pck", {}).items():
        if name in claims["pck"] and name != "root_sha256":
            assert claims["pck"][name] == value, name
    if "tcb_date" in reference:
        assert claims["tcb"]["date"] == reference["tcb_date"]
        assert claims["tcb"]["qe_status"] == reference["qe_status"]
    current = reference.get("current_tcb")
    assert (claims["tcb"]["current"] is None) == (current is None)
    if current:
        assert claims["tcb"]["current"]["status"] == current["status"]


@pytest.mark.corpus("tdx", "sgx")
def test_each_boundary_moment_is_judged_as_recorded(corpus, case):
    """One second before a CRL's thisUpdate dcap-qvl accepts; this verifier does not believe lists from the future."""
    folder = corpus.folder(case)
    for appraisal in case["appraisals"]:
        window = appraisal.get("valid_window")
        for moment, told in (appraisal.get("boundaries") or {}).items():
            edge, _, offset = moment.partition("-" if "-" in moment else "+")
            at = window[f"{edge}_unix"] + (int(offset) if "+" in moment else -int(offset or 0))
            verdict = verdict_on(folder, case, appraisal, at)
            if told.startswith("error"):
                assert verdict.authentic is False, moment
            elif moment == "not_before-1":
                assert verdict.error.id.endswith("_crl.validity"), moment
            else:
                assert (verdict.authentic, verdict.status) == (True, told), moment


@pytest.mark.corpus("tdx", "sgx")
def test_the_last_second_told_is_the_last_one_that_holds(corpus, case):
    folder = corpus.folder(case)
    for appraisal in case["appraisals"]:
        if appraisal.get("valid_window") is None:
            continue
        verdict = verdict_on(folder, case, appraisal, appraisal["at"])
        if verdict.authentic:
            assert verdict_on(folder, case, appraisal, verdict.valid_until).authentic is True
            assert verdict_on(folder, case, appraisal, verdict.valid_until + 1).authentic is False


@pytest.mark.corpus("tdx", "sgx")
def test_evidence_that_is_not_to_be_believed_is_refused_or_left_undecided(corpus, case):
    expected = case["expected"]["verdict"]
    folder = corpus.folder(case)
    evidence = Evidence(Tee(case["tee"]), quote_of(folder))
    without = Verifier().verify(evidence, binding=UNBOUND, at=1_700_000_000)
    assert without.authentic is not True
    if expected.startswith("parse-only"):
        assert without.authentic is None
        assert without.exit_code == 2
    if expected.startswith("invalid") and not case["appraisals"]:
        assert without.authentic is False


def test_the_preproduction_root_of_the_same_name_is_not_trusted(corpus):
    folder = corpus.folder("tdx/neg-preproduction-root-v4")
    verdict = Verifier().verify(Evidence(Tee.TDX, quote_of(folder)), binding=UNBOUND, at=1_700_000_000)
    assert verdict.error.id == "tdx.pck_chain.root"


def test_a_test_root_counts_only_where_it_is_named_and_is_marked_software(corpus):
    case = corpus.case("sgx/intel-qvl-sample-testroot")
    folder, appraisal = corpus.folder(case), case["appraisals"][0]
    named = verdict_on(folder, case, appraisal, appraisal["at"])
    assert named.authentic is True
    assert named.claims.software is True
    unnamed = verdict_on(folder, case, {k: v for k, v in appraisal.items() if k != "trust_anchor"}, appraisal["at"])
    assert (unnamed.authentic, unnamed.error.id) == (False, "sgx.pck_chain.root")


def test_loose_files_do_as_well_as_a_bundle(corpus):
    """PCK certificate, chains, CRLs and PCS answers as separate files give the same verdict as the bundle."""
    case = corpus.case("sgx/intel-qvl-sample-testroot")
    folder, at = corpus.folder(case), case["appraisals"][0]["at"]
    names = ("pckCert.pem", "pckSignChain.pem", "tcbInfo.json", "tcbSignChain.pem", "qeIdentity.json",
             "intermediateCaCrl.der", "rootCaCrl.der")
    collateral = load([folder / name for name in names])
    roots = Roots.makers().with_software([(folder / "trustedRootCaCert.pem").read_bytes()])
    verdict = Verifier(roots).verify(Evidence(Tee.SGX, quote_of(folder)), binding=UNBOUND, collateral=collateral, at=at)
    assert (verdict.authentic, verdict.status) == (True, "UpToDate")


def test_collateral_whose_windows_never_met_is_refused_at_every_moment(corpus):
    case = corpus.case("sgx/neg-signal-collateral-never-valid")
    folder = corpus.folder(case)
    recorded = next(a for a in case["appraisals"] if a["collateral"] == "collateral-recorded.json")
    for at in (1_619_000_000, 1_622_000_000, 1_625_900_000, 1_651_700_000, 1_654_000_000, 1_700_000_000):
        assert verdict_on(folder, case, recorded, at).authentic is False


@pytest.mark.corpus("tdx", "sgx")
def test_dcap_qvl_agrees_wherever_it_takes_part(corpus, case):
    """The same quote, collateral and moment put to dcap-qvl now; see docs/divergences.md for what may differ."""
    folder = corpus.folder(case)
    for appraisal in case["appraisals"]:
        if appraisal.get("at") is None or "trust_anchor" in appraisal:
            continue
        ours = verdict_on(folder, case, appraisal, appraisal["at"])
        theirs = _ask_dcap_qvl(folder, appraisal)
        if isinstance(theirs, tuple):
            assert theirs == (ours.status, list(ours.advisory_ids)), appraisal["collateral"]
            assert ours.authentic is True
        elif any(reason in theirs for reason in DCAP_QVL_POLICY):
            assert ours.authentic in (True, False)
            assert ours.accepted is False, theirs
        elif "missing field `sgxtcbcomponents`" in theirs:
            assert ours.claims.tcb["tcb"]["evaluation_number"] > 0  # TCB info version 2, which dcap-qvl does not read
        else:
            assert ours.authentic is not True, theirs


def _ask_dcap_qvl(folder: Path, appraisal: dict[str, Any]) -> tuple[str, list[str]] | str:
    try:
        collateral = dcap_qvl.QuoteCollateralV3.from_json((folder / appraisal["collateral"]).read_text())
        report = dcap_qvl.verify(quote_of(folder), collateral, appraisal["at"])
    except ValueError as error:
        return str(error)
    return report.status, list(report.advisory_ids)


def test_claims_are_plain_values_ready_for_json(corpus):
    case = corpus.case("tdx/dcapqvl-v4-b0c06f")
    verdict = verdict_on(corpus.folder(case), case, case["appraisals"][0], case["appraisals"][0]["at"])
    assert verdict.accepted
    assert jsonable(verdict.claims.named())["pck"]["fmspc"] == "b0c06f000000"


def test_without_collateral_nothing_is_decided_but_a_forgery_is_refused(corpus):
    quote = bytearray(quote_of(corpus.folder("tdx/dcapqvl-v4-b0c06f")))
    genuine = Verifier().verify(Evidence(Tee.TDX, bytes(quote)), binding=UNBOUND, collateral=Collateral.none(),
                                at=1_761_000_000)
    assert (genuine.authentic, genuine.error.id) == (None, "collateral.intel")
    quote[200] ^= 1
    forged = Verifier().verify(Evidence(Tee.TDX, bytes(quote)), binding=UNBOUND, at=1_761_000_000)
    assert (forged.authentic, forged.error.id) == (False, "tdx.quote.signature")
