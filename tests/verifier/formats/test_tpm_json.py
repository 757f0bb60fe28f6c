"""TPM evidence as JSON, and as other tools record it."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.tpm_cases import NONCE, TPM, TpmCase
from verifier.errors import EvidenceError, MalformedEvidence
from verifier.evidence import Tee
from verifier.formats import cbor, coco_evidence
from verifier.formats.protobuf import Message
from verifier.formats.tpm_captures import (
    from_bincode,
    from_go_attestation,
    from_go_tpm_tools,
    from_parsec,
    is_parsec,
    pcr_file,
)
from verifier.formats.tpm_evidence import TpmEvidence, TpmQuote
from verifier.formats.tpm_json import evidence_from_json, evidence_to_json

WHOLE = replace(TpmCase(certified=True, event_log=b"log").quoting({"sha1": (0,)}, {"sha256": (0, 8)}),
                certificates=TPM.certificates).evidence
PLAIN = {"ak_public": base64.b64encode(TPM.ak.key.public_key).decode(), "tpm_quote": TPM.quote(NONCE).to_members()}


def test_the_form_of_confidential_containers_is_evidence():
    assert set(PLAIN["tpm_quote"]) == {"message", "signature", "pcrs"}
    assert len(PLAIN["tpm_quote"]["pcrs"]) == 24
    evidence = coco_evidence.read(json.dumps(PLAIN).encode())
    assert (evidence.tee, evidence.certificates, evidence.event_log) == (Tee.TPM, (), None)
    assert evidence_to_json(evidence) == PLAIN
    assert TpmEvidence.from_bytes(evidence.quote).quotes == (TPM.quote(NONCE),)


def test_everything_else_goes_there_and_back():
    value = json.loads(json.dumps(evidence_to_json(WHOLE)))
    assert set(value) == {"ak_public", "ak_public_area", "ak_creation", "key_certification", "quotes",
                          "ak_certificates", "event_log"}
    assert evidence_from_json(value) == WHOLE
    assert coco_evidence.read(json.dumps(value).encode(), Tee.TPM) == WHOLE


def test_one_value_has_one_text():
    shuffled = json.dumps(dict(reversed(evidence_to_json(WHOLE).items())), indent=2)
    assert evidence_from_json(json.loads(shuffled)).quote == WHOLE.quote
    assert TpmEvidence.from_bytes(WHOLE.quote).to_bytes() == WHOLE.quote


def altered(change):
    value = json.loads(json.dumps(PLAIN))
    change(value)
    return value


@pytest.mark.parametrize("change", [
    lambda v: v.update(more=1), lambda v: v.update(ak_public=None), lambda v: v.update(ak_public="?"),
    lambda v: v.update(ak_public=PLAIN["ak_public"] + "\n"), lambda v: v.update(tpm_quote=[]),
    lambda v: v["tpm_quote"].pop("pcrs"), lambda v: v["tpm_quote"].update(more=1),
    lambda v: v["tpm_quote"]["pcrs"].pop(), lambda v: v["tpm_quote"]["pcrs"].append("00" * 32),
    lambda v: v["tpm_quote"].update(pcrs=["00" * 31] * 24), lambda v: v["tpm_quote"].update(pcrs=[]),
    lambda v: v["tpm_quote"].update(pcrs=["00" * 32] * 23 + ["00" * 20]),
    lambda v: v["tpm_quote"].update(pcrs=[0] * 24), lambda v: v["tpm_quote"].update(pcrs=None),
    lambda v: v["tpm_quote"].update(pcrs={"sha256": {}}), lambda v: v.update(quotes={}),
    lambda v: v.update(quotes=[v["tpm_quote"]] * 9), lambda v: v.update(quotes=[None]),
    *(lambda v, p=p: v.update(quotes=[v["tpm_quote"] | {"pcrs": p}]) for p in (
        1, "", {"sha256": []}, {"md5": {}}, {"sha256": {"08": "00" * 32}}, {"sha256": {"32": "00" * 32}},
        {"sha256": {"-1": "00" * 32}}, {"sha256": {"8": "00" * 31}}, {"sha256": {"8": None}})),
    lambda v: v.update(ak_creation={}), lambda v: v.update(key_certification={"message": "", "signature": ""}),
    lambda v: v.update(ak_certificates="x"), lambda v: v.update(ak_certificates=["AA=="] * 17),
    lambda v: v.update(ak_certificates=[1]), lambda v: v.update(event_log=1),
])
def test_other_forms_are_refused(change):
    with pytest.raises(EvidenceError, match=r"^(format\.base64|format\.hex|format\.tpm_json|tpm\.bank): "):
        evidence_from_json(altered(change))


def test_the_text_of_a_quote_does_not_take_what_travels_beside_it():
    with pytest.raises(MalformedEvidence, match=r"^format\.tpm_json: "):
        TpmEvidence.from_bytes(json.dumps(evidence_to_json(WHOLE)).encode())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["ak_public", "tpm_quote", "quotes", "message", "signature", "pcrs", "sha256",
                                         "8", "ak_creation"]), inner, max_size=4), max_leaves=12))
def test_any_other_json_is_refused_or_evidence(value):
    if isinstance(value, dict):
        try:
            evidence_from_json(value)
        except EvidenceError:
            return


# -- recorded by other tools -----------------------------------------------------------------------------------------


def recorded(corpus, name):
    return (corpus.folder(name.rpartition("/")[0]) / name.rpartition("/")[2]).read_bytes()


CAPTURES = [(from_go_tpm_tools, "tpm/gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb"),
            (from_go_attestation, "tpm/goattestation-windows-gcp-sha1/dump.json"),
            (from_parsec, "tpm/veraison-parsec-key-attestation/evidence.cbor"),
            (from_bincode, "tpm/azure-kinvolk-bincode/quote.bin")]


@pytest.mark.parametrize(("read", "name"), CAPTURES)
def test_a_capture_cut_short_is_refused_or_tells_less(corpus, read, name):
    data = recorded(corpus, name).rstrip(b"\n")
    whole = read(data)
    for size in [*range(0, len(data), max(1, len(data) // 300)), len(data) - 1]:
        try:
            assert read(data[:size]) != whole
        except EvidenceError:
            continue


@pytest.mark.parametrize(("read", "name"), CAPTURES)
@given(at=st.integers(0, 100_000), byte=st.integers(0, 255), junk=st.binary(max_size=64))
def test_a_damaged_capture_is_refused_or_read(corpus, read, name, at, byte, junk):
    data = recorded(corpus, name)
    at %= len(data)
    for candidate in (data[:at] + bytes((byte,)) + data[at + 1:], junk):
        try:
            read(candidate)
        except EvidenceError:
            continue


def test_a_map_entry_without_a_key_is_pcr_0(corpus):
    data = recorded(corpus, "tpm/gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb")
    quotes = from_go_tpm_tools(data).evidence.quotes
    value = quotes[0].pcrs["sha1"][0]
    entry = b"\x12\x18\x08\x00\x12\x14" + value
    assert data.count(entry) == 1
    # field 2.3.2 without its field 1: two bytes shorter, and so are the two messages around it
    shorter = data.replace(entry, b"\x12\x16\x12\x14" + value).replace(
        b"\x12" + varint(1009), b"\x12" + varint(1007)).replace(b"\x1a" + varint(626), b"\x1a" + varint(624))
    assert from_go_tpm_tools(shorter).evidence.quotes[0].pcrs == quotes[0].pcrs


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


@pytest.mark.parametrize("data", [
    b"\x00", b"\x03", b"\x0b", b"\x08\x80", b"\x08\x80\x00", b"\x08" + b"\xff" * 10, b"\x08" + b"\xff" * 9 + b"\x02",
    b"\x12\x05abc", b"\x09abc", b"\x0da"])
def test_a_message_that_is_none_is_refused(data):
    with pytest.raises(MalformedEvidence, match=r"^format\.test: "):
        Message(data, "test")


def test_a_message_keeps_to_its_fields():
    message = Message(b"\x08\x05" + field(2, b"a") + field(2, b"b") + b"\x19" + bytes(8) + b"\x25" + bytes(4), "test")
    assert (message.integer(1), message.every(2), message.optional(9), message.integer(9)) == (5, (b"a", b"b"), None, 0)
    for wrong in (lambda: message.optional(2), lambda: message.integer(2), lambda: message.every(1),
                  lambda: message.integer(3)):
        with pytest.raises(MalformedEvidence):
            wrong()
    with pytest.raises(MalformedEvidence):
        Message(b"\x08\x00" * 4097, "test")


@pytest.mark.parametrize("pcrs", [
    b"\x08\x04" + field(2, b"\x08\x18" + field(2, bytes(20))), b"\x08\x04" + field(2, field(2, bytes(20))) * 2,
    b"\x08\x04" + field(2, b"\x08\x01" + field(2, bytes(32))), b"\x08\x03" + field(2, field(2, bytes(20)))])
def test_protobuf_pcrs_that_no_tpm_has_are_refused(pcrs):
    with pytest.raises(EvidenceError, match=r"^(format\.tpm_json|tpm\.hash): "):
        from_go_tpm_tools(field(2, field(1, b"m") + field(2, b"s") + field(3, pcrs)))
    with pytest.raises(EvidenceError):
        from_go_tpm_tools(field(2, b"") * 9)


@pytest.mark.parametrize("change", [
    lambda d: d.pop("AK"), lambda d: d.update(Quote=[]), lambda d: d["Quote"].update(Quote=None),
    lambda d: d["Log"].update(PCRs={}) or d["Log"].update(PCRs="x"), lambda d: d["Log"]["PCRs"].append(None),
    lambda d: d["Log"]["PCRs"].append(d["Log"]["PCRs"][0]), lambda d: d["Log"]["PCRs"][0].update(Index=24),
    lambda d: d["Log"]["PCRs"][0].update(Index=True), lambda d: d["Log"]["PCRs"][0].update(DigestAlg=4),
    lambda d: d["Log"]["PCRs"][0].update(Digest="AA=="), lambda d: d["Log"].update(PCRs=[{}] * 200),
])
def test_a_dump_of_another_shape_is_refused(corpus, change):
    dump = json.loads(recorded(corpus, "tpm/goattestation-windows-gcp-sha1/dump.json"))
    change(dump)
    with pytest.raises(EvidenceError, match=r"^(format\.base64|format\.tpm_json): "):
        from_go_attestation(json.dumps(dump).encode())


def test_a_dump_may_leave_out_pcrs_log_and_creation(corpus):
    dump = json.loads(recorded(corpus, "tpm/goattestation-windows-gcp-sha1/dump.json"))
    dump["Log"].update(PCRs=None, Raw=None)
    dump["AK"]["CreateAttestation"] = None
    capture = from_go_attestation(json.dumps(dump).encode())
    assert (capture.evidence.quotes[0].pcrs, capture.event_log, capture.evidence.ak_creation) == (None, None, None)


@pytest.mark.parametrize("change", [
    lambda p: p.pop("kat"), lambda p: p.update(more=1), lambda p: p["kat"].update(tpmVer="1.2"),
    lambda p: p["kat"].update(kid=b"x"), lambda p: p["pat"].update(more=1), lambda p: p["pat"].pop("sig"),
    lambda p: p["kat"].update(sig=b""), lambda p: p["kat"].update(sig="text")])
def test_parsec_of_another_shape_is_refused(corpus, change):
    value = cbor.decode(recorded(corpus, "tpm/veraison-parsec-key-attestation/evidence.cbor"), "x", max_size=4096)
    assert is_parsec(cbor.encode(value))
    change(value)
    with pytest.raises(EvidenceError):
        from_parsec(cbor.encode(value))
    assert not is_parsec(b"\xff")


def test_bincode_has_24_values_and_nothing_else(corpus):
    data = recorded(corpus, "tpm/azure-kinvolk-bincode/quote.bin")
    for wrong in (data + b"\x00", data[:-1], data[:-32 * 24 - 8] + struct.pack("<Q", 23) + data[-32 * 23:],
                  struct.pack("<Q", 2**63) + data[8:], data + bytes(70_000)):
        with pytest.raises(MalformedEvidence, match=r"^format\.tpm_bincode: "):
            from_bincode(wrong)


def serialized(selections, values, slots=16):
    """A file of ``tpm2_quote --pcr`` from [(hash, bitmap)] and values."""
    head = struct.pack("<I", len(selections)) + b"".join(
        struct.pack("<HB4sx", alg, 3, bitmap) for alg, bitmap in selections) + bytes(8 * (slots - len(selections)))
    lists = [values[start:start + 8] for start in range(0, len(values), 8)]
    return head + struct.pack("<I", len(lists)) + b"".join(
        struct.pack("<I", len(part)) + b"".join(struct.pack("<H64s", len(v), v) for v in part)
        + bytes(66 * (8 - len(part))) for part in lists)


def test_both_forms_of_a_pcr_file_are_read():
    quote = TPM.quote(NONCE, {"sha1": (0, 1), "sha256": (0, 8, 23)}, listed=False)
    values = [*quote.pcrs["sha1"].values(), *quote.pcrs["sha256"].values()]
    assert pcr_file(b"".join(values), quote.message) == quote.pcrs
    selections = [(4, b"\x03\0\0\0"), (11, b"\x01\x01\x80\0")]
    data = serialized(selections, values)
    assert pcr_file(data, quote.message) == quote.pcrs
    for size in range(len(data)):
        if size != sum(map(len, values)):  # which is the other form, of wrong values
            with pytest.raises(EvidenceError):
                pcr_file(data[:size], quote.message)
    wrong = (data + b"\x00", serialized(selections, values[:-1]), serialized(selections[:1], values),
             serialized([(4, b"\x03\0\0\0"), (12, b"\x01\x01\x80\0")], values), struct.pack("<I", 17) + data[4:],
             data[:132] + struct.pack("<I", 2**32 - 1) + data[136:], data[:136] + struct.pack("<I", 9) + data[140:],
             data[:140] + struct.pack("<H", 65) + data[142:])
    for one in wrong:
        with pytest.raises(EvidenceError):
            pcr_file(one, quote.message)


def test_a_list_of_pcrs_tells_its_bank_by_its_length():
    for size, bank in ((20, "sha1"), (32, "sha256"), (48, "sha384"), (64, "sha512")):
        quote = TpmQuote.from_list(b"", b"", [bytes(size)] * 24)
        assert list(quote.pcrs) == [bank]
