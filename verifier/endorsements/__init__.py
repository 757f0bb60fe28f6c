"""What makers vouch for: pinned roots, certificate chains at a moment, and the documents they sign.

Rules of the room: no I/O and no clock. Bytes come in, with the moment at which they are judged; what goes out has been
verified. Roots are pinned by certificate and key hash; a root that arrives with evidence is only ever compared with a
pin, never trusted because it arrived.
"""
