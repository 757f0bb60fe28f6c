"""The handshake's messages: what is read, what is refused and by which name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbs.errors import KbsError, MalformedAnswer, MalformedRequest, TooLarge, UnsupportedVersion
from kbs.protocol import messages, wire

REQUEST = {"version": "0.4.0", "tee": "tdx", "extra-params": {"supported-hash-algorithms": ["sha384"]}}


def body(**changes: Any) -> bytes:
    return json.dumps(REQUEST | changes).encode()


def test_request_is_read_and_written_back_alike() -> None:
    request = messages.decode_request(body())
    assert (request.version, request.tee) == ("0.4.0", "tdx")
    assert json.loads(messages.encode(request)) == REQUEST


@pytest.mark.parametrize("extra", ["", None, {}, [1], {"a": {"b": 1.5}}])
def test_request_takes_any_json_as_extra_params(extra: Any) -> None:
    assert messages.decode_request(body(**{"extra-params": extra})).extra_params == extra


@pytest.mark.parametrize("version", ["0.1.0", "0.4.1", "0.4", "", "0.4.0 ", "v0.4.0", "9" * 200])
def test_other_version_is_refused_by_name(version: str) -> None:
    with pytest.raises(UnsupportedVersion) as caught:
        messages.decode_request(body(version=version))
    assert caught.value.id == "protocol.request.version"
    assert caught.value.expected == "0.4.0"


@pytest.mark.parametrize("tee", ["", "TDX", "tdx\n", "tdx/../x", "a" * 33, "té"])
def test_tee_that_is_no_name_is_refused(tee: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_request(body(tee=tee))
    assert caught.value.id == "protocol.request.shape"


@pytest.mark.parametrize(("text", "id"), [
    (b"", "protocol.request.json"),
    (b"\xff\xfe", "protocol.request.json"),
    (b"\xef\xbb\xbf" + body(), "protocol.request.json"),
    (body() + b"{}", "protocol.request.json"),
    (b"[]", "protocol.request.shape"),
    (b"{}", "protocol.request.shape"),
    (body(x=1), "protocol.request.shape"),
    (body(version=4), "protocol.request.shape"),
    (body()[:-1] + b',"tee":"snp"}', "protocol.request.duplicate_key"),
    (body()[:-1] + b',"t\\u0065e":"snp"}', "protocol.request.duplicate_key"),
    (body()[:-1] + b',\n\t"tee" \r\n: "snp"}', "protocol.request.duplicate_key"),
    (b'{"version":"0.4.0","tee":"tdx","extra-params":{"a":{"b":1,"b":2}}}', "protocol.request.duplicate_key"),
    (b'{"version":"0.4.0","tee":"tdx","extra-params":NaN}', "protocol.request.json"),
    (b'{"version":"0.4.0","tee":"tdx","extra-params":"\\ud800"}', "protocol.request.json"),
    (b'{"version":"0.4.0","tee":"tdx","extra-params":1e999}', "protocol.request.shape"),
    (b'{"version":"0.4.0","tee":"tdx","extra-params":' + b"[" * 32 + b"]" * 32 + b"}", "protocol.request.nesting"),
    (b'{"version":"0.4.0","tee":"tdx","extra-params":' + b"[" * 8000, "protocol.request.json"),
])
def test_malformed_request_is_refused_by_name(text: bytes, id: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_request(text)
    assert caught.value.id == id


@pytest.mark.parametrize("text", [
    b'{"version":"0.4.0","tee":"tdx","extra-params":[{"a":1},{"a":1}]}',
    b'{"version":"0.4.0","tee":"tdx","extra-params":{"a":{"a":{"a":"a"}}}}',
    b'{"version":"0.4.0","tee":"tdx","extra-params":["tee","tee",{"tee":"tee"}]}',
    b'{"version":"0.4.0","tee":"tdx","extra-params":"\\",\\"tee\\":\\"snp\\\\\\""}',
    b'{"version":"0.4.0","tee":"tdx","extra-params":{"a\\\\":1,"a\\"":2,"a":3,"{":4,"[":[]}}',
    b'{"version":"0.4.0","tee":"tdx","extra-params":' + b"[" * 31 + b"]" * 31 + b"}",
])
def test_equal_keys_of_different_objects_and_braces_inside_strings_pass(text: bytes) -> None:
    assert messages.decode_request(text).extra_params == json.loads(text)["extra-params"]


def test_request_of_the_largest_size_passes_and_one_byte_more_does_not() -> None:
    room = messages.MAX_REQUEST_BYTES - len(body(**{"extra-params": ""}))
    messages.decode_request(body(**{"extra-params": "x" * room}))
    with pytest.raises(TooLarge) as caught:
        messages.decode_request(body(**{"extra-params": "x" * (room + 1)}))
    assert caught.value.id == "protocol.request.size"


def test_attestation_of_very_many_members_is_refused(attestation: dict[str, Any]) -> None:
    attestation["tee-evidence"]["primary_evidence"] = [[]] * wire.MAX_TOKENS
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_attestation(json.dumps(attestation).encode())
    assert caught.value.id == "protocol.attestation.nesting"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4), max_leaves=20)


@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_every_json_value_without_equal_keys_is_read_as_the_standard_decoder_reads_it(
    value: Any, ascii_only: bool, indent: Any,
) -> None:
    text = json.dumps(REQUEST | {"extra-params": value}, ensure_ascii=ascii_only, indent=indent).encode()
    assert messages.decode_request(text).extra_params == json.loads(text)["extra-params"]


@given(st.lists(st.text(alphabet='[]{}"\\\\ab', max_size=60), max_size=4), st.integers(1, 40))
def test_depth_is_counted_outside_of_strings(texts: list[str], depth: int) -> None:
    nested: Any = texts
    for _ in range(depth - 1):
        nested = [nested, *texts]
    text = json.dumps(REQUEST | {"extra-params": nested}).encode()
    if depth + 1 <= wire.MAX_DEPTH:
        assert messages.decode_request(text).extra_params == nested
    else:
        with pytest.raises(MalformedRequest) as caught:
            messages.decode_request(text)
        assert caught.value.id == "protocol.request.nesting"


@given(st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=5), st.data())
def test_a_key_that_occurs_twice_in_one_object_is_refused_wherever_it_stands(
    members: dict[str, Any], data: st.DataObject,
) -> None:
    twice = data.draw(st.sampled_from(sorted(members)))
    pairs = [*members.items(), (twice, 0)]
    written = ",".join(json.dumps(key, ensure_ascii=data.draw(st.booleans())) + ":" + json.dumps(value)
                       for key, value in pairs)
    text = ('{"version":"0.4.0","tee":"tdx","extra-params":[{' + written + "}]}").encode()
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_request(text)
    assert caught.value.id == "protocol.request.duplicate_key"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_undocumented(data: bytes) -> None:
    for decoder in (messages.decode_request, messages.decode_attestation, messages.decode_challenge,
                    messages.decode_token_answer, messages.decode_error):
        with pytest.raises(KbsError):
            decoder(data)


CHALLENGE = b'{"nonce":"AAAA","extra-params":{"a\\u0062":[1,{"x":"\\"y\\\\"}]},"later":{"k":["z",null,true,1.5e3]}}'


@given(st.lists(st.tuples(st.integers(0, len(CHALLENGE) - 1), st.sampled_from(b'"\\{}[]:,\xff\x00u8 '), st.booleans()),
                min_size=1, max_size=4))
def test_no_damage_to_an_answer_raises_anything_undocumented(damage: list[tuple[int, int, bool]]) -> None:
    body = bytearray(CHALLENGE)
    for position, byte, insert in damage:
        body[position : position + (not insert)] = bytes([byte])
    try:
        messages.decode_challenge(bytes(body))
    except MalformedAnswer as error:
        assert error.id.startswith("protocol.challenge.")  # noqa: PT017 - some damage leaves a good answer


@pytest.mark.parametrize("text", [b'{"\xff":1,"token":"a"}', b'{"token":"a","later":"\xff"}'])
def test_bad_utf8_in_a_member_we_do_not_know_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        messages.decode_token_answer(text)
    assert caught.value.id == "protocol.token_answer.json"


def test_attestation_is_read(attestation: dict[str, Any], attestation_body: bytes) -> None:
    read = messages.decode_attestation(attestation_body)
    assert read.init_data is not None
    assert read.init_data.body == attestation["init-data"]["body"]
    assert read.runtime_data.nonce == attestation["runtime-data"]["nonce"]
    assert read.runtime_data.tee_pubkey == attestation["runtime-data"]["tee-pubkey"]
    assert read.tee_evidence.primary_evidence == {"quote": "AA==", "cc_eventlog": None}
    assert json.loads(messages.encode(read)) == attestation


def test_attestation_without_init_data_is_read(attestation: dict[str, Any]) -> None:
    attestation["init-data"] = None
    assert messages.decode_attestation(json.dumps(attestation).encode()).init_data is None


@pytest.mark.parametrize(("path", "value"), [
    (("init-data", "format"), "json"),
    (("init-data", "extra"), ""),
    (("init-data",), "version = 1"),
    (("runtime-data", "nonce"), ""),
    (("runtime-data", "nonce"), 1),
    (("runtime-data", "extra"), "x"),
    (("runtime-data", "tee-pubkey", "x"), 1.0),
    (("runtime-data", "tee-pubkey", "x"), "A" * 2049),
    (("runtime-data", "tee-pubkey"), {f"m{number}": "" for number in range(9)}),
    (("tee-evidence", "additional_evidence"), {}),
    (("tee-evidence", "extra"), 1),
    (("extra",), 1),
])
def test_attestation_with_a_wrong_member_is_refused(attestation: dict[str, Any], path: tuple[str, ...],
                                                    value: Any) -> None:
    inner = attestation
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_attestation(json.dumps(attestation).encode())
    assert caught.value.id == "protocol.attestation.shape"


@pytest.mark.parametrize("path", [("runtime-data",), ("tee-evidence",), ("runtime-data", "nonce"),
                                  ("runtime-data", "tee-pubkey"), ("tee-evidence", "primary_evidence"),
                                  ("tee-evidence", "additional_evidence")])
def test_attestation_without_a_required_member_is_refused(attestation: dict[str, Any], path: tuple[str, ...]) -> None:
    inner = attestation
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_attestation(json.dumps(attestation).encode())
    assert caught.value.id == "protocol.attestation.shape"


def test_second_key_of_the_guest_is_refused(attestation_body: bytes) -> None:
    text = attestation_body.replace(b'"tee-pubkey":', b'"tee-pubkey": {}, "tee-pubkey":')
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_attestation(text)
    assert caught.value.id == "protocol.attestation.duplicate_key"


def test_additional_evidence_is_a_map_of_tees() -> None:
    assert messages.decode_additional_evidence("") == {}
    assert messages.decode_additional_evidence('{"nvidia": {"device_evidence_list": []}}') == {
        "nvidia": {"device_evidence_list": []}}


@pytest.mark.parametrize(("text", "id"), [
    ("[]", "shape"), ('{"GPU 0": 1}', "shape"), ('{"nvidia": 1, "nvidia": 2}', "duplicate_key"), ("{", "json"),
    (json.dumps({f"t{number}": 1 for number in range(17)}), "shape"),
])
def test_additional_evidence_of_another_shape_is_refused(text: str, id: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        messages.decode_additional_evidence(text)
    assert caught.value.id == f"protocol.additional_evidence.{id}"


def test_answers_may_carry_members_we_do_not_know() -> None:
    challenge = messages.decode_challenge(b'{"nonce":"AAAA","extra-params":"","later":1}')
    assert (challenge.nonce, challenge.extra_params) == ("AAAA", "")
    assert messages.decode_token_answer(b'{"token":"a.b.c","later":1}').token == "a.b.c"


def test_token_stays_out_of_representations() -> None:
    assert "a.b.c" not in repr(messages.TokenAnswer("a.b.c"))


def test_error_body_has_the_fields_of_brokers_in_the_field_and_ours() -> None:
    theirs = messages.decode_error(
        b'{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"access denied"}')
    assert (theirs.variant, theirs.id, theirs.reference) == ("PolicyDeny", None, None)
    ours = messages.ErrorBody(type=messages.ERROR_TYPE_PREFIX + "PolicyDeny", detail="d", id="policy", reference="r")
    assert messages.decode_error(messages.encode(ours)) == ours
    assert json.loads(messages.encode(theirs)) == {"type": theirs.type, "detail": "access denied"}


def test_nonce_is_thirty_two_bytes_of_canonical_base64() -> None:
    raw = bytes(range(100, 132))
    assert messages.nonce_bytes(base64.b64encode(raw).decode()) == raw


@pytest.mark.parametrize("nonce", [
    "", *(base64.b64encode(bytes(size)).decode() for size in (16, 31, 33, 64)),
    base64.b64encode(bytes(32)).decode().rstrip("="), base64.b64encode(bytes(32)).decode()[:-2] + "B=",
    base64.b64encode(bytes(32)).decode() + "\n", base64.urlsafe_b64encode(b"\xff" * 32).decode(), "é" * 44,
])
def test_nonce_of_another_length_or_spelling_is_refused(nonce: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        messages.nonce_bytes(nonce)
    assert caught.value.id == "protocol.nonce"
