"""A short run of whole verifications."""

from __future__ import annotations

from tests.fuzz.brief import needs_atheris, run_briefly


@needs_atheris
def test_every_verification_ends_in_a_verdict(tmp_path):
    run_briefly(tmp_path, "verdicts")
