"""A bare TPM 2.0: quotes over PCRs by an attestation key.

The rules are `verifier.checks.tpm_quote` and `verifier.checks.tpm_ak`. A quote is as good as its key: without a
certificate or a configuration that vouches for the key the evidence is authentic, and flagged ``AK_UNPROVEN``.

    1  the key: given, or the one among certificates and supplied keys     collateral.tpm.ak
    2  who vouches for it                                                  ak.*, chain.*, ak_certificate.*
    3  every quote                                                         tpm_quote.*
    4  all quotes are of one moment of one TPM                             quotes.*
    5  what the TPM says of that key, and of another of its keys           ak.public.*, ak_creation.*,
                                                                           key_certification.*
    6  the event log, where there is one, gives the quoted values          event_log.*

Flags: ``AK_UNPROVEN`` nobody vouches for the key; ``SHA1_SIGNATURE`` something is signed over a SHA-1 digest;
``SHA1_PCRS`` only PCRs of a SHA-1 bank are covered; ``NOT_PRODUCTION`` Google says so of the machine. Report data is
the quotes' nonce; init data is PCR 8 of the SHA-256 bank, where it is covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.checks import tpm_ak, tpm_quote
from verifier.checks.event_log import check_pcr_log
from verifier.checks.tpm_ak import AkTrust
from verifier.checks.tpm_claims import (
    ak_claims,
    certification_claims,
    endorsement_claims,
    key_claims,
    quote_claims,
    quotes_claims,
)
from verifier.checks.tpm_quote import Quoted
from verifier.claims import Claims
from verifier.endorsements.amd import read_supplied
from verifier.endorsements.collateral import TpmCollateral
from verifier.endorsements.schemes import PublicKey
from verifier.errors import EvidenceError, MalformedCollateral, MalformedEvidence, MissingCollateral
from verifier.evidence import Evidence, Tee
from verifier.formats.tpm import HashAlg
from verifier.formats.tpm_attest import AttestType, CertifyInfo, TpmAttest
from verifier.formats.tpm_creation import hierarchy_of
from verifier.formats.tpm_evidence import SignedKey, TpmEvidence, TpmQuote
from verifier.formats.tpm_key_file import read_key_file, read_spki
from verifier.formats.tpm_public import TpmPublic
from verifier.formats.tpm_signature import TpmSignature
from verifier.tees.base import Context
from verifier.trail import Trail

INIT_DATA_BANK, INIT_DATA_PCR = "sha256", 8


@dataclass(frozen=True, slots=True)
class TpmQuotes:
    """The evidence, every structure read and nothing believed. ``key`` None where the evidence does not bring one."""

    told: TpmEvidence
    attests: tuple[TpmAttest, ...]
    signatures: tuple[TpmSignature | None, ...]
    key: PublicKey | None
    area: TpmPublic | None
    certificates: tuple[bytes, ...]
    event_log: bytes | None


class TpmRecipe:
    """The recipe for quotes of a TPM 2.0."""

    tee = Tee.TPM

    def parse(self, evidence: Evidence) -> TpmQuotes:
        """Every structure of the evidence's JSON text; see `verifier.formats.tpm_evidence`."""
        told = TpmEvidence.from_bytes(evidence.quote)
        area = None if told.ak_public_area is None else TpmPublic.from_bytes(told.ak_public_area)
        if area is None and told.ak_creation is not None:
            raise MalformedEvidence("format.tpm_json", "ak_creation without ak_public_area")
        key = None if told.ak_public is None else read_spki(told.ak_public)
        return TpmQuotes(
            told, tuple(TpmAttest.from_bytes(quote.message) for quote in told.quotes),
            tuple(None if quote.signature is None else TpmSignature.from_bytes(quote.signature)
                  for quote in told.quotes),
            area.public_key() if key is None and area is not None else key, area, evidence.certificates,
            evidence.event_log)

    def inspect(self, quote: TpmQuotes) -> dict[str, Any]:
        """The quotes' fields, PCR values as they came along."""
        told = [quote_claims(attest, one.pcrs or {}, listed=one.listed)
                for attest, one in zip(quote.attests, quote.told.quotes, strict=True)]
        key = {} if quote.key is None else {"ak": key_claims(quote.key)}
        return quotes_claims(told) | key

    def verify(self, quote: TpmQuotes, context: Context) -> Claims:
        """The steps at the top, in order."""
        trail, signatures = context.trail, _signatures(quote)
        key = quote.key or _supplied_key(trail, quote, context.collateral.tpm)
        trust = tpm_ak.endorse(trail, key, quote.certificates, context.collateral.tpm, context.roots, context.at,
                               context.prepared)
        if not quote.attests:
            raise MissingCollateral("evidence.tpm.quote", "an attestation key without a quote says nothing")
        quoted = [tpm_quote.check_quote_of_banks(trail, message=one.message, signature=signature, key=key,
                                                 pcrs=one.pcrs)
                  for one, signature in zip(quote.told.quotes, signatures, strict=True)]
        _check_together(trail, quoted)
        known = _check_key(trail, quote, key, quoted[0].attest)
        pcrs = {bank: values for one in quoted for bank, values in one.pcrs.items()}
        events = {} if quote.event_log is None else {
            "event_log": check_pcr_log(trail, quote.event_log, pcrs).claims()}
        init_data = pcrs.get(INIT_DATA_BANK, {}).get(INIT_DATA_PCR, b"")
        return Claims(
            tee=self.tee, body=_body(quote, quoted, init_data) | {
                "ak": key_claims(key), "ak_spki": key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            } | known | events,
            endorsement=endorsement_claims(trust), software=trust.software,
            report_data=quoted[0].attest.extra_data, init_data=init_data, valid_until=trust.window.not_after,
            flags=_flags(trust, quoted, quote))


