"""TCB level matching and status convergence, as Intel's quote verification library does them.

Everything here is arithmetic on verified documents. Source: Intel "SGX/TDX DCAP Quote Verification Library", TCB level
selection, TDX module and TD relaunch checks; PCS API v4, "TCB info: determining the status".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verifier.endorsements.tcb_info import TcbInfo, TcbLevel
from verifier.endorsements.tcb_status import SvnLevel, TcbStatus, level_for
from verifier.trail import Trail

S = TcbStatus
_OUT_OF_DATE_FOR = {
    S.UP_TO_DATE: S.OUT_OF_DATE,
    S.SW_HARDENING_NEEDED: S.OUT_OF_DATE,
    S.CONFIGURATION_NEEDED: S.OUT_OF_DATE_CONFIGURATION_NEEDED,
    S.CONFIGURATION_AND_SW_HARDENING_NEEDED: S.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
_FINE_NOW = frozenset(_OUT_OF_DATE_FOR)
_NEEDS_CONFIGURATION = frozenset({S.CONFIGURATION_NEEDED, S.CONFIGURATION_AND_SW_HARDENING_NEEDED,
                                  S.OUT_OF_DATE_CONFIGURATION_NEEDED})


@dataclass(frozen=True, slots=True)
class TcbOutcome:
    """Where a platform stands: the converged status, and the levels it came from (module None without one)."""

    status: TcbStatus
    date: str
    advisory_ids: tuple[str, ...]
    platform: TcbLevel
    qe: SvnLevel
    module: SvnLevel | None = None

    def claims(self) -> dict[str, Any]:
        """By claim name; dates RFC 3339."""
        return {
            "status": self.status.value, "date": self.date, "advisory_ids": self.advisory_ids,
            "platform_status": self.platform.status.value, "platform_date": self.platform.date,
            "qe_status": self.qe.status.value, "qe_date": self.qe.date,
            "module_status": self.module.status.value if self.module else None,
            "module_date": self.module.date if self.module else None,
        }


def match_platform(trail: Trail, rule: str, info: TcbInfo, components: Sequence[int], pce_svn: int,
                   tee_tcb_svn: bytes | None) -> TcbLevel:
    """The first level, in descending order, that the platform reaches in every component.

    tee_tcb_svn: 16 bytes for TDX, None for SGX. When its byte 1 (module major version) is above zero, bytes 0 and 1
    belong to the module identity and are left to `match_module`.
    """
    own = tuple(components)
    skip = 2 if tee_tcb_svn is not None and tee_tcb_svn[1] > 0 else 0
    tdx = tuple(tee_tcb_svn[skip:]) if tee_tcb_svn is not None else ()
    for level in info.levels:
        if pce_svn >= level.pce_svn and _reaches(own, level.sgx_components) and _reaches(
                tdx, level.tdx_components[skip:] if tee_tcb_svn is not None else ()):
            trail.passed(rule, f"the platform reaches a level that is {level.status.value}", got=level.date)
            return level
    raise trail.fail(rule, "the platform reaches no published TCB level", expected="a level not above the platform's",
                     got={"sgx": bytes(own), "pce_svn": pce_svn, "tdx": tee_tcb_svn})


def _reaches(own: tuple[int, ...], demanded: tuple[int, ...]) -> bool:
    return all(have >= want for have, want in zip(own, demanded, strict=True))


def match_module(trail: Trail, rule: str, info: TcbInfo, tee_tcb_svn: bytes) -> SvnLevel | None:
    """The TDX module's level by its minor SVN (byte 0); None when the module predates identities (byte 1 is zero)."""
    if tee_tcb_svn[1] == 0:
        return None
    identity = info.module_identity(tee_tcb_svn[1])
    level = level_for(identity.levels, tee_tcb_svn[0]) if identity else None
    if identity is None or level is None:
        raise trail.fail(rule, "the TDX module reaches no published level", got=tee_tcb_svn[:2],
                         expected=identity.id if identity else f"an identity TDX_{tee_tcb_svn[1]:02X}")
    trail.passed(rule, f"{identity.id} is {level.status.value}", got=level.isv_svn)
    return level


def converge(platform: TcbLevel, qe: SvnLevel, module: SvnLevel | None) -> TcbOutcome:
    """The status of the whole: a revoked or out-of-date component drags the platform's status down."""
    components = [qe, module] if module else [qe]
    stated = [component.status for component in components]
    status = platform.status
    if S.REVOKED in stated:
        status = S.REVOKED
    elif S.OUT_OF_DATE in stated:
        status = _OUT_OF_DATE_FOR.get(status, status)
    used: list[TcbLevel | SvnLevel] = [platform, module, qe] if module else [platform, qe]
    advisories = tuple(dict.fromkeys(a for level in used for a in level.advisory_ids))
    return TcbOutcome(status, min(level.date for level in used), advisories, platform, qe, module)


def relaunch(launched: TcbOutcome, current: TcbOutcome) -> TcbStatus:
    """The status of a TD whose module was updated beneath it (TD 1.5): relaunching helps when only launch is behind.

    A TD that now runs on a revoked module is revoked, however good the one was that launched it.
    """
    if current.status is S.REVOKED:
        return S.REVOKED
    if launched.status not in (S.OUT_OF_DATE, S.OUT_OF_DATE_CONFIGURATION_NEEDED) or current.status not in _FINE_NOW:
        return launched.status
    if launched.status in _NEEDS_CONFIGURATION or current.status in _NEEDS_CONFIGURATION:
        return S.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return S.TD_RELAUNCH_ADVISED
