"""The guest: prove what runs here, fetch what that earns, unlock what was encrypted for it."""
