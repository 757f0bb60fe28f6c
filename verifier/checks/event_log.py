"""A log that came beside signed evidence must explain the registers that the evidence signed.

    1  the log is one of the known forms                              event_log.shape
    2  its digests, in order, give the signed values                  event_log.registers, .bank, .replay.<register>

The order of calls matters: a register value is signed only once the quote or report that holds it has verified. What
comes back reads events as facts (`verifier.eventlog.facts`). A log that does not parse or does not replay refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from verifier.errors import EvidenceError, SetupError
from verifier.eventlog import ccel
from verifier.eventlog.algorithms import BANKS, Algorithm
from verifier.eventlog.events import ParsedLog
from verifier.eventlog.facts import Facts
from verifier.eventlog.registers import CSV, PCRS, TDX
from verifier.eventlog.replay import believe
from verifier.eventlog.tcg import TcgLog
from verifier.trail import Trail

# How many bytes a run-time register has tells whose it is, and so the bank and the index of RTMR0 in the log.
_LAYOUTS = {Algorithm.SHA384.size: (Algorithm.SHA384, TDX, 1), Algorithm.SM3.size: (Algorithm.SM3, CSV, 0)}


def check_ccel(trail: Trail, log: bytes, registers: Mapping[int, bytes]) -> Facts:
    """The log of a confidential guest: CCEL, dstack's JSON, or AAEL text. ``registers``: RTMR number to signed value.

    Values of 48 bytes are Intel's (RTMR0 to 3, SHA-384), of 32 bytes Hygon's (rtmr0 to 4, SM3); a report without such
    registers gives an empty mapping, and then no event can be believed. Every register given must be explained by the
    log, and every event must be of a register given. Raises `CheckFailed`.
    """
    parsed = _parse(trail, log)
    sizes = {len(value) for value in registers.values()} or {Algorithm.SHA384.size}
    if len(sizes) != 1 or not sizes <= set(_LAYOUTS):
        raise SetupError("event_log.registers", "not the registers of a confidential guest", got=sorted(sizes))
    algorithm, layout, first = _LAYOUTS[sizes.pop()]
    values = {number + first: value for number, value in registers.items()}
    if not set(values) <= set(layout.registers):
        raise SetupError("event_log.registers", "there is no such register", got=sorted(registers))
    signed = {algorithm: values} if values else {}
    return Facts.of(believe(trail, parsed, signed, layout))


def check_pcr_log(trail: Trail, log: bytes, banks: Mapping[str, Mapping[int, bytes]], *,
                  required: Collection[int] = ()) -> Facts:
    """A TPM's log. ``banks``: bank name (``sha1``, ``sha256`` …) to PCR number to quoted value.

    PCR 0 to 7 and those in ``required`` must be explained by the log. A higher PCR with events must replay; one that
    holds something without events was extended by an operating system that keeps its own list, and is told as
    unexplained. Events of PCRs that are not quoted are left out. Raises `CheckFailed`.
    """
    parsed = _parse(trail, log)
    trail.require("event_log.form", isinstance(parsed, TcgLog), "the log of a TPM is a TCG log", got=parsed.form)
    trail.require("event_log.quoted", any(banks.values()), "no quoted PCR, so nothing to compare the log with")
    if not set(banks) <= set(BANKS) or not all(set(values) <= set(PCRS.registers) for values in banks.values()):
        raise SetupError("event_log.banks", "there is no such bank or PCR", got=sorted(banks))
    signed = {BANKS[name]: values for name, values in banks.items() if values}
    return Facts.of(believe(trail, parsed, signed, PCRS, required=required))


def _parse(trail: Trail, log: bytes) -> ParsedLog:
    try:
        parsed = ccel.parse(log)
    except EvidenceError as error:
        raise trail.fail("event_log.shape", error.detail, expected=error.expected, got=error.got) from None
    trail.passed("event_log.shape", got=parsed.form)
    return parsed
