"""The table of targets is complete, a target knows a finding from a documented error, and what is planted is found."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.fuzz.brief import RUN, needs_atheris
from tests.fuzz.harness import MALFORMED, Finding, Target, written_again, written_exactly
from tests.fuzz.seeds import PROJECT, these
from tests.fuzz.targets import ROOMS, load, room_of
from verifier.errors import MalformedEvidence

# Where bytes and text come in from outside.
FUZZED = (
    "verifier/formats", "verifier/eventlog", "verifier/endorsements", "verifier/collateral", "verifier/loose",
    "verifier/appraisal/expectations.py", "verifier/recording.py", "verifier/reference_values", "kbs/protocol",
    "kbs/sessions", "kbs/services", "kbs/audit", "kbs/config.py", "attestation/images", "attestation/models",
    "attestation/secrets", "attestation/init_data.py", "attestation/config.py", "attestation/attesters",
    "attestation/kbc",
)
PARSER = re.compile(r"from_\w+|read(_\w+)?|parse(_\w+)?|decode(_\w+)?|load(_\w+)?|unseal|unpack_\w+|assemble|recognise|"
                    r"split_certificates|guess|\w*_from_json|verify|unwrap")
# Parsers that no target reaches, and why none is needed. Names as `module:Class.method`.
_FILE = "opens a file and hands its bytes to a parser that has a target"
_RAW = "bytes of one length, without a form"
REASONS: dict[str, str] = {
    "attestation.attesters.kernel_files:OsFiles.read": "reads a file; what is in it goes to the attesters, which have",
    "attestation.attesters.software:SoftwareAttester.load": "a folder that our own tool wrote, for tests",
    "attestation.images.jwe_keys:JwePrivateKey.from_file": _FILE,
    "attestation.images.jwe_keys:JweRecipient.from_file": _FILE,
    "attestation.images.key_sources:read_file": _RAW,
    "attestation.images.key_sources:read_kek": _RAW,
    "attestation.kbc.connect:read_init_data": _FILE,
    "attestation.models.keys:HeldKeys.from_files": _RAW,
    "attestation.models.keys:read_key_file": _RAW,
    "attestation.models.safetensors_header:read_header": "hands what a sealed file holds to `parse_header`",
    "attestation.models.tensors:load_file": "tensors by a header that has a target, from data that is authentic",
    "kbs.services.verification:read_init_data": "hands a message's text to `kbs.protocol.init_data.parse`",
}


def refuse(data: bytes) -> bytes:
    if data == b"refused":
        raise MalformedEvidence("format.test", "refused")
    if data == b"key":
        raise KeyError(data)
    if data == b"deep":
        raise RecursionError
    return data.rstrip(b"\x00")


def target(*holds: Callable[[bytes, Any], None]) -> Target:
    return Target("test.refuse", refuse, MALFORMED, these(), holds)


def test_a_documented_error_is_no_finding():
    assert target()(b"refused") is False
    assert target()(b"parsed") is True


@pytest.mark.parametrize(("data", "cause"), [(b"key", KeyError), (b"deep", RecursionError)])
def test_every_other_error_is_one_and_tells_its_cause(data, cause):
    with pytest.raises(Finding, match=f"{cause.__name__} is no documented error") as caught:
        target()(data)
    assert isinstance(caught.value.__cause__, cause)


def test_a_value_that_is_written_otherwise_is_one():
    assert target(written_exactly(bytes))(b"text") is True
    with pytest.raises(Finding, match="is not x"):
        target(written_exactly(bytes))(b"text\x00")
    assert target(written_again(refuse, bytes))(b"text\x00") is True
    with pytest.raises(Finding, match="is not value"):
        target(written_again(lambda data: data + b"!", bytes))(b"text")


def test_a_value_that_cannot_be_used_is_one():
    with pytest.raises(Finding, match="cannot be used") as caught:
        target(lambda _, value: value.missing)(b"text")
    assert isinstance(caught.value.__cause__, AttributeError)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`run.py` with a room of planted faults beside the others."""
    program = ("import sys; from tests.fuzz import run, targets; targets.ROOMS['planted'] = 'tests.fuzz.planted'; "
               "sys.exit(run.main(sys.argv[1:]))")
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True,
                          check=False, cwd=PROJECT)


