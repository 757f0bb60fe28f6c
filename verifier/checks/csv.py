"""Hygon's rules about an attestation report.

    1  the report and the PEK in it say what they are           report.sig_*, pek.*
    2  the report is signed by that PEK                         report.signature
    3  nothing reserved is used; the signer arrived whole       report.*
    4  the PEK under CEK, HSK and a trusted HRK                 chain.root, hsk.*, cek.*, pek.signature

Step 4 looks at nothing of the report but the PEK, so what it establishes is kept under the digest of its certificate
and of every other one and root. It comes last: a report whose signature does not hold is refused even where the chain
above its PEK is not at hand. Source: Hygon's published structures and verification order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import HygonCollateral
from verifier.endorsements.hygon import Chain, HygonKey, check_signature, read_pek, read_supplied, verify_chain
from verifier.endorsements.roots import Roots
from verifier.endorsements.sm2 import hmac_sm3
from verifier.endorsements.window import ALWAYS, Window
from verifier.formats.csv_report import CsvReport
from verifier.formats.hygon_cert import ALGORITHM_SM2_SIGNATURE, CsvCertificate, Usage
from verifier.trail import Check, Trail

# Letters and digits, then NULs; nothing but NULs where it was not told.
_SERIAL_NUMBER = re.compile(rb"[0-9A-Za-z]*\x00*\Z")


@dataclass(frozen=True, slots=True)
class Endorsed:
    """Step 4: a PEK that Hygon vouches for, and the checks that say so. Hygon's certificates have no dates."""

    checks: tuple[Check, ...]
    chain: Chain
    window: Window = ALWAYS


def check_report(trail: Trail, report: CsvReport) -> HygonKey:
    """Steps 1 to 3. The PEK's certificate came with the report and nobody vouches for it yet."""
    info = report.info
    trail.equal("report.sig_usage", expected=int(Usage.PEK), got=info.sig_usage)
    trail.equal("report.sig_algo", expected=ALGORITHM_SM2_SIGNATURE, got=info.sig_algo)
    pek = read_pek(trail, CsvCertificate.from_bytes(report.signer.pek))
    check_signature(trail, "report.signature", pek.public_key, pek.user_id, report.signed_bytes, info.signature_r,
                    info.signature_s)
    if report.version > 1:
        _zero(trail, "report.reserved_0c2", info.reserved_0c2)
        _zero(trail, "report.reserved_170", info.reserved_170)
    trail.require("report.serial_number", _SERIAL_NUMBER.match(report.signer.serial_number) is not None,
                  "must be letters and digits, then NULs", got=report.signer.serial_number)
    _check_mac(trail, report)
    return pek


def _check_mac(trail: Trail, report: CsvReport) -> None:
    """Whoever has the report has the key of this HMAC: it guards the way from firmware to guest and proves nothing."""
    if report.as_firmware_wrote_it:
        trail.equal("report.mac", expected=hmac_sm3(report.info.mnonce, report.maced_bytes), got=report.signer.mac,
                    detail="the HMAC of the signer under mnonce")
    else:
        trail.passed("report.mac", "the guest library has checked and undone it")


def endorse(trail: Trail, pek: HygonKey, certificates: Sequence[bytes], collateral: HygonCollateral | None,
            roots: Roots, at: int, prepared: Prepared) -> Endorsed:
    """Step 4. ``certificates`` came with the evidence. Raises `MissingCollateral` without a CEK or its HSK."""
    supplied = collateral or HygonCollateral()
    name = (trail.prefix, pek.certificate.to_bytes(), roots.digest, supplied.digest,
            HygonCollateral(tuple(certificates)).digest)

    def judge(own: Trail) -> Endorsed:
        readable = read_supplied(own, certificates, supplied.certificates)
        chain = verify_chain(own, pek, readable, roots)
        return Endorsed(own.own_checks, chain)
    return prepared.establish(trail, Endorsed, name, at, judge)


def _zero(trail: Trail, rule: str, value: bytes) -> None:
    clean = not any(value)
    trail.require(rule, clean, "reserved bytes must be zero", got=None if clean else value)
