"""EFI_SIGNATURE_LIST: the contents of PK, KEK, db and dbx.

    list       type GUID 16, list size u32, header size u32, signature size u32, header, signatures
    signature  owner GUID 16, data

The list is exactly its parts; every signature has the same size. No defined type has a header, so its size must be
zero: bytes of a header can never be taken for a signature. Source: UEFI Specification 2.10, "Signature Database".
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from verifier.eventlog.efi_variable import guid_bytes, guid_text
from verifier.formats.reader import Reader

MAX_SIGNATURES = 4096

_HEADER = Struct("<16sIII")
_OWNER = 16

# Data bytes of one signature by type; None where they vary.
TYPES: dict[bytes, tuple[str, int | None]] = {
    guid_bytes("a5c059a1-94e4-4aa7-87b5-ab155c2bf072"): ("x509", None),
    guid_bytes("c1c41626-504c-4092-aca9-41f936934328"): ("sha256", 32),
    guid_bytes("826ca512-cf10-4ac9-b187-be01496631bd"): ("sha1", 20),
    guid_bytes("ff3e5307-9fd0-48c9-85f1-8ad56c701e01"): ("sha384", 48),
    guid_bytes("093e0fae-a6c4-4f50-9f1b-d41e2b89c19a"): ("sha512", 64),
    guid_bytes("3c5766e8-269c-4e34-aa14-ed776e85b3b6"): ("rsa2048", 256),
    guid_bytes("3bd2a492-96c0-4079-b420-fcf98ef103ed"): ("x509_sha256", 48),
    guid_bytes("7076876e-80c2-4ee6-aad2-28b349a6865b"): ("x509_sha384", 64),
    guid_bytes("446dbf63-2502-4cda-bcfa-2465d2b0fe9d"): ("x509_sha512", 80),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """``kind``: a name of `TYPES`, or the type's GUID. ``data``: a certificate (DER), a digest, a key."""

    kind: str
    owner: str
    data: bytes


def read_signature_lists(data: bytes) -> tuple[Signature, ...]:
    """The signatures of all lists in ``data``, in order. Raises `MalformedEvidence`."""
    reader, found = Reader(data, "efi_signature_list"), list[Signature]()
    while reader.remaining:
        type, size, header_size, signature_size = reader.unpack(_HEADER, "signature list")
        kind, expected = TYPES.get(type, (guid_text(type), None))
        if header_size:
            raise reader.malformed("no type of signature has a header", expected=0, got=header_size)
        if signature_size <= _OWNER or expected not in (None, signature_size - _OWNER):
            raise reader.malformed(f"SignatureSize is wrong for {kind}", expected=expected, got=signature_size)
        with reader.region(size - _HEADER.size, "SignatureListSize"):
            if len(found) + reader.remaining // signature_size > MAX_SIGNATURES:
                raise reader.malformed("too many signatures", expected=f"<= {MAX_SIGNATURES}")
            while reader.remaining:
                owner = guid_text(reader.take(_OWNER, "owner"))
                found.append(Signature(kind, owner, reader.take(signature_size - _OWNER, "signature")))
    return tuple(found)
