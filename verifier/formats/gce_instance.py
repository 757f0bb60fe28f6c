"""Which virtual machine a Google Compute Engine attestation key belongs to, from an extension of its certificate.

    SEQUENCE { zone UTF8String, projectNumber INTEGER, projectId UTF8String, instanceId INTEGER,
               instanceName UTF8String,
               [0] EXPLICIT SEQUENCE { [0] securityVersion INTEGER, [1] isProduction BOOLEAN, … } OPTIONAL }

The members after the second of the inner sequence are not documented and are passed over. Source: go-tpm-tools,
"server/instance_info.go".
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.reader import Reader

OID = "1.3.6.1.4.1.11129.2.1.21"

_WHAT = "gce_instance"
_EXPLICIT_0, _EXPLICIT_1 = 0xA0, 0xA1


@dataclass(frozen=True, slots=True, kw_only=True)
class GceInstance:
    """The extension's fields. production: None where it says nothing."""

    zone: str
    project_number: int
    project_id: str
    instance_id: int
    instance_name: str
    security_version: int | None = None
    production: bool | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> GceInstance:
        """From the extension's value. Raises `MalformedEvidence`."""
        reader = Reader(der.only(data, _WHAT, Tag.SEQUENCE), _WHAT, order="big")
        zone, number, project = _text(reader), _integer(reader), _text(reader)
        instance, name = _integer(reader), _text(reader)
        version, production = _security(reader) if reader.remaining else (None, None)
        reader.end()
        return cls(zone=zone, project_number=number, project_id=project, instance_id=instance, instance_name=name,
                   security_version=version, production=production)


def _text(reader: Reader) -> str:
    try:
        return der.expect(reader, Tag.UTF8_STRING).decode("utf-8")
    except UnicodeDecodeError:
        raise reader.malformed("text is not UTF-8") from None


def _integer(reader: Reader) -> int:
    return der.unsigned(der.expect(reader, Tag.INTEGER), _WHAT)


def _security(reader: Reader) -> tuple[int | None, bool | None]:
    tag, content = der.element(reader)
    if tag != _EXPLICIT_0:
        raise reader.malformed("unexpected DER tag", expected=hex(_EXPLICIT_0), got=hex(tag))
    inner = Reader(der.only(content, _WHAT, Tag.SEQUENCE), _WHAT, order="big")
    members: dict[int, bytes] = {}
    while inner.remaining:
        number, value = der.element(inner)
        if number in members:
            raise inner.malformed("a member occurs twice", got=hex(number))
        members[number] = value
    version, production = members.get(_EXPLICIT_0), members.get(_EXPLICIT_1)
    return (None if version is None else der.unsigned(der.only(version, _WHAT, Tag.INTEGER), _WHAT),
            None if production is None else der.boolean(der.only(production, _WHAT, Tag.BOOLEAN), _WHAT))
