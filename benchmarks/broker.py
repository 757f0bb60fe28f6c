"""How many full handshakes per second does one broker serve, and where does the time go?

A handshake is /auth, /attest with TDX evidence, and one resource: a fresh P-256 key, a quote signed by the software TEE
over the nonce, and the JWE opened and compared. Policies, reference values, the audit log and sealing are on, as `kbs
serve` has them. Broker and load generator share the machine. As many guests as a row says make one handshake after the
other, each on a connection that is kept alive: the more there are, the longer each waits, and the less each costs.

A virtual machine may be twice as fast in one minute as in the next. Beside each run stands what its bare cryptography
costs just before and after it, on one core: a P-256 verification, signature, key and key exchange, which no handshake
can do without. A slow processor shows there; slow caches and memory, which the interpreter feels most, do not.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _guests import SECRET, Steps, handshake, run
from _report import Bar, Report, machine, say
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from kbs.app import create_app, create_broker
from kbs.cli.logs import configuration
from kbs.config import Config, Limits, Trust
from kbs.protocol.resource_uri import ResourcePath
from kbs.services.admin_tokens import Administrator
from verifier.policy.defaults import example
from verifier.software_tee.maker import SoftwareTee

LIMIT = 300
WARM_UP_SECONDS = 2.0


def main() -> int:
    """Measure and print."""
    options = _options()
    report = Report("Full handshakes (auth, attest with TDX evidence, one resource) on one machine with its load")
    report.facts |= {"seconds per run": options.seconds, "durability": options.durability,
                     "database": "SQLite", **machine("granian", "flask", "sqlalchemy", "regopy", "cryptography")}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        tee = SoftwareTee.create(at=int(time.time()), tees=("tdx",))
        tee.save(Path(folder) / "tee")
        config = _config(Path(folder), options.durability)
        _set_up(config, tee)
        for workers, guests in itertools.product(options.workers, options.guests):
            say(f"{workers} worker{'s' * (workers > 1)}, {guests} guests …")
            report.rows.append(_measure(config, tee, workers, guests, options.seconds))
        say("where the time goes …")
        stages = _stages(config, tee, options.samples)
    best = max(row["handshakes/s"] for row in report.rows)
    report.bars.append(Bar("full handshakes per second", best, LIMIT, at_most=False))
    if options.json:
        report.facts["microseconds per handshake, one thread, in process"] = stages
    else:
        report.notes += _explained(stages)
    return report.show(as_json=options.json)


# -- the measurement -------------------------------------------------------------------------------------------------


def _measure(config: Config, tee: SoftwareTee, workers: int, guests: int, seconds: float) -> dict[str, Any]:
    with _serving(config, workers) as (port, cpu_seconds):
        run(tee, port, guests, WARM_UP_SECONDS)
        bare = [_bare_milliseconds()]
        before = cpu_seconds()
        times, client_cpu = run(tee, port, guests, seconds)
        broker_cpu = (cpu_seconds() - before) / len(times) * 1000
        bare.append(_bare_milliseconds())
    took = max(end for _, end in times) - min(begun for begun, _ in times)
    latencies = sorted((end - begun) * 1000 for begun, end in times)
    return {
        "workers": workers, "guests": guests, "handshakes/s": round(len(times) / took, 1),
        "p50 ms": round(_quantile(latencies, 0.5), 2), "p99 ms": round(_quantile(latencies, 0.99), 2),
        "max ms": round(latencies[-1], 2),
        "broker CPU ms": round(broker_cpu, 2), "load CPU ms": round(client_cpu / len(times) * 1000, 2),
        "bare ms": round(statistics.mean(bare), 3), "times bare": round(broker_cpu / statistics.mean(bare), 1),
        "handshakes": len(times),
    }


def _bare_milliseconds() -> float:
    """Of the cryptography alone; the best of several rounds."""
    key, other, data = (*(ec.generate_private_key(ec.SECP256R1()) for _ in range(2)), bytes(632))
    signed, algorithm = key.sign(data, ec.ECDSA(hashes.SHA256())), ec.ECDSA(hashes.SHA256())
    rounds = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(100):
            key.public_key().verify(signed, data, algorithm)
            key.sign(data, algorithm)
            ec.generate_private_key(ec.SECP256R1()).exchange(ec.ECDH(), other.public_key())
        rounds.append((time.perf_counter() - begun) * 10)
    return min(rounds)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# -- the broker --------------------------------------------------------------------------------------------------------


def _config(folder: Path, durability: str) -> Config:
    tee = folder / "tee"
    trust = Trust(software_roots=tuple((tee / "roots").iterdir()), collateral=tuple((tee / "collateral").iterdir()))
    return Config(state=folder / "state", trust=trust, durability=durability, limits=Limits())  # type: ignore[arg-type]


def _set_up(config: Config, tee: SoftwareTee) -> None:
    """What an owner does who chooses to affirm this software TEE."""
    broker = create_broker(config)
    who, at = Administrator("benchmark", "local"), int(time.time())
    values = {"mr_td": [tee.guest.mr_td.hex()], "rtmr_1": [tee.guest.rtmr1.hex()], "rtmr_2": [tee.guest.rtmr2.hex()]}
    payload = base64.b64encode(json.dumps(values).encode()).decode()
    message = json.dumps({"version": "0.1.0", "type": "sample", "payload": payload}).encode()
    broker.administration.set_attestation_policy("default_cpu", example("software_tee"), who, at)
    broker.administration.register_reference_values(message, who, at)
    broker.administration.set_resource(ResourcePath("benchmark", "key", "one"), SECRET, who, at)
    broker.close()


@contextmanager
def _serving(config: Config, workers: int) -> Iterator[tuple[int, Callable[[], float]]]:
    """`kbs serve` as anybody would start it; gives its port and the CPU seconds it has used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"KBS_STATE": str(config.state), "KBS_LISTEN": f"127.0.0.1:{port}", "KBS_WORKERS": str(workers),
                "KBS_DURABILITY": config.durability,
                "KBS_TRUST_SOFTWARE_ROOTS": ",".join(map(str, config.trust.software_roots)),
                "KBS_TRUST_COLLATERAL": ",".join(map(str, config.trust.collateral))}
    command = [sys.executable, "-c", "from kbs.cli import main; main()", "serve"]
    with (config.state / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | settings, stderr=log)
        try:
            _wait(port)
            yield port, lambda: _cpu_seconds(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def _wait(port: int) -> None:
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the broker does not start")


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process and its living descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = re.sub(r"^.*\) ", "", Path(f"/proc/{pid}/stat").read_text()).split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(_cpu_seconds(int(child)) for child in children)


# -- where the time goes -----------------------------------------------------------------------------------------------


class Stopwatch:
    """Own time of wrapped functions: what they call that is wrapped as well counts for the callee."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._open: list[float] = []

    def wrap(self, owner: Any, name: str, label: str) -> None:
        function = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            self._open.append(0.0)
            begun = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                took = time.perf_counter() - begun
                self.spent[label] = self.spent.get(label, 0.0) + took - self._open.pop()
                if self._open:
                    self._open[-1] += took

        setattr(owner, name, timed)


def _stages(config: Config, tee: SoftwareTee, samples: int) -> dict[str, float]:
    """Microseconds per handshake by stage, measured in this process without a socket; no load beside it."""
    import logging.config

    logging.config.dictConfig(configuration("info") | {"handlers": {"stderr": {
        "class": "logging.FileHandler", "filename": config.state / "stages.log", "formatter": "json"}}})
    broker = create_broker(config)
    app = create_app(config, broker)
    watch = Stopwatch()
    send = _in_process(app, watch)
    for _ in range(50):
        _make(handshake(tee), send)
    _instrument(watch, broker)
    watch.spent.clear()
    for _ in range(samples):
        _make(handshake(tee), send)
    broker.close()
    microseconds = {label: round(spent / samples * 1e6, 1) for label, spent in watch.spent.items()}
    return dict(sorted(microseconds.items(), key=lambda item: -item[1]))


def _make(steps: Steps, send: Callable[..., tuple[bytes, str]]) -> None:
    """One handshake, each request answered by ``send``."""
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(send(*wanted))
    except StopIteration:
        return


def _instrument(watch: Stopwatch, broker: Any) -> None:
    from kbs.services import handshake, release, tokens, verification

    watch.wrap(verification.Verification, "judge", "verify the TDX evidence")
    watch.wrap(verification.Verification, "prepare", "evidence JSON and runtime data")
    watch.wrap(handshake.messages, "decode_attestation", "decode the attestation message")
    watch.wrap(type(broker.shelf.in_force().appraiser), "appraise", "appraisal policy")
    watch.wrap(tokens.Tokens, "issue", "sign the token")
    watch.wrap(tokens.Tokens, "verify", "verify the token")
    watch.wrap(type(broker.shelf), "in_force", "look for changed policies")
    watch.wrap(type(broker.handshake.sessions), "take", "take the challenge")
    watch.wrap(type(broker.audit), "append", "audit log")
    watch.wrap(release.ReleaseGate, "_may", "release policy")
    watch.wrap(release.ReleaseGate, "_open", "open, unseal and seal the secret (JWE)")
    watch.wrap(type(broker.gate._plugins["resource"]), "locate", "locate the secret")
    watch.wrap(handshake.Handshake, "challenge", "issue the challenge")
    watch.wrap(handshake.Handshake, "attest", "attest: the rest, and commit")
    watch.wrap(release.ReleaseGate, "release", "release: the rest")


def _in_process(app: Any, watch: Stopwatch) -> Callable[[str, str, bytes | None, dict[str, str]], Any]:
    """Requests straight into the WSGI application."""
    import io

    serve = {"call": lambda environ, start: b"".join(app(environ, start))}
    holder = type("Served", (), {"call": staticmethod(serve["call"])})
    watch.wrap(holder, "call", "Flask, log line, metrics")

    def send(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        told: dict[str, Any] = {}
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body or b""), "wsgi.errors": sys.stderr,
            "CONTENT_LENGTH": str(len(body or b"")), **{f"HTTP_{name.upper()}": text for name, text in headers.items()},
        }
        data = holder.call(environ, lambda status, found, _=None: told.update(status=status, headers=dict(found)))
        if not told["status"].startswith("200"):
            raise SystemExit(f"{method} {path}: {told['status']} {data[:300]!r}")
        return data, told["headers"].get("Set-Cookie", "").partition(";")[0]

    return send


def _explained(stages: dict[str, float]) -> list[str]:
    total = sum(stages.values())
    lines = [f"{label:<42} {spent:>8.1f} us {spent / total * 100:>5.1f} %" for label, spent in stages.items()]
    return ["where the time goes: one thread, in process, without sockets or rounds", *lines,
            f"{'sum':<42} {total:>8.1f} us"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--guests", type=int, nargs="+", default=[16, 64, 256], metavar="N", help="at the same time")
    parser.add_argument("--seconds", type=float, default=15.0, help="per run")
    parser.add_argument("--samples", type=int, default=500, metavar="N", help="handshakes for the breakdown")
    parser.add_argument("--durability", choices=["full", "normal"], default="full")
    parser.add_argument("--folder", type=Path, default=None, help="where the broker's state is put meanwhile")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
