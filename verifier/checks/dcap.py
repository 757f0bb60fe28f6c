"""Intel DCAP quote verification, shared by TDX and SGX.

    1  header: vendor id, nothing reserved                          quote.*
    2  PCK chain under the pinned root, with dates and roles        pck_chain.*      prepared per chain
    3  QE report signed by the PCK key                              qe_report.signature
    4  attestation key bound to the QE report                       qe_report.binding  (3, 4 prepared per key)
    5  quote signed by the attestation key                          quote.signature
    6  revocation lists, TCB info, QE identity: signed, in date     *_crl.*, tcb_info.*, qe_identity.*  prepared
    7  the documents are about this platform and this enclave       fmspc, pce_id, qe_identity.mrsigner …
    8  TCB levels matched and converged                             tcb.*

Steps 1-5 need nothing but the quote, so a forged one is refused even where collateral is missing. What a step prepared
is kept under the digest of every byte that it looked at. Source: Intel "SGX DCAP ECDSA Quote Library API", "TDX DCAP
Quote Generation and Verification", PCS API v4.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from verifier.checks import dcap_tcb, intel_tcb
from verifier.checks.dcap_tcb import TeeTcb
from verifier.checks.intel_tcb import TcbOutcome
from verifier.checks.prepared import Prepared
from verifier.endorsements import intel
from verifier.endorsements.chain import told_moment
from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.endorsements.crl import RevocationList
from verifier.endorsements.intel import PckChain, TcbSigner, check_raw_signature, needed
from verifier.endorsements.qe_identity import QeIdentity
from verifier.endorsements.roots import Roots
from verifier.endorsements.tcb_info import TcbInfo
from verifier.endorsements.tcb_status import TcbStatus
from verifier.endorsements.window import Window, rfc3339
from verifier.errors import MalformedCollateral, MalformedEvidence, MissingCollateral
from verifier.evidence import Tee
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import CertificationType, QeCertification, Quote
from verifier.trail import Check, Trail

_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_QE_IDENTITY_ID = {Tee.SGX: "QE", Tee.TDX: "TD_QE"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A value with the checks that established it and the window in which they hold."""

    checks: tuple[Check, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class JudgedChain(Judged):
    """Step 2; ``digest`` is the SHA-256 of the chain as it came."""

    chain: PckChain
    digest: bytes


@dataclass(frozen=True, slots=True)
class JudgedKey(Judged):
    """Steps 3 and 4: an attestation key that a genuine quoting enclave holds."""

    key: ec.EllipticCurvePublicKey = field(repr=False)
    qe_report: EnclaveReport


@dataclass(frozen=True, slots=True)
class JudgedDocuments(Judged):
    """Step 6 as far as it does not depend on the platform."""

    tcb_info: TcbInfo
    qe_identity: QeIdentity
    root_crl: RevocationList
    signer: TcbSigner


@dataclass(frozen=True, slots=True)
class JudgedPckCrl(Judged):
    """The revocation list of one PCK CA, good for all its platforms."""

    crl: RevocationList


@dataclass(frozen=True, slots=True)
class JudgedPlatform(Judged):
    """Steps 6-8 for one platform, quoting enclave version and TEE TCB."""

    status: TcbStatus
    outcome: TcbOutcome
    current: TcbOutcome | None
    documents: JudgedDocuments
    pck_crl: RevocationList


@dataclass(frozen=True, slots=True)
class Dcap:
    """What the quote, its chain and the collateral establish together."""

    chain: PckChain
    qe_report: EnclaveReport
    platform: JudgedPlatform
    window: Window


def verify_signatures(trail: Trail, quote: Quote, supplied: bytes | None, roots: Roots, at: int,
                      prepared: Prepared) -> tuple[JudgedChain | None, JudgedKey | None]:
    """Steps 1-5; ``supplied`` is the PCK chain (PEM) that the caller has for quotes that embed none.

    Without any chain the second half of 3 is left out: both results are None.
    """
    trail.constant("quote.vendor", expected=INTEL_QE_VENDOR_ID, got=quote.header.qe_vendor_id)
    pem = _chain_bytes(quote.certification, supplied)
    if pem is None:
        key = _check_binding(trail, quote)
        check_raw_signature(trail, "quote.signature", key, quote.signature, quote.signed)
        return None, None
    from_quote = quote.certification.certification_type is CertificationType.PCK_CHAIN
    chain = _judged_chain(trail, pem, roots, at, prepared, from_quote=from_quote)
    judged = _judged_key(trail, quote, chain, at, prepared)
    check_raw_signature(trail, "quote.signature", judged.key, quote.signature, quote.signed)
    return chain, judged


def verify_dcap(trail: Trail, quote: Quote, collateral: Collateral, roots: Roots, at: int,
                prepared: Prepared) -> Dcap:
    """Steps 1-8. Raises `CheckFailed` for a broken rule, `MissingCollateral` where there is nothing to decide with."""
    chain, key = verify_signatures(trail, quote, collateral.pck_chain, roots, at, prepared)
    if chain is None or key is None:
        raise MissingCollateral("collateral.pck_chain", "the quote does not embed its PCK chain and none was supplied",
                                got=f"certification data type {int(quote.certification.certification_type)}")
    chosen = _collateral_for(quote.tee, chain.chain, collateral, at)
    documents = _judged_documents(trail, quote.tee, chosen, roots, at, prepared)
    platform = _judged_platform(trail, quote, chain, key, documents, chosen, roots, at, prepared)
    return Dcap(chain.chain, key.qe_report, platform, chain.window.meet(platform.window))


def _chain_bytes(certification: QeCertification, supplied: bytes | None) -> bytes | None:
    """The PCK chain: the quote's own, or the supplied one where the quote carries a reference or a bare leaf."""
    if certification.certification_type is CertificationType.PCK_CHAIN:
        return certification.certification_data
    if supplied is None or certification.certification_type is not CertificationType.PCK_LEAF:
        return supplied
    return certification.certification_data.rstrip(b"\x00") + b"\n" + _above_leaf(supplied)


def _above_leaf(chain: bytes) -> bytes:
    """The last two certificates of a PEM chain, whether or not a leaf stands before them."""
    root = chain.rfind(_PEM_BEGIN)
    return chain[max(chain.rfind(_PEM_BEGIN, 0, root), 0):]


def _collateral_for(tee: Tee, chain: PckChain, collateral: Collateral, at: int) -> IntelCollateral:
    """The set for this TEE and platform family; which one is only a choice, what it says is verified."""
    fmspc = chain.extensions.fmspc
    chosen = collateral.intel_for(tee.value.upper(), fmspc, rfc3339(at))
    if chosen is None:
        raise MissingCollateral("collateral.intel", f"no TCB info, QE identity and revocation lists for {tee.value} "
                                f"on platform family {fmspc.hex()} were supplied")
    return chosen


def _judged_chain(trail: Trail, pem: bytes, roots: Roots, at: int, prepared: Prepared, *,
                  from_quote: bool) -> JudgedChain:
    """Step 2. An unreadable chain is the quote's fault where the quote brought it, else the collateral's."""
    digest = hashlib.sha256(pem).digest()
    key = (trail.prefix, digest, roots.digest)

    def judge(own: Trail) -> JudgedChain:
        try:
            chain = intel.verify_pck_chain(own, pem, roots, at)
        except MalformedCollateral as error:
            if from_quote:
                raise MalformedEvidence(error.id, error.detail, expected=error.expected, got=error.got) from None
            raise
        return JudgedChain(own.own_checks, chain.window, chain, digest)
    return prepared.establish(trail, JudgedChain, key, at, judge)


def _judged_key(trail: Trail, quote: Quote, chain: JudgedChain, at: int, prepared: Prepared) -> JudgedKey:
    """The chain's digest is part of the key, so what is kept was verified under this very chain."""
    certification = quote.certification
    digest = hashlib.sha256(certification.qe_report + certification.qe_report_signature + quote.attestation_key
                            + certification.qe_auth_data).digest()
    key = (trail.prefix, chain.digest, digest)

    def judge(own: Trail) -> JudgedKey:
        check_raw_signature(own, "qe_report.signature", chain.chain.key, certification.qe_report_signature,
                            certification.qe_report)
        attestation_key = _check_binding(own, quote)
        report = EnclaveReport.from_bytes(certification.qe_report)
        return JudgedKey(own.own_checks, chain.window, attestation_key, report)
    return prepared.establish(trail, JudgedKey, key, at, judge)


def _check_binding(trail: Trail, quote: Quote) -> ec.EllipticCurvePublicKey:
    """QE REPORTDATA is SHA-256(attestation key || authentication data) and 32 zero bytes; the key is on the curve."""
    digest = hashlib.sha256(quote.attestation_key + quote.certification.qe_auth_data).digest()
    report = EnclaveReport.from_bytes(quote.certification.qe_report)
    trail.equal("qe_report.binding", expected=digest + bytes(32), got=report.report_data)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + quote.attestation_key)
    except (ValueError, UnsupportedAlgorithm):
        raise trail.fail("quote.attestation_key", "the attestation key is not a point of P-256",
                         got=quote.attestation_key) from None
    return key


