"""Another implementation on both sides: a TPM emulator makes quotes for us, and tpm2-tools judge ours.

Needs the commands of Debian's packages swtpm and tpm2-tools, and skips where they are missing.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.verifier.tpm_cases import TPM
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.tpm import HashAlg
from verifier.formats.tpm_attest import TpmAttest
from verifier.formats.tpm_evidence import SignedKey, TpmEvidence, TpmQuote
from verifier.formats.tpm_json import evidence_of
from verifier.formats.tpm_key_file import read_key_file
from verifier.formats.tpm_public import TpmPublic
from verifier.loose.folder import read
from verifier.software_tee.tpm_keys import TpmKey
from verifier.verify import verify

COMMANDS = ("swtpm", "tpm2_quote", "tpm2_checkquote", "tpm2_createek", "tpm2_certifycreation")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, COMMANDS)),
                                reason="swtpm or tpm2-tools missing: apt-get install swtpm tpm2-tools")

NONCE = bytes(range(20, 52))
SELECTIONS = ("sha256:0,8", "sha256:all", "sha1:1+sha256:0,8,23", "sha384:0,1,2,3", "sha512:7")
PRIMARY = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
ALGORITHMS = {"rsa": ("rsa", "rsassa"), "pss": ("rsa", "rsapss"), "ecc": ("ecc", "ecdsa")}


@dataclass(frozen=True)
class Emulator:
    """A running TPM and the folder that its keys are in."""

    folder: Path
    port: int

    def run(self, command: str, *arguments: str, check: bool = True) -> bool:
        """One of tpm2-tools, in the folder; False when it fails and may."""
        environment = {"PATH": "/usr/bin:/bin", "TPM2TOOLS_TCTI": f"swtpm:host=127.0.0.1,port={self.port}"}
        done = subprocess.run([command, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0 or not check, (command, done.stderr)
        return done.returncode == 0

    def make_keys(self) -> None:
        for name, (kind, scheme) in ALGORITHMS.items():
            self.run("tpm2_createek", "-c", "ek.ctx", "-G", kind, "-Q")
            self.run("tpm2_flushcontext", "-t")
            self.run("tpm2_createak", "-C", "ek.ctx", "-c", f"{name}.ctx", "-G", kind, "-g", "sha256", "-s", scheme,
                     "-u", f"{name}.pub", "-Q")
            self.run("tpm2_flushcontext", "-t")
            self.run("tpm2_readpublic", "-c", f"{name}.ctx", "-f", "pem", "-o", f"{name}.pem", "-Q")
            self.run("tpm2_flushcontext", "-t")
        self.run("tpm2_createprimary", "-C", "e", "-g", "sha256", "-G", "ecc:ecdsa-sha256:null", "-a", PRIMARY, "-c",
                 "primary.ctx", "--creation-data", "primary.data", "--creation-ticket", "ticket", "--creation-hash",
                 "hash", "-Q")
        self.run("tpm2_flushcontext", "-t")
        self.run("tpm2_readpublic", "-c", "primary.ctx", "-f", "tss", "-o", "primary.pub", "-Q")
        self.run("tpm2_flushcontext", "-t")
        self.run("tpm2_certifycreation", "-C", "primary.ctx", "-c", "primary.ctx", "-d", "hash", "-t", "ticket", "-f",
                 "tss", "-o", "primary.sig", "--attestation", "primary.att", "-Q")
        self.run("tpm2_flushcontext", "-t")
        self.run("tpm2_pcrextend", "8:sha256=" + "5a" * 32 + ",sha1=" + "5a" * 20)

    def quote(self, into: Path, key: str, selection: str) -> None:
        """A folder as tpm2-tools leave it."""
        into.mkdir()
        self.run("tpm2_quote", "-c", f"{key}.ctx", "-l", selection, "-q", NONCE.hex(), "-m", str(into / "quote.msg"),
                 "-s", str(into / "quote.sig"), "-o", str(into / "quotepcr.out"), "-g", "sha256", "-Q",
                 *(("--scheme", "rsapss") if key == "pss" else ()))
        self.run("tpm2_flushcontext", "-t")
        shutil.copy(self.folder / f"{key}.pub", into / "ak.pub")

    def checkquote(self, folder: Path, pem: Path, hashed: str = "sha256") -> bool:
        """What tpm2-tools say; they need no TPM for it."""
        return self.run("tpm2_checkquote", "-u", str(pem), "-m", str(folder / "quote.msg"), "-s",
                        str(folder / "quote.sig"), "-f", str(folder / "quotepcr.out"), "-g", hashed, "-q", NONCE.hex(),
                        "-Q", check=False)


@contextmanager
def running(folder: Path) -> Iterator[Emulator]:
    for _ in range(10):
        port = free_pair()
        state = folder / f"state-{port}"
        state.mkdir()
        ends = [f"type=tcp,port={number},bindaddr=127.0.0.1" for number in (port, port + 1)]
        process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", ends[0], "--ctrl", ends[1],
             "--flags", "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if answers(process, port):
                yield Emulator(folder, port)
                return
        finally:
            process.terminate()
            process.wait(timeout=20)
    pytest.fail("the TPM emulator does not start")


def free_pair() -> int:
    """A port that is free with its neighbour, which is the control port."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether the control port listens; the other would take the connection for its only client."""
    for _ in range(200):
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port + 1)) == 0:
                return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Iterator[Emulator]:
    with running(tmp_path_factory.mktemp("tpm")) as tpm:
        tpm.make_keys()
        yield tpm


