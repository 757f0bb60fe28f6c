"""The layer annotations of an encrypted image: the public options and the wrapped keys, by scheme.

``org.opencontainers.image.enc.pubopts`` holds base64 JSON; ``org.opencontainers.image.enc.keys.<scheme>`` one or more
base64 packets separated by commas. Nothing authenticates an annotation by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attestation.errors import MalformedImage
from attestation.images.documents import malformed_as, shown
from attestation.images.layer_cipher import PublicOptions
from verifier.formats import strict

PREFIX = "org.opencontainers.image.enc."
PUBLIC_OPTIONS = PREFIX + "pubopts"
KEYS = PREFIX + "keys."
MAX_PACKETS = 64
MAX_PACKET_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Packet:
    """One wrapped copy of a layer's private options, and the scheme that did it (``jwe``, ``provider.<name>`` …)."""

    scheme: str
    data: bytes


def is_marked(annotations: Mapping[str, str]) -> bool:
    """Whether any annotation belongs to image encryption, in whatever letter case."""
    return any(map(_is_ours, annotations))


def without(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations that have nothing to do with image encryption."""
    return {name: value for name, value in annotations.items() if not _is_ours(name)}


def public_options(annotations: Mapping[str, str]) -> PublicOptions:
    """The layer's public options. Raises `MalformedImage` when there are none."""
    text = annotations.get(PUBLIC_OPTIONS)
    if text is None:
        raise MalformedImage("image.public_options", "an encrypted layer has no public options",
                             expected=PUBLIC_OPTIONS)
    with malformed_as("image.public_options"):
        data = strict.base64_bytes(text, "the public options")
    return PublicOptions.from_json(data)


def packets(annotations: Mapping[str, str]) -> tuple[Packet, ...]:
    """The wrapped keys of a layer, at least one, schemes and packets in the order written."""
    found = [Packet(name.removeprefix(KEYS), _packet(text, name))
             for name, texts in annotations.items() if name.startswith(KEYS) for text in texts.split(",", MAX_PACKETS)]
    if not found:
        raise MalformedImage("image.layer.keys", "an encrypted layer has no wrapped key", expected=KEYS + "*")
    if len(found) > MAX_PACKETS:
        raise MalformedImage("image.layer.keys", "too many wrapped keys", expected=f"<= {MAX_PACKETS}")
    return tuple(found)


def written(public: PublicOptions, wrapped: Sequence[Packet]) -> dict[str, str]:
    """The annotations of a layer encrypted with these options, its key wrapped in these packets."""
    found: dict[str, str] = {}
    for packet in wrapped:
        text = base64.b64encode(packet.data).decode("ascii")
        name = KEYS + packet.scheme
        found[name] = f"{found[name]},{text}" if name in found else text
    return {**found, PUBLIC_OPTIONS: base64.b64encode(public.to_json()).decode("ascii")}


def _is_ours(name: str) -> bool:
    return name.casefold().startswith(PREFIX)


def _packet(text: str, name: str) -> bytes:
    if len(text) > MAX_PACKET_BYTES:
        raise MalformedImage("image.layer.keys", "a wrapped key is too large", expected=f"<= {MAX_PACKET_BYTES} bytes",
                             got=shown(name))
    with malformed_as("image.layer.keys"):
        return strict.base64_bytes(text, "a wrapped key")
