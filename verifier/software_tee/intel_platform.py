"""A platform as its PCK certificate describes it.

The SGX extension is kept flat, one `Field` per object identifier; the TCB (``.2.x``) and the configuration (``.7.x``)
are nested when it is written. Source: Intel SGX PCK Certificate and CRL Profile Specification, section 1.3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from verifier.errors import SetupError
from verifier.software_tee import der

SGX_EXTENSION = "1.2.840.113741.1.13.1"
PPID, TCB, PCE_ID, FMSPC, SGX_TYPE, INSTANCE_ID, CONFIGURATION = (
    f"{SGX_EXTENSION}.{number}" for number in range(1, 8))
PCE_SVN, CPU_SVN = f"{TCB}.17", f"{TCB}.18"

PckCa = Literal["platform", "processor"]


class Field(NamedTuple):
    """One member of the SGX extension; ``value`` is one DER element."""

    oid: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One machine.

    fmspc 6, pce_id 2, ppid 16, instance_id 16 bytes. components: the 16 SVNs of the SGX TCB. sgx_type: 0 standard,
    1 scalable, 2 scalable with integrity. ca: who issued the PCK certificate; only ``platform`` tells the instance id
    and the configuration.
    """

    fmspc: bytes = b"\x00SOFT\x00"
    pce_id: bytes = bytes(2)
    ppid: bytes = b"software ppid 01"
    components: tuple[int, ...] = (8, 8, 2, 2, 4, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0)
    pce_svn: int = 13
    sgx_type: int = 1
    ca: PckCa = "platform"
    instance_id: bytes = b"software inst 01"
    dynamic_platform: bool = True
    cached_keys: bool = False
    smt_enabled: bool = False

    def __post_init__(self) -> None:
        if len(self.components) != 16 or any(not 0 <= svn <= 255 for svn in self.components):
            raise SetupError("software_tee.platform", "components are 16 SVNs of one byte", got=list(self.components))
        if not (0 <= self.pce_svn <= 0xFFFF and self.sgx_type in (0, 1, 2) and self.ca in ("platform", "processor")):
            raise SetupError("software_tee.platform", "PCESVN, SGX type or CA is out of range",
                             got=[self.pce_svn, self.sgx_type, self.ca])

    @property
    def cpu_svn(self) -> bytes:
        """16 bytes."""
        return bytes(self.components)

    def sgx_extension(self) -> tuple[Field, ...]:
        """All fields, in Intel's order."""
        told = [Field(PPID, der.octet_string(self.ppid))]
        told += [Field(f"{TCB}.{number}", der.integer(svn)) for number, svn in enumerate(self.components, 1)]
        told += [
            Field(PCE_SVN, der.integer(self.pce_svn)), Field(CPU_SVN, der.octet_string(self.cpu_svn)),
            Field(PCE_ID, der.octet_string(self.pce_id)), Field(FMSPC, der.octet_string(self.fmspc)),
            Field(SGX_TYPE, der.enumerated(self.sgx_type)),
        ]
        if self.ca == "platform":
            told.append(Field(INSTANCE_ID, der.octet_string(self.instance_id)))
            flags = (self.dynamic_platform, self.cached_keys, self.smt_enabled)
            told += [Field(f"{CONFIGURATION}.{number}", der.boolean(flag)) for number, flag in enumerate(flags, 1)]
        return tuple(told)


def encode_sgx_extension(fields: tuple[Field, ...]) -> bytes:
    """The extension's value: TCB and configuration stand where their first member stands."""
    elements: dict[str, bytes] = {}
    members = []
    for field in fields:
        group = next((oid for oid in (TCB, CONFIGURATION) if field.oid.startswith(oid + ".")), None)
        if group is None:
            members.append(_member(field.oid, field.value))
        elif group not in elements:
            inner = (_member(each.oid, each.value) for each in fields if each.oid.startswith(group + "."))
            elements[group] = der.sequence(*inner)
            members.append(_member(group, elements[group]))
    return der.sequence(*members)


def _member(oid: str, value: bytes) -> bytes:
    return der.sequence(der.oid(oid), value)
