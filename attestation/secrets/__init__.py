"""Secrets that reach the guest sealed, and where the keys that open them come from.

Rules of the room: nothing is unsealed before its signature holds under a key that this guest was told to trust; what
the author wrote into a secret chooses among those keys and adds none. Keys and plaintexts are returned, never kept.
"""
