"""The whole story: an image and a model unlock inside an attested pod, and six impostors get nothing.

Everything is done with the commands that a person would type, against a broker that really runs. Each line that is
printed comes from what happened; if anything goes otherwise, the demonstration says so and exits with status 1.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import story
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from story import act, demand, refused, run, tell

from attestation.attesters.base import to_json
from attestation.attesters.software import SoftwareAttester
from attestation.models.keys import HeldKeys
from attestation.models.tensors import open_model
from kbs.protocol import messages, tee_pubkey
from kbs.protocol.runtime_data import primary_digest, report_data_for

IMAGE_KEY, MODEL_KEY = "kbs:///team/image-key/predictor", "kbs:///team/model-key/points"
POLICY = Path(__file__).parents[1] / "verifier" / "policy" / "examples" / "software_tee.rego"


@dataclass(frozen=True)
class Stage:
    """Where everything is."""

    root: Path

    def __truediv__(self, name: str) -> Path:
        return self.root / name


def main() -> int:
    """Play it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attestkit-demo-") as folder:
        stage = Stage(Path(folder))
        try:
            _play(stage)
        except (story.StoryError, OSError, urllib3.exceptions.HTTPError) as error:
            print(f"\nthe story went otherwise: {error}", file=sys.stderr)
            return 1
    print(f"\nThe story is as told; it took {time.monotonic() - started:.1f} seconds.")
    return 0


def _play(stage: Stage) -> None:
    points = _prepare(stage)
    with story.broker(stage / "kbs.toml") as url:
        _owner(stage)
        _genuine_pod(stage, url, points)
        _impostors(stage, url)
    with story.broker(stage / "hardware-only.toml") as url:
        _software_where_hardware_is_trusted(stage, url)
    _audit(stage)


def _prepare(stage: Stage) -> np.ndarray:
    act("The machine")
    run("verifier", "software-tee", "init", stage / "tee", "--tee", "tdx")
    tell("a software TEE: a small Intel with a root, a platform and a quoting enclave of its own")
    for name, roots in (("kbs", [str(stage / "tee/roots/intel.pem")]), ("hardware-only", [])):
        (stage / f"{name}.toml").write_text(
            f'state = "{stage / name}"\n[trust]\nsoftware_roots = {json.dumps(roots)}\n'
            f'collateral = ["{stage / "tee/collateral/tdx"}"]\n')
    run("kbs", "init", "--config", stage / "kbs.toml")
    tell("a key broker whose owner trusts that root by name, with its own sealed database and audit log")
    story.make_image(stage / "image")
    return story.make_model(stage / "model.safetensors")


def _owner(stage: Stage) -> None:
    act("The owner")
    (stage / "image.key").write_bytes(np.random.default_rng().bytes(32))
    run("attestation", "encrypt-image", stage / "image", stage / "image.encrypted", "--kbs-key", IMAGE_KEY,
        "--key-file", stage / "image.key")
    demand(not story.contains(stage / "image.encrypted", "predicting inside"), "the encrypted image shows its content")
    tell("encrypts the image's layers (ocicrypt); its program is nowhere in the clear any more")
    run("attestation", "seal-model", stage / "model.safetensors", stage / "model.sealed", "--key-uri", MODEL_KEY,
        "--key-file", stage / "model.key", "--generate-key")
    tell("seals the model's weights in authenticated chunks")
    for uri, name in ((IMAGE_KEY, "image.key"), (MODEL_KEY, "model.key")):
        run("kbs", "resource", "set", "--config", stage / "kbs.toml", uri, stage / name)
    tell(f"stores both keys: {IMAGE_KEY}, {MODEL_KEY}")
    _register(stage)
    for name in ("image.key", "model.key", "model.safetensors"):
        (stage / name).unlink()
    shutil.rmtree(stage / "image")
    tell("and destroys the keys and the plaintext on this side")


