"""Decrypt an OCI image layout whose layers are encrypted in the ocicrypt format.

1. Read index, manifests and configurations; check every digest and size. If the caller pinned a digest, the layout must
   name that and nothing else.
2. For each encrypted layer: unwrap its private options with a key at hand.
3. Authenticate the whole ciphertext: digest and size of its descriptor, and the HMAC.
4. Decrypt into the private folder, authenticating once more what is decrypted.
5. Decompress what was decrypted and compare it with the configuration's diff_id.
6. Remove annotations and ``+encrypted``, write manifests and indexes anew, and only now let the target appear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attestation.errors import ImageIntegrityError, MalformedImage
from attestation.images import layer_annotations, layer_cipher
from attestation.images.descriptor import Descriptor
from attestation.images.diff_ids import ContentRules
from attestation.images.image_tree import IndexNode, ManifestNode, load_tree
from attestation.images.jwe_keys import JwePrivateKey
from attestation.images.key_sources import KeySource
from attestation.images.layer_keys import LayerKeys
from attestation.images.layout_writer import LayoutWriter, write_layout
from attestation.images.limits import DEFAULT_LIMITS, Limits
from attestation.images.media_types import compression_of, is_encrypted, plain
from attestation.images.oci_layout import Layout, chunks, open_layout, verified_chunks
from attestation.images.rewrite import ManifestOutcome, Meter, Progress, Rewriter, blob_bytes


def decrypt_image(source: Path, target: Path, *, private_keys: Sequence[JwePrivateKey] = (),
                  key_source: KeySource | None = None, expected_digest: str | None = None,
                  require_all_encrypted: bool = True, limits: Limits = DEFAULT_LIMITS,
                  allow_unchecked_zstd: bool = False, insecure_skip_diff_ids: bool = False,
                  progress: Progress | None = None) -> tuple[ManifestOutcome, ...]:
    """Decrypt all images in the layout ``source`` into a new layout ``target``.

    private_keys: tried on packets of the scheme ``jwe``, before ``key_source`` is asked for KEKs of the key broker.
    expected_digest: digest of the one manifest or index that ``index.json`` must name; None pins nothing, and then
        nobody vouches for configuration, order and number of the layers.
    require_all_encrypted: refuse an image with a plain layer; False copies plain layers.
    limits: bounds on blobs and on what layers decompress to.
    allow_unchecked_zstd: let zstd layers through unchecked where no module can decompress them.
    insecure_skip_diff_ids: do not compare layers with the configuration.
    progress: called with (bytes done, bytes in all) as blobs are written.

    Raises `ImageError` when the image is at fault, `KeyUnavailable` when no key opens a layer, what ``key_source``
    raises, and `SetupError` when the source cannot be read or ``target`` exists or cannot be written; ``target`` is
    then as it was before.
    """
    rules = ContentRules(limits, allow_unchecked_zstd, insecure_skip_diff_ids)
    with open_layout(source, limits) as layout:
        tree = load_tree(layout)
        _check_pinned(tree, expected_digest)
        meter = Meter(blob_bytes(tree), progress)
        with write_layout(target) as writer:
            keys = LayerKeys(private_keys, key_source)
            change = _Decryption(layout, writer, rules, meter, keys, require_all_encrypted)
            return Rewriter(layout, writer, change, meter).run(tree)


@dataclass(frozen=True, slots=True)
class _Decryption:
    source: Layout
    target: LayoutWriter
    rules: ContentRules
    meter: Meter
    keys: LayerKeys
    require_all_encrypted: bool

    def diff_ids(self, manifest: ManifestNode) -> tuple[str | None, ...]:
        """What each layer's content must hash to; None where nothing says so."""
        return self.rules.expected(manifest)

    def layer(self, layer: Descriptor, diff_id: str | None) -> Descriptor | None:
        """The opened layer's descriptor, None for a layer that is left as it is."""
        if not is_encrypted(layer.media_type):
            self._check_plain(layer)
            return None
        compression = compression_of(layer.media_type)
        public = layer_annotations.public_options(layer.annotations)
        private = self.keys.open(layer_annotations.packets(layer.annotations))
        with self.source.blob(layer) as file:
            layer_cipher.authenticate(verified_chunks(file, layer), private, public)
            with self.target.blob() as out:
                layer_cipher.decrypt(self.meter.count(chunks(file)), private, public, out.write)
                self.rules.check(out.written(), compression, diff_id)
        kept = layer_annotations.without(layer.annotations)
        return layer.changed(plain(layer.media_type), out.digest, out.size, kept)

    def _check_plain(self, layer: Descriptor) -> None:
        if layer_annotations.is_marked(layer.annotations):
            raise MalformedImage("image.layer.annotations", "a plain layer has annotations of an encrypted one",
                                 got=layer.digest)
        if self.require_all_encrypted:
            raise ImageIntegrityError("image.layer.plain", "a layer is not encrypted, and plain layers are not allowed",
                                      got=layer.digest)


def _check_pinned(tree: IndexNode, expected_digest: str | None) -> None:
    if expected_digest is None:
        return
    found = [entry.digest for entry, _ in tree.entries]
    if found != [expected_digest]:
        raise ImageIntegrityError("image.digest.pinned", "the layout does not hold the image that was pinned",
                                  expected=expected_digest, got=", ".join(found[:4]))
