"""Published ways in which collateral's sources and caches were misused, tried here (docs/attacks.md, C)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from verifier import Binding, Evidence
from verifier.collateral import kds, pcs
from verifier.collateral.cache import Cache
from verifier.collateral.conductor import Conductor
from verifier.collateral.item import Kind, Name
from verifier.collateral.supply import Policy
from verifier.endorsements.roots import Roots
from verifier.evidence import Tee
from verifier.formats.snp_report import ProductLine
from verifier.software_tee import certificates as x509
from verifier.software_tee.amd import Chip, SmallAmd
from verifier.software_tee.certificates import Extension
from verifier.software_tee.intel import SmallIntel
from verifier.software_tee.intel_quotes import TD_REPORT
from verifier.testing import faults
from verifier.testing.services import Services
from verifier.testing.stand_in import QUICK, StandIn
from verifier.verify import verify

AT = 1_780_000_000
NOW = AT + 10
DAY = 86_400
INTEL = SmallIntel.create(b"the small Intel of attacks on sources", at=AT)
OTHER = SmallIntel.create(b"an attacker's Intel of the same name", at=AT)
TCB = pcs.tcb_info_name(Tee.TDX, INTEL.platform.fmspc, "standard")
ROOTS = Roots.only_software([INTEL.certificate("root")])
TDX = Evidence("tdx", INTEL.quote(TD_REPORT))
HASTY = replace(QUICK, connect=0.5, read=0.3, total=0.8, attempts=1)


@pytest.fixture
def service():
    with StandIn(Services(intel=INTEL)) as stand_in:
        yield stand_in


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "site"


def numbered(number: int, maker: SmallIntel = INTEL, *documents: str) -> SmallIntel:
    """Documents of another evaluation number, correctly signed and in date."""
    return maker.altered(**{name: lambda d: replace(d, evaluation_number=number)
                            for name in documents or ("tcb_info", "qe_identity")})


def site(service, folder: Path, **policy: object) -> Conductor:
    """A verifier that has just started."""
    chosen = Policy(**{"failed": 0.0, "not_found": 0.0, **policy})
    return Conductor(ROOTS, service.sources(), Cache(folder), policy=chosen)


def judged(conductor: Conductor, evidence: Evidence = TDX, at: int = NOW, roots: Roots = ROOTS):
    gathered = conductor.gather(evidence, at)
    return gathered.settle(verify(evidence, collateral=gathered.collateral, roots=roots, at=at,
                                  binding=Binding.insecure_unbound()))


def forget_objects(folder: Path) -> None:
    """What cleans caches: objects go, floors stay."""
    cache = Cache(folder)
    for item in list(cache.items()):
        cache.remove(item.name)


# -- C-01 rollback within the window -----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
def test_c01_after_n_comes_no_n_minus_one(service, folder, document):
    """TCB info at N with the QE identity at N-1, and the reverse."""
    service.serve(Services(intel=numbered(20)))
    assert judged(site(service, folder)).accepted
    service.serve(Services(intel=numbered(19, numbered(20), document)))
    forget_objects(folder)
    verdict = judged(site(service, folder))
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.rollback")


def test_c01_an_accepted_document_is_kept_while_an_older_one_is_served(service, folder):
    service.serve(Services(intel=numbered(20)))
    judged(site(service, folder))
    service.serve(Services(intel=numbered(19)))
    verdict = judged(site(service, folder, max_age=0), at=NOW + 5)
    assert verdict.accepted
    assert verdict.claims.tcb["tcb"]["evaluation_number"] == 20


@pytest.mark.parametrize(("crl", "kind"), [("root_crl", Kind.ROOT_CRL), ("pck_crl", Kind.PCK_CRL)])
def test_c01_after_a_list_comes_none_of_a_lower_number(service, folder, crl, kind):
    service.serve(Services(intel=INTEL.altered(**{crl: lambda c: c.changed(x509.crl_number(9))})))
    assert judged(site(service, folder)).accepted
    service.serve(Services(intel=INTEL.altered(**{crl: lambda c: c.changed(x509.crl_number(8))})))
    forget_objects(folder)
    assert judged(site(service, folder)).error.id == "collateral.rollback"


def _accept_for_ever(service, folder: Path, accepted) -> None:
    conductor = site(service, folder)
    conductor.gather(TDX, NOW)
    accepted.set()
    while True:
        Cache(folder).floors.raise_to("busy", next(iter(Cache(folder).floors.export().values())))


@pytest.mark.parametrize("wait", [0.0, 0.03, 0.1])
def test_c01_kill_9_between_the_two_loses_no_floor(service, folder, wait):
    context = multiprocessing.get_context("fork")
    service.serve(Services(intel=numbered(20)))
    accepted = context.Event()
    child = context.Process(target=_accept_for_ever, args=(service, folder, accepted), daemon=True)
    child.start()
    assert accepted.wait(60)
    time.sleep(wait)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    service.serve(Services(intel=numbered(19)))
    forget_objects(folder)
    assert judged(site(service, folder)).error.id == "collateral.rollback"


def test_c01_two_replicas_on_one_folder(service, folder):
    """One sees the new document, the other is served the old one."""
    one, two = site(service, folder), site(service, folder)
    service.serve(Services(intel=numbered(20)))
    assert judged(one).accepted
    service.serve(Services(intel=numbered(19)))
    verdict = judged(two)
    assert verdict.accepted
    assert verdict.claims.tcb["tcb"]["evaluation_number"] == 20
    forget_objects(folder)
    assert judged(site(service, folder)).error.id == "collateral.rollback"


def test_c01_a_number_from_the_wrong_place_raises_nothing(service, folder):
    """The floor follows the signed member; a forged document with a great number leaves it where it is."""
    assert judged(site(service, folder)).accepted
    floors = Cache(folder).floors.export()
    forget_objects(folder)
    service.break_("/tdx/", faults.rewritten(lambda body: body.replace(b'DataNumber":18', b'DataNumber":99')))
    assert judged(site(service, folder)).error.id.endswith(".signature")
    assert Cache(folder).floors.export() == floors


# -- C-02 time, for what is remembered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("with_network", [False, True])
@pytest.mark.parametrize(("alteration", "last"), [
    ({"tcb_info": lambda d: replace(d, next_update=AT + DAY)}, AT + DAY),
    ({"qe_identity": lambda d: replace(d, next_update=AT + DAY)}, AT + DAY),
    ({"root_crl": lambda c: replace(c, next_update=AT + DAY)}, AT + DAY - 1),
    ({"pck_crl": lambda c: replace(c, next_update=AT + DAY)}, AT + DAY - 1),
])
def test_c02_what_is_remembered_ends_with_its_own_last_second(service, folder, alteration, last, with_network):
    service.serve(Services(intel=INTEL.altered(**alteration)))
    conductor = site(service, folder)
    assert judged(conductor).accepted
    service.break_("/", faults.down())
    later = conductor if with_network else Conductor(ROOTS, None, Cache(folder))
    for at in (last - 1, last):
        assert judged(later, at=at).accepted
    verdict = judged(later, at=last + 1)
    assert (verdict.authentic, verdict.accepted) == (None, False)
    assert judged(later, at=last).accepted


def test_c02_what_is_from_the_future_is_not_kept(service, folder):
    service.serve(Services(intel=INTEL.altered(tcb_info=lambda d: replace(d, issue_date=NOW + 1))))
    assert judged(site(service, folder)).error.id == "collateral.tcb_info.issue_date"
    assert Cache(folder).get(TCB) is None


# -- C-03 revocation, for lists that are fetched and kept --------------------------------------------------------------

DELTA = Extension(x509.DELTA_CRL, b"\x02\x01\x01", True)
BAD_LISTS = {
    "empty": None, "expired": lambda c: replace(c, next_update=NOW),
    "future": lambda c: replace(c, this_update=NOW + 1),
    "wrong issuer": lambda c: replace(c, issuer=((x509.COMMON_NAME, "Somebody"),)),
    "wrong key": lambda c: replace(c, signer=OTHER.key("root")),
    "no nextUpdate": lambda c: replace(c, next_update=None),
    "delta": lambda c: c.changed(DELTA), "unknown critical": lambda c: c.changed(Extension("1.2.3", b"\x05\x00", True)),
}


@pytest.mark.parametrize("fault", BAD_LISTS)
@pytest.mark.parametrize(("crl", "path", "name"), [
    ("root_crl", "/IntelSGXRootCA.der", Name(Kind.ROOT_CRL)),
    ("pck_crl", "/sgx/certification/v4/pckcrl", Name(Kind.PCK_CRL, ("platform",)))])
def test_c03_a_list_that_is_not_good_is_neither_used_nor_kept(service, folder, crl, path, name, fault):
    if BAD_LISTS[fault] is None:
        service.break_(path, faults.rewritten(lambda _: b""))
    else:
        service.serve(Services(intel=INTEL.altered(**{crl: BAD_LISTS[fault]})))
    verdict = judged(site(service, folder))
    assert (verdict.authentic, verdict.accepted) == (None, False)
    assert verdict.error.id.startswith(("collateral.crl", "collateral.root_ca_crl", "collateral.pck_crl"))
    assert Cache(folder).get(name) is None


@pytest.mark.parametrize(("crl", "role", "reason"), [
    ("pck_crl", "pck", "tdx.pck_chain.leaf.revoked"), ("root_crl", "platform_ca", None),
    ("root_crl", "tcb_signing", None)])
def test_c03_whoever_is_on_a_fetched_list_is_not_accepted(service, folder, crl, role, reason):
    """A revoked leaf is the quote's fault; what a revoked authority signed is as if it could not be had."""
    service.serve(Services(intel=INTEL.altered(**{crl: lambda c: c.revoking(INTEL.serial(role))})))
    verdict = judged(site(service, folder))
    assert not verdict.accepted
    if reason:
        assert (verdict.authentic, verdict.error.id) == (False, reason)
    else:
        assert verdict.error.id.endswith(".revoked")


