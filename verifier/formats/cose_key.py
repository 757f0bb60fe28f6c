"""Elliptic-curve public keys as COSE writes them (RFC 9053 section 7.1.1): exactly kind, curve and both coordinates."""

from __future__ import annotations

from typing import NamedTuple

from verifier.formats import cbor

MAX_SIZE = 512

_KIND, _CURVE, _X, _Y = 1, -1, -2, -3
_KIND_EC2 = 2

# COSE curve number: name by SEC 2, bytes of a coordinate.
CURVES = {1: ("secp256r1", 32), 2: ("secp384r1", 48), 3: ("secp521r1", 66)}


class EcPoint(NamedTuple):
    """A curve's name and an uncompressed point (04 || x || y), which nobody has looked for on the curve."""

    curve: str
    encoded: bytes


def read(data: bytes, what: str) -> EcPoint:
    """The point of exactly one COSE_Key; ``what`` as for `cbor.decode`. Raises `MalformedEvidence`."""
    members = cbor.Members(cbor.decode(data, what, max_size=MAX_SIZE), what)
    kind, number = members.integer(_KIND, "key type"), members.integer(_CURVE, "curve")
    if kind != _KIND_EC2 or number not in CURVES:
        members.malformed("not an elliptic-curve key of a known curve", expected=[*CURVES], got=number)
    name, size = CURVES[number]
    x, y = members.octets(_X, "x", (size,)), members.octets(_Y, "y", (size,))
    members.end()
    return EcPoint(name, b"\x04" + x + y)


def write(point: EcPoint) -> bytes:
    """What `read` reads."""
    number, size = next((number, size) for number, (name, size) in CURVES.items() if name == point.curve)
    return cbor.encode({_KIND: _KIND_EC2, _CURVE: number, _X: point.encoded[1 : 1 + size],
                        _Y: point.encoded[1 + size :]})
