"""What encryption writes, what it refuses to write, and that decryption gives the source back."""

from __future__ import annotations

import base64
import gzip
import json
import os
import resource

import pytest

from attestation.errors import AttestationError, KeyUnavailable
from attestation.images.annotation_packet import unwrap
from attestation.images.decrypt import decrypt_image
from attestation.images.encrypt import encrypt_image
from attestation.images.key_sources import KeyTable
from attestation.images.layer_cipher import PrivateOptions
from attestation.images.layer_keys import KbsRecipient

ENC = "org.opencontainers.image.enc."
KBS = ENC + "keys.provider.attestation-agent"
KID, KID2 = "kbs:///default/kek/1", "kbs:///default/kek/2"


@pytest.fixture
def table() -> KeyTable:
    return KeyTable({KID: bytes(32), KID2: bytes(range(32))})


@pytest.fixture
def kbs(table):
    return [KbsRecipient.of(KID, table.get(KID))]


def _private(layer, table) -> PrivateOptions:
    return PrivateOptions.from_json(unwrap(base64.b64decode(layer["annotations"][KBS]), table))


def test_encrypted_image_has_the_annotations_and_media_types_of_ocicrypt(world, plain, kbs, table, tmp_path):
    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    out = world.at(tmp_path / "out")
    assert out.manifest["config"] == plain.manifest["config"]
    assert out.blob(out.manifest["config"]["digest"]) == plain.blob(plain.manifest["config"]["digest"])
    assert out.index["manifests"][0]["annotations"] == world.ref
    for before, after in zip(plain.layers, out.layers, strict=True):
        assert after["mediaType"] == before["mediaType"] + "+encrypted"
        assert after["size"] == before["size"]
        assert sorted(after["annotations"]) == [KBS, ENC + "pubopts"]
        assert _private(after, table).digest == before["digest"]
    assert not any(world.marker in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_packet_is_that_of_the_confidential_containers_key_provider(world, plain, kbs, tmp_path):
    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    packet = json.loads(base64.b64decode(world.at(tmp_path / "out").layers[0]["annotations"][KBS]))
    assert list(packet) == ["kid", "wrapped_data", "iv", "wrap_type"]
    assert (packet["kid"], packet["wrap_type"]) == (KID, "A256GCM")
    assert len(base64.b64decode(packet["wrapped_data"])) == 193 + 16
    assert len(base64.b64decode(packet["iv"])) == 12


def test_every_layer_and_every_run_has_keys_of_its_own(world, plain, kbs, table, tmp_path):
    seen = set()
    for name in ("one", "two"):
        encrypt_image(plain.path, tmp_path / name, recipients=kbs)
        seen |= {_private(layer, table).symkey for layer in world.at(tmp_path / name).layers}
    assert len(seen) == 6


def test_round_trip_gives_the_source_back(world, plain, kbs, table, tmp_path):
    there = encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    back = decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)
    assert world.at(tmp_path / "back").manifest == plain.manifest
    assert world.at(tmp_path / "back").layer_blobs == plain.layer_blobs
    assert [layer.target for layer in there[0].layers] == [layer.source for layer in back[0].layers]
    assert [layer.source for layer in there[0].layers] == [layer["digest"] for layer in plain.layers]
    assert back[0].source == there[0].target == world.at(tmp_path / "out").index["manifests"][0]["digest"]


def test_each_of_several_recipients_of_both_kinds_opens_it(world, plain, table, recipient, private_key, tmp_path):
    encrypt_image(
        plain.path,
        tmp_path / "out",
        recipients=[
            recipient("rsa"),
            KbsRecipient.of(KID, table.get(KID)),
            recipient("p256"),
            KbsRecipient.of(KID2, table.get(KID2)),
        ],
    )
    assert world.at(tmp_path / "out").layers[0]["annotations"][KBS].count(",") == 1
    for number, keys in enumerate(
        (
            {"private_keys": [private_key("rsa")]},
            {"private_keys": [private_key("p521"), private_key("p256")]},
            {"key_source": KeyTable({KID: table.get(KID)})},
            {"key_source": KeyTable({KID2: table.get(KID2)})},
            {"private_keys": [private_key("p521")], "key_source": table},
        )
    ):
        decrypt_image(tmp_path / "out", tmp_path / str(number), **keys)
        assert world.at(tmp_path / str(number)).layer_blobs == plain.layer_blobs
    with pytest.raises(KeyUnavailable):
        decrypt_image(tmp_path / "out", tmp_path / "none", private_keys=[private_key("p521")], key_source=KeyTable())