def _register(stage: Stage) -> None:
    guest = _settings(stage / "tee")["guest"]
    values = {"mr_td": guest["mr_td"], "rtmr_1": guest["rtmr1"], "rtmr_2": guest["rtmr2"]}
    for name, value in values.items():
        run("kbs", "reference-value", "set", "--config", stage / "kbs.toml", name, value)
    run("kbs", "policy", "set", "--config", stage / "kbs.toml", "--id", "default_cpu", "attestation", POLICY)
    tell("registers the pod's measurements, and a policy that accepts this software TEE as if it were hardware")


def _genuine_pod(stage: Stage, url: str, points: np.ndarray) -> None:
    act("A genuine pod")
    pod = _options(stage / "tee", url)
    run("attestation", *pod, "decrypt-image", stage / "image.encrypted", stage / "image.open")
    application = story.read_application(stage / "image.open")
    demand("predicting inside" in application, "the decrypted image holds something else")
    tell("attests, and unlocks the image: " + application.splitlines()[1])
    run("attestation", *pod, "resource", MODEL_KEY, "--output", stage / "pod.key")
    keys = HeldKeys({MODEL_KEY: (stage / "pod.key").read_bytes()})
    with open_model(stage / "model.sealed", keys) as model:
        scores = points @ model.get_tensor("weight") + model.get_tensor("bias")
    kinds = scores.argmax(axis=1).tolist()
    demand(kinds == [0] * 4 + [1] * 4 + [2] * 4, f"the model predicts {kinds}")
    tell(f"unlocks the weights, and predicts twelve points: {kinds}")


def _impostors(stage: Stage, url: str) -> None:
    act("Six impostors")
    altered = _altered(stage, "changed", mr_td="11" * 48)
    _expect(stage, "kbs", "a pod with a changed measurement", _ask(altered, url), "executables.mr_td")
    debugged = _altered(stage, "debug", td_attributes="0100001000000000")
    _expect(stage, "kbs", "a pod under a debugger", _ask(debugged, url), "tdx.accept.td_debug")
    attester = SoftwareAttester.load(stage / "tee")
    recorded = _attest(url, attester)
    demand("token" in recorded.answer, f"the genuine pod was not attested: {recorded.answer}")
    replayed = _attest(url, attester, evidence=recorded.evidence)
    _expect(stage, "kbs", "yesterday's evidence, replayed", replayed.answer, "tdx.binding.report_data")
    exchanged = _attest(url, attester, exchange_key=True)
    _expect(stage, "kbs", "genuine evidence with somebody else's key", exchanged.answer, "tdx.binding.report_data")
    outdated = _altered(stage, "outdated", tee_tcb_svn="0401" + "08" + "00" * 13)
    _expect(stage, "kbs", "a platform with an outdated TDX module", _ask(outdated, url), "hardware.patched")


def _software_where_hardware_is_trusted(stage: Stage, url: str) -> None:
    _expect(stage, "hardware-only", "software evidence where only hardware is trusted", _ask(stage / "tee", url),
            "tdx.pck_chain.root")


def _audit(stage: Stage) -> None:
    act("The record")
    config = stage / "kbs.toml"
    told = json.loads(run("kbs", "audit", "verify", "--config", config, "--json").stdout)
    tell(f"the audit log holds {told['records']} records, and every one is as it was written")
    copy = stage / "copy"
    shutil.copytree(stage / "kbs", copy)
    (stage / "copy.toml").write_text(config.read_text().replace(str(stage / "kbs"), str(copy)))
    changed = _change_one_byte(copy / "kbs.sqlite")
    found = run("kbs", "audit", "verify", "--config", stage / "copy.toml", "--json", may_fail=True)
    demand(found.returncode == 1, f"the change was not found: {found.stdout.decode()}")
    finding = json.loads(found.stdout)["findings"][0]
    demand(finding["seq"] == changed, f"another record was found: {finding}")
    tell(f"one byte of record {changed} is changed in a copy, and the check finds it: {finding['detail']}")


