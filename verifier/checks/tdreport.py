"""A TDREPORT: consistent in itself, and the one that a TD quote was made from.

    1  its type, and nothing reserved is used                       tdreport.type, tdreport.reserved_*
    2  the two hashes in its MAC'd part are those of the parts      tdreport.tee_tcb_info_hash, .td_info_hash
    3  the TD quote says the same, field by field                   td_quote.*

Its MAC cannot be checked away from the processor that made it. What is believed of a TDREPORT is therefore what a
verified TD quote repeats; CPUSVN, the MAC and the bitmap of valid fields are not repeated and not used.
"""

from __future__ import annotations

from verifier.formats.td_report import BASE_FIELDS, TdReport
from verifier.formats.tdreport import TYPE_TDX, VERSION, VERSION_SERVICE_TD, TdreportStruct, part_hash
from verifier.trail import Trail

_FIELDS_15 = ("tee_tcb_svn2", "mr_service_td")


def check_consistent(trail: Trail, report: TdreportStruct) -> None:
    """Steps 1 and 2."""
    version = VERSION_SERVICE_TD if any(report.mr_service_td) else VERSION
    trail.equal("tdreport.type", expected=bytes((TYPE_TDX, 0, version, 0)), got=report.report_type,
                detail="the report must be a TD's, and its version say whether a service TD is bound")
    for name, value in report.reserved:
        trail.require(f"tdreport.{name}", not any(value), "reserved bytes must be zero", got=value if any(value) else
                      None)
    trail.equal("tdreport.tee_tcb_info_hash", expected=part_hash(report.tee_tcb_info), got=report.tee_tcb_info_hash)
    trail.equal("tdreport.td_info_hash", expected=part_hash(report.td_info), got=report.td_info_hash)


def check_quoted(trail: Trail, report: TdreportStruct, body: TdReport) -> None:
    """Step 3; ``body`` is the TD quote's. The fields of TD 1.5 are compared where the quote has them."""
    for name in BASE_FIELDS:
        trail.equal(f"td_quote.{name}", expected=getattr(report, name), got=getattr(body, name),
                    detail="the TD quote must have been made from this TDREPORT")
    if body.v15 is not None:
        for name in _FIELDS_15:
            trail.equal(f"td_quote.{name}", expected=getattr(report, name), got=getattr(body.v15, name),
                        detail="the TD quote must have been made from this TDREPORT")
