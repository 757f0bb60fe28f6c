"""How long does a sealed model take to load, beside the plain file and beside cryptotensors?

One safetensors file is made, sealed here, and saved by cryptotensors. Every load then runs in a process of its own, in
rounds whose order is drawn anew each time, after one round that is not counted and leaves all files in the page cache.
The clock runs around the load alone, not around imports; what was loaded is compared once, outside the clock.

Before each load twice its size in memory is touched and freed. An ordinary virtual machine's free memory is taken back
by its hypervisor, and whoever touches it first pays for that; a confidential one's private memory is its own. With
--as-found nothing is touched, and a load is measured on what the ones before it left as well.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import mmap
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _report import Bar, Report, machine, say
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.models.keys import HeldKeys

MIB = 1 << 20
KEY_URI = "kbs:///benchmark/models/weights"
PLAIN, SEALED, FOREIGN, KEY, JWKS = "plain.safetensors", "sealed", "cryptotensors", "key", "jwks.json"

# Given the folder, imports and prepares; what is returned is timed.
Prepared = Callable[[], object]


def load_plain(folder: Path) -> Prepared:
    """safetensors.numpy.load_file: maps the file, copies every tensor"""
    from safetensors.numpy import load_file

    return lambda: load_file(folder / PLAIN)


def load_plain_pread(folder: Path) -> Prepared:
    """the same with backend="pread": reads every tensor"""
    from safetensors.numpy import load_file

    return lambda: load_file(folder / PLAIN, backend="pread")


def load_sealed(folder: Path) -> Prepared:
    """attestation.models.tensors.load_file: authenticates and decrypts every chunk"""
    from attestation.models.tensors import load_file

    keys = _keys(folder)
    return lambda: load_file(folder / SEALED, keys)


def load_cryptotensors(folder: Path) -> Prepared:
    """cryptotensors.safe_open and get_tensor, as its load_file does"""
    import cryptotensors

    config = _jwks(folder)

    def load() -> dict[str, Any]:
        with cryptotensors.safe_open(folder / FOREIGN, framework="np", config=config) as file:
            return {name: file.get_tensor(name) for name in file.offset_keys()}

    return load


def save_plain(folder: Path) -> Prepared:
    """safetensors.numpy.save_file from memory, no fsync"""
    from safetensors.numpy import save_file

    tensors = load_plain(folder)()
    return lambda: save_file(tensors, folder / (PLAIN + ".again"))


def save_sealed(folder: Path) -> Prepared:
    """attestation.models.seal.seal_file from the plain file, fsync included"""
    from attestation.models.seal import seal_file

    keys = _keys(folder)
    return lambda: seal_file(folder / PLAIN, folder / SEALED, key_uri=KEY_URI, keys=keys)


def save_cryptotensors(folder: Path) -> Prepared:
    """cryptotensors.numpy.save_file from memory, no fsync"""
    from cryptotensors.numpy import save_file

    tensors, config = load_plain(folder)(), _jwks(folder)
    return lambda: save_file(tensors, folder / FOREIGN, config=config)


TASKS: dict[str, dict[str, Callable[[Path], Prepared]]] = {
    "load": {"plain": load_plain, "plain, pread": load_plain_pread, "sealed": load_sealed,
             "cryptotensors": load_cryptotensors},
    "save": {"plain": save_plain, "sealed": save_sealed, "cryptotensors": save_cryptotensors},
}


def main() -> int:
    """Measure and print; or, in a process started by this very program, do one thing once."""
    options = _options()
    if options.once:
        return _once(*options.once, options.folder)
    room = shutil.disk_usage(options.folder or tempfile.gettempdir()).free
    if room < 5 * options.size * MIB:
        say(f"needs {5 * options.size} MiB of disk, found {room // MIB}; choose another place with --folder")
        return 2
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        return _measure(Path(scratch), options).show(as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="size of the model (default 1024)")
    parser.add_argument("--rounds", type=int, default=9, help="loads of each kind that count (default 9)")
    parser.add_argument("--as-found", action="store_true", help="do not touch free memory before each load")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--once", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(folder: Path, options: argparse.Namespace) -> Report:
    say(f"making {options.size} MiB of weights, sealing and saving them ...")
    _run("make", str(options.size), folder)
    runs = {"load": {name: [] for name in TASKS["load"]},
            "save": {name: [_run("save", name, folder)] for name in TASKS["save"]}}
    say("comparing what the loaders give ...")
    if len({_run("digest", name, folder)["digest"] for name in TASKS["load"]}) != 1:
        raise SystemExit("the loaders disagree on the tensors")
    for number in range(options.rounds + 1):
        say(f"round {number} of {options.rounds}{'' if number else ', not counted'}")
        for name in random.sample(list(TASKS["load"]), len(TASKS["load"])):
            if not options.as_found:
                _touch(2 * options.size * MIB)
            measured = _run("load", name, folder)
            runs["load"][name] += [measured] if number else []
    return _report(options, runs)


def _report(options: argparse.Namespace, runs: dict[str, dict[str, list[dict[str, Any]]]]) -> Report:
    report = Report(f"Loading {options.size} MiB of weights, sealed and plain")
    report.facts |= {"rounds": options.rounds,
                     "free memory": "as found" if options.as_found else "touched before each load",
                     **machine("safetensors", "cryptotensors", "cryptography", "numpy")}
    for kind, measured in runs.items():
        median = {name: statistics.median(run["seconds"] for run in found) for name, found in measured.items()}
        plain = min(value for name, value in median.items() if name.startswith("plain"))
        for name, found in measured.items():
            report.rows.append({
                "": kind, "what": name, "median s": median[name], "min s": min(run["seconds"] for run in found),
                "MB/s": options.size * MIB / 1e6 / median[name], "x plain": median[name] / plain,
                "x cryptotensors": median[name] / median["cryptotensors"],
                "cpu s": statistics.median(run["cpu"] for run in found), "peak MiB": max(run["peak"] for run in found),
                "held MiB": max(run["held"] for run in found),
            })
            report.notes.append(f"{kind} {name}: {TASKS[kind][name].__doc__}.")
        if kind == "load":
            report.bars = [Bar("sealed load against the faster plain load", median["sealed"] / plain, 1.2),
                           Bar("sealed load against cryptotensors", median["sealed"] / median["cryptotensors"], 1.0)]
    report.notes += [
        "Ratios are of medians; x plain is against the faster plain row. Saves are taken once.",
        "cpu s: processor time of all threads; sealed and cryptotensors use several.",
        "peak MiB: largest resident set of the process. Pages of a mapped file count too, though they are page cache.",
        "held MiB: anonymous memory right after the clock stops: what was loaded is there, not merely mapped.",
        "free memory: with --as-found, what each load costs depends on what the loads before it left to it.",
        "Every loader gave the same names, dtypes, shapes and bytes (SHA-256, compared before the rounds).",
    ]
    return report


def _touch(size: int) -> None:
    """Have ``size`` bytes of free memory backed by the hypervisor, if there is one."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory[:: mmap.PAGESIZE] = bytes(-(-size // mmap.PAGESIZE))


