"""The SPDM report: exact, round-tripping, and nothing but documented errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import KINDS, NONCE, case_of
from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.formats.spdm_report import MeasurementBlock, OpaqueField, OpaqueType, SpdmReport

RESPONSE = 37
COUNT, RECORD, BLOCKS = RESPONSE + 4, RESPONSE + 5, RESPONSE + 8


@pytest.fixture(params=KINDS)
def report(request):
    case = case_of(request.param)
    return case.maker.report(case.report_body)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new):]


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
def test_genuine_reports_are_read_and_written_alike(corpus, case):
    path = corpus.folder(case) / "report.bin"
    if not path.exists():
        return
    data = path.read_bytes()
    report = SpdmReport.from_bytes(data)
    assert report.to_bytes() == data
    assert report.signed_bytes == data[:-96]
    assert (len(report.blocks), len(data)) == (case["format"]["blocks"], case["format"]["report_length"])
    assert {piece.type for piece in report.opaque} <= set(OpaqueType)


@pytest.mark.corpus("nvidia-gpu", "nvidia-switch")
@pytest.mark.parametrize("tail", [b"\x00", b"\n", bytes(96)])
def test_nothing_may_follow_the_signature(corpus, case, tail):
    """One published sample has an octet more; recorded whole, it has none."""
    path = corpus.folder(case) / "report.bin"
    if path.exists():
        with pytest.raises(MalformedEvidence, match="unexpected bytes at the end"):
            SpdmReport.from_bytes(path.read_bytes() + tail)


def test_a_report_that_is_cut_anywhere_is_malformed(report):
    for size in range(len(report)):
        with pytest.raises(EvidenceError, match=r"^format\.spdm_report: "):
            SpdmReport.from_bytes(report[:size])


@pytest.mark.parametrize(("at", "new"), [(0, b"\x10"), (0, b"\x12"), (1, b"\xe1"), (1, b"\x60"), (RESPONSE, b"\x12"),
                                         (RESPONSE + 1, b"\x61"), (RESPONSE + 1, b"\x7f")])
def test_another_version_or_message_is_not_supported(report, at, new):
    with pytest.raises(UnsupportedEvidence, match=r"^spdm_report\.message: "):
        SpdmReport.from_bytes(patched(report, at, new))


@pytest.mark.parametrize(("at", "new", "detail"), [
    (COUNT, b"\x01", "not consumed exactly"), (COUNT, b"\xff", "runs past the end"),
    (COUNT, b"\x00", "not consumed exactly"), (RECORD, b"\x00\x00\x00", "runs past the end"),
    (RECORD, b"\xff\xff\xff", "runs past the end"),
    (BLOCKS, b"\x00", "numbered"), (BLOCKS, b"\x02", "numbered"), (BLOCKS + 55, b"\x01", "numbered"),
    (BLOCKS + 55, b"\x03", "numbered"),
    (BLOCKS + 1, b"\x02", "DMTF"), (BLOCKS + 2, b"\x34", "DMTF"), (BLOCKS + 5, b"\x31", "DMTF"),
])
def test_blocks_are_counted_numbered_and_of_one_kind(report, at, new, detail):
    with pytest.raises(MalformedEvidence, match=detail):
        SpdmReport.from_bytes(patched(report, at, new))


def test_a_piece_of_opaque_data_that_is_longer_than_all_of_it_is_malformed():
    case = case_of()
    data = case.maker.report(case.report_body)
    opaque = len(data) - 96 - sum(4 + len(piece.data) for piece in case.report_body.opaque)
    for size in (b"\xff\xff", b"\x09\x00"):
        with pytest.raises(MalformedEvidence, match=r"^format\.spdm_report: "):
            SpdmReport.from_bytes(patched(data, opaque + 2, size))
    for size in (b"\x00\x00", b"\xff\xff"):
        with pytest.raises(MalformedEvidence):
            SpdmReport.from_bytes(patched(data, opaque - 2, size))


def test_a_piece_of_opaque_data_occurs_once():
    body = case_of().report_body
    with pytest.raises(MalformedEvidence, match="twice"):
        SpdmReport.from_bytes(replace(body, opaque=(*body.opaque, body.opaque[0])).to_bytes())


def test_an_oversized_report_is_not_looked_at():
    with pytest.raises(MalformedEvidence, match="too large"):
        SpdmReport.from_bytes(bytes(64 * 1024 + 1))


def saying(kind: OpaqueType, data: bytes) -> SpdmReport:
    return replace(case_of().report_body, opaque=(OpaqueField(kind, data),))


@pytest.mark.parametrize(("data", "told"), [
    (bytes.fromhex("005e009601000000"), "96.00.5E.00.01"), (bytes.fromhex("008800970f000000"), "97.00.88.00.0F"),
    (b"96.10.55.00.01", "96.10.55.00.01"), (b"96.10.5a.00.01\x00", "96.10.5A.00.01"),
    (bytes.fromhex("005e009601000001"), None), (b"", None), (b"96.10\x00\x00", None), (b"96 10", None),
    (b"\xff96.10", None),
])
def test_the_version_of_the_vbios(data, told):
    assert saying(OpaqueType.VBIOS_VERSION, data).vbios_version == told


@pytest.mark.parametrize(("data", "told"), [
    (b"535.86.09\x00", "535.86.09"), (b"535.86.09", "535.86.09"), (b"\x00", None), (b"", None), (b"535\x00\x00", None),
    (b"535\n", None), ("\uff15\uff13\uff15".encode(), None),
])
def test_the_version_of_the_driver(data, told):
    assert saying(OpaqueType.DRIVER_VERSION, data).driver_version == told


def test_what_is_not_reported_is_absent():
    report = replace(case_of().report_body, opaque=())
    assert (report.driver_version, report.vbios_version, report.field(OpaqueType.FWID)) == (None, None, None)


blocks = st.lists(st.binary(min_size=48, max_size=48), max_size=8).map(
    lambda values: tuple(MeasurementBlock(index, value) for index, value in enumerate(values, start=1)))
pieces = st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=40), max_size=6).map(
    lambda found: tuple(OpaqueField(kind, data) for kind, data in found.items()))


@given(blocks, pieces, st.binary(min_size=32, max_size=32), st.integers(0, 255), st.binary(min_size=96, max_size=96))
def test_every_report_survives_the_round_trip(found, opaque, nonce, octet, signature):
    report = SpdmReport(nonce=nonce, request_param1=octet, slot=octet, param1=octet, blocks=found,
                        responder_nonce=nonce, opaque=opaque, signature=signature)
    assert SpdmReport.from_bytes(report.to_bytes()) == report


@given(st.binary(max_size=400))
def test_any_bytes_are_read_exactly_or_refused(data):
    for candidate in (data, b"\x11\xe0\x01\xff" + NONCE + b"\x00\x11\x60" + data):
        try:
            report = SpdmReport.from_bytes(candidate)
        except EvidenceError:
            continue
        assert report.to_bytes() == candidate
