"""Endorsement bytes from folders and files, and (later) from the makers' services.

Rules of the room: it fetches and remembers, and believes nothing. What it hands over is verified by the recipes.
"""
