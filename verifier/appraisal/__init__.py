"""Verified claims against what their reader wants.

Rules of the room: everything here starts from `Claims`, so from evidence that has already proved true. There are two
ways to want something. A library caller pins values and gets every mismatch (`expectations`, `compare`). A broker holds
policies and reference values and gets an attestation result (`inputs`, `appraiser`). Neither way can make evidence
truer than it is, and what cannot be judged is never favourable.
"""
