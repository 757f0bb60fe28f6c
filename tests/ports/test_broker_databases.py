"""A whole broker on each database: setting up, sharing, refusing a stranger's keys."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from kbs.app import create_broker
from kbs.audit.check import check
from kbs.config import Config
from kbs.errors import SetupError
from kbs.protocol.resource_uri import ResourcePath
from kbs.services.admin_tokens import Administrator
from kbs.services.decisions import Refused

AUTH = b'{"version":"0.4.0","tee":"tdx","extra-params":""}'
PATH = ResourcePath("a", "b", "c")
WHO = Administrator("test", "admin")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, database_url):
    return database_url(request.param)


@pytest.fixture
def open_broker(url, tmp_path):
    opened = []

    def open_one(state="state"):
        opened.append(create_broker(Config(state=tmp_path / state, database=url, durability="normal")))
        return opened[-1]

    yield open_one
    for broker in opened:
        broker.close()


def test_brokers_that_share_database_and_keys_are_one(open_broker, tmp_path):
    first = open_broker()
    shutil.copytree(tmp_path / "state" / "keys", tmp_path / "elsewhere" / "keys")
    (tmp_path / "elsewhere").chmod(0o700)
    second = open_broker("elsewhere")
    first.administration.set_resource(PATH, b"secret", WHO, 1)
    assert second.administration.reveal_resource(PATH, None, WHO, 1) == b"secret"
    cookie = first.handshake.challenge(AUTH, at=1000).cookie

    def attest(broker):
        with pytest.raises(Refused) as refused:
            broker.handshake.attest(cookie, b"{}", 1000, "test")
        return refused.value.error.id

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(attest, [first, second])) == {"protocol.attestation.shape"}
    records = list(second.audit.records())
    key = (tmp_path / "state" / "keys" / "audit.key").read_bytes()
    assert check(records, first.audit.head(), key).intact
    assert [record.kind for record in records] == ["admin", "admin", "attestation", "attestation"]
    used_before = [record.told()["decision"].get("challenge") for record in records[2:]]
    assert sorted(map(str, used_before)) == ["None", "was used before"]


def test_broker_with_other_keys_is_refused(open_broker):
    open_broker()
    with pytest.raises(SetupError) as refused:
        open_broker("stranger")
    assert refused.value.id == "storage.seal.key"


def test_brokers_that_start_together_begin_one_log(open_broker, tmp_path):
    with ThreadPoolExecutor(6) as pool:
        brokers = list(pool.map(lambda _: open_broker(), range(6)))
    for broker in brokers:
        broker.administration.set_resource(PATH, b"secret", WHO, 1)
    key = (tmp_path / "state" / "keys" / "audit.key").read_bytes()
    assert check(brokers[0].audit.records(), brokers[0].audit.head(), key).records == 6
    assert [entry.version for entry in brokers[0].administration.resource_versions(PATH)] == [1, 2, 3, 4, 5, 6]
