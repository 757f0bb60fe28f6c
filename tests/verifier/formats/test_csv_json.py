"""CSV evidence in Confidential Containers' JSON: recorded, made, and damaged."""

from __future__ import annotations

import copy
import json
import operator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import EvidenceError, MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import coco_evidence
from verifier.formats.csv_json import evidence_from_json, evidence_to_json
from verifier.formats.csv_report import CsvReport
from verifier.formats.hygon_serde import CERTIFICATE, TEE_INFO_1, structure
from verifier.software_tee.hygon import SmallHygon

HYGON = SmallHygon.create(b"JSON of a small Hygon", at=1)
CHAIN = (HYGON.certificate("hsk"), HYGON.certificate("cek"))


def made(version: int = 1, *, raw: bool = False, certificates: tuple[bytes, ...] = CHAIN,
         event_log: bytes | None = b"a log") -> Evidence:
    maker = replace(HYGON, raw=raw)
    return Evidence(Tee.CSV, maker.report(version, maker.info(version)), certificates, event_log)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("certificates", [CHAIN, ()])
@pytest.mark.parametrize("event_log", [b"a log", b"", None])
def test_evidence_survives_its_json(version, raw, certificates, event_log):
    evidence = made(version, raw=raw, certificates=certificates, event_log=event_log)
    value = json.loads(json.dumps(evidence_to_json(evidence)))
    assert evidence_from_json(value) == evidence
    assert coco_evidence.read(json.dumps(value).encode()) == evidence


@pytest.mark.corpus("hygon-csv")
def test_recorded_json_holds_the_recorded_report(corpus, case):
    folder = corpus.folder(case)
    path = folder / "evidence.json"
    if not path.exists():
        assert case["case"] == "csv/csvrs-v1-full-chain"
        return
    evidence = coco_evidence.read(path.read_bytes())
    assert evidence.tee is Tee.CSV
    recorded = (folder / "report.bin").read_bytes()
    assert evidence.quote[:336] == recorded[:336]
    assert recorded[:2548] == evidence.quote[:len(recorded)]
    assert CsvReport.from_bytes(evidence.quote).signer.pek == (folder / "pek.cert").read_bytes()
    assert evidence.certificates == ()
    log = folder / "ccel.bin"
    assert evidence.event_log == (log.read_bytes() if log.exists() else None)
    assert evidence_from_json(evidence_to_json(evidence)) == evidence


def test_todays_recorded_json_is_written_again_as_it_was(corpus):
    value = json.loads((corpus.folder("csv/trustee-v1-csv3") / "evidence.json").read_bytes())
    assert evidence_to_json(evidence_from_json(value)) == value


def test_the_older_structure_holds_the_same_report():
    evidence = made()
    value = evidence_to_json(evidence)
    value["attestation_report"] = structure(evidence.quote[:336], TEE_INFO_1)
    del value["cc_eventlog"]
    assert evidence_from_json(value) == replace(evidence, event_log=None)


def test_the_key_servers_answer_in_one_piece_is_told_apart():
    assert evidence_to_json(made(certificates=(b"".join(CHAIN),))) == evidence_to_json(made())


@pytest.mark.parametrize("certificates", [CHAIN[:1], CHAIN[1:], (*CHAIN, CHAIN[0]), (b"junk",)])
def test_other_certificates_do_not_fit_into_the_json(certificates):
    with pytest.raises(MalformedEvidence, match=r"^format\.csv_json: "):
        evidence_to_json(made(certificates=certificates))


def test_what_is_not_a_report_has_no_json():
    with pytest.raises(MalformedEvidence, match=r"^format\.csv_report: "):
        evidence_to_json(Evidence(Tee.CSV, b"junk"))


