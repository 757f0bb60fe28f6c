"""A short run of all that people, services, guests and hosts hand over."""

from __future__ import annotations

import pytest

from tests.fuzz.brief import needs_atheris, run_briefly
from tests.fuzz.targets import ROOMS

ELSEWHERE = {"formats", "eventlog", "verdicts"}  # each in a file of its own


@needs_atheris
@pytest.mark.parametrize("room", [room for room in ROOMS if room not in ELSEWHERE])
def test_every_parser_of_the_room_holds(tmp_path, room):
    run_briefly(tmp_path, room)
