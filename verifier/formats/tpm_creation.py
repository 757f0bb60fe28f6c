"""TPMS_CREATION_DATA: under which parent, and in which state, a key was made.

Big-endian. Source: TCG TPM 2.0 Library part 2, section 15.1. A creation attestation signs a digest over it. The
parent's qualified name is what a key's own qualified name is computed from (part 1, section 26.5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from verifier.errors import UnsupportedEvidence
from verifier.formats.reader import Reader
from verifier.formats.tpm import HashAlg, PcrSelection, read_selections, sized, to_sized, write_selections

# TPM_HANDLE of the hierarchies (section 7.4): the parents of primary keys; a handle is its own name.
HIERARCHIES = {"owner": 0x40000001, "endorsement": 0x4000000B, "platform": 0x4000000C, "null": 0x40000007}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreationData:
    """The fields in wire order. parent_name_alg: TPM_ALG_ID. outside_info: the caller's own data."""

    selections: tuple[PcrSelection, ...] = ()
    pcr_digest: bytes
    locality: int
    parent_name_alg: int
    parent_name: bytes
    parent_qualified_name: bytes
    outside_info: bytes = b""

    @classmethod
    def from_bytes(cls, data: bytes) -> CreationData:
        """The whole of ``data``. Raises `EvidenceError`."""
        reader = Reader(data, "tpms_creation_data", order="big")
        made = cls(selections=read_selections(reader), pcr_digest=sized(reader, "pcrDigest"),
                   locality=reader.uint(1, "locality"), parent_name_alg=reader.uint(2, "parentNameAlg"),
                   parent_name=sized(reader, "parentName"),
                   parent_qualified_name=sized(reader, "parentQualifiedName"),
                   outside_info=sized(reader, "outsideInfo"))
        reader.end()
        return made

    def to_bytes(self) -> bytes:
        """As on the wire."""
        return (write_selections(self.selections) + to_sized(self.pcr_digest) + bytes((self.locality,))
                + self.parent_name_alg.to_bytes(2, "big") + to_sized(self.parent_name)
                + to_sized(self.parent_qualified_name) + to_sized(self.outside_info))


def qualified_name(name: bytes, parent: bytes) -> bytes:
    """The qualified name of the key called ``name`` below ``parent`` (a qualified name, or a hierarchy's handle).

    Raises `UnsupportedEvidence` when ``name`` does not begin with a hash that is computed here.
    """
    number = int.from_bytes(name[:2], "big")
    if number not in (HashAlg.SHA1, HashAlg.SHA256, HashAlg.SHA384, HashAlg.SHA512):
        raise UnsupportedEvidence("tpm.hash", "a name by an unknown hash", got=name[:2])
    return name[:2] + hashlib.new(HashAlg(number).bank, parent + name).digest()


def hierarchy_of(name: bytes, qualified: bytes) -> str | None:
    """The hierarchy whose primary key ``name`` is, by its qualified name; None when it is no primary key."""
    return next((hierarchy for hierarchy, handle in HIERARCHIES.items()
                 if qualified_name(name, handle.to_bytes(4, "big")) == qualified), None)
