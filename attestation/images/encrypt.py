"""Encrypt an OCI image layout: every layer under a key of its own, the key wrapped for recipients.

1. Read index, manifests and configurations, and check every digest, size and diff_id on the way.
2. For each layer: a fresh key and nonce, AES-256-CTR and HMAC-SHA256 over the blob as it is, no recompression.
3. Wrap the key, write it and the public options into the layer's annotations, append ``+encrypted`` to its media type.
4. Write manifests and indexes anew; the configuration stays as it is, readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attestation.errors import MalformedImage, UnsupportedImage
from attestation.images import layer_annotations, layer_cipher
from attestation.images.descriptor import Descriptor
from attestation.images.diff_ids import ContentRules
from attestation.images.image_tree import ManifestNode, load_tree
from attestation.images.layer_cipher import PrivateOptions
from attestation.images.layer_keys import Recipient, wrap_for
from attestation.images.layout_writer import LayoutWriter, write_layout
from attestation.images.limits import DEFAULT_LIMITS, Limits
from attestation.images.media_types import ENCRYPTED, compression_of, is_encrypted
from attestation.images.oci_layout import Layout, open_layout, verified_chunks
from attestation.images.rewrite import ManifestOutcome, Meter, Progress, Rewriter, blob_bytes


def encrypt_image(source: Path, target: Path, *, recipients: Sequence[Recipient], limits: Limits = DEFAULT_LIMITS,
                  allow_unchecked_zstd: bool = False, insecure_skip_diff_ids: bool = False,
                  progress: Progress | None = None) -> tuple[ManifestOutcome, ...]:
    """Encrypt all layers of all images in the layout ``source`` into a new layout ``target``.

    A layer whose diff_id does not hold is refused: nobody could open it. Where zstd cannot be decompressed,
    ``allow_unchecked_zstd`` lets such layers through; ``insecure_skip_diff_ids`` skips the comparison for all.

    progress: called with (bytes done, bytes in all) as blobs are written.

    Raises `ImageError` when the source is at fault, `SetupError` when it cannot be read, when there is no recipient, or
    when ``target`` exists or cannot be written; ``target`` is then as it was before.
    """
    rules = ContentRules(limits, allow_unchecked_zstd, insecure_skip_diff_ids)
    with open_layout(source, limits) as layout:
        tree = load_tree(layout)
        meter = Meter(blob_bytes(tree), progress)
        with write_layout(target) as writer:
            change = _Encryption(layout, writer, rules, meter, recipients)
            return Rewriter(layout, writer, change, meter).run(tree)


@dataclass(frozen=True, slots=True)
class _Encryption:
    source: Layout
    target: LayoutWriter
    rules: ContentRules
    meter: Meter
    recipients: Sequence[Recipient]

    def diff_ids(self, manifest: ManifestNode) -> tuple[str | None, ...]:
        """What each layer's content must hash to; None where nothing says so."""
        return self.rules.expected(manifest)

    def layer(self, layer: Descriptor, diff_id: str | None) -> Descriptor:
        """The encrypted layer's descriptor. Raises `UnsupportedImage` or `MalformedImage`."""
        compression = compression_of(layer.media_type)
        if is_encrypted(layer.media_type):
            raise UnsupportedImage("image.layer.encrypted", "a layer is encrypted already", got=layer.digest)
        if layer_annotations.is_marked(layer.annotations):
            raise MalformedImage("image.layer.annotations", "a plain layer has annotations of an encrypted one",
                                 got=layer.digest)
        private = PrivateOptions.fresh(layer.digest)
        packets = wrap_for(self.recipients, private)
        with self.source.blob(layer) as file:
            self.rules.check(file, compression, diff_id)
            with self.target.blob() as out:
                public = layer_cipher.encrypt(self.meter.count(verified_chunks(file, layer)), private, out.write)
        added = {**layer.annotations, **layer_annotations.written(public, packets)}
        return layer.changed(layer.media_type + ENCRYPTED, out.digest, out.size, added)