def _signatures(quote: TpmQuotes) -> list[TpmSignature]:
    signatures = [signature for signature in quote.signatures if signature is not None]
    if len(signatures) != len(quote.attests):
        raise MissingCollateral("evidence.tpm.signature", "a quote without a signature proves nothing")
    return signatures


def _body(quote: TpmQuotes, quoted: Sequence[Quoted], init_data: bytes) -> dict[str, Any]:
    """The quotes' fields with proved PCR values only."""
    claims = quotes_claims([quote_claims(one.attest, one.pcrs, listed=told.listed)
                            for one, told in zip(quoted, quote.told.quotes, strict=True)])
    return claims | ({"init_data_pcr8": init_data} if init_data else {})


def _supplied_key(trail: Trail, quote: TpmQuotes, collateral: TpmCollateral | None) -> PublicKey:
    """The key that signed the first quote, or else the first, of those that certificates and collateral bring.

    A hint: whichever is chosen goes through every rule. Raises `MissingCollateral` when there is none.
    """
    supplied = collateral or TpmCollateral()
    certificates = read_supplied(trail.branch(), quote.certificates, supplied.certificates)
    keys = [_loose_key(data) for data in supplied.keys] + [
        key for certificate in certificates if not tpm_ak.is_authority(certificate)
        and isinstance(key := certificate.public_key(), PublicKey)]
    if not keys:
        raise MissingCollateral("collateral.tpm.ak", "neither the evidence nor anybody else brings the attestation key")
    first = quote.told.quotes[0] if quote.told.quotes else None
    return next((key for key in keys if first is not None and _signed(first, quote.signatures[0], key)), keys[0])


def _loose_key(data: bytes) -> PublicKey:
    try:
        return read_key_file(data).key
    except EvidenceError as error:
        raise MalformedCollateral("collateral.tpm.key", "not a public key", got=error.id) from None


