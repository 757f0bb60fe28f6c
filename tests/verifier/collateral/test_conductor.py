"""From evidence to a verdict through the makers' services: every kind of evidence, and everything that can go wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from verifier.collateral.bundle_file import Bundle
from verifier.collateral.conductor import gather
from verifier.collateral.hints import Family, hints_of
from verifier.collateral.imports import judge_all
from verifier.collateral.item import Kind
from verifier.endorsements.collateral import AmdCollateral, Collateral, IntelCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import CertificationType
from verifier.formats.snp_report import SigningKey
from verifier.software_tee.azure import SmallAzure
from verifier.testing import faults

AT = 1_780_000_000
NOW = AT + 10
DAY = 86_400


def paths(world) -> list[str]:
    return sorted(f"{request.path}?{request.query}".rstrip("?") for request in world.service.requests)


# -- Intel -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pccs", [False, True])
@pytest.mark.parametrize("tee", ["tdx", "sgx"])
def test_a_quote_is_judged_with_what_intel_serves(world, tee, pccs):
    evidence = world.tdx() if tee == "tdx" else world.sgx()
    verdict = world.verdict(evidence, world.conductor(sources=world.sources(pccs=pccs)))
    assert verdict.accepted, verdict.error
    root = "/sgx/certification/v4/rootcacrl" if pccs else "/IntelSGXRootCA.der"
    assert paths(world) == sorted([
        root, f"/{tee}/certification/v4/qe/identity", f"/{tee}/certification/v4/tcb?fmspc=00534F465400",
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"])


def test_the_second_quote_of_a_family_costs_no_request(world):
    conductor = world.conductor()
    first = conductor.gather(world.tdx(), NOW)
    again = conductor.gather(world.tdx(), NOW)
    assert world.service.count() == 4
    assert again.collateral.intel is first.collateral.intel


def test_lists_as_hexadecimal_text_are_read_too(world):
    world.serve(as_hex=True)
    assert world.verdict(world.tdx(), world.conductor(sources=world.sources(pccs=True))).accepted


@pytest.mark.parametrize("header", ["sgx-tcb-info-issuer-chain", "TCB-INFO-ISSUER-CHAIN", "SGX-TCB-Info-Issuer-Chain"])
def test_the_header_of_the_chain_is_known_in_every_case_and_by_its_older_name(world, header):
    world.service.break_("/tdx/certification/v4/tcb", faults.with_headers(
        lambda headers: {header: headers["TCB-Info-Issuer-Chain"]}))
    assert world.verdict(world.tdx()).accepted


@pytest.mark.parametrize("kind", [CertificationType.PPID_PLAIN, CertificationType.PPID_RSA2048,
                                  CertificationType.PPID_RSA3072, CertificationType.PCK_LEAF])
def test_a_quote_that_lacks_its_chain_gets_it_from_a_caching_service(world, kind):
    assert world.verdict(world.sgx(kind), world.conductor(sources=world.sources(pccs=True))).accepted
    asked = [path for path in paths(world) if "pckcert" in path]
    assert len(asked) == (0 if kind is CertificationType.PCK_LEAF else 1)
    if asked:
        assert "cpusvn=08080202040100060000000000000000&pcesvn=0d00&pceid=0000" in asked[0]
        assert ("encrypted_ppid=" in asked[0]) is (kind is CertificationType.PPID_RSA3072)


def test_without_a_caching_service_it_is_told_what_is_missing(world):
    verdict = world.verdict(world.sgx(CertificationType.PPID_PLAIN))
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.source")


def test_the_processor_ca_has_its_own_list(world):
    maker = world.intel.on(replace(world.intel.platform, ca="processor"))
    assert world.verdict(world.tdx(maker)).accepted
    assert "/sgx/certification/v4/pckcrl?ca=processor&encoding=der" in paths(world)


def test_the_early_set_is_asked_for_by_name(world):
    early = world.intel.altered(tcb_info=lambda d: replace(d, evaluation_number=19),
                                qe_identity=lambda d: replace(d, evaluation_number=19))
    world.serve(early=early)
    for update, number in (("early", 19), ("standard", 18), ("19", 19), ("18", 18)):
        verdict = world.verdict(world.tdx(), world.conductor(sources=world.sources(update=update)))
        assert verdict.claims.tcb["tcb"]["evaluation_number"] == number
    assert "/tdx/certification/v4/tcb?fmspc=00534F465400&update=early" in paths(world)
    assert "/tdx/certification/v4/tcb?fmspc=00534F465400&tcbEvaluationDataNumber=19" in paths(world)


@pytest.mark.parametrize("tee", [Tee.AZ_TDX_VTPM, Tee.AZ_SNP_VTPM])
def test_azures_evidence_is_gathered_for_by_the_hardwares_part_in_it(world, tee):
    azure = SmallAzure.create(tee, at=AT, amd=world.amd, intel=world.intel)
    evidence = azure.evidence(bytes(32))
    roots = Roots.only_software([*azure.roots().values()])
    conductor = world.conductor()
    conductor.supply.roots = roots
    verdict = world.judge(evidence, conductor.gather(evidence, NOW), roots=roots)
    assert verdict.authentic, verdict.error
    assert world.service.count() > 0


def test_hints_name_family_and_authority(world):
    assert hints_of(world.tdx()).intel.family == Family(world.intel.platform.fmspc, "platform")
    assert hints_of(world.snp()).amd.tcb == world.amd.chip.tcb.to_bytes()


# -- AMD ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3, 5])
def test_a_report_is_judged_with_what_amd_serves(world, version):
    verdict = world.verdict(world.snp(version=version))
    assert verdict.accepted, verdict.error
    assert verdict.claims.endorsement["crl_checked"]
    hwid = world.amd.chip.hwid.hex()
    assert f"/vcek/v1/Milan/{hwid}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219" in paths(world)


def test_turin_is_asked_about_with_eight_bytes_and_its_own_component(world, amd_of):
    turin = amd_of("Turin")
    world.serve(amd=(turin,))
    roots = Roots.only_software([turin.certificate("ark")])
    for version in (3, 2):
        conductor = world.conductor(cache=None)
        conductor.supply.roots = roots
        evidence = world.snp(turin, version=version)
        assert world.judge(evidence, conductor.gather(evidence, NOW), roots=roots).authentic
    assert f"/vcek/v1/Turin/{turin.chip.hwid.hex()}?fmcSPL=01&blSPL=01&teeSPL=02&snpSPL=04&ucodeSPL=71" in paths(world)


def test_a_report_that_brings_its_certificate_asks_for_the_list_only(world):
    evidence = world.snp(certificates=(world.amd.certificate("vcek"),))
    assert world.verdict(evidence).accepted
    assert [path.partition("?")[0] for path in paths(world)] == ["/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl"]


def test_a_certificate_for_another_tcb_does_not_count_as_the_reports(world):
    other = world.amd.on(replace(world.amd.chip, tcb=replace(world.amd.chip.tcb, microcode=1)))
    assert world.verdict(world.snp(certificates=(other.certificate("vcek"),))).accepted
    assert world.service.count("/vcek/v1/Milan/" + world.amd.chip.hwid.hex()) == 1


def test_a_providers_certificate_comes_with_the_report(world):
    evidence = world.snp(key=SigningKey.VLEK, certificates=(world.amd.certificate("vlek"),))
    assert world.verdict(evidence).accepted
    assert world.service.count("/vlek/v1/Milan/cert_chain") == 1
    without = world.verdict(world.snp(key=SigningKey.VLEK))
    assert (without.authentic, without.error.id) == (None, "collateral.amd.vlek")


def test_a_masked_chip_cannot_be_asked_about(world):
    body = replace(world.amd.body(), chip_id=bytes(64))
    verdict = world.verdict(Evidence(Tee.SNP, world.amd.report(body)))
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.amd.vcek")


def test_amds_own_authorities_are_pinned_and_never_asked_for(world):
    conductor = world.conductor()
    conductor.supply.roots = Roots.makers()
    conductor.gather(world.snp(), NOW)
    assert world.service.count("/vcek/v1/Milan/cert_chain") == 0


@pytest.mark.parametrize("fault", [faults.down(), faults.failing(503), faults.forged(), faults.failing(429, "9999")])
def test_acceptance_does_not_rest_on_a_list_that_could_not_be_had(world, fault):
    """Whoever is in between could otherwise keep a revocation from being seen."""
    world.service.break_("/vcek/v1/Milan/crl", fault)
    verdict = world.verdict(world.snp())
    assert (verdict.authentic, verdict.accepted) == (None, False)
    assert verdict.error.id.startswith(("collateral.fetch.", "collateral.crl"))


def test_offline_the_absence_of_a_list_is_told_as_ever(world):
    conductor = world.conductor()
    conductor.gather(world.snp(), NOW)
    from verifier.collateral import kds
    from verifier.formats.snp_report import ProductLine
    world.cache.remove(kds.crl_name(ProductLine.MILAN))
    verdict = world.verdict(world.snp(), world.offline())
    assert verdict.accepted
    assert verdict.claims.endorsement["crl_checked"] is False


def test_an_older_list_than_before_stops_acceptance_offline_as_well(world):
    from verifier.collateral import kds
    from verifier.formats.snp_report import ProductLine
    from verifier.software_tee import certificates as x509
    world.serve(amd=(world.amd.altered(crl=lambda c: c.changed(x509.crl_number(5))),))
    assert world.verdict(world.snp()).accepted
    world.cache.remove(kds.crl_name(ProductLine.MILAN))
    world.serve(amd=(world.amd,))
    verdict = world.verdict(world.snp())
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.rollback")


def test_a_revoked_authority_is_refused(world):
    revoking = world.amd.altered(crl=lambda c: c.revoking(world.amd.serial("ask")))
    world.serve(amd=(revoking,))
    verdict = world.verdict(world.snp())
    assert (verdict.authentic, verdict.error.id) == (False, "snp.chain.ask.revoked")


# -- whatever goes wrong -----------------------------------------------------------------------------------------------

PIECES = {"tdx": ["/IntelSGXRootCA.der", "/tdx/certification/v4/tcb", "/tdx/certification/v4/qe/identity",
                  "/sgx/certification/v4/pckcrl"],
          "snp": ["/vcek/v1/Milan/cert_chain", "/vcek/v1/Milan/crl", "/vcek/v1/Milan/"]}
ILLS = {
    "down": faults.down(), "404": faults.failing(404), "500": faults.failing(500), "429": faults.failing(429, "1000"),
    "empty": faults.rewritten(lambda _: b""), "junk": faults.rewritten(lambda _: b"\x30\x82junk"),
    "html": faults.rewritten(lambda _: b"<html>captive portal</html>"), "forged": faults.forged(),
    "cut": faults.cut_short(5), "elsewhere": faults.redirecting("http://169.254.169.254/"),
}


@pytest.mark.parametrize(("tee", "path"), [(tee, path) for tee, piece in PIECES.items() for path in piece])
@pytest.mark.parametrize("ill", ILLS)
def test_one_bad_answer_is_never_an_acceptance_and_says_why(world, tee, path, ill):
    world.service.break_(path, ILLS[ill])
    verdict = world.verdict(world.tdx() if tee == "tdx" else world.snp())
    assert (verdict.authentic, verdict.accepted) == (None, False)
    assert verdict.error.id.startswith("collateral."), verdict.error
    assert verdict.exit_code == 2
    world.service.mend()
    assert world.verdict(world.tdx() if tee == "tdx" else world.snp()).accepted


def test_a_forged_quote_is_refused_even_where_nothing_can_be_fetched(world):
    world.service.break_("/", faults.down())
    quote = bytearray(world.tdx().quote)
    quote[200] ^= 1
    verdict = world.verdict(Evidence(Tee.TDX, bytes(quote)))
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.quote.signature")


@pytest.mark.parametrize("tee", [tee for tee in Tee if tee not in (Tee.TDX, Tee.SGX, Tee.SNP)])
@pytest.mark.parametrize("data", [b"", b"\x00" * 5000, b"{}", b'{"device_evidence_list": []}', b"\xff" * 2548])
def test_unreadable_evidence_asks_nobody(world, tee, data):
    gathered = world.conductor().gather(Evidence(tee, data), NOW)
    assert gathered.troubles == ()
    assert world.service.count() == 0


def test_quotes_cut_at_every_length_ask_for_nothing_that_is_not_a_name(world):
    quote = world.tdx().quote
    conductor = world.offline()
    for size in range(0, len(quote), 11):
        conductor.gather(Evidence(Tee.TDX, quote[:size]), NOW)
    report = world.snp().quote
    for size in range(0, len(report), 37):
        conductor.gather(Evidence(Tee.SNP, report[:size]), NOW)


def test_what_the_caller_has_is_used_and_not_asked_for(world):
    conductor = world.conductor()
    have = Collateral(intel=IntelCollateral(**world.intel.collateral("tdx")))
    gathered = conductor.gather(world.tdx(), NOW, have)
    assert world.judge(world.tdx(), gathered).accepted
    have = Collateral(amd=AmdCollateral(**world.amd.collateral()))
    assert world.judge(world.snp(), conductor.gather(world.snp(), NOW, have)).accepted
    assert [path for path in paths(world) if "cert_chain" not in path] == []


def test_what_the_caller_lacks_of_a_set_is_asked_for(world):
    members = world.intel.collateral("tdx")
    del members["pck_crl"]
    gathered = world.conductor().gather(world.tdx(), NOW, Collateral(intel=IntelCollateral(**members)))
    assert world.judge(world.tdx(), gathered).accepted
    assert world.service.count() == 4


def test_a_cache_that_cannot_be_written_decides_nothing(world):
    world.folder.parent.mkdir(exist_ok=True)
    world.folder.write_bytes(b"a file")
    verdict = world.verdict(world.tdx())
    assert verdict.authentic is None


def test_the_function_does_it_all_at_once(world):
    gathered = gather(world.tdx(), NOW, world.sources(), world.cache, roots=world.roots)
    assert world.judge(world.tdx(), gathered).accepted
    again = gather(world.tdx(), NOW, None, world.cache, roots=world.roots)
    assert world.judge(world.tdx(), again).accepted
    assert world.service.count() == 4


def test_a_bundle_serves_where_there_is_neither_network_nor_folder(world):
    items = world.conductor().gather(world.tdx(), NOW).items
    judged = [(one.item, one.judged) for one in judge_all(items, world.roots, NOW)]
    bundle = Bundle.from_bytes(Bundle.of(judged, {}).to_bytes())
    gathered = gather(world.tdx(), NOW, roots=world.roots, items=bundle.items)
    assert world.judge(world.tdx(), gathered).accepted
    assert {item.name.kind for item in gathered.items} == {
        Kind.ROOT_CRL, Kind.TCB_INFO, Kind.QE_IDENTITY, Kind.PCK_CRL}


def test_many_threads_and_families_at_once(world):
    world.serve(any_family=True)
    makers = [world.intel.on(replace(world.intel.platform, fmspc=bytes((0, 0, 0, 0, 1, last)))) for last in range(6)]
    evidence = [world.tdx(maker) for maker in makers]
    conductor = world.conductor()
    with ThreadPoolExecutor(16) as pool:
        verdicts = list(pool.map(lambda number: world.verdict(evidence[number % 6], conductor), range(60)))
    assert all(verdict.accepted for verdict in verdicts)
    assert world.service.count("/tdx/certification/v4/tcb") == 6
    assert world.service.count() == 6 + 3


def test_a_family_is_fetched_for_nobody_in_particular(world):
    gathered = world.conductor().family(Tee.TDX, world.intel.platform.fmspc, NOW)
    assert gathered.troubles == ()
    assert [item.name.text for item in gathered.items] == [
        "intel.root_crl", "intel.tcb_info/tdx/00534f465400/standard", "intel.qe_identity/tdx/standard",
        "intel.pck_crl/platform", "intel.pck_crl/processor"]