def _judged_documents(trail: Trail, tee: Tee, collateral: IntelCollateral, roots: Roots, at: int,
                      prepared: Prepared) -> JudgedDocuments:
    key = (trail.prefix, collateral.digest, roots.digest)
    return prepared.establish(trail, JudgedDocuments, key, at,
                              lambda own: _verify_documents(own, tee, collateral, roots, at))


def _verify_documents(trail: Trail, tee: Tee, collateral: IntelCollateral, roots: Roots, at: int) -> JudgedDocuments:
    """TCB info and QE identity: issuer chain, revocation of the signer, signature, id and dates."""
    signer = intel.verify_tcb_signer(trail, "tcb_info", collateral.tcb_info_issuer_chain, roots, at)
    root_crl = intel.verify_root_crl(trail, collateral.root_ca_crl, signer.anchor, signer.root, at)
    root_crl.check_not_listed(trail, "tcb_info.issuer_chain.leaf", signer.certificate)
    info_bytes = needed(collateral.tcb_info, "tcb_info")
    intel.check_document_signature(trail, "tcb_info", info_bytes, collateral.tcb_info_signature, signer)
    info = TcbInfo.from_json(info_bytes)
    trail.equal("tcb_info.id", expected=tee.value, got=info.tee.value)
    _check_dates(trail, "tcb_info", info.window, at)

    qe_signer = intel.verify_tcb_signer(trail, "qe_identity", collateral.qe_identity_issuer_chain, roots, at)
    trail.equal("qe_identity.issuer_chain.same_root", expected=signer.anchor.sha256_public_key,
                got=qe_signer.anchor.sha256_public_key)
    root_crl.check_not_listed(trail, "qe_identity.issuer_chain.leaf", qe_signer.certificate)
    identity_bytes = needed(collateral.qe_identity, "qe_identity")
    intel.check_document_signature(trail, "qe_identity", identity_bytes, collateral.qe_identity_signature, qe_signer)
    identity = QeIdentity.from_json(identity_bytes)
    trail.equal("qe_identity.id", expected=_QE_IDENTITY_ID[tee], got=identity.id)
    _check_dates(trail, "qe_identity", identity.window, at)
    window = signer.window.meet(root_crl.window, info.window, qe_signer.window, identity.window)
    return JudgedDocuments(trail.own_checks, window, info, identity, root_crl, signer)


