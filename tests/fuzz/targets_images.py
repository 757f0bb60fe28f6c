"""What a guest takes from a registry, and what wraps the keys of it: `attestation.images`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attestation.errors import (
    ImageError,
    ImageIntegrityError,
    KeyUnavailable,
    MalformedImage,
    SetupError,
    UnsupportedImage,
)
from attestation.images import annotation_packet, jwe_recipient, key_provider_grpc, layer_annotations, media_types
from attestation.images.annotation_packet import AnnotationPacket
from attestation.images.descriptor import Descriptor, digest_of
from attestation.images.diff_ids import check_diff_id
from attestation.images.documents import read_object
from attestation.images.image_tree import load_tree, manifests
from attestation.images.jwe_keys import JwePrivateKey, JweRecipient
from attestation.images.key_provider import KeyProvider
from attestation.images.key_sources import KeyTable, checked_kid
from attestation.images.layer_annotations import Packet
from attestation.images.layer_cipher import PrivateOptions, PublicOptions
from attestation.images.limits import Limits
from attestation.images.media_types import Compression
from kbs.protocol.tee_pubkey import ec_point
from tests.fuzz.envelopes import jwe, p256
from tests.fuzz.harness import Finding, Target, pack, text, unpack
from tests.fuzz.seeds import lazily, these
from verifier.formats.strict import base64url

KID = "kbs:///default/key/1"
KEY, NONCE = bytes(range(32)), bytes(range(16))
IMAGE = (MalformedImage, UnsupportedImage)
OPENING = (*IMAGE, ImageIntegrityError)
DIGEST = "sha256:" + "5" * 64
PRIVATE = PrivateOptions(KEY, DIGEST, NONCE)
PUBLIC = PublicOptions(bytes(range(32)))
PLAINTEXT = b"the owner's secret weights" * 400


def _pem() -> Iterator[bytes]:
    key = p256(21)
    yield key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    point = {"kty": "EC", "crv": "P-256", **ec_point(key.public_key().public_numbers())}
    yield json.dumps(point | {"alg": "ECDH-ES+A128KW", "use": "enc", "kid": "k"}).encode()
    yield json.dumps(point | {"d": base64url((21).to_bytes(32, "big"))}).encode()


@cache
def _packet() -> bytes:
    iv = bytes(12)
    return AnnotationPacket(KID, AESGCM(KEY).encrypt(iv, PRIVATE.to_json(), None), iv).to_json()


def _unwrapped(data: bytes) -> bytes:
    found = annotation_packet.unwrap(data, KeyTable({KID: KEY}))
    if found != PRIVATE.to_json():
        raise Finding("a packet that was altered opens")
    return found


def _annotations(data: bytes) -> object:
    """All that is read of a layer's annotations, which a descriptor has found to be texts."""
    value = json_of(data)
    if not all(isinstance(item, str) for item in value.values()):
        return None
    layer_annotations.is_marked(value)
    layer_annotations.without(value)
    return layer_annotations.public_options(value), layer_annotations.packets(value)


def _annotated() -> bytes:
    return json.dumps(layer_annotations.written(PUBLIC, [Packet("provider.attestation-agent", _packet()),
                                                         Packet("jwe", _jwe()), Packet("jwe", _jwe())])).encode()


def _jwe() -> bytes:
    return jwe(PRIVATE.to_json(), p256(21).public_key())


def _general_jwe() -> bytes:
    return jwe(PRIVATE.to_json(), p256(22).public_key(), p256(21).public_key())


def _jwe_opened(data: bytes) -> bytes | None:
    found = jwe_recipient.unwrap(data, [JwePrivateKey(p256(21))])
    if found not in (None, PRIVATE.to_json()):
        raise Finding("a JWE that was altered opens")
    return found


def _provider_requests() -> Iterator[bytes]:
    parameters = b64encode(f"keyid={KID}".encode()).decode()
    yield json.dumps({"op": "keywrap", "keywrapparams": {
        "ec": {"Parameters": {"attestation-agent": [parameters]}},
        "optsdata": b64encode(PRIVATE.to_json()).decode()}}).encode()
    yield json.dumps({"op": "keyunwrap", "keyunwrapparams": {
        "dc": {}, "annotation": b64encode(_packet()).decode()}}).encode()


def _answered(request: bytes) -> bytes:
    return KeyProvider(KeyTable({KID: KEY})).answer(request)


