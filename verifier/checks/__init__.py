"""Steps that several TEEs share, and the trail they leave.

Rules of the room: a step either returns what it established or raises; it never answers with a boolean. Each rule has
a stable dotted id and is noted on the `Trail` with what was expected and what was found, whether it holds or not.
"""

from verifier.checks.trail import Check, Trail

__all__ = ["Check", "Trail"]