def _run(task: str, name: str, folder: Path) -> dict[str, Any]:
    """One task in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--once", task, name]
    path = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ":".join(path)}, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _once(task: str, name: str, folder: Path) -> int:
    found: dict[str, Any] = {}
    if task == "make":
        _make(folder, int(name))
    elif task == "digest":
        found["digest"] = _digest(TASKS["load"][name](folder)())
    else:
        found = _timed(TASKS[task][name](folder))
    print(json.dumps(found))
    return 0


def _timed(work: Prepared) -> dict[str, Any]:
    before, start = _cpu(), time.perf_counter()
    result = work()
    seconds, cpu = time.perf_counter() - start, _cpu() - before
    found = {"seconds": seconds, "cpu": cpu, "peak": _memory("VmHWM"), "held": _memory("RssAnon")}
    del result
    return found


def _make(folder: Path, size: int) -> None:
    """The plain file: large matrices, a few small tensors between them, float32 and float16."""
    from safetensors.numpy import save_file

    dice = np.random.default_rng(1)
    count = max(1, size // 64)
    rows = size * MIB // count // (4 * 4096)
    tensors = {f"layer.{number}.weight": dice.integers(0, 1 << 32, (rows, 4096), "u4").view("f4")
               for number in range(count)}
    tensors |= {f"layer.{number}.norm": dice.standard_normal(4096).astype("f2") for number in range(count)}
    save_file(tensors, folder / PLAIN)
    (folder / KEY).write_bytes(os.urandom(32))
    (folder / JWKS).write_text(json.dumps(_new_jwks()))


def _new_jwks() -> dict[str, dict[str, str]]:
    """Keys as cryptotensors wants them: an AES-256 key and an Ed25519 pair, in padded base64."""
    signer = Ed25519PrivateKey.generate()
    text = {"k": os.urandom(32), "d": signer.private_bytes_raw(), "x": signer.public_key().public_bytes_raw()}
    encoded = {name: base64.b64encode(value).decode() for name, value in text.items()}
    return {"enc_key": {"kty": "oct", "alg": "aes256gcm", "kid": "weights", "k": encoded["k"]},
            "sign_key": {"kty": "okp", "alg": "ed25519", "kid": "maker", "d": encoded["d"], "x": encoded["x"]}}


def _jwks(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / JWKS).read_text())
    return found


def _keys(folder: Path) -> HeldKeys:
    return HeldKeys.from_files({KEY_URI: folder / KEY})


def _digest(tensors: Any) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape} ".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data.cast("B"))
    return digest.hexdigest()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory(field: str) -> int:
    """A field of /proc/self/status, in MiB. `ru_maxrss` would count what the parent held when it started this."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(field + ":"))) // 1024


if __name__ == "__main__":
    sys.exit(main())
