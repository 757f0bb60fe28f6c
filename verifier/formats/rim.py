"""NVIDIA's reference integrity manifests: SWID tags in XML with an enveloped signature.

A `SignedRim` is a document split into what is signed and what signs it. What is signed is kept as the canonical bytes
that the digest is taken of, and `Rim.from_bytes` reads those very bytes again: a value that the signature does not
cover cannot be read, wherever in the document it stood. The structure is that of the documents NVIDIA publishes; an
element that is not in it, a second signature, a second reference or a reference to a part of the document is malformed.

Sources: ISO/IEC 19770-2:2015 (SWID); TCG "PC Client Reference Integrity Manifest Specification"; W3C XML Signature 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from verifier.errors import MalformedEvidence
from verifier.formats.strict import base64_bytes, hex_bytes
from verifier.formats.xml_subset import Element, Name, parse

SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
TCG_RIM = "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
SHA384 = "http://www.w3.org/2001/04/xmlenc#sha384"
XMLDSIG = "http://www.w3.org/2000/09/xmldsig#"

MAX_CERTIFICATES = 8
MAX_ALTERNATIVES = 32
MAX_INDEX = 255
DIGEST_SIZE = 48

_INDEX = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_ROOT = frozenset({"name", "tagId", "version", "tagVersion", "corpus", "patch", "supplemental"})
_META_PLAIN = frozenset({"colloquialVersion", "edition", "product", "revision", "PayloadType"})
_META_TCG = frozenset({"BindingSpec", "BindingSpecVersion", "PlatformManufacturerId", "PlatformManufacturerStr",
                       "PlatformModel", "FirmwareManufacturer", "FirmwareManufacturerId"})
_META = frozenset(Name("", name) for name in _META_PLAIN) | frozenset(Name(TCG_RIM, name) for name in _META_TCG)
_RESOURCE = frozenset({"type", "index", "active", "alternatives", "name", "size"})


@dataclass(frozen=True, slots=True)
class Reference:
    """What one index may measure to: any of ``alternatives``, 48 bytes each; judged only when ``active``."""

    index: int
    active: bool
    alternatives: tuple[bytes, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Rim:
    """The values of a manifest.

    attributes: of the tag (``name``, ``tagId``, ``patch`` …). meta: of its Meta element without prefixes;
    ``colloquialVersion`` is the driver's or VBIOS's version, ``product`` the chip. references: by index, in order.
    """

    attributes: Mapping[str, str] = field(hash=False)
    meta: Mapping[str, str] = field(hash=False)
    references: tuple[Reference, ...]

    @classmethod
    def from_bytes(cls, data: bytes) -> Rim:
        """A manifest without its signature. Raises `MalformedEvidence`."""
        return cls.from_element(parse(data))

    @classmethod
    def from_element(cls, root: Element, without: Element | None = None) -> Rim:
        """As `from_bytes`; ``without`` is the signature, which is skipped."""
        if root.name != Name(SWID, "SoftwareIdentity"):
            raise _malformed("the document is not a SWID tag", got=root.tag[:64])
        parts = [part for part in root.elements if part is not without]
        if [part.name for part in parts] != [Name(SWID, name) for name in ("Entity", "Meta", "Payload")]:
            raise _malformed("the tag must consist of Entity, Meta and Payload", got=[part.tag[:32] for part in parts])
        entity, meta, payload = parts
        _exactly(root, {Name("", name) for name in _ROOT})
        _exactly(entity, {Name("", "name"), Name("", "role")})
        _exactly(meta, _META)
        _exactly(payload, set())
        _empty(entity)
        _empty(meta)
        return cls({name.local: value for name, (value, _) in root.attributes.items()},
                   {name.local: value for name, (value, _) in meta.attributes.items()},
                   _references(payload))

    @property
    def version(self) -> str:
        """The version that the manifest is for, in upper case."""
        return self.meta["colloquialVersion"].upper()

    @property
    def product(self) -> str:
        """The chip that the manifest is for, as ``GH100``."""
        return self.meta["product"]

    @property
    def active(self) -> tuple[Reference, ...]:
        """The references that a report is judged by."""
        return tuple(reference for reference in self.references if reference.active)


@dataclass(frozen=True, slots=True)
class SignedRim:
    """A manifest as published, nothing verified.

    signed: canonical form of the document without its signature. digest: what the signature's reference claims of it,
    any length. signed_info: canonical form of the element that is signed. algorithms: the identifiers that it names, in
    the order canonicalisation, signature, transforms, digest. signature: r || s where it is ECDSA. certificates: DER,
    as embedded. claimed: the values in the document, to choose it by; whoever believes one reads ``signed`` instead.
    """

    signed: bytes = field(repr=False)
    digest: bytes
    signed_info: bytes = field(repr=False)
    algorithms: tuple[str, ...]
    signature: bytes
    certificates: tuple[bytes, ...] = field(repr=False)
    claimed: Rim

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedRim:
        """Exactly one tag with exactly one signature of the whole. Raises `MalformedEvidence`."""
        root = parse(data)
        found = [element for element in root.descendants() if element.name == Name(XMLDSIG, "Signature")]
        if len(found) != 1 or not any(child is found[0] for child in root.children):
            raise _malformed("the tag must have one signature, directly below it", expected=1, got=len(found))
        info, value, key_info = _children(found[0], "Signature", "SignedInfo", "SignatureValue", "KeyInfo")
        algorithms, digest = _signed_info(info)
        _exactly(value, set())
        return cls(root.canonical(without=found[0]), digest, info.canonical(), algorithms,
                   _base64(value.text, "SignatureValue"), _certificates(key_info), Rim.from_element(root, found[0]))


def _references(payload: Element) -> tuple[Reference, ...]:
    found = tuple(_reference(element) for element in payload.elements)
    indices = [reference.index for reference in found]
    if not indices or indices != sorted(set(indices)):
        raise _malformed("references must have indices in rising order, each once", got=indices[:8])
    return found


def _reference(element: Element) -> Reference:
    if element.name != Name(SWID, "Resource"):
        raise _malformed("the payload holds something else than resources", got=element.tag[:64])
    _empty(element)
    plain = {name: element.get(name) or "" for name in _RESOURCE}
    count, index = plain["alternatives"], plain["index"]
    if not (_INDEX.fullmatch(count) and _INDEX.fullmatch(index) and 0 < int(count) <= MAX_ALTERNATIVES
            and int(index) <= MAX_INDEX):
        raise _malformed("index or number of alternatives is out of range", got=[index[:8], count[:8]])
    hashes = [f"Hash{number}" for number in range(int(count))]
    _exactly(element, {Name("", name) for name in _RESOURCE} | {Name(SHA384, name) for name in hashes})
    if (plain["type"], plain["size"]) != ("Measurement", str(DIGEST_SIZE)) or plain["active"] not in ("True", "False"):
        raise _malformed("a resource is not a measurement of 48 bytes", got=[plain["type"][:16], plain["size"][:8],
                                                                            plain["active"][:8]])
    values = tuple(hex_bytes(element.get(name, SHA384), name, DIGEST_SIZE) for name in hashes)
    return Reference(int(index), plain["active"] == "True", values, plain["name"])


def _signed_info(info: Element) -> tuple[tuple[str, ...], bytes]:
    """The algorithms it names and the digest it claims; its one reference is to the whole document."""
    method, signature, reference = _children(info, "SignedInfo", "CanonicalizationMethod", "SignatureMethod",
                                             "Reference")
    transforms, digest_method, digest = _children(reference, "Reference", "Transforms", "DigestMethod", "DigestValue",
                                                  attributes={"URI"})
    if reference.get("URI") != "":
        raise _malformed("the signature's reference is not to the whole document", got=reference.get("URI"))
    steps = _children(transforms, "Transforms", "Transform", "Transform")
    _exactly(digest, set())
    named = tuple(_algorithm(element) for element in (method, signature, *steps, digest_method))
    return named, _base64(digest.text, "DigestValue")


def _certificates(key_info: Element) -> tuple[bytes, ...]:
    (data,) = _children(key_info, "KeyInfo", "X509Data")
    elements = data.elements
    if not 0 < len(elements) <= MAX_CERTIFICATES:
        raise _malformed("the signature has too few or too many certificates", expected=f"1..{MAX_CERTIFICATES}",
                         got=len(elements))
    for element in (data, *elements):
        _exactly(element, set())
    if any(element.name != Name(XMLDSIG, "X509Certificate") for element in elements):
        raise _malformed("X509Data holds something else than certificates")
    return tuple(_base64(element.text, "X509Certificate") for element in elements)


def _children(parent: Element, local: str, *names: str, attributes: set[str] | None = None) -> tuple[Element, ...]:
    """The children of ``parent``, which must be these of XML Signature's in this order."""
    _exactly(parent, {Name("", name) for name in attributes or set()})
    found = parent.elements
    if parent.name != Name(XMLDSIG, local) or [child.name for child in found] != [Name(XMLDSIG, n) for n in names]:
        raise _malformed(f"{local} must consist of {', '.join(names)}", got=[child.tag[:32] for child in found])
    return found


def _algorithm(element: Element) -> str:
    _exactly(element, {Name("", "Algorithm")})
    _empty(element)
    return element.get("Algorithm") or ""


def _exactly(element: Element, names: set[Name] | frozenset[Name]) -> None:
    if set(element.attributes) != names:
        raise _malformed(f"{element.tag[:64]} has missing or unknown attributes",
                         expected=sorted(name.local for name in names),
                         got=sorted(name.local[:32] for name in element.attributes)[:16])


def _empty(element: Element) -> None:
    if element.elements:
        raise _malformed(f"{element.tag[:64]} must be empty")


def _base64(text: str, what: str) -> bytes:
    """Base64 in lines, as XML Signature has it."""
    return base64_bytes(text.translate(_WHITE_SPACE), what)


_WHITE_SPACE = {ord(character): None for character in " \t\r\n"}


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("format.rim", detail, expected=expected, got=got)
