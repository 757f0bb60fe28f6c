"""The command ``kbs``: here, over HTTP, and as a server that is stopped and killed."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kbs import cli

KBS = [sys.executable, "-c", "from kbs.cli import main; main()"]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def kbs(state, monkeypatch, capfdbinary):
    """Runs a command in this process; gives its exit code, its output and what it said beside."""
    monkeypatch.setenv("KBS_STATE", str(state))
    monkeypatch.setenv("KBS_DURABILITY", "normal")

    def run(*arguments):
        code = 0
        try:
            cli.main(list(arguments))
        except SystemExit as stopped:
            code = stopped.code or 0
        out, err = capfdbinary.readouterr()
        return code, out, err

    return run


@pytest.fixture
def made(kbs):
    """A broker that was initialised."""
    assert kbs("init")[0] == 0
    return kbs


def ok(answer):
    code, out, err = answer
    assert code == 0, err
    return out


def said(answer, code, text):
    assert answer[0] == code, answer
    assert text in answer[2].decode(), answer[2]


def test_admin_token_from_a_key_of_an_unknown_algorithm_is_refused(kbs, tmp_path):
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    text = base64.b64encode(key.replace(b"\x2b\x65\x70", b"\x2b\x65\x7f")).decode()  # 1.3.101.112
    path = tmp_path / "key.pem"
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    said(kbs("admin-token", "--key", str(path)), 2, "is not an unencrypted PEM private key")


def test_init_makes_a_closed_state_folder_and_keeps_what_exists(kbs, state):
    told = json.loads(ok(kbs("init", "--json")))
    assert told["made"] is True
    assert state.stat().st_mode & 0o777 == 0o700
    key = Path(told["admin_key"])
    assert key.stat().st_mode & 0o777 == 0o600
    before = {path: path.read_bytes() for path in (state / "keys").iterdir()} | {key: key.read_bytes()}
    assert json.loads(ok(kbs("init", "--json")))["made"] is False
    assert {path: path.read_bytes() for path in before} == before


def test_commands_need_a_broker(kbs, state):
    said(kbs("resource", "list"), 2, "run kbs init")
    said(kbs("audit", "verify"), 2, "there is no broker")
    said(kbs("token", "rotate-key"), 2, "there is no broker")
    assert not state.exists()


def test_resources_are_set_listed_versioned_revealed_and_deleted(made, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x00first\xff")
    assert json.loads(ok(made("resource", "set", "a/b/c", str(secret), "--json")))["version"] == 1
    secret.write_bytes(b"second")
    assert b"version 2" in ok(made("resource", "set", "kbs:///a/b/c", str(secret)))
    rows = json.loads(ok(made("resource", "list", "a/", "--json")))
    assert [(row["key"], row["version"], row["size"]) for row in rows] == [("a/b/c", 2, 6)]
    assert [row["version"] for row in json.loads(ok(made("resource", "get", "a/b/c", "--json")))] == [1, 2]
    assert ok(made("resource", "get", "a/b/c", "--reveal")) == b"second"
    assert ok(made("resource", "get", "a/b/c", "--reveal", "--version", "1")) == b"\x00first\xff"
    ok(made("resource", "get", "a/b/c", "--rollback", "1"))
    assert ok(made("resource", "get", "a/b/c", "--reveal")) == b"\x00first\xff"
    assert ok(made("resource", "delete", "a/b/c"))
    said(made("resource", "get", "a/b/c"), 1, "resource.absent")
    said(made("resource", "delete", "a/b/c"), 1, "nothing is stored")
    actions = [row["subject"]["action"] for row in json.loads(ok(made("audit", "list", "--json")))]
    assert actions == ["resource.set", "resource.set", "resource.reveal", "resource.reveal", "resource.rollback",
                       "resource.reveal", "resource.delete"]


def test_values_are_never_shown_unasked(made, tmp_path):
    (tmp_path / "s").write_bytes(b"canary-1234")
    for command in (("resource", "set", "a/b/c", str(tmp_path / "s")), ("resource", "get", "a/b/c"),
                    ("resource", "list"), ("audit", "list"), ("audit", "list", "--json")):
        _, out, err = made(*command)
        assert b"canary" not in out + err


@pytest.mark.parametrize("path", ["a/b", "a/b/c/d", "../b/c", "a//c", "kbs+x:///a/b/c", ""])
def test_what_is_no_resource_path_is_refused(made, path):
    assert made("resource", "set", path, "/dev/null")[0] == 1


def test_empty_secret_is_refused(made):
    said(made("resource", "set", "a/b/c", "/dev/null"), 1, "admin.resource.empty")


def test_policies_are_set_shown_listed_and_taken_back(made, tmp_path):
    policy = tmp_path / "p.rego"
    policy.write_text("package policy\ndefault allow = true\n")
    assert b"# Who may have a resource" in ok(made("policy", "get", "resource"))
    assert b"version 1 is in force" in ok(made("policy", "set", "resource", str(policy)))
    assert ok(made("policy", "get", "resource")) == policy.read_bytes()
    assert b"# Who may have a resource" in ok(made("policy", "get", "resource", "--default"))
    policy.write_text('package policy\ntrust_claims := {"hardware": 2}\n')
    code, out, err = made("policy", "set", "attestation", str(policy), "--id", "default_tdx", "--json")
    assert (code, json.loads(out)["name"]) == (0, "default_tdx")
    assert b"leaves out executables" in err
    assert json.loads(ok(made("policy", "list", "--json"))) == [
        {"kind": "resource", "id": "resource-policy"}, {"kind": "attestation", "id": "default_tdx"}]
    ok(made("policy", "delete", "resource"))
    assert b"# Who may have a resource" in ok(made("policy", "get", "resource"))
    said(made("policy", "delete", "resource"), 1, "nothing is stored")


@pytest.mark.parametrize(("name", "head"), [
    ("default_az-snp-vtpm", b"# Azure confidential VMs on AMD"), ("default_tpm", b"# A TPM"),
    ("default_nvidia", b"# NVIDIA GPUs"), ("default_gpu", b"# NVIDIA GPUs"), ("default_switch", b"# NVIDIA GPUs")])
def test_the_shipped_policy_of_a_tee_or_a_class_of_devices_is_shown(made, name, head):
    assert ok(made("policy", "get", "attestation", "--id", name)).startswith(head)


def test_there_is_no_shipped_policy_of_all_processors(made):
    said(made("policy", "get", "attestation", "--id", "default_cpu"), 1, "default_nitro")


def test_policy_that_does_not_compile_is_refused_with_its_line(made, tmp_path):
    (tmp_path / "p.rego").write_text("package policy\n\nallow if {\n")
    said(made("policy", "set", "resource", str(tmp_path / "p.rego")), 1, "policy.syntax")
    assert json.loads(ok(made("policy", "list", "--json"))) == []


def test_policies_are_tried_without_changing_anything(made, tmp_path):
    claims = tmp_path / "claims.json"
    claims.write_text(json.dumps({"submods": {"cpu0": {"ear.status": "affirming"}}}))
    assert b"yes" in ok(made("policy", "test", "resource", str(claims)))
    claims.write_text(json.dumps({"submods": {"cpu0": {"ear.status": "warning"}}}))
    code, out, _ = made("policy", "test", "resource", str(claims), "--json")
    told = json.loads(out)
    assert (code, told["yes"]) == (1, False)
    assert {rule["id"]: rule["ok"] for rule in told["rules"]}["release.cpu0"] is False
    own = tmp_path / "own.rego"
    own.write_text('package policy\ndefault allow = false\nallow { data["resource-path"][2] == "two" }\n')
    assert made("policy", "test", "resource", str(claims), "--policy", str(own), "--path", "a/b/two")[0] == 0
    assert made("policy", "test", "resource", str(claims), "--policy", str(own), "--path", "a/b/one")[0] == 1
    claims.write_text("[]")
    said(made("policy", "test", "resource", str(claims)), 1, "cli.input")


def test_attestation_policies_are_tried_with_the_reference_values_in_force(made, tmp_path):
    from verifier.policy.review import sample

    document = sample("tdx")
    (tmp_path / "in.json").write_text(json.dumps(document))
    code, out, _ = made("policy", "test", "attestation", str(tmp_path / "in.json"), "--json")
    rules = {rule["id"]: rule["ok"] for rule in json.loads(out)["rules"]}
    assert (code, rules["executables.mr_td"]) == (1, False)
    ok(made("reference-value", "set", "mr_td", document["tdx"]["quote"]["body"]["mr_td"]))
    _, out, _ = made("policy", "test", "attestation", str(tmp_path / "in.json"), "--json")
    assert {rule["id"]: rule["ok"] for rule in json.loads(out)["rules"]}["executables.mr_td"] is True


def test_reference_values_are_set_listed_and_deleted(made, tmp_path):
    ok(made("reference-value", "set", "mr_td", "aa", "bb", "--expires", "2099-01-01T00:00:00Z"))
    ok(made("reference-value", "set", "svn", "7", "--number"))
    (tmp_path / "v.json").write_text(json.dumps({"x": {"a": [1, True]}}))
    ok(made("reference-value", "set", "--file", str(tmp_path / "v.json")))
    rows = {row["name"]: row for row in json.loads(ok(made("reference-value", "list", "--json")))}
    assert (rows["mr_td"]["value"], rows["mr_td"]["expires"]) == (["aa", "bb"], 4070908800)
    assert (rows["svn"]["value"], rows["x"]["value"]) == (7, {"a": [1, True]})
    ok(made("reference-value", "delete", "svn"))
    said(made("reference-value", "delete", "svn"), 1, "no reference value")
    said(made("reference-value", "set", "mr_td"), 2, "give NAME and VALUES")
    said(made("reference-value", "set", "x", "y", "--expires", "soon"), 1, "cli.expires")


def test_audit_log_is_listed_verified_and_exported(made, tmp_path, state):
    for n in range(3):
        ok(made("reference-value", "set", f"v{n}", "aa"))
    head = json.loads(ok(made("audit", "list", "--head", "--json")))["head"]
    ok(made("reference-value", "set", "v4", "aa"))
    assert b"intact: 4 records" in ok(made("audit", "verify", "--head", head))
    assert made("audit", "verify", "--head", "00" * 32)[0] == 1
    said(made("audit", "verify", "--head", "xyz"), 2, "not a SHA-256 digest")
    reference = json.loads(ok(made("audit", "list", "--json")))[1]["reference"]
    assert json.loads(ok(made("audit", "list", "--reference", reference)))["subject"]["names"] == ["v1"]
    said(made("audit", "list", "--reference", "0" * 16), 1, "no record")
    copy = tmp_path / "copy.jsonl"
    ok(made("audit", "export", str(copy)))
    assert b"intact: 4 records" in ok(made("audit", "verify", "--copy", str(copy)))
    genuine = copy.read_bytes()
    for position in range(0, len(genuine), 97):
        copy.write_bytes(genuine[:position] + bytes([genuine[position] ^ 1]) + genuine[position + 1:])
        code, out, _ = made("audit", "verify", "--copy", str(copy), "--json")
        assert (position, code, json.loads(out)["intact"]) == (position, 1, False)


@pytest.mark.parametrize(("change", "finding"), [
    ("UPDATE kbs_audit_record SET body = replace(body, 'v1', 'vX') WHERE seq = 2", ("audit.record.hash", 2)),
    ("UPDATE kbs_audit_record SET body = 17 WHERE seq = 2", ("audit.record.hash", 2)),
    ("UPDATE kbs_audit_record SET at = 'noon' WHERE seq = 2", ("audit.record.hash", 2)),
    ("UPDATE kbs_audit_record SET previous = 'x' WHERE seq = 3", ("audit.record.previous", 3)),
    ("UPDATE kbs_audit_record SET seq = 2.5 WHERE seq = 3", ("audit.record.sequence", -1)),
    ("DELETE FROM kbs_audit_record WHERE seq = 2", ("audit.record.sequence", 3)),
    ("DELETE FROM kbs_audit_record WHERE seq = 3", ("audit.head.count", None)),
    ("DELETE FROM kbs_audit_record", ("audit.head.count", None)),
    ("UPDATE kbs_audit_head SET count = 'many'", ("audit.head.count", None)),
    ("UPDATE kbs_audit_head SET mac = 5", ("audit.head.mac", None)),
])
def test_altered_log_is_found_where_it_was_altered(made, state, change, finding):
    for n in range(3):
        ok(made("reference-value", "set", f"v{n}", "aa"))
    database = sqlite3.connect(state / "kbs.sqlite")
    database.execute(change)
    database.commit()
    database.close()
    code, out, _ = made("audit", "verify", "--json")
    assert code == 1
    assert json.loads(out)["findings"][0].items() >= {"id": finding[0], "seq": finding[1]}.items()


def test_token_keys_rotate(made, state):
    first = ok(made("token", "rotate-key")).decode().split()
    assert [first[1], first[3]] == ["signs", "verifies"]
    second = ok(made("token", "rotate-key")).decode().split()
    assert second[2] == first[0]
    assert (state / "keys" / "token.pem").stat().st_mode & 0o777 == 0o600


def test_completion_scripts_and_help_are_printed(kbs):
    for shell in ("bash", "zsh", "fish"):
        assert b"_KBS_COMPLETE" in ok(kbs("completion", shell))
    for name in cli._COMMANDS:
        assert b"Usage" in ok(kbs(name, "--help"))
    assert kbs("nonsense")[0] == 2


def test_wrong_configuration_is_told_before_anything_listens(kbs, tmp_path, state):
    (tmp_path / "kbs.toml").write_text("lisen = 1\n")
    said(kbs("serve", "--config", str(tmp_path / "kbs.toml")), 2, "did you mean listen?")
    said(kbs("serve", "--listen", "0.0.0.0:8080"), 2, "insecure_http")
    (tmp_path / "kbs.toml").write_text('[trust]\nsoftware_roots = ["absent.pem"]\n')
    said(kbs("serve", "--config", str(tmp_path / "kbs.toml")), 2, "absent.pem")


# -- a server in its own process ---------------------------------------------------------------------------------------


class Server:
    """``kbs serve`` on a free port."""

    def __init__(self, state, workers=2, **settings):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = os.environ | {"KBS_STATE": str(state), "KBS_LISTEN": f"127.0.0.1:{self.port}",
                                    "KBS_WORKERS": str(workers), **settings}
        self.log = state.parent / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*KBS, "serve"], env=environment, stderr=log)
        for _ in range(300):
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(60)

    def kill(self):
        """SIGKILL to the server and to every worker at once."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in [self.process.pid, *map(int, children)]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


