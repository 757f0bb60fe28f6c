"""The TD report inside a TDX quote: TD 1.0 (584 bytes), TD 1.5 (648) and TD 1.5 extended (885).

Each later form is the earlier one with fields appended. Source: Intel TDX DCAP "Quote Generation and Verification",
appendix A.3 (TD Quote Body, descriptor types 2-4). Integers are little-endian; registers are byte strings.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from struct import Struct

from verifier.formats.reader import Reader

_TD10 = Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")
_TD15 = Struct("<16s48s")
_TD15EX = Struct("<1s32s48s48s8s16s16s12s48s8s")

SIZE_TD10 = _TD10.size
SIZE_TD15 = SIZE_TD10 + _TD15.size
SIZE_TD15EX = SIZE_TD15 + _TD15EX.size


@dataclass(frozen=True, slots=True)
class TdReport15Part:
    """What TD 1.5 adds. ``tee_tcb_svn2`` is the TCB at quote time, after a module update that preserved the TD."""

    tee_tcb_svn2: bytes
    mr_service_td: bytes


@dataclass(frozen=True, slots=True)
class TdReport15ExtendedPart:
    """What TD 1.5 extended adds."""

    vmid: bytes
    td_id: bytes
    dev_info: bytes
    init_service_td_hash: bytes
    init_service_td_attributes: bytes
    init_cpu_svn: bytes
    init_tee_tcb_svn: bytes
    init_tee_fmspc: bytes
    cur_service_td_hash: bytes
    cur_service_td_attributes: bytes


@dataclass(frozen=True, slots=True)
class TdReport:
    """Fields in wire order; ``v15`` and ``extended`` are None where the form does not have them."""

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: bytes
    xfam: bytes
    mr_td: bytes
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    v15: TdReport15Part | None = None
    extended: TdReport15ExtendedPart | None = None

    @classmethod
    def read(cls, reader: Reader, size: int) -> TdReport:
        """The next ``size`` bytes, which must be one of the three forms. Raises `MalformedEvidence`."""
        if size not in (SIZE_TD10, SIZE_TD15, SIZE_TD15EX):
            raise reader.malformed("unknown TD report size", expected=[SIZE_TD10, SIZE_TD15, SIZE_TD15EX], got=size)
        base = reader.unpack(_TD10, "TD report")
        v15 = TdReport15Part(*reader.unpack(_TD15, "TD report 1.5")) if size >= SIZE_TD15 else None
        extended = None
        if size == SIZE_TD15EX:
            extended = TdReport15ExtendedPart(*reader.unpack(_TD15EX, "TD report 1.5 extended"))
        return cls(*(*base, v15, extended))

    @classmethod
    def from_bytes(cls, data: bytes) -> TdReport:
        """Exactly one TD report; its length tells the form. Raises `MalformedEvidence`."""
        reader = Reader(data, "td_report")
        report = cls.read(reader, len(data))
        reader.end()
        return report

    def to_bytes(self) -> bytes:
        """The bytes again."""
        packed = _TD10.pack(*(getattr(self, name) for name in BASE_FIELDS))
        if self.v15 is not None:
            packed += _TD15.pack(*astuple(self.v15))
        if self.extended is not None:
            packed += _TD15EX.pack(*astuple(self.extended))
        return packed

    @property
    def attribute_bits(self) -> int:
        """TDATTRIBUTES as an integer."""
        return int.from_bytes(self.td_attributes, "little")


BASE_FIELDS = tuple(field.name for field in fields(TdReport) if field.name not in ("v15", "extended"))
