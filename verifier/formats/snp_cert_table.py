"""The certificate table that a host hands to an SNP guest (GHCB extended guest request; configfs-tsm ``auxblob``).

Source: AMD "SEV-ES Guest-Hypervisor Communication Block Standardization" (56421), SNP Extended Guest Request. Entries
of 24 bytes (GUID, offset u32, length u32, little-endian; offsets count from the start of the table), an all-zero entry
as the end, then the contents. GUIDs are stored in the order they are written as text. The specification says DER; some
hosts supply PEM, so contents are not looked into here.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from uuid import UUID

from verifier.formats.reader import Reader

VCEK = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")  # the ASVK of a VLEK is stored under this one too
ARK = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CRL = UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea")

MAX_TABLE_BYTES = 64 * 1024
MAX_ENTRIES = 16

_ENTRY = Struct("<16sII")
_END = bytes(_ENTRY.size)


@dataclass(frozen=True, slots=True)
class CertEntry:
    """One content under the GUID that says what it is."""

    guid: UUID
    data: bytes


@dataclass(frozen=True, slots=True)
class CertTable:
    """Entries in table order, each GUID at most once."""

    entries: tuple[CertEntry, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> CertTable:
        """The whole of ``data``. Raises `MalformedEvidence`.

        Every content must lie inside, after the table, and overlap no other; bytes that belong to none (hosts pad to
        whole pages) must be zero.
        """
        reader = Reader(data, "snp_cert_table")
        if len(data) > MAX_TABLE_BYTES:
            raise reader.malformed("the table is too large", expected=f"<= {MAX_TABLE_BYTES} bytes",
                                   got=f"{len(data)} bytes")
        rows = _read_rows(reader)
        contents = _read_contents(reader, rows)
        return cls(tuple(CertEntry(UUID(bytes=guid), contents[guid]) for guid, _, _ in rows))

    def to_bytes(self) -> bytes:
        """A table without gaps: contents follow in entry order."""
        offset = _ENTRY.size * (len(self.entries) + 1)
        rows = []
        for entry in self.entries:
            rows.append(_ENTRY.pack(entry.guid.bytes, offset, len(entry.data)))
            offset += len(entry.data)
        return b"".join((*rows, _END, *(entry.data for entry in self.entries)))

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The contents that are certificates (VCEK, VLEK, ASK or ASVK, ARK), DER or PEM, in table order.

        A CRL from the host is left out: whoever is judged does not choose the revocation list.
        """
        return tuple(entry.data for entry in self.entries if entry.guid in (VCEK, VLEK, ASK, ARK))


def _read_rows(reader: Reader) -> list[tuple[bytes, int, int]]:
    rows: list[tuple[bytes, int, int]] = []
    while True:
        guid, offset, length = reader.unpack(_ENTRY, "table entry")
        if not any(guid):
            if offset or length:
                raise reader.malformed("the last entry is not all zero", got=[offset, length])
            return rows
        if len(rows) == MAX_ENTRIES or any(guid == known for known, _, _ in rows):
            raise reader.malformed("too many entries, or one GUID twice", expected=f"<= {MAX_ENTRIES} different",
                                   got=str(UUID(bytes=guid)))
        rows.append((guid, offset, length))


def _read_contents(reader: Reader, rows: list[tuple[bytes, int, int]]) -> dict[bytes, bytes]:
    contents = {}
    for guid, offset, length in sorted(rows, key=lambda row: row[1:]):
        if offset < reader.position:
            raise reader.malformed("a content overlaps the table or another content", expected=f">= {reader.position}",
                                   got=offset)
        _skip_zeros(reader, offset - reader.position)
        contents[guid] = reader.take(length, "content")
    _skip_zeros(reader, reader.remaining)
    return contents


def _skip_zeros(reader: Reader, size: int) -> None:
    if any(reader.take(size, "space between contents")):
        raise reader.malformed("bytes that belong to no entry are not zero")