@pytest.fixture
def serve(state, made):
    started = []

    def start(**settings):
        started.append(Server(state, **settings))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


def test_server_is_administered_over_http_with_a_token(serve, made, tmp_path):
    server = serve()
    url = f"http://127.0.0.1:{server.port}"
    token = tmp_path / "token"
    token.write_bytes(ok(made("admin-token", "--subject", "alex")))
    secret = tmp_path / "secret"
    secret.write_bytes(b"over the wire")
    remote = ("--url", url, "--admin-token-file", str(token))
    ok(made("resource", "set", "a/b/c", str(secret), *remote))
    assert ok(made("resource", "get", "a/b/c", "--reveal")) == b"over the wire"
    assert [row["key"] for row in json.loads(ok(made("resource", "list", "--json", *remote)))] == ["a/b/c"]
    assert len(json.loads(ok(made("resource", "get", "a/b/c", "--json", *remote)))) == 1
    ok(made("reference-value", "set", "a:b/c d", "aa", *remote))
    assert json.loads(ok(made("reference-value", "list", "--json", *remote)))[0]["name"] == "a:b/c d"
    ok(made("reference-value", "delete", "a:b/c d", *remote))
    policy = tmp_path / "p.rego"
    policy.write_text("package policy\ndefault allow = false\n")
    ok(made("policy", "set", "resource", str(policy), *remote))
    assert ok(made("policy", "get", "resource", *remote)) == policy.read_bytes()
    ok(made("policy", "delete", "resource", *remote))
    ok(made("token", "revoke", "some-jti", *remote))
    records = json.loads(ok(made("audit", "list", "--json", *remote)))
    assert {record["subject"].get("administrator") for record in records if record["kind"] == "admin"} >= {"alex"}
    assert json.loads(ok(made("audit", "list", "--head", "--json", *remote)))["count"] == len(records)
    said(made("resource", "get", "a/b/c", "--reveal", *remote), 2, "attested guests only")
    said(made("resource", "get", "a/b/absent", *remote), 1, "resource.absent")
    said(made("resource", "set", "a/b/c", "/dev/null", *remote), 1, "admin.resource.empty")
    token.write_text("not.a.token")
    said(made("resource", "list", *remote), 1, "admin access denied")
    said(made("resource", "list", "--url", url), 2, "--admin-token-file")
    server.stop()
    said(made("resource", "list", *remote), 2, "no answer")


