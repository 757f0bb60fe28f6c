"""The PCK certificate: which platform the quoting enclave's key belongs to.

Source: Intel "SGX PCK Certificate and Certificate Revocation List Profile Specification", section 1.3.5 (SGX
extensions, OID 1.2.840.113741.1.13.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader

SGX_EXTENSIONS = x509.ObjectIdentifier("1.2.840.113741.1.13.1")

_ARC = bytes.fromhex("2a864886f84d010d01")  # 1.2.840.113741.1.13.1
_PPID, _TCB, _PCE_ID, _FMSPC, _SGX_TYPE, _INSTANCE, _CONFIGURATION = range(1, 8)
_KINDS = {_PPID: Tag.OCTET_STRING, _TCB: Tag.SEQUENCE, _PCE_ID: Tag.OCTET_STRING, _FMSPC: Tag.OCTET_STRING,
          _SGX_TYPE: Tag.ENUMERATED, _INSTANCE: Tag.OCTET_STRING, _CONFIGURATION: Tag.SEQUENCE}
_SIZES = {_PPID: 16, _PCE_ID: 2, _FMSPC: 6, _INSTANCE: 16}
_REQUIRED = (_PPID, _TCB, _PCE_ID, _FMSPC, _SGX_TYPE)


@dataclass(frozen=True, slots=True)
class PckExtensions:
    """The SGX extensions of a PCK certificate.

    components: the 16 TCB component SVNs that TCB matching uses (not the CPUSVN octets). ppid 16, cpu_svn 16,
    pce_id 2, fmspc 6 bytes. sgx_type: 0 standard, 1 scalable, 2 scalable with integrity. platform_instance_id and the
    three configuration values are None on certificates of the Processor CA.
    """

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt_enabled: bool | None = None

    @classmethod
    def of(cls, certificate: x509.Certificate) -> PckExtensions:
        """The extensions of ``certificate``; missing, doubled or mistyped ones raise `MalformedCollateral`."""
        values = [e.value for e in certificate.extensions if e.oid == SGX_EXTENSIONS]
        if len(values) != 1 or not isinstance(values[0], x509.UnrecognizedExtension):
            raise MalformedCollateral("pck.sgx_extensions", "the PCK certificate needs the SGX extensions once",
                                      expected=1, got=len(values))
        try:
            return cls.from_der(values[0].value)
        except MalformedEvidence as error:
            raise MalformedCollateral("pck.sgx_extensions", error.detail, expected=error.expected,
                                      got=error.got) from None

    @classmethod
    def from_der(cls, value: bytes) -> PckExtensions:
        """From the extension's value. Raises `MalformedEvidence`."""
        found = _members(der.only(value, "sgx_extensions", Tag.SEQUENCE), _ARC)
        for number in _REQUIRED:
            if number not in found:
                raise _error("a required SGX extension is missing", number, got="absent")
        plain = {number: _typed(number, *found[number]) for number in _KINDS if number in found}
        components, pce_svn, cpu_svn = _tcb(plain[_TCB])
        dynamic, cached, smt = _configuration(plain.get(_CONFIGURATION))
        return cls(plain[_PPID], components, pce_svn, cpu_svn, plain[_PCE_ID], plain[_FMSPC],
                   der.unsigned(plain[_SGX_TYPE], "sgx_extensions"), plain.get(_INSTANCE), dynamic, cached, smt)

    def claims(self) -> dict[str, Any]:
        """By claim name; None where the certificate has no such value."""
        return {
            "fmspc": self.fmspc, "pce_id": self.pce_id, "ppid": self.ppid, "cpu_svn": self.cpu_svn,
            "sgx_tcb_components": bytes(self.components), "pce_svn": self.pce_svn, "sgx_type": self.sgx_type,
            "platform_instance_id": self.platform_instance_id, "dynamic_platform": self.dynamic_platform,
            "cached_keys": self.cached_keys, "smt_enabled": self.smt_enabled,
        }


def check_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """The certificate's key, which must be on P-256."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MalformedCollateral("pck.key", "the key must be on P-256", got=type(key).__name__)
    return key


def _members(content: bytes, arc: bytes) -> dict[int, tuple[int, bytes]]:
    """SEQUENCE OF {OID, value}: the OID's last arc to tag and content. Other arcs belong to later profiles."""
    reader = Reader(content, "sgx_extensions", order="big")
    found: dict[int, tuple[int, bytes]] = {}
    while reader.remaining:
        member = Reader(der.expect(reader, Tag.SEQUENCE), "sgx_extensions", order="big")
        oid = der.expect(member, Tag.OBJECT_IDENTIFIER)
        tag, value = der.element(member)
        member.end()
        if len(oid) != len(arc) + 1 or not oid.startswith(arc):
            raise reader.malformed("an OID outside the SGX arc", got=oid)
        if oid[-1] in found:
            raise _error("an SGX extension occurs twice", oid[-1], got="doubled")
        found[oid[-1]] = (tag, value)
    return found


def _typed(number: int, tag: int, content: bytes) -> bytes:
    size = _SIZES.get(number, len(content))
    if tag != _KINDS[number] or len(content) != size:
        raise _error("an SGX extension has the wrong type or length", number, got=f"tag {tag:#x}, {len(content)} bytes")
    return content


def _tcb(content: bytes) -> tuple[tuple[int, ...], int, bytes]:
    members = _members(content, _ARC + b"\x02")
    if set(members) != set(range(1, 19)):
        raise _error("the TCB needs components 1-16, PCESVN and CPUSVN", _TCB, got=sorted(members))
    for number in range(1, 18):
        if members[number][0] != Tag.INTEGER:
            raise _error("a TCB component must be an INTEGER", _TCB, got=hex(members[number][0]))
    numbers = [der.unsigned(members[number][1], "sgx_extensions") for number in range(1, 18)]
    tag, cpu_svn = members[18]
    if max(numbers[:16]) > 0xFF or numbers[16] > 0xFFFF or tag != Tag.OCTET_STRING or len(cpu_svn) != 16:
        raise _error("a TCB value is out of range", _TCB, got=numbers)
    return tuple(numbers[:16]), numbers[16], cpu_svn


def _configuration(content: bytes | None) -> tuple[bool | None, bool | None, bool | None]:
    if content is None:
        return None, None, None
    members = _members(content, _ARC + b"\x07")
    for number, (tag, _) in members.items():
        if number in (1, 2, 3) and tag != Tag.BOOLEAN:
            raise _error("a configuration value must be a BOOLEAN", _CONFIGURATION, got=hex(tag))
    dynamic, cached, smt = (der.boolean(members[number][1], "sgx_extensions") if number in members else None
                            for number in (1, 2, 3))
    return dynamic, cached, smt


def _error(detail: str, number: int, *, got: object) -> MalformedEvidence:
    return MalformedEvidence("format.sgx_extensions", f"{detail} (1.2.840.113741.1.13.1.{number})", got=got)
