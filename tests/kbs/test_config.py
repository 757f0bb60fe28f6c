"""What an operator can set, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbs import config
from kbs.errors import SetupError


@pytest.fixture
def load(tmp_path):
    def load(text=None, environment=None, **overrides):
        if text is None:
            return config.load(None, environment or {"XDG_STATE_HOME": str(tmp_path)}, **overrides)
        path = tmp_path / "kbs.toml"
        path.write_text(text)
        return config.load(path, environment or {}, **overrides)

    return load


def refusal(load, *args, **kwargs):
    with pytest.raises(SetupError) as refused:
        load(*args, **kwargs)
    return refused.value


def test_defaults_need_no_file(load, tmp_path):
    found = load()
    assert found.state == tmp_path / "attestkit" / "kbs"
    assert found.address == ("127.0.0.1", 8080)
    assert found.url == "http://127.0.0.1:8080"
    assert (found.insecure_http, found.insecure_sample_tee) == (False, False)
    assert found.durability == "full"
    assert found.trust.software_roots == ()


def test_file_sets_everything_and_paths_are_taken_from_its_folder(load, tmp_path):
    found = load("""
        state = "state"
        listen = "[::1]:9000"
        workers = 2
        durability = "normal"
        insecure_sample_tee = true
        [trust]
        software_roots = ["roots/a.pem", "/abs/b.pem"]
        provisioned_keys = ["keys/cpak.json"]
        [token]
        lifetime = 60
        issuer = "https://kbs.example"
        [admin]
        roles = { reader = "^/kbs/v0/resource-policy$" }
        [[admin.identity]]
        name = "ops"
        key = "ops.pem"
    """)
    assert found.state == tmp_path / "state"
    assert found.address == ("::1", 9000)
    assert found.trust.software_roots == (tmp_path / "roots/a.pem", Path("/abs/b.pem"))
    assert found.trust.provisioned_keys == (tmp_path / "keys/cpak.json",)
    assert (found.token.lifetime, found.token.issuer) == (60, "https://kbs.example")
    assert found.admin.identity == (config.Identity(name="ops", key=tmp_path / "ops.pem"),)
    assert found.admin.roles == {"reader": "^/kbs/v0/resource-policy$"}


def test_environment_wins_over_the_file_and_arguments_over_both(load, tmp_path):
    environment = {"KBS_LISTEN": "127.0.0.1:1", "KBS_TOKEN_LIFETIME": "77", "KBS_INSECURE_SAMPLE_TEE": "true",
                   "KBS_TRUST_SOFTWARE_ROOTS": "/a.pem,/b.pem", "KBS_STATE": str(tmp_path / "s"),
                   "KBS_SERVICE_HOST": "10.0.0.1", "KBS_PORT": "tcp://10.0.0.1:80"}
    found = load('listen = "127.0.0.1:2"\n[token]\nlifetime = 60', environment, workers=4)
    assert (found.listen, found.token.lifetime, found.insecure_sample_tee) == ("127.0.0.1:1", 77, True)
    assert found.trust.software_roots == (Path("/a.pem"), Path("/b.pem"))
    assert found.workers == 4
    assert found.state == tmp_path / "s"


@pytest.mark.parametrize(("text", "id", "hint"), [
    ("lisen = 1", "config.unknown", "did you mean listen?"),
    ("[token]\nlifetme = 1", "config.unknown", "did you mean token.lifetime?"),
    ("[nonsense]\nx = 1", "config.unknown", "nonsense"),
    ('workers = "2"', "config.workers", "Expected `int`"),
    ("workers = 0", "config.workers", ">= 1"),
    ("insecure_http = 1", "config.insecure_http", "Expected `bool`"),
    ('durability = "none"', "config.durability", "none"),
    ("[session]\nlifetime = 999999", "config.session.lifetime", "3600"),
    ('listen = "127.0.0.1"', "config.listen", "address:port"),
    ('listen = "127.0.0.1:70000"', "config.listen", "address:port"),
    ('[tls]\ncertificate = "x"', "config.tls", "key"),
    ('[admin]\nroles = { a = "/kbs" }', "config.admin.roles", "^/kbs"),
    ('[admin]\nroles = { a = "^/kbs/([$" }', "config.admin.roles", "regular expression"),
    ('[[admin.identity]]\nname = "x"', "config.admin.identity[0]", "key"),
    ('[[admin.identity]]\nname = "x"\nkey = "k"\nkeyy = 1', "config.admin.identity[0]", "keyy"),
    ("a = [", "config.file", "not TOML"),
    ('state = ""', "config.state", "path"),
])
def test_wrong_settings_are_refused_by_name(load, text, id, hint):
    error = refusal(load, text)
    assert error.id == id
    assert hint in str(error)


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080", "kbs.example:8080"])
def test_reachable_address_needs_tls_or_the_named_switch(load, listen):
    assert refusal(load, f'listen = "{listen}"').id == "config.insecure_http"
    assert load(f'listen = "{listen}"\ninsecure_http = true').listen == listen
    with_tls = load(f'listen = "{listen}"\n[tls]\ncertificate = "c.pem"\nkey = "k.pem"')
    assert with_tls.url.startswith("https://")


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_neither(load, listen):
    assert load(f'listen = "{listen}"').listen == listen


def test_wrong_environment_is_refused_by_name(load):
    assert refusal(load, None, {"KBS_WORKERS": "many"}).id == "config.workers"
    assert refusal(load, None, {"KBS_INSECURE_HTTP": "yes please"}).id == "config.insecure_http"


def test_the_home_folder_of_nobody_is_refused_by_name(load):
    """Where no ``HOME`` is set and no such user is known, ``~`` stands for nothing."""
    nobody = "~no-such-user-here/x"
    assert refusal(load, None, {"KBS_STATE": nobody}).id == "config.state"
    assert refusal(load, None, {"KBS_TRUST_COLLATERAL": f"/a,{nobody}"}).id == "config.trust.collateral"
    assert refusal(load, None, {"XDG_STATE_HOME": nobody}).id == "config.state"
    error = refusal(load, f'[trust]\nexpectations = "{nobody}"')
    assert error.id == "config.trust.expectations"
    assert nobody in error.detail


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(SetupError) as refused:
        config.load(tmp_path / "absent.toml", {})
    assert refused.value.id == "config.file"


def test_password_of_the_database_is_not_shown(load):
    found = load('database = "postgresql://kbs:canary@db/kbs"')
    assert "canary" not in repr(found)
    assert "canary" not in str(found)


def test_threads_are_for_databases_that_are_waited_for(load):
    assert load("").thread_count == 1
    assert load('database = "postgresql://kbs@db/kbs"').thread_count == 4
    assert load('threads = 3\ndatabase = "postgresql://kbs@db/kbs"').thread_count == 3
