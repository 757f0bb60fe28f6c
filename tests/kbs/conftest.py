"""A broker on a fresh state folder, a software TEE that it trusts, an administrator, and guests of all kinds."""

from __future__ import annotations

import base64
import json
import shutil
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from kbs.app import create_app, create_broker
from kbs.audit.check import check
from kbs.audit.record import Record
from kbs.config import Config, Limits, Trust
from kbs.protocol import jwe
from kbs.protocol.runtime_data import device_digest, primary_digest, report_data_for
from kbs.protocol.tee_pubkey import jwk_of
from kbs.services.broker import Broker
from tests.kbs.makers import Makers, devices_json
from verifier.formats.coco_evidence import evidence_to_json
from verifier.policy.defaults import example
from verifier.software_tee.maker import SoftwareTee

NOW = int(time.time())
SECRET = b"canary-secret-5d1c93"
RESOURCE = "/kbs/v0/resource/default/key/one"


@pytest.fixture(scope="session")
def software_tee(tmp_path_factory: pytest.TempPathFactory) -> tuple[SoftwareTee, Path]:
    """A software TEE for TDX and SGX, and its folder."""
    return _saved(SoftwareTee.create(at=NOW, tees=("tdx", "sgx")), tmp_path_factory)


@pytest.fixture(scope="session")
def software_snp(tmp_path_factory: pytest.TempPathFactory) -> tuple[SoftwareTee, Path]:
    """A software TEE for SEV-SNP; its RSA keys take a second to make."""
    return _saved(SoftwareTee.create(at=NOW, tees=("snp",)), tmp_path_factory)


@pytest.fixture(scope="session")
def makers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Makers, Path]:
    """Every maker in miniature, and the folder with their roots and collateral."""
    return _saved(Makers.create(NOW), tmp_path_factory)


