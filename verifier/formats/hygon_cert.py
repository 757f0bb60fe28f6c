"""Hygon's certificates: HRK and HSK (832 bytes), CEK, PEK and their like (2084 bytes).

They are not X.509: fixed structures without dates, names or extensions. All integers are little-endian, coordinates and
signature numbers too: fields of 72 bytes of which SM2 uses 32. Every byte is kept, reserved ones included, and
`verifier.endorsements.hygon` judges them. Source: Hygon's published certificate structures (hygon_root_cert_t,
csv_cert_t); the keys are SM2 on sm2p256v1 (GB/T 32918.5).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter
from struct import Struct

from verifier.formats.reader import Reader

CURVE_SM2_256 = 3
ALGORITHM_NONE = 0
ALGORITHM_SM2_SIGNATURE = 4
CA_VERSIONS = (1,)
CERTIFICATE_VERSIONS = (1, 2)  # PEKs say 1, CEKs say 2; the layout is one

# Fields of 72 bytes hold numbers of 32.
SIGNIFICANT = 32

_CA = Struct("<I16s16sI24sI72s72sH254s108s72s72s112s")
_BODY = Struct("<IBBHIII72s72sH254s16s608s")
_SLOT = Struct("<II72s72s368s")
_U32 = Struct("<I")

CA_SIZE = _CA.size
CA_SIGNED_SIZE = 576
SIZE = _BODY.size + 2 * _SLOT.size
SIGNED_SIZE = _BODY.size
MAX_USER_ID = 254
MAX_FILE_CERTIFICATES = 64


class Usage(IntEnum):
    """What a key may sign; in a signature slot, whose key signed."""

    HRK = 0
    HSK = 0x13
    INVALID = 0x1000
    OCA = 0x1001
    PEK = 0x1002
    PDH = 0x1003
    CEK = 0x1004


_CA_USAGES = (Usage.HRK, Usage.HSK)
_CERTIFICATE_USAGES = (Usage.OCA, Usage.PEK, Usage.PDH, Usage.CEK)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaCertificate:
    """HRK or HSK, fields in wire order. ``reserved_<offset>`` is space that Hygon leaves zero.

    key_id, signer_key_id: 16 bytes each, equal in the self-signed HRK. x, y, signature_r, signature_s: 72 bytes.
    user_id_field: 254 bytes of which the first ``uid_size`` count.
    """

    version: int = 1
    key_id: bytes
    signer_key_id: bytes
    usage: int
    reserved_028: bytes = bytes(24)
    curve: int = CURVE_SM2_256
    x: bytes
    y: bytes
    uid_size: int
    user_id_field: bytes
    reserved_1d4: bytes = bytes(108)
    signature_r: bytes = bytes(72)
    signature_s: bytes = bytes(72)
    reserved_2d0: bytes = bytes(112)

    @classmethod
    def from_bytes(cls, data: bytes) -> CaCertificate:
        """Exactly 832 bytes. Raises `MalformedEvidence`, also for a user id longer than its field."""
        reader = Reader(data, "hygon_ca_cert")
        values = reader.unpack(_CA, "certificate")
        reader.end()
        found = cls(**dict(zip(_CA_NAMES, values, strict=True)))
        _check_uid_size(reader, found.uid_size)
        return found

    def to_bytes(self) -> bytes:
        """The 832 bytes again."""
        return _CA.pack(*_CA_VALUES(self))

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers: the first 576 bytes."""
        return self.to_bytes()[:CA_SIGNED_SIZE]

    @property
    def user_id(self) -> bytes:
        """The name under which the key signs."""
        return self.user_id_field[: self.uid_size]

    @property
    def reserved(self) -> bytes:
        """All reserved bytes, and those behind the user id."""
        return self.reserved_028 + self.user_id_field[self.uid_size :] + self.reserved_1d4 + self.reserved_2d0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One of the two signatures on a certificate. ``usage`` says whose; `Usage.INVALID` marks an empty slot."""

    usage: int = Usage.INVALID
    algorithm: int = ALGORITHM_NONE
    signature_r: bytes = bytes(72)
    signature_s: bytes = bytes(72)
    reserved: bytes = bytes(368)

    @property
    def empty(self) -> bool:
        """Nobody signed here, and nothing is written."""
        return self == Slot()


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvCertificate:
    """CEK, PEK, PDH or OCA, fields in wire order, then two signature slots.

    firmware_major, firmware_minor: of the firmware that made it. signer_key_id: 16 bytes, a CEK's HSK; zeros in PEKs.
    """

    version: int
    firmware_major: int
    firmware_minor: int
    reserved_006: int = 0
    usage: int
    algorithm: int = ALGORITHM_SM2_SIGNATURE
    curve: int = CURVE_SM2_256
    x: bytes
    y: bytes
    uid_size: int
    user_id_field: bytes
    signer_key_id: bytes = bytes(16)
    reserved_1b4: bytes = bytes(608)
    slots: tuple[Slot, Slot] = (Slot(), Slot())

    @classmethod
    def from_bytes(cls, data: bytes) -> CsvCertificate:
        """Exactly 2084 bytes. Raises `MalformedEvidence`, also for a user id longer than its field."""
        reader = Reader(data, "hygon_cert")
        values = reader.unpack(_BODY, "certificate")
        first, second = (Slot(**dict(zip(_SLOT_NAMES, reader.unpack(_SLOT, "signature"), strict=True)))
                         for _ in range(2))
        reader.end()
        found = cls(**dict(zip(_BODY_NAMES, values, strict=True)), slots=(first, second))
        _check_uid_size(reader, found.uid_size)
        return found

    def to_bytes(self) -> bytes:
        """The 2084 bytes again."""
        return self.signed_bytes + b"".join(_SLOT.pack(*_SLOT_VALUES(slot)) for slot in self.slots)

    @property
    def signed_bytes(self) -> bytes:
        """What both signatures cover: the first 1044 bytes."""
        return _BODY.pack(*_BODY_VALUES(self))

    @property
    def user_id(self) -> bytes:
        """The name under which the key signs."""
        return self.user_id_field[: self.uid_size]

    @property
    def reserved(self) -> bytes:
        """All reserved bytes of the signed part, and those behind the user id."""
        return self.reserved_006.to_bytes(2, "little") + self.user_id_field[self.uid_size :] + self.reserved_1b4


_CA_NAMES = tuple(field.name for field in fields(CaCertificate))
_CA_VALUES = attrgetter(*_CA_NAMES)
_BODY_NAMES = tuple(field.name for field in fields(CsvCertificate) if field.name != "slots")
_BODY_VALUES = attrgetter(*_BODY_NAMES)
_SLOT_NAMES = tuple(field.name for field in fields(Slot))
_SLOT_VALUES = attrgetter(*_SLOT_NAMES)


def _check_uid_size(reader: Reader, size: int) -> None:
    if size > MAX_USER_ID:
        raise reader.malformed("the user id is longer than its field", expected=f"<= {MAX_USER_ID}", got=size)


def resembles_ca(data: bytes) -> bool:
    """Whether ``data`` begins like an HRK or HSK: version, usage and curve."""
    return (len(data) >= CA_SIZE and _word(data, 0) in CA_VERSIONS and _word(data, 36) in _CA_USAGES
            and _word(data, 64) == CURVE_SM2_256)


def resembles_certificate(data: bytes) -> bool:
    """Whether ``data`` begins like a CEK, PEK, PDH or OCA: version, usage, algorithm and curve."""
    return (len(data) >= SIZE and _word(data, 0) in CERTIFICATE_VERSIONS and _word(data, 8) in _CERTIFICATE_USAGES
            and _word(data, 12) == ALGORITHM_SM2_SIGNATURE and _word(data, 16) == CURVE_SM2_256)


def split_certificates(data: bytes) -> tuple[CaCertificate | CsvCertificate, ...]:
    """Every certificate of a file that is nothing but certificates, such as the key server's ``hsk_cek`` (HSK, CEK).

    The last one is told by its size, those before it by their fields. Raises `MalformedEvidence` for anything else, and
    for nothing at all.
    """
    found: list[CaCertificate | CsvCertificate] = []
    reader = Reader(data, "hygon_certs")
    if len(data) > MAX_FILE_CERTIFICATES * SIZE:
        raise reader.malformed("too many certificates", expected=f"<= {MAX_FILE_CERTIFICATES}")
    while reader.remaining or not found:
        rest = data[reader.position :]
        if len(rest) == CA_SIZE or (len(rest) != SIZE and resembles_ca(rest)):
            found.append(CaCertificate.from_bytes(reader.take(CA_SIZE, "certificate")))
        elif len(rest) == SIZE or resembles_certificate(rest):
            found.append(CsvCertificate.from_bytes(reader.take(SIZE, "certificate")))
        else:
            raise reader.malformed("not a Hygon certificate", expected=f"{CA_SIZE} or {SIZE} bytes each",
                                   got=f"{len(rest)} bytes")
    return tuple(found)


def _word(data: bytes, offset: int) -> int:
    word: int = _U32.unpack_from(data, offset)[0]
    return word
