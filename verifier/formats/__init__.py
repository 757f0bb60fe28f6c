"""Bytes to frozen dataclasses and back.

Rules of the room: formats know no trust and no time; a parsed value is a claim. Offsets are counted only in
`reader.py`. Every region is consumed exactly, reserved bytes stay visible to the room that judges them, and no length
is padded or cut to fit.
"""
