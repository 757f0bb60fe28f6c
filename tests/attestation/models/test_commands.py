"""The commands: what they print, and exit codes that tell refused from could not."""

from __future__ import annotations

import json
import stat
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save

from attestation.errors import KeyUnavailable
from attestation.models.commands import open_command, seal_command

URI = "kbs:///team/models/tiny"


@pytest.fixture
def room(tmp_path, dek):
    (tmp_path / "model.safetensors").write_bytes(save({"w": np.arange(6, dtype="f4").reshape(2, 3)}))
    (tmp_path / "key").write_bytes(dek)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_bytes(save({"w": np.arange(6, dtype="f4").reshape(2, 3)}))
    (tmp_path / "folder" / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def run(room):
    """Runs a command with paths below the room; a broker may be given as ``obj``."""

    def invoke(command, *arguments, obj=None):
        found = [f"{room}/{text[1:]}" if text[0] == "@" else text.replace("=@", f"={room}/") for text in arguments]
        return CliRunner().invoke(command, found, obj=obj)

    return invoke


@pytest.fixture
def sealed(run):
    for name in ("model.safetensors", "folder"):
        assert run(seal_command, f"@{name}", f"@{name}.sealed", "--key-uri", URI, "--key-file", "@key").exit_code == 0


def test_file_is_sealed_and_opened(run, room):
    made = run(seal_command, "@model.safetensors", "@m.sealed", "--key-uri", URI, "--key-file", "@key", "--json")
    assert made.exit_code == 0
    told = json.loads(made.stdout)
    assert told["target"] == str(room / "m.sealed")
    assert told["error"] is None
    assert told["files"][0]["sealed_bytes"] == (room / "m.sealed").stat().st_size
    opened = run(open_command, "@m.sealed", "@m", "--key-file", f"{URI}=@key", "--json")
    assert opened.exit_code == 0
    assert json.loads(opened.stdout)["files"][0]["header_sha256"] == told["files"][0]["header_sha256"]
    assert (room / "m").read_bytes() == (room / "model.safetensors").read_bytes()
    assert {stat.S_IMODE((room / name).stat().st_mode) for name in ("m", "m.sealed")} == {0o600}


def test_folder_is_sealed_and_opened_under_its_manifest(run, room):
    made = run(seal_command, "@folder", "@f.sealed", "--key-uri", URI, "--key-file", "@key", "--json")
    digest = json.loads(made.stdout)["manifest_sha256"]
    pinned = ("--key-file", f"{URI}=@key", "--manifest-digest", digest)
    assert run(open_command, "@f.sealed", "@f", *pinned).exit_code == 0
    assert (room / "f" / "config.json").read_text() == "{}"
    other = run(open_command, "@f.sealed", "@g", "--key-file", f"{URI}=@key", "--manifest-digest", "00" * 32, "--json")
    assert other.exit_code == 1
    error = json.loads(other.stdout)["error"]
    assert (error["id"], error["expected"], error["got"]) == ("models.manifest.digest", "00" * 32, digest)
    assert not (room / "g").exists()


def test_generated_key_opens_the_file_and_is_never_printed(run, room):
    generating = ("--key-uri", URI, "--key-file", "@new", "--generate-key")
    made = run(seal_command, "@model.safetensors", "@m.sealed", *generating)
    assert made.exit_code == 0
    assert (room / "new").read_bytes().hex() not in made.output
    assert stat.S_IMODE((room / "new").stat().st_mode) == 0o600
    assert run(open_command, "@m.sealed", "--check", "--key-file", f"{URI}=@new").exit_code == 0
    assert run(seal_command, "@model.safetensors", "@n.sealed", *generating).exit_code == 2


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("source", ["model.safetensors.sealed", "folder.sealed"])
def test_list_shows_tensors_and_check_writes_nothing(run, room, source):
    before = sorted(room.rglob("*"))
    listed = json.loads(run(open_command, f"@{source}", "--list", "--key-file", f"{URI}=@key", "--json").stdout)
    tensors = {entry["name"]: entry.get("tensors") for entry in listed["files"]}
    name = next(name for name in tensors if name.startswith("model"))
    assert tensors[name] == [{"name": "w", "dtype": "F32", "shape": [2, 3]}]
    assert "w  F32  [2, 3]" in run(open_command, f"@{source}", "--list", "--key-file", f"{URI}=@key").stdout
    checked = json.loads(run(open_command, f"@{source}", "--check", "--key-file", f"{URI}=@key", "--json").stdout)
    assert all("plaintext_bytes" in entry for entry in checked["files"])
    assert sorted(room.rglob("*")) == before


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("how", [("--check",), ("@out",)])
@pytest.mark.parametrize("source", ["model.safetensors.sealed", "folder.sealed"])
def test_altered_model_is_refused_with_exit_code_1_naming_the_chunk(run, room, source, how):
    path = room / source if source.startswith("model") else room / source / "model.safetensors.sealed"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    refused = run(open_command, f"@{source}", *how, "--key-file", f"{URI}=@key")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "models.chunk" in refused.stderr
    assert "chunk 0 of 1" in refused.stderr
    assert not (room / "out").exists()


@pytest.mark.usefixtures("sealed")
def test_key_comes_from_the_broker_where_no_file_holds_it(run, dek):
    asked = []
    broker = SimpleNamespace(source=lambda: SimpleNamespace(get=lambda kid: asked.append(kid) or dek))
    assert run(open_command, "@folder.sealed", "--check", obj=broker).exit_code == 0
    assert set(asked) == {URI}


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("source", ["model.safetensors.sealed", "folder.sealed"])
def test_model_under_another_key_than_the_pinned_one_is_refused(run, source):
    common = (f"@{source}", "--check", "--json", "--key-file", f"{URI}=@key", "--key-uri")
    assert run(open_command, *common, URI).exit_code == 0
    refused = run(open_command, *common, "kbs:///owner/models/tiny")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["id"] == "models.key.pinned"


@pytest.mark.usefixtures("sealed")
def test_broker_is_not_asked_when_a_file_holds_the_key(run):
    broker = SimpleNamespace(source=lambda: pytest.fail("attested without need"))
    assert run(open_command, "@folder.sealed", "--check", "--key-file", f"{URI}=@key", obj=broker).exit_code == 0


@pytest.mark.usefixtures("sealed")
def test_key_that_the_broker_refuses_is_exit_code_1(run):
    class Refusing:
        def get(self, kid):
            raise KeyUnavailable("kbc.refused", "the policy denies it")

    refused = run(open_command, "@folder.sealed", "--check", "--json", obj=SimpleNamespace(source=Refusing))
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["id"] == "kbc.refused"
    nobody = run(open_command, "@folder.sealed", "--check", "--json", obj=SimpleNamespace(source=None))
    assert json.loads(nobody.stdout)["error"]["id"] == "models.key.unknown"


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("arguments", [
    ("@folder.sealed",),
    ("@folder.sealed", "@out", "--check"),
    ("@folder.sealed", "--list", "--check"),
    ("@folder.sealed", "--check", "--manifest-digest", "abc"),
    ("@model.safetensors.sealed", "--check", "--manifest-digest", "00" * 32),
    ("@folder.sealed", "--check", "--key-file", "@key"),
    ("@folder.sealed", "--check", "--key-file", "kbs:///a/b=@key"),
    ("@folder.sealed", "--check", "--key-file", f"{URI}=@nothing"),
    ("@nothing", "--check", "--key-file", f"{URI}=@key"),
    ("@folder", "--check", "--key-file", f"{URI}=@key"),
    ("@folder.sealed", "@model.safetensors", "--key-file", f"{URI}=@key"),
])
def test_usage_and_unreadable_files_are_exit_code_2(run, arguments):
    result = run(open_command, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize("changes", [
    {"--key-uri": "team/models/tiny"}, {"--chunk-size": "5000"}, {"--key-file": "@nothing"},
])
def test_sealing_with_wrong_values_is_exit_code_2(run, room, changes):
    options = {"--key-uri": URI, "--key-file": "@key"} | changes
    result = run(seal_command, "@model.safetensors", "@m.sealed", *(part for pair in options.items() for part in pair))
    assert (result.exit_code, result.stdout) == (2, "")
    assert not (room / "m.sealed").exists()


def test_progress_bar_goes_to_stderr_of_a_terminal_only(room, monkeypatch):
    from attestation.models import commands

    with commands._bar("sealing", room / "folder") as progress:
        assert progress is None
    written = []
    terminal = SimpleNamespace(isatty=lambda: True, write=written.append, flush=lambda: None)
    monkeypatch.setattr(commands.sys, "stderr", terminal)
    with commands._bar("sealing", room / "folder") as progress:
        progress(5)
    assert written
    assert commands._total_bytes(room / "folder") == sum(path.stat().st_size for path in (room / "folder").iterdir())
