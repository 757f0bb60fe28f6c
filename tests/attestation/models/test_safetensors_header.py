"""The safetensors header: nothing the safetensors library would refuse, and stricter where it is lenient."""

from __future__ import annotations

import json
import struct

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import ModelError
from attestation.models.safetensors_header import DTYPE_BITS, TensorInfo, header_length, parse_header

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def parse(data: bytes):
    size = header_length(data[:8], len(data))
    return parse_header(data[8 : 8 + size], len(data))


def refused(data: bytes) -> str:
    with pytest.raises(ModelError) as caught:
        parse(data)
    return caught.value.id.removeprefix("models.safetensors.")


def test_header_is_read(safetensors_bytes):
    data = safetensors_bytes({"__metadata__": {"format": "pt"}, "b": F32 | {"data_offsets": [3, 11]},
                              "a": {"dtype": "U8", "shape": [3, 1], "data_offsets": [0, 3]}}, bytes(11))
    start = len(data) - 11
    found = parse(data)
    assert found.tensors == (TensorInfo("a", "U8", (3, 1), start, start + 3),
                             TensorInfo("b", "F32", (2,), start + 3, start + 11))
    assert (found.metadata, found.data_start) == ({"format": "pt"}, start)


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_agrees_with_the_library(safetensors_bytes, dtype):
    size = 8 * DTYPE_BITS[dtype] // 8
    data = safetensors_bytes({"t": {"dtype": dtype, "shape": [4, 2], "data_offsets": [0, size]}}, bytes(range(size)))
    (name, found), = safetensors.deserialize(data)
    info, = parse(data).tensors
    assert (info.name, info.dtype, list(info.shape)) == (name, found["dtype"], found["shape"])
    assert data[info.start : info.end] == bytes(found["data"])


@pytest.mark.parametrize(("tensors", "rule"), [
    ({"a": F32 | {"data_offsets": [0, 7]}}, "data_offsets"),
    ({"a": F32 | {"data_offsets": [8, 0]}}, "data_offsets"),
    ({"a": F32 | {"data_offsets": [0, 8, 8]}}, "data_offsets"),
    ({"a": F32 | {"data_offsets": [0.0, 8]}}, "data_offsets"),
    ({"a": F32 | {"data_offsets": [False, 8]}}, "data_offsets"),
    ({"a": F32 | {"data_offsets": [-8, 0]}}, "data_offsets"),
    ({"a": F32 | {"data_offsets": None}}, "data_offsets"),
    ({"a": F32 | {"shape": [3]}}, "data_offsets"),
    ({"a": F32 | {"shape": [2.0]}}, "shape"),
    ({"a": F32 | {"shape": [True, 2]}}, "shape"),
    ({"a": F32 | {"shape": "2"}}, "shape"),
    ({"a": F32 | {"shape": [1 << 62, 0, 1 << 62], "data_offsets": [0, 0]}}, "shape"),
    ({"a": F32 | {"shape": [1 << 63]}}, "shape"),
    ({"a": F32 | {"shape": [1] * 33 + [2]}}, "shape"),
    ({"a": F32 | {"dtype": "F33"}}, "dtype"),
    ({"a": F32 | {"dtype": 5}}, "dtype"),
    ({"a": F32 | {"dtype": ["F32"]}}, "dtype"),
    ({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 1]}}, "data_offsets"),
    ({"a": F32 | {"extra": 1}}, "tensor"),
    ({"a": {"dtype": "F32", "shape": [2]}}, "tensor"),
    ({"a": [0, 8]}, "tensor"),
    ({"a": F32, "b": F32}, "contiguous"),
    ({"a": F32, "b": F32 | {"data_offsets": [4, 12]}}, "contiguous"),
    ({"a": F32, "b": F32 | {"data_offsets": [9, 17]}}, "contiguous"),
    ({"a": F32 | {"data_offsets": [1, 9]}}, "contiguous"),
    ({"a": F32 | {"data_offsets": [8, 16]}}, "contiguous"),
    ({}, "contiguous"),
    ({"a": F32, "__metadata__": {"n": 1}}, "metadata"),
    ({"a": F32, "__metadata__": ["n"]}, "metadata"),
    ({"a": F32, "__metadata__": None}, "metadata"),
])
def test_header_that_lies_is_refused(safetensors_bytes, tensors, rule):
    assert refused(safetensors_bytes(tensors, bytes(8))) == rule


def test_bytes_nobody_names_are_refused(safetensors_bytes):
    assert refused(safetensors_bytes({"a": F32}, bytes(9))) == "contiguous"
    assert refused(safetensors_bytes({"a": F32}, bytes(7))) == "contiguous"


