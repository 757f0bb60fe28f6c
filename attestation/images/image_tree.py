"""What a layout holds: the index, nested indexes, manifests and their configurations, each read once and checked.

The whole tree is in memory before any layer is touched, so a document that changes on disk meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from attestation.errors import MalformedImage, UnsupportedImage
from attestation.images import media_types
from attestation.images.descriptor import Descriptor, digest_text
from attestation.images.documents import one_reading, read_object, shown
from attestation.images.oci_layout import MAX_DOCUMENT_BYTES, Layout

MAX_DEPTH = 4
MAX_ENTRIES = 1024
MAX_LAYERS = 1024
MAX_TREE_BYTES = 64 * 1024 * 1024

_INDEX_MEMBERS = ("schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations")
_MANIFEST_MEMBERS = ("schemaVersion", "mediaType", "artifactType", "config", "layers", "subject", "annotations")
_CONFIG_MEMBERS = ("architecture", "os", "config", "rootfs", "history")


@dataclass(frozen=True, slots=True)
class ManifestNode:
    """One image manifest. ``data``: its bytes as read. ``diff_ids``: digests of the layers' uncompressed tars, in
    order; None when the configuration is not an image configuration (an artifact)."""

    data: bytes
    document: Mapping[str, Any]
    config: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class IndexNode:
    """One image index with its entries, in order."""

    data: bytes
    document: Mapping[str, Any]
    entries: tuple[tuple[Descriptor, Node], ...]


Node = IndexNode | ManifestNode


def load_tree(layout: Layout) -> IndexNode:
    """Everything ``index.json`` leads to. Raises `MalformedImage`, `UnsupportedImage` or `ImageIntegrityError`."""
    return _Loader(layout).index(layout.index(), depth=1)


def manifests(tree: IndexNode) -> tuple[ManifestNode, ...]:
    """The manifests of a tree, depth first, each once: indexes may name one another many times over."""
    found: dict[str, Node] = {}
    _collect(tree, found)
    return tuple(node for node in found.values() if isinstance(node, ManifestNode))


def _collect(index: IndexNode, found: dict[str, Node]) -> None:
    for entry, node in index.entries:
        if entry.digest not in found:
            found[entry.digest] = node
            if isinstance(node, IndexNode):
                _collect(node, found)


@dataclass(slots=True)
class _Loader:
    layout: Layout
    total: int = 0
    seen: dict[tuple[str, str], Node] = field(default_factory=dict)

    def index(self, data: bytes, depth: int) -> IndexNode:
        """An index with everything below it. Raises `MalformedImage` or `UnsupportedImage`."""
        document = _document(data, "the index", media_types.INDEX, _INDEX_MEMBERS, ("layers", "config", "fsLayers"))
        if depth > MAX_DEPTH:
            raise MalformedImage("image.index.depth", "indexes nest too deeply", expected=f"<= {MAX_DEPTH}")
        listed = _list_member(document, "manifests", "the index", MAX_ENTRIES)
        if not listed:
            raise MalformedImage("image.index.empty", "the index names no manifest")
        found = [Descriptor.from_json(value, "an index entry") for value in listed]
        return IndexNode(data, document, tuple((entry, self.node(entry, depth)) for entry in found))

    def node(self, entry: Descriptor, depth: int) -> Node:
        """What an index entry names, read once however often it is named."""
        known = self.seen.get((entry.digest, entry.media_type))
        if known is not None:
            entry.check(known.data)
            return known
        if entry.media_type not in (media_types.INDEX, media_types.MANIFEST):
            raise UnsupportedImage("image.index.media_type", "an index entry is neither OCI index nor OCI manifest",
                                   got=shown(entry.media_type))
        data = self.read(entry)
        is_index = entry.media_type == media_types.INDEX
        node = self.index(data, depth + 1) if is_index else self.manifest(data)
        self.seen[entry.digest, entry.media_type] = node
        return node

    def manifest(self, data: bytes) -> ManifestNode:
        """A manifest with its layers and the hashes of their contents."""
        document = _document(data, "the manifest", media_types.MANIFEST, _MANIFEST_MEMBERS, ("manifests", "fsLayers"))
        config = Descriptor.from_json(document.get("config"), "the configuration")
        listed = _list_member(document, "layers", "the manifest", MAX_LAYERS)
        layers = tuple(Descriptor.from_json(value, "a layer") for value in listed)
        return ManifestNode(data, document, config, layers, self.diff_ids(config))

    def diff_ids(self, config: Descriptor) -> tuple[str, ...] | None:
        """The hashes of the layers' contents; None for a configuration that is not an OCI image's."""
        if config.media_type != media_types.CONFIG:
            return None
        id = "image.config"
        document = read_object(self.read(config), "the configuration", id, limit=MAX_DOCUMENT_BYTES)
        one_reading(document, "the configuration", id, _CONFIG_MEMBERS)
        rootfs = document.get("rootfs")
        if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
            raise MalformedImage(id, "rootfs of the configuration must be an object of type layers")
        one_reading(rootfs, "rootfs", id, ("type", "diff_ids"))
        listed = _list_member(rootfs, "diff_ids", "rootfs", MAX_LAYERS)
        return tuple(digest_text(value, "a diff_id") for value in listed)

    def read(self, descriptor: Descriptor) -> bytes:
        """A document, checked against its descriptor, within the bound of all together."""
        data = self.layout.document(descriptor)
        self.total += len(data)
        if self.total > MAX_TREE_BYTES:
            raise MalformedImage("image.size", "the image's documents are too large together",
                                 expected=f"<= {MAX_TREE_BYTES} bytes")
        return data


def _document(data: bytes, what: str, media_type: str, known: Sequence[str], foreign: Sequence[str]) -> dict[str, Any]:
    """An index or manifest that is one thing only: of schema 2, of its media type, without the members of another."""
    id = "image.manifest.ambiguous"
    document = read_object(data, what, "image.manifest", limit=MAX_DOCUMENT_BYTES)
    one_reading(document, what, id, known)
    names = {name.casefold() for name in document}
    if any(name.casefold() in names for name in foreign):
        raise MalformedImage(id, f"{what} has members of another kind of document",
                             expected=f"none of {', '.join(foreign)}")
    if document.get("mediaType", media_type) != media_type:
        raise MalformedImage(id, f"mediaType of {what} is not that of its descriptor", expected=media_type,
                             got=shown(str(document["mediaType"])))
    if type(document.get("schemaVersion")) is not int or document["schemaVersion"] != 2:
        raise MalformedImage("image.manifest", f"schemaVersion of {what} must be 2", expected=2)
    return document


def _list_member(document: Mapping[str, Any], name: str, what: str, limit: int) -> list[object]:
    found = document.get(name)
    if not isinstance(found, list):
        raise MalformedImage("image.manifest", f"{name} of {what} must be a list", expected="list",
                             got=type(found).__name__)
    if len(found) > limit:
        raise MalformedImage("image.manifest", f"{name} of {what} has too many entries", expected=f"<= {limit}",
                             got=len(found))
    return found
