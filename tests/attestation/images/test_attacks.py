"""What somebody who can change every byte outside the pod may try. Each attempt is refused for its own reason.

Unless a test says otherwise, the attacker recomputes digests, sizes and manifests, so that only the rule under test is
left to refuse; ``refused`` checks besides that no attempt leaves a file behind.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys

import pytest

from attestation.errors import ImageIntegrityError, KeyUnavailable
from attestation.images import decrypt, layer_cipher
from attestation.images.annotation_packet import AnnotationPacket, unwrap
from attestation.images.decrypt import decrypt_image
from attestation.images.encrypt import encrypt_image
from attestation.images.key_sources import KeyTable
from attestation.images.layer_cipher import PrivateOptions
from attestation.images.layer_keys import KbsRecipient
from attestation.images.limits import Limits

KID = "kbs:///default/image-kek/one"
PUBLIC = "org.opencontainers.image.enc.pubopts"
KEYS = "org.opencontainers.image.enc.keys.provider.attestation-agent"


@pytest.fixture
def table() -> KeyTable:
    return KeyTable()


@pytest.fixture
def encrypted(world, plain, table, tmp_path):
    """The usual image, encrypted under a key of the broker."""
    encrypt_image(plain.path, tmp_path / "encrypted", recipients=[KbsRecipient.create(KID, table)])
    return world.at(tmp_path / "encrypted")


@pytest.fixture
def attempt(encrypted, table, tmp_path):
    """Decrypt what the attacker left."""
    return lambda **options: decrypt_image(encrypted.path, tmp_path / "out", key_source=table, **options)


def _public(layer) -> dict:
    return json.loads(base64.b64decode(layer["annotations"][PUBLIC]))


def _set_public(encrypted, number: int, document: object) -> None:
    text = base64.b64encode(json.dumps(document).encode()).decode()
    encrypted.edit_layer(number, lambda layer: layer["annotations"].update({PUBLIC: text}))


def _private(layer, table) -> PrivateOptions:
    packet = base64.b64decode(layer["annotations"][KEYS])
    return PrivateOptions.from_json(unwrap(packet, table))


def _rewrap(encrypted, number: int, private: PrivateOptions, table) -> None:
    """What only the owner could do: other options under the same KEK."""
    from attestation.images.annotation_packet import wrap

    text = base64.b64encode(wrap(private.to_json(), KID, table.get(KID))).decode()
    encrypted.edit_layer(number, lambda layer: layer["annotations"].update({KEYS: text}))


def test_untouched_image_opens(plain, world, attempt, tmp_path):
    attempt()
    assert world.at(tmp_path / "out").layer_blobs == plain.layer_blobs


# What the HMAC does not cover.


def test_foreign_nonce_in_the_public_options_is_refused(encrypted, attempt, refused):
    options = _public(encrypted.layers[2])
    _set_public(encrypted, 2, options | {"cipheroptions": {"nonce": base64.b64encode(bytes(16)).decode()}})
    with refused("image.public_options.cipheroptions"):
        attempt()


def test_nonce_of_the_private_options_repeated_in_public_is_refused(encrypted, attempt, refused, table):
    nonce = _private(encrypted.layers[0], table).nonce
    _set_public(
        encrypted, 0, _public(encrypted.layers[0]) | {"cipheroptions": {"nonce": base64.b64encode(nonce).decode()}}
    )
    with refused("image.public_options.cipheroptions"):
        attempt()


@pytest.mark.parametrize(("number", "id"), [(0, "image.layer.gzip"), (2, "image.layer.diff_id")])
def test_nonce_plus_one_under_the_right_key_fails_on_content(encrypted, attempt, refused, table, number, id):
    private = _private(encrypted.layers[number], table)
    nonce = (int.from_bytes(private.nonce, "big") + 1 & 2**128 - 1).to_bytes(16, "big")
    _rewrap(encrypted, number, PrivateOptions(private.symkey, private.digest, nonce), table)
    with refused(id):
        attempt()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_hmac_of_another_length_is_refused(encrypted, attempt, refused, size):
    genuine = base64.b64decode(_public(encrypted.layers[0])["hmac"])
    _set_public(
        encrypted, 0, _public(encrypted.layers[0]) | {"hmac": base64.b64encode((genuine + b"\0")[:size]).decode()}
    )
    with refused("image.public_options"):
        attempt()


@pytest.mark.parametrize("cipher", ["aes_256_ctr_hmac_sha256", "AES_256_CTR", "", "AES_256_CTR_HMAC_SHA256 "])
def test_cipher_of_another_name_is_refused(encrypted, attempt, refused, cipher):
    _set_public(encrypted, 0, _public(encrypted.layers[0]) | {"cipher": cipher})
    with refused("image.layer.cipher"):
        attempt()


@pytest.mark.parametrize("name", ["cipher", "hmac", "cipheroptions"])
def test_public_option_that_is_missing_is_refused(encrypted, attempt, refused, name):
    document = _public(encrypted.layers[0])
    del document[name]
    _set_public(encrypted, 0, document)
    with refused("image.public_options"):
        attempt()


def test_layer_without_public_options_or_without_keys_is_refused(encrypted, attempt, refused):
    encrypted.edit_layer(1, lambda layer: layer["annotations"].pop(PUBLIC))
    with refused("image.public_options"):
        attempt()
    encrypted.edit_layer(0, lambda layer: layer["annotations"].pop(KEYS))
    with refused("image.layer.keys"):
        attempt()


@pytest.mark.parametrize("text", ["", ",", "****", "QQ==,", "QQ", "QQ==\n"])
def test_damaged_key_annotation_is_refused(encrypted, attempt, refused, text):
    encrypted.edit_layer(0, lambda layer: layer["annotations"].update({KEYS: text}))
    with refused("image.packet" if text in ("", ",", "QQ==,") else "image.layer.keys"):
        attempt()


@pytest.mark.parametrize("text", [",".join(["QQ=="] * 65), "QQ==" * (1 << 16) + "QQ=="], ids=["many", "large"])
def test_more_keys_than_anybody_needs_are_refused(encrypted, attempt, refused, text):
    encrypted.edit_layer(0, lambda layer: layer["annotations"].update({KEYS: text}))
    with refused("image.layer.keys"):
        attempt()


# The ciphertext.


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-8] + bytes([data[-8] ^ 1]) + data[-7:],
        lambda data: data[:-1],
        lambda data: data[:-16],
        lambda data: data + b"\0",
        lambda data: data + data[-512:],
        lambda data: b"",
    ],
    ids=["last-bit", "first-bit", "gzip-trailer", "cut-byte", "cut-block", "one-more", "block-more", "emptied"],
)
def test_altered_ciphertext_is_refused_by_the_hmac(encrypted, attempt, refused, number, change):
    encrypted.replace_layer(number, change(encrypted.layer_blobs[number]))
    with refused("image.layer.hmac"):
        attempt()


def test_altered_ciphertext_under_its_old_descriptor_is_refused_by_the_digest(encrypted, attempt, refused):
    path = encrypted.blob_path(encrypted.layers[2]["digest"])
    genuine = path.read_bytes()
    path.write_bytes(genuine[:-1] + bytes([genuine[-1] ^ 1]))
    with refused("image.blob.digest"):
        attempt()
    path.write_bytes(genuine + b"\0")
    with refused("image.blob.size"):
        attempt()


def test_hmac_recomputed_without_the_key_is_refused(encrypted, attempt, refused):
    altered = encrypted.layer_blobs[2][:-1] + b"x"
    encrypted.replace_layer(2, altered)
    guess = hmac.new(bytes(32), altered, hashlib.sha256).digest()
    _set_public(encrypted, 2, _public(encrypted.layers[2]) | {"hmac": base64.b64encode(guess).decode()})
    with refused("image.layer.hmac"):
        attempt()


def test_no_plaintext_is_written_before_the_hmac_holds(encrypted, attempt, refused, monkeypatch):
    encrypted.replace_layer(2, encrypted.layer_blobs[2][:-1])
    monkeypatch.setattr(decrypt.layer_cipher, "decrypt", lambda *_: pytest.fail("decrypted too early"))
    encrypted.edit_manifest(lambda manifest: manifest["layers"].insert(0, manifest["layers"].pop()))
    with refused("image.layer.hmac"):
        attempt()


def test_ciphertext_that_changes_between_the_two_passes_is_refused(encrypted, attempt, refused, monkeypatch):
    path = encrypted.blob_path(encrypted.layers[2]["digest"])
    genuine = layer_cipher.authenticate

    def then_change(*arguments) -> None:
        genuine(*arguments)
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\0")

    monkeypatch.setattr(layer_cipher, "authenticate", then_change)
    encrypted.edit_manifest(lambda manifest: manifest["layers"].insert(0, manifest["layers"].pop()))
    with refused("image.layer.hmac"):
        attempt()


# The image around the layers.


def test_swapped_layers_are_refused(encrypted, attempt, refused):
    encrypted.edit_manifest(lambda manifest: manifest["layers"].reverse())
    with refused("image.layer.diff_id"):
        attempt()


def test_layer_given_twice_in_place_of_another_is_refused(encrypted, attempt, refused):
    encrypted.edit_manifest(lambda manifest: manifest["layers"].__setitem__(1, manifest["layers"][0]))
    with refused("image.layer.diff_id"):
        attempt()


@pytest.mark.parametrize(
    "edit",
    [lambda layers: layers.pop(), lambda layers: layers.clear(), lambda layers: layers.append(layers[0])],
    ids=["dropped", "all-dropped", "appended"],
)
def test_dropped_and_appended_layers_are_refused(encrypted, attempt, refused, edit):
    encrypted.edit_manifest(lambda manifest: edit(manifest["layers"]))
    with refused("image.config.diff_ids"):
        attempt()


def test_layer_of_another_image_under_the_same_key_is_refused(world, encrypted, attempt, refused, table, tmp_path):
    tar = world.tar("bin/serve", b"older version")
    other = world.image([(world.layer_type + "tar+gzip", gzip.compress(tar, mtime=0), tar)], "other")
    encrypt_image(other.path, tmp_path / "other-encrypted", recipients=[KbsRecipient.of(KID, table.get(KID))])
    foreign = world.at(tmp_path / "other-encrypted")
    encrypted.put(foreign.layer_blobs[0], "")
    encrypted.edit_manifest(lambda manifest: manifest["layers"].__setitem__(0, foreign.layers[0]))
    with refused("image.layer.diff_id"):
        attempt()


def test_media_type_that_says_another_compression_is_refused(world, encrypted, attempt, refused):
    encrypted.edit_layer(0, lambda layer: layer.update(mediaType=world.layer_type + "tar+encrypted"))
    with refused("image.layer.diff_id"):
        attempt()
    encrypted.edit_layer(0, lambda layer: layer.update(mediaType=world.layer_type + "tar+gzip+encrypted"))
    encrypted.edit_layer(2, lambda layer: layer.update(mediaType=world.layer_type + "tar+gzip+encrypted"))
    with refused("image.layer.gzip"):
        attempt()


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.v1.tar+bzip2+encrypted",
        "+encrypted",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted+encrypted",
        "application/vnd.oci.image.layer.v1.TAR+encrypted",
    ],
)
def test_unknown_encrypted_media_types_are_refused(encrypted, attempt, refused, media_type):
    encrypted.edit_layer(0, lambda layer: layer.update(mediaType=media_type))
    with refused("image.layer.media_type"):
        attempt()


def test_encryption_taken_off_the_media_type_is_refused(world, encrypted, attempt, refused):
    encrypted.edit_layer(0, lambda layer: layer.update(mediaType=world.layer_type + "tar+gzip"))
    with refused("image.layer.annotations"):
        attempt(require_all_encrypted=False)
    encrypted.edit_layer(0, lambda layer: layer.pop("annotations"))
    with refused("image.layer.plain"):
        attempt()


def test_plain_layer_slipped_in_is_refused(world, encrypted, attempt, refused):
    evil = world.tar("bin/serve", b"evil")
    encrypted.edit_manifest(
        lambda manifest: manifest["layers"].__setitem__(0, encrypted.put(evil, world.layer_type + "tar"))
    )
    with refused("image.layer.plain"):
        attempt()


def test_changed_configuration_is_caught_by_its_digest(encrypted, attempt, refused):
    path = encrypted.blob_path(encrypted.manifest["config"]["digest"])
    path.write_bytes(path.read_bytes().replace(b"/bin/serve", b"/bin/evil!"))
    with refused("image.blob.digest"):
        attempt()


def test_changed_configuration_with_all_digests_recomputed_is_caught_by_the_pinned_digest(
    world, encrypted, attempt, refused
):
    """Encryption protects layers, not the configuration beside them: this is what pinning is for."""
    pinned = encrypted.index["manifests"][0]["digest"]
    config = encrypted.config
    config["config"]["Entrypoint"] = ["/bin/evil"]
    fresh = encrypted.put_json(config, world.config_type)
    genuine = encrypted.index["manifests"][0]
    encrypted.edit_manifest(lambda manifest: manifest.update(config=fresh))
    with refused("image.digest.pinned"):
        attempt(expected_digest=pinned)
    encrypted.write_index(genuine)
    attempt(expected_digest=pinned)


def test_second_image_beside_the_pinned_one_is_refused(encrypted, attempt, refused):
    entry = encrypted.index["manifests"][0]
    encrypted.write_index(entry, entry)
    with refused("image.digest.pinned"):
        attempt(expected_digest=entry["digest"])


@pytest.mark.parametrize("text", ["sha256:0", "", "latest"])
def test_pin_that_is_no_digest_matches_nothing(attempt, refused, text):
    with refused("image.digest.pinned"):
        attempt(expected_digest=text)


def test_diff_ids_are_skipped_only_by_name(encrypted, attempt):
    encrypted.edit_manifest(lambda manifest: manifest["layers"].reverse())
    attempt(insecure_skip_diff_ids=True)


def test_encrypted_layer_beside_something_else_than_an_image_configuration_is_refused(encrypted, attempt, refused):
    encrypted.edit_manifest(lambda manifest: manifest["config"].update(mediaType="application/vnd.oci.empty.v1+json"))
    with refused("image.config.media_type"):
        attempt()


# Files.


def test_blob_that_is_a_link_is_refused(encrypted, attempt, refused, tmp_path):
    path = encrypted.blob_path(encrypted.layers[0]["digest"])
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with refused("image.blob.kind"):
        attempt()


def test_missing_blob_is_refused(encrypted, attempt, refused):
    encrypted.blob_path(encrypted.layers[2]["digest"]).unlink()
    with refused("image.blob.missing"):
        attempt()


def test_existing_target_stays_as_it_is(encrypted, attempt, refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"mine")
    with refused("image.target"):
        attempt()
    assert (tmp_path / "out" / "mine").read_bytes() == b"mine"


def test_gzip_bomb_under_a_genuine_key_is_refused(world, table, attempt, refused, encrypted, tmp_path):
    """Even an owner may be attacked: the layer came from elsewhere before it was encrypted."""
    bomb = gzip.compress(bytes(32 << 20), mtime=0)
    image = world.image([(world.layer_type + "tar+gzip", bomb, bytes(32 << 20))], "bomb")
    key = KbsRecipient.of(KID, table.get(KID))
    with refused("image.layer.bomb"):
        encrypt_image(image.path, tmp_path / "x", recipients=[key], limits=Limits(content_slack=1 << 20))
    encrypt_image(image.path, tmp_path / "bomb-encrypted", recipients=[key])
    with refused("image.layer.bomb"):
        decrypt_image(
            tmp_path / "bomb-encrypted", tmp_path / "x", key_source=table, limits=Limits(content_slack=1 << 20)
        )


def test_blob_beyond_the_limit_is_refused_before_it_is_read(attempt, refused):
    with refused("image.size"):
        attempt(limits=Limits(blob_bytes=1 << 20))


_KILLED = """
import os, signal, sys
from pathlib import Path
from attestation.images.decrypt import decrypt_image
from attestation.images.key_sources import KeyFiles
source, target, kid, file = sys.argv[1:]
decrypt_image(Path(source), Path(target), key_source=KeyFiles({kid: Path(file)}),
              progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done > 1 << 20 else None)
