"""The treaty between guest and broker: RCAR 0.4.0, pure and used by both ends.

Rules of the room: no socket, no clock, no Flask, no storage. Bytes become frozen values here and values become bytes;
every decoder is bounded and strict. A fault in what the guest sent is a `ProtocolError`; a fault in what the broker
answered is a `MalformedAnswer`.
"""
