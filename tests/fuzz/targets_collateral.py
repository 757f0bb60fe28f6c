"""Files of operators and answers of services: `verifier.collateral`, expectations, reference values."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.fuzz import seeds
from tests.fuzz.harness import (
    COLLATERAL,
    EVIDENCE,
    SETUP,
    Finding,
    Target,
    never,
    of_file,
    scratch,
    text,
    written_again,
)
from tests.fuzz.seeds import lazily, made, many, recorded, these, within
from verifier.appraisal.expectations import Expectations
from verifier.collateral import bundle, durable, files, floors, hygon_files, nvidia_files
from verifier.collateral.bundle_file import Bundle
from verifier.collateral.hints import Family, hints_of, hints_or_none
from verifier.collateral.http import Origin
from verifier.collateral.imports import judge_all
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.loose_files import loose_files
from verifier.collateral.sources import Sources
from verifier.endorsements.collateral import IntelCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import MalformedCollateral
from verifier.evidence import Evidence
from verifier.formats import coco_evidence
from verifier.formats.strict import json_value
from verifier.reference_values.provider import read_message

AT = seeds.AT
BUNDLES = many(recorded("tdx/*/collateral*.json", "sgx/*/collateral*.json", "sgx/*/tcbInfo.json"),
               lazily(lambda: [seeds.as_json(_bundle(kind)) for kind in ("tdx", "sgx")]))
CERTIFICATES = many(recorded("anchors/*.der", "snp/*/*.der", "*/*/cert_chain.pem", "*/*/*.crl"), made("snp/*/*.der"))
NVIDIA = many(lambda: seeds.published("nvidia")(), recorded("nvidia/*/*.xml"))
HYGON = many(lambda: seeds.published("csv")(), recorded("csv/*/*.cert", "anchors/*.cert"))
KEYS = lazily(lambda: seeds.published("cca")())
EVIDENCES = many(made("*/*/quote.bin", "*/*/report.bin"), recorded("tdx/*/quote.bin", "snp/*/report.bin"),
                 lazily(lambda: [seeds.as_json(coco_evidence.evidence_to_json(seeds.evidence(kind)))
                                 for kind in ("az-tdx-vtpm", "nvidia")]))


def _bundle(kind: str) -> dict[str, str]:
    from verifier.software_tee.intel import collateral_json

    return collateral_json(seeds.tee().intel_collateral(kind))


@cache
def _items() -> tuple[Item, ...]:
    """Objects of the software makers, by the names under which they would have been asked for."""
    found, nvidia = seeds.tee().intel_collateral("tdx"), seeds.tee().maker("nvidia").collateral_files()
    fmspc = json.loads(found["tcb_info"])["fmspc"].lower()
    said = [(Kind.TCB_INFO, ("tdx", fmspc, "standard"), {
        "document": found["tcb_info"], "signature": found["tcb_info_signature"],
        "issuer_chain": found["tcb_info_issuer_chain"]}),
        (Kind.QE_IDENTITY, ("tdx", "standard"), {
            "document": found["qe_identity"], "signature": found["qe_identity_signature"],
            "issuer_chain": found["qe_identity_issuer_chain"]}),
        (Kind.ROOT_CRL, (), {"crl": found["root_ca_crl"]}),
        (Kind.PCK_CRL, ("platform",), {"crl": found["pck_crl"], "issuer_chain": found["pck_crl_issuer_chain"]}),
        (Kind.PCK_CHAIN, ("00" * 16, "00" * 16, "0000", "0000"), {"chain": seeds.tee().intel.pck_chain}),
        (Kind.AMD_CRL, ("Milan",), {"crl": (seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/ark.crl").read_bytes()}),
        (Kind.VCEK, ("Milan", "00" * 64, "00" * 8), {
            "certificate": (seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/vcek.der").read_bytes()}),
        (Kind.RIM, ("NV_GPU_DRIVER_GH100",), {"document": nvidia["driver-rim.xml"]})]
    return tuple(Item(Name(kind, about), parts, "software", AT) for kind, about, parts in said)


@cache
def _trusted() -> Roots:
    return Roots.only_software([*seeds.tee().maker("nvidia").roots().values(), seeds.tee().intel.chain("root"),
                                (seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/roots.pem").read_bytes()])


def _item_objects() -> Iterator[bytes]:
    yield from (json.dumps(item.to_object()).encode() for item in _items())


def _bundle_file() -> bytes:
    return Bundle(_items(), {}, {"intel.root_crl": floors.Floor(1, AT)}).to_bytes()


def _judged(data: bytes) -> object:
    """A bundle whose digests fit, as whoever makes one can see to; every object is judged, none raises."""
    told = json_value(data, "bundle")
    if isinstance(told, dict) and isinstance(told.get("items"), list):
        for item in told["items"]:
            _sealed(item)
    return judge_all(Bundle.from_bytes(json.dumps(told).encode()).items, _trusted(), AT)


def _sealed(told: object) -> None:
    """Put the digest that belongs to it into an object, where it has one."""
    if not isinstance(told, dict):
        return
    with suppress(MalformedCollateral, KeyError, TypeError, AttributeError, ValueError):
        parts = {name: b64decode(part) for name, part in told["parts"].items()}
        told["sha256"] = Item(Name.parse(told["name"]), parts, "", 0).digest.hex()


def _same_item(_: bytes, item: Item) -> None:
    if Item.from_object(json.loads(json.dumps(item.to_object()))) != item:
        raise Finding("an object that was written is read as another")


def _loaded(path: Path) -> object:
    """A file named by itself, and the same file as one of its folder; and what it is written out as."""
    files.load([path.parent])
    return loose_files(files.load([path]))


def _floor(data: bytes) -> object:
    """A floor that lies in a folder, sealed."""
    name, kept = "intel.root_crl", floors.FloorFiles(scratch() / "floors")
    path = kept._path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(durable.seal(data))
    return kept.get(name)


def _unsealed(data: bytes, found: bytes | None) -> None:
    if found is not None and durable.seal(found) != data:
        raise Finding("what was unsealed was sealed otherwise")


def _hints(data: bytes) -> object:
    evidence: Evidence = coco_evidence.read(data)
    hints_or_none(evidence)
    return hints_of(evidence)


def _family(data: bytes) -> object:
    return IntelCollateral(tcb_info=data).family


def _reference_messages() -> Iterator[bytes]:
    for kind in ("sample", "plain", "corim"):
        values = {"measurement": ["00" * 48], "svn": 3, "flag": True, "nested": {"a": [1.5, "b"]}}
        yield seeds.as_json({"version": "0.1.0", "type": kind, "payload": seeds.as_json(values)})


EXPECTATIONS = these(
    b'mr_td = "' + b"00" * 48 + b'"\nminimum_isv_svn = 3\naccepted_statuses = ["UpToDate"]\nrefuse_software = true\n',
    seeds.as_json({"td_attributes": {"value": "00" * 8, "mask": "ff" * 8}, "minimum_tee_tcb_svn": "00" * 16,
                   "minimum_reported_tcb": {"snp": 1, "microcode": 2}, "vmpl": [0, 1], "products": ["Milan"]}))
SOURCES = these(
    b'pccs = "https://pccs.example:8081"\nkds = ""\nupdate = "early"\nca_file = "/etc/ca.pem"\n[limits]\ntotal = 5\n',
    b'{"pcs": "https://pcs.example/prefix", "update": 17, "limits": {"attempts": 2, "connect": 1.5}}')

TARGETS = (
    Target("collateral.bundle", bundle.from_json, COLLATERAL, BUNDLES, brief_runs=300),
    Target("collateral.bundle_file", Bundle.from_bytes, (*COLLATERAL, *SETUP), lazily(lambda: [_bundle_file()]),
           (written_again(Bundle.from_bytes),), brief_runs=60),
    Target("collateral.expectations", Expectations.from_file, SETUP, EXPECTATIONS, (lambda _, found: found.pinned,)),
    Target("collateral.family", Family.of_chain, never(), many(
        recorded("sgx/*/pck*.pem", "tdx/*/*chain*.pem"), lambda: [seeds.tee().intel.pck_chain]),
           brief_runs=600),
    Target("collateral.family_of_text", _family, never(), within(
        BUNDLES, lambda data: [json.loads(data)["tcb_info"].encode()], KeyError, AttributeError)),
    Target("collateral.file", of_file("folder/file.json", _loaded), (*COLLATERAL, *SETUP),
           many(BUNDLES, CERTIFICATES, NVIDIA, HYGON, KEYS),
           brief_runs=250),
    Target("collateral.floor", _floor, SETUP, these(b'{"name": "intel.root_crl", "number": 3, "issued": 1780000000}'),
           brief_runs=300),
    Target("collateral.floors", lambda data: floors.from_object(json_value(data, "floors")), (*SETUP, *EVIDENCE), these(
        seeds.as_json({"intel.root_crl": {"number": 1, "issued": 2}}))),
    Target("collateral.hints", _hints, EVIDENCE, EVIDENCES, brief_runs=400),
    Target("collateral.hygon_file", hygon_files.recognise, never(), HYGON),
    Target("collateral.item", lambda data: Item.from_object(json_value(data, "item")), (*COLLATERAL, *EVIDENCE),
           lazily(_item_objects), (_same_item,), brief_runs=200),
    Target("collateral.judged", _judged, (*COLLATERAL, *SETUP, *EVIDENCE), lazily(lambda: [
        Bundle((item,), {}, {}).to_bytes() for item in _items()]), brief_runs=120),
    Target("collateral.name", text(Name.parse), COLLATERAL, lazily(lambda: [
        item.name.text.encode() for item in _items()]), (lambda _, name: (name.digest, str(name)),)),
    Target("collateral.nvidia_file", nvidia_files.recognise, COLLATERAL, NVIDIA, brief_runs=150),
    Target("collateral.origin", text(Origin.parse), SETUP, these(
        b"https://host.example:8443/prefix", b"http://[::1]:80/", b"https://u:p@host/?q#f"),
        (lambda _, origin: (origin.url("/a", [("b", "c d")]), origin.leads_here("https://host.example/")),)),
    Target("collateral.reference_values", read_message, SETUP, lazily(_reference_messages),
           (lambda _, values: [value.plain() for value in values],)),
    Target("collateral.sealed_file", durable.unseal, never(), these(durable.seal(b"contents")), (_unsealed,)),
    Target("collateral.sources", Sources.from_file, SETUP, SOURCES),
)
