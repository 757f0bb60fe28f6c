"""A TPM quote: signed by this key, made by a TPM, and about these PCR values.

    1  the signature over the message, by a scheme that fits the key       tpm_quote.signature.*
    2  the message was made by a TPM and is a quote                        tpm_quote.magic, tpm_quote.type
    3  which PCRs of which bank it covers                                  tpm_quote.pcr_selection
    4  the values that came along give the signed digest                   tpm_quote.pcr_values, tpm_quote.pcr_digest

PCR values travel unsigned beside a quote; only those in the signed selection are proved, and `Quoted` holds no others.
Whether the key is an attestation key of a TPM, and whether the nonce is the right one, is for the caller.
Source: TCG TPM 2.0 Library part 1, section 31 (attestation); part 3, section 18.4 (TPM2_Quote).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.endorsements.schemes import PublicKey
from verifier.errors import CheckFailed
from verifier.formats.tpm import HashAlg, PcrSelection
from verifier.formats.tpm_attest import GENERATED, AttestType, TpmAttest
from verifier.formats.tpm_evidence import Banks
from verifier.formats.tpm_signature import SignatureScheme, TpmSignature
from verifier.trail import Trail

RSA_BITS = (2048, 4096)
_CURVES = (ec.SECP256R1, ec.SECP384R1)
# By SM3 nothing is verified here: it is not among the hashes of the makers' attestation keys.
_HASHES: dict[HashAlg, hashes.HashAlgorithm] = {
    HashAlg.SHA1: hashes.SHA1(), HashAlg.SHA256: hashes.SHA256(),  # noqa: S303 - the caller flags SHA-1
    HashAlg.SHA384: hashes.SHA384(), HashAlg.SHA512: hashes.SHA512()}


@dataclass(frozen=True, slots=True)
class Quoted:
    """What a quote proved. ``pcrs``: by bank and index, the values that the signed selection covers and no others;
    empty where no values came along."""

    attest: TpmAttest
    signature: TpmSignature
    pcrs: Banks = field(default_factory=dict)

    def pcr(self, bank: str, index: int) -> bytes | None:
        """One proved value, or None."""
        return self.pcrs.get(bank, {}).get(index)


def check_key(trail: Trail, rule: str, key: PublicKey) -> None:
    """``key`` is of a kind that attests: RSA of 2048 to 4096 bits, or ECC on P-256 or P-384."""
    if isinstance(key, rsa.RSAPublicKey):
        least, most = RSA_BITS
        trail.require(rule, least <= key.key_size <= most, "an attestation key must be neither weak nor oversized",
                      expected=list(RSA_BITS), got=key.key_size)
    else:
        trail.require(rule, isinstance(key.curve, _CURVES), "an attestation key must be on P-256 or P-384",
                      got=key.curve.name)


def check_quote(trail: Trail, *, message: bytes, signature: bytes | TpmSignature, key: PublicKey,
                pcrs: Mapping[int, bytes], bank: str = "sha256") -> Quoted:
    """A quote over PCRs of the one agreed ``bank``; ``pcrs`` are its values as they came along, by index.

    signature: bytes are the RSA number alone, by RSASSA with SHA-256. Raises `CheckFailed`, and `EvidenceError` for a
    message that is no TPMS_ATTEST.
    """
    attest, read = _signed_quote(trail, message, signature, key)
    banks = [selection.bank for selection in attest.pcr_selections]
    trail.require("tpm_quote.pcr_selection", banks == [bank] and bool(attest.pcr_selections[0].pcrs),
                  "the quote must cover PCRs of the agreed bank and of no other", expected=[bank],
                  got=_told(attest.pcr_selections))
    return Quoted(attest, read, _proved(trail, attest, read.hash, {bank: pcrs}))


def check_quote_of_banks(trail: Trail, *, message: bytes, signature: bytes | TpmSignature, key: PublicKey,
                         pcrs: Banks | None) -> Quoted:
    """As `check_quote`, over PCRs of any banks, each at most once. ``pcrs`` None: no values came along, so none are
    proved and the digest alone stands.
    """
    attest, read = _signed_quote(trail, message, signature, key)
    banks = [selection.bank for selection in attest.pcr_selections]
    covered = any(selection.pcrs for selection in attest.pcr_selections)
    trail.require("tpm_quote.pcr_selection", covered and len(set(banks)) == len(banks),
                  "the quote must cover PCRs, and name each bank once", got=_told(attest.pcr_selections))
    return Quoted(attest, read, {} if pcrs is None else _proved(trail, attest, read.hash, pcrs))


def check_attestation(trail: Trail, rule: str, *, message: bytes, signature: bytes | TpmSignature, key: PublicKey,
                      kind: AttestType) -> TpmAttest:
    """A structure of ``kind`` that a TPM made and ``key`` signed. Notes ``<rule>.signature``, ``.magic``, ``.type``."""
    check_signature(trail, rule, message=message, signature=_as_read(signature), key=key)
    attest = TpmAttest.from_bytes(message)
    trail.require(f"{rule}.magic", attest.magic == GENERATED, "the message must have been made by a TPM",
                  expected=hex(GENERATED), got=hex(attest.magic))
    trail.require(f"{rule}.type", attest.type == kind, "the message must be of this type", expected=hex(kind),
                  got=hex(attest.type))
    return attest


def check_signature(trail: Trail, rule: str, *, message: bytes, signature: TpmSignature, key: PublicKey) -> None:
    """``signature`` over ``message`` by ``key``; a TPM's RSASSA-PSS salt may have any length."""
    fits = (signature.scheme is SignatureScheme.ECDSA) == isinstance(key, ec.EllipticCurvePublicKey)
    trail.require(f"{rule}.signature.scheme", fits and signature.hash in _HASHES,
                  "the scheme must belong to the key, and its hash be known",
                  got=f"{signature.scheme.name} with {signature.hash.name}")
    try:
        _verify(key, signature, message, _HASHES[signature.hash])
    except (InvalidSignature, UnsupportedAlgorithm):
        raise trail.fail(f"{rule}.signature", "not signed by this key") from None
    trail.passed(f"{rule}.signature")