def test_key_source_is_not_asked_when_a_private_key_opens_the_layer(plain, kbs, recipient, private_key, tmp_path):
    class Untouchable:
        def get(self, kid: str) -> bytes:
            raise AssertionError(kid)

    encrypt_image(plain.path, tmp_path / "out", recipients=[*kbs, recipient("rsa")])
    decrypt_image(tmp_path / "out", tmp_path / "back", private_keys=[private_key("rsa")], key_source=Untouchable())


def test_new_key_is_stored_before_anything_is_encrypted_with_it():
    table = KeyTable()
    made = KbsRecipient.create("/default/kek/new", table)
    assert table.get("kbs:///default/kek/new") == made.kek
    assert len(made.kek) == 32
    assert made.kek.hex() not in repr(made)
    assert repr(made.kek) not in repr(made)
    with pytest.raises(AttestationError) as caught:
        KbsRecipient.create("kbs:///default/kek/new", table)
    assert caught.value.id == "image.key.exists"


@pytest.mark.parametrize(
    ("kid", "kek", "id"),
    [
        ("kbs:///a/b", bytes(32), "image.kid"),
        ("", bytes(32), "image.kid"),
        ("kbs:///a/../c", bytes(32), "image.kid"),
        ("kbs+pki:///a/b/c", bytes(32), "image.kid"),
        (KID, bytes(31), "image.kek"),
        (KID, b"", "image.kek"),
    ],
)
def test_recipients_of_another_shape_are_refused(kid, kek, id):
    with pytest.raises(AttestationError) as caught:
        KbsRecipient.of(kid, kek)
    assert caught.value.id == id


def test_layers_and_images_that_are_shared_are_encrypted_once(world, kbs, table, tmp_path):
    layout = world.new(tmp_path / "multi")
    shared = world.usual_layers()[0]
    own = [world.tar("own", world.noise(100, number)) for number in range(2)]
    entries = [
        world.put_image(layout, [shared, (world.layer_type + "tar", tar, tar), shared], platform={"os": f"os{number}"})
        for number, tar in enumerate(own)
    ]
    inner = layout.put_json({"schemaVersion": 2, "mediaType": world.index_type, "manifests": entries}, world.index_type)
    layout.write_index(inner, entries[0])
    outcomes = encrypt_image(layout.path, tmp_path / "out", recipients=kbs)
    out = world.at(tmp_path / "out")
    assert len(outcomes) == 2
    assert len({layer.target for outcome in outcomes for layer in outcome.layers}) == 3
    nested = json.loads(out.blob(out.index["manifests"][0]["digest"]))
    assert nested["manifests"][0]["digest"] == out.index["manifests"][1]["digest"]
    assert [entry["platform"] for entry in nested["manifests"]] == [{"os": "os0"}, {"os": "os1"}]
    decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)
    manifest = json.loads(world.at(tmp_path / "back").blob(world.at(tmp_path / "back").index["manifests"][1]["digest"]))
    assert manifest["layers"] == json.loads(layout.blob(entries[0]["digest"]))["layers"]


def test_what_speaks_of_the_plain_bytes_is_left_out(world, plain, kbs, tmp_path):
    data = base64.b64encode(plain.layer_blobs[0]).decode()
    plain.edit_layer(
        0, lambda layer: layer.update(data=data, urls=["https://host/plain"], annotations={"title": "kept"})
    )
    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    after = world.at(tmp_path / "out").layers[0]
    assert "data" not in after
    assert "urls" not in after
    assert after["annotations"]["title"] == "kept"


def test_annotations_that_were_there_before_are_there_after(world, plain, kbs, table, tmp_path):
    plain.edit_layer(0, lambda layer: layer.update(annotations={"title": "kept"}))
    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)
    assert world.at(tmp_path / "back").layers == plain.layers