def _signed(quote: TpmQuote, signature: TpmSignature | None, key: PublicKey) -> bool:
    return signature is not None and tpm_quote.is_signed_by(key, signature, quote.message)


def _check_together(trail: Trail, quoted: Sequence[Quoted]) -> None:
    """Quotes of several banks are one statement: same nonce, same signer, same boot, no bank twice."""
    first = quoted[0].attest
    trail.require("quotes.signer", _is_name(first.qualified_signer), "the signer must go by a qualified name",
                  got=first.qualified_signer)
    banks = [selection.bank for one in quoted for selection in one.attest.pcr_selections]
    trail.require("quotes.banks", len(set(banks)) == len(banks), "no bank may be quoted twice", got=banks)
    for one in quoted[1:]:
        trail.equal("quotes.nonce", expected=first.extra_data, got=one.attest.extra_data)
        trail.equal("quotes.signer", expected=first.qualified_signer, got=one.attest.qualified_signer)
        trail.equal("quotes.boot", expected=(first.reset_count, first.restart_count, first.firmware_version),
                    got=(one.attest.reset_count, one.attest.restart_count, one.attest.firmware_version))


def _is_name(name: bytes) -> bool:
    return any(name[:2] == alg.to_bytes(2, "big") and len(name) == 2 + alg.size for alg in HashAlg)


def _check_key(trail: Trail, quote: TpmQuotes, key: PublicKey, first: TpmAttest) -> dict[str, Any]:
    """Step 5, and what it proved by name. Attributes of a key that came without its public area are not known."""
    if quote.area is None:
        claims: dict[str, Any] = {"ak_attributes": None}
    else:
        tpm_ak.check_public_area(trail, quote.area, key, first.qualified_signer)
        hierarchy = hierarchy_of(quote.area.name, first.qualified_signer)
        if quote.told.ak_creation is not None:
            tpm_ak.check_creation(trail, quote.told.ak_creation, quote.area, key, first.qualified_signer)
        claims = ak_claims(quote.area, hierarchy, confirmed=bool(hierarchy or quote.told.ak_creation))
    if quote.told.key_certification is not None:
        claims |= _check_certification(trail, quote.told.key_certification, key, first)
    return claims


def _check_certification(trail: Trail, certification: SignedKey, key: PublicKey, quote: TpmAttest) -> dict[str, Any]:
    """Another key of the same TPM, certified for the same challenge."""
    attest = tpm_quote.check_attestation(trail, "key_certification", message=certification.message, key=key,
                                         kind=AttestType.CERTIFY,
                                         signature=TpmSignature.from_bytes(certification.signature))
    certified = TpmPublic.from_bytes(certification.about)
    told = attest.attested
    assert isinstance(told, CertifyInfo)  # noqa: S101 - established by the type
    trail.equal("key_certification.name", expected=told.name, got=certified.name,
                detail="the public area must be of the certified key")
    trail.equal("key_certification.nonce", expected=quote.extra_data, got=attest.extra_data)
    trail.equal("key_certification.signer", expected=quote.qualified_signer, got=attest.qualified_signer)
    return certification_claims(attest, certified, quote)


def _flags(trust: AkTrust, quoted: Sequence[Quoted], quote: TpmQuotes) -> tuple[str, ...]:
    others = [TpmSignature.from_bytes(signed.signature).hash
              for signed in (quote.told.ak_creation, quote.told.key_certification) if signed is not None]
    banks = {selection.alg for one in quoted for selection in one.attest.pcr_selections if selection.pcrs}
    instance = trust.chain.instance if trust.chain else None
    found = {"AK_UNPROVEN": trust.kind == "none",
             "SHA1_SIGNATURE": HashAlg.SHA1 in (*(one.signature.hash for one in quoted), *others),
             "SHA1_PCRS": banks == {HashAlg.SHA1},
             "NOT_PRODUCTION": instance is not None and instance.production is not True}
    return tuple(name for name, holds in found.items() if holds)
