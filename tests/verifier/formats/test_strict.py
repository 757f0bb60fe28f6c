"""The strict decoders refuse, each time by the same id, what their lenient cousins let through."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import MalformedEvidence
from verifier.formats.strict import MAX_JSON_DEPTH, base64_bytes, hex_bytes, json_object, json_value


def refused(call, *arguments, **named) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        call(*arguments, **named)
    return caught.value.id


def test_hexadecimal_of_either_case_is_read():
    assert hex_bytes("00aAfF", "x") == b"\x00\xaa\xff"
    assert hex_bytes("", "x") == b""
    assert hex_bytes("0102", "x", 2) == b"\x01\x02"


@pytest.mark.parametrize("text", [
    "0", "0g", " 00", "00 ", "00\n", "0 0", "00 11", "ab\tcd", "0x00", "00_11", "-1", "\uff10\uff10",
    "\u0660\u0660", "é0", None, b"00", 0, ["00"], {"00": 1}, True,
])
def test_what_is_not_hexadecimal_text_is_refused(text):
    assert refused(hex_bytes, text, "x") == "format.hex"


@pytest.mark.parametrize("size", [0, 1, 3, 64])
def test_hexadecimal_text_has_exactly_its_size(size):
    assert refused(hex_bytes, "0102", "x", size) == "format.hex"


@pytest.mark.parametrize("url", [False, True])
@given(data=st.binary(max_size=100))
def test_there_is_one_base64_of_some_bytes(url, data):
    text = (base64.urlsafe_b64encode(data).rstrip(b"=") if url else base64.b64encode(data)).decode()
    assert base64_bytes(text, "x", url=url) == data


@pytest.mark.parametrize("text", [
    "QUJD\n", " QUJD", "QU JD", "QU!JD", "QUJ*D", "QUJ", "QUJDR", "QR==", "QUJDRR==", "Q===", "====", "QUJD====",
    "QQ==QQ==", "-_-_", "QUJ\u0044\u0301", "\uff31UJD", None, b"QUJD", 5, ["QUJD"],
])
def test_what_is_not_canonical_base64_is_refused(text):
    assert refused(base64_bytes, text, "x") == "format.base64"


@pytest.mark.parametrize("text", ["QQ==", "+/+/", "QR", "Q", "QUJD=", "QU JD", "QUJD\n"])
def test_what_is_not_canonical_base64url_without_padding_is_refused(text):
    assert refused(base64_bytes, text, "x", url=True) == "format.base64"


@settings(max_examples=300)
@given(st.text(alphabet="AQgw048+/-_= \n", max_size=12), st.booleans())
def test_base64_that_is_read_is_written_the_same(text, url):
    try:
        data = base64_bytes(text, "x", url=url)
    except MalformedEvidence:
        return
    written = (base64.urlsafe_b64encode(data).rstrip(b"=") if url else base64.b64encode(data)).decode()
    assert written == text


@pytest.mark.parametrize("text", [
    '{"a":1,"a":2}', '{"a":{"b":1,"b":1}}', '[{"a":1,"\\u0061":2}]', "NaN", "Infinity", "-Infinity", "[NaN]", "1e999",
    "-1e999", '{"a":1e400}', '"\\ud800"', '"\\udc00\\ud800"', '{"\\ud800":1}', '["\\ud83d"]', '["\\ud83dx\\ude00"]',
    "", " ", "{", "}", "[1,]", "{'a':1}", "{} {}", "{}x", "01", "+1", "1_0", "nul", '"\n"', '"\x00"', "\uff11",
    "\ufeff{}", "{\u00a0}", '"', '"\\', "[" * 33 + "]" * 33, '{"a":' * 40 + "1" + "}" * 40, "[" * 100_000,
    "1" * 5000,
], ids=itertools.count())
def test_what_is_not_strict_json_is_refused(text):
    assert refused(json_value, text, "x") == "format.json"
    assert refused(json_value, text.encode("utf-8", "surrogatepass"), "x") == "format.json"


@pytest.mark.parametrize("data", [b"\xff", b'"\xff"', b'"\xed\xa0\x80"', b"\xfe\xff\x00{", '"\ud800"'])
def test_what_is_not_utf8_is_refused(data):
    assert refused(json_value, data, "x") == "format.json"


@pytest.mark.parametrize(("text", "value"), [
    ('{"a":[1,-2.5,1e3,true,null,"\\u00e9\\ud83d\\ude00"]}', {"a": [1, -2.5, 1000.0, True, None, "é😀"]}),
    ('"' + "[" * 40 + '"', "[" * 40), ('"\\"[{\\\\"', '"[{\\'), (" [ ] ", []),
    ("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH, json.loads("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH)),
])
def test_strict_json_is_read(text, value):
    assert json_value(text, "x") == value
    assert json_value(text.encode(), "x") == value


@pytest.mark.parametrize("text", ["[]", "1", "null", '"{}"', "true"])
def test_an_object_is_demanded_where_it_is(text):
    assert refused(json_object, text, "x") == "format.json"


@pytest.mark.parametrize("text", [
    '"' + '\\"' * 1_000_000, '\\"' * 1_000_000, '"' * 1_000_001, "{" * 31 + '"' * 999_999, '["' + "a" * 2_000_000,
    "[" * 2_000_000, "[]" * 1_000_000,
], ids=itertools.count())
def test_megabytes_that_are_not_json_are_refused_in_one_pass(text):
    """A search that started over at each quote would not come to an end here; the test's time limit would."""
    assert refused(json_value, text, "x") == "format.json"


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(st.characters(exclude_categories=["Cs"])),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3), max_leaves=10)


@given(JSON)
def test_every_value_that_can_be_written_is_read(value):
    assert json_value(json.dumps(value), "x") == value
    assert json_value(json.dumps(value, ensure_ascii=False).encode(), "x") == value


@settings(max_examples=300)
@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:\\u0dD8e1+- n', max_size=30).map(str.encode))
def test_any_bytes_are_json_as_the_library_reads_it_or_refused(data):
    try:
        value = json_value(data, "x")
    except MalformedEvidence:
        return
    assert json.loads(data) == value
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