@pytest.mark.parametrize(
    "media_type", ["application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.v1.tar"]
)
def test_empty_and_nondistributable_layers_go_there_and_back(world, kbs, table, tmp_path, media_type):
    image = world.image([(media_type, b"", b""), (media_type + "+gzip", gzip.compress(b"", mtime=0), b"")])
    encrypt_image(image.path, tmp_path / "out", recipients=kbs)
    assert world.at(tmp_path / "out").layers[0]["mediaType"] == media_type + "+encrypted"
    decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)
    assert world.at(tmp_path / "back").layer_blobs == image.layer_blobs


def test_encrypted_image_is_not_encrypted_again(plain, kbs, refused, tmp_path):
    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    with refused("image.layer.encrypted"):
        encrypt_image(tmp_path / "out", tmp_path / "twice", recipients=kbs)


def test_plain_layer_with_annotations_of_an_encrypted_one_is_refused(plain, kbs, refused, tmp_path):
    plain.edit_layer(0, lambda layer: layer.update(annotations={"org.opencontainers.image.ENC.pubopts": ""}))
    with refused("image.layer.annotations"):
        encrypt_image(plain.path, tmp_path / "out", recipients=kbs)


def test_layer_that_is_no_tar_is_refused_rather_than_left_readable(plain, kbs, refused, tmp_path):
    plain.edit_layer(0, lambda layer: layer.update(mediaType="application/vnd.in-toto+json"))
    with refused("image.layer.media_type"):
        encrypt_image(plain.path, tmp_path / "out", recipients=kbs)


def test_image_that_nobody_could_decrypt_is_not_made(world, plain, kbs, refused, tmp_path):
    with refused("image.recipients"):
        encrypt_image(plain.path, tmp_path / "out", recipients=[])
    image = world.image([(world.layer_type + "tar", b"one tar", b"another tar")])
    with refused("image.layer.diff_id"):
        encrypt_image(image.path, tmp_path / "out", recipients=kbs)
    encrypt_image(image.path, tmp_path / "out", recipients=kbs, insecure_skip_diff_ids=True)


@pytest.mark.parametrize(
    "tail", [b"\0", b"behind the trailer", gzip.compress(b"")[:-1]], ids=["zero", "text", "cut-member"]
)
def test_something_behind_the_end_of_a_gzip_layer_is_refused_on_both_sides(world, kbs, table, refused, tmp_path, tail):
    """Others read a layer only to the end of its first stream, and never see whether the rest is genuine."""
    tar = world.tar("file", b"content")
    image = world.image([(world.layer_type + "tar+gzip", gzip.compress(tar, mtime=0) + tail, tar)])
    with refused("image.layer.gzip"):
        encrypt_image(image.path, tmp_path / "out", recipients=kbs)
    encrypt_image(image.path, tmp_path / "out", recipients=kbs, insecure_skip_diff_ids=True)
    with refused("image.layer.gzip"):
        decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)


def test_something_behind_the_end_of_the_tar_is_refused(world, kbs, table, refused, tmp_path):
    tar = world.tar("file", b"content")
    image = world.image([(world.layer_type + "tar+gzip", gzip.compress(tar, mtime=0) + gzip.compress(b"more"), tar)])
    encrypt_image(image.path, tmp_path / "out", recipients=kbs, insecure_skip_diff_ids=True)
    with refused("image.layer.diff_id"):
        decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)


def test_altered_source_is_refused(plain, kbs, refused, tmp_path):
    path = plain.blob_path(plain.layers[2]["digest"])
    data = path.read_bytes()
    path.write_bytes(b"x" + data[1:])
    for skip in (True, False):
        with refused("image.blob.digest" if skip else "image.layer.diff_id"):
            encrypt_image(plain.path, tmp_path / "out", recipients=kbs, insecure_skip_diff_ids=skip)