def judge(evidence: Evidence, *keys: bytes):
    roots = Roots(()).with_provisioned(keys)
    return verify(evidence, collateral=Collateral.none(), roots=roots, at=1_780_000_000, binding=Binding(NONCE))


@pytest.mark.parametrize(("key", "selection"), [
    *((key, selection) for key in ("rsa", "ecc") for selection in SELECTIONS), ("pss", SELECTIONS[0])])
def test_quotes_of_the_emulator_are_accepted_and_tpm2_tools_agree(emulator, tmp_path, key, selection):
    emulator.quote(tmp_path / "quote", key, selection)
    evidence = read(tmp_path / "quote", Tee.TPM)
    pem = (emulator.folder / f"{key}.pem").read_bytes()
    verdict = judge(evidence, pem)
    assert verdict.accepted is True, verdict.mismatches
    claims = verdict.claims
    assert (claims.report_data, claims.endorsement["ak_trust"]) == (NONCE, "provisioned")
    assert {"restricted", "sign", "fixed_tpm"} <= set(claims.body["ak_attributes"])
    if "sha256" in claims.body["pcrs"] and "8" in claims.body["pcrs"]["sha256"]:
        assert claims.init_data == claims.body["pcrs"]["sha256"]["8"] != bytes(32)
    if key != "pss":
        assert emulator.checkquote(tmp_path / "quote", emulator.folder / f"{key}.pem")
    assert judge(evidence).mismatches[0].id == "tpm.accept.ak_unproven"


@pytest.mark.parametrize("key", ["rsa", "ecc"])
def test_a_turned_bit_is_refused_by_both(emulator, tmp_path, key):
    good = tmp_path / "quote"
    emulator.quote(good, key, "sha256:0,8")
    pem = emulator.folder / f"{key}.pem"
    for name, position in (("quote.msg", 60), ("quote.msg", -1), ("quote.sig", -1), ("quote.sig", 40)):
        whole = (good / name).read_bytes()
        at = position % len(whole)
        (good / name).write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1:])
        assert judge(read(good, Tee.TPM), pem.read_bytes()).authentic is False
        assert not emulator.checkquote(good, pem)
        (good / name).write_bytes(whole)
    values = (good / "quotepcr.out").read_bytes()
    at = 4 + 128 + 4 + 4 + 2  # the first digest's first byte
    (good / "quotepcr.out").write_bytes(values[:at] + bytes((values[at] ^ 1,)) + values[at + 1:])
    assert judge(read(good, Tee.TPM), pem.read_bytes()).error.id == "tpm.tpm_quote.pcr_digest"
    assert not emulator.checkquote(good, pem)


