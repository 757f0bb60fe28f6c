"""The samples of version 1, which must open for ever, made a second time by an implementation from the document."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attestation.models.keys import HeldKeys
from attestation.models.reader import open_sealed
from attestation.models.tensors import load_file

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "fixtures" / "vectors" / "sealed-file-v1"
URI = "kbs:///attestkit/vectors/sealed-file-v1"
KEY = hashlib.sha256(b"attestkit sealed-file vectors, version 1").digest()


def test_sample_opens():
    tensors = load_file(VECTORS / "tiny.safetensors.sealed", HeldKeys({URI: KEY}))
    assert np.array_equal(tensors["weights"], (np.arange(2560, dtype="f4") / 256 - 5).reshape(40, 64))
    assert np.array_equal(tensors["labels"], np.arange(100, dtype="u1"))


def test_sample_of_an_empty_file_opens():
    with open_sealed(VECTORS / "empty.sealed", HeldKeys({URI: KEY})) as reader:
        assert reader.read(0, 0) == b""


@pytest.mark.parametrize("name", ["tiny.safetensors", "empty"])
def test_second_implementation_makes_the_same_bytes(reference, name):
    plaintext = (VECTORS / name).read_bytes() if name != "empty" else b""
    salt = hashlib.sha256(b"salt of " + name.encode()).digest()
    made = type(reference)(KEY).seal(plaintext, salt=salt, uri=URI.encode())
    assert made == (VECTORS / f"{name}.sealed").read_bytes()


def test_generator_makes_the_same_bytes():
    generator = ROOT / "fixtures" / "generators" / "sealed_file.py"
    done = subprocess.run([sys.executable, generator, "--check"], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
