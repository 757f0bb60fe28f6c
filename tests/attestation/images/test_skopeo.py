"""skopeo is the judge: what it encrypts we decrypt, what we encrypt it decrypts, byte for byte."""

from __future__ import annotations

import gzip
import json

import pytest

from attestation.images.decrypt import decrypt_image
from attestation.images.encrypt import encrypt_image

RECIPIENTS = [["rsa"], ["p256"], ["p384"], ["p521"], ["rsa", "p256"], ["rsa", "rsa2", "p521"]]


def _tars(layout):
    return [
        gzip.decompress(blob) if layer["mediaType"].endswith("gzip") else blob
        for layer, blob in zip(layout.layers, layout.layer_blobs, strict=True)
    ]


@pytest.mark.parametrize("names", RECIPIENTS, ids="+".join)
def test_what_skopeo_encrypts_we_decrypt_to_what_skopeo_itself_decrypts(
    world, plain, skopeo, key_files, private_key, tmp_path, names
):
    arguments = [part for name in names for part in ("--encryption-key", f"jwe:{key_files[name][1]}")]
    skopeo(*arguments, f"oci:{plain.path}:latest", f"oci:{tmp_path / 'encrypted'}:latest")
    for name in names:
        ours, theirs = world.at(tmp_path / f"ours-{name}"), world.at(tmp_path / f"theirs-{name}")
        decrypt_image(tmp_path / "encrypted", ours.path, private_keys=[private_key(name)])
        skopeo(
            "--decryption-key", key_files[name][0], f"oci:{tmp_path / 'encrypted'}:latest", f"oci:{theirs.path}:latest"
        )
        assert _tars(ours) == [tar for _, _, tar in world.usual_layers()]
        assert ours.layer_blobs == theirs.layer_blobs
        assert ours.index == theirs.index
        assert ours.blob(ours.index["manifests"][0]["digest"]) == theirs.blob(theirs.index["manifests"][0]["digest"])


@pytest.mark.parametrize("names", RECIPIENTS, ids="+".join)
def test_what_we_encrypt_skopeo_decrypts_to_the_source(world, plain, skopeo, key_files, recipient, tmp_path, names):
    encrypt_image(plain.path, tmp_path / "encrypted", recipients=[recipient(name) for name in names])
    for name in names:
        skopeo("--decryption-key", key_files[name][0], f"oci:{tmp_path / 'encrypted'}:latest", f"dir:{tmp_path / name}")
        manifest = json.loads((tmp_path / name / "manifest.json").read_bytes())
        blobs = [
            (tmp_path / name / layer["digest"].removeprefix("sha256:")).read_bytes() for layer in manifest["layers"]
        ]
        assert blobs == plain.layer_blobs
        assert manifest["layers"] == plain.layers
        assert manifest["config"] == plain.manifest["config"]


def test_skopeo_opens_rsa_oaep_256_and_ecdh_es_with_shorter_wrapping_keys(
    plain, skopeo, keys, key_files, recipient, tmp_path
):
    from attestation.images.jwe_keys import JweRecipient, KeyAlgorithm

    for number, (name, algorithm) in enumerate(
        (
            ("rsa", KeyAlgorithm.RSA_OAEP_256),
            ("p256", KeyAlgorithm.ECDH_ES_A128KW),
            ("p384", KeyAlgorithm.ECDH_ES_A192KW),
        )
    ):
        encrypted = tmp_path / f"encrypted-{number}"
        encrypt_image(plain.path, encrypted, recipients=[JweRecipient(keys[name].public_key(), algorithm)])
        skopeo("--decryption-key", key_files[name][0], f"oci:{encrypted}:latest", f"dir:{tmp_path / name}")
        assert (tmp_path / name / plain.layers[2]["digest"].removeprefix("sha256:")).read_bytes() == plain.layer_blobs[
            2
        ]


