"""The guest's own init data: where it is read from, and whether the hardware really binds it.

A document comes as TOML in a file, or as the host's block device: 8 bytes ``initdata``, u64 little-endian length, that
many bytes of gzip, zeros to a whole sector of 512. Both come from the host, so both are bounded before they are read
and mean nothing until `require_bound` has compared their digest with the field in this guest's own evidence.
"""

from __future__ import annotations

import hmac
import zlib
from pathlib import Path

from attestation.errors import AttesterError, SetupError
from kbs.errors import KbsError
from kbs.protocol.init_data import MAX_INIT_DATA_BYTES, InitData, parse
from verifier.errors import MalformedEvidence, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.quote import Quote
from verifier.formats.reader import Reader
from verifier.formats.snp_report import SnpReport
from verifier.formats.td_report import TdReport

DEVICE_MAGIC = b"initdata"
SECTOR_BYTES = 512
# gzip of text that does not compress is a little larger than the text.
MAX_DEVICE_BYTES = MAX_INIT_DATA_BYTES + 64 * 1024


def read(path: Path) -> InitData:
    """The document in a TOML file or on an init-data device. Raises `SetupError`."""
    raw = _read_file(path)
    try:
        return parse(unpack_device(raw) if raw.startswith(DEVICE_MAGIC) else raw)
    except (KbsError, MalformedEvidence) as error:
        raise SetupError(f"init_data.{error.id.rpartition('.')[2]}", f"{path}: {error.detail}", expected=error.expected,
                         got=error.got) from error


def unpack_device(device: bytes) -> bytes:
    """The document on a device image. Raises `MalformedEvidence`; expands no further than a document may be long."""
    reader = Reader(device, "init_data_device")
    magic = reader.take(len(DEVICE_MAGIC), "magic")
    if magic != DEVICE_MAGIC:
        raise reader.malformed("no init-data device", expected=DEVICE_MAGIC, got=magic)
    document = _gunzip(reader, reader.take(reader.uint(8, "length"), "compressed document"))
    if any(reader.rest()):
        raise reader.malformed("the space after the document is not zero")
    return document


def pack_device(document: bytes) -> bytes:
    """The device image that carries ``document``."""
    compressed = zlib.compress(document, wbits=31)
    image = DEVICE_MAGIC + len(compressed).to_bytes(8, "little") + compressed
    return image + bytes(-len(image) % SECTOR_BYTES)


def require_bound(init_data: InitData, evidence: Evidence) -> None:
    """Raises `AttesterError` unless the hardware vouches for exactly this document; no TEE is passed over."""
    try:
        expected, got = init_data.field_for(evidence.tee), _bound_field(evidence)
    except (KbsError, VerifierError) as error:
        raise AttesterError("attester.init_data", f"the evidence binds no init data: {error.detail}") from error
    if len(got) != len(expected) or not hmac.compare_digest(got, expected):
        raise AttesterError("attester.init_data", "this guest was not started with this init data",
                            expected=expected, got=got)


def _bound_field(evidence: Evidence) -> bytes:
    if evidence.tee is Tee.SNP:
        return SnpReport.from_bytes(evidence.quote).host_data
    body = Quote.from_bytes(evidence.quote).body
    return body.mr_config_id if isinstance(body, TdReport) else body.config_id


def _gunzip(reader: Reader, compressed: bytes) -> bytes:
    """One gzip member, whole, and nothing behind it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        document = stream.decompress(compressed, MAX_INIT_DATA_BYTES + 1)
    except zlib.error:
        raise reader.malformed("the document is not gzip") from None
    if len(document) > MAX_INIT_DATA_BYTES:
        raise reader.malformed("the document expands too far", expected=f"<= {MAX_INIT_DATA_BYTES} bytes")
    if not stream.eof or stream.unused_data or stream.unconsumed_tail:
        raise reader.malformed("the document is not exactly one gzip member")
    return document


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_DEVICE_BYTES + 1)
    except OSError as error:
        raise SetupError("init_data.read", f"{path} could not be read: {error.strerror}") from None
    if len(raw) > MAX_DEVICE_BYTES:
        raise SetupError("init_data.size", f"{path} is too large", expected=f"<= {MAX_DEVICE_BYTES} bytes")
    return raw
