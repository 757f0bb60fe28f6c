"""Content descriptors: which blob, how large, of what kind (OCI image specification, descriptor.md)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attestation.errors import ImageIntegrityError, MalformedImage
from attestation.images.documents import base64_member, one_reading, shown, text_member, write_object

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_MEMBERS = ("mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")
# Name the old bytes in other words: they are dropped when the bytes change.
_BOUND_TO_CONTENT = ("urls", "data")
_MAX_SIZE = 2**63 - 1


def digest_text(value: object, what: str) -> str:
    """``sha256:`` and 64 lower-case hexadecimal digits, exactly: the only text that ever becomes part of a path."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise MalformedImage("image.digest", f"{what} is not a digest of the form used here",
                             expected="sha256: and 64 lower-case hexadecimal digits",
                             got=shown(value) if isinstance(value, str) else type(value).__name__)
    return value


def digest_of(data: bytes) -> str:
    """The digest text of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor. ``document`` is the whole JSON object as it was read: members that mean nothing here (platform,
    artifactType) are carried along."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str]
    document: Mapping[str, Any]

    @classmethod
    def from_json(cls, value: object, what: str) -> Descriptor:
        """Parse a descriptor; embedded ``data`` must be what the digest and size say."""
        id = "image.descriptor"
        if not isinstance(value, dict):
            raise MalformedImage(id, f"{what} must be an object", expected="object", got=type(value).__name__)
        one_reading(value, what, id, _MEMBERS)
        media_type = text_member(value, "mediaType", what, id)
        digest = digest_text(value.get("digest"), f"digest of {what}")
        found = cls(media_type, digest, _size(value, what), _annotations(value, what), value)
        if "data" in value:
            found.check(base64_member(value, "data", what, id))
        return found

    def check(self, data: bytes) -> None:
        """``data`` must have this size and digest."""
        if len(data) != self.size or digest_of(data) != self.digest:
            raise ImageIntegrityError("image.blob.digest", "content is not what its descriptor names",
                                      expected=f"{self.digest}, {self.size} bytes",
                                      got=f"{digest_of(data)}, {len(data)} bytes")

    def moved(self, digest: str, size: int) -> Descriptor:
        """The same entry for other bytes; the rest stays, except what spoke of the old bytes."""
        return self.changed(self.media_type, digest, size, self.annotations)

    def changed(self, media_type: str, digest: str, size: int, annotations: Mapping[str, str]) -> Descriptor:
        """This descriptor for other bytes of another kind; empty annotations are left out."""
        document = {name: value for name, value in self.document.items() if name not in _BOUND_TO_CONTENT}
        document |= {"mediaType": media_type, "digest": digest, "size": size}
        document.pop("annotations", None)
        if annotations:
            document["annotations"] = dict(annotations)
        return Descriptor(media_type, digest, size, annotations, document)

    @property
    def key(self) -> bytes:
        """Equal for two descriptors that say the same in every member."""
        return write_object(dict(sorted(self.document.items())))


def _size(value: Mapping[str, Any], what: str) -> int:
    size = value.get("size")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        raise MalformedImage("image.descriptor", f"size of {what} must be a whole number of bytes",
                             expected=f"0 to {_MAX_SIZE}", got=shown(str(size)))
    return size


def _annotations(value: Mapping[str, Any], what: str) -> Mapping[str, str]:
    found = value.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise MalformedImage("image.descriptor", f"annotations of {what} must map text to text")
    return found
