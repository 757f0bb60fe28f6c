"""Signed manifests: one structure, and values only from what is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import case_of
from verifier.errors import MalformedEvidence
from verifier.formats.rim import MAX_ALTERNATIVES, Reference, Rim, SignedRim

DOCUMENT = case_of("switch").maker.manifest("vbios")
RESOURCE = b'        <ns0:Resource type="Measurement" index="0"'
SIGNATURE = DOCUMENT[DOCUMENT.index(b"<ds:Signature "):DOCUMENT.index(b"</ds:Signature>") + len(b"</ds:Signature>")]
INFO = SIGNATURE[SIGNATURE.index(b"<ds:SignedInfo>"):SIGNATURE.index(b"<ds:SignatureValue>")]
REFERENCE = INFO[INFO.index(b"<ds:Reference"):INFO.index(b"</ds:SignedInfo>")]


def changed(old: bytes, new: bytes, count: int = 1) -> bytes:
    assert old in DOCUMENT
    return DOCUMENT.replace(old, new, count)


def test_a_manifest_as_it_should_be():
    image, document = case_of("switch").maker.image, SignedRim.from_bytes(DOCUMENT)
    rim = Rim.from_bytes(document.signed)
    assert rim == document.claimed
    assert (rim.version, rim.product, len(rim.active)) == ("96.10.55.00.01", "LS10", 31)
    assert rim.references == image.references("vbios")
    assert SIGNATURE not in document.signed
    assert b"Signature" not in document.signed
    assert (len(document.signature), len(document.digest), len(document.certificates)) == (96, 48, 4)


BROKEN = {
    "no signature": changed(SIGNATURE, b""),
    "two signatures": changed(SIGNATURE, SIGNATURE * 2),
    "a signature inside the payload": changed(SIGNATURE, b"").replace(b"</ns0:Payload>", SIGNATURE + b"</ns0:Payload>"),
    "a second signature deeper": changed(b"<ds:X509Data>", b"<ds:X509Data>" + SIGNATURE),
    "another root": changed(b"SoftwareIdentity", b"Software", 2),
    "another namespace": changed(b"iso/19770/-2/2015", b"iso/19770/-2/2016"),
    "the tag inside another": b"<a>" + DOCUMENT + b"</a>",
    "two payloads": changed(b"</ns0:Payload>", b"</ns0:Payload><ns0:Payload></ns0:Payload>"),
    "no payload": changed(b"<ns0:Payload>", b"<ns0:Other>").replace(b"</ns0:Payload>", b"</ns0:Other>"),
    "an empty payload": DOCUMENT[:DOCUMENT.index(RESOURCE)] + DOCUMENT[DOCUMENT.index(b"    </ns0:Payload>"):],
    "meta after payload": changed(b"<ns0:Entity", b"<ns0:Link/><ns0:Entity"),
    "text between elements": changed(b"<ns0:Payload>", b"<ns0:Payload>text"),
    "an index twice": changed(b'index="1"', b'index="0"'),
    "indices out of order": changed(b'index="0"', b'index="30"').replace(b'index="30"', b'index="0"', 2),
    "an index that is no number": changed(b'index="1"', b'index="01"'),
    "an index in other digits": changed(b'index="1"', 'index="\uff11"'.encode()),
    "an index too large": changed(b'index="30"', b'index="256"'),
    "a negative index": changed(b'index="0"', b'index="-1"'),
    "no alternatives": changed(b'alternatives="2"', b'alternatives="0"'),
    "more alternatives than hashes": changed(b'alternatives="2"', b'alternatives="3"'),
    "fewer alternatives than hashes": changed(b'alternatives="2"', b'alternatives="1"'),
    "a gap between hashes": changed(b"ns2:Hash1", b"ns2:Hash2"),
    "a hash of another namespace": changed(b"ns2:Hash1", b"ns0:Hash1"),
    "a short hash": changed(b'ns2:Hash1="', b'ns2:Hash1="00'),
    "a hash that is not hexadecimal": changed(b'ns2:Hash1="', b'ns2:Hash1="zz').replace(b'zz', b'zz', 1),
    "another size": changed(b'size="48"', b'size="32"'),
    "another type": changed(b'type="Measurement"', b'type="Other"'),
    "neither active nor not": changed(b'active="True"', b'active="true"'),
    "an unknown attribute": changed(RESOURCE, RESOURCE + b' other="1"'),
    "an attribute missing": changed(b' size="48"', b""),
    "meta without version": changed(b' revision="r1"', b""),
    "meta with more": changed(b' revision="r1"', b' revision="r1" other="1"'),
    "meta under another prefix": changed(b"ns1:FirmwareManufacturerId", b"ns2:FirmwareManufacturerId"),
    "the tag without id": changed(b' tagVersion="0"', b""),
    "a reference to a part": changed(b'URI=""', b'URI="#x"'),
    "a reference to elsewhere": changed(b'URI=""', b'URI="http://a/"'),
    "a reference without target": changed(b' URI=""', b""),
    "two references": changed(REFERENCE, REFERENCE * 2),
    "no reference": changed(REFERENCE, b""),
    "one transform": changed(b'<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>', b""),
    "three transforms": changed(b"</ds:Transforms>", b'<ds:Transform Algorithm="a"/></ds:Transforms>'),
    "a transform with parameters": changed(
        b'<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"/>',
        b'<ds:Transform Algorithm="http://www.w3.org/2006/12/xml-c14n11"><a/></ds:Transform>'),
    "a key value instead of certificates": changed(b"<ds:X509Data>", b"<ds:KeyValue/><ds:X509Data>"),
    "no certificates": SIGNATURE and DOCUMENT[:DOCUMENT.index(b"<ds:X509Data>")] + b"<ds:X509Data>" + DOCUMENT[
        DOCUMENT.index(b"</ds:X509Data>"):],
    "a certificate's name beside it": changed(b"<ds:X509Data>", b"<ds:X509Data><ds:X509SubjectName/>"),
    "an object in the signature": changed(b"</ds:KeyInfo>", b"</ds:KeyInfo><ds:Object/>"),
    "an id on the signature": changed(b"<ds:Signature ", b'<ds:Signature Id="x" '),
    "a digest that is not base64": changed(b"<ds:DigestValue>", b"<ds:DigestValue>*"),
    "a value that is not base64": changed(b"<ds:SignatureValue>", b"<ds:SignatureValue>="),
    "a document type": b"<!DOCTYPE SoftwareIdentity>" + DOCUMENT,
    "a comment in a version": changed(b"<ns0:Payload>", b"<!-- --><ns0:Payload>"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_another_structure_is_malformed(what):
    assert BROKEN[what] != DOCUMENT
    with pytest.raises(MalformedEvidence):
        SignedRim.from_bytes(BROKEN[what])


def test_too_many_alternatives_are_malformed():
    maker = case_of("switch").maker
    for count, ok in ((MAX_ALTERNATIVES, True), (MAX_ALTERNATIVES + 1, False)):
        references = (Reference(0, True, (bytes(48),) * count, "m"),)
        document = maker.altered(vbios_rim=lambda m, r=references: replace(m, references=r)).manifest("vbios")
        if ok:
            assert SignedRim.from_bytes(document).claimed.references == references
        else:
            with pytest.raises(MalformedEvidence):
                SignedRim.from_bytes(document)


def test_a_manifest_that_is_cut_anywhere_is_malformed():
    for size in range(0, DOCUMENT.rindex(b">"), 29):
        with pytest.raises(MalformedEvidence, match=r"^format\.xml: "):
            SignedRim.from_bytes(DOCUMENT[:size])


@settings(max_examples=150)
@given(st.data())
def test_what_a_damaged_manifest_says_is_what_its_signed_bytes_say(data):
    document = bytearray(DOCUMENT)
    at = data.draw(st.integers(0, len(document) - 1))
    document[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        found = SignedRim.from_bytes(bytes(document))
    except MalformedEvidence:
        return
    assert Rim.from_bytes(found.signed) == found.claimed
