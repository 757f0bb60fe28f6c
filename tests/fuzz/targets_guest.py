"""What a guest is given besides images and models: secrets, init data, settings, answers of kernel and broker."""

from __future__ import annotations

import errno
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from attestation import config
from attestation import init_data as guest_init_data
from attestation.attesters.configfs_tsm import ConfigfsTsm
from attestation.attesters.snp import SnpAttester
from attestation.attesters.tdx import TdxAttester
from attestation.errors import (
    AttesterError,
    BrokerError,
    KeyUnavailable,
    SetupError,
)
from attestation.images.key_sources import KeyTable
from attestation.kbc.refusals import attestation_refusal, refusal
from attestation.kbc.token import lifetime_of
from attestation.kbc.transport import Answer, Transport, Trust
from attestation.secrets import sealed
from attestation.secrets.sealed import Envelope, SealedSecretError, TrustedSigners, Vault
from kbs.errors import KbsError
from kbs.protocol import init_data
from kbs.protocol.tee_pubkey import ec_point
from tests.fuzz import seeds
from tests.fuzz.envelopes import jws, p256
from tests.fuzz.harness import Finding, Target, never, of_file, pack, text, unpack
from tests.fuzz.seeds import lazily, these
from verifier.errors import MalformedEvidence

KID = "kbs:///default/key/1"
KEY, NONCE = bytes(range(32)), bytes(range(16))
INIT_DATA = b'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = \'\'\'\n[token_configs.kbs]\nurl = "https://k"\n\'\'\'\n'


def _sealed_secrets() -> Iterator[bytes]:
    iv, data_key = bytes(12), bytes(range(1, 33))
    for secret in (Vault(name=KID), Envelope(
            key_id=KID, encrypted_key=b64encode(aes_key_wrap(KEY, data_key)).decode(), iv=b64encode(iv).decode(),
            encrypted_data=b64encode(AESGCM(data_key).encrypt(iv, b"the secret", None)).decode())):
        signed = jws(p256(21), ({"alg": "ES256", "kid": "signer"}, msgspec.to_builtins(secret)))
        yield f"{sealed.PREFIX}{signed}".encode()


def _unsealed(secret: str) -> bytes:
    found = sealed.unseal(secret, TrustedSigners({"signer": p256(21).public_key()}), KeyTable({KID: KEY}))
    if found not in (KEY, b"the secret"):
        raise Finding("a secret that was altered opens")
    return found


def _payload(data: bytes) -> object:
    """What a trusted signer signed, whatever it is."""
    secret = sealed._read_payload(data)
    if isinstance(secret, Vault):
        return secret.name
    return [sealed._bytes(getattr(secret, name), name) for name in ("iv", "encrypted_key", "encrypted_data")]


def _signer(path: Path) -> TrustedSigners:
    return TrustedSigners.from_files({"signer": path})


def _measured(data: bytes) -> object:
    """The guest's configuration as init data changes it."""
    return config.measured(config.GuestConfig(), init_data.parse(data))


def _device_again(_: bytes, document: bytes) -> None:
    if guest_init_data.unpack_device(guest_init_data.pack_device(document)) != document:
        raise Finding("a device that was packed is unpacked as another")
_ATTRIBUTES = ("provider", "generation", "privlevel_floor", "outblob", "auxblob", "CCEL")


@dataclass
class _Kernel:
    """Attributes that say whatever they say; an empty one is not there."""

    attributes: dict[str, bytes]

    def make_folder(self, path: Path) -> None:
        del path

    def remove_folder(self, path: Path) -> None:
        del path

    def write(self, path: Path, data: bytes) -> None:
        del path, data

    def read(self, path: Path, limit: int) -> bytes:
        found = self.attributes.get(path.name, b"")
        if not found or len(found) > limit:
            number = errno.EFBIG if found else errno.ENOENT
            raise OSError(number, errno.errorcode[number])
        return found


def _kernel(snp: bool) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        parts = unpack(data)
        if parts is None:
            return None
        kernel = _Kernel(dict(zip(_ATTRIBUTES, parts, strict=False)))
        tsm = ConfigfsTsm(files=kernel, sleep=lambda _: None)
        attester = SnpAttester(tsm) if snp else TdxAttester(tsm, files=kernel)
        tsm.provider()
        return attester.evidence(bytes(64))
    return run


def _reports() -> bytes:
    report = bytearray((seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/report.bin").read_bytes())
    report[0x50:0x90] = bytes(64)
    return pack((b"sev_guest\n", b"2\n", b"0\n", bytes(report), seeds.cert_table()))


def _quotes() -> bytes:
    return pack((b"tdx_guest\n", b"1\n", b"", seeds.tee().evidence("tdx", bytes(64)).quote, b"", b"log"))


def _refused(data: bytes) -> object:
    """Any answer but a good one, with whatever body and header."""
    status = 400 + (data[0] if data else 0)
    body, _, header = data[1:].partition(b"\0")
    answer = Answer(status, body, header.decode("latin-1") or None)
    return str(refusal(answer, "a secret")), str(attestation_refusal(answer))


TARGETS = (
    Target("guest.config", of_file("guest.toml", config.load), (SetupError,), these(
        b'kbs_url = "https://kbs"\ntee = "software"\nsoftware_tee = "/tee"\ndeadline = 5.0\n'), brief_runs=800),
    Target("guest.config_measured", _measured, (SetupError, KbsError), these(INIT_DATA)),
    Target("guest.configfs_snp", _kernel(snp=True), (AttesterError,), lazily(lambda: [_reports()]), brief_runs=500),
    Target("guest.configfs_tdx", _kernel(snp=False), (AttesterError,), lazily(lambda: [_quotes()]), brief_runs=500),
    Target("guest.init_data_device", guest_init_data.unpack_device, (MalformedEvidence,), these(
        guest_init_data.pack_device(INIT_DATA)), (_device_again,)),
    Target("guest.init_data_file", of_file("init", guest_init_data.read), (SetupError,), these(
        guest_init_data.pack_device(INIT_DATA), INIT_DATA), brief_runs=600),
    Target("guest.refusal", _refused, never(), these(
        b'\x01{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"no"}\x0017',
        b"\x03<html>\0Wed, 21 Oct 2026 07:28:00 GMT")),
    Target("guest.sealed_payload", _payload, (SealedSecretError,), these(
        json.dumps({"version": "0.1.0", "type": "vault", "name": KID, "provider": "kbs", "provider_settings": {},
                    "annotations": {}}).encode())),
    Target("guest.sealed_secret", text(_unsealed), (SealedSecretError, KeyUnavailable), lazily(_sealed_secrets)),
    Target("guest.signer_key", of_file("signer.jwk", _signer), (SetupError,), lazily(lambda: [json.dumps(
        {"kty": "EC", "crv": "P-256", **ec_point(p256(21).public_key().public_numbers())}).encode()]),
        brief_runs=600),
    Target("guest.token", text(lifetime_of), (BrokerError,), these(b"e30.eyJleHAiOjMwMCwiaWF0IjowfQ.c2ln")),
    Target("guest.url", text(lambda url: Transport(url, Trust(insecure_http=True), lambda: 0.0)), (SetupError,), these(
        b"https://kbs.example:8080/prefix", b"http://[::1]:80"), brief_runs=200),
)
