"""The media types of the OCI image specification that are handled here, and what encryption appends to them."""

from __future__ import annotations

from enum import StrEnum

from attestation.errors import UnsupportedImage
from attestation.images.documents import shown

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ENCRYPTED = "+encrypted"


class Compression(StrEnum):
    """How a layer's tar is packed."""

    NONE = "tar"
    GZIP = "tar+gzip"
    ZSTD = "tar+zstd"


_LAYER_FAMILIES = ("application/vnd.oci.image.layer.v1.", "application/vnd.oci.image.layer.nondistributable.v1.")
_LAYERS = {family + compression: compression for family in _LAYER_FAMILIES for compression in Compression}


def is_encrypted(media_type: str) -> bool:
    """Whether the media type says that the layer is encrypted."""
    return media_type.endswith(ENCRYPTED)


def plain(media_type: str) -> str:
    """The media type of the layer once decrypted; a plain one stays."""
    return media_type.removesuffix(ENCRYPTED)


def compression_of(media_type: str) -> Compression:
    """Compression of a layer, encrypted or not. Raises `UnsupportedImage` for anything but the tar layers."""
    found = _LAYERS.get(plain(media_type))
    if found is None:
        raise UnsupportedImage("image.layer.media_type", "not a layer media type that can be encrypted or decrypted",
                               expected=" or ".join(f"*.{name}" for name in Compression), got=shown(media_type))
    return found
