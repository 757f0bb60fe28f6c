"""The manifest: canonical, authenticated, and with names that mean one file only."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import KeyUnavailable, ModelError
from attestation.models.manifest import ManifestFile, new_manifest, parse_manifest


def entry(name: str = "model.safetensors", **values) -> ManifestFile:
    return ManifestFile(**{"name": name, "key_uri": "kbs:///team/models/tiny", "sealed_bytes": 200,
                           "header_sha256": "ab" * 32} | values)


@pytest.fixture
def manifest(dek, key_uri):
    return new_manifest(dek, key_uri, [entry("b"), entry("a", key_uri="kbs:///team/models/other")])


def altered(manifest, change) -> bytes:
    document = json.loads(manifest.encoded)
    change(document)
    return rfc8785.dumps(document)


def test_manifest_round_trips(manifest, dek):
    found = parse_manifest(manifest.encoded).authenticate(dek)
    assert found == manifest
    assert [file.name for file in found.files] == ["a", "b"]


def test_every_flipped_bit_is_refused(manifest, dek):
    for bit in range(len(manifest.encoded) * 8):
        data = bytearray(manifest.encoded)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ModelError) as caught:
            parse_manifest(bytes(data)).authenticate(dek)
        assert caught.value.id in ("models.manifest.malformed", "models.manifest.hmac")


@pytest.mark.parametrize("change", [
    lambda document: document["files"].pop(),
    lambda document: document["files"][0].update(sealed_bytes=201),
    lambda document: document["files"][0].update(header_sha256="cd" * 32),
    lambda document: document["files"][0].update(key_uri="kbs:///team/models/third"),
    lambda document: document["files"][1].update(name="c"),
    lambda document: document.update(key_uri="kbs:///team/models/third"),
    lambda document: document.update(hmac="00" * 32),
])
def test_changed_document_is_refused_by_its_hmac(manifest, dek, change):
    with pytest.raises(ModelError) as caught:
        parse_manifest(altered(manifest, change)).authenticate(dek)
    assert caught.value.id == "models.manifest.hmac"


def test_exchanged_names_are_refused(manifest, dek):
    """Two files under one key change places: each would still open by itself."""
    def exchange(document):
        one, other = document["files"]
        one["name"], other["name"] = other["name"], one["name"]
        document["files"].sort(key=lambda file: file["name"])

    with pytest.raises(ModelError) as caught:
        parse_manifest(altered(manifest, exchange)).authenticate(dek)
    assert caught.value.id == "models.manifest.hmac"


def test_manifest_under_another_key_is_refused(manifest):
    with pytest.raises(ModelError) as caught:
        parse_manifest(manifest.encoded).authenticate(bytes(32))
    assert caught.value.id == "models.manifest.hmac"
    with pytest.raises(KeyUnavailable) as short:
        parse_manifest(manifest.encoded).authenticate(bytes(31))
    assert short.value.id == "models.key.length"


def test_another_manifest_of_the_same_key_is_refused_where_one_is_pinned(manifest, dek, key_uri):
    older = new_manifest(dek, key_uri, [entry("a")])
    assert parse_manifest(manifest.encoded).authenticate(dek, digest=manifest.digest) == manifest
    with pytest.raises(ModelError) as caught:
        parse_manifest(older.encoded).authenticate(dek, digest=manifest.digest)
    assert (caught.value.id, caught.value.expected) == ("models.manifest.digest", manifest.digest)


@pytest.mark.parametrize("name", [
    "", ".", "..", ".hidden", "../up", "/etc/passwd", "a/b", "a\\b", "-option", "a b", "a\n", "a\0", "nul:", "ä",
    "a" * 201, "\uff41", "C:a", "a*",
])
def test_name_that_is_not_a_plain_one_is_refused(dek, key_uri, name):
    with pytest.raises(ModelError) as caught:
        new_manifest(dek, key_uri, [entry(name)])
    assert caught.value.id == "models.manifest.malformed"


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"], ["model.BIN", "model.bin"], []])
def test_names_that_collide_are_refused(dek, key_uri, names):
    with pytest.raises(ModelError) as caught:
        new_manifest(dek, key_uri, [entry(name) for name in names])
    assert caught.value.id == "models.manifest.malformed"


@pytest.mark.parametrize("change", [
    lambda document: document.update(extra=1),
    lambda document: document.pop("hmac"),
    lambda document: document.update(version=2),
    lambda document: document.update(version=True),
    lambda document: document.update(version="1"),
    lambda document: document.update(format="attestkit-sealed-folders"),
    lambda document: document.update(files={}),
    lambda document: document.update(key_uri="kbs:///a/b"),
    lambda document: document["files"].reverse(),
    lambda document: document["files"][0].update(extra=1),
    lambda document: document["files"][0].update(sealed_bytes=0),
    lambda document: document["files"][0].update(sealed_bytes=-1),
    lambda document: document["files"][0].update(sealed_bytes=1.5),
    lambda document: document["files"][0].update(header_sha256="AB" * 32),
    lambda document: document["files"][0].update(header_sha256="ab" * 31),
    lambda document: document["files"][0].update(key_uri="https://example.org/"),
])
def test_document_of_another_shape_is_refused(manifest, change):
    with pytest.raises(ModelError) as caught:
        parse_manifest(altered(manifest, change))
    assert caught.value.id == "models.manifest.malformed"


@pytest.mark.parametrize("spoil", [
    lambda data: data + b"\n",
    lambda data: b" " + data,
    lambda data: data.replace(b'"version":1', b'"version":1.0'),
    lambda data: data.replace(b'"version":1', b'"version":1,"version":1'),
    lambda data: data.replace(b'"name":"a"', b'"name":"\\u0061"'),
    lambda data: data.replace(b',"', b', "', 1),
    lambda data: b"[" * 100_000,
    lambda data: b"",
    lambda data: b"\xff",
])
def test_document_with_a_second_spelling_is_refused(manifest, spoil):
    with pytest.raises(ModelError) as caught:
        parse_manifest(spoil(manifest.encoded))
    assert caught.value.id == "models.manifest.malformed"


def test_document_beyond_the_limit_is_not_even_parsed():
    with pytest.raises(ModelError) as caught:
        parse_manifest(b" " * (4 * 1024 * 1024 + 1))
    assert (caught.value.id, caught.value.detail) == ("models.manifest.malformed", "the manifest: too large")


@given(st.recursive(st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                        st.sampled_from(["files", "format", "hmac", "key_uri", "version", "name"]), inner)))
def test_no_document_raises_anything_but_a_refusal(document):
    with pytest.raises(ModelError):
        parse_manifest(json.dumps(document).encode())
