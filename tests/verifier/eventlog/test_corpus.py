"""Recorded logs: listed registers, a short oracle, tpm2-tools, Trustee's own reading, and every digest flipped."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from verifier.checks.event_log import check_ccel, check_pcr_log
from verifier.errors import CheckFailed, MalformedEvidence
from verifier.eventlog.algorithms import BANKS, Algorithm
from verifier.eventlog.ccel import CcelTable, parse
from verifier.eventlog.dstack import log_of_answer
from verifier.eventlog.events import EventType
from verifier.eventlog.facts import Facts
from verifier.eventlog.registers import PCRS
from verifier.eventlog.replay import replay
from verifier.eventlog.show import describe
from verifier.eventlog.tcg import TcgLog
from verifier.eventlog.trustee import uefi_event_logs
from verifier.trail import Trail

TPM2_EVENTLOG = shutil.which("tpm2_eventlog")


def log_in(folder: Path) -> bytes:
    for name in ("ccel.bin", "eventlog.bin"):
        if (folder / name).exists():
            return (folder / name).read_bytes()
    return log_of_answer((folder / "getquote.json").read_bytes())


def registers_of(case: dict[str, Any]) -> dict[int, bytes]:
    """The listed values by RTMR number: Intel's index is one more."""
    claims = case["expected"]["claims"]
    if "registers" not in claims:
        return {number: bytes.fromhex(claims[f"rtmr{number}"]) for number in range(4)}
    values = {int(index): bytes.fromhex(value) for index, value in claims["registers"].items()}
    return {index - (len(value) == 48): value for index, value in values.items()}


def pcrs_of(case: dict[str, Any]) -> dict[str, dict[int, bytes]]:
    return {bank: {int(number): bytes.fromhex(value) for number, value in values.items()}
            for bank, values in case["expected"]["claims"]["pcrs_recorded_upstream"].items()}


def facts_of(case: dict[str, Any], log: bytes, trail: Trail | None = None) -> Facts:
    trail = trail or Trail("x")
    if "pcrs_recorded_upstream" in case["expected"]["claims"]:
        return check_pcr_log(trail, log, pcrs_of(case))
    return check_ccel(trail, log, registers_of(case))


@pytest.mark.corpus("eventlog")
def test_each_log_parses_and_gives_the_recorded_values(corpus, case):
    data = log_in(corpus.folder(case))
    facts = facts_of(case, data)
    expected = case["expected"]["claims"]
    log = parse(data)
    if isinstance(log, TcgLog):
        assert log.to_bytes() == data
        assert len(log.events) == expected.get("events", len(log.events))
        assert sum(not e.extends for e in log.events) == expected.get("no_action_events", facts_no_action(log))
        assert len(data) - len(log.padding) == expected.get("used_bytes", len(data))
        if "events_whose_digest_is_hash_of_event_data" in expected:
            matching = [entry for entry in uefi_event_logs(facts.log) if entry["digest_matches_event"]]
            assert len(matching) == expected["events_whose_digest_is_hash_of_event_data"]
    else:
        assert [event["name"] for event in facts["dstack_events"]] == expected["events"]
    assert facts.log.unexplained == ()


def facts_no_action(log: TcgLog) -> int:
    return sum(event.type == EventType.EV_NO_ACTION for event in log.events)


def oracle(data: bytes) -> dict[str, dict[int, bytes]]:
    """Replays a log without the parser: registers by bank name."""
    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")
    agile = data[32:47] in (b"Spec ID Event03", bytes(15))
    sizes = {number(60 + 4 * n, 2): number(62 + 4 * n, 2) for n in range(number(56, 4))} if agile else {4: 20}
    at, values, locality = (32 + number(28, 4) if agile else 0), {}, 0
    while at < len(data) and data[at : at + 8] not in (bytes(8), b"\xff" * 8):
        index, kind, at = number(at, 4), number(at + 4, 4), at + 8
        at, digests = (at + 4, {}) if agile else (at, {4: data[at : at + 20]})
        for _ in range(number(at - 4, 4) if agile else 0):
            digests[number(at, 2)] = data[at + 2 : at + 2 + sizes[number(at, 2)]]
            at += 2 + sizes[number(at, 2)]
        at += 0 if agile else 20
        body, at = data[at + 4 : at + 4 + number(at, 4)], at + 4 + number(at, 4)
        locality = body[16] if kind == 3 and body[:15] == b"StartupLocality" else locality
        for algorithm, digest in digests.items() if kind != 3 else ():
            name = {4: "sha1", 11: "sha256", 12: "sha384", 18: "sm3"}[algorithm]
            start = (locality if index == 0 else 0).to_bytes(len(digest), "big")
            values.setdefault(name, {})[index] = hashed(name, values.get(name, {}).get(index, start) + digest)
    return values


