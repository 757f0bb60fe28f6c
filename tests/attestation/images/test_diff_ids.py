"""Decompression that ends where the data ends, and within bounds."""

from __future__ import annotations

import gzip
import io
import sys
import types
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import AttestationError
from attestation.images import diff_ids
from attestation.images.diff_ids import ContentRules, check_diff_id
from attestation.images.limits import Limits
from attestation.images.media_types import Compression

HAS_ZSTD = diff_ids._find_zstd() is not None
needs_zstd = pytest.mark.skipif(not HAS_ZSTD, reason="zstd missing: pip install zstandard")


def _check(data: bytes, tar: bytes, world, compression=Compression.GZIP, **limits) -> None:
    check_diff_id(io.BytesIO(data), compression, world.digest(tar), Limits(**limits))


def _id(data: bytes, tar: bytes, world, compression=Compression.GZIP, **limits) -> str:
    with pytest.raises(AttestationError) as caught:
        _check(data, tar, world, compression, **limits)
    return caught.value.id


def _bomb(size: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(size >> 20)) + squeeze.flush()


def test_plain_and_gzip_layers_are_compared_with_their_tar(world):
    tar = world.tar("file", world.noise(100_000, 1))
    _check(tar, tar, world, Compression.NONE)
    _check(gzip.compress(tar), tar, world)
    assert _id(tar + b"\0", tar, world, Compression.NONE) == "image.layer.diff_id"
    assert _id(gzip.compress(tar + b"\0"), tar, world) == "image.layer.diff_id"


@pytest.mark.parametrize("count", [2, 3, 1000])
def test_several_gzip_members_are_one_stream(world, count):
    tar = world.noise(40_000, 2)
    step = len(tar) // count
    members = [gzip.compress(tar[start : start + step]) for start in range(0, len(tar), step)]
    _check(b"".join(members), tar, world)
    assert _id(b"".join(members[:-1]), tar, world) == "image.layer.diff_id"
    assert _id(b"".join(members), tar, world, gzip_members=len(members) - 1) == "image.layer.bomb"


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 512, b"garbage", b"\x1f", b"\x1f\x8b\x08"], ids=repr)
def test_anything_after_the_last_member_is_refused(world, tail):
    assert _id(gzip.compress(b"tar") + tail, b"tar", world) == "image.layer.gzip"


@pytest.mark.parametrize("name", ["empty", "cut", "cut-trailer", "crc", "length", "not-gzip"])
def test_damaged_gzip_is_refused(world, name):
    whole = gzip.compress(world.noise(100_000, 3))
    data = {
        "empty": b"",
        "cut": whole[:-1000],
        "cut-trailer": whole[:-1],
        "crc": whole[:-8] + bytes(4) + whole[-4:],
        "length": whole[:-4] + bytes(4),
        "not-gzip": b"PK\x03\x04" + whole,
    }[name]
    assert _id(data, world.noise(100_000, 3), world) == "image.layer.gzip"


@given(st.binary(max_size=300), st.lists(st.binary(max_size=50), max_size=4))
def test_no_gzip_raises_anything_but_the_documented_errors(data, members):
    for content in (data, b"".join(map(gzip.compress, members)) + data):
        with pytest.raises(AttestationError) as caught:
            check_diff_id(io.BytesIO(content), Compression.GZIP, "sha256:" + "0" * 64, Limits())
        assert caught.value.id in ("image.layer.gzip", "image.layer.diff_id")


def test_bomb_is_refused_by_ratio_before_it_is_out(world):
    bomb = _bomb(64 << 20)
    assert len(bomb) < 70_000
    assert _id(bomb, b"", world, content_slack=1 << 20) == "image.layer.bomb"
    assert _id(bomb, b"", world, content_bytes=1 << 20) == "image.layer.bomb"
    _check(bomb, bytes(64 << 20), world)


