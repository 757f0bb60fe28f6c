"""Event logs: `verifier.eventlog`. A log is whatever its keeper says, so everything in it is hostile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from tests.fuzz import seeds
from tests.fuzz.harness import EVIDENCE, MALFORMED, Target, written_again, written_exactly
from tests.fuzz.seeds import lazily, many, recorded, these, within
from verifier.errors import CheckFailed, EvidenceError
from verifier.eventlog import ccel, show, trustee
from verifier.eventlog.aael import AaelLog, RuntimeText
from verifier.eventlog.algorithms import SIZES, Algorithm
from verifier.eventlog.ccel import CcelTable
from verifier.eventlog.device_path import ImageLoad, LoadOption, read_boot_order, read_device_paths
from verifier.eventlog.dstack import DstackLog, RuntimeEvent, log_of_answer
from verifier.eventlog.efi_variable import Variable
from verifier.eventlog.events import Event, EventType
from verifier.eventlog.facts import Facts
from verifier.eventlog.gpt import PartitionTable
from verifier.eventlog.registers import PCRS, TDX
from verifier.eventlog.replay import BOOT_VARIABLES, believe
from verifier.eventlog.replay import replay as replayed
from verifier.eventlog.signature_list import read_signature_lists
from verifier.eventlog.tcg import SpecId, TcgLog
from verifier.results.verdict import jsonable
from verifier.trail import Trail

TCG_LOGS = many(lazily(lambda: [seeds.event_log()]), recorded(
    "ccel/*/*.bin", "eventlog/*/*", "tdx/*/ccel.bin", "tdx/*/eventlog.bin", "tpm/*/eventlog.bin", "csv/*/ccel.bin"))
_DSTACK = DstackLog((
    Event(1, EventType.EV_SEPARATOR, ((int(Algorithm.SHA384), Algorithm.SHA384.digest(bytes(4))),), bytes(4), ""),
    *(Event(4, EventType.EV_DSTACK_RUNTIME, ((int(Algorithm.SHA384), Algorithm.SHA384.digest(event.to_bytes())),),
            event.to_bytes(), event.name) for event in (RuntimeEvent("app-id", bytes(20)), RuntimeEvent("x", b"")))))
JSON_LOGS = many(these(_DSTACK.to_bytes()), recorded("ccel/*/*.json"), within(recorded("ccel/*/*.json", "tdx/*/*.json"),
                                                   lambda answer: [log_of_answer(answer)], EvidenceError))
DOMAIN = b"github.com/confidential-containers"
_GPT = (b"EFI PART" + bytes(48) + bytes(16) + bytes(12) + (128).to_bytes(4, "little") + bytes(4)
        + (1).to_bytes(8, "little") + bytes(56) + "root".encode("utf-16-le").ljust(72, b"\0"))
_LOAD_OPTION = b"\x01\0\0\0\x04\0" + "Linux\0".encode("utf-16-le") + b"\x7f\xff\x04\0more"
TEXTS = these(DOMAIN + b' PullImage {"image":"a","digest":"sha256:00"}', b"domain operation content of words")
AAEL_LOGS = these(b"INIT sha384/" + b"0" * 96 + b"\n" + DOMAIN + b' PullImage {"image":"a"}\n',
                  b"INIT sm3/" + b"0" * 64)


def _data(*types: EventType) -> seeds.Bytes:
    """The data of events of these types in the logs."""
    def take(log: bytes) -> Iterator[bytes]:
        yield from {event.data: None for event in TcgLog.from_bytes(log).events if event.type in types}
    return within(TCG_LOGS, take, EvidenceError)


_VARIABLES = _data(EventType.EV_EFI_VARIABLE_DRIVER_CONFIG, EventType.EV_EFI_VARIABLE_BOOT,
                   EventType.EV_EFI_VARIABLE_BOOT2, EventType.EV_EFI_VARIABLE_AUTHORITY)


def _values(names: str) -> seeds.Bytes:
    """The values of variables whose names begin like this."""
    return within(_VARIABLES, lambda data: [variable.data for variable in [Variable.from_bytes(data)]
                                            if variable.name.startswith(tuple(names.split()))], EvidenceError)


def _paths(data: bytes) -> Iterator[bytes]:
    size = int.from_bytes(data[24:32], "little")
    yield data[32:32 + size]


def _told(log: AaelLog | DstackLog | TcgLog) -> object:
    """Everything that is told of a log which its own replay confirms, as a guest could make any."""
    extending = [event for event in log.events if event.extends]
    layout = TDX if all(event.index in TDX.registers for event in extending) else PCRS
    banks = [bank for bank in Algorithm if extending and all(event.digest(bank) is not None for event in extending)]
    signed = {bank: {index: register.start(bank.size, extended=False) for index, register in layout.registers.items()}
              | replayed(log.events, bank, layout) for bank in banks[:2]}
    if not signed:
        return None
    found = believe(Trail("fuzz"), log, signed, layout)
    json.dumps(jsonable(Facts.of(found).claims()))
    return json.dumps(jsonable(trustee.uefi_event_logs(found, dangerous_descriptions=True)))


def _believed(data: bytes) -> object:
    return _told(ccel.parse(data))


def _rehashed(data: bytes) -> object:
    """As `_believed`, with every digest that of the event's data or of what is hashed of them: all is proved."""
    log = TcgLog.from_bytes(data)
    return _told(replace(log, events=tuple(map(_hashed, log.events))))


