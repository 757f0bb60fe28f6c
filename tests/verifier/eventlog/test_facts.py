"""From proved payloads to facts: what is read where, and what stays a digest."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.eventlog.aael import DOMAIN, PULL_IMAGE
from verifier.eventlog.algorithms import Algorithm
from verifier.eventlog.ccel import parse
from verifier.eventlog.efi_variable import GLOBAL, IMAGE_SECURITY, Variable, guid_bytes
from verifier.eventlog.events import Event, EventType
from verifier.eventlog.facts import LISTS, Facts
from verifier.eventlog.payload import OPAQUE, narrow_text, proved, wide_text
from verifier.eventlog.registers import PCRS, TDX, Layout
from verifier.eventlog.replay import believe, replay
from verifier.eventlog.tcg import TcgLog
from verifier.eventlog.trustee import uefi_event_logs
from verifier.results.verdict import jsonable
from verifier.software_tee.event_log import BOOT, Measured, SoftwareLog, runtime, variable
from verifier.trail import Trail

PCR_BANKS = (Algorithm.SHA1, Algorithm.SHA256)
PULL = '{"digest":"sha256:55","image":"registry.example/a:1"}'
Telling = Callable[[TcgLog], TcgLog]


def facts_of(log: TcgLog, layout: Layout = TDX) -> Facts:
    """The facts of a log that replays, because its registers are made from its digests."""
    banks = PCR_BANKS if layout is PCRS else (Algorithm.SHA384,)
    signed = {bank: replay(log.events, bank, layout) for bank in banks}
    return Facts.of(believe(Trail("x"), log, signed, layout))


def measured(*events: Measured, layout: Layout = TDX, told: Telling | None = None) -> Facts:
    log = SoftwareLog(events, PCR_BANKS if layout is PCRS else (Algorithm.SHA384,))
    return facts_of((log if told is None else replace(log, told=told)).log(), layout)


def saying(**changes: Any) -> Telling:
    """The first event says something else; its digests stay."""
    return lambda log: replace(log, events=(replace(log.events[0], **changes), *log.events[1:]))


def text(index: int, said: bytes, hashed: bytes | None = None, type: int = EventType.EV_IPL) -> Measured:
    return Measured(index, type, said, hashed)


def found(facts: Facts) -> dict[str, int]:
    return {name: len(facts[name]) for name in LISTS if facts[name]}


def test_a_boot_in_full():
    facts = measured(*BOOT)
    assert found(facts) == {"separators": 2, "secure_boot": 1, "variables": 1, "signature_databases": 4,
                            "boot_order": 1, "images": 1, "actions": 2, "load_options": 1, "initrds": 1,
                            "runtime_events": 1, "image_pulls": 1}
    assert facts.secure_boot_enabled is True
    assert facts["image_pulls"][0]["content"]["image"] == "registry.example/software:1"
    assert facts["images"][0]["digests"] == {"sha384": Algorithm.SHA384.digest(b"software kernel")}
    assert facts["images"][0]["unverified"]["device_paths"][-1] == "File(kernel)"
    assert {name for name, entries in facts.claims().items() if entries == []} == {
        "unexplained_registers", "unsigned_registers"}
    assert facts.claims()["registers"]["rtmr0"] == {"sha384": SoftwareLog().values(Algorithm.SHA384)[1]}


def test_every_entry_has_its_place():
    facts = measured(*BOOT)
    for entries in facts.lists.values():
        for entry in entries:
            assert entry["register"] == f"rtmr{BOOT[entry['number']].index - 1}"
            before = [e for e in BOOT[: entry["number"]] if e.index == BOOT[entry["number"]].index]
            assert entry["separators"] == sum(e.type == EventType.EV_SEPARATOR for e in before)


# -- payload -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", sorted(OPAQUE))
def test_what_was_loaded_is_never_read_even_if_its_name_hashes(type):
    facts = measured(Measured(2, type, b"name"))
    assert found(facts) in ({"digests": 1}, {"images": 1})
    entry = (*facts["digests"], *facts["images"])[0]
    assert entry.get("content_proved", False) is False


@pytest.mark.parametrize("event", BOOT, ids=lambda e: f"{EventType(e.type).name}-{len(e.data)}")
def test_a_payload_with_another_byte_proves_nothing(event):
    log = SoftwareLog((event,)).log()
    for offset in range(0, len(event.data), 3):
        data = bytearray(event.data)
        data[offset] ^= 1
        altered = replace(log, events=(replace(log.events[0], data=bytes(data)),))
        replayed = facts_of(altered).log.events[0]
        assert replayed.said.data == bytes(data)
        assert proved(replayed) is None or not proved(replayed).whole


def test_a_payload_must_hash_in_every_signed_bank():
    """Here the SHA-1 digest is of the words and the SHA-256 digest is not."""
    log = SoftwareLog((text(4, b"words", type=EventType.EV_EFI_ACTION),), PCR_BANKS).log()
    (event,) = log.events
    split = replace(event, digests=(event.digests[0], (int(Algorithm.SHA256), Algorithm.SHA256.digest(b"others"))))
    assert found(facts_of(log, PCRS)) == {"actions": 1}
    assert found(facts_of(replace(log, events=(split,)), PCRS)) == {"digests": 1}


@pytest.mark.parametrize("event", BOOT, ids=lambda e: f"{EventType(e.type).name}-{len(e.data)}")
def test_descriptions_count_only_in_their_registers(event):
    """Where another register's events are, a description is a digest's and names no image and no initrd."""
    wrong = {1: 3, 2: 3, 3: 1, 4: 2}[event.index]
    found_there = found(measured(replace(event, index=wrong)))
    assert set(found_there) <= {"digests", "separators"}


def test_texts_are_exact():
    assert wide_text("ab\x00".encode("utf-16-le")) == "ab"
    assert [wide_text(data) for data in (b"", b"\x00\x00", b"ab", b"a\x00b\x00\x00", b"\x00\xd8\x00\x00",
                                         "a\x00b\x00".encode("utf-16-le"))] == [None] * 6
    assert (narrow_text(b"ab\x00"), narrow_text(b"ab"), narrow_text(b"a\x00b"), narrow_text(b"\xff")) == (
        "ab", "ab", None, None)


# -- variables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "enabled"), [(b"\x01", True), (b"\x00", False), (b"", False)])
@pytest.mark.parametrize(("layout", "index"), [(TDX, 1), (PCRS, 7)])
def test_secure_boot_is_told_by_its_digest(value, enabled, layout, index):
    event = variable(index, "SecureBoot", value)
    assert measured(event, layout=layout).secure_boot_enabled is enabled
    hidden = measured(event, layout=layout, told=saying(type=int(EventType.EV_POST_CODE), data=b"nothing"))
    assert hidden.secure_boot_enabled is enabled
    assert found(hidden) == {"secure_boot": 1, "digests": 1}


def test_secure_boot_has_one_answer_or_none():
    on, off, cap = variable(1, "SecureBoot", b"\x01"), variable(1, "SecureBoot", b"\x00"), text(
        1, bytes(4), type=EventType.EV_SEPARATOR)
    assert measured(on, on, cap).secure_boot_enabled is True
    assert measured().secure_boot_enabled is None
    assert measured(on, off).secure_boot_enabled is None
    assert measured(off, on).secure_boot_enabled is None
    assert measured(cap, on).secure_boot_enabled is None
    assert measured(off, cap, on).secure_boot_enabled is None
    assert measured(variable(1, "SecureBoot", b"\x02"), cap).secure_boot_enabled is None
    assert [e["separators"] for e in measured(off, cap, on)["secure_boot"]] == [0, 1]


@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, 5, 6, 8, 14, 23])
def test_variables_of_policy_are_read_from_pcr_7_only(index):
    assert found(measured(variable(index, "SecureBoot", b"\x01"), layout=PCRS)) == {"digests": 1}


def test_databases_are_read_by_signature_or_stay_a_digest():
    owner, sha256 = bytes(16), guid_bytes("c1c41626-504c-4092-aca9-41f936934328")
    value = struct.pack("<16sIII", sha256, 28 + 48, 0, 48) + owner + b"\x07" * 32
    assert measured(variable(1, "dbx", value, IMAGE_SECURITY))["signature_databases"][0]["signatures"] == [
        {"kind": "sha256", "owner": "00000000-0000-0000-0000-000000000000", "value": b"\x07" * 32}]
    broken = measured(variable(1, "dbx", value + b"x", IMAGE_SECURITY))
    assert found(broken) == {"digests": 1}
    assert broken["digests"][0]["content_proved"] is True


def test_an_authority_is_a_certificate_or_a_variable_of_shims():
    kind = EventType.EV_EFI_VARIABLE_AUTHORITY
    (entry,) = measured(variable(1, "db", bytes(16) + b"certificate", IMAGE_SECURITY, kind))["authorities"]
    assert entry["sha256"] == Algorithm.SHA256.digest(b"certificate")
    (entry,) = measured(variable(1, "SbatLevel", b"sbat,1\n", type=kind))["authorities"]
    assert entry["data"] == b"sbat,1\n"


def option(description: str = "Linux") -> bytes:
    return struct.pack("<IH", 1, 4) + (description + "\x00").encode("utf-16-le") + bytes.fromhex("7fff0400")


def test_boot_variables_hashed_whole_have_a_name_and_others_only_say_one():
    boot = EventType.EV_EFI_VARIABLE_BOOT
    whole = Measured(1, boot, Variable(GLOBAL, "Boot0001", option()).to_bytes())
    (entry,) = measured(whole)["boot_options"]
    assert (entry["name"], entry["description"], "unverified" in entry) == ("Boot0001", "Linux", False)
    (entry,) = measured(variable(1, "Boot0001", option(), type=boot))["boot_options"]
    assert (entry["unverified"], "name" in entry) == ({"name": "Boot0001"}, False)
    (entry,) = measured(variable(1, "BootOrder", b"\x01\x00\x00\x00", type=boot))["boot_order"]
    assert entry["order"] == ["Boot0001", "Boot0000"]
    (entry,) = measured(variable(1, "Other", b"x", type=boot))["variables"]
    assert (entry["data"], entry["unverified"]) == (b"x", {"name": "Other"})
    assert found(measured(variable(3, "Boot0001", option(), type=boot))) == {"digests": 1}


# -- loaders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "hashed", "name"), [
    (b"grub_cmd: linux /vmlinuz quiet\x00", b"linux /vmlinuz quiet", "grub_commands"),
    (b"grub_cmd linux /vmlinuz quiet\x00\x9f", b"linux /vmlinuz quiet\x00", "grub_commands"),
    (b"kernel_cmdline: linux /vmlinuz quiet\x00", b"linux /vmlinuz quiet", "command_lines"),
    (b"grub_kernel_cmdline linux /vmlinuz quiet\x00x", b"linux /vmlinuz quiet", "command_lines"),
    (b"module_cmdline: linux /vmlinuz quiet\x00", b"linux /vmlinuz quiet", "command_lines"),
])
def test_grubs_texts_are_read_without_their_label(said, hashed, name):
    for layout, index in ((TDX, 3), (PCRS, 8)):
        (entry,) = measured(text(index, said, hashed), layout=layout)[name]
        assert entry["text"] == "linux /vmlinuz quiet"
        assert entry["unverified"] == {"label": said.partition(b" ")[0].rstrip(b":").decode()}
    assert found(measured(text(2, said, hashed))) == {"digests": 1}
    assert found(measured(text(3, said, hashed + b"x"))) == {"digests": 1}


def test_systemds_texts_and_sections():
    line, name = "quiet splash\x00".encode("utf-16-le"), ".linux\x00".encode("utf-16-le")
    assert measured(text(12, line), layout=PCRS)["command_lines"][0]["text"] == "quiet splash"
    assert measured(text(3, line))["texts"][0]["text"] == "quiet splash"
    facts = measured(text(11, name, b".linux\x00"), text(12, line), text(11, name, b"the kernel"), layout=PCRS)
    (section,) = facts["sections"]
    assert (section["name"], section["digests"]["sha256"]) == (".linux", Algorithm.SHA256.digest(b"the kernel"))
    assert "digests" not in measured(text(11, name, b".linux\x00"), layout=PCRS)["sections"][0]


def test_td_shims_command_line():
    def event(line: bytes, size: int | None = None) -> Measured:
        content = line.ljust(64, b"\x00")
        head = b"td_payload_info\x00" + (64 if size is None else size).to_bytes(4, "little")
        return Measured(2, EventType.EV_PLATFORM_CONFIG_FLAGS, head + content, content)
    assert measured(event(b"root=/dev/vda1"))["command_lines"][0]["text"] == "root=/dev/vda1"
    for broken in (event(b"root\x00more"), event(b"\xff"), event(b"root", 63)):
        assert found(measured(broken)) == {"digests": 1}
    payload = Measured(2, EventType.EV_EFI_PLATFORM_FIRMWARE_BLOB2, b"\x0btd_payload\x00" + bytes(16), b"kernel")
    assert found(measured(payload)) == {"images": 1}


# -- run time ----------------------------------------------------------------------------------------------------------


def test_image_pulls_are_a_list():
    pulls = measured(*(runtime(DOMAIN, PULL_IMAGE, PULL.replace("a:1", f"a:{n}")) for n in range(3)))["image_pulls"]
    assert [(p["number"], p["content"]["image"]) for p in pulls] == [(n, f"registry.example/a:{n}") for n in range(3)]


@pytest.mark.parametrize("content", [PULL.replace(":", ": ", 1), '{"image":"a","digest":"b"}', '{"a":1,"a":1}', "[]",
                                     "text", '{"a":1.0}', '{"a":9007199254740993}', '{"a":1e400}', '{"a":"\\u0061"}'])
def test_a_pull_that_is_not_canonical_json_is_an_event_and_no_pull(content):
    assert found(measured(runtime(DOMAIN, PULL_IMAGE, content))) == {"runtime_events": 1}


@pytest.mark.parametrize(("domain", "operation"), [("github.com/other", PULL_IMAGE), (DOMAIN, "Pull")])
def test_a_pull_has_its_domain_and_operation(domain, operation):
    assert found(measured(runtime(domain, operation, PULL))) == {"runtime_events": 1}


@pytest.mark.parametrize("index", [1, 2, 3])
def test_run_time_events_are_read_from_the_run_time_register_only(index):
    assert found(measured(replace(runtime(DOMAIN, PULL_IMAGE, PULL), index=index))) == {"digests": 1}


def test_aael_text_and_dstacks_events():
    log = parse(b"INIT sha384/" + b"0" * 96 + f"\n{DOMAIN} {PULL_IMAGE} {PULL}".encode())
    facts = facts_of(log)
    assert found(facts) == {"actions": 1, "runtime_events": 1, "image_pulls": 1}
    log = parse(b'[{"imr":3,"event_type":134217729,"digest":"","event":"app-id","event_payload":"c0ffee"},'
                b'{"imr":0,"event_type":4,"digest":"' + b"11" * 48 + b'","event":"acpi","event_payload":""}]')
    facts = facts_of(log)
    assert [(e["name"], e["payload"]) for e in facts["dstack_events"]] == [("app-id", b"\xc0\xff\xee")]
    assert facts["digests"][0]["unverified"]["label"] == "acpi"


# -- Trustee's shape ---------------------------------------------------------------------------------------------------


def test_unproved_words_are_under_their_name_unless_asked_for():
    facts = measured(*BOOT)
    as_trustee = uefi_event_logs(facts.log, dangerous_descriptions=True)
    for safe, raw in zip(uefi_event_logs(facts.log), as_trustee, strict=True):
        assert set(raw) == {"index", "type_name", "digest_matches_event", "digests", "event", "details"}
        told = safe["details"] if safe["digest_matches_event"] else safe["unverified"]["details"]
        assert told == raw["details"]
        assert safe["digest_matches_event"] or safe["details"] == {}
        assert "event" not in safe


@given(st.lists(st.builds(Event, st.sampled_from([1, 2, 3, 4]),
                          st.sampled_from([t for t in EventType if t < 1 << 32]).map(int),
                          st.just(()), st.binary(max_size=80) | st.sampled_from([e.data for e in BOOT])), max_size=6))
def test_whatever_events_say_facts_are_plain_values(events):
    """Every event hashes to its data, so that every reader sees what comes."""
    hashed = tuple(replace(e, digests=((int(Algorithm.SHA384), Algorithm.SHA384.digest(e.data)),)) for e in events)
    facts = facts_of(TcgLog(SoftwareLog(()).log().spec_id, hashed))
    assert jsonable(facts.claims())["form"] == "tcg2"
    assert sum(e.extends for e in hashed) == len(facts.claims()["uefi_event_logs"])