def test_skopeo_opens_layers_of_all_three_compressions_of_ours(
    world, skopeo, key_files, recipient, private_key, tmp_path
):
    tar = world.tar("file", world.noise(1 << 18, 9))
    image = world.image(
        [
            (world.layer_type + "tar+zstd", world.zstd(tar), tar),
            (world.layer_type + "tar+gzip", gzip.compress(tar, mtime=0), tar),
            (world.layer_type + "tar", tar, tar),
        ]
    )
    encrypt_image(image.path, tmp_path / "encrypted", recipients=[recipient("p256")], allow_unchecked_zstd=True)
    skopeo("--decryption-key", key_files["p256"][0], f"oci:{tmp_path / 'encrypted'}:latest", f"dir:{tmp_path / 'out'}")
    for layer in image.layers:
        assert (tmp_path / "out" / layer["digest"].removeprefix("sha256:")).read_bytes() == image.blob(layer["digest"])


def test_zstd_layers_that_skopeo_encrypted_open(world, skopeo, key_files, private_key, tmp_path):
    tar = world.tar("file", world.noise(1 << 18, 9))
    image = world.image([(world.layer_type + "tar+zstd", world.zstd(tar), tar)])
    skopeo(
        "--encryption-key",
        f"jwe:{key_files['rsa'][1]}",
        f"oci:{image.path}:latest",
        f"oci:{tmp_path / 'encrypted'}:latest",
    )
    decrypt_image(
        tmp_path / "encrypted", tmp_path / "out", private_keys=[private_key("rsa")], allow_unchecked_zstd=True
    )
    assert world.at(tmp_path / "out").layer_blobs == image.layer_blobs


def test_a_layer_that_skopeo_left_plain_is_copied_only_when_that_is_allowed(
    world, plain, skopeo, key_files, private_key, refused, tmp_path
):
    skopeo(
        "--encryption-key",
        f"jwe:{key_files['rsa'][1]}",
        "--encrypt-layer",
        "1",
        f"oci:{plain.path}:latest",
        f"oci:{tmp_path / 'mixed'}:latest",
    )
    with refused("image.layer.plain"):
        decrypt_image(tmp_path / "mixed", tmp_path / "out", private_keys=[private_key("rsa")])
    decrypt_image(tmp_path / "mixed", tmp_path / "out", private_keys=[private_key("rsa")], require_all_encrypted=False)
    assert _tars(world.at(tmp_path / "out")) == [tar for _, _, tar in world.usual_layers()]


def test_skopeo_refuses_our_image_with_a_key_that_is_no_recipients(plain, skopeo, key_files, recipient, tmp_path):
    encrypt_image(plain.path, tmp_path / "encrypted", recipients=[recipient("rsa")])
    skopeo(
        "--decryption-key",
        key_files["rsa2"][0],
        f"oci:{tmp_path / 'encrypted'}:latest",
        f"dir:{tmp_path / 'out'}",
        succeeds=False,
    )


def test_all_images_of_an_index_open_for_skopeo(world, skopeo, key_files, recipient, tmp_path):
    layout = world.new(tmp_path / "multi")
    shared = world.usual_layers()[0]
    entries = []
    for number, architecture in enumerate(("amd64", "arm64")):
        tar = world.tar("own", world.noise(3000, 40 + number))
        entries.append(
            world.put_image(
                layout,
                [shared, (world.layer_type + "tar", tar, tar)],
                platform={"architecture": architecture, "os": "linux"},
            )
        )
    nested = layout.put_json(
        {"schemaVersion": 2, "mediaType": world.index_type, "manifests": entries},
        world.index_type,
        annotations=world.ref,
    )
    layout.write_index(nested)
    encrypt_image(layout.path, tmp_path / "encrypted", recipients=[recipient("p256")])
    skopeo(
        "--all",
        "--decryption-key",
        key_files["p256"][0],
        f"oci:{tmp_path / 'encrypted'}:latest",
        f"dir:{tmp_path / 'out'}",
    )
    for entry in entries:
        for layer in json.loads(layout.blob(entry["digest"]))["layers"]:
            assert (tmp_path / "out" / layer["digest"].removeprefix("sha256:")).is_file()
