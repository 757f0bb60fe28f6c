"""Init data as the host hands it over: bounded, whole, and worth nothing until the hardware vouches for it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation import init_data
from attestation.errors import AttesterError, SetupError
from kbs.protocol.init_data import MAX_INIT_DATA_BYTES, InitData, parse
from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.software_tee.maker import SoftwareTee

DOCUMENT = b'version = "0.1.0"\nalgorithm = "sha384"\n\n[data]\n"aa.toml" = "x"\n'


def device(compressed: bytes, length: int | None = None, tail: bytes = b"") -> bytes:
    head = b"initdata" + (len(compressed) if length is None else length).to_bytes(8, "little")
    return head + compressed + tail


def refused_device(raw: bytes) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        init_data.unpack_device(raw)
    return caught.value.detail


def refused_file(path: Path) -> str:
    with pytest.raises(SetupError) as caught:
        init_data.read(path)
    return caught.value.id


def test_device_is_whole_sectors_and_reads_back() -> None:
    image = init_data.pack_device(DOCUMENT)
    assert image.startswith(b"initdata")
    assert len(image) % 512 == 0
    assert init_data.unpack_device(image) == DOCUMENT


def test_device_made_by_another_gzip_is_read() -> None:
    assert init_data.unpack_device(device(gzip.compress(DOCUMENT), tail=bytes(100))) == DOCUMENT


@pytest.mark.parametrize(("raw", "detail"), [
    (b"", "magic runs past the end"),
    (b"initdat", "magic runs past the end"),
    (b"INITDATA" + bytes(504), "no init-data device"),
    (b"initdata" + b"\1", "length runs past the end"),
    (device(gzip.compress(DOCUMENT), 2**63), "compressed document runs past the end"),
    (device(gzip.compress(DOCUMENT), 4096), "compressed document runs past the end"),
    (device(gzip.compress(DOCUMENT), tail=b"\0\0x\0"), "the space after the document is not zero"),
    (device(DOCUMENT), "the document is not gzip"),
    (device(zlib.compress(DOCUMENT)), "the document is not gzip"),
    (device(b""), "the document is not exactly one gzip member"),
    (device(gzip.compress(DOCUMENT)[:-1]), "the document is not exactly one gzip member"),
    (device(gzip.compress(DOCUMENT) * 2), "the document is not exactly one gzip member"),
    (device(gzip.compress(b"") * 1000), "the document is not exactly one gzip member"),
    (device(gzip.compress(DOCUMENT)[:-8] + bytes(8)), "the document is not gzip"),
    (device(gzip.compress(bytes(MAX_INIT_DATA_BYTES + 1))), "the document expands too far"),
    (device(gzip.compress(bytes(64 * MAX_INIT_DATA_BYTES))), "the document expands too far"),
], ids=range(16))
def test_other_device_is_refused(raw: bytes, detail: str) -> None:
    assert refused_device(raw) == detail


def test_largest_document_passes_the_device() -> None:
    assert len(init_data.unpack_device(init_data.pack_device(bytes(MAX_INIT_DATA_BYTES)))) == MAX_INIT_DATA_BYTES


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"initdata" + tail))
def test_no_device_raises_anything_undocumented(raw: bytes) -> None:
    try:
        init_data.unpack_device(raw)
    except MalformedEvidence as error:
        assert error.id == "format.init_data_device"  # noqa: PT017 - most, but not all, random devices are refused


def test_document_is_read_from_toml_and_from_a_device_alike(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(DOCUMENT)
    (tmp_path / "device").write_bytes(init_data.pack_device(DOCUMENT))
    assert init_data.read(tmp_path / "plain") == init_data.read(tmp_path / "device") == parse(DOCUMENT)


def test_file_that_is_neither_is_refused_by_name(tmp_path: Path) -> None:
    for content, id in ((b"x", "init_data.toml"), (b"initdata", "init_data.init_data_device"),
                        (DOCUMENT + b"extra=1\n", "init_data.data"),
                        (b"#" * (init_data.MAX_DEVICE_BYTES + 1), "init_data.size")):
        (tmp_path / "file").write_bytes(content)
        assert refused_file(tmp_path / "file") == id
    assert refused_file(tmp_path / "absent") == "init_data.read"
    assert refused_file(tmp_path) == "init_data.read"


@pytest.fixture(scope="module")
def software_tee() -> SoftwareTee:
    return SoftwareTee.create(at=1_700_000_000)


@pytest.fixture(scope="module", params=[Tee.TDX, Tee.SGX, Tee.SNP])
def bound(request: pytest.FixtureRequest, software_tee: SoftwareTee) -> tuple[InitData, Evidence]:
    document = parse(DOCUMENT)
    evidence = software_tee.evidence(request.param, bytes(64), init_data=document.field_for(request.param))
    return document, evidence


def test_document_that_the_hardware_vouches_for_passes(bound: Any) -> None:
    init_data.require_bound(*bound)


@pytest.mark.parametrize("change", [lambda body: body + b"\n", lambda body: body.replace(b'"x"', b'"y"'),
                                    lambda body: body.replace(b"sha384", b"sha512"),
                                    lambda body: body.replace(b"sha384", b"sha256")])
def test_any_other_document_is_refused(bound: Any, change: Any) -> None:
    with pytest.raises(AttesterError) as caught:
        init_data.require_bound(parse(change(DOCUMENT)), bound[1])
    assert caught.value.id == "attester.init_data"


def test_tee_whose_evidence_binds_no_init_data_is_refused_and_not_passed_over() -> None:
    for evidence in (Evidence(Tee.SAMPLE, b"{}"), Evidence(Tee.TDX, b"no quote"), Evidence(Tee.SNP, bytes(1183))):
        with pytest.raises(AttesterError) as caught:
            init_data.require_bound(parse(DOCUMENT), evidence)
        assert caught.value.id == "attester.init_data"
