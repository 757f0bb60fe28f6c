"""Images built on the spot, keys, Debian's skopeo as the judge, and what a refusal must leave behind: nothing."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import settings

from attestation.errors import AttestationError
from attestation.images.jwe_keys import JwePrivateKey, JweRecipient

# How long one example takes says nothing: the machine may be busy.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1."
# Stands in the clear in every test tar that is not compressed, so that it can be looked for on disk.
MARKER = b"the owner's secret weights"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def make_zstd(content: bytes) -> bytes:
    """A zstd frame (RFC 8878) of raw blocks: readable by everybody, writable without a library."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b1010_0000]) + len(content).to_bytes(4, "little")
    blocks = [content[start : start + 65536] for start in range(0, len(content), 65536)] or [b""]
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        frame += (len(block) << 3 | last).to_bytes(3, "little") + block
    return frame


def noise(size: int, seed: int) -> bytes:
    """Bytes that do not compress, the same every time."""
    return b"".join(hashlib.sha256(b"%d %d" % (seed, block)).digest() for block in range(size // 32 + 1))[:size]


class LayoutOnDisk:
    """A layout that tests may read and damage at will."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def blob_path(self, digest: str) -> Path:
        return self.path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def blob(self, digest: str) -> bytes:
        return self.blob_path(digest).read_bytes()

    def put(self, data: bytes, media_type: str, **members: Any) -> dict[str, Any]:
        self.blob_path(digest_of(data)).write_bytes(data)
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **members}

    def put_json(self, document: dict[str, Any], media_type: str, **members: Any) -> dict[str, Any]:
        return self.put(json.dumps(document).encode(), media_type, **members)

    @property
    def index(self) -> dict[str, Any]:
        return json.loads((self.path / "index.json").read_bytes())

    def write_index(self, *entries: dict[str, Any], **members: Any) -> None:
        document = {"schemaVersion": 2, "manifests": list(entries), **members}
        (self.path / "index.json").write_text(json.dumps(document))

    @property
    def manifest(self) -> dict[str, Any]:
        """The first manifest of the index."""
        return json.loads(self.blob(self.index["manifests"][0]["digest"]))

    @property
    def layers(self) -> list[dict[str, Any]]:
        return self.manifest["layers"]

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self.blob(self.manifest["config"]["digest"]))

    @property
    def layer_blobs(self) -> list[bytes]:
        return [self.blob(layer["digest"]) for layer in self.layers]

    def edit_manifest(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change the only manifest as somebody would who can recompute digests: everything above it fits again."""
        manifest = copy.deepcopy(self.manifest)
        edit(manifest)
        entry = {**self.index["manifests"][0], **self.put_json(manifest, MANIFEST)}
        self.write_index(entry)

    def edit_layer(self, number: int, edit: Callable[[dict[str, Any]], object]) -> None:
        self.edit_manifest(lambda manifest: edit(manifest["layers"][number]))

    def replace_layer(self, number: int, data: bytes) -> None:
        """Other bytes under a descriptor that fits them."""
        fresh = self.put(data, "")
        self.edit_layer(number, lambda layer: layer.update(digest=fresh["digest"], size=fresh["size"]))


def new_layout(path: Path) -> LayoutOnDisk:
    (path / "blobs" / "sha256").mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return LayoutOnDisk(path)


def put_image(layout: LayoutOnDisk, layers: list[tuple[str, bytes, bytes]], **members: Any) -> dict[str, Any]:
    """An image of (media type, blob, tar) layers; the manifest's descriptor."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin/serve"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for _, _, tar in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.put_json(config, CONFIG),
        "layers": [layout.put(blob, media_type) for media_type, blob, _ in layers],
    }
    return layout.put_json(manifest, MANIFEST, **members)


def usual_layers() -> list[tuple[str, bytes, bytes]]:
    """Two gzip layers and a plain one, the latter larger than one read, with the marker in it."""
    tars = [
        make_tar("bin/serve", noise(5000, 1)),
        make_tar("lib/model", noise(70000, 2)),
        make_tar("weights", MARKER * 3 + noise(1 << 20, 3) + MARKER),
    ]
    return [
        (LAYER + "tar+gzip", gzip.compress(tars[0], mtime=0), tars[0]),
        (LAYER + "tar+gzip", gzip.compress(tars[1], mtime=0), tars[1]),
        (LAYER + "tar", tars[2], tars[2]),
    ]


REF = {"org.opencontainers.image.ref.name": "latest"}


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """Names of this file for tests, which cannot import it."""

    class World:
        manifest_type, index_type, config_type, layer_type = MANIFEST, INDEX, CONFIG, LAYER
        marker = MARKER
        ref = REF
        tar = staticmethod(make_tar)
        zstd = staticmethod(make_zstd)
        noise = staticmethod(noise)
        digest = staticmethod(digest_of)
        new = staticmethod(new_layout)
        put_image = staticmethod(put_image)
        usual_layers = staticmethod(usual_layers)
        at = LayoutOnDisk

        @staticmethod
        def image(layers: list[tuple[str, bytes, bytes]], name: str = "image") -> LayoutOnDisk:
            layout = new_layout(tmp_path / name)
            layout.write_index(put_image(layout, layers, annotations=REF))
            return layout

    return World


@pytest.fixture
def plain(world: Any) -> LayoutOnDisk:
    """The usual image, not encrypted."""
    return world.image(usual_layers(), "plain")


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., Any]:
    """``with refused(id, target)``: the block raises the error of that id and leaves nothing new on disk."""

    @contextmanager
    def check(id: str, kind: type[AttestationError] = AttestationError) -> Iterator[None]:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(kind) as caught:
            yield
        assert caught.value.id == id, str(caught.value)
        assert sorted(tmp_path.rglob("*")) == before

    return check


@pytest.fixture(scope="session")
def outcome() -> Callable[[Callable[[], object]], object]:
    """What a call returns, or the id of the documented error it raises; any other error comes through."""

    def find(call: Callable[[], object]) -> object:
        try:
            return call()
        except AttestationError as error:
            return error.id

    return find


@pytest.fixture(scope="session")
def keys() -> dict[str, Any]:
    """Private keys by name."""
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "rsa2": rsa.generate_private_key(65537, 2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()),
    }


@pytest.fixture(scope="session")
def key_files(keys: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """PEM files (private, public) by name."""
    folder = tmp_path_factory.mktemp("keys")
    found = {}
    for name, key in keys.items():
        private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        found[name] = (private, public)
    return found


@pytest.fixture(scope="session")
def recipient(key_files: dict[str, tuple[Path, Path]]) -> Callable[[str], JweRecipient]:
    return lambda name: JweRecipient.from_file(key_files[name][1])


@pytest.fixture(scope="session")
def private_key(key_files: dict[str, tuple[Path, Path]]) -> Callable[[str], JwePrivateKey]:
    return lambda name: JwePrivateKey.from_file(key_files[name][0])


@pytest.fixture(scope="session")
def skopeo() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``skopeo copy``; skips, saying how to install it, where there is none."""
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("skopeo missing: apt-get install skopeo")

    def copy_image(*arguments: object, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, "copy", "--insecure-policy", "--quiet", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode == 0) is succeeds, done.stderr
        return done

    return copy_image