@needs_atheris
def test_what_is_planted_is_found_and_reproduced(tmp_path):
    done = run("--brief", "--reproducers", tmp_path, "planted")
    assert done.returncode == 1, done.stdout + done.stderr
    told = dict(re.findall(r"^(planted\.\w+) .* (ok|FOUND)$", done.stdout, re.MULTILINE))
    assert told == {"planted.undocumented_error": "FOUND", "planted.written_otherwise": "FOUND",
                    "planted.nothing": "ok"}
    assert "KeyError: 'member'" in done.stdout
    for name in ("undocumented_error", "written_otherwise"):
        (reproducer,) = tmp_path.glob(f"planted.{name}-crash-*")
        assert str(reproducer) in done.stdout
        again = run("--reproducers", tmp_path / "again", f"planted.{name}", reproducer)
        assert again.returncode == 1, again.stdout
    assert run("--reproducers", tmp_path / "again", "planted.nothing", reproducer).returncode == 0


def test_targets_are_listed_without_atheris():
    done = subprocess.run([sys.executable, RUN, "--list"], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.stdout.split() == list(load(ROOMS))
    assert len(done.stdout.split()) > 150
    assert {room_of(name) for name in done.stdout.split()} == set(ROOMS)


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["nowhere.quote"]])
def test_what_is_no_target_is_not_run(arguments):
    done = subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 2
    assert done.stderr


# -- completeness -----------------------------------------------------------------------------------------------------


def parsers() -> Iterator[str]:
    """Every public function and method of these rooms that is called like a parser, as ``module:qualified name``."""
    for place in FUZZED:
        path = PROJECT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            module = ".".join(file.relative_to(PROJECT).with_suffix("").parts)
            for name in _named(ast.parse(file.read_text("utf-8")), ""):
                yield f"{module}:{name}"


def _named(tree: ast.AST, above: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            if not _is_protocol(node) and not node.name.startswith("_"):
                yield from _named(node, f"{above}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and PARSER.fullmatch(node.name):
            yield above + node.name


def _is_protocol(node: ast.ClassDef) -> bool:
    """A port says what others do."""
    return any(ast.unparse(base).partition("[")[0] == "Protocol" for base in node.bases)


@dataclass
class Tried:
    """Every target with its first inputs. reached: the functions of the project that were called, named as above.

    parsed: how many inputs of each target were. Whole verifications are left out: what they alone reach is not fuzzed
    by itself.
    """

    reached: set[str] = field(default_factory=set)
    parsed: dict[str, int] = field(default_factory=dict)

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """As `sys.setprofile` calls it."""
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.partition(".")[0] in ("verifier", "kbs", "attestation"):
            self.reached.add(f"{module}:{frame.f_code.co_qualname}")


@pytest.fixture(scope="module")
def tried() -> Tried:
    found = Tried()
    for one in load(room for room in ROOMS if room != "verdicts").values():
        inputs = sorted(set(one.seeds()), key=len)[:24]
        sys.setprofile(found.note)
        try:
            with warnings.catch_warnings():  # as everywhere but in tests
                warnings.simplefilter("ignore")
                found.parsed[one.name] = sum(map(one, inputs))
        finally:
            sys.setprofile(None)
    return found


def test_every_parser_has_a_target_or_a_reason(tried):
    missing = [name for name in parsers() if name not in tried.reached and name not in REASONS]
    assert not missing, "no target reaches\n" + "\n".join(missing)


def test_every_reason_is_about_a_parser_that_no_target_reaches(tried):
    assert set(REASONS) <= set(parsers()) - tried.reached


def test_every_target_begins_with_something_that_is_parsed(tried):
    assert [name for name, count in tried.parsed.items() if not count] == []
