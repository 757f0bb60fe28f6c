"""What a TPM's quotes say, by name. Nothing is judged here: whoever calls knows what is proved.

Words are hexadecimal text, byte strings stay byte strings. PCR numbers are text, as in every JSON object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from verifier.checks.tpm_ak import AkTrust
from verifier.endorsements.roots.keys import spki_digest
from verifier.endorsements.schemes import PublicKey
from verifier.formats.tpm import RESETTABLE
from verifier.formats.tpm_attest import CertifyInfo, CreationInfo, QuoteInfo, TpmAttest
from verifier.formats.tpm_evidence import Banks
from verifier.formats.tpm_public import NULL, Attributes, EccUnique, RsaUnique, TpmPublic

_SCHEMES = {0x0014: "rsassa", 0x0016: "rsapss", 0x0018: "ecdsa", NULL: "null"}
_CURVES = {2: "P-224", 3: "P-256", 4: "P-384", 5: "P-521"}
_SHARED = ("magic", "type", "qualified_signer", "extra_data", "extra_data_ascii", "reset_count", "restart_count",
           "firmware_version")


def attest_claims(attest: TpmAttest) -> dict[str, Any]:
    """The fields of TPMS_ATTEST. ``clock`` in milliseconds; ``safe`` 1 when the clock has not gone back."""
    claims: dict[str, Any] = {
        "magic": attest.magic.to_bytes(4, "big"), "type": hex(attest.type),
        "qualified_signer": attest.qualified_signer, "extra_data": attest.extra_data, "clock": attest.clock,
        "reset_count": attest.reset_count, "restart_count": attest.restart_count, "safe": int(attest.safe),
        "firmware_version": hex(attest.firmware_version)}
    if attest.extra_data and all(0x20 <= byte < 0x7F for byte in attest.extra_data):
        claims["extra_data_ascii"] = attest.extra_data.decode("ascii")
    told = attest.attested
    if isinstance(told, QuoteInfo):
        claims |= {"pcr_digest": told.pcr_digest, "pcr_selection": [
            {"alg": selection.bank, "pcrs": list(selection.pcrs)} for selection in told.selections]}
    elif isinstance(told, CertifyInfo):
        claims |= {"certified_name": told.name, "certified_qualified_name": told.qualified_name}
    elif isinstance(told, CreationInfo):
        claims |= {"object_name": told.object_name, "creation_hash": told.creation_hash}
    return claims


def quote_claims(attest: TpmAttest, pcrs: Banks, *, listed: bool) -> dict[str, Any]:
    """A quote with PCR values: ``pcrs`` by bank and number, and ``pcrs_<bank>``, a list where it came as one.

    ``pcrs_resettable``: those numbers among them that do not tell what has run since the machine started.
    """
    claims = attest_claims(attest)
    named = {bank: {str(index): value for index, value in sorted(values.items())} for bank, values in pcrs.items()}
    claims["pcrs"] = named
    claims["pcrs_resettable"] = sorted({index for values in pcrs.values() for index in values} & RESETTABLE)
    return claims | {f"pcrs_{bank}": list(values.values()) if listed else values for bank, values in named.items()}


def quotes_claims(quotes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One quote's claims, or what several share with the rest of each under ``quotes``."""
    if len(quotes) == 1:
        return dict(quotes[0])
    if not quotes:
        return {}
    shared = {name: quotes[0][name] for name in _SHARED if name in quotes[0]}
    pcrs = {bank: values for quote in quotes for bank, values in quote["pcrs"].items()}
    resettable = sorted({index for quote in quotes for index in quote["pcrs_resettable"]})
    return shared | {"pcrs": pcrs, "pcrs_resettable": resettable, "quotes": [_of_bank(quote) for quote in quotes]}


def _of_bank(quote: dict[str, Any]) -> dict[str, Any]:
    """A quote of one bank by that bank: its values stand directly under ``pcrs``."""
    banks = [selection["alg"] for selection in quote.get("pcr_selection", ())]
    if len(banks) != 1:
        return quote
    rest = {name: value for name, value in quote.items() if not name.startswith("pcrs_")}
    return rest | {"bank": banks[0], "pcrs": quote["pcrs"].get(banks[0], {})}


def key_claims(key: PublicKey) -> dict[str, Any]:
    """Kind, and the digest of the SubjectPublicKeyInfo."""
    kind = f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else f"EC-{key.curve.name}"
    return {"type": kind, "spki_sha256": spki_digest(key)}


def area_claims(area: TpmPublic) -> dict[str, Any]:
    """The fields of TPMT_PUBLIC. ``consumed``: its length in bytes."""
    claims: dict[str, Any] = {
        "type": area.type.name.lower(), "name_alg": area.name_alg.bank, "attributes": f"{area.attributes:#010x}",
        "auth_policy": area.auth_policy, "scheme": _SCHEMES.get(area.scheme.alg, hex(area.scheme.alg)),
        "scheme_hash": area.scheme.hash.bank if area.scheme.hash else None, "name": area.name,
        "consumed": len(area.to_bytes())}
    if isinstance(area.unique, RsaUnique):
        return claims | {"bits": area.unique.bits, "exponent": area.unique.exponent or 65537}
    assert isinstance(area.unique, EccUnique)  # noqa: S101 - there is no third
    return claims | {"curve": _CURVES[area.unique.curve]}


def ak_claims(area: TpmPublic, hierarchy: str | None, *, confirmed: bool) -> dict[str, Any]:
    """What is known of the attestation key itself.

    ``ak_hierarchy``: whose primary key it is, None for a key below another. ``ak_name_confirmed``: the public area
    gives the name that the TPM wrote into the quotes; where False nobody but the evidence tells the attributes.
    """
    return {"ak_public": area_claims(area), "ak_hierarchy": hierarchy, "ak_name_confirmed": confirmed,
            "ak_attributes": [str(flag.name).lower() for flag in Attributes if area.attributes & flag]}


def certification_claims(attest: TpmAttest, certified: TpmPublic, quote: TpmAttest) -> dict[str, Any]:
    """A certified key beside the quote, by the names that Parsec gives the two attestations."""
    return {"kat": attest_claims(attest), "pat": attest_claims(quote), "certified_public": area_claims(certified)}


def endorsement_claims(trust: AkTrust) -> dict[str, Any]:
    """``ak_trust``: who vouches (``certificate``, ``provisioned``, ``none``), and what the certificate says."""
    claims: dict[str, Any] = {"ak_trust": trust.kind}
    chain = trust.chain
    if chain is None:
        return claims
    leaf = chain.certificate
    claims |= {
        "ak_cert_subject": leaf.subject.rfc4514_string(), "ak_cert_issuer": leaf.issuer.rfc4514_string(),
        "ak_cert_serial": f"{leaf.serial_number:x}", "ak_cert_not_before": str(leaf.not_valid_before_utc),
        "ak_cert_not_after": str(leaf.not_valid_after_utc), "ak_root": chain.anchor.name,
        "ak_root_sha256": chain.anchor.sha256_certificate, "crl_checked": chain.crl_checked,
        "crl_number": chain.crl_number}
    if chain.tpm:
        claims["tpm"] = dict(chain.tpm)
    if chain.instance is not None:
        claims["gce_instance"] = {name: getattr(chain.instance, name) for name in chain.instance.__slots__}
    return claims