def _change_one_byte(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        seq, body = connection.execute(
            "SELECT seq, body FROM kbs_audit_record WHERE kind = 'release' ORDER BY seq DESC LIMIT 1").fetchone()
        middle = len(body) // 2
        altered = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]
        connection.execute("UPDATE kbs_audit_record SET body = ? WHERE seq = ?", (altered, seq))
    connection.close()
    return int(seq)


# -- asking, and finding out why not -----------------------------------------------------------------------------------


def _settings(tee: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((tee / "software-tee.json").read_text())
    return settings


def _altered(stage: Stage, name: str, **guest: str) -> Path:
    """The same machine with another guest."""
    folder = stage / name
    shutil.copytree(stage / "tee", folder)
    settings = _settings(folder)
    settings["guest"] |= guest
    (folder / "software-tee.json").write_text(json.dumps(settings))
    return folder


def _options(tee: Path, url: str) -> tuple[str, ...]:
    return "--kbs-url", url, "--tee", "software", "--software-tee", str(tee)


def _ask(tee: Path, url: str) -> dict[str, Any]:
    """What a guest on ``tee`` is answered when it asks for the model's key."""
    done = run("attestation", "resource", *_options(tee, url), "--json", MODEL_KEY, may_fail=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    demand(done.returncode != 0, "an impostor was given the key")
    return answer["error"]


@dataclass(frozen=True)
class Attempt:
    """What was sent as evidence, and what came back."""

    evidence: Any
    answer: dict[str, Any]


def _attest(url: str, attester: SoftwareAttester, *, evidence: Any = None, exchange_key: bool = False) -> Attempt:
    """One handshake by hand; ``evidence`` replays older evidence, ``exchange_key`` states a key that is not in it."""
    pool = urllib3.PoolManager(retries=False, timeout=20)
    request = messages.encode(messages.Request(tee="tdx"))
    challenged = pool.request("POST", f"{url}/kbs/v0/auth", body=request)
    nonce = messages.decode_challenge(challenged.data).nonce
    bound, stated = (tee_pubkey.jwk_of(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(2))
    if not exchange_key:
        stated = bound
    fresh = evidence or to_json(attester.evidence(report_data_for("tdx", primary_digest(nonce, bound))))
    body = messages.encode(messages.Attestation(
        runtime_data=messages.RuntimeData(nonce, stated), tee_evidence=messages.TeeEvidence(fresh, "")))
    cookie = challenged.headers["Set-Cookie"].partition(";")[0]
    answered = pool.request("POST", f"{url}/kbs/v0/attest", body=body, headers={"Cookie": cookie})
    return Attempt(fresh, json.loads(answered.data))


def _expect(stage: Stage, broker: str, who: str, answer: dict[str, Any], check: str) -> None:
    """The operator looks up the reference that the guest was given, and finds the check that failed."""
    demand("token" not in answer, f"{who} was attested")
    listed = run("kbs", "audit", "list", "--config", stage / f"{broker}.toml", "--last", "200", "--json")
    failed = _failed(json.loads(listed.stdout), answer["reference"])
    found = next((item for item in failed if item["id"] == check), None)
    if found is None:
        raise story.StoryError(f"{who}: expected {check} to refuse, and it was {[item['id'] for item in failed]}")
    refused(who, check, f"expected {_short(found.get('expected'))}, got {_short(found.get('got'))}")


def _failed(records: list[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """The checks that failed in the record with that reference; for a release, those of the attestation before it."""
    record = next(record for record in records if record["reference"] == reference)
    if record["kind"] == "release":
        token = record["subject"]["token"]
        record = next(r for r in records if r["kind"] == "attestation" and r["subject"].get("token") == token)
    parts = [*record["decision"].get("verification", {}).values(), *record["decision"].get("appraisal", {}).values()]
    return [item for part in parts for item in (*part.get("checks", ()), *part.get("rules", ())) if not item["ok"]]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else text[:37] + "…"


if __name__ == "__main__":
    sys.exit(main())
