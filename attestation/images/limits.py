"""How much is read before it is known to be worth reading."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on layers; documents have fixed bounds of their own where they are read.

    blob_bytes: largest blob that is read or copied.
    content_bytes: largest decompressed layer.
    content_ratio: decompressed bytes allowed for each compressed byte, once ``content_slack`` bytes have come out.
        Deflate reaches 1032; a layer of real files seldom passes 20.
    content_slack: decompressed bytes that are allowed at any ratio.
    gzip_members: gzip members in one layer; indexed formats (eStargz) make one for each file.
    """

    blob_bytes: int = 64 * GIB
    content_bytes: int = 256 * GIB
    content_ratio: int = 256
    content_slack: int = GIB // 4
    gzip_members: int = 1 << 20


DEFAULT_LIMITS = Limits()