def _documents() -> list[bytes]:
    """Index, manifest, configuration."""
    size = {"digest": DIGEST, "size": 7}
    return [json.dumps(document).encode() for document in (
        {"schemaVersion": 2, "mediaType": media_types.INDEX, "manifests": [
            {"mediaType": media_types.MANIFEST, **size, "platform": {"os": "linux"}}]},
        {"schemaVersion": 2, "mediaType": media_types.MANIFEST, "config": {"mediaType": media_types.CONFIG, **size},
         "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest_of(b"content"),
                     "size": 7, "annotations": {"a": "b"}, "data": b64encode(b"content").decode()}]},
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIGEST]}})]


@dataclass
class _Documents:
    """A layout in which every document is what its kind says; digests are `Descriptor.check`'s business."""

    parts: list[bytes]

    def index(self) -> bytes:
        return self.parts[0]

    def document(self, descriptor: Descriptor) -> bytes:
        kinds = {media_types.INDEX: 0, media_types.MANIFEST: 1}
        return self.parts[kinds.get(descriptor.media_type, 2)]


def _tree(data: bytes) -> object:
    parts = unpack(data)
    if parts is None or len(parts) != 3:
        return None
    tree = load_tree(_Documents(parts))  # type: ignore[arg-type]
    return [(node.layers, node.diff_ids) for node in manifests(tree)]


def _descriptor(data: bytes) -> Descriptor:
    found = Descriptor.from_json(json_of(data), "a descriptor")
    if Descriptor.from_json(json.loads(json.dumps(dict(found.document))), "a descriptor").key != found.key:
        raise Finding("a descriptor that was written is read as another")
    return found


def json_of(data: bytes) -> dict[str, Any]:
    """The object in a document."""
    return read_object(data, "the document", "image.document", limit=1 << 20)


def _content(data: bytes) -> None:
    """A gzip layer, in small bounds."""
    limits = Limits(content_slack=1 << 16, content_ratio=20, gzip_members=8)
    check_diff_id(io.BytesIO(data), Compression.GZIP, "sha256:" + hashlib.sha256(PLAINTEXT).hexdigest(), limits)
    if gzip.decompress(data) != PLAINTEXT:
        raise Finding("a layer passes that is another")


def _same(again: object, found: object) -> None:
    if again != found:
        raise Finding("what was written is not what was read")


TARGETS = (
    Target("images.annotation_packet", AnnotationPacket.from_json, IMAGE, lazily(lambda: [_packet()])),
    Target("images.annotations", _annotations, IMAGE, lazily(lambda: [_annotated()])),
    Target("images.checked_kid", text(checked_kid), IMAGE, these(KID.encode(), b"a/b/c")),
    Target("images.descriptor", _descriptor, OPENING, lazily(lambda: [
        json.dumps(json.loads(_documents()[1])["layers"][0]).encode()])),
    Target("images.documents", json_of, IMAGE, lazily(_documents)),
    Target("images.gzip_layer", _content, OPENING, these(gzip.compress(PLAINTEXT, mtime=0))),
    Target("images.jwe", _jwe_opened, OPENING, lazily(lambda: [_jwe(), _general_jwe()])),
    Target("images.jwe_private_key", JwePrivateKey.from_bytes, (SetupError,), lazily(_pem)),
    Target("images.jwe_recipient_key", JweRecipient.from_bytes, (SetupError,), lazily(_pem)),
    Target("images.key_provider", _answered, (*OPENING, KeyUnavailable), lazily(_provider_requests)),
    Target("images.key_provider_message", key_provider_grpc.decode, (MalformedImage,), these(
        key_provider_grpc.encode(b"{}"), key_provider_grpc.encode(bytes(300))), (
        lambda data, found: _same(key_provider_grpc.encode(found), data),)),
    Target("images.packet_opened", _unwrapped, (*OPENING, KeyUnavailable), lazily(lambda: [_packet()])),
    Target("images.private_options", PrivateOptions.from_json, IMAGE, these(PRIVATE.to_json()), (
        lambda _, found: _same(PrivateOptions.from_json(found.to_json()), found),)),
    Target("images.public_options", PublicOptions.from_json, IMAGE, these(PUBLIC.to_json()), (
        lambda _, found: _same(PublicOptions.from_json(found.to_json()), found),)),
    Target("images.tree", _tree, (ImageError,), lazily(lambda: [pack(_documents())])),
)