def _check_dates(trail: Trail, rule: str, window: Window, at: int) -> None:
    for name, ok, detail, expected in (
            ("issue_date", window.not_before <= at, "the issue date lies ahead", f">= {window.not_before}"),
            ("next_update", at <= window.not_after, "the document has expired", f"<= {window.not_after}")):
        trail.require(f"{rule}.{name}", ok, detail, expected=expected, got=told_moment(ok, at))


def _judged_platform(trail: Trail, quote: Quote, chain: JudgedChain, key: JudgedKey, documents: JudgedDocuments,
                     collateral: IntelCollateral, roots: Roots, at: int, prepared: Prepared) -> JudgedPlatform:
    tcb, enclave = TeeTcb.of(quote), key.qe_report
    name = (trail.prefix, collateral.digest, roots.digest, chain.digest, tcb, enclave.misc_select, enclave.attributes,
            enclave.mr_signer, enclave.isv_prod_id, enclave.isv_svn)
    return prepared.establish(trail, JudgedPlatform, name, at, lambda own: _verify_platform(
        own, tcb, chain.chain, enclave, documents, collateral, at, prepared))


def _verify_platform(trail: Trail, tcb: TeeTcb, chain: PckChain, enclave: EnclaveReport, documents: JudgedDocuments,
                     collateral: IntelCollateral, at: int, prepared: Prepared) -> JudgedPlatform:
    """Steps 6 (this platform's revocation), 7 and 8."""
    trail.equal("pck_chain.same_root", expected=documents.signer.anchor.sha256_public_key,
                got=chain.anchor.sha256_public_key)
    documents.root_crl.check_not_listed(trail, "pck_chain.intermediate", chain.intermediate)
    info = documents.tcb_info
    trail.equal("tcb_info.fmspc", expected=chain.extensions.fmspc, got=info.fmspc)
    trail.equal("tcb_info.pce_id", expected=chain.extensions.pce_id, got=info.pce_id)
    outcome, current = dcap_tcb.match(trail, info, chain, dcap_tcb.check_qe(trail, enclave, documents.qe_identity), tcb)
    status = intel_tcb.relaunch(outcome, current) if current else outcome.status
    try:
        pck_crl = _judged_pck_crl(trail, chain, collateral, at, prepared)
    except MissingCollateral as error:  # not decided, but how the TCB stands is told
        raise error.at_standing(status.value, outcome.advisory_ids) from None
    pck_crl.check_not_listed(trail, "pck_chain.leaf", chain.leaf)
    return JudgedPlatform(trail.own_checks, documents.window.meet(pck_crl.window), status, outcome, current, documents,
                          pck_crl)


def _judged_pck_crl(trail: Trail, chain: PckChain, collateral: IntelCollateral, at: int,
                    prepared: Prepared) -> RevocationList:
    data = needed(collateral.pck_crl, "pck_crl")
    key = (trail.prefix, chain.intermediate.fingerprint(SHA256()), chain.anchor.sha256_certificate,
           hashlib.sha256(data).digest())

    def judge(own: Trail) -> JudgedPckCrl:
        crl = intel.verify_pck_crl(own, data, chain, at)
        return JudgedPckCrl(own.own_checks, crl.window, crl)
    return prepared.establish(trail, JudgedPckCrl, key, at, judge).crl
