"""Makers shared by the tests of this folder, and an independent reader of what they make."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import dcap_qvl
import pytest

from verifier.software_tee.amd import SmallAmd
from verifier.software_tee.intel import SmallIntel, collateral_json

AT = 1_780_000_000
SEED = bytes(range(32))


@pytest.fixture(scope="session")
def at() -> int:
    return AT


@pytest.fixture(scope="session")
def seed() -> bytes:
    return SEED


@pytest.fixture(scope="session")
def intel() -> SmallIntel:
    return SmallIntel.create(SEED, at=AT)


@pytest.fixture(scope="session")
def amd() -> SmallAmd:
    """Random keys: they come from OpenSSL and are there sooner."""
    return SmallAmd.create(at=AT)


@pytest.fixture(scope="session")
def dcap_verdict() -> Callable[..., dcap_qvl.VerifiedReport]:
    """What dcap-qvl says of a small Intel's quote; raises ValueError when it refuses."""
    def judge(maker: SmallIntel, quote: bytes, tee: str = "tdx", at: int = AT) -> dcap_qvl.VerifiedReport:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral_json(maker.collateral(tee))))
        return dcap_qvl.verify_with_root_ca(quote, collateral, maker.certificate("root"), at)
    return judge


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., str]:
    """Run ``openssl`` with bytes arguments written to files first; fails the test on a non-zero exit."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl command: apt-get install openssl")

    def run(*arguments: str | bytes) -> str:
        words = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                path = tmp_path / f"{number}"
                path.write_bytes(argument)
                argument = str(path)
            words.append(argument)
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
    return run
