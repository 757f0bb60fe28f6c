"""Loose folders of captured evidence: what people have, told by conventional file names.

Rules of the room: nothing is believed and nothing is verified; files become an `Evidence`. One module per TEE whose
evidence is more than one file; each knows its own names. `folder` tries them in the order of the visible table.
"""
