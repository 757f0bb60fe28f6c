"""How an HCL report ties a virtual TPM to the hardware that an Azure confidential VM runs on.

    1  the header is that of an answered attestation report              hcl.request_type, hcl.status
    2  the hardware report's report data is the hash of the claims       hcl.report_data
    3  the claims name one attestation key, RSA of 2048 bits             ak.count, ak.key
    4  the virtual TPM's quote is signed by that key, and by no other    tpm_quote.*
    5  a certificate of that key, where one came along                   ak_certificate.*, vtpm.*

Between 2 and 3 the caller verifies the hardware report, without which nothing here is worth anything. The paravisor
fills the report data, so whatever the guest wants to bind (a nonce, the digest of a key) stands in the quote's extra
data and nowhere else. Step 5 is a second path to the same key, through the cloud's own authority: it is told in the
claims and can refuse, but it never replaces the hardware report. Source: Microsoft "Azure confidential VM guest
attestation design".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from verifier.checks.prepared import Prepared, digest_of
from verifier.checks.tpm_quote import Quoted, check_quote
from verifier.endorsements.amd_vek import SUBJECTS
from verifier.endorsements.chain import common_name, public_key_of, read_certificates
from verifier.endorsements.collateral import TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.roots.keys import spki_digest
from verifier.endorsements.tpm_ak import AkChain, certificate_of, verify_chain
from verifier.endorsements.window import ALWAYS, Window
from verifier.errors import MalformedCollateral, MalformedEvidence, MissingCollateral
from verifier.formats.az_json import MAX_CERTIFICATES, PCR_BANK, VtpmQuote
from verifier.formats.hcl_report import REQUEST_TYPE, HclReport
from verifier.formats.runtime_claims import ATTESTATION_KEY, RuntimeClaims
from verifier.trail import Check, Trail

AK_BITS = 2048
AK_EXPONENT = 65537
INIT_DATA_PCR = 8
TPM_QUOTE_MISSING = "TPM_QUOTE_MISSING"


@dataclass(frozen=True, slots=True)
class JudgedAk:
    """What was found of an attestation key's certificate, with the checks that say so. chain: None without one."""

    checks: tuple[Check, ...]
    window: Window
    chain: AkChain | None


@dataclass(frozen=True, slots=True)
class Vtpm:
    """What the virtual TPM proved. quoted: None where no quote came along, which binds nothing to anything.

    chain: of the key's certificate; None where none came or its issuer is unknown.
    """

    key: rsa.RSAPublicKey = field(repr=False)
    quoted: Quoted | None
    chain: AkChain | None

    @property
    def window(self) -> Window:
        """How long this holds."""
        return ALWAYS if self.chain is None else self.chain.window

    @property
    def extra_data(self) -> bytes:
        """What the guest bound, 0 to 64 bytes; empty without a quote."""
        return b"" if self.quoted is None else self.quoted.attest.extra_data

    @property
    def init_data(self) -> bytes:
        """The proved value of PCR 8, 32 bytes; empty where the signed selection leaves it out."""
        return (self.quoted and self.quoted.pcr(PCR_BANK, INIT_DATA_PCR)) or b""

    @property
    def flags(self) -> tuple[str, ...]:
        """``TPM_QUOTE_MISSING``: hardware vouches for the key, but nothing that the key signed was shown."""
        return (TPM_QUOTE_MISSING,) if self.quoted is None else ()


def check_header(trail: Trail, report: HclReport) -> None:
    """Step 1. Nobody signed the header: these rules keep it from being read as what it is not."""
    trail.equal("hcl.request_type", expected=REQUEST_TYPE, got=report.request_type)
    trail.equal("hcl.status", expected=0, got=report.status)


def check_claims_hash(trail: Trail, report: HclReport, report_data: bytes) -> None:
    """Step 2: all 64 bytes, the hash that the header names and zeros."""
    trail.equal("hcl.report_data", expected=report.claims_digest, got=report_data,
                detail="the hardware report must carry the hash of the runtime claims")


def verify_vtpm(trail: Trail, claims: RuntimeClaims, quote: VtpmQuote | None, certificates: Sequence[bytes],
                supplied: TpmCollateral | None, roots: Roots, at: int, prepared: Prepared) -> Vtpm:
    """Steps 3 to 5; ``claims`` must be those that step 2 found in a genuine hardware report.

    certificates: the evidence's own. supplied: the caller's, of which only one of this very key is used.
    """
    key = _attestation_key(trail, claims)
    quoted = None
    if quote is None:
        trail.passed("tpm_quote.absent", "no quote came along: nothing that the guest said is bound")
    else:
        quoted = check_quote(trail, message=quote.message, signature=quote.signature, key=key,
                             pcrs=dict(enumerate(quote.pcrs)), bank=PCR_BANK)
    return Vtpm(key, quoted, _certificate_chain(trail, key, certificates, supplied or TpmCollateral(), roots, at,
                                                prepared))


