"""The attestation report as the ``sev`` crate's structure in JSON, member by member, to the bytes and back.

Each structure is one table in wire order: a member, the bytes it stands for, and how each becomes the other. Two have
been on the wire:

* `MODERN`, sev 6 and 7: TCB versions as ``{fmc, bootloader, tee, snp, microcode}`` with ``fmc`` null before Turin,
  ``cpuid_*`` null in version 2, ``*_mit_vector`` null before version 5 and absent from the first releases; reserved
  bytes are not in it and count as zero;
* `LEGACY`, sev 1 to 4: every byte of the report, with ``_reserved*`` members and ``_author_key_en`` for all of FLAGS.

``policy`` and ``plat_info`` are u64, ``key_info`` and ``_author_key_en`` u32, byte strings arrays of integers. A member
that is unknown, missing, mistyped or out of range raises `MalformedEvidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from verifier.errors import MalformedEvidence
from verifier.formats.reader import Reader
from verifier.formats.snp_report import SnpReport, TcbLayout, TcbVersion

_LEGACY_MARK = "_author_key_en"


def report_bytes(value: Mapping[str, Any]) -> bytes:
    """The 1184 bytes of a report given in either structure. Raises `MalformedEvidence`."""
    form = LEGACY if _LEGACY_MARK in value else MODERN
    check_names(value, "attestation_report", {member.name for member in form if member.name and not member.optional},
                {member.name for member in form if member.optional})
    return _join(value, form)


def report_structure(data: bytes) -> dict[str, Any]:
    """The modern structure of a report. Raises `MalformedEvidence` where reserved bytes are set: it has none."""
    report = SnpReport.from_bytes(data)
    form, reader = _modern(_layout(report)), Reader(data, "snp_report")
    chunks = [(member, reader.take(member.size, member.name)) for member in form]
    value = {member.name: None if report.version < member.since else member.write(chunk)
             for member, chunk in chunks if member.name}
    if _join(value, form) != data:
        raise malformed("attestation_report", "has reserved bytes set, which this form does not carry")
    return value


class _Member(NamedTuple):
    """One member and the bytes it stands for. ``name`` is empty for bytes that the structure leaves out.

    since: the member is null before this report version. optional: it may be missing altogether.
    """

    name: str
    size: int
    read: Callable[[object, str], bytes]
    write: Callable[[bytes], Any]
    since: int = 0
    optional: bool = False


def _uint(name: str, size: int, since: int = 0, *, optional: bool = False) -> _Member:
    def read(value: object, field: str) -> bytes:
        return integer(value, field, size).to_bytes(size, "little")

    return _Member(name, size, read, lambda chunk: int.from_bytes(chunk, "little"), since, optional)


def _raw(name: str, size: int) -> _Member:
    return _Member(name, size, lambda value, field: octets(value, field, size), list)


def _gap(size: int) -> _Member:
    return _Member("", size, lambda _value, _field: bytes(size), list)


def _tcb(name: str, layout: TcbLayout) -> _Member:
    """Read by what ``fmc`` says, written by ``layout``."""
    counts = ("bootloader", "tee", "snp", "microcode")
    names = ("fmc", *counts)

    def read(value: object, field: str) -> bytes:
        found = members_of(value, field, names)
        fmc = None if found["fmc"] is None else integer(found["fmc"], field, 1)
        bootloader, tee, snp, microcode = (integer(found[part], field, 1) for part in counts)
        return TcbVersion(fmc, bootloader, tee, snp, microcode).to_bytes()

    def write(chunk: bytes) -> dict[str, int | None]:
        tcb = TcbVersion.from_bytes(chunk, layout)
        return {part: getattr(tcb, part) for part in names}

    return _Member(name, 8, read, write)


def _parts(name: str, parts: tuple[_Member, ...]) -> _Member:
    """An object whose members, and the gaps between them, stand for consecutive bytes."""
    size = sum(part.size for part in parts)

    def read(value: object, field: str) -> bytes:
        return _join(members_of(value, field, [part.name for part in parts if part.name]), parts)

    def write(chunk: bytes) -> dict[str, Any]:
        reader = Reader(chunk, "snp_report")
        return {part.name: part.write(piece) for part in parts if (piece := reader.take(part.size, name)) and part.name}

    return _Member(name, size, read, write)


def _version(name: str) -> _Member:
    return _parts(name, (_uint("build", 1), _uint("minor", 1), _uint("major", 1)))


_UP_TO_TCB = (_uint("version", 4), _uint("guest_svn", 4), _uint("policy", 8), _raw("family_id", 16),
              _raw("image_id", 16), _uint("vmpl", 4), _uint("sig_algo", 4))
_GUEST_FIELDS = (_raw("report_data", 64), _raw("measurement", 48), _raw("host_data", 32), _raw("id_key_digest", 48),
                 _raw("author_key_digest", 48), _raw("report_id", 32), _raw("report_id_ma", 32))


def _modern(layout: TcbLayout) -> tuple[_Member, ...]:
    return (
        *_UP_TO_TCB, _tcb("current_tcb", layout), _uint("plat_info", 8), _uint("key_info", 4), _gap(4), *_GUEST_FIELDS,
        _tcb("reported_tcb", layout), _uint("cpuid_fam_id", 1, 3), _uint("cpuid_mod_id", 1, 3),
        _uint("cpuid_step", 1, 3), _gap(21), _raw("chip_id", 64), _tcb("committed_tcb", layout), _version("current"),
        _gap(1), _version("committed"), _gap(1), _tcb("launch_tcb", layout),
        _uint("launch_mit_vector", 8, 5, optional=True), _uint("current_mit_vector", 8, 5, optional=True), _gap(152),
        _parts("signature", (_raw("r", 72), _raw("s", 72), _gap(368))),
    )


def _legacy() -> tuple[_Member, ...]:
    def tcb(name: str) -> _Member:
        return _parts(name, (_uint("bootloader", 1), _uint("tee", 1), _raw("_reserved", 4), _uint("snp", 1),
                             _uint("microcode", 1)))

    return (
        *_UP_TO_TCB, tcb("current_tcb"), _uint("plat_info", 8), _uint(_LEGACY_MARK, 4), _uint("_reserved_0", 4),
        *_GUEST_FIELDS, tcb("reported_tcb"), _raw("_reserved_1", 24), _raw("chip_id", 64), tcb("committed_tcb"),
        _uint("current_build", 1), _uint("current_minor", 1), _uint("current_major", 1), _uint("_reserved_2", 1),
        _uint("committed_build", 1), _uint("committed_minor", 1), _uint("committed_major", 1), _uint("_reserved_3", 1),
        tcb("launch_tcb"), _raw("_reserved_4", 168),
        _parts("signature", (_raw("r", 72), _raw("s", 72), _raw("_reserved", 368))),
    )


MODERN, LEGACY = _modern(TcbLayout.LEGACY), _legacy()


def _layout(report: SnpReport) -> TcbLayout:
    """As the sev crate decides: by family from version 3 on, by the look of the chip id before."""
    if report.version >= 3:
        return TcbLayout.TURIN if report.cpuid_family >= 0x1A else TcbLayout.LEGACY
    short = any(report.chip_id) and not any(report.chip_id[8:])
    return TcbLayout.TURIN if short else TcbLayout.LEGACY


def _join(value: Mapping[str, Any], form: tuple[_Member, ...]) -> bytes:
    return b"".join(_piece(value, member) for member in form)


def _piece(value: Mapping[str, Any], member: _Member) -> bytes:
    if not member.name or (member.optional and member.name not in value):
        return bytes(member.size)
    found = value[member.name]
    if member.since and value["version"] < member.since:
        if found is not None:
            raise malformed(member.name, f"must be null before version {member.since}", got=type(found).__name__)
        return bytes(member.size)
    return member.read(found, member.name)


def integer(value: object, field: str, size: int) -> int:
    """``value`` as an unsigned integer of ``size`` bytes; true and false are not integers."""
    if type(value) is not int or not 0 <= value < 1 << 8 * size:
        got = f"{value.bit_length()} bits" if type(value) is int else type(value).__name__
        raise malformed(field, "must be an unsigned integer", expected=f"{8 * size} bits", got=got)
    return value


def octets(value: object, field: str, size: int) -> bytes:
    """The bytes that an array of ``size`` integers lists."""
    if not isinstance(value, list) or len(value) != size or not set(map(type, value)) <= {int}:
        got = f"{len(value)} items" if isinstance(value, list) else type(value).__name__
        raise malformed(field, "must be an array of integers", expected=f"{size} integers", got=got)
    try:
        return bytes(value)
    except ValueError:
        raise malformed(field, "must be an array of byte values", expected="0..255") from None


def members_of(value: object, field: str, names: Collection[str]) -> Mapping[str, Any]:
    """``value`` as an object with exactly the members ``names``."""
    if not isinstance(value, Mapping):
        raise malformed(field, "must be an object", got=type(value).__name__)
    check_names(value, field, names)
    return value


def check_names(value: Mapping[str, Any], field: str, required: Collection[str],
                optional: Collection[str] = ()) -> None:
    """``value`` must have all ``required`` members and no others but ``optional`` ones."""
    found, needed = set(value), set(required)
    if not needed <= found <= needed.union(optional):
        raise malformed(field, "has missing or unknown members", expected=sorted(needed - found),
                        got=sorted(str(name)[:40] for name in found - needed.union(optional))[:8])


def malformed(field: str, detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    """An error about evidence JSON, to be raised by the caller."""
    return MalformedEvidence("format.snp_json", f"{field} {detail}", expected=expected, got=got)
