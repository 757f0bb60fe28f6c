"""Quotes: read and written again byte for byte, and nothing but `EvidenceError` whatever the bytes are."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import EvidenceError, MalformedEvidence, UnsupportedEvidence
from verifier.evidence import Tee
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import MAX_QUOTE_BYTES, BodyType, CertificationType, Quote, signed_part
from verifier.formats.td_report import TdReport

KINDS = {"tdx-v4": (4, BodyType.TD10), "tdx-v5-td10": (5, BodyType.TD10), "tdx-v5-td15": (5, BodyType.TD15),
         "tdx-v5-td15ex": (5, BodyType.TD15_EXTENDED), "sgx-v3": (3, BodyType.SGX), "sgx-v4": (4, BodyType.SGX),
         "sgx-v5": (5, BodyType.SGX)}
each_kind = pytest.mark.parametrize("kind", KINDS)


def refusal(data: bytes) -> str:
    """The id of the error that ``data`` raises."""
    with pytest.raises(EvidenceError) as caught:
        Quote.from_bytes(data)
    return caught.value.id


def length_at(raw: bytes) -> int:
    """Where the length of the signature data stands."""
    return len(Quote.from_bytes(raw).signed)


@each_kind
def test_each_kind_is_read_and_written_again(intel_case, kind):
    raw = intel_case(kind).raw
    quote = Quote.from_bytes(raw)
    assert (quote.header.version, quote.body_type) == KINDS[kind]
    assert quote.tee is (Tee.SGX if kind.startswith("sgx") else Tee.TDX)
    assert quote.to_bytes() == raw
    assert signed_part(quote.header, quote.body_type, quote.body) == quote.signed == raw[: len(quote.signed)]
    assert quote.trailing == 0


@pytest.mark.corpus("tdx", "sgx")
def test_recorded_quotes_are_written_again_byte_for_byte(corpus, case):
    folder = corpus.folder(case)
    raw = next(path for path in (folder / "quote.bin", folder / "quote.dat") if path.exists()).read_bytes()
    quote = Quote.from_bytes(raw)
    assert quote.to_bytes() + raw[len(raw) - quote.trailing :] == raw
    assert signed_part(quote.header, quote.body_type, quote.body) == quote.signed
    body = quote.body.to_bytes()
    assert type(quote.body).from_bytes(body) == quote.body


def test_fields_of_a_td_quote_lie_where_the_maker_put_them(intel_case):
    case = intel_case("tdx-v4").says(
        tee_tcb_svn=bytes(range(16)), mr_signer_seam=b"\x01" * 48, td_attributes=b"\x02" * 8, xfam=b"\x03" * 8,
        mr_td=b"\x04" * 48, mr_config_id=b"\x05" * 48, rtmr0=b"\x06" * 48, report_data=b"\x07" * 64)
    raw = case.raw
    for offset, value in ((48, bytes(range(16))), (112, b"\x01" * 48), (168, b"\x02" * 8), (176, b"\x03" * 8),
                          (184, b"\x04" * 48), (232, b"\x05" * 48), (376, b"\x06" * 48), (568, b"\x07" * 64)):
        assert raw[offset : offset + len(value)] == value
    assert struct.unpack_from("<I", raw, 632)[0] == len(raw) - 636


def test_fields_of_an_enclave_quote_lie_where_the_maker_put_them(intel_case):
    raw = intel_case("sgx-v3").says(attributes=b"\x01" * 16, mr_enclave=b"\x02" * 32, mr_signer=b"\x03" * 32,
                                    isv_prod_id=0x0405, isv_svn=0x0607, report_data=b"\x08" * 64).raw
    for offset, value in ((96, b"\x01" * 16), (112, b"\x02" * 32), (176, b"\x03" * 32), (304, b"\x05\x04\x07\x06"),
                          (368, b"\x08" * 64)):
        assert raw[offset : offset + len(value)] == value


@each_kind
def test_every_truncation_is_refused(intel_case, kind):
    raw = intel_case(kind).raw
    for size in range(len(raw)):
        assert refusal(raw[:size]) == "format.quote"


@each_kind
@pytest.mark.parametrize("tail", [b"\x00", b"\x01", b"tail"])
def test_what_follows_is_counted_and_not_read(intel_case, kind, tail):
    raw = intel_case(kind).raw
    expected = Quote.from_bytes(raw)
    for count in range(1, 65):
        quote = Quote.from_bytes(raw + tail * count)
        assert quote.trailing == count * len(tail)
        assert replace(quote, trailing=0) == expected


def test_an_oversized_buffer_is_refused(intel_case):
    raw = intel_case().raw
    assert Quote.from_bytes(raw + bytes(MAX_QUOTE_BYTES - len(raw))).trailing == MAX_QUOTE_BYTES - len(raw)
    assert refusal(raw + bytes(MAX_QUOTE_BYTES - len(raw) + 1)) == "format.quote"


def widths(raw: bytes) -> dict[str, tuple[int, int]]:
    """Every length field of a quote: offset and size."""
    quote = Quote.from_bytes(raw)
    at = len(quote.signed)
    outer = 0 if quote.header.version == 3 else 6
    report = at + 4 + 128 + outer
    auth = report + 384 + 64
    found = {"signature data": (at, 4), "authentication data": (auth, 2),
             "certification data": (auth + 2 + len(quote.certification.qe_auth_data) + 2, 4)}
    if outer:
        found["outer certification data"] = (at + 4 + 128 + 2, 4)
    if quote.header.version == 5:
        found["body"] = (50, 4)
    return found


@each_kind
def test_every_length_field_must_be_right(intel_case, kind):
    """Zero, one, one less, one more, all bits, the sign bit: lengths nest exactly, so each is refused."""
    raw = intel_case(kind).raw + bytes(200)
    for name, (offset, size) in widths(raw).items():
        right = int.from_bytes(raw[offset : offset + size], "little")
        top = (1 << 8 * size) - 1
        for wrong in {0, 1, right - 1, right + 1, top, top - 1, 1 << 8 * size - 1, right + 200} - {right}:
            altered = raw[:offset] + wrong.to_bytes(size, "little") + raw[offset + size :]
            assert refusal(altered) in ("format.quote", "quote.certification_type"), (name, wrong)


PERMITTED = {(3, 0, None), (4, 0, None), (4, 0x81, None), (5, 0, 1), (5, 0x81, 2), (5, 0x81, 3), (5, 0x81, 4)}


@pytest.mark.parametrize("version", range(7))
@pytest.mark.parametrize("tee_type", [0, 0x81, 1, 0x80, 0x81000000, 0xFFFFFFFF])
@pytest.mark.parametrize("number", range(6))
def test_version_tee_type_and_body_type_agree_or_are_refused(intel_case, version, tee_type, number):
    """Each combination is given the body that it names, as far as there is one; `PERMITTED` is the whole table."""
    sizes = {1: 384, 2: 584, 3: 648, 4: 885}
    described = version == 5
    size = sizes.get(number, 584) if described else (384 if tee_type == 0 or version == 3 else 584)
    header = struct.pack("<HHIHH16s20s", version, 2, tee_type, 0, 0, bytes(16), bytes(20))
    descriptor = struct.pack("<HI", number, size) if described else b""
    genuine = Quote.from_bytes(intel_case("sgx-v3" if version == 3 else "tdx-v4").raw)
    raw = header + descriptor + bytes(size) + genuine.to_bytes()[len(genuine.signed) :]
    if (version, tee_type, number if described else None) in PERMITTED:
        quote = Quote.from_bytes(raw)
        assert (quote.tee is Tee.SGX) == (tee_type == 0)
        assert quote.to_bytes() == raw
    else:
        assert refusal(raw) in ("quote.version", "quote.tee_type", "quote.body_type", "format.quote")


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("off", [-1, 1])
def test_the_size_of_a_body_belongs_to_its_type(intel_case, number, off):
    """With and without the bytes to match: 583, 585, 647, 649 …"""
    kind = {1: "sgx-v5", 2: "tdx-v5-td10", 3: "tdx-v5-td15", 4: "tdx-v5-td15ex"}[number]
    raw = intel_case(kind).raw
    size = struct.unpack_from("<I", raw, 50)[0]
    wrong = raw[:50] + struct.pack("<I", size + off) + raw[54:]
    assert refusal(wrong) == "format.quote"
    body = raw[54 : 54 + size]
    fitted = body + b"\x00" if off == 1 else body[:-1]
    assert refusal(wrong[:54] + fitted + raw[54 + size :]) == "format.quote"


@pytest.mark.parametrize("key_type", [0, 1, 3, 4, 0xFFFF])
@each_kind
def test_other_attestation_keys_are_unsupported(intel_case, kind, key_type):
    raw = intel_case(kind).raw
    with pytest.raises(UnsupportedEvidence, match="attestation key type"):
        Quote.from_bytes(raw[:2] + struct.pack("<H", key_type) + raw[4:])


def with_inner(raw: bytes, number: int, data: bytes) -> bytes:
    """The quote with certification data of that type number."""
    quote = Quote.from_bytes(raw)
    inner = replace(quote.certification, certification_data=data)
    written = bytearray(replace(quote, certification=inner).to_bytes())
    struct.pack_into("<H", written, len(written) - len(data) - 6, number)
    return bytes(written)


@pytest.mark.parametrize("kind", ["tdx-v4", "tdx-v5-td15", "sgx-v3"])
@pytest.mark.parametrize(("number", "sizes"), [
    (1, {34, 36}), (2, {276}), (3, {404}), (4, None), (5, None), (0, set()), (6, set()), (7, set()), (8, set()),
    (0xFFFF, set())])
def test_certification_data_has_the_size_of_its_type(intel_case, kind, number, sizes):
    raw = intel_case(kind).raw
    for size in (0, 1, 33, 34, 35, 36, 37, 275, 276, 277, 403, 404, 405):
        altered = with_inner(raw, number, bytes(size))
        if sizes is None or size in sizes:
            quote = Quote.from_bytes(altered)
            assert quote.certification.certification_type == number
            assert quote.to_bytes() == altered
        else:
            assert refusal(altered) in ("format.quote", "quote.certification_type")


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 7, 0xFFFF])
def test_the_outer_certification_data_is_a_qe_report(intel_case, number):
    raw = bytearray(intel_case("tdx-v4").raw)
    struct.pack_into("<H", raw, length_at(bytes(raw)) + 4 + 128, number)
    assert refusal(bytes(raw)) == "format.quote"


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 65535])
def test_authentication_data_of_any_length_is_read(intel_case, size):
    quote = Quote.from_bytes(intel_case().raw)
    longer = replace(quote, certification=replace(
        quote.certification, qe_auth_data=bytes(size), certification_type=CertificationType.PCK_LEAF,
        certification_data=b""))
    raw = longer.to_bytes()
    if len(raw) > MAX_QUOTE_BYTES:
        assert refusal(raw) == "format.quote"
    else:
        assert Quote.from_bytes(raw) == longer


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused(data):
    try:
        quote = Quote.from_bytes(data)
    except EvidenceError:
        return
    assert quote.to_bytes() == data[: len(data) - quote.trailing]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_quotes_are_read_back_as_they_are_or_refused(intel_case, data):
    """Spliced, cut and overwritten genuine quotes: what parses says every byte again."""
    raw = intel_case(data.draw(st.sampled_from(list(KINDS)))).raw
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 40)))
        raw = raw[:start] + data.draw(st.binary(max_size=40)) + raw[end:]
    try:
        quote = Quote.from_bytes(raw)
    except EvidenceError:
        return
    assert quote.to_bytes() == raw[: len(raw) - quote.trailing]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=900))
def test_any_bytes_are_a_report_or_refused(data):
    for kind in (TdReport, EnclaveReport):
        try:
            report = kind.from_bytes(data)
        except MalformedEvidence:
            continue
        assert report.to_bytes() == data


@pytest.mark.parametrize(("kind", "sizes"), [(TdReport, (584, 648, 885)), (EnclaveReport, (384,))])
def test_a_report_has_one_of_its_sizes(kind, sizes):
    for size in range(900):
        data = bytes(range(256)) * 4
        if size in sizes:
            assert kind.from_bytes(data[:size]).to_bytes() == data[:size]
        else:
            with pytest.raises(MalformedEvidence) as caught:
                kind.from_bytes(data[:size])
            assert caught.value.id == f"format.{'td_report' if kind is TdReport else 'enclave_report'}"


def test_the_later_parts_of_a_td_report_lie_where_the_maker_put_them():
    report = TdReport.from_bytes(bytes(584) + b"\x01" * 16 + b"\x02" * 48 + b"\x03" + b"\x04" * 32 + b"\x05" * 48
                                 + b"\x06" * 48 + b"\x07" * 8 + b"\x08" * 16 + b"\x09" * 16 + b"\x0a" * 12
                                 + b"\x0b" * 48 + b"\x0c" * 8)
    assert (report.v15.tee_tcb_svn2, report.v15.mr_service_td) == (b"\x01" * 16, b"\x02" * 48)
    assert (report.extended.vmid, report.extended.td_id) == (b"\x03", b"\x04" * 32)
    assert (report.extended.cur_service_td_hash, report.extended.cur_service_td_attributes) == (
        b"\x0b" * 48, b"\x0c" * 8)


@pytest.mark.parametrize("bit", range(128))
def test_debug_of_an_enclave_is_bit_one_of_its_flags(bit):
    attributes = (1 << bit).to_bytes(16, "little")
    report = replace(EnclaveReport.from_bytes(bytes(384)), attributes=attributes)
    assert report.debug is (bit == 1)
    assert report.flags == (1 << bit if bit < 64 else 0)
