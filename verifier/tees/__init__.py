"""One recipe per TEE: parse, inspect, verify.

Rules of the room: recipes do not know each other; steps they share live in `verifier.checks`. A recipe is a pure
function of evidence, collateral, roots and a moment. `registry.py` is the visible table of all of them.
"""
