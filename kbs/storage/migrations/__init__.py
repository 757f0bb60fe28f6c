"""The schema's history, one file per revision, run by `kbs.storage.migrate`."""