def hashed(name: str, data: bytes) -> bytes:
    if name != "sm3":
        return hashlib.new(name, data).digest()
    context = hashes.Hash(hashes.SM3())
    context.update(data)
    return context.finalize()


TCG_LOGS = ("eventlog", "tdx", "tpm2", "hygon-csv")


@pytest.mark.corpus(*TCG_LOGS)
def test_the_oracle_replays_the_same(corpus, case):
    for name in ("ccel.bin", "eventlog.bin", "ccel-tdreport.bin"):
        path = corpus.folder(case) / name
        if path.exists():
            data = path.read_bytes()
            log = TcgLog.from_bytes(data)
            assert {bank: replay(log.events, BANKS[bank], PCRS) for bank in oracle(data)} == oracle(data)
            assert describe(data)["replayed"] == {b: dict(sorted(v.items())) for b, v in oracle(data).items()}


def tpm2_eventlog(path: Path) -> dict[str, dict[int, bytes]]:
    told = subprocess.run([TPM2_EVENTLOG, path], capture_output=True, check=True).stdout
    banks: dict[str, dict[int, bytes]] = {}
    for line in told.decode("utf-8", "replace").partition("\npcrs:\n")[2].splitlines():
        bank, register = re.fullmatch(r"  (\w+):", line), re.fullmatch(r"    (\d+) *: 0x([0-9a-f]+)", line)
        if bank:
            values = banks.setdefault(bank[1], {})
        elif register:
            values[int(register[1])] = bytes.fromhex(register[2])
    return banks


@pytest.mark.skipif(TPM2_EVENTLOG is None, reason="tpm2-tools missing: apt-get install tpm2-tools")
@pytest.mark.corpus("eventlog", "tpm2", "tdx")
def test_tpm2_tools_replays_the_same(corpus, case, tmp_path):
    """Version 5.4 knows no padding, no header that names a register, no SM3, no td-shim; and it extends PCR 0 with
    EV_NO_ACTION events, which nothing does: the quoted values say so."""
    for path in (corpus.folder(case) / name for name in ("ccel.bin", "eventlog.bin")):
        if not path.exists() or case["case"] in ("ccel/trustee-hygon-csv-sm3", "ccel/trustee-td-shim"):
            continue
        log = TcgLog.from_bytes(path.read_bytes())
        spec_id = None if log.spec_id is None else replace(log.spec_id, index=0)
        plain = tmp_path / "log"
        plain.write_bytes(replace(log, spec_id=spec_id, padding=b"").to_bytes())
        ours = {bank.bank: replay(log.events, bank, PCRS) for bank in Algorithm
                if all(event.digest(bank) is not None for event in log.events)}
        theirs = tpm2_eventlog(plain)
        if facts_no_action(log):
            for values in (*ours.values(), *theirs.values()):
                del values[0]
        assert theirs == ours


READ_BY_TRUSTEE = ("trustee-alibaba-ccel-with-aael", "trustee-hygon-csv-sm3", "trustee-ovmf-direct-kernel",
                   "trustee-ovmf-grub", "trustee-td-shim")


@pytest.mark.parametrize("name", READ_BY_TRUSTEE)
def test_trustee_reads_the_same_words(corpus, name):
    """But for td-shim's tables, of which it tells a name with a command line or neither."""
    case = corpus.case(f"ccel/{name}")
    path = corpus.folder(case) / "upstream-parsed.json"
    facts = facts_of(case, log_in(corpus.folder(case)))
    ours = uefi_event_logs(facts.log, dangerous_descriptions=True)
    theirs = json.loads(path.read_text("utf-8"))["uefi_event_logs"]
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        if name == "trustee-td-shim" and mine["type_name"] == "EV_PLATFORM_CONFIG_FLAGS":
            mine, other = ({k: v for k, v in entry.items() if k != "details"} for entry in (mine, other))
        assert mine == other


@pytest.mark.corpus("eventlog")
def test_a_flipped_bit_in_any_digest_refuses(corpus, case):
    """One bit of each digest of each bank that was recorded. A run-time event of dstack's tells its digest as well."""
    log = parse(log_in(corpus.folder(case)))
    recorded = set(case["expected"]["claims"].get("pcrs_recorded_upstream", [bank.bank for bank in Algorithm]))
    for number, event in enumerate(log.events):
        for place, (algorithm, digest) in enumerate(event.digests):
            if not event.extends or Algorithm(algorithm).bank not in recorded:
                continue
            bit = (number * 7 + place) % (8 * len(digest))
            flipped = (int.from_bytes(digest, "big") ^ 1 << bit).to_bytes(len(digest), "big")
            digests = (*event.digests[:place], (algorithm, flipped), *event.digests[place + 1 :])
            events = (*log.events[:number], replace(event, digests=digests), *log.events[number + 1 :])
            with pytest.raises(CheckFailed) as caught:
                facts_of(case, replace(log, events=events).to_bytes())
            rule = "shape" if event.type == EventType.EV_DSTACK_RUNTIME else "replay."
            assert caught.value.id.startswith(f"x.event_log.{rule}")


