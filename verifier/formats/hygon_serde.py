"""Hygon's structures as Confidential Containers' ``csv-rs`` crate writes them into JSON: to bytes and back.

Each structure is one table in wire order: a member is another table, a list of tables, or a leaf that says how many
bytes it stands for and whether they are one little-endian integer (`Uint`) or an array of byte values (`Octets`).
A member that is unknown, missing, mistyped or out of range raises `MalformedEvidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from verifier.errors import MalformedEvidence
from verifier.formats.reader import Reader


class Uint(NamedTuple):
    """An unsigned integer of ``size`` bytes, little-endian."""

    size: int


class Octets(NamedTuple):
    """An array of ``size`` byte values."""

    size: int


Form = Uint | Octets | dict[str, Any] | list[Any]

_U8, _U16, _U32 = Uint(1), Uint(2), Uint(4)
_SIGNATURE: Form = {"r": Octets(72), "s": Octets(72)}
_KEY: Form = {"g": _U32, "x": Octets(72), "y": Octets(72)}
_SLOT: Form = {"usage": _U32, "algo": _U32, "signature": _SIGNATURE, "_reserved": Octets(368)}

CA_CERTIFICATE: Form = {
    "body": {
        "preamble": {
            "ver": _U32, "data": {"kid": Octets(16), "sid": Octets(16), "usage": _U32, "reserved": Octets(24)}},
        "pubkey": _KEY, "uid_size": _U16, "user_id": Octets(254), "reserved": Octets(108),
    },
    "signature": _SIGNATURE, "_reserved": Octets(112),
}
CERTIFICATE: Form = {
    "body": {
        "ver": _U32,
        "data": {
            "firmware": {"major": _U8, "minor": _U8}, "reserved1": _U16,
            "pubkey": {"usage": _U32, "algo": _U32, "key": _KEY}, "uid_size": _U16, "user_id": Octets(254),
            "sid": Octets(16), "reserved2": Octets(608),
        },
    },
    "sigs": [_SLOT, _SLOT],
}
# The TEE info of version 1 as stored: the firmware's mask is still on it.
TEE_INFO_1: Form = {
    "body": {"user_pubkey_digest": Octets(32), "vm_id": Octets(16), "vm_version": Octets(16), "report_data": Octets(64),
             "mnonce": Octets(16), "measure": Octets(32), "policy": _U32},
    "sig_usage": _U32, "sig_algo": _U32, "anonce": _U32, "sig": _SIGNATURE,
}
WRAPPER: Form = {"magic": Octets(16), "flags": _U32, "data": Octets(4096)}
SERIAL_NUMBER: Form = Octets(64)


def packed(value: object, form: Form, field: str) -> bytes:
    """The bytes that ``value`` stands for; ``field`` names it in errors."""
    if isinstance(form, Uint):
        return _integer(value, form.size, field).to_bytes(form.size, "little")
    if isinstance(form, Octets):
        return _octets(value, form.size, field)
    if isinstance(form, list):
        if not isinstance(value, list) or len(value) != len(form):
            raise malformed(field, "must be an array", expected=f"{len(form)} items", got=type(value).__name__)
        return b"".join(packed(item, part, field) for item, part in zip(value, form, strict=True))
    members = members_of(value, field, set(form))
    return b"".join(packed(members[name], part, f"{field}.{name}") for name, part in form.items())


def unpacked(reader: Reader, form: Form) -> Any:
    """The value that the next bytes of ``reader`` make."""
    if isinstance(form, Uint):
        return reader.uint(form.size, "integer")
    if isinstance(form, Octets):
        return list(reader.take(form.size, "bytes"))
    if isinstance(form, list):
        return [unpacked(reader, part) for part in form]
    return {name: unpacked(reader, part) for name, part in form.items()}


def structure(data: bytes, form: Form) -> Any:
    """The value that all of ``data`` makes. Raises `MalformedEvidence`."""
    reader = Reader(data, "csv_json")
    value = unpacked(reader, form)
    reader.end()
    return value


def members_of(value: object, field: str, required: Set[str], optional: Set[str] = frozenset()) -> Mapping[str, Any]:
    """``value`` as an object with all ``required`` members and no others but ``optional`` ones."""
    if not isinstance(value, Mapping):
        raise malformed(field, "must be an object", got=type(value).__name__)
    if not required <= set(value) <= required | optional:
        raise malformed(field, "has missing or unknown members", expected=sorted(required - set(value)),
                        got=sorted(str(name)[:40] for name in set(value) - required - optional)[:8])
    return value


def _integer(value: object, size: int, field: str) -> int:
    """True and false are not integers."""
    if type(value) is not int or not 0 <= value < 1 << 8 * size:
        raise malformed(field, "must be an unsigned integer", expected=f"{8 * size} bits", got=type(value).__name__)
    return value


def _octets(value: object, size: int, field: str) -> bytes:
    if not isinstance(value, list) or len(value) != size or not set(map(type, value)) <= {int}:
        raise malformed(field, "must be an array of integers", expected=f"{size} integers", got=type(value).__name__)
    try:
        return bytes(value)
    except ValueError:
        raise malformed(field, "must be an array of byte values", expected="0..255") from None


def malformed(field: str, detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    """An error about evidence JSON, to be raised by the caller."""
    return MalformedEvidence("format.csv_json", f"{field} {detail}", expected=expected, got=got)
