"""The trust anchors, and who may add to them.

Rules of the room: makers' roots and AMD's intermediates are pinned here as published facts (subject, public key,
validity, SHA-256 of certificate and of key, and where the maker publishes them). A certificate that arrives with
evidence or collateral is compared with a pin by the hash of its whole DER and never becomes an anchor. Roots added by
name in a configuration are always marked `software`: whatever they vouch for never counts as hardware.
"""

from verifier.endorsements.roots.anchors import Anchor, Roots

__all__ = ["Anchor", "Roots"]
