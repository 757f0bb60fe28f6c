"""What a guest is given by its host, its registry and its broker: `attestation`."""

from __future__ import annotations

import atexit
import errno
import gzip
import hashlib
import io
import json
import re
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attestation import config
from attestation import init_data as guest_init_data
from attestation.attesters.configfs_tsm import ConfigfsTsm
from attestation.attesters.snp import SnpAttester
from attestation.attesters.tdx import TdxAttester
from attestation.errors import (
    AttesterError,
    BrokerError,
    ImageError,
    ImageIntegrityError,
    KeyUnavailable,
    MalformedImage,
    ModelError,
    SealedFileError,
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
from attestation.kbc.refusals import attestation_refusal, refusal
from attestation.kbc.token import lifetime_of
from attestation.kbc.transport import Answer, Transport, Trust
from attestation.models import safetensors_header
from attestation.models.chunks import ChunkCipher
from attestation.models.keys import HeldKeys
from attestation.models.manifest import ManifestFile, new_manifest, parse_manifest
from attestation.models.reader import open_sealed
from attestation.models.sealed_file import TAG_BYTES, new_header, parse_header
from attestation.secrets import sealed
from attestation.secrets.sealed import Envelope, SealedSecretError, TrustedSigners, Vault
from kbs.errors import KbsError
from kbs.protocol import init_data
from kbs.protocol.tee_pubkey import ec_point
from kbs.protocol.wire import base64url
from tests.fuzz import seeds
from tests.fuzz.harness import Finding, Target, never, pack, text, unpack
from tests.fuzz.seeds import lazily, these
from verifier.errors import MalformedEvidence

KID = "kbs:///default/key/1"
_OFFSETS = re.compile(r'data_offsets"\s*:\s*\[\s*\d{1,20}\s*,\s*(\d{1,20})', re.ASCII)
KEY, NONCE = bytes(range(32)), bytes(range(16))
IMAGE = (MalformedImage, UnsupportedImage)
OPENING = (*IMAGE, ImageIntegrityError)
DIGEST = "sha256:" + "5" * 64
PRIVATE = PrivateOptions(KEY, DIGEST, NONCE)
PUBLIC = PublicOptions(bytes(range(32)))
PLAINTEXT = b"the owner's secret weights" * 400
INIT_DATA = b'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = \'\'\'\n[token_configs.kbs]\nurl = "https://k"\n\'\'\'\n'


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="attestkit-fuzz-guest-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    """A reader of a file, given its bytes."""
    def run(data: bytes) -> Any:
        path = _folder() / name
        path.write_bytes(data)
        return read(path)
    return run


@cache
def _private_key(number: int = 21) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


def _pem() -> Iterator[bytes]:
    key = _private_key()
    yield key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    yield key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    point = {"kty": "EC", "crv": "P-256", **ec_point(key.public_key().public_numbers())}
    yield json.dumps(point | {"alg": "ECDH-ES+A128KW", "use": "enc", "kid": "k"}).encode()
    yield json.dumps(point | {"d": base64url((21).to_bytes(32, "big"))}).encode()


# -- images -----------------------------------------------------------------------------------------------------------


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


@cache
def _jwe() -> bytes:
    return jwe_recipient.wrap(PRIVATE.to_json(), [JweRecipient.from_bytes([*_pem()][1])])


@cache
def _general_jwe() -> bytes:
    recipients = [JweRecipient.from_bytes(_private_key(number).public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)) for number in (22, 21)]
    return jwe_recipient.wrap(PRIVATE.to_json(), recipients)


def _jwe_opened(data: bytes) -> bytes | None:
    found = jwe_recipient.unwrap(data, [JwePrivateKey(_private_key())])
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


# -- models -----------------------------------------------------------------------------------------------------------


@cache
def _sealed_model() -> bytes:
    header = new_header(KEY, key_uri=KID, plaintext_bytes=len(PLAINTEXT), chunk_bytes=4096, salt=KEY)
    cipher, found = ChunkCipher(header, KEY), bytearray(header.encoded)
    for index in range(header.chunk_count):
        piece = PLAINTEXT[index * 4096:(index + 1) * 4096]
        chunk = bytearray(len(piece) + TAG_BYTES)
        cipher.seal_into(index, piece, chunk)
        found += chunk
    return bytes(found)


def _model(path: Path) -> bytes:
    with open_sealed(path, HeldKeys({KID: KEY}), workers=1) as reader:
        found = reader.read(0, len(reader))
    if found != PLAINTEXT:
        raise Finding("a sealed file that was altered opens")
    return found


def _header(data: bytes) -> object:
    found = parse_header(data)
    if not data.startswith(found.encoded):
        raise Finding("a header is not what stands in the file")
    return found


def _authenticated(_: bytes, found: Any) -> None:
    try:
        header = found.authenticate(KEY)
    except SealedFileError:
        return
    if header.encoded != new_header(KEY, key_uri=header.key_uri, plaintext_bytes=header.plaintext_bytes,
                                    chunk_bytes=header.chunk_bytes, salt=header.salt).encoded:
        raise Finding("a header is authentic and written otherwise")


@cache
def _manifest() -> bytes:
    return new_manifest(KEY, KID, [ManifestFile(name, KID, 4096, hashlib.sha256(name.encode()).hexdigest())
                                   for name in ("model.safetensors", "config.json")]).encoded


def _authentic_manifest(data: bytes, found: Any) -> None:
    try:
        found.authenticate(KEY)
    except ModelError:
        return
    if data != _manifest():
        raise Finding("a manifest that was altered is authentic")


def _tensors() -> Iterator[bytes]:
    yield b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}   '
    yield b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}'


def _safetensors(data: bytes) -> object:
    size = safetensors_header.header_length(data[:8], len(data))
    return safetensors_header.parse_header(data[8:8 + size], len(data))


def _safetensors_text(header: bytes) -> object:
    """With as many bytes after it as its last offset says."""
    ends = [int(found) for found in _OFFSETS.findall(header.decode("ascii", "replace"))][-1:] or [0]
    return safetensors_header.parse_header(header, 8 + len(header) + min(ends[0], 1 << 62))


# -- secrets, init data, configuration --------------------------------------------------------------------------------


def _sealed_secrets() -> Iterator[bytes]:
    iv, data_key = bytes(12), bytes(range(1, 33))
    yield sealed.seal(Vault(name=KID), "signer", _private_key()).encode()
    yield sealed.seal(Envelope(
        key_id=KID, encrypted_key=b64encode(aes_key_wrap(KEY, data_key)).decode(), iv=b64encode(iv).decode(),
        encrypted_data=b64encode(AESGCM(data_key).encrypt(iv, b"the secret", None)).decode()),
        "signer", _private_key()).encode()


def _unsealed(secret: str) -> bytes:
    found = sealed.unseal(secret, TrustedSigners({"signer": _private_key().public_key()}), KeyTable({KID: KEY}))
    if found not in (KEY, b"the secret"):
        raise Finding("a secret that was altered opens")
    return found


def _payload(data: bytes) -> object:
    """What a trusted signer signed, whatever it is."""
    secret = sealed._read_payload(data)
    if isinstance(secret, Vault):
        return secret.name
    return [sealed._bytes(getattr(secret, name), name) for name in ("iv", "encrypted_key", "encrypted_data")]


def _signer(path: Path) -> TrustedSigners:
    return TrustedSigners.from_files({"signer": path})


def _measured(data: bytes) -> object:
    """The guest's configuration as init data changes it."""
    return config.measured(config.GuestConfig(), init_data.parse(data))


def _device_again(_: bytes, document: bytes) -> None:
    if guest_init_data.unpack_device(guest_init_data.pack_device(document)) != document:
        raise Finding("a device that was packed is unpacked as another")


# -- the kernel and the broker ----------------------------------------------------------------------------------------

_ATTRIBUTES = ("provider", "generation", "privlevel_floor", "outblob", "auxblob", "CCEL")


@dataclass
class _Kernel:
    """Attributes that say whatever they say; an empty one is not there."""

    attributes: dict[str, bytes]

    def make_folder(self, path: Path) -> None:
        del path

    def remove_folder(self, path: Path) -> None:
        del path

    def write(self, path: Path, data: bytes) -> None:
        del path, data

    def read(self, path: Path, limit: int) -> bytes:
        found = self.attributes.get(path.name, b"")
        if not found or len(found) > limit:
            number = errno.EFBIG if found else errno.ENOENT
            raise OSError(number, errno.errorcode[number])
        return found


def _kernel(snp: bool) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        parts = unpack(data)
        if parts is None:
            return None
        kernel = _Kernel(dict(zip(_ATTRIBUTES, parts, strict=False)))
        tsm = ConfigfsTsm(files=kernel, sleep=lambda _: None)
        attester = SnpAttester(tsm) if snp else TdxAttester(tsm, files=kernel)
        tsm.provider()
        return attester.evidence(bytes(64))
    return run


def _reports() -> bytes:
    report = bytearray((seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/report.bin").read_bytes())
    report[0x50:0x90] = bytes(64)
    from tests.fuzz.targets_formats import _cert_table

    return pack((b"sev_guest\n", b"2\n", b"0\n", bytes(report), _cert_table().to_bytes()))


def _quotes() -> bytes:
    return pack((b"tdx_guest\n", b"1\n", b"", seeds.tee().evidence("tdx", bytes(64)).quote, b"", b"log"))


def _refused(data: bytes) -> object:
    """Any answer but a good one, with whatever body and header."""
    status = 400 + (data[0] if data else 0)
    body, _, header = data[1:].partition(b"\0")
    answer = Answer(status, body, header.decode("latin-1") or None)
    return str(refusal(answer, "a secret")), str(attestation_refusal(answer))


TARGETS = (
    Target("guest.annotation_packet", AnnotationPacket.from_json, IMAGE, lazily(lambda: [_packet()])),
    Target("guest.annotations", _annotations, IMAGE, lazily(lambda: [_annotated()])),
    Target("guest.checked_kid", text(checked_kid), IMAGE, these(KID.encode(), b"a/b/c")),
    Target("guest.config", _file("guest.toml", config.load), (SetupError,), these(
        b'kbs_url = "https://kbs"\ntee = "software"\nsoftware_tee = "/tee"\ndeadline = 5.0\n'), brief_runs=800),
    Target("guest.config_measured", _measured, (SetupError, KbsError), these(INIT_DATA)),
    Target("guest.configfs_snp", _kernel(snp=True), (AttesterError,), lazily(lambda: [_reports()]), brief_runs=500),
    Target("guest.configfs_tdx", _kernel(snp=False), (AttesterError,), lazily(lambda: [_quotes()]), brief_runs=500),
    Target("guest.descriptor", _descriptor, OPENING, lazily(lambda: [
        json.dumps(json.loads(_documents()[1])["layers"][0]).encode()])),
    Target("guest.documents", json_of, IMAGE, lazily(_documents)),
    Target("guest.gzip_layer", _content, OPENING, these(gzip.compress(PLAINTEXT, mtime=0))),
    Target("guest.init_data_device", guest_init_data.unpack_device, (MalformedEvidence,), these(
        guest_init_data.pack_device(INIT_DATA)), (_device_again,)),
    Target("guest.init_data_file", _file("init", guest_init_data.read), (SetupError,), these(
        guest_init_data.pack_device(INIT_DATA), INIT_DATA), brief_runs=600),
    Target("guest.jwe", _jwe_opened, OPENING, lazily(lambda: [_jwe(), _general_jwe()])),
    Target("guest.jwe_private_key", JwePrivateKey.from_bytes, (SetupError,), lazily(_pem)),
    Target("guest.jwe_recipient_key", JweRecipient.from_bytes, (SetupError,), lazily(_pem)),
    Target("guest.key_provider", _answered, (*OPENING, KeyUnavailable), lazily(_provider_requests)),
    Target("guest.key_provider_message", key_provider_grpc.decode, (MalformedImage,), these(
        key_provider_grpc.encode(b"{}"), key_provider_grpc.encode(bytes(300))), (
        lambda data, found: _same(key_provider_grpc.encode(found), data),)),
    Target("guest.manifest", parse_manifest, (ModelError,), lazily(lambda: [_manifest()]), (_authentic_manifest,)),
    Target("guest.packet_opened", _unwrapped, (*OPENING, KeyUnavailable), lazily(lambda: [_packet()])),
    Target("guest.private_options", PrivateOptions.from_json, IMAGE, these(PRIVATE.to_json()), (
        lambda _, found: _same(PrivateOptions.from_json(found.to_json()), found),)),
    Target("guest.public_options", PublicOptions.from_json, IMAGE, these(PUBLIC.to_json()), (
        lambda _, found: _same(PublicOptions.from_json(found.to_json()), found),)),
    Target("guest.refusal", _refused, never(), these(
        b'\x01{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"no"}\x0017',
        b"\x03<html>\0Wed, 21 Oct 2026 07:28:00 GMT")),
    Target("guest.safetensors", _safetensors, (ModelError,), lazily(lambda: [
        len(header).to_bytes(8, "little") + header + bytes(24) for header in _tensors()])),
    Target("guest.safetensors_header", _safetensors_text, (ModelError,), lazily(_tensors)),
    Target("guest.sealed_header", _header, (SealedFileError,), lazily(lambda: [_sealed_model()[:300]]),
           (_authenticated,)),
    Target("guest.sealed_model", _file("model.sealed", _model), (SealedFileError, KeyUnavailable, SetupError),
           lazily(lambda: [_sealed_model()]), brief_runs=600),
    Target("guest.sealed_payload", _payload, (SealedSecretError,), these(
        json.dumps({"version": "0.1.0", "type": "vault", "name": KID, "provider": "kbs", "provider_settings": {},
                    "annotations": {}}).encode())),
    Target("guest.sealed_secret", text(_unsealed), (SealedSecretError, KeyUnavailable), lazily(_sealed_secrets)),
    Target("guest.signer_key", _file("signer.jwk", _signer), (SetupError,), lazily(lambda: [json.dumps(
        {"kty": "EC", "crv": "P-256", **ec_point(_private_key().public_key().public_numbers())}).encode()]),
        brief_runs=600),
    Target("guest.token", text(lifetime_of), (BrokerError,), these(b"e30.eyJleHAiOjMwMCwiaWF0IjowfQ.c2ln")),
    Target("guest.tree", _tree, (ImageError,), lazily(lambda: [pack(_documents())])),
    Target("guest.url", text(lambda url: Transport(url, Trust(insecure_http=True), lambda: 0.0)), (SetupError,), these(
        b"https://kbs.example:8080/prefix", b"http://[::1]:80"), brief_runs=200),
)


def _same(again: object, found: object) -> None:
    if again != found:
        raise Finding("what was written is not what was read")
