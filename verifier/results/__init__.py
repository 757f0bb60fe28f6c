"""What the verifier answers.

Rules of the room: a verdict starts as refused. `verdict.accept` is the one place where an accepted one is built, and it
demands every sub-verdict as an argument.
"""

from verifier.results.verdict import Verdict, accept, refuse, undecided

__all__ = ["Verdict", "accept", "refuse", "undecided"]
