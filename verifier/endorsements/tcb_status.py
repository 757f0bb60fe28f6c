"""Intel's TCB statuses and levels, shared by TCB info, TDX module identities and enclave identities.

Source: Intel "PCS API v4", TCB info and enclave identity schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TcbStatus(StrEnum):
    """Every status that Intel's documents state or its algorithm computes; anything else is refused."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    # computed for a TD that survived a module update, never stated in a document
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"


STATED = frozenset(status for status in TcbStatus if not status.value.startswith("TDRelaunch"))
# What a component (quoting enclave, TDX module) may be said to be.
OF_COMPONENTS = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED})


@dataclass(frozen=True, slots=True)
class SvnLevel:
    """A level of an enclave or module identity: from ``isv_svn`` on. ``date`` is RFC 3339 as stated."""

    isv_svn: int
    status: TcbStatus
    date: str
    advisory_ids: tuple[str, ...]


def level_for(levels: tuple[SvnLevel, ...], isv_svn: int) -> SvnLevel | None:
    """The highest level not above ``isv_svn``; None when all are above. ``levels`` are in descending order."""
    return next((level for level in levels if level.isv_svn <= isv_svn), None)
