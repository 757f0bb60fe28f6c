"""Steps that several TEEs share.

Rules of the room: a step either returns what it established or raises; it never answers with a boolean. Each rule has
a stable dotted id and is noted on the `verifier.trail.Trail` with what was expected and what was found.
"""
