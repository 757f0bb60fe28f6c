"""Challenges: handed out without being remembered, taken exactly once.

Rules of the room: `challenge` makes and opens cookies that carry their own state, so a flood of requests for
challenges costs no memory; `base` is the port of what must be remembered: which challenges were taken, and with what
outcome.
"""
