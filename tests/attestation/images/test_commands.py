"""The commands: results on stdout, talk on stderr, exit codes 0, 1 and 2, no keys in arguments."""

from __future__ import annotations

import base64
import json

import click
import pytest
from click.testing import CliRunner

from attestation.images import commands
from attestation.images.annotation_packet import unwrap
from attestation.images.commands import COMMANDS, BrokerKeys
from attestation.images.key_sources import KeyTable
from attestation.images.layer_cipher import PrivateOptions

KID = "kbs:///default/kek/1"


@pytest.fixture
def run():
    group = click.Group(commands={command.name: command for command in COMMANDS})
    return lambda *arguments, broker=None, **options: CliRunner().invoke(
        group, [str(part) for part in arguments], obj=broker, **options
    )


@pytest.fixture
def kek(tmp_path):
    (tmp_path / "kek").write_bytes(bytes(range(32)))
    return tmp_path / "kek"


def test_there_and_back_with_a_key_file(run, plain, world, kek, tmp_path):
    done = run("encrypt-image", plain.path, tmp_path / "enc", "--kbs-key", KID, "--key-file", kek)
    assert (done.exit_code, done.stderr) == (0, "")
    assert plain.index["manifests"][0]["digest"] in done.stdout
    done = run("decrypt-image", tmp_path / "enc", tmp_path / "out", "--key-file", f"{KID}={kek}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert world.at(tmp_path / "out").layer_blobs == plain.layer_blobs


def test_there_and_back_with_recipients_as_json(run, plain, world, key_files, tmp_path):
    done = run(
        "encrypt-image",
        plain.path,
        tmp_path / "enc",
        "--recipient",
        f"jwe:{key_files['rsa'][1]}",
        "--recipient",
        f"jwe:{key_files['p256'][1]}",
        "--json",
    )
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["target"] == str(tmp_path / "enc")
    assert told["manifests"][0]["target"] == world.at(tmp_path / "enc").index["manifests"][0]["digest"]
    assert [layer["source"] for layer in told["manifests"][0]["layers"]] == [layer["digest"] for layer in plain.layers]
    done = run(
        "decrypt-image",
        tmp_path / "enc",
        tmp_path / "out",
        "--private-key",
        key_files["p256"][0],
        "--json",
        "--digest",
        told["manifests"][0]["target"],
    )
    assert json.loads(done.stdout)["manifests"][0]["layers"][2]["target"] == plain.layers[2]["digest"]


def test_broker_makes_the_key_and_gives_it_back(run, plain, world, tmp_path):
    table = KeyTable()
    broker = BrokerKeys(source=lambda: table, sink=lambda: table)
    assert run("encrypt-image", plain.path, tmp_path / "enc", "--kbs-key", KID, broker=broker).exit_code == 0
    assert list(table.keys) == [KID]
    assert run("decrypt-image", tmp_path / "enc", tmp_path / "out", broker=broker).exit_code == 0
    assert world.at(tmp_path / "out").layer_blobs == plain.layer_blobs


def test_broker_is_not_called_when_no_key_of_its_is_needed(run, plain, key_files, kek, tmp_path):
    broker = BrokerKeys(source=lambda: pytest.fail("called"), sink=lambda: pytest.fail("called"))
    assert (
        run(
            "encrypt-image",
            plain.path,
            tmp_path / "enc",
            "--kbs-key",
            KID,
            "--key-file",
            kek,
            "--recipient",
            f"jwe:{key_files['rsa'][1]}",
            broker=broker,
        ).exit_code
        == 0
    )
    assert (
        run("decrypt-image", tmp_path / "enc", tmp_path / "1", "--key-file", f"{KID}={kek}", broker=broker).exit_code
        == 0
    )
    assert (
        run(
            "decrypt-image", tmp_path / "enc", tmp_path / "2", "--private-key", key_files["rsa"][0], broker=broker
        ).exit_code
        == 0
    )


def test_broker_is_made_once_for_all_layers(run, plain, kek, tmp_path):
    made: list[KeyTable] = []
    broker = BrokerKeys(source=lambda: made.append(KeyTable({KID: kek.read_bytes()})) or made[-1])
    run("encrypt-image", plain.path, tmp_path / "enc", "--kbs-key", KID, "--key-file", kek)
    assert run("decrypt-image", tmp_path / "enc", tmp_path / "out", broker=broker).exit_code == 0
    assert len(made) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_refusal_is_exit_1(run, plain, kek, tmp_path, as_json):
    run("encrypt-image", plain.path, tmp_path / "enc", "--kbs-key", KID, "--key-file", kek)
    flags = ["--json"] if as_json else []
    done = run("decrypt-image", tmp_path / "enc", tmp_path / "out", *flags)
    assert done.exit_code == 1
    if as_json:
        assert json.loads(done.stdout)["error"] == {
            "id": "image.key.unknown",
            "detail": "no key file was given for this key",
            "expected": None,
            "got": KID,
        }
        assert done.stderr == ""
    else:
        assert done.stdout == ""
        assert done.stderr.startswith("refused: image.key.unknown: ")
    done = run(
        "decrypt-image",
        tmp_path / "enc",
        tmp_path / "out",
        "--key-file",
        f"{KID}={kek}",
        "--digest",
        "sha256:" + "0" * 64,
        "--json",
    )
    assert (done.exit_code, json.loads(done.stdout)["error"]["id"]) == (1, "image.digest.pinned")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["encrypt-image", "SOURCE"],
        ["encrypt-image", "SOURCE", "OUT"],
        ["encrypt-image", "NONE", "OUT", "--recipient", "jwe:PUB"],
        ["encrypt-image", "SOURCE", "SOURCE", "--recipient", "jwe:PUB"],
        ["encrypt-image", "SOURCE", "OUT", "--recipient", "PUB"],
        ["encrypt-image", "SOURCE", "OUT", "--recipient", "jwe:"],
        ["encrypt-image", "SOURCE", "OUT", "--recipient", "pgp:PUB"],
        ["encrypt-image", "SOURCE", "OUT", "--recipient", "jwe:NONE"],
        ["encrypt-image", "SOURCE", "OUT", "--kbs-key", KID],
        ["encrypt-image", "SOURCE", "OUT", "--key-file", "KEK"],
        ["encrypt-image", "SOURCE", "OUT", "--kbs-key", KID, "--key-file", "KEK", "--key-file", "KEK"],
        ["encrypt-image", "SOURCE", "OUT", "--kbs-key", "nonsense", "--key-file", "KEK"],
        ["encrypt-image", "SOURCE", "OUT", "--kbs-key", KID, "--key-file", "PUB"],
        ["decrypt-image", "NONE", "OUT"],
        ["decrypt-image", "SOURCE", "OUT", "--key-file", "KEK"],
        ["decrypt-image", "SOURCE", "OUT", "--key-file", "nonsense=KEK"],
        ["decrypt-image", "SOURCE", "OUT", "--private-key", "PUB"],
        ["decrypt-image", "SOURCE", "OUT", "--private-key", "NONE"],
        ["decrypt-image", "SOURCE", "OUT", "--wrong"],
    ],
    ids=" ".join,
)
def test_usage_and_unreadable_files_are_exit_2(run, plain, kek, key_files, tmp_path, arguments):
    paths = {
        "SOURCE": plain.path,
        "OUT": tmp_path / "out",
        "NONE": tmp_path / "none",
        "KEK": kek,
        "PUB": key_files["rsa"][1],
    }
    for name, path in paths.items():
        arguments = [part.replace(name, str(path)) for part in arguments]
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr
    assert not (tmp_path / "out").exists()