def _hashed(event: Event) -> Event:
    content = event.data
    if event.type in BOOT_VARIABLES and len(content) % 2:
        with suppress(EvidenceError):
            content = Variable.from_bytes(content).data
    digests = tuple((number, Algorithm(number).digest(content) if number in SIZES else digest)
                    for number, digest in event.digests)
    return replace(event, digests=digests)


def _summed(table: bytes) -> bytes:
    """An ACPI table with the checksum that makes its bytes sum to zero."""
    return table[:9] + bytes((-(sum(table) - table[9]) & 0xFF,)) + table[10:]


TARGETS = (
    Target("eventlog.aael", AaelLog.from_bytes, EVIDENCE, AAEL_LOGS, (
        written_again(AaelLog.from_bytes), lambda _, log: log.events)),
    Target("eventlog.aael_tagged", RuntimeText.from_tagged, MALFORMED, within(
        TEXTS, lambda text: [RuntimeText.from_bytes(text).to_tagged()]), (
        written_exactly(lambda text: text.to_tagged()),)),
    Target("eventlog.aael_text", RuntimeText.from_bytes, MALFORMED, TEXTS, (written_exactly(),)),
    Target("eventlog.any_form", ccel.parse, EVIDENCE, many(TCG_LOGS, JSON_LOGS, AAEL_LOGS),
           (lambda _, log: log.events,), brief_runs=300),
    Target("eventlog.believed", _believed, (*EVIDENCE, CheckFailed), many(TCG_LOGS, JSON_LOGS, AAEL_LOGS),
           brief_runs=200),
    Target("eventlog.boot_order", read_boot_order, MALFORMED, many(_values("BootOrder"), these(b"\x01\0\0\0"))),
    Target("eventlog.ccel_table", lambda data: CcelTable.from_bytes(_summed(data) if len(data) > 9 else data),
           MALFORMED, these(_summed(CcelTable(2, 0, 65536, 1 << 30).to_bytes()),
                            _summed(CcelTable(1, 1, 4096, 1 << 20, oem_id=b"SOFTTE").to_bytes())),
           (written_exactly(of=lambda data, _: _summed(data)),)),
    Target("eventlog.device_paths", read_device_paths, MALFORMED, within(
        many(_data(EventType.EV_EFI_BOOT_SERVICES_APPLICATION, EventType.EV_EFI_BOOT_SERVICES_DRIVER)), _paths)),
    Target("eventlog.dstack", DstackLog.from_bytes, MALFORMED, JSON_LOGS, (written_again(DstackLog.from_bytes),),
           brief_runs=200),
    Target("eventlog.dstack_answer", log_of_answer, MALFORMED, many(
        recorded("ccel/*/*.json", "tdx/*/*quote*.json"),
        these(json.dumps({"quote": "00", "event_log": _DSTACK.to_bytes().decode()}).encode())), brief_runs=200),
    Target("eventlog.dstack_event", RuntimeEvent.from_bytes, MALFORMED, within(
        JSON_LOGS, lambda log: [event.data for event in DstackLog.from_bytes(log).events if
                                event.type == EventType.EV_DSTACK_RUNTIME], EvidenceError), (written_exactly(),)),
    Target("eventlog.efi_variable", Variable.from_bytes, MALFORMED, _VARIABLES, (written_exactly(),)),
    Target("eventlog.facts", _rehashed, (*EVIDENCE, CheckFailed), TCG_LOGS, brief_runs=200),
    Target("eventlog.gpt", PartitionTable.from_bytes, MALFORMED, many(these(_GPT), _data(
        EventType.EV_EFI_GPT_EVENT, EventType.EV_EFI_GPT_EVENT2))),
    Target("eventlog.image_load", ImageLoad.from_bytes, MALFORMED, _data(
        EventType.EV_EFI_BOOT_SERVICES_APPLICATION, EventType.EV_EFI_BOOT_SERVICES_DRIVER)),
    Target("eventlog.load_option", LoadOption.from_bytes, MALFORMED, many(these(_LOAD_OPTION), _values("Boot0 Boot1"))),
    Target("eventlog.show", lambda data: json.dumps(jsonable(show.describe(data))), EVIDENCE, many(
        TCG_LOGS, AAEL_LOGS, these(_summed(CcelTable(2, 0, 65536, 1 << 30).to_bytes()))), brief_runs=200),
    Target("eventlog.signature_lists", read_signature_lists, MALFORMED, _values("db KEK PK")),
    Target("eventlog.spec_id", SpecId.from_bytes, MALFORMED, within(
        TCG_LOGS, lambda log: [spec.to_bytes() for spec in [TcgLog.from_bytes(log).spec_id] if spec], EvidenceError),
        (written_exactly(),)),
    Target("eventlog.tcg", TcgLog.from_bytes, MALFORMED, TCG_LOGS, (written_exactly(),), brief_runs=300),
)
