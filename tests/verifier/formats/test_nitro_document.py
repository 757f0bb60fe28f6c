"""The Nitro document and its JSON: AWS's bounds, each at its edges."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.cose_cases import AWS, NitroCase
from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import cbor, coco_evidence
from verifier.formats.cose import CoseSign1
from verifier.formats.nitro_document import MAX_SIZE, NitroDocument
from verifier.formats.nitro_json import evidence_from_json, evidence_to_json

BODY = replace(AWS.body(), nonce=b"nonce", indefinite=False)
FIELDS = cbor.decode(BODY.to_bytes(), "document", max_size=MAX_SIZE)
CERTIFICATE = BODY.certificate


def read(**changes: object) -> NitroDocument:
    return NitroDocument.from_bytes(cbor.encode({**FIELDS, **changes}))


def refusal(**changes: object) -> str:
    with pytest.raises(MalformedEvidence) as caught:
        read(**changes)
    assert caught.value.id == "format.nitro_document"
    return caught.value.detail


@pytest.mark.parametrize("indefinite", [False, True])
def test_a_document_is_read_and_written(indefinite):
    body = replace(BODY, indefinite=indefinite, user_data=b"", public_key=bytes(1024))
    assert NitroDocument.from_bytes(body.to_bytes()) == body
    assert body.to_bytes()[0] == (0xBF if indefinite else 0xA9)


def test_what_the_enclave_did_not_ask_for_may_be_null_or_absent():
    absent = {name: value for name, value in FIELDS.items() if name not in ("public_key", "user_data", "nonce")}
    document = NitroDocument.from_bytes(cbor.encode(absent))
    assert (document.public_key, document.user_data, document.nonce) == (None, None, None)
    assert read(nonce=b"").nonce == b"", "an empty nonce is not the same as none"


@pytest.mark.parametrize("name", ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"])
def test_the_others_must_be_there(name):
    assert refusal(**{name: None}).endswith("has the wrong type")
    with pytest.raises(MalformedEvidence, match=f"{name} is missing"):
        NitroDocument.from_bytes(cbor.encode({k: v for k, v in FIELDS.items() if k != name}))


def test_a_member_that_is_not_known_is_refused():
    assert refusal(extra=1) == "unknown members"
    assert refusal(Nonce=b"") == "unknown members"
    with pytest.raises(MalformedEvidence, match="unknown members"):
        NitroDocument.from_bytes(cbor.encode({**FIELDS, 1: 2}))


EDGES = {
    "module_id": (["i", "i" * 256], ["", "i" * 257, b"i", 1]),
    "digest": (["SHA384", "SHA512"], ["", "SHA384" * 3, b"SHA384"]),
    "timestamp": ([0, 1, 2**64 - 1], [-1, "1", b"1"]),
    "certificate": ([b"x", bytes(1024)], [b"", bytes(1025), "x", ()]),
    "cabundle": ([(b"x",), (bytes(1024),) * 10],
                 [(), (b"",), (bytes(1025),), (b"x",) * 11, ("x",), b"x", (b"x", None)]),
    "public_key": ([None, b"", bytes(1024)], [bytes(1025), "x", 1]),
    "user_data": ([None, b"", bytes(512)], [bytes(513), "x", ()]),
    "nonce": ([None, b"", bytes(512)], [bytes(513), bytes(1025), "x", {}]),
    "pcrs": ([{0: bytes(32)}, {31: bytes(64)}, dict.fromkeys(range(32), bytes(48))],
             [{}, {32: bytes(48)}, {-1: bytes(48)}, {"0": bytes(48)}, {0: b""}, {0: bytes(47)}, {0: bytes(49)},
              {0: bytes(20)}, {0: "x"}, {0: None}, ((0, bytes(48)),), dict.fromkeys(range(33), bytes(48))]),
}


@pytest.mark.parametrize("name", EDGES)
def test_each_member_is_bounded(name):
    inside, outside = EDGES[name]
    for value in inside:
        read(**{name: value})
    for value in outside:
        refusal(**{name: value})


def test_registers_are_told_by_index():
    document = read(pcrs={3: b"\x03" * 48, 0: b"\x00" * 48})
    assert document.pcrs == ((3, b"\x03" * 48), (0, b"\x00" * 48))
    assert document.registers == {0: b"\x00" * 48, 3: b"\x03" * 48}


def test_only_the_document_itself_may_be_of_indefinite_length():
    entry = cbor.encode("pcrs")
    payload = BODY.to_bytes()
    inner = payload.replace(entry + cbor.encode(dict(BODY.pcrs)), entry + cbor.encode_open_map(dict(BODY.pcrs)))
    assert inner != payload
    with pytest.raises(MalformedEvidence, match="indefinite length"):
        NitroDocument.from_bytes(inner)


@pytest.mark.parametrize("indefinite", [False, True])
def test_every_truncation_is_refused(indefinite):
    data = replace(BODY, indefinite=indefinite).to_bytes()
    for size in range(len(data)):
        with pytest.raises(MalformedEvidence, match=r"^format\.nitro_document: "):
            NitroDocument.from_bytes(data[:size])
    with pytest.raises(MalformedEvidence, match="unexpected bytes at the end"):
        NitroDocument.from_bytes(data + b"\x00")


def test_a_document_is_bounded():
    with pytest.raises(MalformedEvidence, match="too large"):
        NitroDocument.from_bytes(bytes(MAX_SIZE + 1))


@pytest.mark.corpus("nitro")
def test_recorded_documents_are_written_as_they_were_read(corpus, case):
    message = CoseSign1.from_bytes((corpus.folder(case) / "attestation_doc.cbor").read_bytes(), "nitro_document")
    document = NitroDocument.from_bytes(message.payload)
    assert document.to_bytes() == message.payload
    assert document.indefinite is (case["format"].get("payload_map_indefinite", "a9") == "bf")


@given(st.binary(max_size=300))
def test_no_input_raises_anything_else(data):
    for payload in (data, b"\xbf" + data, cbor.encode({**FIELDS, "module_id": "i"})[:200] + data):
        with suppress(MalformedEvidence):
            NitroDocument.from_bytes(payload)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3))
def test_an_altered_document_is_refused_or_tells_all_that_it_says(changes):
    data = bytearray(BODY.to_bytes())
    for position, change in changes:
        data[position % len(data)] ^= change
    try:
        document = NitroDocument.from_bytes(bytes(data))
    except MalformedEvidence:
        return
    assert document.to_bytes() == bytes(data)


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [Tee.NITRO, None])
def test_evidence_is_the_same_raw_and_as_json(told):
    raw = NitroCase().evidence.quote
    tagged = b"\xd2" + raw
    for quote in (raw, tagged):
        evidence = Evidence(Tee.NITRO, quote)
        assert coco_evidence.read(quote, told) == evidence
        assert coco_evidence.read(json.dumps(evidence_to_json(evidence)).encode(), told) == evidence


@pytest.mark.parametrize("value", [
    {}, {"document": None}, {"document": 1}, {"document": [1]}, {"document": "QR=="}, {"document": "QQ"},
    {"document": "QQ==\n"}, {"document": "Q-_="}, {"document": "QQ==", "nonce": ""}, {"Document": "QQ=="}, {1: 2},
])
def test_other_json_is_refused(value):
    with pytest.raises(MalformedEvidence, match=r"^(evidence\.json|format\.base64): "):
        evidence_from_json(value)


@given(st.binary(max_size=60))
def test_any_bytes_travel_as_json(data):
    evidence = Evidence(Tee.NITRO, data)
    assert evidence_to_json(evidence) == {"document": b64encode(data).decode()}
    assert evidence_from_json(evidence_to_json(evidence)) == evidence
