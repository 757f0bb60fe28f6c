"""What is fetched is judged: for every rule something that keeps it, and something where it alone is broken."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from verifier.collateral import judge as judged_by
from verifier.collateral import kds, pcs
from verifier.collateral.http import Origin
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.judge import Beside, judge
from verifier.endorsements.roots import Roots
from verifier.errors import MalformedCollateral
from verifier.evidence import Tee
from verifier.formats.snp_report import ProductLine
from verifier.software_tee import certificates as x509
from verifier.software_tee.intel import SmallIntel

AT = 1_780_000_000
NOW = AT + 10
TDX = pcs.tcb_info_name(Tee.TDX, b"\x00SOFT\x00", "standard")
QE = Name(Kind.QE_IDENTITY, ("tdx", "standard"))
ROOT = Name(Kind.ROOT_CRL)
PCK = Name(Kind.PCK_CRL, ("platform",))
CHAIN = Name(Kind.PCK_CHAIN, ("00" * 16, "00" * 16, "0d00", "0000"))
OTHER = SmallIntel.create(b"another Intel of the same name", at=AT)
SOMEBODY = ((x509.COMMON_NAME, "Somebody"),)


def item(name: Name, **parts: bytes) -> Item:
    return Item(name, parts, "https://test.invalid/", AT)


def intel_item(name: Name, maker: SmallIntel, **changes: bytes) -> Item:
    """What ``maker`` serves under ``name``."""
    kind = name.kind
    if kind is Kind.ROOT_CRL:
        parts = {"crl": maker.root_crl}
    elif kind is Kind.PCK_CRL:
        parts = {"crl": maker.pck_crl, "issuer_chain": maker.chain("platform_ca", "root")}
    elif kind is Kind.PCK_CHAIN:
        parts = {"chain": maker.pck_chain}
    else:
        made = (maker.tcb_info if kind is Kind.TCB_INFO else maker.qe_identity)("tdx")
        parts = {"document": made.text, "signature": made.signature,
                 "issuer_chain": maker.chain("tcb_signing", "root")}
    return item(name, **{**parts, **changes})


@pytest.fixture
def roots(world) -> Roots:
    return world.roots


def refusal(one: Item, roots: Roots, beside: Beside | None = None) -> str:
    with pytest.raises(MalformedCollateral) as caught:
        judge(one, roots, NOW, beside or Beside())
    return caught.value.id.removeprefix("collateral.")


@pytest.mark.parametrize("name", [TDX, QE, ROOT, PCK, CHAIN], ids=str)
def test_intels_objects_hold(world, roots, name):
    """With the root's list beside them as well as without."""
    for beside in (Beside(), Beside(world.intel.root_crl)):
        found = judge(intel_item(name, world.intel), roots, NOW, beside)
        assert found.number == {TDX: 18, QE: 18, ROOT: 1, PCK: 1}.get(name)
        assert found.guarded is (name != CHAIN)
        assert found.window.contains(NOW)


