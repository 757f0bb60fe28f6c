"""As much of XML as a signed reference manifest needs, and its canonical form.

Rules of the room. XML's extras are how signed XML has been attacked: a document type declaration can define entities
that expand without bound, read files or change what was signed; comments and CDATA sections split text in one reader
and not in the next; ``xml:`` attributes are inherited and make the versions of the canonical form differ. None of them
is needed here, so each is refused, not skipped. What is left (elements, attributes, namespace declarations, text) has
one meaning, and for it Canonical XML 1.0 and 1.1 are the same; `Element.canonical` writes it.

The parser is the standard library's expat with every such handler set to refuse. Documents are UTF-8 and bounded in
size, depth and number of nodes. Whatever is wrong is `MalformedEvidence`. Sources: W3C XML 1.0, Namespaces in XML 1.0,
Canonical XML 1.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from verifier.errors import MalformedEvidence

MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_NODES = 8192
MAX_ATTRIBUTES = 64

_ENCODINGS = (None, "utf-8", "us-ascii")
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_VALUE = str.maketrans({"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"})


class Name(NamedTuple):
    """An expanded name: ``namespace`` is empty for an attribute without prefix and where no default is declared."""

    namespace: str
    local: str


@dataclass(slots=True, eq=False)
class Element:
    """One element; not to be changed once it was read.

    tag: as written, with its prefix. attributes: by expanded name, the value and the tag as written. scope: every
    namespace that is declared here, by prefix (empty for the default), its own declarations and its parents'.
    """

    name: Name
    tag: str
    attributes: Mapping[Name, tuple[str, str]]
    scope: Mapping[str, str]
    children: list[Element | str] = field(default_factory=list)

    def get(self, local: str, namespace: str = "") -> str | None:
        """An attribute's value, None when it is not there."""
        found = self.attributes.get(Name(namespace, local))
        return None if found is None else found[0]

    @property
    def elements(self) -> tuple[Element, ...]:
        """The child elements. Raises `MalformedEvidence` where there is text between them that is not white space."""
        if any(isinstance(child, str) and child.strip(" \t\r\n") for child in self.children):
            raise _malformed(f"{self.tag} has text between its elements")
        return tuple(child for child in self.children if isinstance(child, Element))

    @property
    def text(self) -> str:
        """The text. Raises `MalformedEvidence` where there are elements in it."""
        if any(isinstance(child, Element) for child in self.children):
            raise _malformed(f"{self.tag} has elements in its text")
        return "".join(child for child in self.children if isinstance(child, str))

    def descendants(self) -> Iterator[Element]:
        """This element and every element below it, in document order."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.descendants()

    def canonical(self, *, without: Element | None = None) -> bytes:
        """The inclusive canonical form of this element as the apex of its own document subset.

        without: an element below that is left out with all it contains (the enveloped signature).
        """
        return "".join(self._pieces({}, without)).encode("utf-8")

    def _pieces(self, rendered: Mapping[str, str], without: Element | None) -> Iterator[str]:
        """``rendered``: the declarations that the output already has in force."""
        yield f"<{self.tag}"
        for prefix, uri in sorted(self.scope.items()):
            if rendered.get(prefix, "") != uri:
                yield f' xmlns:{prefix}="{uri.translate(_VALUE)}"' if prefix else f' xmlns="{uri.translate(_VALUE)}"'
        for _, (value, tag) in sorted(self.attributes.items()):
            yield f' {tag}="{value.translate(_VALUE)}"'
        yield ">"
        for child in self.children:
            if isinstance(child, str):
                yield child.translate(_TEXT)
            elif child is not without:
                yield from child._pieces(self.scope, without)
        yield f"</{self.tag}>"


def parse(data: bytes) -> Element:
    """The document element of ``data``. Raises `MalformedEvidence` for anything outside the subset."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise _malformed("the document is too large", expected=f"<= {MAX_DOCUMENT_BYTES} bytes",
                         got=f"{len(data)} bytes")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("the document is not UTF-8") from None
    if data.startswith(b"\xef\xbb\xbf"):
        raise _malformed("the document begins with a byte order mark")
    return _Builder().build(data)


