"""Files that change under a running broker."""

from __future__ import annotations

import pytest

from kbs import app
from kbs.app import Reloading
from kbs.config import Trust
from kbs.errors import SetupError
from kbs.services import token_keys
from kbs.storage import keyfile


@pytest.fixture
def now(monkeypatch):
    moment = [1000.0]
    monkeypatch.setattr(app.time, "monotonic", lambda: moment[0])
    return moment


def test_changed_file_is_read_again_after_the_interval(tmp_path, now):
    path = tmp_path / "f"
    path.write_text("one")
    value = Reloading(path.read_text, [path], seconds=10)
    path.write_text("three")
    assert value() == "one"
    now[0] += 10
    assert value() == "three"


def test_unchanged_file_is_not_read_again(tmp_path, now):
    path = tmp_path / "f"
    path.write_text("one")
    reads = []
    value = Reloading(lambda: reads.append(1), [path], seconds=1)
    for _ in range(5):
        now[0] += 5
        value()
    assert len(reads) == 1


def test_file_added_to_a_folder_is_a_change(tmp_path, now):
    value = Reloading(lambda: len(list(tmp_path.iterdir())), [tmp_path], seconds=1)
    assert value() == 0
    (tmp_path / "new").write_text("x")
    now[0] += 1
    assert value() == 1


def test_change_that_cannot_be_loaded_leaves_the_former_in_force(tmp_path, now, caplog):
    path = tmp_path / "f"
    path.write_text("good")

    def load():
        if path.read_text() != "good":
            raise SetupError("x.y", "unreadable")
        return "good"

    value = Reloading(load, [path], seconds=1)
    path.write_text("bad")
    now[0] += 1
    assert value() == "good"
    assert "former stays in force" in caplog.text
    path.unlink()
    now[0] += 1
    assert value() == "good"


def test_running_broker_notices_a_rotated_token_key(world, now):
    guest = world.guest()
    guest.handshake()
    first = world.client().get("/.well-known/jwks.json").json["keys"]
    path = world.config.state / "keys" / "token.pem"
    keyfile.replace(path, token_keys.rotated(keyfile.read(path)))
    now[0] += 1
    second = world.client().get("/.well-known/jwks.json").json["keys"]
    assert [len(first), len(second)] == [1, 2]
    assert second[1] == first[0]
    assert guest.get().status_code == 200  # the former key still verifies
    keyfile.replace(path, token_keys.rotated(keyfile.read(path), keep=1))
    now[0] += 1
    assert guest.get().status_code == 401


def test_running_broker_notices_new_collateral(world, now, tmp_path, software_tee):
    collateral = tmp_path / "collateral"
    collateral.mkdir()
    bare = world.restart(trust=Trust(software_roots=world.config.trust.software_roots, collateral=(collateral,)))
    guest = bare.guest()
    guest.auth()
    assert guest.attest().status_code == 503
    (collateral / "collateral.json").write_bytes((software_tee[1] / "collateral/tdx/collateral.json").read_bytes())
    now[0] += 60
    assert guest.handshake().status_code == 200