def test_image_without_encrypted_layers_is_copied_byte_for_byte_when_that_is_allowed(world, plain, refused, tmp_path):
    with refused("image.layer.plain"):
        decrypt_image(plain.path, tmp_path / "out")
    decrypt_image(plain.path, tmp_path / "out", require_all_encrypted=False)
    copy = {
        path.relative_to(tmp_path / "out"): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert copy == {path.relative_to(plain.path): path.read_bytes() for path in plain.path.rglob("*") if path.is_file()}


def test_plain_layer_that_several_entries_name_is_copied_once(world, tmp_path):
    layer = world.usual_layers()[0]
    image = world.image([layer, layer])
    image.edit_layer(1, lambda entry: entry.update(annotations={"title": "again"}))
    decrypt_image(image.path, tmp_path / "out", require_all_encrypted=False)
    assert world.at(tmp_path / "out").layers == image.layers
    assert len(list((tmp_path / "out" / "blobs" / "sha256").iterdir())) == 3


def test_progress_counts_every_byte_once(world, plain, kbs, table, tmp_path):
    for run in (
        lambda progress: encrypt_image(plain.path, tmp_path / "out", recipients=kbs, progress=progress),
        lambda progress: decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table, progress=progress),
    ):
        told: list[tuple[int, int]] = []
        run(lambda done, total, told=told: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1] == sum(map(len, plain.layer_blobs)) + plain.manifest["config"]["size"]


def test_source_that_cannot_be_read_and_failing_disks_are_setup_errors(plain, kbs, refused, tmp_path, monkeypatch):
    with refused("image.read"):
        encrypt_image(tmp_path / "none", tmp_path / "out", recipients=kbs)

    def broken(*_arguments, **_named):
        raise OSError(5, "host-made error")

    for name, id in (("fsync", "image.write"), ("fstat", "image.read")):
        with monkeypatch.context() as patch, refused(id):
            patch.setattr(os, name, broken)
            encrypt_image(plain.path, tmp_path / "out", recipients=kbs)


def test_disk_that_fills_up_is_a_setup_error_and_leaves_nothing(plain, kbs, table, refused, tmp_path):
    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 100_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with refused("image.write"):
                encrypt_image(plain.path, tmp_path / "again", recipients=kbs)
            with refused("image.write"):
                decrypt_image(tmp_path / "out", tmp_path / "back", key_source=table)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _Flaky:
    """An open file whose reads fail once ``budget`` reads of all files together are used up."""

    def __init__(self, file, budget: list[int]) -> None:
        self._file, self._budget = file, budget

    def read(self, size: int = -1) -> bytes:
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise OSError(5, "host-made error")
        return self._file.read(size)

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        self._file.close()

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def test_no_read_error_skips_a_check_or_leaves_a_file(world, kbs, table, refused, tmp_path, monkeypatch):
    tars = [world.tar("file", world.noise(5000, seed)) for seed in (1, 2)]
    image = world.image(
        [
            (world.layer_type + "tar", tars[0], tars[0]),
            (world.layer_type + "tar+gzip", gzip.compress(tars[1], mtime=0), tars[1]),
        ]
    )
    encrypt_image(image.path, tmp_path / "out", recipients=kbs)
    genuine = os.fdopen
    budget = [0]
    monkeypatch.setattr(
        os,
        "fdopen",
        lambda number, mode: _Flaky(genuine(number, mode), budget) if mode == "rb" else genuine(number, mode),
    )
    for run in (
        lambda target: encrypt_image(image.path, target, recipients=kbs),
        lambda target: decrypt_image(tmp_path / "out", target, key_source=table),
    ):
        budget[0] = 1000
        run(tmp_path / f"whole-{run.__code__.co_firstlineno}")
        for reads in range(1000 - budget[0]):
            budget[0] = reads
            with refused("image.read"):
                run(tmp_path / "again")


def test_errors_of_the_key_source_come_through_as_they_are(plain, kbs, refused, tmp_path):
    class Down:
        def get(self, kid: str) -> bytes:
            raise AttestationError("broker.down", "nobody there")

    encrypt_image(plain.path, tmp_path / "out", recipients=kbs)
    with refused("broker.down"):
        decrypt_image(tmp_path / "out", tmp_path / "back", key_source=Down())
