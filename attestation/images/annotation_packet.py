"""Layer keys wrapped with a KEK from the key broker, as Confidential Containers' key provider writes them.

The packet is ``{"kid","wrapped_data","iv","wrap_type"}`` with A256GCM and no associated data; its newer form, with
``version`` and ``provider`` besides, is read as well where the provider is ``kbs``. The kid is not authenticated: a
changed one asks the source for another key, and that key opens nothing.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.errors import ImageIntegrityError, UnsupportedImage
from attestation.images.documents import base64_member, only_members, read_object, shown, text_member, write_object
from attestation.images.key_sources import KeySource, checked_kek, checked_kid

WRAP_TYPE = "A256GCM"
IV_BYTES = 12
MAX_PACKET_BYTES = 64 * 1024

_ID = "image.packet"
_WHAT = "the wrapped key"
_MEMBERS = ("kid", "wrapped_data", "iv", "wrap_type")
_NEWER = {"version": "0.1.0", "provider": "kbs"}
# Settings of other key services, without meaning for a broker.
_NEWER_UNUSED = ("provider_settings", "annotations")


@dataclass(frozen=True, slots=True)
class AnnotationPacket:
    """A wrapped layer key. wrapped_data: ciphertext and its 16-byte tag; iv: 12 bytes."""

    kid: str
    wrapped_data: bytes
    iv: bytes

    @classmethod
    def from_json(cls, data: bytes) -> AnnotationPacket:
        """Raises `MalformedImage`, or `UnsupportedImage` for another wrapping, version or provider."""
        document = read_object(data, _WHAT, _ID, limit=MAX_PACKET_BYTES)
        only_members(document, _WHAT, _ID, required=_MEMBERS, optional=(*_NEWER, *_NEWER_UNUSED))
        for name, value in _NEWER.items():
            _must_be(name, value, document.get(name, value))
        _must_be("wrap_type", WRAP_TYPE, document["wrap_type"])
        return cls(checked_kid(text_member(document, "kid", _WHAT, _ID)),
                   base64_member(document, "wrapped_data", _WHAT, _ID),
                   base64_member(document, "iv", _WHAT, _ID, size=IV_BYTES))

    def to_json(self) -> bytes:
        """The older form, compact, members in this order: every reader knows it."""
        return write_object({"kid": self.kid, "wrapped_data": base64.b64encode(self.wrapped_data).decode("ascii"),
                             "iv": base64.b64encode(self.iv).decode("ascii"), "wrap_type": WRAP_TYPE})


def wrap(plaintext: bytes, kid: str, kek: bytes) -> bytes:
    """The packet, as JSON, that holds ``plaintext`` under the 32-byte ``kek`` known as ``kid``."""
    iv = secrets.token_bytes(IV_BYTES)
    sealed = AESGCM(checked_kek(kek, kid)).encrypt(iv, plaintext, None)
    return AnnotationPacket(checked_kid(kid), sealed, iv).to_json()


def unwrap(data: bytes, source: KeySource) -> bytes:
    """The plaintext of a packet, opened with the KEK that ``source`` has under its kid.

    Raises what `AnnotationPacket.from_json` and ``source`` raise, and `ImageIntegrityError` when the KEK does not open
    it.
    """
    packet = AnnotationPacket.from_json(data)
    kek = checked_kek(source.get(packet.kid), packet.kid)
    try:
        return AESGCM(kek).decrypt(packet.iv, packet.wrapped_data, None)
    except InvalidTag:
        raise ImageIntegrityError("image.packet.tag", "the key does not open what was wrapped, or that was altered",
                                  got=packet.kid) from None


def _must_be(name: str, expected: str, got: object) -> None:
    if got != expected:
        raise UnsupportedImage(f"image.packet.{name}", f"{name} of the wrapped key is not one used here",
                               expected=expected, got=shown(str(got)))
