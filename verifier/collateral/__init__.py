"""Endorsement bytes from folders, files, bundles and the makers' services.

Rules of the room: it fetches and remembers, and believes nothing that it has not verified. What it hands over is
verified again by the recipes.
"""
