"""Event logs: what was measured into registers, told by whoever kept the list.

Rules of the room: a log proves nothing. It becomes readable only where its digests, in order, give the register values
that hardware signed (`replay`), and even then one event's payload is readable only where that payload hashes to the
event's digest (`payload`). Three types mark the way: `TcgLog`, `DstackLog` and `AaelLog` are parsed and unbelieved,
`ReplayedLog` is made by `replay.believe` alone, and `Facts` read from nothing else.
"""
