"""Names of resources: no name reaches beyond its three segments."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbs.errors import MalformedRequest
from kbs.protocol.resource_uri import ResourcePath, ResourceUri

HOSTILE = ["", ".", "..", "...", ".hidden", "a/b", "%2e", "%2f", "%252f", "a%2fb", "a\\b", "..\\", "a\0", "\0", "a\n",
           "\n", "a\r", "\u2024\u2024", "\uff0e\uff0e", "\uff0f", "\u212a", "\u0661", "a b", "a?", "a#", "a;b", "~",
           "a" * 256, "a" * 4096, " a", "a ", "$", "*", "a:b"]


@pytest.mark.parametrize("segment", HOSTILE)
@pytest.mark.parametrize("place", ["repository", "type", "tag"])
def test_hostile_segment_is_refused_wherever_it_stands(segment: str, place: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        ResourcePath(**({"repository": "r", "type": "t", "tag": "n"} | {place: segment}))
    assert caught.value.id == f"protocol.resource.{place}"


@pytest.mark.parametrize("segment", ["a", "-", "_", "-a", "a.b", "a..b", "a.", "CON", "nul.txt", "A" * 255, "0", "_.-"])
def test_plain_segment_is_accepted(segment: str) -> None:
    assert ResourcePath(segment, segment, segment).path == "/".join([segment] * 3)


@pytest.mark.parametrize("text", [
    "kbs:///a/b/c", "kbs://kbs.example:8080/a/b/c", "kbs://[::1]:8080/a/b/c", "kbs://10.0.0.1/a/b/c",
    "kbs+resource:///a/b/c", "/a/b/c", "a/b/c",
])
def test_every_form_names_the_same_resource(text: str) -> None:
    assert ResourcePath.parse(text) == ResourcePath("a", "b", "c")
    assert ResourceUri.parse(text).target == "resource/a/b/c"


def test_path_prints_as_uri_and_reads_back() -> None:
    path = ResourcePath("default", "image-kek", "1")
    assert str(path) == "kbs:///default/image-kek/1"
    assert ResourcePath.parse(str(path)) == path


@pytest.mark.parametrize(("text", "id"), [
    ("a/b", "path"), ("a/b/c/d", "path"), ("kbs:///a/b/c/d", "path"), ("kbs:///a", "path"),
    ("a/b/c/", "segment"), ("//a/b/c", "segment"), ("kbs:////a/b/c", "segment"), ("a//c", "segment"), ("", "segment"),
    ("kbs:///a/../c", "segment"), ("kbs:///a/%2e%2e/c", "segment"), ("kbs:///a/b/c\n", "segment"),
    ("kbs:///a/b/c#x", "segment"), ("KBS:///a/b/c", "segment"), ("http://h/a/b/c", "segment"),
    ("kbs:/a/b/c", "uri"), ("kbs:a/b/c", "uri"), ("kbs://", "uri"), ("kbs://host", "uri"), ("kbs+:///a/b/c", "uri"),
    ("kbs+Re:///a/b/c", "uri"), ("kbs+a/b:///a/b/c", "uri"), ("kbs://u:p@h/a/b/c", "uri"), ("kbs://h:x/a/b/c", "uri"),
    ("kbs://h h/a/b/c", "uri"), ("kbs+resource", "uri"), ("kbs:///" + "a/" * 1024 + "a", "uri"),
    ("kbs+pkcs11:///a/b/c", "plugin"), ("kbs:///a/b/c?x=1", "plugin"),
])
def test_other_names_are_refused(text: str, id: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        ResourcePath.parse(text)
    assert caught.value.id == f"protocol.resource.{id}"


def test_plugin_with_query_is_read() -> None:
    uri = ResourceUri.parse("kbs+nebula-ca:///credential?name=pod1&ip=10.9.8.7/24")
    assert (uri.plugin, uri.segments, uri.query) == ("nebula-ca", ("credential",), "name=pod1&ip=10.9.8.7/24")
    assert uri.target == "nebula-ca/credential?name=pod1&ip=10.9.8.7/24"


@pytest.mark.parametrize("query", ["a b", "a\r\nHost: x", "a#b", "\u20ac", "a\n", '"'])
def test_query_that_would_break_out_of_a_request_line_is_refused(query: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        ResourceUri.parse(f"kbs+p:///a?{query}")
    assert caught.value.id == "protocol.resource.uri"


@given(st.text(max_size=40) | st.text(string.printable, max_size=40).map(lambda text: "kbs://" + text))
def test_whatever_is_accepted_is_three_plain_segments(text: str) -> None:
    try:
        path = ResourcePath.parse(text)
    except MalformedRequest:
        return
    allowed = set(string.ascii_letters + string.digits + "_.-")
    for segment in (path.repository, path.type, path.tag):
        assert segment
        assert set(segment) <= allowed
        assert segment[0] != "."
    assert ResourcePath.parse(str(path)) == path
