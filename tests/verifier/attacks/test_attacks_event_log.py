"""Published ways in which event logs deceived, tried here (docs/attacks.md, O-06 to O-08). This file only grows."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import pytest

from verifier import Binding, Expectations, Verdict
from verifier.endorsements.collateral import Collateral
from verifier.errors import MalformedEvidence
from verifier.eventlog.aael import DOMAIN, PULL_IMAGE
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.efi_variable import IMAGE_SECURITY, guid_bytes
from verifier.eventlog.events import Event, EventType
from verifier.eventlog.registers import PCRS
from verifier.eventlog.replay import replay
from verifier.eventlog.signature_list import read_signature_lists
from verifier.eventlog.tcg import SpecId, TcgLog
from verifier.software_tee.event_log import BOOT, Measured, SoftwareLog, image, runtime, stub_tag, variable
from verifier.verify import verify

SHA256 = guid_bytes("c1c41626-504c-4092-aca9-41f936934328")
HEADER = len(SoftwareLog(()).log().to_bytes()) - 64
FORGED = b"\xee" * 32
PULL = '{"digest":"sha256:55","image":"registry.example/a:1"}'


class Guest:
    """A software TD that measured ``log``; what it tells can be altered, and its registers."""

    def __init__(self, intel_case: Any, log: SoftwareLog) -> None:
        values = log.values(Algorithm.SHA384)
        self.log, self.case = log, intel_case().says(**{f"rtmr{n}": values[n + 1] for n in range(4)})

    def verdict(self, log: bytes | None = None, **expected: Any) -> Verdict:
        told = self.log.to_bytes() if log is None else log
        return verify(replace(self.case.evidence, event_log=told), at=self.case.at, roots=self.case.trusted,
                      collateral=Collateral(intel=self.case.intel_collateral), binding=Binding.insecure_unbound(),
                      expectations=Expectations(**expected))

    def facts(self, log: bytes | None = None) -> dict[str, Any]:
        verdict = self.verdict(log)
        assert verdict.authentic is True, verdict.error
        return verdict.claims.body["event_log"]

    def refusal(self, log: bytes | None = None) -> str:
        verdict = self.verdict(log)
        assert verdict.authentic is False
        return verdict.error.id


@pytest.fixture
def guest(intel_case: Any):
    return lambda *events: Guest(intel_case, SoftwareLog(events or BOOT))


def saying(guest: Guest, number: int, **changes: Any) -> bytes:
    """The guest's log with one event's words changed and its digests kept."""
    log = guest.log.log()
    events = (*log.events[:number], replace(log.events[number], **changes), *log.events[number + 1 :])
    return replace(log, events=events).to_bytes()


# -- O-06 parsers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3])
def test_o06_header_bytes_of_a_signature_list_are_no_signatures(guest, k):
    """GHSA-9r4w-jg96-92mv: a vendor header holds forged hashes, in a list that is otherwise right, and measured."""
    header = FORGED * k
    value = struct.pack("<16sIII", SHA256, 28 + len(header) + 48, len(header), 48) + header + bytes(16) + b"\x01" * 32
    with pytest.raises(MalformedEvidence) as caught:
        read_signature_lists(value)
    assert caught.value.id == "format.efi_signature_list"
    facts = guest(variable(1, "db", value, IMAGE_SECURITY)).facts()
    assert "signature_databases" not in facts
    assert facts["digests"][0]["number"] == 0
    assert FORGED not in [s["value"] for d in facts.get("signature_databases", ()) for s in d["signatures"]]


@pytest.mark.parametrize("offset", [16, 20, 24])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_o06_sizes_of_a_signature_list_can_neither_wrap_nor_vanish(offset, size):
    value = bytearray(struct.pack("<16sIII", SHA256, 28 + 48, 1, 48) + bytes(16) + FORGED)
    struct.pack_into("<I", value, offset, size)
    if (offset, size) == (20, 0):
        assert len(read_signature_lists(bytes(value))) == 1
        return
    with pytest.raises(MalformedEvidence):
        read_signature_lists(bytes(value))


@pytest.mark.parametrize(("offset", "value"), [
    (0, b"\xff\xff\xff\xff"), (8, b"\x00\x00\x00\x00"), (8, b"\xff\xff\x00\x00"), (8, b"\xff\xff\xff\xff"),
    (62, b"\xff\xff\xff\xff"), (62, b"\x00\x00\x00\x00"),
], ids=["index -1", "0 digests", "65535 digests", "-1 digests", "size -1", "size 0"])
def test_o06_hostile_fields_of_an_event_refuse(guest, offset, value):
    data = bytearray(guest().log.to_bytes())
    data[HEADER + offset : HEADER + offset + 4] = value
    assert guest().refusal(bytes(data)) == "tdx.event_log.shape"


def test_o06_two_spec_id_events_refuse(guest):
    log = guest().log.log()
    second = Event(1, int(EventType.EV_NO_ACTION), log.events[0].digests, SpecId(((0xC, 48),)).to_bytes())
    for place in (0, 1, len(log.events)):
        events = (*log.events[:place], second, *log.events[place:])
        assert guest().refusal(replace(log, events=events).to_bytes()) == "tdx.event_log.shape"


def test_o06_a_log_cut_at_any_byte_refuses(guest):
    whole = guest()
    data, prepared = whole.log.to_bytes(), set()
    for size in range(0, len(data) - 64, 37):
        prepared.add(whole.refusal(data[:size]).rpartition(".")[0])
    assert prepared == {"tdx.event_log", "tdx.event_log.replay"}


def test_o06_informational_events_are_not_measurements(guest):
    """One that tells of secure boot and of an image pull, in the right registers, before and after."""
    off = guest(variable(1, "SecureBoot", b"\x00"), *BOOT[5:-1])
    log = off.log.log()
    told = [replace(event.event((Algorithm.SHA384,)), type=int(EventType.EV_NO_ACTION))
            for event in (variable(1, "SecureBoot", b"\x01"), runtime(DOMAIN, PULL_IMAGE, PULL))]
    facts = off.facts(replace(log, events=(*told, *log.events, *told)).to_bytes())
    assert facts["secure_boot_enabled"] is False
    assert "image_pulls" not in facts
    assert len(facts["uefi_event_logs"]) == len(log.events)


def test_o06_registers_of_a_dynamic_launch_start_at_ones_or_zero():
    events = SoftwareLog((Measured(17, EventType.EV_SEPARATOR, bytes(4)),)).log().events
    digest = Algorithm.SHA384.digest(bytes(4))
    assert replay(events, Algorithm.SHA384, PCRS) == {17: Algorithm.SHA384.digest(bytes(48) + digest)}
    assert PCRS.registers[18].start(48, extended=False) == b"\xff" * 48


@pytest.mark.parametrize("number", range(4))
def test_o06_a_register_without_events_that_holds_something_refuses(guest, number):
    quiet = guest(Measured(1, EventType.EV_SEPARATOR, bytes(4)))
    quiet.case = quiet.case.says(**{f"rtmr{number}": b"\x01" * 48})
    assert quiet.refusal() == f"tdx.event_log.replay.rtmr{number}"


@pytest.mark.parametrize("log", [TcgLog(SpecId(((0xC, 48),)), ()).to_bytes(), b"[]", b"INIT sha384/" + b"0" * 96])
def test_o06_a_log_that_tells_nothing_explains_nothing(guest, log):
    assert guest().refusal(log).startswith("tdx.event_log.replay.rtmr")


# -- O-07 payloads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [n for n, event in enumerate(BOOT) if event.hashed is None and len(event.data) > 4])
def test_o07_a_payload_that_its_digest_does_not_cover_is_never_a_fact(guest, number):
    other = {EventType.EV_EFI_ACTION: b"Something else", EventType.EV_EVENT_TAG: runtime(
        DOMAIN, PULL_IMAGE, PULL).data, EventType.EV_EFI_VARIABLE_DRIVER_CONFIG: variable(1, "db", FORGED).data}
    good = guest()
    facts = good.facts(saying(good, number, data=other[BOOT[number].type]))
    assert [entry["number"] for entry in facts["digests"]] == [number]
    assert facts["digests"][0]["content_proved"] is False
    for name, entries in facts.items():
        if isinstance(entries, list) and name not in ("digests", "secure_boot", "uefi_event_logs"):
            assert number not in [entry["number"] for entry in entries]
    (entry,) = [e for n, e in enumerate(facts["uefi_event_logs"]) if n == number]
    assert (entry["digest_matches_event"], entry["details"]) == (False, {})


def test_o07_a_missing_payload_is_no_fact(guest):
    good = guest()
    for number in range(len(BOOT)):
        facts = good.facts(saying(good, number, data=b""))
        kept = {name for name, entries in facts.items() if isinstance(entries, list)
                and name not in ("uefi_event_logs",) and any(e["number"] == number for e in entries)}
        assert kept <= {"digests", "secure_boot", "separators", "images"}


@pytest.mark.parametrize("content", [json.dumps(json.loads(PULL), indent=1).replace("\n", " "),
                                     PULL.replace('"d', ' "d'),
                                     '{"image":"registry.example/a:1","digest":"sha256:55"}',
                                     '{"digest":"sha256:55","digest":"sha256:66","image":"a"}'])
def test_o07_a_pull_spelled_in_another_way_is_no_pull(guest, content):
    """Measured as it stands, so the digest is right: what it means must not depend on who parses it."""
    facts = guest(runtime(DOMAIN, PULL_IMAGE, content)).facts()
    assert "image_pulls" not in facts
    assert facts["runtime_events"][0]["content"] == content


def test_o07_events_of_one_name_are_a_list(guest):
    pulls = [PULL.replace("a:1", f"a:{n}") for n in range(3)]
    lines = [Measured(3, EventType.EV_IPL, b"kernel_cmdline: " + line + b"\x00", line) for line in (b"one", b"two")]
    facts = guest(*lines, *(runtime(DOMAIN, PULL_IMAGE, pull) for pull in pulls)).facts()
    assert [e["content"]["image"] for e in facts["image_pulls"]] == [f"registry.example/a:{n}" for n in range(3)]
    assert [(e["number"], e["text"]) for e in facts["command_lines"]] == [(0, "one"), (1, "two")]


def test_o07_what_an_image_is_called_is_told_as_unverified(guest):
    """The digest is the image's: its path in the log may say anything."""
    good = guest(image(2, b"evil"))
    (entry,) = good.facts()["images"]
    assert entry["digests"] == {"sha384": Algorithm.SHA384.digest(b"evil")}
    assert set(entry) == {"number", "register", "separators", "digests", "unverified"}
    renamed = image(2, b"evil").data.replace("kernel".encode("utf-16-le"), "nelker".encode("utf-16-le"))
    (other,) = good.facts(saying(good, 0, data=renamed))["images"]
    assert (other["digests"], other["unverified"]["device_paths"][-1]) == (entry["digests"], "File(nelker)")


