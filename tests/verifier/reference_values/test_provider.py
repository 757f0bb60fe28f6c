"""How reference values arrive, and the provider that keeps them in memory."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.reference_values.extractors import extract
from verifier.reference_values.model import (
    MAX_VALUE_BYTES,
    ReferenceValue,
    ReferenceValueError,
    ReferenceValues,
    UnsupportedReferenceValues,
)
from verifier.reference_values.provider import MAX_MESSAGE_BYTES, InMemoryProvider, read_message

VALUES = {"mr_td": ["aa" * 48], "snp_smt_enabled": True, "minimum": 3, "images": [{"name": "a"}]}


def message(**members: Any) -> bytes:
    payload = base64.b64encode(json.dumps(VALUES).encode()).decode()
    chosen = {"version": "0.1.0", "type": "sample", "payload": payload, **members}
    return json.dumps({name: value for name, value in chosen.items() if value is not None}).encode()


def refusal(call, *arguments) -> ReferenceValueError:
    with pytest.raises(ReferenceValueError) as caught:
        call(*arguments)
    return caught.value


def test_a_message_as_trustees_tools_send_it_is_read():
    assert json.loads(ReferenceValues(read_message(message())).json) == VALUES


def test_a_message_may_carry_an_expiry():
    assert {entry.expires for entry in read_message(message(expires=100))} == {100}
    assert {entry.expires for entry in read_message(message())} == {None}


@pytest.mark.parametrize("kind", ["sample", "plain"])
def test_plain_json_is_extracted(kind):
    assert ReferenceValues(extract(kind, b'{"a": ["b"]}'))["a"] == ("b",)


@pytest.mark.parametrize("kind", ["corim", "swid", "rim", "", "Sample"])
def test_a_type_without_an_extractor_is_refused_by_name(kind):
    with pytest.raises(UnsupportedReferenceValues) as caught:
        read_message(message(type=kind))
    assert (caught.value.id, caught.value.got) == ("reference_value.type", kind)


@pytest.mark.parametrize(("members", "id"), [
    ({"version": "0.2.0"}, "reference_value.version"), ({"version": None}, "reference_value.version"),
    ({"version": 1}, "reference_value.version"), ({"type": None}, "reference_value.message"),
    ({"type": 1}, "reference_value.message"), ({"payload": None}, "reference_value.message"),
    ({"payload": ["e30="]}, "reference_value.message"), ({"payload": "e30"}, "reference_value.payload"),
    ({"payload": "e3 0="}, "reference_value.payload"), ({"payload": "bm8="}, "reference_value.payload"),
    ({"payload": base64.b64encode(b"[]").decode()}, "reference_value.payload"),
    ({"payload": base64.b64encode(b'{"a":1,"a":2}').decode()}, "reference_value.payload"),
    ({"payload": base64.b64encode(b'{"a":null}').decode()}, "reference_value.value"),
    ({"payload": base64.b64encode(b'{"":1}').decode()}, "reference_value.name"),
    ({"expires": "never"}, "reference_value.expires"), ({"extra": 1}, "reference_value.message"),
])
def test_a_message_of_the_wrong_shape_is_refused(members, id):
    assert refusal(read_message, message(**members)).id == id


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 1000])
def test_what_is_no_message_is_refused(body):
    assert refusal(read_message, body).id == "reference_value.message"


def test_messages_and_payloads_are_bounded():
    assert refusal(read_message, b" " * (MAX_MESSAGE_BYTES + 1)).id == "reference_value.size"
    assert refusal(extract, "plain", b" " * (MAX_VALUE_BYTES + 1)).id == "reference_value.size"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_the_rooms_own_error(body):
    for call in (lambda: read_message(body), lambda: extract("plain", body)):
        try:
            call()
        except ReferenceValueError as error:
            assert error.id.startswith("reference_value.")  # noqa: PT017 - most bytes raise, some do not


def test_the_provider_adds_replaces_and_forgets():
    provider = InMemoryProvider([ReferenceValue("a", 1)])
    before = provider.values()
    provider.register([ReferenceValue("a", 2), ReferenceValue("b", 3)])
    assert (provider.values()["a"], provider.values()["b"]) == ((2,), (3,))
    assert provider.delete("b") is True
    assert provider.delete("b") is False
    assert dict(provider.values()) == {"a": (2,)}
    assert dict(before) == {"a": (1,)}
