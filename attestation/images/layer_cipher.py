"""The layer cipher of ocicrypt, ``AES_256_CTR_HMAC_SHA256``.

AES-256-CTR with a 16-byte initial counter block (128-bit, big-endian), and HMAC-SHA256 under the same key over the
ciphertext alone. What the HMAC leaves out is made good here: the nonce comes from the wrapped private options only, any
public cipher option is refused, and callers compare the decrypted layer with the configuration (`diff_ids`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from attestation.errors import ImageIntegrityError, MalformedImage, UnsupportedImage
from attestation.images.descriptor import digest_text
from attestation.images.documents import base64_member, only_members, read_object, shown, text_member, write_object

CIPHER = "AES_256_CTR_HMAC_SHA256"
KEY_BYTES = 32
NONCE_BYTES = 16
HMAC_BYTES = 32
MAX_OPTIONS_BYTES = 4096

Sink = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class PrivateOptions:
    """The layer key: what gets wrapped for recipients.

    symkey: 32 bytes, key of both AES and HMAC.
    digest: digest text of the blob that the encrypting tool was given; it may have recompressed that blob before it
        encrypted, so this need not be the digest of the decrypted layer. Not compared with anything.
    nonce: 16 bytes, the initial counter block.
    """

    symkey: bytes = field(repr=False)
    digest: str
    nonce: bytes = field(repr=False)

    @classmethod
    def fresh(cls, digest: str) -> PrivateOptions:
        """A random key and nonce for the blob ``digest``; to be used for one layer only."""
        return cls(secrets.token_bytes(KEY_BYTES), digest, secrets.token_bytes(NONCE_BYTES))

    @classmethod
    def from_json(cls, data: bytes) -> PrivateOptions:
        """Strictly ``{"symkey","digest","cipheroptions":{"nonce"}}``. Raises `MalformedImage`."""
        what, id = "the private options", "image.private_options"
        document = read_object(data, what, id, limit=MAX_OPTIONS_BYTES)
        only_members(document, what, id, required=("symkey", "digest", "cipheroptions"))
        symkey = base64_member(document, "symkey", what, id, size=KEY_BYTES)
        options = _cipher_options(document, what, id)
        only_members(options, "the private cipher options", id, required=("nonce",))
        nonce = base64_member(options, "nonce", "the private cipher options", id, size=NONCE_BYTES)
        return cls(symkey, digest_text(document["digest"], "digest of the private options"), nonce)

    def to_json(self) -> bytes:
        """As ocicrypt writes it: compact, members in this order."""
        return write_object({"symkey": _base64(self.symkey), "digest": self.digest,
                             "cipheroptions": {"nonce": _base64(self.nonce)}})


@dataclass(frozen=True, slots=True)
class PublicOptions:
    """What stands beside the layer for everybody to read. hmac: 32 bytes over the ciphertext."""

    hmac: bytes

    @classmethod
    def from_json(cls, data: bytes) -> PublicOptions:
        """Strictly ``{"cipher","hmac","cipheroptions":{}}``.

        A public cipher option is refused whatever its name: other implementations let it replace the authenticated one.
        Raises `MalformedImage`, or `UnsupportedImage` for another cipher.
        """
        what, id = "the public options", "image.public_options"
        document = read_object(data, what, id, limit=MAX_OPTIONS_BYTES)
        only_members(document, what, id, required=("cipher", "hmac", "cipheroptions"))
        cipher = text_member(document, "cipher", what, id)
        if cipher != CIPHER:
            raise UnsupportedImage("image.layer.cipher", "unknown layer cipher", expected=CIPHER, got=shown(cipher))
        if _cipher_options(document, what, id):
            raise MalformedImage("image.public_options.cipheroptions",
                                 "public cipher options must be empty: nothing authenticates them")
        return cls(base64_member(document, "hmac", what, id, size=HMAC_BYTES))

    def to_json(self) -> bytes:
        """As ocicrypt writes it: compact, members in this order."""
        return write_object({"cipher": CIPHER, "hmac": _base64(self.hmac), "cipheroptions": {}})


def encrypt(plaintext: Iterable[bytes], private: PrivateOptions, sink: Sink) -> PublicOptions:
    """Encrypt ``plaintext`` piece by piece into ``sink``; the length stays."""
    context = _cipher(private).encryptor()
    mac = hmac.new(private.symkey, digestmod=hashlib.sha256)
    for chunk in plaintext:
        encrypted = context.update(chunk)
        mac.update(encrypted)
        sink(encrypted)
    _finish(context)
    return PublicOptions(mac.digest())


def authenticate(ciphertext: Iterable[bytes], private: PrivateOptions, public: PublicOptions) -> None:
    """Read ``ciphertext`` to its end. Raises `ImageIntegrityError` unless its HMAC is that of the public options."""
    mac = hmac.new(private.symkey, digestmod=hashlib.sha256)
    for chunk in ciphertext:
        mac.update(chunk)
    _compare(mac, public)


def decrypt(ciphertext: Iterable[bytes], private: PrivateOptions, public: PublicOptions, sink: Sink) -> None:
    """Decrypt ``ciphertext`` piece by piece into ``sink``, and authenticate it once more on the way.

    Call `authenticate` before: this function learns only at the end whether what it wrote was genuine. The second look
    is for ciphertext in a folder that somebody else can write to; it raises `ImageIntegrityError` when the bytes are
    no longer those that were authenticated, and then nothing that went into ``sink`` may be used.
    """
    context = _cipher(private).decryptor()
    mac = hmac.new(private.symkey, digestmod=hashlib.sha256)
    for chunk in ciphertext:
        mac.update(chunk)
        sink(context.update(chunk))
    _finish(context)
    _compare(mac, public)


def _cipher(private: PrivateOptions) -> Cipher[CTR]:
    return Cipher(AES(private.symkey), CTR(private.nonce))


def _finish(context: CipherContext) -> None:
    context.finalize()  # a stream cipher keeps nothing back


def _compare(mac: hmac.HMAC, public: PublicOptions) -> None:
    if not hmac.compare_digest(mac.digest(), public.hmac):
        raise ImageIntegrityError("image.layer.hmac", "the layer is not what was encrypted: its HMAC does not hold")


def _cipher_options(document: Mapping[str, Any], what: str, id: str) -> dict[str, Any]:
    found = document["cipheroptions"]
    if not isinstance(found, dict):
        raise MalformedImage(id, f"cipheroptions of {what} must be an object", expected="object",
                             got=type(found).__name__)
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
