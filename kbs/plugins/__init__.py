"""Where secrets come from.

Rules of the room: `base` is the port; plugins do not know each other, nor who asks, nor whether they may: by the time a
plugin opens anything, the release gate has decided and the decision is in the audit log.
"""
