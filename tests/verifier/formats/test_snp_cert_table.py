"""The certificate table: contents exactly where the entries say, and nothing anywhere else."""

from __future__ import annotations

import base64
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.formats.snp_cert_table import (
    ARK,
    ASK,
    CRL,
    MAX_ENTRIES,
    MAX_TABLE_BYTES,
    VCEK,
    VLEK,
    CertEntry,
    CertTable,
)

END = bytes(24)


def entry(guid: UUID, offset: int, length: int) -> bytes:
    return guid.bytes + offset.to_bytes(4, "little") + length.to_bytes(4, "little")


def test_the_recorded_auxblob_comes_back_byte_for_byte(corpus):
    folder = corpus.folder("snp/genoa-v3-vcek-tsm-auxblob-veraison")
    recorded = json.loads((folder / "tsm-report.json").read_text())
    blob = base64.urlsafe_b64decode(recorded["auxblob"] + "==")
    table = CertTable.from_bytes(blob)
    assert [e.guid for e in table.entries] == [ARK, ASK, VCEK]
    assert all(data.startswith(b"-----BEGIN CERTIFICATE-----") for data in table.certificates)
    assert table.to_bytes() == blob


def test_guids_are_in_text_order():
    blob = CertTable((CertEntry(VCEK, b"\x30"),)).to_bytes()
    assert blob.startswith(bytes.fromhex("63da758de6644564adc5f4b93be8accd"))


@given(st.lists(st.tuples(st.uuids(), st.binary(max_size=300)), max_size=MAX_ENTRIES, unique_by=lambda pair: pair[0]))
def test_any_table_comes_back(pairs):
    table = CertTable(tuple(CertEntry(guid, data) for guid, data in pairs if guid.int))
    blob = table.to_bytes()
    assert CertTable.from_bytes(blob) == table
    assert CertTable.from_bytes(blob).to_bytes() == blob


@given(st.one_of(st.binary(max_size=400), st.lists(st.binary(min_size=24, max_size=24), max_size=6).map(b"".join)))
def test_any_bytes_are_a_table_or_malformed(data):
    found = None
    try:
        CertTable.from_bytes(data)
    except MalformedEvidence as error:
        found = error.id
    assert found in (None, "format.snp_cert_table")


def test_a_revocation_list_from_the_host_is_not_a_certificate():
    kinds = (VCEK, VLEK, ASK, ARK, CRL, UUID("ecae0c0f-9502-43b1-afa2-0ae2e0d565b6"))
    table = CertTable(tuple(CertEntry(guid, bytes((n,))) for n, guid in enumerate(kinds)))
    assert CertTable.from_bytes(table.to_bytes()).certificates == (b"\x00", b"\x01", b"\x02", b"\x03")


def test_contents_may_be_in_any_order_and_padded_with_zeros():
    blob = entry(VCEK, 80, 2) + entry(ASK, 72, 3) + END + b"ask" + bytes(5) + b"vk"
    table = CertTable.from_bytes(blob.ljust(4096, b"\x00"))
    assert {e.guid: e.data for e in table.entries} == {VCEK: b"vk", ASK: b"ask"}


BAD = {
    "nothing": b"",
    "no terminator": entry(VCEK, 24, 0),
    "terminator cut": entry(VCEK, 47, 0) + END[:-1],
    "terminator with an offset": entry(VCEK, 48, 1) + entry(UUID(int=0), 1, 0) + b"v",
    "terminator with a length": entry(VCEK, 48, 1) + entry(UUID(int=0), 0, 1) + b"v",
    "content inside the table": entry(VCEK, 24, 24) + END,
    "content in the terminator": entry(VCEK, 47, 2) + END + b"v",
    "content past the end": entry(VCEK, 48, 2) + END + b"v",
    "offset past the end": entry(VCEK, 50, 0) + END + b"v",
    "offset overflow": entry(VCEK, 0xFFFFFFFF, 1) + END + b"v",
    "length overflow": entry(VCEK, 48, 0xFFFFFFFF) + END + b"v",
    "overlap by one": entry(VCEK, 72, 3) + entry(ASK, 74, 2) + END + b"vaas",
    "same content twice": entry(VCEK, 72, 2) + entry(ASK, 72, 2) + END + b"vv",
    "one guid twice": entry(VCEK, 72, 1) + entry(VCEK, 73, 1) + END + b"vv",
    "bytes of nobody between": entry(VCEK, 72, 1) + entry(ASK, 74, 1) + END + b"v!a",
    "bytes of nobody at the end": entry(VCEK, 48, 1) + END + b"v" + bytes(10) + b"!",
    "too many": CertTable(tuple(CertEntry(UUID(int=n + 1), b"x") for n in range(MAX_ENTRIES + 1))).to_bytes(),
    "too large": entry(VCEK, 48, 1) + END + b"v" + bytes(MAX_TABLE_BYTES),
}


@pytest.mark.parametrize("blob", BAD.values(), ids=BAD.keys())
def test_a_table_that_is_not_exactly_one_is_refused(blob):
    with pytest.raises(MalformedEvidence) as caught:
        CertTable.from_bytes(blob)
    assert caught.value.id == "format.snp_cert_table"
