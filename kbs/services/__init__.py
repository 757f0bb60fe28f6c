"""What the broker does, without HTTP and without SQL.

    handshake      challenge, then evidence, then token: the state machine of RCAR
    verification   the guest's evidence to verified claims, one submodule per TEE
    trees          verdicts and results as the audit log writes them
    tokens         attestation tokens: issued and verified with our own keys only
    release        the one gate between a token and a secret
    admin          what administrators change; admin_tokens says who they are
    shelf          the policies, reference values and revocations in force, compiled

Rules of the room: services see ports, never adapters; the moment is passed in; a decision is in the audit log before
its answer leaves.
"""