def test_c03_a_list_in_the_folder_is_verified_as_well(service, folder):
    """The cached list is replaced by one that the attacker signed, digest and name fitting."""
    assert judged(site(service, folder)).accepted
    cache = Cache(folder)
    kept = cache.get(Name(Kind.PCK_CRL, ("platform",)))
    cache.put(replace(kept, parts={"crl": OTHER.pck_crl, "issuer_chain": OTHER.chain("platform_ca", "root")}))
    verdict = judged(Conductor(ROOTS, None, cache))
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.offline")
    assert judged(site(service, folder)).accepted


# -- C-04 the judged side chooses --------------------------------------------------------------------------------------


def test_c04_an_attackers_chain_with_matching_signatures_is_worth_nothing(service, folder):
    service.serve(Services(intel=OTHER))
    verdict = judged(site(service, folder))
    assert verdict.authentic is None
    assert verdict.error.id.startswith("collateral.root_ca_crl")
    assert list(Cache(folder).items()) == []


@pytest.mark.parametrize("header", ["TCB-Info-Issuer-Chain", "tcb-info-issuer-chain"])
def test_c04_an_attackers_chain_in_the_header_is_worth_nothing(service, folder, header):
    from urllib.parse import quote
    chain = quote(OTHER.chain("tcb_signing", "root").decode(), safe="")
    service.break_("/tdx/certification/v4/tcb", faults.with_headers(lambda _: {header: chain}))
    assert judged(site(service, folder)).error.id == "collateral.tcb_info.issuer_chain.root"


