"""The command line: what reaches stdout, which exit status, which way out is told."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import attestation.cli
import attestation.images.commands
import attestation.models.commands
from attestation.cli import main
from attestation.images.commands import BrokerKeys
from attestation.secrets.keys import BrokerKeySource
from kbs.protocol.init_data import parse
from kbs.protocol.runtime_data import report_data_for, workload_digest
from verifier.evidence import Tee
from verifier.formats.coco_evidence import evidence_from_json
from verifier.formats.quote import Quote
from verifier.software_tee.maker import SoftwareTee

URI = "kbs:///default/key/1"
DATA = bytes(range(64))


@pytest.fixture(scope="session")
def tee_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("software") / "tee"
    SoftwareTee.create(at=1_700_000_000, tees=["tdx"]).save(folder)
    return folder


@pytest.fixture
def software(tee_folder: Path) -> list[str]:
    return ["--tee", "software", "--software-tee", str(tee_folder)]


def run(*words: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(main, words, env={"ATTESTATION_DEADLINE": "1"} | (env or {}), input=stdin,
                              prog_name="attestation")


def test_evidence_binds_the_report_data_as_it_stands(software: list[str]) -> None:
    result = run("evidence", "--report-data", DATA.hex(), *software)
    assert result.exit_code == 0, result.stderr
    evidence = evidence_from_json(Tee.TDX, json.loads(result.stdout))
    assert Quote.from_bytes(evidence.quote).body.report_data == DATA


def test_evidence_for_a_workload_binds_its_marked_digest(software: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"workload")
    for source in (str(tmp_path / "data"), "-"):
        result = run("evidence", "--runtime-data", source, "--json", *software, stdin=b"workload")
        told = json.loads(result.stdout)
        assert (told["tee"], set(told)) == ("tdx", {"tee", "report_data", "evidence"})
        assert told["report_data"] == report_data_for("tdx", workload_digest(b"workload")).hex()


@pytest.mark.parametrize("words", [[], ["--report-data", "00", "--runtime-data", "x"], ["--report-data", "xyz"]])
def test_evidence_wants_exactly_one_thing_to_bind(software: list[str], words: list[str]) -> None:
    assert run("evidence", *words, *software).exit_code == 2


@pytest.mark.parametrize("size", [0, 48, 63, 65])
def test_report_data_of_another_length_is_refused(software: list[str], size: int) -> None:
    result = run("evidence", "--report-data", bytes(size).hex(), "--json", *software)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["id"] == "attester.report_data"


def test_machine_without_a_tee_is_told_the_way_out() -> None:
    result = run("evidence", "--report-data", DATA.hex())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "attester." in result.stderr
    assert "Traceback" not in result.stderr


def test_token_is_printed(broker: Any, software: list[str]) -> None:
    result = run("token", "--kbs-url", broker.url, *software)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.removesuffix("\n") in broker.tokens
    told = json.loads(run("token", "--kbs-url", broker.url, "--json", *software).stdout)
    assert told["token"] in broker.tokens


def test_secret_goes_to_stdout_byte_for_byte_and_nothing_else_does(broker: Any, software: list[str]) -> None:
    broker.secrets["default/key/1"] = secret = bytes(range(256))
    result = run("resource", URI, "--kbs-url", broker.url, *software)
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, secret, "")


def test_secret_as_json_is_base64(broker: Any, software: list[str]) -> None:
    result = run("resource", URI, "--json", "--kbs-url", broker.url, *software)
    assert json.loads(result.stdout) == {"uri": URI, "data": base64.b64encode(b"the secret").decode()}


def test_secret_in_a_file_is_the_owners_alone_and_replaces_at_once(broker: Any, software: list[str],
                                                                   tmp_path: Path) -> None:
    target = tmp_path / "key"
    target.write_bytes(b"old")
    target.chmod(0o666)
    result = run("resource", URI, "-o", str(target), "--kbs-url", broker.url, *software)
    assert (result.exit_code, result.stdout) == (0, "")
    assert target.read_bytes() == b"the secret"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_file_that_cannot_be_written_leaves_nothing_behind(broker: Any, software: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "folder", tmp_path / "absent" / "key"):
        result = run("resource", URI, "-o", str(target), "--kbs-url", broker.url, *software)
        assert result.exit_code == 2
        assert "cli.write" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(("uri", "status", "id"), [
    ("kbs:///default/absent/1", 1, "kbc.not_found"), ("kbs:///a/../b", 2, "kbc.resource"),
])
def test_refusal_and_wrong_call_have_statuses_of_their_own(broker: Any, software: list[str], uri: str, status: int,
                                                           id: str) -> None:
    result = run("resource", uri, "--json", "--kbs-url", broker.url, *software)
    assert result.exit_code == status
    assert json.loads(result.stdout)["error"]["id"] == id


def test_refusal_tells_the_brokers_reference_and_the_way_out(broker: Any, software: list[str], problem: Any) -> None:
    broker.always("/1", lambda _: problem(403, "PolicyDeny", id="kbs.policy.denied", reference="R-9"))
    result = run("resource", URI, "--json", "--kbs-url", broker.url, *software)
    told = json.loads(result.stdout)["error"]
    assert (result.exit_code, told["id"], told["broker_id"], told["reference"]) == (
        1, "kbc.denied", "kbs.policy.denied", "R-9")
    assert "R-9" in result.stderr
    assert "audit log" in result.stderr


def test_what_a_broker_sends_does_not_reach_the_terminal_unchanged(broker: Any, software: list[str],
                                                                   reply: Any) -> None:
    broker.always("/auth", lambda r: reply(200, b'{"\\u001b[2J":1,"\\u001b[2J":2,"nonce":"A"}', r.headers))
    result = run("token", "--kbs-url", broker.url, *software)
    assert result.exit_code == 2
    assert "kbc.malformed" in result.stderr
    assert "\x1b" not in result.stderr


def test_broker_that_cannot_be_reached_leaves_it_undecided(software: list[str]) -> None:
    result = run("token", "--kbs-url", "http://127.0.0.1:9", *software)
    assert result.exit_code == 2
    assert "kbc.unreachable" in result.stderr
    assert "is the broker running" in result.stderr


def test_options_may_stand_before_or_after_the_command_and_the_latter_win(broker: Any, software: list[str]) -> None:
    assert run("--kbs-url", broker.url, *software, "resource", URI).exit_code == 0
    assert run("--kbs-url", "http://127.0.0.1:9", *software, "resource", URI, "--kbs-url", broker.url).exit_code == 0


def test_environment_and_file_are_read_and_options_win(broker: Any, tee_folder: Path, tmp_path: Path) -> None:
    env = {"ATTESTATION_KBS_URL": broker.url, "ATTESTATION_TEE": "software",
           "ATTESTATION_SOFTWARE_TEE": str(tee_folder)}
    assert run("resource", URI, env=env).exit_code == 0
    config = tmp_path / "guest.toml"
    config.write_text(f'kbs_url = "http://127.0.0.1:9"\ntee = "software"\nsoftware_tee = "{tee_folder}"\n')
    assert run("resource", URI, "--config", str(config)).exit_code == 2
    assert run("resource", URI, "--config", str(config), "--kbs-url", broker.url).exit_code == 0
    assert run("--config", str(config), "resource", URI, env={"ATTESTATION_KBS_URL": broker.url}).exit_code == 0


def test_unknown_setting_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "guest.toml").write_text("colour = 1\n")
    result = run("token", "--config", str(tmp_path / "guest.toml"))
    assert result.exit_code == 2
    assert "colour" in result.stderr


def test_broker_named_by_init_data_needs_no_url_and_admits_no_other(broker: Any, software: list[str],
                                                                    tmp_path: Path) -> None:
    document = (f'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n"aa.toml" = \'\'\'\n[token_configs.kbs]\n'
                f'url = "{broker.url}"\n\'\'\'\n').encode()
    (tmp_path / "init.toml").write_bytes(document)
    named = ["--init-data", str(tmp_path / "init.toml"), *software]
    assert run("resource", URI, *named).exit_code == 0
    sent = json.loads(broker.bodies[1])
    assert sent["init-data"] == {"format": "toml", "body": document.decode()}
    quote = base64.b64decode(sent["tee-evidence"]["primary_evidence"]["quote"])
    assert Quote.from_bytes(quote).body.mr_config_id == parse(document).field_for("tdx")
    result = run("resource", URI, *named, "--kbs-url", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "config.measured" in result.stderr


def test_no_broker_is_told_with_the_way_out(software: list[str]) -> None:
    result = run("token", *software)
    assert result.exit_code == 2
    assert "--kbs-url" in result.stderr


def test_software_tee_is_used_only_when_it_is_the_tee_named(tee_folder: Path) -> None:
    for words in (["--software-tee", str(tee_folder)], ["--software-tee", str(tee_folder), "--tee", "tdx"],
                  ["--tee", "software"]):
        result = run("evidence", "--report-data", DATA.hex(), "--json", *words)
        assert result.exit_code == 2
        assert json.loads(result.stdout)["error"]["id"] == "config.software_tee"


def test_remote_broker_without_tls_is_refused_unless_named(software: list[str]) -> None:
    result = run("token", "--kbs-url", "http://kbs.invalid", *software)
    assert "kbc.insecure_http" in result.stderr
    result = run("token", "--kbs-url", "http://kbs.invalid", "--insecure-http", *software)
    assert "kbc.unreachable" in result.stderr


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_command(word: str) -> None:
    result = run(word)
    assert result.exit_code == 0
    for name in ("evidence", "token", "resource", "completion", "encrypt-image", "decrypt-image", "key-provider",
                 "seal-model", "open-model"):
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize("name", ["encrypt-image", "decrypt-image", "key-provider", "seal-model", "open-model"])
def test_commands_of_other_rooms_are_found(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"attestation {name}" in result.stdout


def test_command_whose_part_is_not_installed_says_so_and_spoils_no_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attestation.cli._LATER, "open-model", ("attestation.absent", "command", "Help."))
    result = run("open-model")
    assert result.exit_code == 2
    assert "not installed" in result.stderr
    assert main.get_command(click.Context(main, resilient_parsing=True), "open-model") is None


def test_evidence_with_init_data_that_the_hardware_does_not_bind_is_refused(
    software: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "init.toml").write_bytes(b'version = "0.1.0"\nalgorithm = "sha384"\n[data]\n')
    words = ["evidence", "--report-data", DATA.hex(), "--init-data", str(tmp_path / "init.toml"), "--json", *software]
    assert run(*words).exit_code == 0
    evidence = SoftwareTee.evidence
    monkeypatch.setattr(SoftwareTee, "evidence", lambda self, tee, data, **_: evidence(self, tee, data))
    result = run(*words)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["id"] == "attester.init_data"


def test_unknown_command_is_a_wrong_call() -> None:
    assert run("unlock").exit_code == 2


def test_version_is_that_of_the_distribution() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("attestation, version ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_ATTESTATION_COMPLETE" in result.stdout


def test_completion_offers_commands_and_options() -> None:
    env = os.environ | {"_ATTESTATION_COMPLETE": "bash_complete", "COMP_WORDS": "attestation re", "COMP_CWORD": "1"}
    code = "from attestation.cli import main; main(prog_name='attestation')"
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["plain,resource"]


def probe(room: Any, name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """What the command ``name`` of another room would find in its context."""
    found: list[Any] = []

    @click.command()
    @click.pass_context
    def command(ctx: click.Context) -> None:
        found.extend([ctx.find_object(BrokerKeys), ctx.obj])

    monkeypatch.setattr(room, name, command)
    assert run(*words).exit_code == 0
    return found


def test_image_commands_find_a_key_source_at_the_broker(broker: Any, software: list[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    keys, _ = probe(attestation.images.commands, "decrypt_command", monkeypatch, "--kbs-url", broker.url, *software,
                    "decrypt-image")
    assert broker.requests == []
    source = keys.source()
    assert isinstance(source, BrokerKeySource)
    assert source.get(URI) == b"the secret"


def test_model_commands_find_a_key_source_at_the_broker(broker: Any, software: list[str],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    _, context = probe(attestation.models.commands, "open_command", monkeypatch, "--kbs-url", broker.url, *software,
                       "open-model")
    assert context.source().get(URI) == b"the secret"


def test_commands_without_a_broker_find_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe(attestation.images.commands, "decrypt_command", monkeypatch, "decrypt-image")[0].source is None
    assert probe(attestation.models.commands, "open_command", monkeypatch, "open-model")[1].source is None


def test_starting_loads_no_room_and_a_handshake_loads_neither_flask_nor_the_verifiers_appraisal() -> None:
    heavy = ("flask", "urllib3", "cryptography", "numpy", "attestation.kbc", "attestation.images", "attestation.models")
    code = f"import sys, attestation.cli; sys.exit(any(n.startswith({heavy!r}) for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    forbidden = ("flask", "sqlalchemy", "regopy", "numpy", "verifier.checks", "verifier.tees", "verifier.appraisal",
                 "verifier.endorsements", "verifier.software_tee", "kbs.services", "kbs.web", "kbs.storage")
    code = f"import sys, attestation.kbc.connect; sys.exit(any(n.startswith({forbidden!r}) for n in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
