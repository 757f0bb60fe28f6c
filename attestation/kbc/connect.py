"""From a configuration to a client: the only place where an attester and a transport are chosen.

    client = connect(GuestConfig(kbs_url="https://kbs.example:8080"))
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from attestation import init_data as guest_init_data
from attestation.attesters.base import Attester
from attestation.config import GuestConfig, measured
from attestation.errors import SetupError
from attestation.kbc.backoff import Clock
from attestation.kbc.client import BrokerClient
from attestation.kbc.transport import Transport, Trust
from kbs.protocol.init_data import InitData
from verifier.evidence import Tee


def connect(config: GuestConfig) -> BrokerClient:
    """A client of the broker that ``config``, or the init data it names, tells. Sends nothing yet.

    Raises `SetupError`, or `AttesterError` when the TEE is to be found and is not.
    """
    init_data = read_init_data(config)
    if init_data is not None:
        config = measured(config, init_data)
    if config.kbs_url is None:
        raise SetupError("config.kbs_url", "no broker was named")
    clock = Clock(time.monotonic, time.sleep, random.random)
    trust = Trust(Path(config.ca_file) if config.ca_file else None, config.ca_pem, config.pinned_key,
                  config.insecure_http)
    transport = Transport(config.kbs_url, trust, clock.now)
    return BrokerClient(transport, attester_for(config, init_data), init_data=init_data, deadline=config.deadline,
                        clock=clock)


def read_init_data(config: GuestConfig) -> InitData | None:
    """The document that ``config`` names, or None when it names none. Raises `SetupError`."""
    return guest_init_data.read(Path(config.init_data)) if config.init_data is not None else None


def attester_for(config: GuestConfig, init_data: InitData | None = None) -> Attester:
    """The attester that ``config`` chooses. Raises `SetupError` or `AttesterError`.

    Only ``software`` chooses the software TEE; its guest binds ``init_data``, as the host of a real one would have it.
    """
    if config.tee == "software":
        return _software(config, init_data)
    if config.software_tee is not None:
        raise SetupError("config.software_tee", "a software TEE is named, but the TEE to use is another",
                         expected="software", got=config.tee)
    return _hardware(config)


def _software(config: GuestConfig, init_data: InitData | None) -> Attester:
    from attestation.attesters.software import SoftwareAttester

    if config.software_tee is None:
        raise SetupError("config.software_tee", "the software TEE's folder was not named")
    tee = Tee(config.software_kind)
    return SoftwareAttester.load(Path(config.software_tee), tee, init_data.field_for(tee) if init_data else None)


def _hardware(config: GuestConfig) -> Attester:
    from attestation.attesters.detect import detect
    from attestation.attesters.snp import SnpAttester
    from attestation.attesters.tdx import TdxAttester

    if config.tee == "tdx":
        return TdxAttester()
    return SnpAttester() if config.tee == "snp" else detect()
