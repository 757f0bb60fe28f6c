"""One layout made from another, layer by layer: what encryption and decryption have in common.

Manifests and indexes are written anew where a layer below them changed, and byte for byte as they were where none did.
A layer that several manifests share is changed once, and all of them name the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from attestation.images.descriptor import Descriptor, digest_of
from attestation.images.documents import write_object
from attestation.images.image_tree import IndexNode, ManifestNode, Node, manifests
from attestation.images.layout_writer import LayoutWriter
from attestation.images.oci_layout import Layout, verified_chunks

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class LayerOutcome:
    """One layer before and after; equal digests mean that it was copied. size: bytes after."""

    source: str
    target: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class ManifestOutcome:
    """One manifest before and after."""

    source: str
    target: str
    layers: tuple[LayerOutcome, ...]


class LayerChange(Protocol):
    """What happens to layers."""

    def diff_ids(self, manifest: ManifestNode) -> tuple[str | None, ...]:
        """For each layer what it must hold; None: not to be checked. May refuse the manifest."""

    def layer(self, layer: Descriptor, diff_id: str | None) -> Descriptor | None:
        """The layer's new descriptor, its blob written; None to have it copied."""


@dataclass(slots=True)
class Meter:
    """Counts bytes of blobs and tells ``progress`` (done, total) after each piece."""

    total: int
    progress: Progress | None
    done: int = 0

    def count(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, counted."""
        for piece in pieces:
            yield piece
            self.done += len(piece)
            if self.progress is not None:
                self.progress(self.done, self.total)


def blob_bytes(tree: IndexNode) -> int:
    """Size of all layers and configurations together, each once however many manifests share it."""
    blobs = {blob.key: blob.size for manifest in manifests(tree) for blob in (manifest.config, *manifest.layers)}
    return sum(blobs.values())


@dataclass(slots=True)
class Rewriter:
    """Writes ``tree``, read from ``source``, to ``target`` with its layers changed."""

    source: Layout
    target: LayoutWriter
    change: LayerChange
    meter: Meter
    _outcomes: dict[str, ManifestOutcome] = field(default_factory=dict, init=False)
    _layers: dict[tuple[bytes, str | None], Descriptor | None] = field(default_factory=dict, init=False)
    _nodes: dict[str, bytes] = field(default_factory=dict, init=False)

    def run(self, tree: IndexNode) -> tuple[ManifestOutcome, ...]:
        """All of it; what happened to each manifest, in the order of the tree."""
        self.target.finish(self._index(tree))
        return tuple(self._outcomes.values())

    def _index(self, node: IndexNode) -> bytes:
        entries = [self._entry(entry, below) for entry, below in node.entries]
        if all(new is old for new, (old, _) in zip(entries, node.entries, strict=True)):
            return node.data
        return write_object({**node.document, "manifests": [entry.document for entry in entries]})

    def _entry(self, entry: Descriptor, node: Node) -> Descriptor:
        data = self._nodes.get(entry.digest)
        if data is None:
            data = self._index(node) if isinstance(node, IndexNode) else self._manifest(entry.digest, node)
            self._nodes[entry.digest] = data
        digest, size = self.target.put(data)
        return entry if digest == entry.digest else entry.moved(digest, size)

    def _manifest(self, digest: str, node: ManifestNode) -> bytes:
        diff_ids = self.change.diff_ids(node)
        layers = [self._layer(layer, diff_id) for layer, diff_id in zip(node.layers, diff_ids, strict=True)]
        self._copy(node.config)
        data = node.data
        if any(new is not old for new, old in zip(layers, node.layers, strict=True)):
            data = write_object({**node.document, "layers": [layer.document for layer in layers]})
        told = tuple(LayerOutcome(old.digest, new.digest, new.media_type, new.size)
                     for old, new in zip(node.layers, layers, strict=True))
        self._outcomes[digest] = ManifestOutcome(digest, digest_of(data), told)
        return data

    def _layer(self, layer: Descriptor, diff_id: str | None) -> Descriptor:
        key = (layer.key, diff_id)
        if key not in self._layers:
            self._layers[key] = self.change.layer(layer, diff_id)
        changed = self._layers[key]
        if changed is None:
            self._copy(layer)
        return changed or layer

    def _copy(self, blob: Descriptor) -> None:
        if self.target.has(blob.digest):
            return
        with self.source.blob(blob) as file, self.target.blob() as out:
            for piece in self.meter.count(verified_chunks(file, blob)):
                out.write(piece)
