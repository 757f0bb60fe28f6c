"""The attestation document of an AWS Nitro enclave: the payload that the Nitro hypervisor signs.

A CBOR map under text keys in a COSE_Sign1 message (usually without its tag). Until about 2024 the map had a definite
length, newer ones have an indefinite one; both are read, that freedom is given to this one map, and it makes no
difference to what is verified, which is the received bytes. Source: AWS Nitro Enclaves NSM API, "Nitro Enclaves
Attestation Process", sections 2.2.1 and 3.2.2 (the bounds below).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifier.formats import cbor

WHAT = "nitro_document"
MAX_SIZE = 32 * 1024
MAX_CERTIFICATE_SIZE = 1024
MAX_BUNDLE = 10
MAX_MODULE_ID = 256
PCR_SIZES = (32, 48, 64)
PCR_COUNT = 32
MAX_PUBLIC_KEY, MAX_USER_DATA, MAX_NONCE = 1024, 512, 512

_OPEN_MAP = b"\xbf"
_CERTIFICATE_SIZES = range(1, MAX_CERTIFICATE_SIZE + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NitroDocument:
    """One document's fields.

    module_id: which enclave on which instance. digest: hash of the registers, by AWS's name (``SHA384``). timestamp:
    milliseconds since 1970. pcrs: (index, value) as they came, index 0..31, each once; values of 32, 48 or 64 bytes.
    certificate: the signing leaf, DER. cabundle: its issuers, DER, the root FIRST. public_key (<= 1024 bytes),
    user_data and nonce (<= 512): what the enclave asked to have signed, None where it gave none (null, or no such
    member). indefinite: whether the map was of indefinite length.
    """

    module_id: str
    digest: str
    timestamp: int
    pcrs: tuple[tuple[int, bytes], ...]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None = None
    user_data: bytes | None = None
    nonce: bytes | None = None
    indefinite: bool = False

    @classmethod
    def from_bytes(cls, data: bytes) -> NitroDocument:
        """Exactly one document. Raises `MalformedEvidence`."""
        indefinite = data.startswith(_OPEN_MAP)
        members = cbor.Members(cbor.decode(data, WHAT, max_size=MAX_SIZE, indefinite_top=True), WHAT)
        document = cls(
            module_id=members.text("module_id", "module_id", MAX_MODULE_ID),
            digest=members.text("digest", "digest", 16), timestamp=members.unsigned("timestamp", "timestamp", 64),
            pcrs=_pcrs(members), certificate=members.octets("certificate", "certificate", _CERTIFICATE_SIZES),
            cabundle=_bundle(members),
            public_key=members.octets_or_none("public_key", "public_key", range(MAX_PUBLIC_KEY + 1)),
            user_data=members.octets_or_none("user_data", "user_data", range(MAX_USER_DATA + 1)),
            nonce=members.octets_or_none("nonce", "nonce", range(MAX_NONCE + 1)), indefinite=indefinite)
        members.end()
        return document

    def to_bytes(self) -> bytes:
        """The document with its members in the order in which the hypervisor writes them, absent ones as null."""
        members = {
            "module_id": self.module_id, "digest": self.digest, "timestamp": self.timestamp, "pcrs": dict(self.pcrs),
            "certificate": self.certificate, "cabundle": self.cabundle, "public_key": self.public_key,
            "user_data": self.user_data, "nonce": self.nonce,
        }
        return cbor.encode_open_map(members) if self.indefinite else cbor.encode(members)

    @property
    def registers(self) -> Mapping[int, bytes]:
        """The PCRs by index."""
        return dict(self.pcrs)


def _pcrs(members: cbor.Members) -> tuple[tuple[int, bytes], ...]:
    table = members.table("pcrs", "pcrs")
    if not 0 < len(table) <= PCR_COUNT:
        members.malformed("pcrs has the wrong number of registers", expected=f"1..{PCR_COUNT}", got=len(table))
    for index, value in table.items():
        if type(index) is not int or not 0 <= index < PCR_COUNT:
            members.malformed("no such PCR", expected=f"0..{PCR_COUNT - 1}", got=str(index)[:32])
        _octets(members, value, f"PCR{index}", PCR_SIZES)
    return tuple(table.items())


def _bundle(members: cbor.Members) -> tuple[bytes, ...]:
    bundle = members.array("cabundle", "cabundle", range(1, MAX_BUNDLE + 1))
    for item in bundle:
        _octets(members, item, "an entry of cabundle", _CERTIFICATE_SIZES)
    return bundle


def _octets(members: cbor.Members, value: Any, name: str, sizes: range | tuple[int, ...]) -> None:
    if not isinstance(value, bytes):
        members.malformed(f"{name} is not a byte string", got=type(value).__name__)
    if len(value) not in sizes:
        members.malformed(f"{name} has the wrong length", expected=str(sizes), got=f"{len(value)} bytes")
