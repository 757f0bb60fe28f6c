"""Reference manifests in miniature: SWID tags as parameters, signed at the end, in the form NVIDIA publishes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

from verifier.formats.rim import SHA384, SWID, TCG_RIM, XMLDSIG, Reference
from verifier.formats.xml_subset import Name, parse
from verifier.software_tee.certificates import Alteration, unchanged
from verifier.software_tee.keys import EcKey

_C14N11 = "http://www.w3.org/2006/12/xml-c14n11"
ALGORITHMS = (_C14N11, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
              "http://www.w3.org/2000/09/xmldsig#enveloped-signature", _C14N11,
              "http://www.w3.org/2001/04/xmldsig-more#sha384")


def default_meta(chip: str, version: str) -> dict[str, str]:
    """What NVIDIA's manifests say of themselves; names with a colon are TCG's."""
    return {"colloquialVersion": version, "edition": "SWITCH" if chip.startswith("LS") else "GPU", "product": chip,
            "revision": "r1", "PayloadType": "direct", "ns1:BindingSpec": "RIMIM", "ns1:BindingSpecVersion": "1.01",
            "ns1:PlatformManufacturerId": "5703", "ns1:PlatformManufacturerStr": "NVIDIA Corporation",
            "ns1:PlatformModel": chip, "ns1:FirmwareManufacturer": "NVIDIA Corporation",
            "ns1:FirmwareManufacturerId": "5703"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest to be.

    references: of the payload. certificates: DER, leaf first. digest: what the signature claims of the document, None
    for what it is. algorithms: the identifiers it names, in `SignedRim`'s order. mutate: sees the unsigned tag, before
    its digest is taken; mutate_info: the SignedInfo before it is signed; mutate_published: the document in the end.
    """

    attributes: dict[str, str]
    meta: dict[str, str]
    references: tuple[Reference, ...]
    signer: EcKey
    certificates: tuple[bytes, ...]
    algorithms: tuple[str, str, str, str, str] = field(default=ALGORITHMS)
    digest: bytes | None = None
    mutate: Alteration[bytes] = unchanged
    mutate_info: Alteration[bytes] = unchanged
    mutate_published: Alteration[bytes] = unchanged

    def issue(self) -> bytes:
        """The document."""
        tag = self.mutate(self.unsigned())
        head, _, tail = tag.rpartition(b"</SoftwareIdentity>")
        digest = self.digest or hashlib.sha384(parse(tag).canonical()).digest()
        info = self.mutate_info(self._signed_info(digest))
        # SignedInfo's canonical form declares the namespaces of the place where it stands.
        placed = parse(head + b'<ds:Signature xmlns:ds="' + XMLDSIG.encode() + b'">' + info + b"</ds:Signature>"
                       + b"</SoftwareIdentity>" + tail)
        element = next(found for found in placed.descendants() if found.name == Name(XMLDSIG, "SignedInfo"))
        value = base64.b64encode(self.signer.sign_raw(element.canonical()))
        certificates = b"".join(b"<ds:X509Certificate>" + base64.encodebytes(certificate) + b"</ds:X509Certificate>"
                                for certificate in self.certificates)
        signature = (b'<ds:Signature xmlns:ds="' + XMLDSIG.encode() + b'">' + info + b"<ds:SignatureValue>" + value
                     + b"</ds:SignatureValue><ds:KeyInfo><ds:X509Data>" + certificates
                     + b"</ds:X509Data></ds:KeyInfo></ds:Signature>")
        return self.mutate_published(head + signature + b"</SoftwareIdentity>" + tail)

    def unsigned(self) -> bytes:
        """The tag without its signature."""
        resources = "".join(f"        <ns0:Resource{_written(_resource(found))}/>\n" for found in self.references)
        namespaces = {"xmlns": SWID, "xmlns:ns0": SWID, "xmlns:ns2": SHA384}
        return (f"<SoftwareIdentity{_written(namespaces | self.attributes)}>\n"
                '    <ns0:Entity name="NVIDIA Corporation" role="softwareCreator tagCreator"/>\n'
                f"    <ns0:Meta{_written({'xmlns:ns1': TCG_RIM} | self.meta)}/>\n"
                f"    <ns0:Payload>\n{resources}    </ns0:Payload>\n</SoftwareIdentity>\n").encode()

    def _signed_info(self, digest: bytes) -> bytes:
        canonical, signature, first, second, hashed = (quoteattr(name) for name in self.algorithms)
        return (f"<ds:SignedInfo><ds:CanonicalizationMethod Algorithm={canonical}/>"
                f"<ds:SignatureMethod Algorithm={signature}/>"
                f'<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm={first}/>'
                f"<ds:Transform Algorithm={second}/></ds:Transforms><ds:DigestMethod Algorithm={hashed}/>"
                f"<ds:DigestValue>{base64.b64encode(digest).decode()}</ds:DigestValue></ds:Reference>"
                "</ds:SignedInfo>").encode()


def _resource(found: Reference) -> dict[str, str]:
    hashes = {f"ns2:Hash{number}": value.hex() for number, value in enumerate(found.alternatives)}
    return {"type": "Measurement", "index": str(found.index), "active": str(found.active),
            "alternatives": str(len(found.alternatives)), **hashes, "name": found.name, "size": "48"}


def _written(attributes: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
