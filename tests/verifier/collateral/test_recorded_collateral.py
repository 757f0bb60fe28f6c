"""What Intel and AMD really published is judged to be good, at its moment and under the makers' own roots."""

from __future__ import annotations

import pytest

from verifier.collateral import kds, pcs
from verifier.collateral.conductor import gather
from verifier.collateral.files import load
from verifier.collateral.hints import hints_of
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.judge import Beside, judge
from verifier.endorsements.chain import read_certificates
from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.verify import verify

ROOTS = Roots.makers()
DAY = 86_400
# What was recorded without the pieces that a test is about.
WITHOUT_SET = {"sgx/certtype3-fortanix", "sgx/certtype3-oasis", "sgx/intel-qvl-sample-testroot",
               "sgx/neg-fortanix-corrupted", "tdx/neg-preproduction-root-v4"}
WITHOUT_WHOLE_SET = WITHOUT_SET | {"tdx/oasis-v4-c0806f"}
WITHOUT_CERTIFICATE = {
    "snp/kds-crl-openpcc", "snp/milan-v2-vcek-azure-trustee", "snp/milan-v2-vlek-aws-flashbots",
    "snp/milan-v2-vlek-aws-trustee-old", "snp/milan-v3-vcek-azure-aci", "snp/milan-v3-vlek-aws-trustee",
    "snp/milan-v4-gce-openpcc-nocert", "snp/neg-lit-malformed", "snp/neg-vcek-of-other-chip"}


def items_of(found: IntelCollateral) -> list[Item]:
    """One recorded set as it would have been fetched; of pieces that were not recorded there is no item."""
    tee, source = found.family.tee.lower(), "recorded"
    parts = {
        pcs.tcb_info_name(Tee(tee), found.family.fmspc, "standard"): {
            "document": found.tcb_info, "signature": found.tcb_info_signature,
            "issuer_chain": found.tcb_info_issuer_chain},
        Name(Kind.QE_IDENTITY, (tee, "standard")): {
            "document": found.qe_identity, "signature": found.qe_identity_signature,
            "issuer_chain": found.qe_identity_issuer_chain},
        Name(Kind.ROOT_CRL): {"crl": found.root_ca_crl},
        Name(Kind.PCK_CRL, ("platform" if b"Platform" in (found.pck_crl or b"") else "processor",)): {
            "crl": found.pck_crl, "issuer_chain": found.pck_crl_issuer_chain},
    }
    return [Item(name, told, source, 0) for name, told in parts.items() if None not in told.values()]


def sets_of(corpus, case) -> list[tuple[IntelCollateral, int, str]]:
    """Recorded sets with their moments and what becomes of the quote."""
    found = []
    for row in case.get("appraisals") or ():
        status, window = row["reference"].get("status"), row.get("valid_window")
        intel = load([corpus.folder(case) / row["collateral"]]).intel
        if status and window and intel is not None and intel.family is not None and "testroot" not in case["case"]:
            found.append((intel, row["at"], status))
    return found


@pytest.mark.corpus("tdx", "sgx")
def test_recorded_documents_and_lists_of_intel_hold(corpus, case):
    sets = sets_of(corpus, case)
    for intel, at, _ in sets:
        for item in items_of(intel):
            assert judge(item, ROOTS, at, Beside(intel.root_ca_crl)).own.contains(at)
    assert bool(sets) is (case["case"] not in WITHOUT_SET)


@pytest.mark.corpus("tdx", "sgx")
def test_recorded_quotes_gathered_for_give_the_status_that_they_have(corpus, case):
    """The whole way: hints from a real quote, real objects judged under the makers' roots, the recipe's verdict."""
    judged = 0
    quotes = [path for path in corpus.folder(case).iterdir() if path.name in ("quote.bin", "quote.dat")]
    for intel, at, status in sets_of(corpus, case) if quotes else ():
        evidence, items = Evidence(Tee(case["tee"]), quotes[0].read_bytes()), items_of(intel)
        if len(items) < 4:
            continue
        have = Collateral(intel=IntelCollateral(pck_chain=intel.pck_chain)) if intel.pck_chain else None
        gathered = gather(evidence, at, items=items, have=have)
        verdict = gathered.settle(verify(evidence, collateral=gathered.collateral, roots=ROOTS, at=at,
                                         binding=Binding.insecure_unbound()))
        if hints_of(evidence).intel.reference is None:
            assert verdict.status == status, (verdict.error, gathered.troubles)
            judged += 1
    assert bool(judged) is (case["case"] not in WITHOUT_WHOLE_SET)


@pytest.mark.corpus("snp")
def test_recorded_certificates_of_chips_hold_under_the_name_that_they_are_asked_for_by(corpus, case):
    folder = corpus.folder(case)
    reports = [path for path in (folder / "report.bin",) if path.is_file()]
    leaves = [path for path in folder.iterdir() if "vcek" in path.name.lower() and path.suffix in (".der", ".pem")]
    verdict = case["expected"]["verdict"]
    if not reports or len(leaves) != 1 or not verdict.startswith(("verified", "valid")):
        assert case["case"] in WITHOUT_CERTIFICATE
        return
    hints = hints_of(Evidence(Tee.SNP, reports[0].read_bytes()), [leaves[0].read_bytes()]).amd
    assert hints is not None
    assert hints.has_leaf
    assert any(hints.chip_id)
    leaf = read_certificates(leaves[0].read_bytes(), "leaf")[0]
    at, good = int(leaf.not_valid_before_utc.timestamp()) + DAY, []
    for line in hints.lines:
        item = Item(kds.vcek_name(line, hints.chip_id, hints.tcb), {"certificate": leaves[0].read_bytes()},
                    case["case"], 0)
        good.append(judge(item, ROOTS, at).own.contains(at))
    assert good == [True]
