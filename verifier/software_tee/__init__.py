"""Makers in miniature: a small Intel and a small AMD that sign real-shaped evidence under roots of their own.

Rules of the room: everything made here goes through the same recipes as hardware's; nothing here is trusted unless its
roots are named in a configuration or on the command line, and whatever they vouch for is marked ``software`` for good.
Each artefact is a frozen value that is signed last, so that any one of its properties can be wrong while everything
around it is right. This room returns plain bytes and mappings; it knows nothing of verification.
"""