class _Builder:
    """Expat's handlers. They see names as written; namespaces are resolved here, since canonical XML keeps prefixes."""

    def __init__(self) -> None:
        self._open: list[Element] = []
        self._root: Element | None = None
        self._nodes = 0

    def build(self, data: bytes) -> Element:
        parser = expat.ParserCreate("UTF-8")
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.XmlDeclHandler = self._declaration
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        for handler, what in _REFUSED.items():
            setattr(parser, handler, _refusal(what))
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise _malformed(f"the document is not well-formed: {expat.errors.messages.get(error.code)}") from None
        if self._root is None:
            raise _malformed("the document has no element")
        return self._root

    def _declaration(self, version: str, encoding: str | None, _: int) -> None:
        if version != "1.0" or (encoding.lower() if encoding else None) not in _ENCODINGS:
            raise _malformed("only XML 1.0 in UTF-8 is read", got=f"{version}, {encoding}")

    def _start(self, tag: str, flat: list[str]) -> None:
        self._count()
        if len(self._open) >= MAX_DEPTH or len(flat) > 2 * MAX_ATTRIBUTES:
            raise _malformed("the document is too deep, or an element has too many attributes")
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        scope = _scope(self._open[-1].scope if self._open else {}, pairs)
        attributes = [(_expand(name, scope, attribute=True), (value, name)) for name, value in pairs
                      if not _declares(name)]
        if len(dict(attributes)) != len(attributes):
            raise _malformed("an attribute occurs twice under two prefixes", got=tag[:64])
        element = Element(_expand(tag, scope), tag, dict(attributes), scope)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._open.pop()

    def _characters(self, text: str) -> None:
        self._count()
        self._open[-1].children.append(text)

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _malformed("the document has too many nodes", expected=f"<= {MAX_NODES}")


_REFUSED = {
    "StartDoctypeDeclHandler": "a document type declaration", "EntityDeclHandler": "an entity declaration",
    "ElementDeclHandler": "an element declaration", "AttlistDeclHandler": "an attribute declaration",
    "NotationDeclHandler": "a notation declaration", "SkippedEntityHandler": "an entity",
    "ProcessingInstructionHandler": "a processing instruction", "CommentHandler": "a comment",
    "StartCdataSectionHandler": "a CDATA section",
}


def _refusal(what: str) -> object:
    def refuse(*_: object) -> NoReturn:
        raise _malformed(f"{what} is refused")
    return refuse


def _declares(name: str) -> bool:
    return name == "xmlns" or name.startswith("xmlns:")


def _scope(outer: Mapping[str, str], pairs: list[tuple[str, str]]) -> Mapping[str, str]:
    """``outer`` with the declarations among ``pairs``. A default can be taken back, a prefix cannot.

    Relative names of namespaces have no canonical form (Canonical XML, section 1.3).
    """
    found = dict(outer)
    for name, uri in pairs:
        if not _declares(name):
            continue
        prefix = name.partition(":")[2]
        unnamed = name != "xmlns" and not (prefix and uri)
        if prefix in ("xml", "xmlns") or unnamed or ":" in prefix or (uri and ":" not in uri):
            raise _malformed("a namespace declaration is refused", got=name[:64])
        found[prefix] = uri
    return found


def _expand(tag: str, scope: Mapping[str, str], *, attribute: bool = False) -> Name:
    prefix, colon, local = tag.rpartition(":")
    if not colon:
        return Name("" if attribute else scope.get("", ""), tag)
    if not prefix or not local or prefix not in scope:
        raise _malformed("a prefix is not declared, or reserved", got=tag[:64])
    return Name(scope[prefix], local)


def _malformed(detail: str, *, expected: object = None, got: object = None) -> MalformedEvidence:
    return MalformedEvidence("format.xml", detail, expected=expected, got=got)
