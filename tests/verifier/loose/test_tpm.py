"""Folders with a TPM's evidence under the names that tools and people give it."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.verifier.tpm_cases import AT, NONCE, TPM, TpmCase
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import EvidenceError, SetupError
from verifier.evidence import Binding, Tee
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.formats.tpm_json import evidence_to_json
from verifier.formats.tpm_signature import TpmSignature
from verifier.loose.folder import read
from verifier.loose.tpm import NAMES, assemble
from verifier.software_tee.certificates import pem
from verifier.software_tee.tpm import SmallTpm
from verifier.verify import verify

QUOTE = TPM.quote(NONCE, {"sha256": (0, 8)}, listed=False)
VALUES = b"".join(QUOTE.pcrs["sha256"].values())
PEM = TPM.ak.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
AREA = TPM.ak_public.to_bytes()
TOOLS = {"quote.msg": QUOTE.message, "quote.sig": QUOTE.signature, "quotepcr.out": VALUES, "ak.pem": PEM}


def judge(folder):
    roots = Roots.only_software([pem(TPM.certificate("root"))])
    return verify(read(folder, Tee.TPM), collateral=Collateral.none(), roots=roots, at=AT + 10,
                  binding=Binding(NONCE))


@pytest.fixture
def folder(tmp_path):
    def make(files):
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        return tmp_path
    return make


@pytest.mark.parametrize("pcrs", ["quotepcr.out", "quote.pcrs", "pcrs.bin"])
@pytest.mark.parametrize("key", ["ak.pem", "akpub.pem", "ak.der", "ak.tpmt_public", "ak.pub"])
@pytest.mark.parametrize("names", [("quote.msg", "quote.sig"), ("attest.bin", "signature.bin")])
def test_files_of_tpm2_tools_and_their_other_names(folder, names, key, pcrs):
    keys = {"ak.der": TPM.ak.key.public_key, "ak.tpmt_public": AREA, "ak.pub": len(AREA).to_bytes(2, "big") + AREA}
    verdict = judge(folder({names[0]: QUOTE.message, names[1]: QUOTE.signature, pcrs: VALUES,
                            key: keys.get(key, PEM)}))
    assert (verdict.authentic, verdict.flags) == (True, ("AK_UNPROVEN",))
    assert verdict.claims.body["pcrs"]["sha256"] == {"0": VALUES[:32], "8": VALUES[32:]}
    assert (verdict.claims.body["ak_attributes"] is not None) is (keys.get(key, b"0")[:1] != b"0")


def test_certificates_beside_them_vouch(folder):
    leaf, intermediate = TPM.certificates
    verdict = judge(folder(TOOLS | {"ak-cert.der": leaf, "cert-1.der": intermediate}))
    assert verdict.accepted is True
    assert verdict.claims.endorsement["ak_trust"] == "certificate"


def test_a_key_and_its_area_may_both_be_there_and_must_agree(folder):
    assert judge(folder(TOOLS | {"ak.tpmt_public": AREA})).claims.body["ak_attributes"] is not None
    other = SmallTpm.create(b"a third small TPM", at=AT).ak_public.to_bytes()
    assert judge(folder({"ak.tpmt_public": other})).error.id == "tpm.ak.public.key"


def test_a_raw_signature_is_read_where_its_length_tells_it(folder):
    maker = SmallTpm.create(b"the small TPM of tests", at=AT, algorithm="rsa")
    quote = maker.quote(NONCE, {"sha256": (0,)}, listed=False)
    raw = TpmSignature.from_bytes(quote.signature).parts[0]
    told = read(folder({"quote.msg": quote.message, "quote.sig": raw, "ak.der": maker.ak.key.public_key}))
    assert TpmEvidence.from_bytes(told.quote).quotes[0].signature == quote.signature
    with pytest.raises(EvidenceError):
        read(folder({"quote.sig": raw[:-1]}))


def test_files_of_several_banks_and_a_log(folder):
    banks = ("sha1", "sha256", "sha384")
    quotes = {bank: TPM.quote(NONCE, {bank: (0, 1)}, listed=False) for bank in banks}
    files = {f"{name}-{bank}.bin": data for bank, quote in quotes.items() for name, data in (
        ("attest", quote.message), ("signature", quote.signature), ("pcrs", b"".join(quote.pcrs[bank].values())))}
    told = read(folder(files | {"ak.pem": PEM, "eventlog.bin": b"log"}))
    assert TpmEvidence.from_bytes(told.quote).quotes == tuple(quotes.values())
    assert told.event_log == b"log"
    (folder({}) / "eventlog.bin").unlink()
    assert judge(folder({})).authentic is True


def test_json_of_the_protocol_stands_alone(folder):
    evidence = TpmCase().evidence
    told = read(folder({"evidence.json": json.dumps(evidence_to_json(evidence)).encode(), "attest.bin": b"?"}))
    assert told == evidence


def test_a_message_without_signature_or_key_is_still_evidence(folder):
    told = read(folder({"attest.bin": QUOTE.message}), Tee.TPM)
    assert TpmEvidence.from_bytes(told.quote).quotes[0].signature is None


@pytest.mark.parametrize("files", [
    {}, {"evidence.json": b'{"quote": "AAAA"}'}, {"quote.bin": bytes(1000)}, {"ak.pem": PEM},
    {"eventlog.bin": b"log"}, {"evidence.cbor": b"\xa0"}, {"dump.json": b"{}"}, {"quote.bin": b"", "cert-0.der": b"0"},
    {"evidence.json": b'{"quote": "AAAA"}', "cert-0.der": b"0"}])
def test_other_folders_are_not_a_tpms(files):
    assert assemble(files) is None


@pytest.mark.parametrize("files", [
    {"a.pb": b"", "b.pb": b""}, {"a.pb": b"\xff"}, {"evidence.json": b"{"}, {"dump.json": b"["},
    TOOLS | {"quote.pcrs": VALUES}, TOOLS | {"quotepcr.out": VALUES[:-1]}, TOOLS | {"quote.sig": b""},
    TOOLS | {"ak.pem": b"-----BEGIN"}, TOOLS | {"quote.msg": b""}, {"quote.bin": b"", "ak.pem": PEM}])
def test_the_right_names_with_other_contents_are_refused(files):
    with pytest.raises(EvidenceError):
        assemble(files)


@pytest.mark.parametrize("pcr", [
    {}, {"Index": 0}, {"Index": 0, "DigestAlg": [5]}, {"Index": 0, "DigestAlg": {}}, {"Index": 0, "DigestAlg": 5.0},
    {"Index": 0, "DigestAlg": True}, {"Index": [0], "DigestAlg": 5}, {"Index": 24, "DigestAlg": 5}, [], None])
def test_a_dump_whose_pcrs_are_of_no_known_hash_is_refused(pcr):
    dump = {"AK": {"Public": "AAAA"}, "Quote": {"Quote": "AAAA", "Signature": "AAAA"}, "Log": {"PCRs": [pcr]}}
    with pytest.raises(EvidenceError) as refused:
        assemble({"dump.json": json.dumps(dump).encode()})
    assert refused.value.detail == "PCRs has an entry of an unknown PCR or hash"


def test_certificates_alone_are_asked_for_a_quote(folder):
    leaf, intermediate = TPM.certificates
    verdict = judge(folder({"cert-0.der": leaf, "cert-1.der": intermediate}))
    assert (verdict.authentic, verdict.error.id) == (None, "evidence.tpm.quote")


def test_an_empty_folder_has_no_evidence(tmp_path):
    with pytest.raises(SetupError):
        read(tmp_path, Tee.TPM)
    assert all(name == name.lower() for name in NAMES)