BROKEN = {
    "tcb_info.id": (TDX, lambda m: m.altered(tcb_info=lambda d: replace(
        d, id="SGX", module=None, module_identities=None, levels=tuple(replace(v, tdx=None) for v in d.levels)))),
    "tcb_info.fmspc": (TDX, lambda m: m.on(replace(m.platform, fmspc=b"\x00OTHER"))),
    "tcb_info.signature": (TDX, lambda m: m.altered(tcb_info=lambda d: replace(d, signer=OTHER.key("tcb_signing")))),
    "tcb_info.issue_date": (TDX, lambda m: m.altered(tcb_info=lambda d: replace(d, issue_date=NOW + 1))),
    "tcb_info.next_update": (TDX, lambda m: m.altered(tcb_info=lambda d: replace(d, next_update=NOW - 1))),
    "tcb_info.issuer_chain.root": (TDX, lambda m: OTHER),
    "tcb_info.issuer_chain.leaf.name": (TDX, lambda m: m.altered(tcb_signing=lambda c: replace(c, subject=SOMEBODY))),
    "tcb_info.issuer_chain.leaf.revoked": (TDX, lambda m: m.altered(
        root_crl=lambda c: c.revoking(m.serial("tcb_signing")))),
    "tcb_info": (TDX, lambda m: m.altered(tcb_info=lambda d: replace(d, version=4))),
    "qe_identity.id": (QE, lambda m: m.altered(qe_identity=lambda d: replace(d, id="QE"))),
    "qe_identity.signature": (QE, lambda m: m.altered(
        qe_identity=lambda d: replace(d, signer=OTHER.key("tcb_signing")))),
    "qe_identity.issue_date": (QE, lambda m: m.altered(qe_identity=lambda d: replace(d, issue_date=NOW + 1))),
    "qe_identity.next_update": (QE, lambda m: m.altered(qe_identity=lambda d: replace(d, next_update=NOW - 1))),
    "qe_identity.issuer_chain.leaf.revoked": (QE, lambda m: m.altered(
        root_crl=lambda c: c.revoking(m.serial("tcb_signing")))),
    "root_ca_crl.issuer": (ROOT, lambda m: m.altered(root_crl=lambda c: replace(c, issuer=SOMEBODY))),
    "root_ca_crl.authority_key": (ROOT, lambda m: OTHER),
    "root_ca_crl.signature": (ROOT, lambda m: m.altered(root_crl=lambda c: replace(c, signer=OTHER.key("root")))),
    "root_ca_crl.validity": (ROOT, lambda m: m.altered(root_crl=lambda c: replace(c, next_update=NOW))),
    "root_ca_crl.next_update": (ROOT, lambda m: m.altered(root_crl=lambda c: replace(c, next_update=None))),
    "pck_crl.issuer_chain.root": (PCK, lambda m: OTHER),
    "pck_crl.issuer_chain.revoked": (PCK, lambda m: m.altered(
        root_crl=lambda c: c.revoking(m.serial("platform_ca")))),
    "pck_crl.signature": (PCK, lambda m: m.altered(pck_crl=lambda c: replace(c, signer=OTHER.key("platform_ca")))),
    "pck_crl.validity": (PCK, lambda m: m.altered(pck_crl=lambda c: replace(c, this_update=NOW + 1))),
    "pck_crl.issuer_chain.ca": (PCK, lambda m: m.altered(platform_ca=lambda c: c.changed(
        x509.basic_constraints(ca=False)))),
    "pck_chain.pce_id": (CHAIN, lambda m: m.on(replace(m.platform, pce_id=b"\x01\x00"))),
    "pck_chain.root": (CHAIN, lambda m: OTHER),
    "pck_chain.leaf.name": (CHAIN, lambda m: m.altered(pck=lambda c: replace(c, subject=SOMEBODY))),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_intels_objects_are_refused_where_one_rule_is_broken(world, roots, rule):
    name, alter = BROKEN[rule]
    altered = alter(world.intel)
    beside = Beside(altered.root_crl) if rule.endswith("revoked") else Beside()
    assert refusal(intel_item(name, altered), roots, beside) == rule


def test_a_list_that_is_judged_beside_must_hold_itself(world, roots):
    assert refusal(intel_item(TDX, world.intel), roots, Beside(OTHER.root_crl)) == "root_ca_crl.authority_key"
    assert refusal(intel_item(PCK, world.intel), roots, Beside(world.intel.pck_crl)) == "root_ca_crl.issuer"


def test_issuer_chains_have_their_length(world, roots):
    for name, rule in ((TDX, "tcb_info.issuer_chain.length"), (QE, "qe_identity.issuer_chain.length"),
                       (PCK, "pck_crl.issuer_chain.length")):
        short = intel_item(name, world.intel, issuer_chain=world.intel.chain("tcb_signing"))
        assert refusal(short, roots) == rule


def test_a_set_that_is_asked_for_by_number_has_that_number(world, roots):
    for number, good in (("18", True), ("17", False)):
        for name, rule in ((Name(Kind.TCB_INFO, (*TDX.about[:2], number)), "tcb_info"),
                           (Name(Kind.QE_IDENTITY, ("tdx", number)), "qe_identity")):
            one = intel_item(name, world.intel)
            if good:
                assert judge(one, roots, NOW).number == 18
            else:
                assert refusal(one, roots) == f"{rule}.evaluation_number"


def test_the_list_of_the_other_ca_is_not_the_one_that_was_asked_for(world, roots):
    other = intel_item(Name(Kind.PCK_CRL, ("processor",)), world.intel)
    assert refusal(other, roots) == "pck_crl.issuer_chain.name"


# -- AMD ---------------------------------------------------------------------------------------------------------------


def vcek(maker, **changes: str) -> Item:
    chip = maker.chip
    words = {"line": chip.line.value, "hwid": chip.hwid.hex(), "tcb": chip.tcb.to_bytes().hex(), **changes}
    return item(Name(Kind.VCEK, tuple(words.values())), certificate=maker.certificate("vcek"))


@pytest.mark.parametrize("line", ["Milan", "Turin"])
def test_amds_objects_hold(world, amd_of, line):
    maker = amd_of(line)
    roots = Roots.only_software([maker.certificate("ark")])
    ca = item(kds.ca_name(ProductLine(line), "vcek"), chain=maker.chain("ask", "ark"))
    asvk = item(kds.ca_name(ProductLine(line), "vlek"), chain=maker.chain("asvk", "ark"))
    crl = item(kds.crl_name(ProductLine(line)), crl=maker.crl)
    assert judge(ca, roots, NOW).guarded is judge(asvk, roots, NOW).guarded is False
    assert judge(crl, roots, NOW).number == 1
    assert judge(vcek(maker), roots, NOW, Beside(ca=maker.chain("ask", "ark"))).number is None


@pytest.mark.parametrize(("changes", "rule"), [
    ({"hwid": "00" * 64}, "vcek.hwid"), ({"tcb": "04000000000018da"}, "vcek.tcb"), ({"line": "Genoa"}, "vcek.line")])
def test_a_chips_certificate_is_that_chips(world, changes, rule):
    beside = Beside(ca=world.amd.chain("ask", "ark"))
    assert refusal(vcek(world.amd, **changes), world.roots, beside) == rule


def test_a_chips_certificate_needs_its_chain(world):
    assert refusal(vcek(world.amd), world.roots) == "chain.root"
    stranger = replace(vcek(world.amd), parts={"certificate": world.amd.certificate("ask")})
    assert refusal(stranger, world.roots) == "vcek.subject"
    two = replace(vcek(world.amd), parts={"certificate": world.amd.chain("vcek", "ask")})
    assert refusal(two, world.roots) == "vcek.count"


def test_amds_authorities_end_in_a_trusted_root_of_their_line(world):
    ca = item(kds.ca_name(ProductLine.MILAN, "vcek"), chain=world.amd.chain("ask", "ark"))
    assert refusal(ca, Roots.makers()) == "ca.root"
    assert refusal(replace(ca, name=kds.ca_name(ProductLine.GENOA, "vcek")), world.roots) == "ca.root"
    assert refusal(replace(ca, name=kds.ca_name(ProductLine.MILAN, "vlek")), world.roots) == "ca.name"
    assert refusal(replace(ca, parts={"chain": world.amd.chain("ark", "ark")}), world.roots) == "ca.name"
    assert refusal(replace(ca, parts={"chain": world.amd.chain("ark")}), world.roots) == "ca.length"


def test_amds_list_is_of_a_trusted_root(world):
    name = kds.crl_name(ProductLine.MILAN)
    assert refusal(item(name, crl=world.amd.crl), Roots.makers()) == "crl.authority_key"
    assert refusal(item(name, crl=world.intel.root_crl), world.roots) == "crl.issuer"
    assert refusal(item(kds.crl_name(ProductLine.GENOA), crl=world.amd.crl), world.roots) == "crl.issuer"
    late = world.amd.altered(crl=lambda c: replace(c, next_update=NOW))
    assert refusal(item(name, crl=late.crl), world.roots) == "crl.validity"


@pytest.mark.parametrize("junk", [b"", b"\x30", b"\x30\x80", b"{}", b"-----BEGIN CERTIFICATE-----", b"\xff" * 5000])
@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_junk_is_refused_by_every_rule(world, kind, junk):
    about = {Kind.TCB_INFO: TDX.about, Kind.QE_IDENTITY: QE.about, Kind.PCK_CRL: ("platform",),
             Kind.PCK_CHAIN: CHAIN.about, Kind.VCEK: ("Milan", "00" * 64, "00" * 8), Kind.AMD_CA: ("Milan", "vcek"),
             Kind.AMD_CRL: ("Milan",), Kind.RIM: ("NV_GPU_DRIVER_GH100_1",), Kind.OCSP: ("00", "1")}
    from verifier.collateral.item import PARTS
    one = item(Name(kind, about.get(kind, ())), **dict.fromkeys(PARTS[kind], junk))
    assert refusal(one, world.roots)


def test_the_signature_covers_every_byte_of_what_is_kept(world, roots):
    """A byte of document, signature, list or certificate changed, here and there: refused, or the same object."""
    for name in (TDX, QE, ROOT, PCK):
        good = intel_item(name, world.intel)
        for part, data in good.parts.items():
            for place in range(0, len(data), 37):
                changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]
                with pytest.raises(MalformedCollateral):
                    judge(replace(good, parts={**good.parts, part: changed}), roots, NOW)