def test_admin_tokens_are_not_in_process_arguments_nor_logs(serve, made, tmp_path):
    server = serve()
    token = tmp_path / "token"
    token.write_bytes(ok(made("admin-token")))
    ok(made("resource", "list", "--url", f"http://127.0.0.1:{server.port}", "--admin-token-file", str(token)))
    server.stop()
    assert token.read_text().strip() not in server.log.read_text()
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert {"at", "level", "logger", "message"} <= set(lines[0])
    assert any(line.get("route") == "/kbs/v0/admin/resources" and line["status"] == 200 for line in lines)


def test_metrics_are_those_of_all_workers(serve):
    server = serve(workers=2)
    for _ in range(40):
        server.request("GET", "/healthz")
    status, text, _ = server.request("GET", "/metrics")
    assert status == 200
    line = next(line for line in text.decode().splitlines() if line.startswith('kbs_requests_total{route="/healthz"'))
    assert float(line.split()[-1]) == 40


def test_sigterm_lets_what_is_in_flight_finish(serve):
    server = serve(workers=2)
    body = json.dumps({"version": "0.4.0", "tee": "tdx", "extra-params": ""}).encode()
    head = b"POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head + body[:10])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        connection.sendall(body[10:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"nonce"' in answer
    assert server.process.wait(30) == 0


