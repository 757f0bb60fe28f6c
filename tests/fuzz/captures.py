"""What other tools record of a TPM, written around the software TPM's evidence: inputs where none is recorded."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache

from tests.fuzz.seeds import evidence, lazily, many, recorded, tee
from verifier.formats import cbor
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.formats.tpm_signature import TpmSignature


@cache
def _told() -> TpmEvidence:
    return TpmEvidence.from_bytes(evidence("tpm").quote)


def _values() -> list[bytes]:
    banks = _told().quotes[0].pcrs or {}
    return [value for _, value in sorted(banks["sha256"].items())]


def go_attestation() -> bytes:
    """A dump of go-attestation's."""
    told, text = _told(), lambda data: b64encode(data).decode()
    quote, creation = told.quotes[0], told.ak_creation
    assert creation is not None
    pcrs = [{"Index": index, "DigestAlg": 5, "Digest": text(value)} for index, value in enumerate(_values())]
    return json.dumps({
        "AK": {"Public": text(told.ak_public_area), "CreateAttestation": text(creation.message),
               "CreateSignature": text(creation.signature), "CreateData": text(creation.about)},
        "Quote": {"Quote": text(quote.message), "Signature": text(quote.signature)},
        "Log": {"Raw": text(b"log"), "PCRs": pcrs}}).encode()


def go_tpm_tools() -> bytes:
    """``attest.Attestation`` of go-tpm-tools."""
    told = _told()
    quote = told.quotes[0]
    pcrs = _varint(1, 0x0B) + b"".join(
        _field(2, _varint(1, index) + _field(2, value)) for index, value in enumerate(_values()))
    return (_field(1, told.ak_public_area or b"") + _field(2, b"".join((
        _field(1, quote.message), _field(2, quote.signature or b""), _field(3, pcrs)))) + _field(3, b"log"))


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _number(len(data)) + data


def _varint(number: int, value: int) -> bytes:
    return bytes((number << 3,)) + _number(value)


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(found) + bytes((value,))


def parsec() -> bytes:
    """Parsec's pair of attestations."""
    certified, quote = tee().maker("tpm").certification(b"nonce"), _told().quotes[0]
    return cbor.encode({
        "kat": {"tpmVer": "2.0", "kid": b"key", "sig": certified.signature, "certInfo": certified.message,
                "pubArea": certified.about},
        "pat": {"tpmVer": "2.0", "kid": b"key", "sig": quote.signature, "attestInfo": quote.message}})


def bincode() -> bytes:
    """The serialised quote of az-cvm-vtpm."""
    quote = _told().quotes[0]
    signature = TpmSignature.from_bytes(quote.signature or b"").parts[0]
    values = _values()
    return b"".join((
        len(signature).to_bytes(8, "little"), signature, len(quote.message).to_bytes(8, "little"), quote.message,
        len(values).to_bytes(8, "little"), *values))


GO_ATTESTATION = many(recorded("tpm/*/dump.json"), lazily(lambda: [go_attestation()]))
GO_TPM_TOOLS = many(recorded("tpm/*/*.pb"), lazily(lambda: [go_tpm_tools()]))
PARSEC = many(recorded("tpm/*/evidence.cbor"), lazily(lambda: [parsec()]))
BINCODE = many(recorded("tpm/*/quote.bin"), lazily(lambda: [bincode()]))
