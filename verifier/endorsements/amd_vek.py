"""The certificate of a versioned endorsement key: which chip (VCEK) or provider (VLEK) signs, and at which TCB.

Source: AMD "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification" (57230), section 3.1:
extensions under 1.3.6.1.4.1.3704.1. Each kind of certificate and product line has its own list of required extensions;
one that is missing, mistyped, out of range or foreign to the kind refuses under ``<kind>.extension.<name>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from verifier.endorsements.chain import common_name, validity
from verifier.endorsements.window import Window
from verifier.errors import CheckFailed, MalformedEvidence
from verifier.formats import der
from verifier.formats.der import Tag
from verifier.formats.snp_report import ProductLine, SigningKey, TcbLayout
from verifier.trail import Trail

SUBJECTS = {"SEV-VCEK": SigningKey.VCEK, "SEV-VLEK": SigningKey.VLEK}

_ARC = "1.3.6.1.4.1.3704.1."
_STRUCT_VERSION, _PRODUCT_NAME, _HWID, _CSP_ID = "1", "2", "4", "5"
# The SPL extension of each byte of TCB_VERSION, the reserved ones included. Turin has one reserved byte less and its
# certificates no 3.4; one that says 0 would do no harm.
_SPL4 = "3.4"
_SPLS = {
    TcbLayout.LEGACY: ("3.1", "3.2", "3.4", "3.5", "3.6", "3.7", "3.3", "3.8"),
    TcbLayout.TURIN: ("3.9", "3.1", "3.2", "3.3", "3.5", "3.6", "3.7", "3.8"),
}
_NAMES = {_STRUCT_VERSION: "struct_version", _PRODUCT_NAME: "product_name", _HWID: "hwid", _CSP_ID: "csp_id",
          "3.1": "bl_spl", "3.2": "tee_spl", "3.3": "snp_spl", "3.4": "spl4", "3.5": "spl5", "3.6": "spl6",
          "3.7": "spl7", "3.8": "ucode_spl", "3.9": "fmc_spl"}
_PRODUCT = re.compile(r"(Milan|Genoa|Turin)(?:-([A-Z][0-9]))?\Z", re.ASCII)
_KNOWN_STRUCT_VERSIONS = (0, 1)


@dataclass(frozen=True, slots=True)
class EndorsementKey:
    """What a VCEK or VLEK certificate says. True only once `verifier.endorsements.amd` has verified its chain.

    stepping: the suffix of the product name (``B0``), None without one. tcb: the SPLs laid out as TCB_VERSION, 8 bytes.
    hwid: 64 bytes, 8 on Turin; None for a VLEK. csp_id: the provider's name; None for a VCEK. validity: the
    certificate's own dates.
    """

    kind: SigningKey
    line: ProductLine
    product_name: str
    stepping: str | None
    struct_version: int
    tcb: bytes
    hwid: bytes | None
    csp_id: str | None
    validity: Window
    public_key: ec.EllipticCurvePublicKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    @property
    def rule(self) -> str:
        """What the rules about this certificate are called: ``vcek`` or ``vlek``."""
        return self.kind.name.lower()

    @classmethod
    def of(cls, trail: Trail, certificate: x509.Certificate) -> EndorsementKey:
        """What ``certificate``, whose subject is one of `SUBJECTS`, says. Raises `CheckFailed`."""
        kind = SUBJECTS[common_name(certificate)]
        rule = kind.name.lower()
        key = certificate.public_key()
        if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)):
            raise trail.fail(f"{rule}.key", "the key must be on P-384", got=type(key).__name__)
        values = _Values(trail, rule, certificate)
        struct_version = values.byte(_STRUCT_VERSION)
        trail.require(f"{rule}.extension.struct_version", struct_version in _KNOWN_STRUCT_VERSIONS,
                      "an unknown structure of extensions", expected=list(_KNOWN_STRUCT_VERSIONS), got=struct_version)
        name, line, stepping = values.product()
        tcb = values.tcb(TcbLayout.of(line))
        hwid = csp_id = None
        if kind is SigningKey.VCEK:
            hwid = values.hwid(8 if line is ProductLine.TURIN else 64)
        else:
            csp_id = values.text(_CSP_ID)
        values.nothing_foreign(kind, line)
        return cls(kind, line, name, stepping, struct_version, tcb, hwid, csp_id, validity(certificate), key,
                   certificate)


class _Values:
    """The AMD extensions of one certificate, read strictly."""

    def __init__(self, trail: Trail, rule: str, certificate: x509.Certificate) -> None:
        self._trail, self._rule = trail, rule
        self._found = extension_values(certificate)

    def raw(self, number: str) -> bytes:
        """The extension's value."""
        value = self._found.get(number)
        if value is None:
            raise self._refuse(number, "a required extension is missing", "absent")
        return value

    def byte(self, number: str) -> int:
        """A DER INTEGER from 0 to 255: 0xD9 is ``02 02 00 d9``."""
        value = self.raw(number)
        try:
            count = der.unsigned(der.only(value, "amd_extension", Tag.INTEGER), "amd_extension")
        except MalformedEvidence as error:
            raise self._refuse(number, f"not a DER INTEGER: {error.detail}", value) from None
        if count > 0xFF:
            raise self._refuse(number, "out of range", count)
        return count

    def text(self, number: str) -> str:
        """A DER IA5String that is not empty."""
        value = self.raw(number)
        try:
            content = der.only(value, "amd_extension", Tag.IA5_STRING).decode("ascii")
        except (MalformedEvidence, UnicodeDecodeError):
            raise self._refuse(number, "not a DER IA5String", value) from None
        if not content or not content.isprintable():
            raise self._refuse(number, "empty or unprintable", value)
        return content

    def product(self) -> tuple[str, ProductLine, str | None]:
        """Product name, the line it belongs to, and the stepping."""
        name = self.text(_PRODUCT_NAME)
        match = _PRODUCT.match(name)
        if match is None:
            raise self._refuse(_PRODUCT_NAME, "not a product of a known line", name)
        return name, ProductLine(match.group(1)), match.group(2)

    def tcb(self, layout: TcbLayout) -> bytes:
        """All eight SPLs in the order of TCB_VERSION."""
        if layout is TcbLayout.TURIN and _SPL4 in self._found and self.byte(_SPL4) != 0:
            raise self._refuse(_SPL4, "counts nothing on Turin and must be 0", self.byte(_SPL4))
        return bytes(self.byte(number) for number in _SPLS[layout])

    def hwid(self, size: int) -> bytes:
        """Raw, as AMD writes it, or wrapped into a DER OCTET STRING, as some tools do."""
        value = self.raw(_HWID)
        if len(value) == size:
            return value
        try:
            content = der.only(value, "amd_extension", Tag.OCTET_STRING)
        except MalformedEvidence:
            content = b""
        if len(content) != size:
            raise self._refuse(_HWID, f"the hardware id must have {size} bytes", value)
        return content

    def nothing_foreign(self, kind: SigningKey, line: ProductLine) -> None:
        """No SPL that nobody would compare, no hardware id on a VLEK, no provider on a VCEK."""
        spls = (*_SPLS[TcbLayout.of(line)], _SPL4)
        other = _CSP_ID if kind is SigningKey.VCEK else _HWID
        for number, value in self._found.items():
            if number == other or (number.startswith("3.") and number not in spls):
                raise self._refuse(number, "this extension does not belong into the certificate", value)
        self._trail.passed(f"{self._rule}.extension.all", "all required AMD extensions, once each, of the right type")

    def _refuse(self, number: str, detail: str, got: object) -> CheckFailed:
        return self._trail.fail(f"{self._rule}.extension.{_NAMES.get(number, number)}", detail, got=got)


def extension_values(certificate: x509.Certificate) -> dict[str, bytes]:
    """The AMD extensions by what follows AMD's arc (``3.1``), unread."""
    return {
        extension.oid.dotted_string.removeprefix(_ARC): extension.value.value
        for extension in certificate.extensions
        if extension.oid.dotted_string.startswith(_ARC) and isinstance(extension.value, x509.UnrecognizedExtension)
    }


def resembles(certificate: x509.Certificate, tcb: bytes, chip_id: bytes) -> bool:
    """A hint for choosing among certificates, never a check: SPLs and hardware id look like the report's."""
    found = extension_values(certificate)
    hwid = found.get(_HWID, b"")
    if hwid and any(chip_id) and not chip_id.startswith(hwid[-64:]):
        return False
    return any(all(found.get(number, b"")[-1:] == tcb[index : index + 1] for index, number in enumerate(spls))
               for spls in _SPLS.values())