@pytest.mark.corpus("eventlog")
def test_an_event_left_out_moved_or_repeated_refuses(corpus, case):
    log = parse(log_in(corpus.folder(case)))
    events = log.events
    for number, event in enumerate(events):
        if not event.extends or number % 5:
            continue
        same = next((n for n in range(number + 1, len(events)) if events[n].index == event.index
                     and events[n].extends and events[n].digests != event.digests), None)
        altered = [events[:number] + events[number + 1 :], events[: number + 1] + events[number:]]
        if same is not None:
            swapped = list(events)
            swapped[number], swapped[same] = swapped[same], swapped[number]
            altered.append(tuple(swapped))
        for changed in altered:
            with pytest.raises(CheckFailed) as caught:
                facts_of(case, replace(log, events=changed).to_bytes())
            assert caught.value.id.startswith("x.event_log.replay.")


@pytest.mark.corpus("eventlog")
def test_truncation_at_every_byte_is_refused_or_tells_no_more_than_was_there(corpus, case):
    data = log_in(corpus.folder(case))
    whole = parse(data)
    used = len(data.rstrip(b"\xff\x00"))
    for size in range(0, used, 1 if used < 3000 else 97):
        try:
            part = parse(data[:size])
        except MalformedEvidence:
            continue
        assert part.events == whole.events[: len(part.events)]


def test_the_recorded_acpi_table(corpus):
    folder = corpus.folder("tdx/gcp-v4-cos113-ccel")
    data = (folder / "ccel-acpi-table.bin").read_bytes()
    table = CcelTable.from_bytes(data)
    assert (table.cc_type, table.log_area_minimum_length) == (2, len((folder / "ccel.bin").read_bytes()))
    assert table.to_bytes() == data


def test_aael_texts_give_the_run_time_register(corpus):
    folder = corpus.folder("tdx/alibaba-v4-aael")
    ends = {"AAEL_data_1": "71563a23", "AAEL_data_2": "31fa1788", "AAEL_data_3": "0de62b45"}
    for name, begin in ends.items():
        log = parse((folder / name).read_bytes())
        assert replay(log.events, Algorithm.SHA384, PCRS)[4].hex().startswith(begin)
        assert log.to_bytes() == (folder / name).read_bytes()
    claims = corpus.case("tdx/alibaba-v4-aael")["expected"]["claims"]
    first = parse((folder / "AAEL_data_1").read_bytes())
    assert replay(first.events, Algorithm.SHA384, PCRS)[4].hex() == claims["rtmr3"]


def test_quoted_pcrs_are_explained_by_the_log_of_the_same_machine(corpus):
    """COS 85 in three banks: PCR 10 is the operating system's and not in the log; Windows in SHA-1."""
    case = corpus.case("tpm/gce-cos-85-no-nonce")
    banks = {quote["bank"]: {int(n): bytes.fromhex(v) for n, v in quote["pcrs"].items()}
             for quote in case["expected"]["claims"]["quotes"]}
    facts = check_pcr_log(Trail("tpm"), log_in(corpus.folder(case)), banks)
    assert facts.secure_boot_enabled is True
    assert facts.log.unexplained == ("pcr10",)
    assert len(facts["command_lines"]) == 1
    case = corpus.case("tpm/goattestation-windows-gcp-sha1")
    pcrs = {int(n): bytes.fromhex(v) for n, v in case["expected"]["claims"]["pcrs_sha1"].items()}
    facts = check_pcr_log(Trail("tpm"), log_in(corpus.folder(case)), {"sha1": pcrs})
    assert (facts.secure_boot_enabled, facts.log.form, facts.log.unexplained) == (True, "tcg1.2", ())


def test_the_empty_log_of_an_attestation_agent(corpus):
    data = log_in(corpus.folder("csv/trustee-v1-csv3"))
    log = TcgLog.from_bytes(data)
    assert (log.events, log.spec_id.algorithms, log.to_bytes()) == ((), ((12, 48), (18, 32)), data)
    assert check_ccel(Trail("csv"), data, {}).log.events == ()
    assert check_ccel(Trail("csv"), data, dict.fromkeys(range(5), bytes(32))).log.events == ()
    with pytest.raises(CheckFailed):
        check_ccel(Trail("csv"), data, {**dict.fromkeys(range(5), bytes(32)), 2: b"\x01" * 32})
