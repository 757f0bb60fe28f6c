"""Does a decrypted layer hold the tar that the configuration names? (OCI image specification, config.md, DiffID)

The layer cipher authenticates a layer by itself; only this comparison ties it to its place in the image. The digest
inside the wrapped options cannot: it is that of the blob before the encrypting tool recompressed it.

gzip (RFC 1952) is read as Go's tools read it: several members count as one stream, and anything after the last member,
zeros too, is refused. Output, ratio and number of members are bounded. zstd needs Python 3.14 or the module
``zstandard``; without either, a zstd layer is refused unless the caller allows it unchecked by name.
"""

from __future__ import annotations

import hashlib
import importlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from attestation.errors import ImageIntegrityError, MalformedImage, UnsupportedImage
from attestation.images import media_types
from attestation.images.image_tree import ManifestNode
from attestation.images.limits import DEFAULT_LIMITS, Limits
from attestation.images.media_types import Compression
from attestation.images.oci_layout import CHUNK_BYTES, chunks, reading

# The window a zstd frame may ask for; what RFC 8878 (3.1.1.1.2) recommends to support is 8 MiB, `zstd --long` asks 128.
MAX_ZSTD_WINDOW_LOG = 27
_GZIP = 16 + zlib.MAX_WBITS
# Input handed to zlib at once. What follows a member is copied for the next one: with small pieces, a layer of very
# many members costs no more than time in proportion to its size.
_GZIP_INPUT = 16 * 1024


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Zstd(NamedTuple):
    open: Callable[[BinaryIO], _Readable]
    error: type[Exception]


@dataclass(frozen=True, slots=True)
class ContentRules:
    """What is demanded of the layers' content.

    allow_unchecked_zstd: let zstd layers through where nothing can decompress them.
    insecure_skip_diff_ids: compare nothing; layers may then have been swapped, or stand in the wrong image.
    """

    limits: Limits = DEFAULT_LIMITS
    allow_unchecked_zstd: bool = False
    insecure_skip_diff_ids: bool = False

    def expected(self, manifest: ManifestNode) -> tuple[str | None, ...]:
        """The diff_id of each layer; None where there is none to compare with (see `check`).

        Raises `MalformedImage` unless the configuration names exactly one for each layer.
        """
        if self.insecure_skip_diff_ids or manifest.diff_ids is None:
            return (None,) * len(manifest.layers)
        if len(manifest.diff_ids) != len(manifest.layers):
            raise MalformedImage("image.config.diff_ids", "the configuration does not name one diff_id for each layer",
                                 expected=len(manifest.layers), got=len(manifest.diff_ids))
        return manifest.diff_ids

    def check(self, file: BinaryIO, compression: Compression, diff_id: str | None) -> None:
        """The layer in ``file`` must hold the tar of digest ``diff_id``; see `check_diff_id` for what is raised."""
        if self.insecure_skip_diff_ids:
            return
        if diff_id is None:
            raise UnsupportedImage("image.config.media_type", "nothing says what a layer must hold: there is no "
                                                              "image configuration", expected=media_types.CONFIG)
        if compression is Compression.ZSTD and self.allow_unchecked_zstd and _find_zstd() is None:
            return
        check_diff_id(file, compression, diff_id, self.limits)


def check_diff_id(file: BinaryIO, compression: Compression, expected: str, limits: Limits) -> None:
    """The layer in ``file``, from its start, must decompress to a tar of digest ``expected``.

    Raises `ImageIntegrityError` when it does not, `MalformedImage` when it does not decompress or goes beyond the
    limits, `UnsupportedImage` for zstd where nothing can decompress it.
    """
    digest = hashlib.sha256()
    budget = _Budget(file, limits)
    for piece in _content(file, compression, limits):
        budget.spend(len(piece))
        digest.update(piece)
    found = "sha256:" + digest.hexdigest()
    if found != expected:
        raise ImageIntegrityError("image.layer.diff_id", "the layer is not the one the configuration names",
                                  expected=expected, got=found)


class _Budget:
    """Refuses output that is out of proportion to the input read so far."""

    __slots__ = ("_file", "_limits", "_out")

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._out = 0

    def spend(self, size: int) -> None:
        """Count ``size`` bytes of content. Raises `MalformedImage` beyond what was read allows."""
        self._out += size
        allowed = max(self._limits.content_slack, self._file.tell() * self._limits.content_ratio)
        if self._out > min(allowed, self._limits.content_bytes):
            raise MalformedImage("image.layer.bomb", "the layer decompresses to more than is allowed",
                                 expected=f"<= {min(allowed, self._limits.content_bytes)} bytes")


def _content(file: BinaryIO, compression: Compression, limits: Limits) -> Iterator[bytes]:
    if compression is Compression.NONE:
        return chunks(file)
    if compression is Compression.GZIP:
        return _gunzip(file, limits)
    return _unzstd(file)


def _gunzip(file: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """Pieces of at most `CHUNK_BYTES`; the trailer of each member (CRC-32 and length) is checked by zlib."""
    source = chunks(file, _GZIP_INPUT)
    members = 0
    pending = next(source, b"")
    while pending or not members:
        members += 1
        if members > limits.gzip_members:
            raise MalformedImage("image.layer.bomb", "the layer has too many gzip members",
                                 expected=f"<= {limits.gzip_members}")
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            yield _inflate(member, pending)
            pending = member.unused_data or member.unconsumed_tail or next(source, b"")


def _inflate(member: zlib._Decompress, data: bytes) -> bytes:
    try:
        piece = member.decompress(data, CHUNK_BYTES)
    except zlib.error:
        raise MalformedImage("image.layer.gzip", "the layer is not gzip, or has something after its end") from None
    if not data and not piece and not member.eof:
        raise MalformedImage("image.layer.gzip", "the layer ends within a gzip member")
    return piece


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    zstd = _find_zstd()
    if zstd is None:
        raise UnsupportedImage("image.layer.zstd", "this Python cannot check a zstd layer: install zstandard, or allow "
                                                   "such layers unchecked by name")
    try:
        with reading("a blob"):
            file.seek(0)
            stream = zstd.open(file)
            while piece := stream.read(CHUNK_BYTES):
                yield piece
    except (zstd.error, EOFError):
        raise MalformedImage("image.layer.zstd", "the layer is not zstd, is cut short or has something after its end",
                             ) from None


def _find_zstd() -> _Zstd | None:
    """All frames of a file as one stream, by the standard library (3.14) or ``zstandard``; None where neither is."""
    with suppress(ImportError):
        standard = importlib.import_module("compression.zstd")
        options = {standard.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG}
        return _Zstd(lambda file: standard.ZstdFile(file, options=options), standard.ZstdError)
    with suppress(ImportError):
        extra = importlib.import_module("zstandard")
        decompressor = extra.ZstdDecompressor(max_window_size=1 << MAX_ZSTD_WINDOW_LOG)
        return _Zstd(lambda file: decompressor.stream_reader(file, read_across_frames=True, closefd=False),
                     extra.ZstdError)
    return None