def test_o07_two_descriptions_exchanged_exchange_no_digest(guest):
    options = stub_tag(bytes.fromhex("ed223b8f"), b"LOADED_IMAGE::LoadOptions\x00", b"options")
    initrd = stub_tag(bytes.fromhex("ec223b8f"), b"Linux initrd\x00", b"initrd")
    good = guest(options, initrd)
    log = good.log.log()
    swapped = tuple(replace(a, data=b.data) for a, b in zip(log.events, log.events[::-1], strict=True))
    facts = good.facts(replace(log, events=swapped).to_bytes())
    for name in ("initrds", "load_options"):
        assert "unverified" in facts[name][0]
        assert set(facts[name][0]) == {"number", "register", "separators", "digests", "unverified"}


def test_o07_the_host_cannot_say_that_secure_boot_was_on(guest):
    """It was off, the log calls that something else and tells of it nowhere; or a table of the host's choosing hashes
    to what the variable would: neither makes it True."""
    off = guest(variable(1, "SecureBoot", b"\x00"), Measured(1, EventType.EV_SEPARATOR, bytes(4)))
    facts = off.facts(saying(off, 0, type=int(EventType.EV_PLATFORM_CONFIG_FLAGS), data=b"ACPI DATA"))
    assert facts["secure_boot_enabled"] is False
    chosen = Measured(1, EventType.EV_PLATFORM_CONFIG_FLAGS, b"ACPI DATA", variable(1, "SecureBoot", b"\x01").data)
    both = guest(chosen, variable(1, "SecureBoot", b"\x00"), Measured(1, EventType.EV_SEPARATOR, bytes(4)))
    told = saying(both, 0, type=int(EventType.EV_EFI_VARIABLE_DRIVER_CONFIG), data=chosen.hashed)
    assert both.facts(told)["secure_boot_enabled"] is None
    assert [entry["enabled"] for entry in both.facts(told)["secure_boot"]] == [True, False]


