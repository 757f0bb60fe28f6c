"""TDX evidence with a log: a software TD's, and every recorded quote that came with one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from verifier import Binding, Evidence, Roots, Tee, Verdict
from verifier.collateral.files import load
from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.dstack import log_of_answer
from verifier.eventlog.registers import TDX
from verifier.eventlog.replay import replay
from verifier.eventlog.tcg import TcgLog
from verifier.formats.quote import Quote
from verifier.software_tee.event_log import BOOT, SoftwareLog
from verifier.verify import verify

UNBOUND = Binding.insecure_unbound()


def verdict_of(case: Any, log: bytes | None, **changes: Any) -> Verdict:
    """A software TD whose quote is ``case``'s, with ``log`` beside it."""
    evidence = replace(case.evidence, event_log=log, **changes)
    return verify(evidence, collateral=Collateral(intel=case.intel_collateral), roots=case.trusted, at=case.at,
                  binding=case.binding)


def td(intel_case: Any, log: SoftwareLog, kind: str = "tdx-v4") -> Any:
    values = log.values(Algorithm.SHA384)
    return intel_case(kind).says(**{f"rtmr{number}": values[number + 1] for number in range(4)})


@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex"])
def test_a_log_that_replays_becomes_claims(intel_case, kind):
    log = SoftwareLog()
    verdict = verdict_of(td(intel_case, log, kind), log.to_bytes())
    assert (verdict.accepted, verdict.error) == (True, None)
    told = verdict.to_dict()["claims"]["event_log"]
    assert (told["form"], told["secure_boot_enabled"]) == ("tcg2", True)
    assert told["image_pulls"][0]["content"]["image"] == "registry.example/software:1"
    assert len(told["uefi_event_logs"]) == len(BOOT)
    assert {f"tdx.event_log.replay.rtmr{n}" for n in range(4)} <= {check.id for check in verdict.checks}


def test_without_a_log_there_are_no_facts_and_no_rules(intel_case):
    verdict = verdict_of(td(intel_case, SoftwareLog()), None)
    assert verdict.accepted
    assert "event_log" not in verdict.claims.body
    assert not any("event_log" in check.id for check in verdict.checks)


@pytest.mark.parametrize("number", range(4))
def test_a_register_that_the_log_does_not_give_refuses(intel_case, number):
    case = td(intel_case, SoftwareLog()).says(**{f"rtmr{number}": b"\x01" * 48})
    verdict = verdict_of(case, SoftwareLog().to_bytes())
    assert (verdict.authentic, verdict.error.id) == (False, f"tdx.event_log.replay.rtmr{number}")
    assert (verdict.status, verdict.claims) == ("UpToDate", None)


@pytest.mark.parametrize("log", [b"", b"x", b"[]x", b"INIT sha384/00", bytes(64), b"\xff" * 64])
def test_a_log_that_does_not_parse_refuses(intel_case, log):
    verdict = verdict_of(td(intel_case, SoftwareLog()), log)
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.event_log.shape")


def test_the_log_is_judged_after_the_quote(intel_case):
    """A broken log beside a quote that nobody signed: the quote refuses."""
    log = SoftwareLog()
    quote = bytearray(td(intel_case, log).raw)
    quote[48 + 520] ^= 1
    verdict = verdict_of(td(intel_case, log), b"no log", quote=bytes(quote))
    assert verdict.authentic is False
    assert verdict.error.id == "tdx.quote.signature"


def test_a_log_of_software_evidence_is_the_guests(intel_case):
    """The image that a software TEE takes has the log's registers."""
    log = SoftwareLog().then(BOOT[0])
    image = log.guest()
    assert [image.rtmr0, image.rtmr1, image.rtmr2, image.rtmr3] == list(log.values(Algorithm.SHA384).values())
    assert replay(log.log().events, Algorithm.SHA384, TDX) == log.values(Algorithm.SHA384)


# -- recorded ----------------------------------------------------------------------------------------------------------


def recorded(corpus: Any, name: str, log: bytes) -> Verdict:
    case = corpus.case(name)
    folder, appraisal = corpus.folder(case), case["appraisals"][0]
    evidence = Evidence(Tee.TDX, (folder / "quote.bin").read_bytes(), event_log=log)
    return verify(evidence, collateral=load([folder / appraisal["collateral"]]), roots=Roots.makers(),
                  at=appraisal["at"], binding=UNBOUND)


@pytest.mark.parametrize(("name", "secure_boot", "command_lines", "images"), [
    ("tdx/gcp-v4-cos113-ccel", False, 1, 2), ("tdx/confdotai-v4-live-ccel", False, 0, 1)])
def test_recorded_logs_replay_to_the_recorded_quotes(corpus, name, secure_boot, command_lines, images):
    verdict = recorded(corpus, name, (corpus.folder(name) / "ccel.bin").read_bytes())
    assert verdict.authentic is True
    facts = verdict.claims.body["event_log"]
    assert facts["secure_boot_enabled"] is secure_boot
    assert (len(facts.get("command_lines", ())), len(facts["images"])) == (command_lines, images)


def test_dstacks_log_replays_to_its_quote(corpus):
    name = "tdx/dstack-v4-quote-report"
    verdict = recorded(corpus, name, log_of_answer((corpus.folder(name) / "quote-report.json").read_bytes()))
    assert verdict.authentic is True
    names = [event["name"] for event in verdict.claims.body["event_log"]["dstack_events"]]
    assert names[:3] == ["system-preparing", "app-id", "compose-hash"]


def test_dstacks_lite_answer_replays_and_its_quote_cannot_be_decided(corpus):
    """Nothing endorses this platform in the folder; the registers are those of the listed values."""
    folder = corpus.folder("ccel/dstack-tdx-lite-getquote")
    log = log_of_answer((folder / "getquote.json").read_bytes())
    evidence = Evidence(Tee.TDX, (folder / "quote.bin").read_bytes(), event_log=log)
    verdict = verify(evidence, collateral=Collateral(intel=IntelCollateral()), roots=Roots.makers(), at=1_780_000_000,
                     binding=UNBOUND)
    assert verdict.authentic is None
    body = Quote.from_bytes(evidence.quote).body
    expected = corpus.case("ccel/dstack-tdx-lite-getquote")["expected"]["claims"]
    assert [getattr(body, f"rtmr{n}").hex() for n in range(4)] == [expected[f"rtmr{n}"] for n in range(4)]


def test_run_time_text_alone_does_not_explain_what_firmware_measured(corpus):
    name = "tdx/alibaba-v4-aael"
    verdict = recorded(corpus, name, (corpus.folder(name) / "AAEL_data_1").read_bytes())
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.event_log.replay.rtmr0")
    assert verdict.status == "OutOfDate"


def test_another_machines_log_refuses(corpus):
    log = (corpus.folder("tdx/confdotai-v4-live-ccel") / "ccel-tdreport.bin").read_bytes()
    verdict = recorded(corpus, "tdx/confdotai-v4-live-ccel", log)
    assert verdict.error.id.startswith("tdx.event_log.replay.rtmr")
    assert TcgLog.from_bytes(log).events