@pytest.mark.parametrize("version", [1, 3])
def test_what_the_json_says_twice_must_be_the_same(version):
    for change in (lambda v: v["serial_number"].__setitem__(0, 66),
                   lambda v: v["cert_chain"]["pek"]["body"]["data"]["firmware"].__setitem__("minor", 9),
                   lambda v: v["cert_chain"]["pek"]["sigs"][1]["signature"]["r"].__setitem__(0, 300 % 256)):
        value = evidence_to_json(made(version))
        change(value)
        with pytest.raises(MalformedEvidence) as caught:
            evidence_from_json(value)
        assert caught.value.id == "format.csv_json"


def paths(value, path=()):
    """Where every member and every item is; of long arrays the first item."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield (*path, name)
            yield from paths(item, (*path, name))
    elif isinstance(value, list):
        yield (*path, 0)
        yield from paths(value[0], (*path, 0))


def changed(value, path, change):
    """``value`` in which ``change`` has seen the object or array that holds the end of ``path``; the rest is shared."""
    copied = copy.copy(value)
    if len(path) == 1:
        change(copied)
    else:
        copied[path[0]] = changed(value[path[0]], path[1:], change)
    return copied


VALUE = evidence_to_json(made(2))
OLD = {"attestation_report": structure(made().quote[:336], TEE_INFO_1), "cert_chain": evidence_to_json(made())[
    "cert_chain"], "serial_number": VALUE["serial_number"]}
WRONG = [True, -1, 1.0, 1 << 64, "1", [], {}, [1], {"a": 1}, b"x"]


def one_more(holder):
    if isinstance(holder, dict):
        holder["more"] = 1
    else:
        holder.append(0)


@pytest.mark.parametrize("value", [VALUE, OLD], ids=["today's", "older"])
def test_every_member_is_needed_and_typed(value):
    places = list(paths(value))
    assert len(places) > 60
    for path in places:
        for wrong in (*WRONG, None):
            damaged = changed(value, path, lambda holder: operator.setitem(holder, path[-1], wrong))  # noqa: B023
            if path in (("cc_eventlog",), ("cert_chain", "hsk_cek")) and wrong is None:
                assert evidence_from_json(damaged)
                continue
            with pytest.raises(EvidenceError):
                evidence_from_json(damaged)
        if isinstance(path[-1], str) and path not in (("cc_eventlog",), ("cert_chain", "hsk_cek")):
            with pytest.raises(EvidenceError):
                evidence_from_json(changed(value, path, lambda holder: holder.pop(path[-1])))  # noqa: B023
        with pytest.raises(EvidenceError):
            evidence_from_json(changed(value, path, one_more))


@pytest.mark.parametrize("log", ["QQ", "QR==", "QQ==\n", "*", 5, ["QQ=="]])
def test_an_event_log_is_canonical_base64(log):
    with pytest.raises(MalformedEvidence, match=r"^format\.base64: "):
        evidence_from_json(VALUE | {"cc_eventlog": log})


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(
    inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["attestation_report", "cert_chain", "serial_number", "pek", "body", "sig", "data", "magic", "flags"]), inner),
    max_leaves=12)


@given(st.dictionaries(st.sampled_from(["attestation_report", "cert_chain", "serial_number", "cc_eventlog"]), JSON))
def test_any_object_is_evidence_or_a_documented_error(value):
    with pytest.raises(EvidenceError):
        evidence_from_json(value)


@given(st.sampled_from(list(paths(VALUE))), JSON)
def test_any_member_may_be_anything(path, wrong):
    damaged = changed(VALUE, path, lambda holder: operator.setitem(holder, path[-1], wrong))
    try:
        evidence = evidence_from_json(damaged)
    except EvidenceError:
        return
    assert evidence_from_json(evidence_to_json(evidence)) == evidence


def test_a_structure_says_every_byte():
    pek = HYGON.certificate("pek")
    with pytest.raises(MalformedEvidence, match=r"^format\.csv_json: "):
        structure(pek + b"\x00", CERTIFICATE)
    with pytest.raises(MalformedEvidence):
        structure(pek[:-1], CERTIFICATE)
