"""The key provider protocol, with the requests that the field sends, on stdin and over gRPC."""

from __future__ import annotations

import base64
import importlib.util
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import AttestationError
from attestation.images.annotation_packet import AnnotationPacket, unwrap, wrap
from attestation.images.key_provider import KeyProvider
from attestation.images.key_provider_grpc import decode, encode, serve
from attestation.images.key_sources import KeyFiles, KeySources, KeyTable
from attestation.images.layer_cipher import PrivateOptions

KID = "kbs:///default/kek/1"
OPTIONS = PrivateOptions(bytes(32), "sha256:" + "ab" * 32, bytes(16)).to_json()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _wrap_request(parameters: object = f"keyid={KID}", options: object = None, **changes) -> bytes:
    texts = [_b64(parameters.encode())] if isinstance(parameters, str) else parameters
    return json.dumps(
        {
            "op": "keywrap",
            "keywrapparams": {
                "ec": {"Parameters": {"attestation-agent": texts}, "DecryptConfig": {"Parameters": {}}},
                "optsdata": _b64(OPTIONS) if options is None else options,
            },
            "keyunwrapparams": {"dc": None, "annotation": None},
            **changes,
        }
    ).encode()


def _unwrap_request(packet: bytes | list[int], **changes) -> bytes:
    return json.dumps(
        {
            "op": "keyunwrap",
            "keywrapparams": {"ec": None, "optsdata": None},
            "keyunwrapparams": {
                "dc": {"Parameters": {"attestation-agent": ["Y2Nfa2JjOjpodHRwOi8va2JzOjgwODA="]}},
                "annotation": _b64(packet) if isinstance(packet, bytes) else packet,
            },
            **changes,
        }
    ).encode()


@pytest.fixture
def table() -> KeyTable:
    return KeyTable({KID: bytes(range(32))})


def _id(attempt) -> str:
    with pytest.raises(AttestationError) as caught:
        attempt()
    return caught.value.id


def test_what_was_wrapped_unwraps(table):
    provider = KeyProvider(table)
    annotation = json.loads(provider.answer(_wrap_request()))["keywrapresults"]["annotation"]
    assert all(type(octet) is int for octet in annotation)
    for packet in (bytes(annotation), annotation):
        assert bytes(json.loads(provider.answer(_unwrap_request(packet)))["keyunwrapresults"]["optsdata"]) == OPTIONS


def test_options_come_as_octets_too(table):
    annotation = json.loads(KeyProvider(table).answer(_wrap_request(options=list(OPTIONS))))["keywrapresults"][
        "annotation"
    ]
    assert unwrap(bytes(annotation), table) == OPTIONS


def test_wrapping_without_a_sink_uses_the_key_of_the_source(table):
    assert _id(lambda: KeyProvider(KeyTable()).answer(_wrap_request())) == "image.key.unknown"


def test_wrapping_with_a_sink_makes_a_new_key(table):
    sink = KeyTable()
    provider = KeyProvider(sink, sink)
    annotation = bytes(
        json.loads(provider.answer(_wrap_request("keyid=/default/kek/new")))["keywrapresults"]["annotation"]
    )
    assert unwrap(annotation, sink) == OPTIONS
    assert list(sink.keys) == ["kbs:///default/kek/new"]
    assert _id(lambda: provider.answer(_wrap_request("keyid=/default/kek/new"))) == "image.key.exists"


def test_key_path_is_read_only_where_that_is_allowed(table, tmp_path):
    (tmp_path / "kek").write_bytes(b"k" * 32)
    request = _wrap_request(f"keyid={KID}::keypath={tmp_path / 'kek'}::algorithm=A256GCM")
    assert _id(lambda: KeyProvider(table).answer(request)) == "image.key_provider.keypath"
    annotation = json.loads(KeyProvider(table, allow_key_paths=True).answer(request))["keywrapresults"]["annotation"]
    assert unwrap(bytes(annotation), KeyTable({KID: b"k" * 32})) == OPTIONS