def test_bodies_come_with_their_size_or_in_pieces(serve):
    server = serve(workers=1)
    body = b'{"version":"0.4.0","tee":"tdx","extra-params":""}'
    whole = server.request("POST", "/kbs/v0/auth", body)
    pieces = server.request("POST", "/kbs/v0/auth", iter([body[:10], body[10:]]))
    assert (whole[0], pieces[0]) == (200, 200)
    assert server.request("POST", "/kbs/v0/auth", iter([b"x" * 10_000] * 2))[0] == 413
    assert server.request("HEAD", "/healthz")[:2] == (405, b"")
    assert server.stop() == 0


def test_guests_that_send_slowly_keep_nobody_waiting(serve):
    server = serve(workers=1)
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    begun = time.monotonic()
    assert server.request("GET", "/healthz")[0] == 200
    assert time.monotonic() - begun < 5
    for connection in slow:
        connection.close()
    assert server.stop() == 0


def test_no_answer_is_cut_off_when_the_server_stops_under_load(serve):
    server = serve(workers=2)
    answered, cut = [], []
    body = json.dumps({"version": "0.4.0", "tee": "tdx", "extra-params": ""})

    def ask():
        while True:
            try:
                answered.append(server.request("POST", "/kbs/v0/auth", body)[0])
            except (http.client.RemoteDisconnected, ConnectionError):
                return  # it was never taken up
            except (OSError, http.client.HTTPException) as error:
                cut.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    time.sleep(0.5)
    assert server.stop(signal.SIGTERM) == 0
    for asker in askers:
        asker.join(30)
    assert set(answered) == {200}
    assert cut == []


