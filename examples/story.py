"""The props of the demonstration: an image, a model, processes, and what is printed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import urllib3
from safetensors.numpy import save_file

BIN = Path(sys.executable).parent
COLOURS = sys.stdout.isatty()


class StoryError(Exception):
    """Something went otherwise than told."""


def act(title: str) -> None:
    """A heading."""
    print(f"\n{_styled(title, '1')}", flush=True)


def tell(text: str) -> None:
    """A line of what really happened."""
    print(f"  {text}", flush=True)


def refused(who: str, check: str, why: str) -> None:
    """An impostor's line."""
    print(f"  {_styled('refused', '31')}  {who}\n           by {_styled(check, '36')}  {why}", flush=True)


def demand(truth: bool, otherwise: str) -> None:
    """Go on only if ``truth``."""
    if not truth:
        raise StoryError(otherwise)


def _styled(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def run(*command: str | Path, may_fail: bool = False, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """One of our commands, as a person would type it."""
    name, *arguments = map(str, command)
    done = subprocess.run([BIN / name, *arguments], capture_output=True, check=False, timeout=60, **options)
    if done.returncode and not may_fail:
        raise StoryError(f"{name} {arguments[0]} failed ({done.returncode}): {done.stderr.decode()[-600:]}")
    return done


@contextmanager
def broker(config: Path) -> Iterator[str]:
    """``kbs serve`` until the block ends; gives its URL."""
    url = f"http://127.0.0.1:{_free_port()}"
    log = config.with_suffix(".log")
    environment = os.environ | {"KBS_LISTEN": url.removeprefix("http://")}
    with log.open("wb") as output:
        process = subprocess.Popen([BIN / "kbs", "serve", "--config", config], stdout=output, stderr=output,
                                   env=environment)
    try:
        _await_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(20)
    demand(process.returncode == 0, f"the broker ended with status {process.returncode}: {log.read_text()[-600:]}")


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    pool = urllib3.PoolManager(retries=False, timeout=2)
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            if pool.request("GET", f"{url}/readyz").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.1)
    raise StoryError(f"the broker did not start: {log.read_text()[-600:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_model(path: Path) -> np.ndarray:
    """Weights that tell three kinds of points apart, and the points to try them on."""
    rng = np.random.default_rng(7)
    centres = np.array([[4, 0], [-4, 1], [0, 5]], dtype=np.float32)
    save_file({"weight": centres.T.copy(), "bias": (-0.5 * (centres**2).sum(axis=1)).astype(np.float32)}, str(path))
    return np.concatenate([centre + rng.normal(0, 0.5, (4, 2)) for centre in centres]).astype(np.float32)


def make_image(folder: Path) -> str:
    """An OCI image layout with two layers; gives the text of its application."""
    application = "#!/usr/bin/python3\nprint('predicting inside the enclave')\n"
    layers = [_tar({"etc/os-release": "NAME=demo\n"}), _tar({"app/predict.py": application})]
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    packed = [gzip.compress(layer, mtime=0) for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/app/predict.py"]},
              "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]}}
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _put(blobs, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [_put(blobs, data, "application/vnd.oci.image.layer.v1.tar+gzip") for data in packed],
    }
    entry = _put(blobs, json.dumps(manifest).encode(), manifest["mediaType"])
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return application


def read_application(folder: Path) -> str:
    """The application in a decrypted layout."""
    manifest = _blob(folder, json.loads((folder / "index.json").read_text())["manifests"][0])
    layer = _blob(folder, json.loads(manifest)["layers"][1])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        member = archive.extractfile("app/predict.py")
        return member.read().decode() if member else ""


def contains(folder: Path, text: str) -> bool:
    """Whether any file below ``folder`` holds ``text`` in the clear, compressed or not."""
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if data[:2] == b"\x1f\x8b":
            data += gzip.decompress(data)
        if text.encode() in data:
            return True
    return False


def _tar(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def _put(blobs: Path, data: bytes, media_type: str) -> dict[str, Any]:
    (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _blob(folder: Path, descriptor: dict[str, Any]) -> bytes:
    return (folder / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