@pytest.mark.parametrize(
    ("request_", "id"),
    [
        (_wrap_request("sample=true"), "image.key_provider.request"),
        (_wrap_request("keyid=kbs:///a/b/c::keyid=kbs:///a/b/d"), "image.key_provider.request"),
        (_wrap_request("keyid=kbs:///a/b/c::algorithm=A256CTR"), "image.key_provider.algorithm"),
        (_wrap_request("Enabled"), "image.key_provider.request"),
        (_wrap_request("keypath=/k"), "image.kid"),
        (_wrap_request("keyid=kbs:///a/../c"), "image.kid"),
        (_wrap_request("keyid=kbs+pki:///a/b/c"), "image.kid"),
        (_wrap_request([]), "image.key_provider.request"),
        (_wrap_request(None), "image.key_provider.request"),
        (_wrap_request([_b64(b"keyid=x")] * 2), "image.key_provider.request"),
        (_wrap_request([5]), "image.key_provider.request"),
        (_wrap_request(options=_b64(b"{}")), "image.private_options"),
        (_wrap_request(options=[256]), "image.key_provider.request"),
        (_wrap_request(options=[True]), "image.key_provider.request"),
        (_wrap_request(options="*"), "image.key_provider.request"),
        (_wrap_request(options=[1] * 5000), "image.key_provider.request"),
        (_wrap_request(options=_b64(bytes(5000))), "image.key_provider.request"),
        (_wrap_request(keywrapparams=None), "image.key_provider.request"),
        (_wrap_request(op="KeyWrap"), "image.key_provider.request"),
        (_wrap_request(op=None), "image.key_provider.request"),
        (_unwrap_request(b""), "image.packet"),
        (_unwrap_request(b"{}"), "image.packet"),
        (_unwrap_request(b"x", keyunwrapparams={}), "image.key_provider.request"),
        (b"", "image.key_provider.request"),
        (b"[]", "image.key_provider.request"),
        (b"{}", "image.key_provider.request"),
        (b'{"op":"' + b"x" * (1 << 20) + b'"}', "image.key_provider.request"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_other_requests_are_refused(table, request_, id):
    assert _id(lambda: KeyProvider(table).answer(request_)) == id


def test_what_was_wrapped_but_is_no_layer_key_is_not_given_out(table):
    packet = wrap(b"something else under the same key", KID, table.get(KID))
    assert _id(lambda: KeyProvider(table).answer(_unwrap_request(packet))) == "image.private_options"


# The packet.


def _packet(**changes) -> bytes:
    document = json.loads(wrap(OPTIONS, KID, bytes(range(32)))) | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


NEWER = {"version": "0.1.0", "provider": "kbs", "provider_settings": {}, "annotations": {}}


@pytest.mark.parametrize(
    "changes",
    [{}, NEWER, {"version": "0.1.0"}, {"kid": "/default/kek/1"}, {"kid": "kbs://host:80/default/kek/1"}],
    ids=str,
)
def test_packets_of_the_field_unwrap(table, changes):
    assert unwrap(_packet(**changes), table) == OPTIONS


@pytest.mark.parametrize(
    ("changes", "id"),
    [
        ({"wrap_type": "A256CTR"}, "image.packet.wrap_type"),
        ({"wrap_type": "a256gcm"}, "image.packet.wrap_type"),
        ({"wrap_type": None}, "image.packet"),
        ({"iv": None}, "image.packet"),
        ({"iv": _b64(bytes(16))}, "image.packet"),
        ({"iv": ""}, "image.packet"),
        ({"iv": _b64(bytes(12))}, "image.packet.tag"),
        ({"wrapped_data": ""}, "image.packet.tag"),
        ({"wrapped_data": _b64(bytes(15))}, "image.packet.tag"),
        ({"wrapped_data": "*"}, "image.packet"),
        ({"kid": "kbs:///default/kek"}, "image.kid"),
        ({"kid": 5}, "image.kid"),
        ({"kid": "kbs+pki:///a/b/c"}, "image.kid"),
        ({"kid": "file:///etc/passwd"}, "image.kid"),
        ({"kid": "kbs:///default/kek/2"}, "image.key.unknown"),
        (NEWER | {"version": "0.2.0"}, "image.packet.version"),
        (NEWER | {"provider": "aliyun"}, "image.packet.provider"),
        ({"Kid": KID}, "image.packet"),
        ({"extra": 1}, "image.packet"),
    ],
    ids=str,
)
def test_other_packets_are_refused(table, changes, id):
    if changes.get("kid") == 5:
        id = "image.packet"
    assert _id(lambda: unwrap(_packet(**changes), table)) == id


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(["kid", "wrapped_data", "iv", "wrap_type", "version", "provider"]),
        st.none() | st.text() | st.integers() | st.just(KID) | st.just("A256GCM") | st.just(_b64(bytes(12))),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_packet_raises_anything_but_the_documented_errors(data):
    with pytest.raises(AttestationError) as caught:
        unwrap(data, KeyTable({KID: bytes(32)}))
    assert caught.value.id.startswith(("image.packet", "image.kid", "image.key"))


def test_packet_survives_its_own_json():
    packet = AnnotationPacket(KID, b"data", bytes(12))
    assert AnnotationPacket.from_json(packet.to_json()) == packet


# Sources.


def test_sources_are_asked_in_order_and_only_a_missing_key_moves_on(tmp_path):
    class Down:
        def get(self, kid: str) -> bytes:
            raise AttestationError("broker.down", "nobody there")

    (tmp_path / "kek").write_bytes(b"f" * 32)
    files = KeyFiles({KID: tmp_path / "kek"})
    assert KeySources([KeyTable(), files, Down()]).get(KID) == b"f" * 32
    assert _id(lambda: KeySources([Down(), files]).get(KID)) == "broker.down"
    assert _id(lambda: KeySources([]).get(KID)) == "image.key.unknown"
    assert _id(lambda: KeySources([files]).get("kbs:///a/b/c")) == "image.key.unknown"


@pytest.mark.parametrize("size", [0, 31, 33, 44])
def test_key_file_of_another_length_is_refused(tmp_path, size):
    (tmp_path / "kek").write_bytes(bytes(size))
    assert _id(lambda: KeyFiles({KID: tmp_path / "kek"}).get(KID)) in ("image.kek", "image.read")


def test_source_that_answers_with_another_length_is_refused():
    assert _id(lambda: unwrap(_packet(), KeyTable({KID: bytes(16)}))) == "image.kek"


# gRPC.


@given(st.binary(max_size=70_000) | st.sampled_from([bytes(127), bytes(128), bytes(16383), bytes(16384)]))
def test_message_survives_its_encoding(data):
    assert decode(encode(data)) == data


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x0a",
        b"\x0a\x01",
        b"\x0a\x00\x00",
        b"\x12\x00",
        b"\x08\x01",
        b"\x0a\x01ab",
        b"\x0a\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x80\x80\x80\x80\x80",
        b"\x0a\x80\x00",
        b"\x0a\x84\x00data",
        b"\x0a\x84\x80\x80\x00data",
    ],
    ids=repr,
)
def test_other_messages_are_refused(message):
    assert _id(lambda: decode(message)) == "image.key_provider.message"


@given(st.binary())
def test_no_message_raises_anything_but_the_documented_error(outcome, message):
    found = outcome(lambda: decode(message))
    assert found == "image.key_provider.message" or len(found) < len(message)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50000", "localhost:50000", ":50000", "", "dns:host:1"]
)
def test_keys_are_served_to_this_machine_only(table, address):
    assert _id(lambda: serve(KeyProvider(table), address)) == "image.key_provider.address"


