"""Tensors: what the plain file would give, chunk by chunk and at once."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from attestation.errors import ModelError, SealedFileError, SetupError
from attestation.models.folder import seal_folder
from attestation.models.tensors import load_file, numpy_dtype, open_model

CHUNK = 4096
DICE = np.random.default_rng(7)

TENSORS = {
    "embedding": DICE.standard_normal((300, 37)).astype("f4"),
    "half": DICE.standard_normal((3, 5, 7)).astype("f2"),
    "odd": DICE.integers(0, 255, 13, "u1"),
    "long": DICE.integers(-(1 << 62), 1 << 62, (11, 2), "i8"),
    "flags": DICE.integers(0, 2, (9,)).astype(bool),
    "complex": (DICE.standard_normal(6) + 1j).astype("c8"),
    "scalar": np.array(2.5, "f8"),
    "empty": np.empty((0, 4), "f4"),
    "hollow": np.empty((3, 0), "f4"),
}


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.safetensors"
    path.write_bytes(save(TENSORS, metadata={"format": "np", "step": "7"}))
    return path


@pytest.fixture
def sealed(seal, plain):
    return seal(plain.read_bytes(), name="model.safetensors.sealed")


def equal(found, expected):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_model_has_the_interface_of_safe_open(plain, sealed, keys):
    with safe_open(plain, "np") as library, open_model(sealed, keys) as model:
        assert model.keys() == sorted(library.keys())
        assert [name for name in model.offset_keys() if TENSORS[name].size] == [
            name for name in library.offset_keys() if TENSORS[name].size]  # empty ones have no order
        assert model.metadata() == library.metadata()
        for name in library.keys():  # noqa: SIM118 - not a mapping
            equal(model.get_tensor(name), library.get_tensor(name))
            assert model.get_slice(name).get_shape() == library.get_slice(name).get_shape()
            assert model.get_slice(name).get_dtype() == library.get_slice(name).get_dtype()


def test_load_file_gives_every_tensor_writable_and_aligned(sealed, keys):
    found = load_file(sealed, keys)
    assert found.keys() == TENSORS.keys()
    for name, array in found.items():
        equal(array, TENSORS[name])
        assert array.flags.writeable
        assert array.flags.aligned


def test_tensors_of_different_names_do_not_share_memory(sealed, keys):
    found = load_file(sealed, keys)
    found["embedding"].fill(0)
    equal(found["half"], TENSORS["half"])


def test_large_tensor_is_read_through_fresh_memory(seal, keys):
    tensors = {"big": DICE.integers(0, 1 << 30, (3 << 20,), "i4"), "tail": np.arange(5, dtype="u1")}
    path = seal(save(tensors), chunk_bytes=1 << 20)
    for found in (load_file(path, keys), open_model(path, keys).get_tensors()):
        equal(found["big"], tensors["big"])
        equal(found["tail"], tensors["tail"])


@pytest.mark.parametrize("index", [
    0, -1, 299, np.int64(5), slice(None), slice(10, 20), slice(-3, None), slice(0, 0), slice(200, 100),
    slice(5, 250, 7), slice(None, None, -1), slice(250, 5, -7), ..., (3, 4), (slice(2, 9), 5),
    (slice(2, 9), slice(None, None, 3)), (..., 2), (5, ...), (slice(5, 6), ..., slice(1, 4)), (),
])
def test_slice_equals_numpys(sealed, keys, index):
    with open_model(sealed, keys) as model:
        found = model.get_slice("embedding")[index]
        assert np.array_equal(found, TENSORS["embedding"][index])
        assert np.shape(found) == np.shape(TENSORS["embedding"][index])


@pytest.mark.parametrize("name", ["scalar", "empty", "hollow", "odd", "half"])
def test_slice_of_any_shape_equals_numpys(sealed, keys, name):
    with open_model(sealed, keys) as model:
        equal(model.get_slice(name)[...], TENSORS[name])
        if TENSORS[name].ndim:
            equal(model.get_slice(name)[:2], TENSORS[name][:2])


@pytest.mark.parametrize("index", [300, -301, (0, 37)])
def test_slice_outside_the_tensor_raises_as_numpy(sealed, keys, index):
    with open_model(sealed, keys) as model, pytest.raises(IndexError):
        model.get_slice("embedding")[index]


def test_only_the_chunks_of_a_slice_are_read(sealed, keys, key_uri):
    """Everything but the header's chunk and the slice's own is spoilt."""
    with open_model(sealed, keys) as model:
        at = model.info("embedding").start + 100 * 37 * 4
    whole = bytearray(sealed.read_bytes())
    kept = {0, at // CHUNK, (at + 2 * 37 * 4 - 1) // CHUNK}
    for index in set(range(len(whole) // (CHUNK + 16))) - kept:
        whole[90 + len(key_uri) + index * (CHUNK + 16)] ^= 1
    sealed.write_bytes(whole)
    with open_model(sealed, keys) as model:
        equal(model.get_slice("embedding")[100:102], TENSORS["embedding"][100:102])
        with pytest.raises(SealedFileError) as caught:
            model.get_tensor("embedding")
        assert caught.value.id == "models.chunk"


def test_unknown_tensor_is_told(sealed, keys):
    with open_model(sealed, keys) as model, pytest.raises(SetupError) as caught:
        model.get_tensor("nothing")
    assert caught.value.id == "models.tensor.unknown"


def test_tensors_exchanged_in_the_file_are_refused(seal, keys, key_uri):
    """Two tensors of one shape, each filling whole chunks; their sealed chunks change places."""
    data = save({"a": np.full(CHUNK // 4, 1, "f4"), "b": np.full(CHUNK // 4, 2, "f4")})
    padding = CHUNK - (len(data) - 2 * CHUNK)
    header = data[8 : len(data) - 2 * CHUNK] + b" " * padding
    path = seal((len(header)).to_bytes(8, "little") + header + data[-2 * CHUNK :])
    assert load_file(path, keys)["a"][0] == 1
    whole, start, step = path.read_bytes(), 90 + len(key_uri) + CHUNK + 16, CHUNK + 16
    path.write_bytes(whole[:start] + whole[start + step :] + whole[start : start + step])
    with pytest.raises(SealedFileError) as caught:
        load_file(path, keys)
    assert (caught.value.id, "chunk 1 of 3" in caught.value.detail) == ("models.chunk", True)


def test_sealed_file_that_is_not_safetensors_is_refused(seal, noise, keys):
    with pytest.raises(ModelError) as caught:
        open_model(seal(noise(100)), keys)
    assert caught.value.id == "models.safetensors.length"


def test_unaligned_tensors_come_out_aligned(seal, safetensors_bytes, keys):
    tensors = {"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
               "b": {"dtype": "F64", "shape": [2], "data_offsets": [3, 19]}}
    path = seal(safetensors_bytes(tensors, b"abc" + np.array([1.5, -2]).tobytes()))
    found = load_file(path, keys)["b"]
    equal(found, np.array([1.5, -2]))
    assert found.flags.aligned


def test_dtypes_numpy_lacks_come_as_unsigned_integers(seal, safetensors_bytes, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tensors = {"bf": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
               "f8": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [8, 12]},
               "f4": {"dtype": "F4", "shape": [2, 4], "data_offsets": [12, 16]}}
    with open_model(seal(safetensors_bytes(tensors, bytes(range(16)))), keys) as model:
        equal(model.get_tensor("bf"), np.frombuffer(bytes(range(8)), "<u2").reshape(2, 2))
        equal(model.get_tensor("f8"), np.arange(8, 12, dtype="u1"))
        equal(model.get_tensor("f4"), np.arange(12, 16, dtype="u1"))
        equal(model.get_slice("f4")[1:3], np.arange(13, 15, dtype="u1"))
        equal(model.get_slice("bf")[1], np.frombuffer(bytes(range(4, 8)), "<u2"))


def test_ml_dtypes_are_used_where_installed(monkeypatch):
    stand_in = types.SimpleNamespace(bfloat16=np.dtype("V2"), __spec__=object())
    monkeypatch.setitem(sys.modules, "ml_dtypes", stand_in)
    assert numpy_dtype("BF16") == np.dtype("V2")


def test_folder_of_shards_is_one_model(tmp_path, keys, key_uri):
    source = tmp_path / "model"
    source.mkdir()
    (source / "model-1.safetensors").write_bytes(save({"a": np.arange(4), "b": np.ones(3)}, {"format": "np", "n": "1"}))
    (source / "model-2.safetensors").write_bytes(save({"c": np.zeros(2)}, {"format": "np", "n": "2"}))
    (source / "config.json").write_text("{}")
    manifest = seal_folder(source, tmp_path / "sealed", key_uri=key_uri, keys=keys)
    with open_model(tmp_path / "sealed", keys, manifest_digest=manifest.digest) as model:
        assert (model.keys(), model.metadata()) == (["a", "b", "c"], {"format": "np"})
        equal(model.get_tensor("c"), np.zeros(2))
        assert model.get_tensors().keys() == {"a", "b", "c"}


def test_tensor_in_two_shards_is_refused(tmp_path, keys, key_uri):
    source = tmp_path / "model"
    source.mkdir()
    for name in ("x", "y"):
        (source / f"{name}.safetensors").write_bytes(save({"a": np.arange(4)}))
    seal_folder(source, tmp_path / "sealed", key_uri=key_uri, keys=keys)
    with pytest.raises(ModelError) as caught:
        open_model(tmp_path / "sealed", keys)
    assert caught.value.id == "models.tensor.duplicate"


def test_folder_without_tensors_is_refused(tmp_path, keys, key_uri):
    source = tmp_path / "model"
    source.mkdir()
    (source / "config.json").write_text("{}")
    seal_folder(source, tmp_path / "sealed", key_uri=key_uri, keys=keys)
    with pytest.raises(ModelError) as caught:
        open_model(tmp_path / "sealed", keys)
    assert caught.value.id == "models.folder.tensors"


def test_manifest_digest_for_a_single_file_is_refused(sealed, keys):
    with pytest.raises(SetupError) as caught:
        open_model(sealed, keys, manifest_digest=bytes(32))
    assert caught.value.id == "models.manifest"
