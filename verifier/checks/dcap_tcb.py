"""Where a platform stands by Intel's documents: the quoting enclave, the TDX module and the TCB levels together.

Step 8 of `verifier.checks.dcap` and the part of its step 7 that is about enclaves. The documents have verified before.
Source: Intel PCS API v4 (TCB info, QE identity); "TDX DCAP Quote Generation and Verification".
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.checks import intel_tcb
from verifier.checks.intel_tcb import TcbOutcome
from verifier.endorsements.intel import PckChain
from verifier.endorsements.qe_identity import QeIdentity
from verifier.endorsements.tcb_info import TcbInfo
from verifier.endorsements.tcb_status import SvnLevel, level_for
from verifier.errors import CheckFailed
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import Quote
from verifier.trail import Trail

# The status told when the maker publishes no level that the platform reaches.
NOT_SUPPORTED = "NotSupported"


@dataclass(frozen=True, slots=True)
class TeeTcb:
    """What of a TD report enters TCB matching; all None for SGX, ``current`` None before TD 1.5."""

    launched: bytes | None = None
    current: bytes | None = None
    mr_signer_seam: bytes | None = None
    seam_attributes: bytes | None = None

    @classmethod
    def of(cls, quote: Quote) -> TeeTcb:
        """Of the quote's report body."""
        body = quote.body
        if isinstance(body, EnclaveReport):
            return cls()
        return cls(body.tee_tcb_svn, body.v15.tee_tcb_svn2 if body.v15 else None, body.mr_signer_seam,
                   body.seam_attributes)


def match(trail: Trail, info: TcbInfo, chain: PckChain, qe: SvnLevel | None,
          tcb: TeeTcb) -> tuple[TcbOutcome, TcbOutcome | None]:
    """Step 8, at launch and (TD 1.5) at quote time. A platform that reaches no level is ``NotSupported``."""
    try:
        if qe is None:
            raise trail.fail("tcb.qe_level", "the quoting enclave is below every published level")
        outcome = _outcome(trail, "tcb", info, chain, qe, tcb, tcb.launched)
        current = None
        if tcb.current is not None:
            current = _outcome(trail, "tcb_current", info, chain, qe, tcb, tcb.current)
    except CheckFailed as error:
        raise error.at_standing(NOT_SUPPORTED) if error.id.endswith("level") else error from None
    return outcome, current


def check_qe(trail: Trail, report: EnclaveReport, identity: QeIdentity) -> SvnLevel | None:
    """The quoting enclave is the one that Intel published, and not a debug build of it; its level, if any."""
    trail.equal("qe_identity.miscselect", expected=identity.misc_select,
                got=_and(report.misc_select.to_bytes(4, "little"), identity.misc_select_mask))
    trail.equal("qe_identity.attributes", expected=identity.attributes,
                got=_and(report.attributes, identity.attributes_mask))
    trail.require("qe_identity.debug", not report.debug, "the quoting enclave runs in debug mode",
                  got=report.attributes)
    trail.equal("qe_identity.mrsigner", expected=identity.mr_signer, got=report.mr_signer)
    trail.equal("qe_identity.isvprodid", expected=identity.isv_prod_id, got=report.isv_prod_id)
    level = level_for(identity.levels, report.isv_svn)
    if level is not None:
        trail.passed("tcb.qe_level", f"the quoting enclave is {level.status.value}", got=report.isv_svn)
    return level


def _and(value: bytes, mask: bytes) -> bytes:
    return bytes(a & b for a, b in zip(value, mask, strict=True))


def _outcome(trail: Trail, rule: str, info: TcbInfo, chain: PckChain, qe: SvnLevel, tcb: TeeTcb,
             tee_tcb_svn: bytes | None) -> TcbOutcome:
    module = None
    if tee_tcb_svn is not None:
        module = _check_module(trail, rule, info, tcb, tee_tcb_svn)
    platform = intel_tcb.match_platform(trail, f"{rule}.level", info, chain.extensions.components,
                                        chain.extensions.pce_svn, tee_tcb_svn)
    return intel_tcb.converge(platform, qe, module)


def _check_module(trail: Trail, rule: str, info: TcbInfo, tcb: TeeTcb, tee_tcb_svn: bytes) -> SvnLevel | None:
    """The TDX module is the one that Intel signed, and its version is known."""
    level = intel_tcb.match_module(trail, f"{rule}.module_level", info, tee_tcb_svn)
    identity = info.module_identity(tee_tcb_svn[1]) if tee_tcb_svn[1] > 0 else info.tdx_module
    if identity is None or tcb.mr_signer_seam is None or tcb.seam_attributes is None:
        raise trail.fail(f"{rule}.module", "TCB info says nothing of the TDX module")
    trail.equal("tdx_module.mrsigner", expected=identity.mr_signer, got=tcb.mr_signer_seam)
    trail.equal("tdx_module.attributes", expected=identity.attributes,
                got=_and(tcb.seam_attributes, identity.attributes_mask))
    trail.equal("tdx_module.seam_attributes", expected=bytes(8), got=tcb.seam_attributes)
    return level
