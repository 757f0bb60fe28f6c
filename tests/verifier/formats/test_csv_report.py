"""The CSV report byte for byte: three versions, masked and in clear, alone and in a buffer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.formats.csv_report import (
    BUFFER_SIZE,
    MAGIC,
    POLICY_FIELDS,
    SIZE,
    TEE_INFO_SIZE,
    WRAPPER_SIZE,
    CsvReport,
    mask,
    policy_fields,
)
from verifier.software_tee.hygon import SmallHygon

HYGON = SmallHygon.create(b"reports of a small Hygon", at=1)
RAW = replace(HYGON, raw=True)
REPORTS = {f"v{version}{'-raw' if maker.raw else ''}": maker.report(version, maker.info(version))
           for maker in (HYGON, RAW) for version in (1, 2, 3)}
each = pytest.mark.parametrize("data", REPORTS.values(), ids=REPORTS)


def wrapped(magic: bytes, flags: int, data: bytes) -> bytes:
    return magic + flags.to_bytes(4, "little") + data.ljust(BUFFER_SIZE, b"\x00")


def test_the_sizes_are_hygons():
    assert (SIZE, TEE_INFO_SIZE, BUFFER_SIZE, WRAPPER_SIZE) == (2548, 0x150, 4096, 4116)
    assert [len(data) for data in REPORTS.values()] == [2548, 4116, 4116] * 2


@each
def test_a_report_is_read_and_written_again(data):
    assert CsvReport.from_bytes(data).to_bytes() == data


@each
def test_every_byte_is_kept_or_refused(data):
    """A byte changed anywhere gives another report that is written as it was read."""
    good = CsvReport.from_bytes(data)
    for position in range(0, len(data), 5):
        changed = data[:position] + bytes((data[position] ^ 0x20,)) + data[position + 1:]
        try:
            report = CsvReport.from_bytes(changed)
        except EvidenceError:
            assert len(data) == WRAPPER_SIZE
            assert position < 20 or position >= 20 + 3364
            continue
        assert report != good
        assert report.to_bytes() == changed


def test_the_recorded_raw_report(corpus):
    data = (corpus.folder("csv/csvrs-v1-full-chain") / "report.cert").read_bytes()
    report = CsvReport.from_bytes(data)
    assert report.to_bytes() == data
    assert report.signer.masked
    assert report.signed_bytes == data[:0xB4]
    assert report.info.report_data == b"user data".ljust(64, b"\x00")
    assert report.info.anonce == 0x1291429B
    assert report.signer.serial_number.rstrip(b"\x00") == b"NZA9T14052605"


def test_the_recorded_report_in_a_buffer(corpus):
    folder = corpus.folder("csv/trustee-v1-csv3")
    data = (folder / "report.bin").read_bytes()
    report = CsvReport.from_bytes(data)
    assert report.to_bytes() == data[:SIZE]
    assert not report.signer.masked
    assert report.signer.pek == (folder / "pek.cert").read_bytes()
    assert report.signed_bytes == data[:0xB4]


def test_the_fields_of_version_1_are_masked_where_hygon_masks_them():
    info = replace(RAW.info(1), report_data=bytes(range(64)))
    data = RAW.report(1, info)
    anonce = info.anonce.to_bytes(4, "little")
    assert data[0xBC:0xC0] == anonce
    clear = bytes(byte ^ anonce[index % 4] for index, byte in enumerate(data))
    assert clear[0x40:0x80] == bytes(range(64))
    assert clear[0x90:0xB0] == info.measure
    assert clear[0xB0:0xBC] == (0x45).to_bytes(4, "little") + (0x1002).to_bytes(4, "little") + b"\x04\x00\x00\x00"
    assert clear[0x150:0x974] == RAW.certificate("pek")
    assert clear[0x974:0x9B4] == RAW.serial_number.ljust(64, b"\x00")
    assert data[0x9B4:0x9D4] == CsvReport.from_bytes(data).signer.reserved


def test_the_fields_of_versions_2_and_3_lie_where_hygon_puts_them():
    for version in (2, 3):
        info = HYGON.info(version, bytes(range(64)), b"\xaa" * 64)
        data = HYGON.report(version, info)
        assert data[:20] == MAGIC + bytes((version if version == 3 else 1, 0, 0, 0))
        body = data[20:]
        assert body[0x40:0x80] == bytes(range(64))
        assert body[0xB0:0xB4] == (0x45).to_bytes(4, "little")
        assert body[0xBC:0xC2] == (2000).to_bytes(4, "little") + b"\x01\x00"
        assert body[0xD0:0x170] == info.rtmr0 + info.rtmr1 + info.rtmr2 + info.rtmr3 + info.rtmr4
        assert body[0x3C0:0x400] == (b"\xaa" * 64 if version == 3 else bytes(64))
        assert body[0x490:0x490 + 2084] == HYGON.certificate("pek")
        report = CsvReport.from_bytes(data)
        assert report.signed_bytes == body[:0x400]
        assert (report.info.host_data, report.info.anonce) == (b"\xaa" * 64 if version == 3 else b"", 0)


@pytest.mark.parametrize("name", ["v1", "v1-raw"])
def test_a_report_of_version_1_reads_the_same_in_every_buffer(name):
    data = REPORTS[name]
    alone = CsvReport.from_bytes(data)
    for buffer in (data.ljust(BUFFER_SIZE, b"\x00"), wrapped(bytes(16), 0, data), wrapped(MAGIC, 0, data)):
        assert CsvReport.from_bytes(buffer) == alone


@pytest.mark.parametrize("position", [SIZE, SIZE + 700, BUFFER_SIZE - 1])
def test_padding_is_zero(position):
    data = bytearray(REPORTS["v1"].ljust(BUFFER_SIZE, b"\x00"))
    data[position] = 1
    for buffer in (bytes(data), wrapped(bytes(16), 0, bytes(data))):
        with pytest.raises(MalformedEvidence, match=r"^format\.csv_report: "):
            CsvReport.from_bytes(buffer)


@pytest.mark.parametrize(("magic", "flags"), [(bytes(16), 1), (bytes(16), 3), (MAGIC, 2), (MAGIC, 4), (MAGIC, 5),
                                              (MAGIC, 0x80000001), (MAGIC[:15] + b"\x01", 1),
                                              (b"attestation_ext\0", 1)])
def test_other_magic_and_flags_name_no_version(magic, flags):
    with pytest.raises(UnsupportedEvidence, match=r"^csv_report\.version: "):
        CsvReport.from_bytes(wrapped(magic, flags, REPORTS["v2"][20:]))


@each
def test_a_report_has_exactly_its_size(data):
    for size in range(len(data)):
        if size != SIZE and size != BUFFER_SIZE:
            with pytest.raises(MalformedEvidence):
                CsvReport.from_bytes(data[:size])
    with pytest.raises(MalformedEvidence, match=r"^format\.csv_report: "):
        CsvReport.from_bytes(data + b"\x00")


def test_a_mask_of_zero_masks_nothing():
    info = replace(RAW.info(1), anonce=0)
    report = CsvReport.from_bytes(RAW.report(1, info))
    assert not report.signer.masked
    assert report.as_firmware_wrote_it
    assert report.info.measure == info.measure


@given(st.binary(max_size=300), st.integers(0, 0xFFFFFFFF))
def test_masking_twice_undoes_it(data, anonce):
    masked = mask(data, anonce)
    assert mask(masked, anonce) == data
    assert masked == bytes(byte ^ (anonce >> 8 * (index % 4) & 0xFF) for index, byte in enumerate(data))


@given(st.integers(0, 0xFFFFFFFF))
def test_a_policy_word_is_its_fields(word):
    fields = policy_fields(word)
    assert sum(fields[name] << low for name, low, _ in POLICY_FIELDS) == word
    assert sum(bits for _, _, bits in POLICY_FIELDS) == 32


@given(st.one_of(st.binary(max_size=4200), *(st.binary(min_size=size, max_size=size) for size in (SIZE, BUFFER_SIZE,
                                                                                              WRAPPER_SIZE))))
def test_any_bytes_are_a_report_or_a_documented_error(data):
    try:
        report = CsvReport.from_bytes(data)
    except EvidenceError:
        return
    assert CsvReport.from_bytes(report.to_bytes()) == report


@given(st.binary(min_size=SIZE, max_size=SIZE))
def test_any_2548_bytes_are_written_as_they_were_read(data):
    assert CsvReport.from_bytes(data).to_bytes() == data


@given(st.binary(min_size=3364, max_size=3364), st.sampled_from([1, 3]))
def test_any_extended_report_is_written_as_it_was_read(data, flags):
    assert CsvReport.from_bytes(wrapped(MAGIC, flags, data)).to_bytes() == wrapped(MAGIC, flags, data)