def is_signed_by(key: PublicKey, signature: TpmSignature, message: bytes) -> bool:
    """A hint for choosing among keys; whichever is chosen goes through `check_signature`."""
    probe = Trail("probe")
    try:
        check_signature(probe, "probe", message=message, signature=signature, key=key)
    except CheckFailed:
        return False
    return True


def _signed_quote(trail: Trail, message: bytes, signature: bytes | TpmSignature,
                  key: PublicKey) -> tuple[TpmAttest, TpmSignature]:
    read = _as_read(signature)
    attest = check_attestation(trail, "tpm_quote", message=message, signature=read, key=key, kind=AttestType.QUOTE)
    return attest, read


def _as_read(signature: bytes | TpmSignature) -> TpmSignature:
    return TpmSignature.raw_rsassa_sha256(signature) if isinstance(signature, bytes) else signature


def _verify(key: PublicKey, signature: TpmSignature, message: bytes, digest: hashes.HashAlgorithm) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        size = (key.curve.key_size + 7) // 8
        if any(len(part) > size for part in signature.parts):
            raise InvalidSignature
        r, s = (int.from_bytes(part, "big") for part in signature.parts)
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
    elif signature.scheme is SignatureScheme.RSAPSS:
        key.verify(signature.parts[0], message, padding.PSS(padding.MGF1(digest), padding.PSS.AUTO), digest)
    else:
        key.verify(signature.parts[0], message, padding.PKCS1v15(), digest)


def _proved(trail: Trail, attest: TpmAttest, signing: HashAlg, pcrs: Banks) -> Banks:
    """The values of the signed selection, which must be there and give the signed digest."""
    proved: dict[str, dict[int, bytes]] = {}
    missing: list[str] = []
    for selection in attest.pcr_selections:
        bank, size, known = selection.bank, selection.alg.size, pcrs.get(selection.bank, {})
        values = proved[bank] = {index: known.get(index, b"") for index in selection.pcrs}
        missing += [f"{bank}:{index}" for index, value in values.items() if len(value) != size]
    trail.require("tpm_quote.pcr_values", not missing, "every selected PCR needs a value of its bank's length",
                  got=missing or None)
    joined = b"".join(value for values in proved.values() for value in values.values())
    trail.equal("tpm_quote.pcr_digest", expected=attest.pcr_digest, got=hashlib.new(signing.bank, joined).digest(),
                detail="the values that came along must be those that were signed")
    return {bank: values for bank, values in proved.items() if values}


def _told(selections: tuple[PcrSelection, ...]) -> list[str]:
    return [f"{selection.bank}:{','.join(map(str, selection.pcrs))}" for selection in selections]
