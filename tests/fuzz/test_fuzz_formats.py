"""A short run of the structures of hardware. One file for each process that the test suite may spread over."""

from __future__ import annotations

import pytest

from tests.fuzz.brief import needs_atheris, run_briefly


@needs_atheris
@pytest.mark.parametrize("room", ["formats", "eventlog"])
def test_every_parser_of_the_room_holds(tmp_path, room):
    run_briefly(tmp_path, room)