@pytest.mark.parametrize(("ill", "reason"), [
    (faults.redirecting("file:///etc/passwd"), "redirect"), (faults.redirecting("http://169.254.169.254/"), "redirect"),
    (faults.oversized(1024 * 1024 * 1024), "size"), (faults.dripping(0.05), "timeout"),
    (faults.dripping_head(0.05), "timeout"), (faults.slow(2), "timeout"), (faults.down(), "broken")])
def test_c04_nothing_is_accepted_from_a_service_that_misbehaves(service, folder, ill, reason):
    service.break_("/", ill)
    limits = HASTY if reason == "timeout" else replace(QUICK, attempts=1)
    conductor = Conductor(ROOTS, service.sources(limits=limits), Cache(folder))
    assert judged(conductor).error.id == f"collateral.fetch.{reason}"
    assert service.count() == 1


def test_c04_evidence_decides_what_is_asked_for_and_never_where(service, folder):
    """Distribution points and other URLs inside certificates are read by nobody."""
    judged(site(service, folder))
    assert {request.path for request in service.requests} == {
        "/IntelSGXRootCA.der", "/tdx/certification/v4/tcb", "/tdx/certification/v4/qe/identity",
        "/sgx/certification/v4/pckcrl"}


def test_c04_a_tls_certificate_that_nobody_trusts_ends_it(folder):
    with StandIn(Services(intel=INTEL), tls=True) as service:
        good = service.sources()
        untrusted = Conductor(ROOTS, replace(good, ca_file=""), Cache(folder))
        assert judged(untrusted).error.id == "collateral.fetch.tls"
        assert judged(Conductor(ROOTS, good, Cache(folder))).accepted