def test_plain_layers_are_allowed_by_name(run, plain, tmp_path):
    assert run("decrypt-image", plain.path, tmp_path / "out").exit_code == 1
    assert run("decrypt-image", plain.path, tmp_path / "out", "--allow-plain-layers").exit_code == 0


def test_key_provider_answers_on_stdout(run, kek):
    options = PrivateOptions(bytes(32), "sha256:" + "ab" * 32, bytes(16)).to_json()
    text = base64.b64encode(f"keyid={KID}::keypath={kek}".encode()).decode()
    request = {
        "op": "keywrap",
        "keywrapparams": {
            "ec": {"Parameters": {"attestation-agent": [text]}},
            "optsdata": base64.b64encode(options).decode(),
        },
    }
    done = run("key-provider", input=json.dumps(request))
    assert done.exit_code == 0
    packet = bytes(json.loads(done.stdout)["keywrapresults"]["annotation"])
    assert unwrap(packet, KeyTable({KID: kek.read_bytes()})) == options
    request = {"op": "keyunwrap", "keyunwrapparams": {"dc": None, "annotation": list(packet)}}
    done = run("key-provider", "--key-file", f"{KID}={kek}", input=json.dumps(request))
    assert bytes(json.loads(done.stdout)["keyunwrapresults"]["optsdata"]) == options
    done = run("key-provider", input=json.dumps(request))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("refused: image.key.unknown")


def test_bar_is_drawn_on_a_terminal_only(monkeypatch, capsys):
    class Terminal:
        def isatty(self) -> bool:
            return True

        def __getattr__(self, name):
            return getattr(commands_stderr, name)

    import sys

    commands_stderr = sys.stderr
    with commands._bar("x") as progress:
        assert progress is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    with commands._bar("encrypting") as progress:
        progress(1, 2)
        progress(2, 2)
    assert "encrypting" in capsys.readouterr().err
