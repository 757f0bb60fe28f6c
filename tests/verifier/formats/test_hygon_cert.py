"""Hygon's certificates byte for byte, and what is not one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.collateral.hygon_files import recognise
from verifier.errors import EvidenceError
from verifier.formats.hygon_cert import (
    CA_SIGNED_SIZE,
    CA_SIZE,
    MAX_FILE_CERTIFICATES,
    SIGNED_SIZE,
    SIZE,
    CaCertificate,
    CsvCertificate,
    Usage,
    split_certificates,
)
from verifier.software_tee.hygon import SmallHygon

HYGON = SmallHygon.create(b"certificates of a small Hygon", at=1)
HRK, HSK, CEK, PEK = (HYGON.certificate(role) for role in ("hrk", "hsk", "cek", "pek"))


def test_the_sizes_are_hygons():
    assert (CA_SIZE, CA_SIGNED_SIZE, SIZE, SIGNED_SIZE) == (832, 576, 2084, 1044)
    assert [len(data) for data in (HRK, HSK, CEK, PEK)] == [832, 832, 2084, 2084]


@pytest.mark.corpus("hygon-csv")
def test_every_recorded_certificate_is_read_and_written_again(corpus, case):
    files = sorted(corpus.folder(case).glob("*.cert"))
    read = {path.name: split_certificates(path.read_bytes()) for path in files if path.name != "report.cert"}
    assert "hrk.cert" in read
    for name, certificates in read.items():
        data = (corpus.folder(case) / name).read_bytes()
        assert b"".join(certificate.to_bytes() for certificate in certificates) == data
        told = case["expected"]["claims"]
        for certificate in certificates:
            role = Usage(certificate.usage).name.lower()
            if role in told:
                assert certificate.user_id.decode() == told[role]["user_id"]
                assert certificate.x[:32][::-1].hex() == told[role]["x_be"]
                assert certificate.y[:32][::-1].hex() == told[role]["y_be"]
            assert not any(certificate.reserved)
            assert certificate.curve == 3


def test_the_fields_lie_where_hygon_puts_them(corpus):
    folder = corpus.folder("csv/csvrs-v1-full-chain")
    hrk = CaCertificate.from_bytes((folder / "hrk.cert").read_bytes())
    assert hrk.key_id == hrk.signer_key_id == bytes.fromhex("3ae86a9701355cce333a589de21583d7")
    hsk, cek = split_certificates((folder / "hsk_cek.cert").read_bytes())
    assert (hsk.signer_key_id, cek.signer_key_id) == (hrk.key_id, hsk.key_id)
    assert (cek.version, cek.firmware_major, cek.firmware_minor) == (2, 1, 1)
    assert [(slot.usage, slot.algorithm, slot.empty) for slot in cek.slots] == [(0x13, 4, False), (0x1000, 0, True)]
    pek = CsvCertificate.from_bytes((folder / "pek.cert").read_bytes())
    assert [(slot.usage, slot.algorithm) for slot in pek.slots] == [(0x1004, 4), (0x1001, 4)]
    assert pek.user_id == b"HYGON-SSD-PEK"


@pytest.mark.parametrize("position", range(0, CA_SIZE, 7))
def test_every_byte_of_a_ca_certificate_is_kept(position):
    data = HSK[:position] + bytes((HSK[position] ^ 0x10,)) + HSK[position + 1:]
    if position not in (212, 213):
        certificate = CaCertificate.from_bytes(data)
        assert certificate.to_bytes() == data
        assert certificate != CaCertificate.from_bytes(HSK)


@pytest.mark.parametrize("position", range(0, SIZE, 13))
def test_every_byte_of_a_certificate_is_kept(position):
    data = PEK[:position] + bytes((PEK[position] ^ 0x10,)) + PEK[position + 1:]
    if position not in (164, 165):
        certificate = CsvCertificate.from_bytes(data)
        assert certificate.to_bytes() == data
        assert certificate != CsvCertificate.from_bytes(PEK)


def test_a_certificate_has_exactly_its_size():
    for kind, data in ((CaCertificate, HRK), (CsvCertificate, CEK)):
        for size in range(len(data)):
            with pytest.raises(EvidenceError):
                kind.from_bytes(data[:size])
        with pytest.raises(EvidenceError, match=r"^(format\.hygon_ca_cert|format\.hygon_cert): "):
            kind.from_bytes(data + b"\x00")


def test_a_user_id_ends_within_its_field():
    for size, whole in ((254, True), (255, False), (0xFFFF, False)):
        for kind, data, position in ((CaCertificate, HRK, 212), (CsvCertificate, PEK, 164)):
            changed = data[:position] + size.to_bytes(2, "little") + data[position + 2:]
            if whole:
                assert len(kind.from_bytes(changed).user_id) == 254
                continue
            with pytest.raises(EvidenceError):
                kind.from_bytes(changed)


# -- files of certificates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(HRK,), (HSK,), (CEK,), (PEK,), (HSK, CEK), (HRK, HSK, CEK), (CEK, HSK),
                                   (HRK, HSK, CEK, PEK), (PEK, CEK, PEK)])
def test_a_file_of_certificates_is_told_into_its_parts(parts):
    joined = b"".join(parts)
    assert tuple(certificate.to_bytes() for certificate in split_certificates(joined)) == parts
    assert recognise(joined).certificates == parts


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(832), bytes(2084), bytes(2916), b"-----BEGIN", b"{}", HSK[:-1],
                                  HSK + b"\x00", HSK + HSK[:831], CEK + bytes(832), HSK + bytes(2084),
                                  bytes(832) + CEK])
def test_other_files_are_not_collateral_of_hygons(data):
    assert recognise(data) is None


def test_a_file_holds_so_many_certificates():
    assert len(split_certificates(PEK * MAX_FILE_CERTIFICATES)) == MAX_FILE_CERTIFICATES
    with pytest.raises(EvidenceError):
        split_certificates(PEK * (MAX_FILE_CERTIFICATES + 1))
    assert recognise(PEK * (MAX_FILE_CERTIFICATES + 1)) is None


def test_a_certificate_of_another_use_curve_or_version_is_not_recognised():
    for name, value in (("usage", 0x1005), ("usage", Usage.INVALID), ("version", 3), ("curve", 1), ("algorithm", 5)):
        assert recognise(replace(CsvCertificate.from_bytes(PEK), **{name: value}).to_bytes()) is None
    for name, value in (("usage", 0x14), ("version", 2), ("curve", 1)):
        assert recognise(replace(CaCertificate.from_bytes(HSK), **{name: value}).to_bytes()) is None


@given(st.one_of(st.binary(max_size=3000), st.binary(min_size=832, max_size=832),
                 st.binary(min_size=2084, max_size=2084)),
       st.sampled_from([b"", HSK, CEK, HSK[:100], CEK[:1044]]))
def test_any_bytes_are_certificates_or_a_documented_error(data, before):
    try:
        certificates = split_certificates(before + data)
    except EvidenceError:
        assert recognise(before + data) is None
        return
    assert b"".join(certificate.to_bytes() for certificate in certificates) == before + data
