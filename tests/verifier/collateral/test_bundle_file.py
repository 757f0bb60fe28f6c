"""One file for a site without a network."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.collateral import bundle_file
from verifier.collateral.bundle_file import Bundle
from verifier.collateral.cache import Cache
from verifier.collateral.conductor import Conductor
from verifier.collateral.floors import Floor
from verifier.collateral.imports import import_all, judge_all
from verifier.collateral.item import PARTS, Item, Kind, Name
from verifier.endorsements.roots import Roots
from verifier.errors import MalformedCollateral, SetupError

AT = 1_780_000_000
NOW = AT + 10
DAY = 86_400


@pytest.fixture
def bundle(world) -> Bundle:
    items = [*world.conductor().gather(world.tdx(), NOW).items, *world.conductor().gather(world.snp(), NOW).items]
    judged = [(one.item, one.judged) for one in judge_all(items, world.roots, NOW)]
    return Bundle.of(judged, world.cache.floors.export())


def elsewhere(world) -> Conductor:
    """A site without a network."""
    return Conductor(world.roots, None, Cache(world.folder / "air-gap"))


def test_a_bundle_comes_back_as_it_was_and_is_the_same_bytes_each_time(world, bundle):
    data = bundle.to_bytes()
    again = Bundle.from_bytes(data)
    assert again == bundle
    assert again.to_bytes() == data
    shuffled = judge_all(reversed(bundle.items), world.roots, NOW)
    assert Bundle.of([(one.item, one.judged) for one in reversed(shuffled)], bundle.floors).to_bytes() == data


def test_it_says_what_expires_when(bundle):
    told = json.loads(bundle.to_bytes())["told"]
    assert told["intel.tcb_info/tdx/00534f465400/standard"] == {
        "issuer": "Intel SGX TCB Signing", "number": 18, "issued": "2026-05-28T20:26:40Z",
        "expires": "2027-05-28T20:26:40Z", "sha256": told["intel.tcb_info/tdx/00534f465400/standard"]["sha256"]}
    assert set(told) == {item.name.text for item in bundle.items}


def test_what_is_imported_serves_the_other_site(world, bundle):
    site = elsewhere(world)
    standings = import_all(Bundle.from_bytes(bundle.to_bytes()).items, site.supply, NOW)
    assert all(one.judged for one in standings)
    world.service.forget()
    for evidence in (world.tdx(), world.snp()):
        assert world.verdict(evidence, site).accepted
    assert world.service.count() == 0


def test_every_object_is_judged_on_import(world, bundle):
    """A forged object under a fitting digest, one that has expired, and one of nobody's root."""
    forged = [replace(item, parts={name: part.replace(b"UpToDate", b"OutOfDat") for name, part in item.parts.items()})
              for item in bundle.items]
    told = {one.item.name.kind.value: one.error.id for one in import_all(forged, elsewhere(world).supply, NOW)
            if one.error}
    assert told == {"intel.tcb_info": "collateral.tcb_info.signature",
                    "intel.qe_identity": "collateral.qe_identity.signature"}
    late = import_all(bundle.items, elsewhere(world).supply, AT + 400 * DAY)
    assert {one.item.name.kind.value: one.error.id for one in late if one.item.name.kind.value.endswith("crl")} == {
        "intel.root_crl": "collateral.root_ca_crl.validity", "intel.pck_crl": "collateral.root_ca_crl.validity",
        "amd.crl": "collateral.crl.validity"}
    strangers = Conductor(Roots.makers(), None, Cache(world.folder / "strangers"))
    assert not any(one.judged for one in import_all(bundle.items, strangers.supply, NOW))
    assert strangers.supply.cache.floors.export() == {}


def test_an_older_bundle_is_refused_after_a_newer_one(world, bundle):
    site = elsewhere(world)
    world.serve_intel(tcb_info=lambda d: replace(d, evaluation_number=19))
    newer = Conductor(world.roots, world.sources()).gather(world.tdx(), NOW).items
    import_all(newer, site.supply, NOW)
    refused = [one for one in import_all(bundle.items, site.supply, NOW) if one.error]
    assert [(one.item.name.kind.value, one.error.id) for one in refused] == [("intel.tcb_info", "collateral.rollback")]


@pytest.mark.parametrize("change", [
    lambda m: m | {"format": "attestkit-collateral/2"}, lambda m: m | {"more": 1}, lambda m: m | {"items": {}},
    lambda m: m | {"items": m["items"] * 2}, lambda m: m | {"told": []}, lambda m: {"format": m["format"]},
    lambda m: m | {"items": [m["items"][0] | {"sha256": "00" * 32}]}, lambda m: m | {"items": [None]},
    lambda m: m | {"floors": []}])
def test_other_files_are_refused(bundle, change):
    members = json.loads(bundle.to_bytes())
    with pytest.raises((MalformedCollateral, SetupError)):
        Bundle.from_bytes(json.dumps(change(members)).encode())


@pytest.mark.parametrize("name", [
    "intel.tcb_info", "intel.tcb_info/tdx", "intel.tcb_info/tdx/zz0000000000/standard", "intel.tcb_info/csv/00/early",
    "intel.tcb_info/tdx/00534f465400/standard/x", "intel.qe_identity/tdx/later", "intel.root_crl/x", "intel.pck_crl",
    "intel.pck_crl/other", "intel.pck_chain/00/00/00/zz", "amd.vcek", "amd.vcek/Milan", "amd.vcek/Milan/zz/00",
    "amd.vcek/Naples/0000000000000000/0000000000000000", "amd.ca/Milan", "amd.crl", "amd.crl/Naples", "nvidia.rim",
    "nvidia.ocsp/00", "nvidia.ocsp/zz/1"])
def test_an_object_under_a_name_that_its_kind_does_not_have_is_refused(name):
    kind = Kind(name.partition("/")[0])
    with pytest.raises(MalformedCollateral) as caught:
        Item(Name.parse(name), dict.fromkeys(PARTS[kind], b""), "https://test.invalid", AT)
    assert caught.value.id == "collateral.item.name"


def test_a_bundle_is_bounded(monkeypatch, bundle):
    monkeypatch.setattr(bundle_file, "MAX_BYTES", 100)
    with pytest.raises(MalformedCollateral, match=r"^collateral\.bundle_file: "):
        Bundle.from_bytes(bundle.to_bytes())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_refused(data):
    with pytest.raises((MalformedCollateral, SetupError)):
        Bundle.from_bytes(data)


def test_cut_anywhere_it_is_refused(bundle):
    data = bundle.to_bytes()
    for size in range(0, len(data) - 2, 997):
        with pytest.raises(MalformedCollateral, match=r"^collateral\.bundle_file: "):
            Bundle.from_bytes(data[:size])


def test_floors_of_a_bundle_are_there_and_believed_by_nobody_unasked(world, bundle):
    raised = replace(bundle, floors={name: Floor(9999, floor.issued) for name, floor in bundle.floors.items()})
    site = elsewhere(world)
    import_all(Bundle.from_bytes(raised.to_bytes()).items, site.supply, NOW)
    assert max(floor.number for floor in site.supply.floors.export().values()) == 18
