"""The attestation report: 1184 bytes to fields and back, whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.formats import snp_report
from verifier.formats.snp_report import (
    PLATFORM_BITS,
    POLICY_BITS,
    Cpuid,
    ProductLine,
    SnpReport,
    TcbLayout,
    TcbVersion,
    named_bits,
    product_line,
)

# Offset, size and field by AMD 56860, table ATTESTATION_REPORT.
TABLE = [
    (0x000, 4, "version"), (0x004, 4, "guest_svn"), (0x008, 8, "policy"), (0x010, 16, "family_id"),
    (0x020, 16, "image_id"), (0x030, 4, "vmpl"), (0x034, 4, "signature_algo"), (0x038, 8, "current_tcb"),
    (0x040, 8, "platform_info"), (0x048, 4, "flags"), (0x04C, 4, "reserved_04c"), (0x050, 64, "report_data"),
    (0x090, 48, "measurement"), (0x0C0, 32, "host_data"), (0x0E0, 48, "id_key_digest"),
    (0x110, 48, "author_key_digest"), (0x140, 32, "report_id"), (0x160, 32, "report_id_ma"),
    (0x180, 8, "reported_tcb"), (0x188, 1, "cpuid_family"), (0x189, 1, "cpuid_model"), (0x18A, 1, "cpuid_stepping"),
    (0x18B, 21, "reserved_18b"), (0x1A0, 64, "chip_id"), (0x1E0, 8, "committed_tcb"), (0x1E8, 3, "current_version"),
    (0x1EB, 1, "reserved_1eb"), (0x1EC, 3, "committed_version"), (0x1EF, 1, "reserved_1ef"), (0x1F0, 8, "launch_tcb"),
    (0x1F8, 8, "launch_mit_vector"), (0x200, 8, "current_mit_vector"), (0x208, 152, "reserved_208"),
    (0x2A0, 72, "signature_r"), (0x2E8, 72, "signature_s"), (0x330, 368, "reserved_330"),
]


def numbered(version: int = 3) -> bytes:
    """1184 bytes of which no two neighbours are alike."""
    return version.to_bytes(4, "little") + bytes(index * 7 % 251 for index in range(4, 1184))


def test_the_table_covers_every_byte_once():
    assert [offset for offset, _, _ in TABLE] == [sum(size for _, size, _ in TABLE[:i]) for i in range(len(TABLE))]
    assert sum(size for _, size, _ in TABLE) == snp_report.SIZE == 1184
    assert [name for _, _, name in TABLE] == list(SnpReport.__slots__)


@pytest.mark.parametrize(("offset", "size", "name"), TABLE, ids=[name for _, _, name in TABLE])
def test_each_field_is_where_the_specification_puts_it(offset, size, name):
    data = numbered()
    value = getattr(SnpReport.from_bytes(data), name)
    piece = data[offset : offset + size]
    assert value == (int.from_bytes(piece, "little") if isinstance(value, int) else piece)


@given(st.sampled_from(snp_report.VERSIONS), st.binary(min_size=1180, max_size=1180))
def test_any_report_of_a_known_version_comes_back_byte_for_byte(version, rest):
    data = version.to_bytes(4, "little") + rest
    report = SnpReport.from_bytes(data)
    assert report.to_bytes() == data
    assert report.signed_bytes == data[:0x2A0]


@given(st.binary(max_size=2400))
def test_any_bytes_are_a_report_or_an_evidence_error(data):
    found = []
    for parse in (SnpReport.from_bytes, SnpReport.from_firmware_response):
        try:
            parse(data)
        except EvidenceError as error:
            found.append(error.id)
    assert set(found) <= {"format.snp_report", "format.snp_response", "snp_report.version"}


@pytest.mark.parametrize("size", [0, 1, 793, 1183, 1185, 1216, 4096])
def test_another_length_is_refused(size):
    with pytest.raises(MalformedEvidence) as caught:
        SnpReport.from_bytes(numbered().ljust(size, b"\x00")[:size])
    assert caught.value.id == "format.snp_report"


@pytest.mark.parametrize("version", [0, 1, 6, 7, 0x10002, 0xFFFFFFFF])
def test_an_unknown_version_is_unsupported(version):
    with pytest.raises(UnsupportedEvidence) as caught:
        SnpReport.from_bytes(numbered(version))
    assert (caught.value.id, caught.value.got) == ("snp_report.version", version)


def test_recorded_reports_come_back_byte_for_byte(corpus):
    reports = [path.read_bytes() for path in corpus.root.glob("snp/*/report.bin")]
    assert len(reports) >= 19
    for data in reports:
        assert SnpReport.from_bytes(data).to_bytes() == data


def response(report: bytes, *, status: int = 0, size: int = 1184, reserved: bytes = bytes(24)) -> bytes:
    return status.to_bytes(4, "little") + size.to_bytes(4, "little") + reserved + report


def test_the_firmware_response_holds_the_report():
    assert SnpReport.from_firmware_response(response(numbered())).to_bytes() == numbered()


@pytest.mark.parametrize("data", [
    response(numbered(), status=0x16), response(numbered(), size=1183), response(numbered(), size=0),
    response(numbered(), reserved=bytes(23) + b"\x01"), response(numbered())[:-1], response(numbered()) + b"\x00",
    numbered(), b"",
], ids=["status", "size", "no size", "reserved", "short", "long", "no header", "nothing"])
def test_a_firmware_response_that_is_not_exactly_one_is_refused(data):
    with pytest.raises(MalformedEvidence) as caught:
        SnpReport.from_firmware_response(data)
    assert caught.value.id == "format.snp_response"


def test_tcb_bytes_mean_something_else_on_turin():
    data = bytes.fromhex("0102030405060708")
    legacy, turin = (TcbVersion.from_bytes(data, layout) for layout in (TcbLayout.LEGACY, TcbLayout.TURIN))
    assert legacy == TcbVersion(None, bootloader=1, tee=2, snp=7, microcode=8, reserved=bytes((3, 4, 5, 6)))
    assert turin == TcbVersion(fmc=1, bootloader=2, tee=3, snp=4, microcode=8, reserved=bytes((5, 6, 7)))


@given(st.binary(min_size=8, max_size=8), st.sampled_from(TcbLayout))
def test_a_tcb_version_comes_back_byte_for_byte(data, layout):
    assert TcbVersion.from_bytes(data, layout).to_bytes() == data


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_tcb_version_has_eight_bytes(size):
    with pytest.raises(MalformedEvidence) as caught:
        TcbVersion.from_bytes(bytes(size), TcbLayout.LEGACY)
    assert caught.value.id == "format.snp_tcb"


def test_layout_and_reserved_bytes_agree():
    for layout in TcbLayout:
        assert [part is None for part in layout.value] == [
            index in range(8)[layout.reserved] for index in range(8)]
    assert [TcbLayout.of(line) for line in ProductLine] == [TcbLayout.LEGACY, TcbLayout.LEGACY, TcbLayout.TURIN]


def test_every_processor_belongs_to_the_line_amd_certifies_it_as():
    def oracle(family: int, model: int) -> str | None:
        if family == 0x19:
            return "Milan" if model <= 0x0F else "Genoa" if 0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF else None
        return "Turin" if family == 0x1A and model <= 0x11 else None

    for family in range(0x100):
        for model in range(0x100):
            assert product_line(Cpuid(family, model, 0)) == oracle(family, model)


def test_version_2_names_no_processor():
    assert SnpReport.from_bytes(numbered(2)).cpuid is None
    assert SnpReport.from_bytes(numbered(3)).cpuid == tuple(numbered()[0x188:0x18B])


def test_flags_are_read_by_bit():
    zero = SnpReport.from_bytes(numbered(3)[:0x48] + bytes(4) + numbered(3)[0x4C:])
    seen = []
    for flags in (0b1, 0b10, 0b100, 0b11100):
        data = zero.to_bytes()
        report = SnpReport.from_bytes(data[:0x48] + flags.to_bytes(4, "little") + data[0x4C:])
        seen.append((report.author_key_en, report.mask_chip_key, report.signing_key))
    assert seen == [(True, False, 0), (False, True, 0), (False, False, 1), (False, False, 7)]


# Bit by bit from AMD 56860, GUEST_POLICY and PLATFORM_INFO, written down apart from the code.
POLICY = {16: "smt_allowed", 17: "reserved_mbo_17", 18: "migrate_ma", 19: "debug", 20: "single_socket",
          21: "cxl_allow", 22: "mem_aes_256_xts", 23: "rapl_dis", 24: "ciphertext_hiding_dram",
          25: "page_swap_disable"}
PLATFORM = {0: "smt_en", 1: "tsme_en", 2: "ecc_en", 3: "rapl_dis", 4: "ciphertext_hiding_dram_en",
            5: "alias_check_complete", 7: "tio_en"}


@pytest.mark.parametrize(("table", "oracle"), [(POLICY_BITS, POLICY), (PLATFORM_BITS, PLATFORM)])
def test_each_bit_has_its_name_and_no_other(table, oracle):
    for bit in range(64):
        read = named_bits(1 << bit, table)
        assert [name for name, on in read.items() if on] == ([oracle[bit]] if bit in oracle else [])
