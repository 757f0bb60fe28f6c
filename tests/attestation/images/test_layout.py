"""What a layout may look like: files, digests, sizes, and documents with one reading only."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import AttestationError, MalformedImage
from attestation.images import image_tree
from attestation.images.descriptor import Descriptor, digest_text
from attestation.images.image_tree import load_tree, manifests
from attestation.images.limits import Limits
from attestation.images.oci_layout import open_layout
from attestation.images.rewrite import blob_bytes


def _load(layout, **limits):
    with open_layout(layout.path, Limits(**limits)) as opened:
        return load_tree(opened)


def _id(layout, **limits) -> str:
    with pytest.raises(AttestationError) as caught:
        _load(layout, **limits)
    return caught.value.id


def test_usual_image_loads(plain):
    (manifest,) = manifests(_load(plain))
    assert [layer.document for layer in manifest.layers] == plain.layers
    assert manifest.diff_ids == tuple(plain.config["rootfs"]["diff_ids"])


@pytest.mark.parametrize(
    "text",
    [
        "sha256" + "a" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "SHA256:" + "a" * 64,
        "sha512:" + "a" * 128,
        "sha256:../../../../etc/passwd",
        "sha256:" + "a" * 61 + "/..",
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
        "sha256:" + "\u0660" * 64,
        "",
        None,
        5,
        ["sha256:" + "a" * 64],
    ],
    ids=repr,
)
def test_digest_of_another_form_never_becomes_a_path(text):
    with pytest.raises(MalformedImage) as caught:
        digest_text(text, "digest")
    assert caught.value.id == "image.digest"


@pytest.mark.parametrize("digest", ["sha256:../../index.json", "sha256:" + "a" * 64 + "/../../../index.json"])
def test_traversal_in_any_descriptor_is_refused(world, plain, digest):
    plain.edit_layer(0, lambda layer: layer.update(digest=digest))
    assert _id(plain) == "image.digest"
    plain.write_index({"mediaType": world.manifest_type, "digest": digest, "size": 5})
    assert _id(plain) == "image.digest"


def test_missing_folder_is_the_callers_fault(tmp_path):
    with pytest.raises(AttestationError) as caught, open_layout(tmp_path / "none", Limits()):
        pass
    assert caught.value.id == "image.read"


@pytest.mark.parametrize("name", ["oci-layout", "index.json", "blobs", "blobs/sha256"])
def test_layout_without_one_of_its_parts_is_refused(plain, name):
    (plain.path / name).rename(plain.path / "elsewhere")
    assert _id(plain) == "image.blob.missing"


@pytest.mark.parametrize(
    "text", ['{"imageLayoutVersion":"2.0.0"}', "{}", "[]", "", '{"imageLayoutVersion":"1.0.0"} ' + " " * 2000]
)
def test_other_layout_versions_are_refused(plain, text):
    (plain.path / "oci-layout").write_text(text)
    assert _id(plain) == "image.layout"


@pytest.mark.parametrize("name", ["oci-layout", "index.json", "blobs", "blobs/sha256"])
def test_links_inside_a_layout_are_not_followed(plain, name):
    path = plain.path / name
    path.rename(plain.path / "elsewhere")
    path.symlink_to(plain.path / "elsewhere")
    assert _id(plain) in ("image.blob.kind", "image.blob.missing")


def test_link_in_place_of_a_blob_is_not_followed(plain, tmp_path):
    path = plain.blob_path(plain.index["manifests"][0]["digest"])
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    assert _id(plain) == "image.blob.kind"


def test_pipe_in_place_of_a_blob_is_refused_without_waiting(plain):
    path = plain.blob_path(plain.index["manifests"][0]["digest"])
    path.unlink()
    os.mkfifo(path)
    assert _id(plain) == "image.blob.kind"


def test_folder_in_place_of_the_index_is_refused(plain):
    (plain.path / "index.json").unlink()
    (plain.path / "index.json").mkdir()
    assert _id(plain) == "image.blob.kind"


def test_altered_manifest_and_configuration_are_refused(plain):
    for digest in (plain.manifest["config"]["digest"], plain.index["manifests"][0]["digest"]):
        path = plain.blob_path(digest)
        genuine = path.read_bytes()
        path.write_bytes(genuine.replace(b"amd64", b"arm64").replace(b"schema", b"schemb"))
        assert _id(plain) == "image.blob.digest"
        path.write_bytes(genuine + b" ")
        assert _id(plain) == "image.blob.size"
        path.write_bytes(genuine)
    _load(plain)


def test_second_entry_that_names_a_known_manifest_with_another_size_is_refused(plain):
    entry = plain.index["manifests"][0]
    plain.write_index(entry, {**entry, "size": entry["size"] + 1})
    assert _id(plain) == "image.blob.digest"


def test_oversized_documents_are_refused_before_they_are_read(plain, world):
    entry = plain.index["manifests"][0]
    plain.write_index({**entry, "size": 5 * 1024 * 1024})
    assert _id(plain) == "image.size"
    (plain.path / "index.json").write_bytes(b" " * (4 * 1024 * 1024 + 1))
    assert _id(plain) == "image.size"


def test_deep_json_is_refused(plain):
    (plain.path / "index.json").write_bytes(b'{"a":' * 100_000)
    assert _id(plain) == "image.manifest"


@pytest.mark.parametrize("odd", ["1e999", "NaN", '"\\ud800"', "1" * 5000], ids=lambda value: value[:8])
def test_values_that_cannot_be_written_again_are_refused(plain, odd):
    text = (plain.path / "index.json").read_text()
    (plain.path / "index.json").write_text(text.replace('{"schemaVersion"', f'{{"odd": {odd}, "schemaVersion"'))
    assert _id(plain) == "image.manifest"


def test_documents_that_are_too_large_together_are_refused(plain, monkeypatch):
    monkeypatch.setattr(image_tree, "MAX_TREE_BYTES", plain.index["manifests"][0]["size"])
    assert _id(plain) == "image.size"


def test_other_errors_of_the_system_are_setup_errors(plain, monkeypatch):
    genuine = os.open

    def broken(name, *arguments, **named):
        if name == "index.json":
            raise OSError(errno.EIO, "host-made error")
        return genuine(name, *arguments, **named)

    monkeypatch.setattr(os, "open", broken)
    assert _id(plain) == "image.read"


@pytest.mark.parametrize(
    ("change", "id"),
    [
        ({"manifests": []}, "image.manifest.ambiguous"),
        ({"Manifests": []}, "image.manifest.ambiguous"),
        ({"fsLayers": []}, "image.manifest.ambiguous"),
        ({"Layers": []}, "image.manifest.ambiguous"),
        ({"layer\u017f": []}, "image.manifest.ambiguous"),
        ({"CONFIG": {}}, "image.manifest.ambiguous"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json"}, "image.manifest.ambiguous"),
        ({"mediaType": None}, "image.manifest.ambiguous"),
        ({"schemaVersion": 1}, "image.manifest"),
        ({"schemaVersion": 2.0}, "image.manifest"),
        ({"schemaVersion": True}, "image.manifest"),
        ({"layers": None}, "image.manifest"),
        ({"layers": {}}, "image.manifest"),
        ({"config": []}, "image.descriptor"),
    ],
    ids=str,
)
def test_manifest_with_a_second_reading_is_refused(plain, change, id):
    plain.edit_manifest(lambda manifest: manifest.update(change))
    assert _id(plain) == id


def test_equal_names_in_a_manifest_are_refused(plain, world):
    data = plain.blob(plain.index["manifests"][0]["digest"])
    plain.write_index(plain.put(data[:-1] + b', "layers": []}', world.manifest_type))
    assert _id(plain) == "image.manifest"


@pytest.mark.parametrize("change", [{"layers": []}, {"config": {}}, {"Config": {}}, {"fsLayers": []}], ids=str)
def test_index_that_is_a_manifest_too_is_refused(plain, change):
    plain.write_index(plain.index["manifests"][0], **change)
    assert _id(plain) == "image.manifest.ambiguous"


def test_manifest_named_as_an_index_is_refused(plain, world):
    plain.write_index({**plain.index["manifests"][0], "mediaType": world.index_type})
    assert _id(plain) == "image.manifest.ambiguous"


@pytest.mark.parametrize("media_type", ["application/vnd.docker.distribution.manifest.v2+json", "", "application/json"])
def test_other_kinds_of_manifest_are_refused(plain, media_type):
    plain.write_index({**plain.index["manifests"][0], "mediaType": media_type})
    assert _id(plain) == "image.index.media_type"


def test_index_without_manifests_is_refused(plain):
    plain.write_index()
    assert _id(plain) == "image.index.empty"


def test_indexes_that_nest_too_deeply_are_refused(plain, world):
    entry = plain.index["manifests"][0]
    for level in range(5):
        plain.write_index(entry)
        assert (level < 4) == (_outcome(plain) == "loaded")
        entry = plain.put_json({"schemaVersion": 2, "manifests": [entry]}, world.index_type)


def test_wide_index_of_indexes_is_read_once_for_each_digest(plain, world):
    entry, layers, config = plain.index["manifests"][0], plain.layers, plain.manifest["config"]
    for _ in range(3):
        entry = plain.put_json({"schemaVersion": 2, "manifests": [entry] * 1000}, world.index_type)
    plain.write_index(entry)
    tree = _load(plain)
    assert len(manifests(tree)) == 1
    assert blob_bytes(tree) == sum(layer["size"] for layer in layers) + config["size"]
    plain.write_index(*[entry] * 1025)
    assert _id(plain) == "image.manifest"


def _outcome(layout) -> str:
    try:
        _load(layout)
    except AttestationError as error:
        return error.id
    return "loaded"


@pytest.mark.parametrize(
    ("change", "id"),
    [
        ({"size": -1}, "image.descriptor"),
        ({"size": "5"}, "image.descriptor"),
        ({"size": True}, "image.descriptor"),
        ({"size": 5.0}, "image.descriptor"),
        ({"size": 2**63}, "image.descriptor"),
        ({"size": None}, "image.descriptor"),
        ({"mediaType": 5}, "image.descriptor"),
        ({"annotations": {"a": 5}}, "image.descriptor"),
        ({"annotations": []}, "image.descriptor"),
        ({"Digest": "sha256:" + "a" * 64}, "image.descriptor"),
        ({"\u017fize": 5}, "image.descriptor"),
        ({"data": "!!"}, "image.descriptor"),
        ({"data": "QQ=="}, "image.blob.digest"),
        ({"digest": None}, "image.digest"),
    ],
    ids=str,
)
def test_damaged_descriptors_are_refused(plain, change, id):
    plain.edit_layer(1, lambda layer: layer.update(change))
    assert _id(plain) == id


@pytest.mark.parametrize(
    ("change", "id"),
    [
        ({"rootfs": None}, "image.config"),
        ({"rootfs": {"type": "layers"}}, "image.manifest"),
        ({"rootfs": {"type": "other", "diff_ids": []}}, "image.config"),
        ({"rootfs": {"type": "layers", "diff_ids": ["sha256:0"]}}, "image.digest"),
        ({"rootfs": {"type": "layers", "diff_ids": [], "DIFF_IDS": []}}, "image.config"),
        ({"RootFS": {"type": "layers", "diff_ids": []}}, "image.config"),
    ],
    ids=str,
)
def test_damaged_configurations_are_refused(plain, world, change, id):
    config = plain.put_json({**plain.config, **change}, world.config_type)
    plain.edit_manifest(lambda manifest: manifest.update(config=config))
    assert _id(plain) == id


def test_descriptor_keeps_what_it_does_not_understand_and_drops_what_spoke_of_the_old_bytes():
    old = {
        "mediaType": "t",
        "digest": "sha256:" + "a" * 64,
        "size": 0,
        "platform": {"os": "linux"},
        "urls": ["https://host/plain"],
        "annotations": {"a": "b"},
    }
    moved = Descriptor.from_json(old, "x").moved("sha256:" + "b" * 64, 7)
    assert moved.document == {
        "mediaType": "t",
        "digest": "sha256:" + "b" * 64,
        "size": 7,
        "platform": {"os": "linux"},
        "annotations": {"a": "b"},
    }


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "manifests", "layers", "config"]),
        _JSON
        | st.lists(st.dictionaries(st.sampled_from(["mediaType", "digest", "size", "data", "annotations"]), _JSON))
        | st.just(2),
    )
    | _JSON
)
def test_no_index_raises_anything_but_the_documented_errors(tmp_path_factory, document):
    root = tmp_path_factory.mktemp("layout")
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (root / "index.json").write_text(json.dumps(document))
    with pytest.raises(AttestationError) as caught, open_layout(root, Limits()) as opened:
        load_tree(opened)
    assert caught.value.id.startswith("image.")
