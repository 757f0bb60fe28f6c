"""Sources come from a file that is read strictly."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.collateral.http import Limits
from verifier.collateral.sources import Sources
from verifier.errors import SetupError


def test_the_makers_are_asked_unless_something_else_is_said():
    told = Sources.from_file(b"")
    assert told == Sources()
    assert told.pcs == "https://api.trustedservices.intel.com"
    assert told.kds == "https://kdsintf.amd.com"


@pytest.mark.parametrize("data", [
    b'pccs = "https://pccs.example:8081"\nkds = ""\nupdate = "early"\n[limits]\ntotal = 5\nattempts = 2\n',
    b'{"pccs": "https://pccs.example:8081", "kds": "", "update": "early", "limits": {"total": 5.0, "attempts": 2}}'])
def test_toml_and_json_say_the_same(data):
    assert Sources.from_file(data) == Sources(pccs="https://pccs.example:8081", kds="", update="early",
                                              limits=Limits(total=5.0, attempts=2))


def test_an_evaluation_number_is_a_set_too():
    assert Sources.from_file(b"update = 19").update == "19"


@pytest.mark.parametrize(("data", "error"), [
    (b"kd = 1", "sources.unknown"), (b"kds = 1", "sources.type"), (b"limits = 1", "sources.type"),
    (b"[limits]\nmore = 1", "sources.unknown"), (b"[limits]\ntotal = 0", "sources.limits"),
    (b"[limits]\nattempts = 1.5", "sources.type"), (b"[limits]\nattempts = true", "sources.type"),
    (b'kds = "file:///etc/passwd"', "sources.url"), (b'kds = "https://user:pw@host"', "sources.url"),
    (b'update = "late"', "sources.update"), (b"{", "sources.file"), (b"\xff", "sources.file"),
    (b'{"kds": "", "kds": ""}', "sources.file")])
def test_what_is_wrong_is_named(data, error):
    with pytest.raises(SetupError) as caught:
        Sources.from_file(data)
    assert caught.value.id == error


@given(st.binary(max_size=80))
def test_any_bytes_are_sources_or_refused(data):
    with suppress(SetupError):
        assert isinstance(Sources.from_file(data), Sources)
