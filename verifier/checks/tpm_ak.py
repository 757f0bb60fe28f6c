"""Why an attestation key (AK) may be believed, and what is known of it.

    1  the key is of a kind that attests                                   ak.key
    2  somebody vouches for it: a configuration, a certificate, nobody     ak.provisioned | chain.*, ak_certificate.* |
                                                                           ak.unproven
    3  its public area, where it came along, is this key's and an AK's     ak.public.*
    4  the TPM's own word on how the key was made, where it came along     ak_creation.*

Nobody's key can sign quotes as well as a TPM's can: such evidence is signed, and nothing more; `AkTrust.kind` says so.
Step 2 looks at no quote, so what it establishes is kept under the key, every certificate and list, and the roots.
Source: TCG TPM 2.0 Library part 1, sections 16 (names), 25.1.4 and 31 (restricted keys), 26.5 (qualified names).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography import x509

from verifier.checks.prepared import Prepared
from verifier.checks.tpm_quote import check_attestation, check_key
from verifier.endorsements.amd import read_supplied
from verifier.endorsements.collateral import TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.roots.keys import spki_digest
from verifier.endorsements.schemes import PublicKey
from verifier.endorsements.tpm_ak import AkChain, certificate_of, verify_chain
from verifier.endorsements.window import ALWAYS, Window
from verifier.formats.tpm_attest import AttestType, CreationInfo
from verifier.formats.tpm_creation import CreationData, qualified_name
from verifier.formats.tpm_evidence import SignedKey
from verifier.formats.tpm_public import Attributes, TpmPublic
from verifier.formats.tpm_signature import TpmSignature
from verifier.trail import Check, Trail

Kind = Literal["certificate", "provisioned", "none"]

_REQUIRED = Attributes.FIXED_TPM | Attributes.SENSITIVE_DATA_ORIGIN | Attributes.RESTRICTED | Attributes.SIGN


@dataclass(frozen=True, slots=True)
class AkTrust:
    """Who vouches for a key. chain: None unless a certificate does. software: no hardware maker and nobody who
    provisioned hardware vouches for it, so that it may be anybody's."""

    checks: tuple[Check, ...]
    window: Window
    kind: Kind
    software: bool = False
    chain: AkChain | None = None


def endorse(trail: Trail, key: PublicKey, certificates: Sequence[bytes], collateral: TpmCollateral | None,
            roots: Roots, at: int, prepared: Prepared) -> AkTrust:
    """Steps 1 and 2. ``certificates`` came with the evidence.

    A certificate of this key must verify where there is one; certificates of other keys are only its possible issuers.
    """
    supplied = collateral or TpmCollateral()
    name = (trail.prefix, spki_digest(key), roots.digest, supplied.digest, TpmCollateral(tuple(certificates)).digest)
    found = prepared.establish(trail, AkTrust, name, at,
                               lambda own: _endorse(own, key, certificates, supplied, roots, at))
    trail.require("endorsement.validity", found.window.contains(at), "all of the above must hold at the moment",
                  expected=list(found.window), got=at)
    return found


def _endorse(trail: Trail, key: PublicKey, certificates: Sequence[bytes], supplied: TpmCollateral, roots: Roots,
             at: int) -> AkTrust:
    check_key(trail, "ak.key", key)
    provisioned = roots.key(spki_digest(key))
    if provisioned is not None:
        trail.passed("ak.provisioned", "a configuration names this key", got=spki_digest(key))
        return AkTrust(trail.own_checks, ALWAYS, "provisioned", provisioned.software)
    readable = read_supplied(trail, certificates, supplied.certificates)
    leaf = certificate_of(key, readable)
    if leaf is None:
        trail.passed("ak.unproven", "nobody says that a TPM holds this key", got=spki_digest(key))
        return AkTrust(trail.own_checks, ALWAYS, "none", software=True)
    chain = verify_chain(trail, leaf, readable, roots, supplied.crls, at)
    return AkTrust(trail.own_checks, chain.window, "certificate", chain.anchor.software, chain)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether the certificate says that it is a CA's."""
    return any(isinstance(extension.value, x509.BasicConstraints) and extension.value.ca
               for extension in certificate.extensions)


def check_public_area(trail: Trail, area: TpmPublic, key: PublicKey, qualified_signer: bytes) -> None:
    """Step 3: made by a TPM and never outside it, signing only, and only what the TPM itself made."""
    trail.equal("ak.public.key", expected=spki_digest(key), got=spki_digest(area.public_key()),
                detail="the public area must be this key's")
    missing = [flag.name for flag in _REQUIRED if not area.attributes & flag]
    trail.require("ak.public.attributes", not missing, "an attestation key has these attributes", got=missing or None)
    trail.require("ak.public.decrypt", not area.attributes & Attributes.DECRYPT, "an attestation key does not decrypt")
    trail.equal("ak.public.name_alg", expected=area.name_alg.to_bytes(2, "big"), got=qualified_signer[:2],
                detail="names of one key are by one hash")


def check_creation(trail: Trail, creation: SignedKey, area: TpmPublic, key: PublicKey,
                   qualified_signer: bytes) -> CreationData:
    """Step 4: the key of ``area`` was made by this TPM below the parent that its qualified name says."""
    attest = check_attestation(trail, "ak_creation", message=creation.message, key=key, kind=AttestType.CREATION,
                               signature=TpmSignature.from_bytes(creation.signature))
    told = attest.attested
    assert isinstance(told, CreationInfo)  # noqa: S101 - established by the type
    trail.equal("ak_creation.name", expected=area.name, got=told.object_name)
    trail.equal("ak_creation.hash", expected=told.creation_hash,
                got=hashlib.new(area.name_alg.bank, creation.about).digest())
    data = CreationData.from_bytes(creation.about)
    trail.equal("ak_creation.signer", expected=qualified_signer, got=attest.qualified_signer)
    trail.equal("ak_creation.qualified_name", expected=qualified_signer,
                got=qualified_name(area.name, data.parent_qualified_name),
                detail="the key's name below its parent must be the quotes' signer")
    return data