@pytest.mark.parametrize("text", [
    b'{"a":1,"a":2}', b'{"a": NaN}', b'{"a": Infinity}', b"[]", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{}",
    b'{"a"}', b" {}", b"{}\n", b"{}\0", b"  ", b"nul", b'{"a": 1e999}', b"{}{}",
])
def test_json_that_is_not_strict_is_refused(safetensors_bytes, text):
    assert refused(safetensors_bytes(text)) in ("json", "tensor")


def test_duplicate_names_are_refused(safetensors_bytes):
    one = json.dumps(F32)
    assert refused(safetensors_bytes(f'{{"a":{one},"a":{one}}}'.encode(), bytes(8))) == "json"


def test_lone_surrogate_in_a_name_is_refused(safetensors_bytes):
    assert refused(safetensors_bytes(b'{"\\ud800":' + json.dumps(F32).encode() + b"}", bytes(8))) == "json"


@pytest.mark.parametrize("data", [b"", b"\0", bytes(7), bytes(8), struct.pack("<Q", 1) + b"{",
                                  struct.pack("<Q", 3) + b"{}", struct.pack("<Q", 1 << 63) + b"{}",
                                  struct.pack("<Q", (1 << 64) - 8) + b"{}"])
def test_impossible_header_length_is_refused(data):
    assert refused(data) == "length"


def test_header_length_is_bounded_whatever_the_file_holds():
    with pytest.raises(ModelError) as caught:
        header_length(struct.pack("<Q", 100_000_001), 1 << 40)
    assert caught.value.id == "models.safetensors.length"
    assert header_length(struct.pack("<Q", 100_000_000), 1 << 40) == 100_000_000


@pytest.mark.parametrize("header", [
    {"a": F32 | {"shape": [(1 << 63) - 1] * 200_000}}, {"a" * 10**6: {}}, {"a": F32 | {"dtype": "F" * 10**6}},
    {"a": {"b" * 10**6: 1}}, {"a": F32 | {"data_offsets": [0] * 10**6}}, {"a" * 10**6: F32 | {"data_offsets": [8, 16]}},
], ids=range(6))
def test_absurd_header_is_refused_in_few_words(safetensors_bytes, header):
    with pytest.raises(ModelError) as caught:
        parse(safetensors_bytes(header))
    assert len(str(caught.value)) < 600


def test_padding_and_empty_tensors_are_allowed(safetensors_bytes):
    empty = {"dtype": "F32", "shape": [0, 5], "data_offsets": [8, 8]}
    data = safetensors_bytes(json.dumps({"z": empty, "a": F32, "y": empty}).encode() + b"    ", bytes(8))
    assert [tensor.name for tensor in parse(data).tensors] == ["a", "z", "y"]
    assert {name for name, _ in safetensors.deserialize(data)} == {"a", "y", "z"}


numbers = st.one_of(st.integers(-1, 40), st.sampled_from([1 << 31, 1 << 62, 1 << 63, 1 << 64]))
tensor_objects = st.fixed_dictionaries({
    "dtype": st.sampled_from([*DTYPE_BITS, "f32", ""]), "shape": st.lists(numbers, max_size=3),
    "data_offsets": st.lists(numbers, min_size=1, max_size=3),
})


@settings(max_examples=300)
@given(st.dictionaries(st.text(max_size=3), tensor_objects, max_size=4), st.integers(0, 64))
def test_what_is_accepted_the_library_reads_alike(safetensors_bytes, tensors, size):
    agrees_with_library(safetensors_bytes(tensors, bytes(range(size))))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(list(DTYPE_BITS)), st.lists(st.integers(0, 4), max_size=3)), max_size=5),
       st.integers(-1, 1), st.data())
def test_well_made_files_are_read_as_the_library_reads_them(safetensors_bytes, shapes, error, data):
    tensors, end = {}, 0
    for number, (dtype, shape) in enumerate(shapes):
        bits = DTYPE_BITS[dtype]
        for length in shape:
            bits *= length
        tensors[f"t{number}"] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + bits // 8]}
        end += bits // 8
    names = data.draw(st.permutations(sorted(tensors)))
    agrees_with_library(safetensors_bytes({name: tensors[name] for name in names}, bytes(max(0, end + error))))


def agrees_with_library(data: bytes) -> None:
    """Accepted here: the library accepts it and finds the same. Refused here: by a `ModelError`."""
    try:
        found = parse(data)
    except ModelError:
        return
    library = {name: (its["dtype"], its["shape"], bytes(its["data"])) for name, its in safetensors.deserialize(data)}
    assert {t.name: (t.dtype, list(t.shape), data[t.start : t.end]) for t in found.tensors} == library


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(data):
    agrees_with_library(struct.pack("<Q", len(data)) + data)
