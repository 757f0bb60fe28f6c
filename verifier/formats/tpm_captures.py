"""TPM evidence as other tools record it, brought into the one form of `verifier.formats.tpm_evidence`.

    go-tpm-tools     protobuf ``attest.Attestation``: AK public area, a quote per bank, event log, AK certificates
    go-attestation   JSON of a platform's dump: quote, PCRs, log, AK with its creation data and attestation
    Parsec           CBOR map {"kat": TPM2_Certify of a key, "pat": TPM2_Quote}
    az-cvm-vtpm      bincode: RSA signature, message, 24 SHA-256 PCRs, each behind a little-endian u64
    tpm2-tools       the file of ``tpm2_quote --pcr``: selections and values

Nothing is believed here. Everything is consumed exactly; what a tool leaves out stays absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from verifier.errors import EvidenceError
from verifier.formats import cbor
from verifier.formats.protobuf import Message
from verifier.formats.reader import Reader
from verifier.formats.strict import base64_bytes, json_object
from verifier.formats.tpm import PCR_COUNT, HashAlg, hash_alg
from verifier.formats.tpm_attest import TpmAttest
from verifier.formats.tpm_evidence import MAX_QUOTES, Banks, SignedKey, TpmEvidence, TpmQuote, malformed
from verifier.formats.tpm_signature import TpmSignature

MAX_PARSEC_BYTES = 64 * 1024
MAX_BINCODE_BYTES = 64 * 1024

_SLOTS, _SELECT_BYTES, _DIGESTS, _DIGEST_BYTES = 16, 4, 8, 64  # TPML_PCR_SELECTION and TPML_DIGEST in memory
_GO_HASHES = {3: HashAlg.SHA1, 5: HashAlg.SHA256, 6: HashAlg.SHA384, 7: HashAlg.SHA512}  # Go's crypto.Hash


class Capture(NamedTuple):
    """Evidence with what travelled beside it."""

    evidence: TpmEvidence
    certificates: tuple[bytes, ...] = ()
    event_log: bytes | None = None


def from_go_tpm_tools(data: bytes) -> Capture:
    """From ``attest.Attestation``. Raises `EvidenceError`."""
    message = Message(data, "go_tpm_tools")
    quotes = message.every(2)
    if len(quotes) > MAX_QUOTES:
        raise malformed("quotes", "are too many", expected=f"<= {MAX_QUOTES}", got=len(quotes))
    leaf = message.optional(6)
    return Capture(
        TpmEvidence(quotes=tuple(_go_quote(Message(quote, "go_tpm_tools.quote")) for quote in quotes),
                    ak_public_area=message.optional(1)),
        (() if leaf is None else (leaf,)) + message.every(7), message.optional(3))


def _go_quote(message: Message) -> TpmQuote:
    pcrs = Message(message.optional(3) or b"", "go_tpm_tools.pcrs")
    bank, values = hash_alg(pcrs.integer(1), "a set of PCRs"), {}
    for entry in pcrs.every(2):
        pair = Message(entry, "go_tpm_tools.pcr")
        index = pair.integer(1)
        if index in values or index >= PCR_COUNT:
            raise malformed("pcrs", "has a number twice or beyond 23", got=index)
        values[index] = pair.optional(2) or b""
    return TpmQuote(message.optional(1) or b"", message.optional(2), _checked({bank.bank: values}))


def from_go_attestation(data: bytes) -> Capture:
    """From a dump: ``AK``, ``Quote`` and ``Log`` are read, the rest is left alone. Raises `EvidenceError`."""
    dump = json_object(data, "dump")
    ak, quote, log = (_object(dump, name) for name in ("AK", "Quote", "Log"))
    creation = None
    if ak.get("CreateAttestation"):
        creation = SignedKey(*(_base64(ak, name) for name in ("CreateAttestation", "CreateSignature", "CreateData")))
    return Capture(
        TpmEvidence(quotes=(TpmQuote(_base64(quote, "Quote"), _base64(quote, "Signature"), _go_pcrs(log.get("PCRs"))),),
                    ak_public_area=_base64(ak, "Public"), ak_creation=creation),
        event_log=_base64(log, "Raw") if log.get("Raw") else None)


def _go_pcrs(value: object) -> Banks | None:
    if not value:
        return None
    if not isinstance(value, list) or len(value) > PCR_COUNT * len(_GO_HASHES):
        raise malformed("PCRs", "must be a short list", got=type(value).__name__)
    banks: dict[str, dict[int, bytes]] = {}
    for entry in value:
        index, number = (entry.get("Index"), entry.get("DigestAlg")) if isinstance(entry, Mapping) else (None, None)
        hashed = _GO_HASHES.get(number) if type(number) is int else None
        if type(index) is not int or not 0 <= index < PCR_COUNT or hashed is None:
            raise malformed("PCRs", "has an entry of an unknown PCR or hash")
        values = banks.setdefault(hashed.bank, {})
        if index in values:
            raise malformed("PCRs", "has a number twice", got=index)
        values[index] = _base64(entry, "Digest")
    return _checked(banks)


def from_parsec(data: bytes) -> Capture:
    """From {"kat", "pat"}; both must name the same key. No PCR values travel in it. Raises `MalformedEvidence`."""
    both = cbor.Members(cbor.decode(data, "parsec", max_size=MAX_PARSEC_BYTES), "parsec")
    kat, pat = (cbor.Members(both.table(name, name), f"parsec.{name}") for name in ("kat", "pat"))
    both.end()
    if any(part.text("tpmVer", "tpmVer", 8) != "2.0" for part in (kat, pat)):
        raise malformed("tpmVer", "must be 2.0")
    sizes = range(1, MAX_PARSEC_BYTES)
    if kat.octets("kid", "kid", sizes) != pat.octets("kid", "kid", sizes):
        raise malformed("kid", "differs between the two attestations")
    key = SignedKey(*(kat.octets(name, name, sizes) for name in ("certInfo", "sig", "pubArea")))
    quote = TpmQuote(pat.octets("attestInfo", "attestInfo", sizes), pat.octets("sig", "sig", sizes), pcrs=None)
    kat.end()
    pat.end()
    return Capture(TpmEvidence(quotes=(quote,), key_certification=key))


def from_bincode(data: bytes) -> Capture:
    """From the serialised quote of az-cvm-vtpm: RSASSA with SHA-256. Raises `MalformedEvidence`."""
    reader = Reader(data, "tpm_bincode")
    if len(data) > MAX_BINCODE_BYTES:
        raise reader.malformed("too large", expected=f"<= {MAX_BINCODE_BYTES} bytes", got=f"{len(data)} bytes")
    signature, message = (reader.take(reader.uint(8, f"{name} size"), name) for name in ("signature", "message"))
    count = reader.uint(8, "PCR count")
    if count != PCR_COUNT:
        raise reader.malformed("not the PCRs of one bank", expected=PCR_COUNT, got=count)
    values = [reader.take(HashAlg.SHA256.size, "PCR") for _ in range(count)]
    reader.end()
    return Capture(TpmEvidence(quotes=(
        TpmQuote.from_list(message, TpmSignature.raw_rsassa_sha256(signature).to_bytes(), values),)))


def pcr_file(data: bytes, message: bytes) -> Banks:
    """The PCR values that tpm2-tools wrote beside ``message``. Raises `EvidenceError`.

    ``--pcrs_format values``: the selected values and nothing else. ``serialized``: a TPML_PCR_SELECTION as it lies in
    memory (little-endian, 16 slots), a count, and that many TPML_DIGEST of 8 slots.
    """
    selected = [(selection.alg, pcr) for selection in TpmAttest.from_bytes(message).pcr_selections
                for pcr in selection.pcrs]
    reader = Reader(data, "tpm2_pcrs")
    if len(data) == sum(alg.size for alg, _ in selected):
        values = [reader.take(alg.size, "PCR") for alg, _ in selected]
    else:
        selected, values = _serialized(reader)
    if len(values) != len(selected):
        raise reader.malformed("not one value for each selected PCR", expected=len(selected), got=len(values))
    banks: dict[str, dict[int, bytes]] = {}
    for (alg, pcr), value in zip(selected, values, strict=True):
        banks.setdefault(alg.bank, {})[pcr] = value
    return _checked(banks)


def _serialized(reader: Reader) -> tuple[list[tuple[HashAlg, int]], list[bytes]]:
    count, selected = reader.uint(4, "selection count"), []
    if count > _SLOTS:
        raise reader.malformed("too many selections", expected=f"<= {_SLOTS}", got=count)
    for slot in range(_SLOTS):
        alg, size, bitmap = reader.uint(2, "hash"), reader.uint(1, "size"), reader.uint(_SELECT_BYTES, "bitmap")
        reader.take(1, "padding")
        if slot < count:
            bits = bitmap & (1 << 8 * min(size, _SELECT_BYTES)) - 1
            selected += [(hash_alg(alg, "a selection"), pcr) for pcr in range(8 * _SELECT_BYTES) if bits >> pcr & 1]
    values: list[bytes] = []
    lists = reader.uint(4, "list count")
    if lists * _DIGESTS > reader.remaining:
        raise reader.malformed("more lists are announced than there are", got=lists)
    for _ in range(lists):
        values += _digests(reader)
    reader.end()
    return selected, values


def _digests(reader: Reader) -> list[bytes]:
    count = reader.uint(4, "digest count")
    if count > _DIGESTS:
        raise reader.malformed("too many digests in a list", expected=f"<= {_DIGESTS}", got=count)
    slots = []
    for _ in range(_DIGESTS):
        size, buffer = reader.uint(2, "digest size"), reader.take(_DIGEST_BYTES, "digest")
        if size > _DIGEST_BYTES:
            raise reader.malformed("a digest is too long", expected=f"<= {_DIGEST_BYTES}", got=size)
        slots.append(buffer[:size])
    return slots[:count]


def _checked(banks: Banks) -> Banks:
    """``banks``, whose values all have their bank's length."""
    for bank, values in banks.items():
        size = HashAlg.of_bank(bank).size
        if any(len(value) != size for value in values.values()):
            raise malformed("pcrs", "has a value of another length than its bank's", expected=size)
    return banks


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, Mapping):
        raise malformed(name, "must be an object", got=type(found).__name__)
    return found


def _base64(value: Mapping[str, Any], name: str) -> bytes:
    return base64_bytes(value.get(name), name)


def is_parsec(data: bytes) -> bool:
    """Whether ``data`` is a CBOR map of these two members."""
    try:
        value = cbor.decode(data, "parsec", max_size=MAX_PARSEC_BYTES)
    except EvidenceError:
        return False
    return isinstance(value, dict) and set(value) == {"kat", "pat"}