def test_a_primary_key_with_its_creation_confirms_its_name(emulator, tmp_path):
    emulator.quote(tmp_path / "quote", "primary", "sha256:0,8")
    told = TpmEvidence.from_bytes(read(tmp_path / "quote", Tee.TPM).quote)
    attest, signature, data = ((emulator.folder / f"primary.{end}").read_bytes() for end in ("att", "sig", "data"))
    creation = SignedKey(attest, signature, data[2:])  # the file is a TPM2B
    evidence = evidence_of(replace(told, ak_creation=creation))
    verdict = judge(evidence, told.ak_public)
    assert verdict.accepted is True, verdict.error
    assert (verdict.claims.body["ak_hierarchy"], verdict.claims.body["ak_name_confirmed"]) == ("endorsement", True)
    emulator.quote(tmp_path / "other", "ecc", "sha256:0,8")
    other = TpmEvidence.from_bytes(read(tmp_path / "other", Tee.TPM).quote)
    moved = evidence_of(replace(other, ak_creation=creation))
    assert judge(moved, other.ak_public).error.id == "tpm.ak_creation.signature"


@pytest.mark.parametrize("key", ["rsa", "ecc"])
def test_names_of_keys_are_those_that_the_emulator_gives(emulator, key):
    emulator.run("tpm2_readpublic", "-c", f"{key}.ctx", "-n", f"{key}.name", "-Q")
    emulator.run("tpm2_flushcontext", "-t")
    area = read_key_file((emulator.folder / f"{key}.pub").read_bytes()).area
    assert TpmPublic.from_bytes(area).name == (emulator.folder / f"{key}.name").read_bytes()


# -- the reverse -----------------------------------------------------------------------------------------------------


def serialized(quote: TpmQuote) -> bytes:
    """The PCR file of ``tpm2_quote --pcr``: selections and values as they lie in memory."""
    selections = TpmAttest.from_bytes(quote.message).pcr_selections
    head = struct.pack("<I", len(selections)) + b"".join(
        struct.pack("<HB4sx", one.alg, one.size, sum(1 << pcr for pcr in one.pcrs).to_bytes(4, "little"))
        for one in selections)
    values = [quote.pcrs[one.bank][pcr] for one in selections for pcr in one.pcrs]
    lists = [values[start:start + 8] for start in range(0, len(values), 8)]
    return head.ljust(132, b"\x00") + struct.pack("<I", len(lists)) + b"".join(
        struct.pack("<I", len(part)) + b"".join(struct.pack("<H64s", len(one), one) for one in part)
        + bytes(66 * (8 - len(part))) for part in lists)


@pytest.mark.parametrize("selected", [{"sha256": (0, 8)}, {"sha256": range(24)}, {"sha1": (1,), "sha256": (0, 8)}])
@pytest.mark.parametrize("algorithm", ["p256", "rsa"])
def test_quotes_of_the_small_tpm_pass_tpm2_tools(tmp_path, algorithm, selected):
    maker = replace(TPM, other_ak=TpmKey.of(TPM.keys, "tpm/ak", algorithm))
    quote = maker.quote(NONCE, selected, listed=False)
    pem = tmp_path / "ak.pem"
    pem.write_bytes(pem_of(maker))
    for name, data in (("quote.msg", quote.message), ("quote.sig", quote.signature),
                       ("quotepcr.out", serialized(quote))):
        (tmp_path / name).write_bytes(data)
    tools = Emulator(tmp_path, 0)
    assert maker.ak.hash is HashAlg.SHA256
    assert tools.checkquote(tmp_path, pem)
    broken = quote.message[:-1] + bytes((quote.message[-1] ^ 1,))
    (tmp_path / "quote.msg").write_bytes(broken)
    assert not tools.checkquote(tmp_path, pem)


def pem_of(maker) -> bytes:
    return maker.ak.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
