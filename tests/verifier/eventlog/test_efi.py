"""UEFI structures inside events: exact, bounded, and nothing outside a signature taken for one."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.eventlog.device_path import MAX_NODES, ImageLoad, LoadOption, read_boot_order, read_device_paths
from verifier.eventlog.efi_variable import GLOBAL, MAX_NAME, Variable, guid_bytes, guid_text
from verifier.eventlog.gpt import MAX_PARTITIONS, PartitionTable
from verifier.eventlog.signature_list import MAX_SIGNATURES, TYPES, Signature, read_signature_lists

OWNER = guid_bytes("77fa9abd-0359-4d32-bd60-28f4e78f784b")
SHA256 = guid_bytes("c1c41626-504c-4092-aca9-41f936934328")
X509 = guid_bytes("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
END = bytes.fromhex("7fff0400")


def node(kind: int, subkind: int, body: bytes) -> bytes:
    return struct.pack("<BBH", kind, subkind, 4 + len(body)) + body


FILE = node(4, 4, "\\EFI\\a.efi\x00".encode("utf-16-le"))
PATH = FILE + END


def signature_list(type: bytes, *signatures: bytes, size: int | None = None, header: bytes = b"",
                   list_size: int | None = None) -> bytes:
    each = len(OWNER + signatures[0]) if size is None else size
    body = header + b"".join(OWNER + value for value in signatures)
    return struct.pack("<16sIII", type, 28 + len(body) if list_size is None else list_size, len(header), each) + body


def test_a_guid_is_mixed_endian():
    assert guid_text(bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")) == "8be4df61-93ca-11d2-aa0d-00e098032b8c"
    assert guid_text(GLOBAL) == "8be4df61-93ca-11d2-aa0d-00e098032b8c"


@given(st.builds(Variable, st.binary(min_size=16, max_size=16),
                 st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=20),
                 st.binary(max_size=50)))
def test_a_variable_is_read_as_it_was_written(variable):
    assert Variable.from_bytes(variable.to_bytes()) == variable


@pytest.mark.parametrize("data", [
    Variable(GLOBAL, "db", b"x").to_bytes() + b"x", Variable(GLOBAL, "db", b"x").to_bytes()[:-1],
    struct.pack("<16sQQ", GLOBAL, MAX_NAME + 1, 0) + bytes(2 * MAX_NAME + 2),
    struct.pack("<16sQQ", GLOBAL, 0xFFFFFFFFFFFFFFFF, 0), struct.pack("<16sQQ", GLOBAL, 0, 0xFFFFFFFFFFFFFFFF),
    struct.pack("<16sQQ", GLOBAL, 1, 0) + b"\x00\xd8", struct.pack("<16sQQ", GLOBAL, 1, 0) + bytes(2),
], ids=["long", "short", "name", "name-max", "data-max", "surrogate", "nul"])
def test_a_variable_is_exact(data):
    with pytest.raises(MalformedEvidence, match=r"^format\.efi_variable: "):
        Variable.from_bytes(data)


def test_signature_lists_are_read_in_order():
    data = signature_list(SHA256, b"\x01" * 32, b"\x02" * 32) + signature_list(X509, b"certificate")
    owner = guid_text(OWNER)
    assert read_signature_lists(data) == (Signature("sha256", owner, b"\x01" * 32),
                                          Signature("sha256", owner, b"\x02" * 32),
                                          Signature("x509", owner, b"certificate"))
    assert read_signature_lists(b"") == ()


def test_an_unknown_type_is_named_by_its_guid():
    type = guid_bytes("00000000-1111-2222-3333-444444444444")
    assert read_signature_lists(signature_list(type, b"abc"))[0].kind == guid_text(type)


@pytest.mark.parametrize("type", TYPES)
def test_each_type_has_its_size(type):
    kind, size = TYPES[type]
    if size is None:
        assert read_signature_lists(signature_list(type, bytes(7)))[0].kind == kind
        return
    assert read_signature_lists(signature_list(type, bytes(size)))[0] == Signature(kind, guid_text(OWNER), bytes(size))
    for wrong in (size - 1, size + 1):
        with pytest.raises(MalformedEvidence):
            read_signature_lists(signature_list(type, bytes(wrong)))


@pytest.mark.parametrize("field", range(3))
@pytest.mark.parametrize("value", [0, 1, 15, 16, 27, 29, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sizes_must_agree(field, value):
    data = bytearray(signature_list(SHA256, b"\x01" * 32))
    if field == 1 and value == 0:
        return
    struct.pack_into("<I", data, 16 + 4 * field, value)
    with pytest.raises(MalformedEvidence, match=r"^format\.efi_signature_list: "):
        read_signature_lists(bytes(data))


def test_signatures_are_bounded():
    many = signature_list(SHA256, *[bytes(32)] * MAX_SIGNATURES)
    assert len(read_signature_lists(many)) == MAX_SIGNATURES
    with pytest.raises(MalformedEvidence):
        read_signature_lists(many + signature_list(SHA256, bytes(32)))


def test_device_paths_become_text():
    guid = bytes(range(16))
    data = (node(2, 1, bytes.fromhex("d041030a02000000")) + node(1, 1, b"\x01\x1f") + node(3, 2, b"\xab\xcd")
            + node(4, 1, struct.pack("<IQQ16sBB", 3, 0x800, 0x1000, guid, 2, 2))
            + node(4, 1, struct.pack("<IQQ16sBB", 1, 1, 2, guid, 1, 1)) + node(4, 3, guid) + PATH)
    assert read_device_paths(data) == ((
        "ACPI(PNP0A03,2)", "Pci(1,31)", "Path(3,2,abcd)",
        "HD(3,GPT,03020100-0504-0706-0809-0A0B0C0D0E0F,0x800,0x1000)", "HD(1,MBR,00010203,0x1,0x2)",
        "VenMedia(03020100-0504-0706-0809-0A0B0C0D0E0F,)", "File(\\EFI\\a.efi)"),)
    assert read_device_paths(PATH + END) == (("File(\\EFI\\a.efi)",), ())
    assert read_device_paths(node(2, 1, struct.pack("<HHI", 0x1234, 0xABCD, 0)) + END) == (("ACPI(1234ABCD,0)",),)


@pytest.mark.parametrize("data", [
    FILE, END + b"\x00", node(4, 4, b"\x00\xd8\x00\x00") + END, struct.pack("<BBH", 4, 4, 3) + END,
    struct.pack("<BBH", 4, 4, 0) + END, FILE * MAX_NODES + END, struct.pack("<BBH", 4, 4, 0xFFFF),
], ids=["endless", "tail", "surrogate", "short", "zero", "many", "long"])
def test_device_paths_are_exact(data):
    with pytest.raises(MalformedEvidence, match=r"^format\.device_path: "):
        read_device_paths(data)


def test_a_load_option_and_a_boot_order():
    option = struct.pack("<IH", 9, len(PATH)) + "Linux\x00".encode("utf-16-le") + PATH + b"more"
    assert LoadOption.from_bytes(option) == LoadOption(True, "Linux", (("File(\\EFI\\a.efi)",),), b"more")
    assert read_boot_order(b"\x01\x00\x0a\x00") == ("Boot0001", "Boot000A")
    with pytest.raises(MalformedEvidence):
        read_boot_order(b"\x01")
    for size in range(len(option) - 4):
        with pytest.raises(MalformedEvidence):
            LoadOption.from_bytes(option[:size])


def test_an_image_load_has_one_path_or_none():
    head = struct.pack("<QQQQ", 1, 2, 3, len(PATH))
    assert ImageLoad.from_bytes(head + PATH) == ImageLoad(2, ("File(\\EFI\\a.efi)",))
    assert ImageLoad.from_bytes(struct.pack("<QQQQ", 1, 2, 3, 0)) == ImageLoad(2, ())
    for broken in (head + PATH + b"x", head + PATH[:-1], struct.pack("<QQQQ", 1, 2, 3, 2 * len(PATH)) + PATH * 2):
        with pytest.raises(MalformedEvidence):
            ImageLoad.from_bytes(broken)


def table(count: int = 1, entries: int = 1, signature: bytes = b"EFI PART", entry_size: int = 128) -> bytes:
    header = struct.pack("<8sIIIIQQQQ16sQIII", signature, 0x10000, 92, 0, 0, 1, 9, 34, 99, OWNER, 2, 128, entry_size, 0)
    entry = struct.pack("<16s16sQQQ72s", SHA256, X509, 34, 40, 1, "root\x00junk".encode("utf-16-le"))
    return header + struct.pack("<Q", count) + entry * entries


def test_a_partition_table():
    found = PartitionTable.from_bytes(table())
    assert found.disk == guid_text(OWNER)
    assert [(p.first, p.last, p.attributes, p.name) for p in found.partitions] == [(34, 40, 1, "root")]
    for broken in (table(2), table(0), table(signature=b"EFI PARX"), table(entry_size=256),
                   table(MAX_PARTITIONS + 1, 0), table(0xFFFFFFFFFFFFFFFF), table()[:-1]):
        with pytest.raises(MalformedEvidence):
            PartitionTable.from_bytes(broken)


@given(st.binary(max_size=300))
@pytest.mark.parametrize("read", [Variable.from_bytes, read_signature_lists, read_device_paths, LoadOption.from_bytes,
                                  ImageLoad.from_bytes, PartitionTable.from_bytes, read_boot_order])
def test_whatever_comes_is_read_or_refused(read, data):
    with contextlib.suppress(MalformedEvidence):
        read(data)