needs_grpc = pytest.mark.skipif(
    importlib.util.find_spec("grpc") is None, reason="grpcio missing: pip install 'attestkit[grpc]'"
)


@needs_grpc
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_wrap_and_unwrap_over_a_channel(table, tmp_path, kind):
    import grpc

    address = "127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path / 'socket'}"
    server, port = serve(KeyProvider(table), address)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}" if kind == "tcp" else address) as channel:

            def call(name: str, request: bytes) -> dict:
                method = channel.unary_unary(f"/keyprovider.KeyProviderService/{name}")
                return json.loads(decode(method(encode(request), timeout=20)))

            annotation = call("WrapKey", _wrap_request())["keywrapresults"]["annotation"]
            assert bytes(call("UnWrapKey", _unwrap_request(annotation))["keyunwrapresults"]["optsdata"]) == OPTIONS
            for name, request, told in (
                ("WrapKey", _unwrap_request(annotation), "image.key_provider.request"),
                ("UnWrapKey", _unwrap_request(b"{}"), "image.packet"),
            ):
                with pytest.raises(grpc.RpcError) as caught:
                    call(name, request)
                assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert caught.value.details().startswith(told)
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/keyprovider.KeyProviderService/WrapKey")(b"\xff" * 8, timeout=20)
            assert caught.value.details().startswith("image.key_provider.message")
    finally:
        server.stop(None).wait()


@needs_grpc
def test_address_in_use_is_a_setup_error(table):
    server, port = serve(KeyProvider(table), "127.0.0.1:0")
    try:
        assert _id(lambda: serve(KeyProvider(table), f"127.0.0.1:{port}")) == "image.key_provider.address"
    finally:
        server.stop(None).wait()


def test_missing_grpcio_is_a_setup_error_that_says_what_to_install(table, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "grpc", None)
    assert _id(lambda: serve(KeyProvider(table), "127.0.0.1:0")) == "image.key_provider.grpc"