# -- C-07 caches -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chips() -> list[SmallAmd]:
    made = SmallAmd.create(at=AT)
    made.collateral()  # keys take their time, and a service that takes it is asked again
    return [made, made.on(replace(Chip.of("Milan"), hwid=bytes(range(64))))]


def amd_site(service, folder: Path, chips: list[SmallAmd]) -> tuple[Conductor, Roots]:
    roots = Roots.only_software([chips[0].certificate("ark")])
    return Conductor(roots, service.sources(), Cache(folder), policy=Policy(failed=0.0, not_found=0.0)), roots


def test_c07_64_threads_and_two_chips_never_mix(service, folder, chips):
    service.serve(Services(amd=(chips[0],), any_chip=True))
    conductor, roots = amd_site(service, folder, chips)
    evidence = [Evidence("snp", chip.report(chip.body())) for chip in chips]
    with ThreadPoolExecutor(64) as pool:
        verdicts = list(pool.map(lambda number: judged(conductor, evidence[number % 2], roots=roots), range(128)))
    for number, verdict in enumerate(verdicts):
        assert verdict.accepted, verdict.error
        assert verdict.claims.endorsement["hwid"] == chips[number % 2].chip.hwid
    assert service.count("/vcek/v1/Milan/crl") == 1
    assert service.count() == 2 + 2


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good"), ("good", "bad", "good", "bad")])
def test_c07_bad_after_good_and_good_after_bad(service, folder, order):
    quote = bytearray(TDX.quote)
    quote[200] ^= 1
    evidence = {"good": TDX, "bad": Evidence("tdx", bytes(quote))}
    conductor = site(service, folder)
    for one in order:
        assert judged(conductor, evidence[one]).accepted is (one == "good")


def test_c07_hostile_collateral_in_one_request_does_not_reach_the_next(service, folder):
    """The first request brings its own; it is used for that request and kept for none."""
    from verifier.endorsements.collateral import Collateral, IntelCollateral
    conductor = site(service, folder)
    hostile = Collateral(intel=IntelCollateral(**OTHER.collateral("tdx")))
    gathered = conductor.gather(TDX, NOW, hostile)
    assert verify(TDX, collateral=gathered.collateral, roots=ROOTS, at=NOW,
                  binding=Binding.insecure_unbound()).accepted is False
    assert list(Cache(folder).items()) == []
    assert judged(conductor).accepted


def test_c07_a_document_of_another_family_or_tee_does_not_stand_in(service, folder):
    """The service answers every question with the same, genuine document."""
    answers = {"/tdx/certification/v4/tcb": INTEL.on(replace(INTEL.platform, fmspc=b"\x00OTHER")).tcb_info("tdx"),
               "/sgx/certification/v4/tcb": INTEL.tcb_info("sgx")}
    for source, rule in (("/tdx/certification/v4/tcb", "fmspc"), ("/sgx/certification/v4/tcb", "id")):
        document = answers[source]
        body = b'{"tcbInfo":%s,"signature":"%s"}' % (document.text, document.signature.hex().encode())
        service.mend()
        service.break_("/tdx/certification/v4/tcb", faults.rewritten(lambda _, body=body: body))
        assert judged(site(service, folder / rule)).error.id == f"collateral.tcb_info.{rule}"


def test_c07_another_chips_certificate_does_not_stand_in(service, folder, chips):
    service.serve(Services(amd=(chips[0],), any_chip=True))
    service.break_("/vcek/v1/Milan/" + chips[1].chip.hwid.hex(), faults.rewritten(
        lambda _: chips[0].certificate("vcek")))
    conductor, roots = amd_site(service, folder, chips)
    evidence = Evidence("snp", chips[1].report(chips[1].body()))
    assert judged(conductor, evidence, roots=roots).error.id == "collateral.vcek.hwid"
    name = kds.vcek_name(ProductLine.MILAN, chips[1].chip.hwid, chips[1].chip.tcb.to_bytes())
    assert Cache(folder).get(name) is None


def test_c07_nothing_changes_after_it_was_judged(service, folder):
    conductor = site(service, folder)
    gathered = conductor.gather(TDX, NOW)
    for value, member in ((gathered.items[0], "parts"), (gathered.collateral.intel, "tcb_info"), (gathered, "items")):
        with pytest.raises(AttributeError):
            setattr(value, member, b"")
    with pytest.raises(TypeError):
        gathered.items[0].parts["crl"] = b""
