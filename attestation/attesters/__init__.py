"""Evidence from the TEE this guest runs in: one file per TEE.

Rules of the room: an attester gives evidence over the report data it was asked for or raises `AttesterError`; it never
gives evidence of another kind, of another guest or of no TEE. Only "no such file" means that something is absent; every
other answer of the kernel stops the attester, because the host decides which reads fail. Nothing here verifies: that
the evidence is true is for the broker to find out.
"""