# -- O-08 what the guest can write, and caps ---------------------------------------------------------------------------


def test_o08_the_same_run_time_registers_in_another_base_image_are_refused_by_the_pinned_boot(guest):
    """An image that replays somebody's RTMR3 exactly: its log replays too. What differs is what booted it."""
    good, evil = guest(), guest(*(replace(e, hashed=b"evil kernel") if e.index == 2 else e for e in BOOT))
    assert evil.facts()["image_pulls"] == good.facts()["image_pulls"]
    body = good.verdict().claims.body
    assert evil.verdict(rtmr3=(body["rtmr3"],)).accepted
    pinned = {name: (body[name],) for name in ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3")}
    assert good.verdict(**pinned).accepted
    verdict = evil.verdict(**pinned)
    assert not verdict.accepted
    assert [check.id for check in verdict.mismatches] == ["tdx.expect.rtmr1"]


def test_o08_what_comes_after_a_cap_is_told_as_coming_after_it(guest):
    cap = Measured(1, EventType.EV_SEPARATOR, bytes(4))
    late = guest(variable(1, "SecureBoot", b"\x00"), cap, variable(1, "SecureBoot", b"\x01"))
    facts = late.facts()
    assert [(e["enabled"], e["separators"]) for e in facts["secure_boot"]] == [(False, 0), (True, 1)]
    assert facts["secure_boot_enabled"] is None
    relabelled = late.facts(saying(late, 1, type=int(EventType.EV_EFI_ACTION), data=b"Calling EFI Application"))
    assert [(e["enabled"], e["separators"]) for e in relabelled["secure_boot"]] == [(False, 0), (True, 1)]
    assert relabelled["separators"] == facts["separators"]


@pytest.mark.parametrize("lost", [-1, -2])
def test_o08_a_register_extended_without_its_log_line_or_a_line_without_its_extension_refuses(guest, lost):
    """The process died between the two; or the log was begun again."""
    whole = guest(*BOOT, runtime(DOMAIN, PULL_IMAGE, PULL))
    log = whole.log.log()
    without = log.events[:lost] + (log.events[lost + 1 :] if lost + 1 else ())
    assert whole.refusal(replace(log, events=without).to_bytes()) == "tdx.event_log.replay.rtmr3"
    doubled = (*log.events, log.events[lost])
    assert whole.refusal(replace(log, events=doubled).to_bytes()) == "tdx.event_log.replay.rtmr3"