def test_members_share_one_budget(world):
    members = _bomb(1 << 20) * 40
    assert _id(members, b"", world, content_slack=8 << 20) == "image.layer.bomb"


def test_output_comes_in_bounded_pieces(world):
    sizes = [len(piece) for piece in diff_ids._gunzip(io.BytesIO(_bomb(16 << 20)), Limits())]
    assert max(sizes) <= 1 << 20
    assert sum(sizes) == 16 << 20


def test_zstd_without_a_module_is_refused_unless_allowed_by_name(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    data = io.BytesIO(world.zstd(b"tar"))
    with pytest.raises(AttestationError) as caught:
        ContentRules().check(data, Compression.ZSTD, world.digest(b"tar"))
    assert caught.value.id == "image.layer.zstd"
    ContentRules(allow_unchecked_zstd=True).check(data, Compression.ZSTD, world.digest(b"other"))


@needs_zstd
def test_zstd_is_checked_even_where_it_might_go_unchecked(world):
    ContentRules().check(io.BytesIO(world.zstd(b"tar") * 2), Compression.ZSTD, world.digest(b"tartar"))
    with pytest.raises(AttestationError) as caught:
        ContentRules(allow_unchecked_zstd=True).check(
            io.BytesIO(world.zstd(b"tar")), Compression.ZSTD, world.digest(b"other")
        )
    assert caught.value.id == "image.layer.diff_id"


@needs_zstd
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"x" + data,
        lambda data: data[:4] + b"\xff" * 6 + data[4:],
    ],
    ids=["cut", "tail", "magic", "frame"],
)
def test_damaged_zstd_is_refused(world, change):
    content = world.noise(200_000, 4)
    assert _id(change(world.zstd(content)), content, world, Compression.ZSTD) in (
        "image.layer.zstd",
        "image.layer.diff_id",
    )


@needs_zstd
def test_zstd_bomb_is_refused(world):
    # One frame of run-length blocks, 128 KiB of zeros from four bytes each.
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0x58]) + ((131072 << 3) | 2).to_bytes(3, "little").ljust(4, b"\0") * 4000
    assert _id(frame, b"", world, Compression.ZSTD, content_slack=1 << 20) == "image.layer.bomb"


class _Broken(Exception):
    pass


def _opened(file) -> io.BytesIO:
    if file.read(4) != b"\x28\xb5\x2f\xfd":
        raise _Broken
    return io.BytesIO(b"tar")


def _zstandard() -> types.SimpleNamespace:
    class Decompressor:
        def __init__(self, max_window_size: int) -> None:
            assert max_window_size == 1 << 27

        def stream_reader(self, file, *, read_across_frames: bool, closefd: bool) -> io.BytesIO:
            assert read_across_frames
            assert not closefd
            return _opened(file)

    return types.SimpleNamespace(ZstdDecompressor=Decompressor, ZstdError=_Broken)


def _standard_library() -> types.SimpleNamespace:
    def open_file(file, *, options: dict[str, int]) -> io.BytesIO:
        assert options == {"window_log_max": 27}
        return _opened(file)

    return types.SimpleNamespace(
        ZstdFile=open_file,
        ZstdError=_Broken,
        DecompressionParameter=types.SimpleNamespace(window_log_max="window_log_max"),
    )


@pytest.mark.parametrize("used", ["compression.zstd", "zstandard"])
def test_either_module_is_called_as_it_wants_to_be_called(world, monkeypatch, used):
    """Real modules run in the tests above where there is one; this holds the calls of both where there is none."""
    monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
    for name, make in (("compression.zstd", _standard_library), ("zstandard", _zstandard)):
        monkeypatch.setitem(sys.modules, name, make() if name == used else None)
    _check(world.zstd(b"tar"), b"tar", world, Compression.ZSTD)
    assert _id(world.zstd(b"tar"), b"other", world, Compression.ZSTD) == "image.layer.diff_id"
    assert _id(b"else", b"tar", world, Compression.ZSTD) == "image.layer.zstd"