"""


def test_killed_decryption_shows_nothing_under_the_target_and_its_rest_goes_with_the_next_run(
    encrypted, attempt, table, tmp_path
):
    (tmp_path / "kek").write_bytes(table.get(KID))
    arguments = [str(encrypted.path), str(tmp_path / "out"), KID, str(tmp_path / "kek")]
    done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    (left,) = tmp_path.glob(".out.partial-*")
    assert left.stat().st_mode & 0o077 == 0
    attempt()
    assert list(tmp_path.glob(".out.partial-*")) == []


# Keys.


def test_without_the_key_nothing_opens(encrypted, refused, private_key, tmp_path):
    with refused("image.key.unknown", KeyUnavailable):
        decrypt_image(encrypted.path, tmp_path / "out", key_source=KeyTable())
    with refused("image.layer.key", KeyUnavailable):
        decrypt_image(encrypted.path, tmp_path / "out")
    with refused("image.layer.key", KeyUnavailable):
        decrypt_image(encrypted.path, tmp_path / "out", private_keys=[private_key("rsa")])


def test_another_key_under_the_same_name_is_an_integrity_error(encrypted, refused, tmp_path):
    with refused("image.packet.tag", ImageIntegrityError):
        decrypt_image(encrypted.path, tmp_path / "out", key_source=KeyTable({KID: bytes(32)}))


def test_kid_turned_to_another_key_of_the_broker_opens_nothing(encrypted, attempt, refused, table):
    table.put("kbs:///default/image-kek/two", bytes(32))
    packet = AnnotationPacket.from_json(base64.b64decode(encrypted.layers[0]["annotations"][KEYS]))
    other = AnnotationPacket("kbs:///default/image-kek/two", packet.wrapped_data, packet.iv).to_json()
    encrypted.edit_layer(0, lambda layer: layer["annotations"].update({KEYS: base64.b64encode(other).decode()}))
    with refused("image.packet.tag"):
        attempt()


def test_errors_hold_no_key_and_no_plaintext(encrypted, table, world, tmp_path):
    private = _private(encrypted.layers[2], table)
    encrypted.replace_layer(2, encrypted.layer_blobs[2][:-1])
    with pytest.raises(ImageIntegrityError) as caught:
        decrypt_image(encrypted.path, tmp_path / "out", key_source=table)
    told = repr(caught.value) + str(caught.value) + repr(caught.value.__dict__) + repr(table) + repr(private)
    for secret in (private.symkey, private.nonce, table.get(KID), world.marker):
        assert secret.hex() not in told
        assert base64.b64encode(secret).decode() not in told
        assert repr(secret) not in told