def _saved(tee: SoftwareTee | Makers, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("tee") / "software"
    tee.save(folder)
    return tee, folder


class Clock:
    """A moment that tests move."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """One broker with its web application and its administrator."""

    config: Config
    tee: Any  # a SoftwareTee, or all Makers
    admin_key: ed25519.Ed25519PrivateKey
    clock: Clock = field(default_factory=Clock)
    opened: list[Broker] = field(default_factory=list)

    @cached_property
    def broker(self) -> Broker:
        self.opened.append(create_broker(self.config, clock=self.clock))
        return self.opened[-1]

    @cached_property
    def app(self) -> Flask:
        return create_app(self.config, self.broker)

    def restart(self, **changes: Any) -> World:
        """Another broker on the same state; the first goes on living, as another worker would."""
        config = msgspec.structs.replace(self.config, **changes) if changes else self.config
        return World(config, self.tee, self.admin_key, self.clock, self.opened)

    def client(self, cookie: str | None = None) -> FlaskClient:
        """A client of its own, with ``cookie`` as its session's if there is one."""
        client = self.app.test_client()
        if cookie is not None:
            client.set_cookie("kbs-session-id", cookie, path="/kbs")
        return client

    # -- the administrator ---------------------------------------------------------------------------------------------

    def admin_token(self, **claims: Any) -> str:
        full = {"role": "admin", "exp": int(self.clock()) + 60, "iat": int(self.clock())} | claims
        return jwt.encode(full, self.admin_key, "EdDSA")

    def admin(self, method: str, path: str, body: bytes | dict[str, Any] | None = None, **claims: Any) -> TestResponse:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        return self.client().open(path, method=method, data=data,
                                  headers={"Authorization": f"Bearer {self.admin_token(**claims)}"})

    def register(self, **values: Any) -> TestResponse:
        payload = base64.b64encode(json.dumps(values).encode()).decode()
        return self.admin("POST", "/kbs/v0/reference-value", {"version": "0.1.0", "type": "sample", "payload": payload})

    def set_policy(self, source: str, policy_id: str | None = None) -> TestResponse:
        policy = base64.urlsafe_b64encode(source.encode()).rstrip(b"=").decode()
        if policy_id is None:
            return self.admin("POST", "/kbs/v0/resource-policy", {"policy": policy})
        return self.admin("POST", "/kbs/v0/attestation-policy",
                          {"type": "rego", "policy_id": policy_id, "policy": policy})

    def trust_software(self) -> None:
        """The owner chooses to affirm the software TEE's own guest image, and stores a secret."""
        assert self.set_policy(example("software_tee"), "default_cpu").status_code == 200
        guest = self.tee.guest
        assert self.register(
            mr_td=[guest.mr_td.hex()], rtmr_1=[guest.rtmr1.hex()], rtmr_2=[guest.rtmr2.hex()], xfam=[guest.xfam.hex()],
            sgx_mr_enclave=[guest.mr_enclave.hex()], snp_launch_measurement=[guest.measurement.hex()],
            snp_min_bootloader=0, snp_min_tee_svn=0, snp_min_snp_svn=0, snp_min_microcode=0).status_code == 200
        assert self.admin("POST", RESOURCE, SECRET).status_code == 200

    def trust_makers(self) -> None:
        """The owner chooses to affirm every small maker's guest and device, and stores a secret."""
        for name in ("default_cpu", "default_gpu", "default_switch"):
            assert self.set_policy(example("software_tee"), name).status_code == 200
        assert self.register(**self.tee.reference()).status_code == 200
        assert self.admin("POST", RESOURCE, SECRET).status_code == 200

    # -- the audit log -------------------------------------------------------------------------------------------------

    def records(self) -> list[dict[str, Any]]:
        """The whole log, after it was found intact."""
        found: list[Record] = list(self.broker.audit.records())
        key = (self.config.state / "keys" / "audit.key").read_bytes()
        assert check(found, self.broker.audit.head(), key).findings == ()
        return [record.told() for record in found]

    def guest(self, tee: str = "tdx", **changes: Any) -> Guest:
        return Guest(self, tee, **changes)


@dataclass
class Guest:
    """A guest with its own key and cookies, which does each step as it should unless told otherwise."""

    world: World
    tee: str = "tdx"
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    image: Any = None
    additional: str = ""
    nonce: str = ""
    token: str = ""

    def __post_init__(self) -> None:
        self.client = self.world.client()

    @property
    def cookie(self) -> str:
        return self.client.get_cookie("kbs-session-id", path="/kbs").value

    @property
    def jwk(self) -> dict[str, str]:
        return jwk_of(self.key.public_key())

    def auth(self, **members: Any) -> TestResponse:
        request = {"version": "0.4.0", "tee": self.tee, "extra-params": ""} | members
        answer = self.client.post("/kbs/v0/auth", json=request)
        if answer.status_code == 200:
            self.nonce = answer.json["nonce"]
        return answer

    def evidence(self, report_data: bytes | None = None, init_data: bytes | None = None) -> dict[str, Any]:
        if report_data is None:
            report_data = report_data_for(self.tee, primary_digest(self.nonce, self.jwk, self.additional))
        if self.tee == "sample":
            return {"svn": "1", "report_data": base64.b64encode(report_data).decode()}
        return evidence_to_json(self.world.tee.evidence(self.tee, report_data, init_data=init_data, guest=self.image))

    def device_evidence(self, tee: str) -> dict[str, Any]:
        report_data = report_data_for(tee, device_digest(self.nonce, self.jwk))
        return evidence_to_json(self.world.tee.evidence(tee, report_data))

    def devices(self, *makers: Any) -> dict[str, Any]:
        """NVIDIA evidence of these devices for this handshake."""
        return devices_json(report_data_for("nvidia", device_digest(self.nonce, self.jwk)), makers)

    def with_devices(self, *makers: Any) -> Guest:
        """A challenge is asked for, and the devices answer it beside the primary evidence."""
        assert self.auth().status_code == 200
        self.additional = json.dumps({"nvidia": self.devices(*makers)})
        return self

    def message(self, **changes: Any) -> dict[str, Any]:
        return {
            "init-data": None,
            "runtime-data": {"nonce": self.nonce, "tee-pubkey": self.jwk},
            "tee-evidence": {"primary_evidence": self.evidence(), "additional_evidence": self.additional},
        } | changes

    def attest(self, message: Any = None) -> TestResponse:
        answer = self.client.post("/kbs/v0/attest", json=self.message() if message is None else message)
        if answer.status_code == 200:
            self.token = answer.json["token"]
        return answer

    def handshake(self) -> TestResponse:
        assert self.auth().status_code == 200
        return self.attest()

    def claims(self) -> dict[str, Any]:
        return jwt.decode(self.token, options={"verify_signature": False})

    def get(self, path: str = RESOURCE, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def open(self, answer: TestResponse) -> bytes:
        assert answer.status_code == 200, answer.data
        return jwe.decrypt(answer.data, self.key)


ADMIN_KEY = ed25519.Ed25519PrivateKey.generate()


def _world(state: Path, maker: tuple[Any, Path], **settings: Any) -> World:
    tee, folder = maker
    if not state.exists():
        state.mkdir(mode=0o700)
        (state / "admin.pem").write_bytes(
            ADMIN_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    trust = Trust(software_roots=tuple((folder / "roots").iterdir()),
                  collateral=tuple((folder / "collateral").iterdir()))
    config = Config(**({"state": state, "trust": trust, "durability": "normal",
                        "limits": Limits(requests_per_second=0)} | settings))
    return World(config, tee, ADMIN_KEY)


@pytest.fixture(scope="session")
def trusting_state(tmp_path_factory, software_tee):
    """A state folder whose owner affirms the software TEE's guest image; to be copied."""
    made = _world(tmp_path_factory.mktemp("trusting") / "state", software_tee)
    made.trust_software()
    made.broker.close()
    return made.config.state


@pytest.fixture
def make_world(tmp_path, software_tee):
    """Makes worlds on one state folder; each keyword but ``maker`` is a setting of the configuration."""
    worlds: list[World] = []

    def make(maker: tuple[Any, Path] = software_tee, **settings: Any) -> World:
        worlds.append(_world(settings.pop("state", tmp_path / "state"), maker, **settings))
        return worlds[-1]

    yield make
    for broker in {id(b): b for world in worlds for b in world.opened}.values():
        broker.close()


@pytest.fixture
def world(make_world, trusting_state, tmp_path):
    """A broker that trusts the software TEE's roots and, by its owner's policy, affirms its guest image."""
    shutil.copytree(trusting_state, tmp_path / "state")
    return make_world()


@pytest.fixture(scope="session")
def makers_state(tmp_path_factory, makers):
    """A state folder whose owner affirms every small maker's guest and device; to be copied."""
    made = _world(tmp_path_factory.mktemp("makers") / "state", makers)
    made.trust_makers()
    made.broker.close()
    return made.config.state


@pytest.fixture
def makers_world(make_world, makers, makers_state, tmp_path):
    """A broker that trusts every small maker's roots and, by its owner's policies, affirms their machines."""
    shutil.copytree(makers_state, tmp_path / "state")
    return make_world(maker=makers)


@pytest.fixture
def debug_image(software_tee):
    """The guest image with debugging on."""
    guest = software_tee[0].guest
    return replace(guest, td_attributes=bytes([guest.td_attributes[0] | 1]) + guest.td_attributes[1:])