def test_every_rule_of_the_module_has_a_case():
    """The ids of the rules that are named in the source are named in these tests."""
    source = Path(judged_by.__file__).read_text("utf-8")
    tests = Path(__file__).read_text("utf-8") + (Path(__file__).parent / "test_nvidia_sources.py").read_text("utf-8")
    for rule in re.findall(r'trail\.(?:equal|require|fail)\(f?"([^"]+)"', source):
        assert rule.rpartition("}")[2] in tests, rule


def test_sources_can_be_switched_off(world):
    door = world.sources().door()
    for source, ask in ((replace(world.sources(), pcs="", root_crl=""), lambda s: pcs.root_crl(door, s, ROOT, NOW)),
                        (replace(world.sources(), pcs=""), lambda s: pcs.tcb_info(door, s, TDX, NOW)),
                        (replace(world.sources(), kds=""), lambda s: kds.crl(door, s, kds.crl_name(
                            ProductLine.MILAN), NOW)),
                        (world.sources(), lambda s: pcs.pck_chain(door, s, CHAIN, NOW))):
        with pytest.raises(Exception, match=r"collateral\.source") as caught:
            ask(source)
        assert caught.value.id == "collateral.source"
    assert world.service.count() == 0
    assert Origin.parse(world.service.url).scheme == "http"