def _attestation_key(trail: Trail, claims: RuntimeClaims) -> rsa.RSAPublicKey:
    """Step 3. The paravisor's keys have 2048 bits and the usual exponent; others would be somebody else's making."""
    named = claims.named(ATTESTATION_KEY)
    trail.equal("ak.count", expected=1, got=len(named), detail=f"exactly one key must be called {ATTESTATION_KEY}")
    key = named[0].public_key()
    if key is None or (key.key_size, named[0].exponent) != (AK_BITS, AK_EXPONENT):
        raise trail.fail("ak.key", "the attestation key must be RSA of 2048 bits with exponent 65537",
                         expected=[AK_BITS, AK_EXPONENT], got=[8 * len(named[0].modulus), named[0].exponent])
    trail.passed("ak.key")
    return key


def _certificate_chain(trail: Trail, key: rsa.RSAPublicKey, certificates: Sequence[bytes], supplied: TpmCollateral,
                       roots: Roots, at: int, prepared: Prepared) -> AkChain | None:
    """Step 5; what is established is kept under the key and every certificate, list and root it was established from.

    Its rules are noted under ``vtpm``, because the hardware report's chain has rules of the same names.
    """
    name = (trail.prefix, spki_digest(key), digest_of(certificates), supplied.digest, roots.digest)

    def judge(own: Trail) -> JudgedAk:
        chain = _verify_certificate(own, key, certificates, supplied, roots, at)
        return JudgedAk(own.own_checks, ALWAYS if chain is None else chain.window, chain)
    return prepared.establish(trail, JudgedAk, name, at, judge).chain


def _verify_certificate(trail: Trail, key: rsa.RSAPublicKey, certificates: Sequence[bytes], supplied: TpmCollateral,
                        roots: Roots, at: int) -> AkChain | None:
    trail.require("ak_certificate.count", len(certificates) <= MAX_CERTIFICATES + 1,
                  "evidence may bring only so many certificates", expected=f"<= {MAX_CERTIFICATES + 1}",
                  got=len(certificates))
    own = _own_certificates(certificates)
    strangers = [common_name(leaf) for leaf in own if _is_vtpm_leaf(leaf) and certificate_of(key, [leaf]) is None]
    trail.require("ak_certificate.key", not strangers, "a certificate that came along must be of the attestation key",
                  got=strangers or None)
    known = own + tuple(one for item in supplied.certificates for one in read_certificates(item, "certificate"))
    leaf = certificate_of(key, known)
    if leaf is None:
        trail.passed("ak_certificate.absent", "no certificate of the attestation key came along")
        return None
    apart = Trail(f"{trail.prefix}.vtpm")
    try:
        return verify_chain(apart, leaf, known, roots, supplied.crls, at)
    except MissingCollateral as error:
        trail.passed("ak_certificate.unjudged", error.detail, got=error.got)
        return None
    finally:
        trail.extend(apart.checks)


def _own_certificates(certificates: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Readable ones of EC and RSA keys; whatever else came along is the attester's fault."""
    try:
        found = tuple(one for item in certificates for one in read_certificates(item, "certificate"))
        for certificate in found:
            public_key_of(certificate.public_key())
    except MalformedCollateral as error:
        raise MalformedEvidence(error.id, error.detail, expected=error.expected, got=error.got) from None
    return found


def _is_vtpm_leaf(certificate: x509.Certificate) -> bool:
    """Neither an authority nor AMD's certificate of a chip."""
    constraints = [e.value for e in certificate.extensions if isinstance(e.value, x509.BasicConstraints)]
    return not any(value.ca for value in constraints) and common_name(certificate) not in SUBJECTS


def endorsement_claims(vtpm: Vtpm) -> dict[str, Any]:
    """``ak_certificate``: what the attestation key's certificate says, None where none was verified."""
    chain = vtpm.chain
    return {"ak_certificate": None if chain is None else {
        "subject": chain.certificate.subject.rfc4514_string(), "serial": f"{chain.certificate.serial_number:x}",
        "root_sha256": chain.anchor.sha256_certificate, "software": chain.anchor.software,
        "crl_checked": chain.crl_checked, "crl_number": chain.crl_number, "not_after": chain.window.not_after}}
