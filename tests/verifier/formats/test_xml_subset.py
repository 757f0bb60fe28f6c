"""The XML subset: what it refuses, and that its canonical form is everybody's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import case_of
from verifier.errors import MalformedEvidence
from verifier.formats.xml_subset import MAX_ATTRIBUTES, MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_NODES, Name, parse

etree = pytest.importorskip("lxml.etree", reason="lxml missing: pip install lxml")


def libxml(data: bytes) -> bytes:
    """The canonical form by libxml2 (inclusive, without comments)."""
    return etree.tostring(etree.fromstring(data), method="c14n", exclusive=False, with_comments=False)


@pytest.mark.parametrize("data", [
    b'<!DOCTYPE a><a/>', b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
    b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><a>&b;</a>',
    b'<!DOCTYPE a [<!ATTLIST a b CDATA "c">]><a/>', b'<!DOCTYPE a [<!ELEMENT a ANY>]><a/>',
    b"<a>&x;</a>", b"<a><!-- c --></a>", b"<!-- c --><a/>", b"<a/><!-- c -->", b"<?p q?><a/>", b"<a><?p q?></a>",
    b"<a><![CDATA[x]]></a>", b'<a xml:lang="en"/>', b'<a xml:space="preserve"/>', b'<a xml:id="x"/>',
    b'<a xmlns:xml="http://www.w3.org/XML/1998/namespace"/>', b'<a xmlns:xmlns="urn:x"/>', b'<a xmlns:p=""/>',
    b"<p:a/>", b'<a p:b="c"/>', b"<xmlns:a/>", b'<a xmlns:p="urn:u" xmlns:q="urn:u" p:b="1" q:b="2"/>',
    b'<a b="1" b="2"/>', b"<a", b"<a></b>", b"", b"  ", b"text", b"<a/><a/>", b"<a/>text",
    b"\xef\xbb\xbf<a/>", b"\xff\xfe<\x00a\x00/\x00>\x00", b"<a>\xff</a>", b"<a>\x00</a>", b"<a>\x01</a>",
    b'<?xml version="1.1"?><a/>', b'<?xml version="1.0" encoding="utf-16"?><a/>',
    b'<?xml version="1.0" encoding="utf-7"?><a/>', b'<?xml version="1.0" encoding="latin-1"?><a/>',
    b"<a:b:c xmlns:a='urn:x'/>", b'<a xmlns="relative"/>', b'<a xmlns:p="relative"/>', b"<:a/>",
])
def test_what_is_outside_the_subset_is_refused(data):
    with pytest.raises(MalformedEvidence) as caught:
        parse(data)
    assert caught.value.id == "format.xml"


def test_documents_are_bounded():
    deep = b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH
    assert parse(deep)
    wide = b"<a>" + b"<b/>" * (MAX_NODES - 1) + b"</a>"
    assert parse(wide)
    many = b"<a " + b" ".join(b'b%d=""' % n for n in range(MAX_ATTRIBUTES)) + b"/>"
    assert parse(many)
    for data in (b"<a>" + deep + b"</a>", wide.replace(b"</a>", b"<b/></a>"), many.replace(b"/>", b' c=""/>'),
                 b"<a>" + b" " * MAX_DOCUMENT_BYTES + b"</a>"):
        with pytest.raises(MalformedEvidence):
            parse(data)


@pytest.mark.parametrize("data", [
    b"<a/>", b"<a></a>", b'<?xml version="1.0" encoding="UTF-8"?>\n<a/>\n\n', b'<?xml version="1.0"?><a b="c"/>',
    b'<a z="1" b="2" xmlns="urn:u" xmlns:z="urn:w" xmlns:b="urn:v" b:q="1" z:a="2"/>',
    b'<a xmlns="urn:u"><b xmlns="urn:u"/><c xmlns=""><d xmlns="urn:u"/></c></a>', b'<a><b xmlns=""/></a>',
    b'<p:a xmlns:p="urn:u"><p:b xmlns:p="urn:v"><p:c xmlns:p="urn:u"/></p:b></p:a>',
    b'<a b="&lt;&amp;&quot;&#9;&#10;&#13;\t\n\'>"/>', b"<a>&lt;&amp;&gt;&#13;&#9;\"'\r\n\r</a>",
    "<a ü=\"ß\">\U0001f600\u2028</a>".encode(), b"<a>1<b>2</b>3<b/>4</a>", b"<a\n  b = 'c'\n/>",
    b"<a>&#x41;&#66;</a>", b'<a b="  x  y  "/>',
])
def test_the_canonical_form_is_libxmls(data):
    assert parse(data).canonical() == libxml(data)


@pytest.mark.corpus("nvidia-rim")
def test_the_canonical_form_of_genuine_documents_is_libxmls(corpus, case):
    for path in sorted(corpus.folder(case).glob("*.xml")):
        data = path.read_bytes()
        root = parse(data)
        assert root.canonical() == libxml(data)
        theirs = {element.tag: element for element in etree.fromstring(data).iter()}
        for element in root.descendants():
            if element.name.local in ("SignedInfo", "Signature", "Payload"):
                tag = f"{{{element.name.namespace}}}{element.name.local}"
                assert element.canonical() == etree.tostring(theirs[tag], method="c14n", with_tail=False)


def test_an_element_is_left_out_with_all_it_contains():
    root = parse(b"<a>1<b>2<c/></b>3<b/></a>")
    first = next(element for element in root.descendants() if element.name.local == "b")
    assert root.canonical(without=first) == b"<a>13<b></b></a>"


def test_what_is_asked_of_elements():
    root = parse(b'<a xmlns="urn:u" xmlns:p="urn:v" b="1" p:b="2"> <c/>\n<d>text</d></a>')
    assert root.name == Name("urn:u", "a")
    assert (root.get("b"), root.get("b", "urn:v"), root.get("c")) == ("1", "2", None)
    assert [element.name.local for element in root.elements] == ["c", "d"]
    assert root.elements[1].text == "text"
    for broken in (lambda: root.text, lambda: parse(b"<a>x<b/></a>").elements):
        with pytest.raises(MalformedEvidence):
            broken()


names = st.sampled_from(["a", "b", "p:a", "q:b", "ü"])
values = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
                 | st.sampled_from("\t\n<&>\"'"), max_size=8)
declared = st.dictionaries(st.sampled_from(["", "p", "q"]), st.sampled_from(["urn:u", "urn:v"]), max_size=3)


def written(text: str) -> str:
    for character, reference in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\t", "&#9;"),
                                 ("\n", "&#10;")):
        text = text.replace(character, reference)
    return text


elements = st.recursive(
    st.tuples(names, declared, st.dictionaries(names, values, max_size=3), st.lists(values, max_size=2)),
    lambda inner: st.tuples(names, declared, st.dictionaries(names, values, max_size=3),
                            st.lists(values | inner, max_size=3)), max_leaves=6)


def text_of(element) -> str:
    tag, spaces, attributes, children = element
    told = "".join(f' xmlns{":" if prefix else ""}{prefix}="{uri}"' for prefix, uri in spaces.items())
    told += "".join(f' {name}="{written(value)}"' for name, value in attributes.items())
    return f"<{tag}{told}>" + "".join(
        written(child) if isinstance(child, str) else text_of(child) for child in children) + f"</{tag}>"


@given(elements)
def test_the_canonical_form_of_any_document_is_libxmls(element):
    data = f'<r xmlns:p="urn:p" xmlns:q="urn:q">{text_of(element)}</r>'.encode()
    try:
        root = parse(data)
    except MalformedEvidence:
        with pytest.raises(etree.XMLSyntaxError):  # one attribute under two prefixes
            etree.fromstring(data)
        return
    assert root.canonical() == libxml(data)
    assert parse(root.canonical()).canonical() == root.canonical()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_document_or_refused(data):
    for candidate in (data, b"<a>" + data + b"</a>"):
        try:
            parse(candidate).canonical()
        except MalformedEvidence:
            continue


@given(st.data())
def test_a_damaged_manifest_is_a_document_or_refused(data):
    document = bytearray(case_of().maker.manifest("driver"))
    at = data.draw(st.integers(0, len(document) - 1))
    document[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        parse(bytes(document))
    except MalformedEvidence:
        return