def test_killed_server_has_lost_nothing_it_acknowledged(serve, made, tmp_path, state):
    token = tmp_path / "token"
    token.write_bytes(ok(made("admin-token")))
    headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
    acknowledged = {}
    for round in range(3):
        server = serve(workers=2)
        stop = threading.Event()

        def store(name, server=server, stop=stop):
            number = 0
            while not stop.is_set():
                number += 1
                value = f"{name}-{number}"
                try:
                    status, body, _ = server.request("POST", f"/kbs/v0/resource/a/b/{name}", value, headers)
                except (OSError, http.client.HTTPException):
                    return
                if status == 200:
                    acknowledged[name] = json.loads(body)["version"], value

        writers = [threading.Thread(target=store, args=(f"{round}-{n}",)) for n in range(4)]
        for writer in writers:
            writer.start()
        time.sleep(0.4)
        server.kill()
        stop.set()
        for writer in writers:
            writer.join(30)
    assert acknowledged
    for name, (version, value) in acknowledged.items():
        assert ok(made("resource", "get", f"a/b/{name}", "--reveal", "--version", str(version))) == value.encode()
    assert b"intact" in ok(made("audit", "verify"))


def test_worker_of_a_server_with_tls_serves_tls_only(state, made, tmp_path):
    import ssl
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, SHA256()))
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    class TlsServer(Server):
        def request(self, method, path, body=None, headers=None):
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                return answer.status, answer.read(), dict(answer.getheaders())
            finally:
                connection.close()

    server = TlsServer(state, workers=1, KBS_TLS_CERTIFICATE=str(tmp_path / "cert.pem"),
                       KBS_TLS_KEY=str(tmp_path / "key.pem"))
    try:
        body = json.dumps({"version": "0.4.0", "tee": "tdx", "extra-params": ""})
        status, _, headers = server.request("POST", "/kbs/v0/auth", body)
        assert status == 200
        cookie = next(value for header, value in headers.items() if header.lower() == "set-cookie")
        assert "Secure" in cookie
        token = tmp_path / "token"
        token.write_bytes(ok(made("admin-token")))
        url = f"https://127.0.0.1:{server.port}"
        ok(made("resource", "list", "--url", url, "--admin-token-file", str(token), "--ca", str(tmp_path / "cert.pem")))
        said(made("resource", "list", "--url", url, "--admin-token-file", str(token)), 2, "no answer")
    finally:
        server.stop()


def test_click_runner_shows_every_command_in_the_help():
    assert "reference-value" in CliRunner().invoke(cli.cli, ["--help"]).output
