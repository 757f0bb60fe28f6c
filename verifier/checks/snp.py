"""AMD's rules about an attestation report.

    1  the report says how to read it: algorithm, signing key, processor      report.*, product
    2  the endorsement key: chosen, read, chained to a trusted ARK            vcek.* | vlek.*, chain.*, crl.*
    3  the key is this report's: kind, product line, every SPL, chip id       vcek.tcb.*, vcek.chip_id
    4  the report is signed by it                                             report.signature
    5  nothing reserved is used, and what must be so is so                    report.*

Steps 1 to 3 look at nothing of the report but its algorithm, processor, signing key, reported TCB and chip id, so what
they establish is kept under these and the digest of every certificate, list and root. Source: AMD "SEV Secure Nested
Paging Firmware ABI Specification" (56860), ATTESTATION_REPORT; "VCEK Certificate and KDS Interface Specification"
(57230).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verifier.checks.prepared import Prepared, digest_of
from verifier.endorsements.amd import Chain, choose, read_supplied, verify_chain
from verifier.endorsements.amd_vek import EndorsementKey
from verifier.endorsements.collateral import AmdCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import Window
from verifier.errors import CheckFailed, MissingCollateral
from verifier.formats.snp_report import (
    FLAGS_KNOWN,
    PLATFORM_KNOWN,
    POLICY_KNOWN,
    POLICY_MUST_BE_ONE,
    SIGNATURE_ALGO_ECDSA_P384_SHA384,
    TCBS,
    VMPL_HOST,
    ProductLine,
    SigningKey,
    SnpReport,
    TcbLayout,
    product_line,
)
from verifier.trail import Check, Trail

_ECDSA = ec.ECDSA(hashes.SHA384())
_ORDER = ec.SECP384R1().group_order
_SIGNIFICANT = 48

_RESERVED = ("reserved_04c", "reserved_18b", "reserved_1eb", "reserved_1ef", "reserved_208", "reserved_330")
_RESERVED_RULES = tuple(f"report.{name}" for name in _RESERVED)
_TCB_RULES = tuple(f"report.{name}.reserved" for name in TCBS)
_reserved_of = attrgetter(*_RESERVED)


@dataclass(frozen=True, slots=True)
class Endorsed:
    """Steps 1 to 3: a key that may sign reports of one processor at one TCB, and the checks that say so.

    claims: what the verified certificates say. ``hwid`` is a VCEK's, ``csp_id`` a VLEK's; moments are Unix seconds.
    """

    checks: tuple[Check, ...]
    window: Window
    key: EndorsementKey
    chain: Chain
    claims: Mapping[str, Any]


def check_header(trail: Trail, report: SnpReport) -> tuple[SigningKey, ProductLine | None]:
    """Step 1: which kind of key signed, on which line (None in version 2, which does not say)."""
    trail.equal("report.signature_algo", expected=SIGNATURE_ALGO_ECDSA_P384_SHA384, got=report.signature_algo)
    trail.require("report.signing_key", report.signing_key in (SigningKey.VCEK, SigningKey.VLEK),
                  "the report must be signed by a VCEK or a VLEK", expected=[0, 1], got=report.signing_key)
    line = None
    if report.cpuid is not None:
        line = product_line(report.cpuid)
        trail.require("report.cpuid", line is not None, "the processor must be of a known product line",
                      got=f"family {report.cpuid_family:#x} model {report.cpuid_model:#x}")
    return SigningKey(report.signing_key), line


def endorse(trail: Trail, report: SnpReport, certificates: Sequence[bytes], collateral: AmdCollateral | None,
            roots: Roots, at: int, prepared: Prepared) -> Endorsed:
    """Steps 1 to 3. ``certificates`` came with the evidence. Raises `MissingCollateral` without any VCEK or VLEK."""
    supplied = collateral or AmdCollateral()
    name = (trail.prefix, report.signature_algo, report.signing_key, report.cpuid, report.reported_tcb, report.chip_id,
            roots.digest, supplied.digest, digest_of(certificates))
    found = prepared.establish(trail, Endorsed, name, at,
                               lambda own: _endorse(own, report, certificates, supplied, roots, at))
    trail.require("endorsement.validity", found.window.contains(at), "all of the above must hold at the moment",
                  expected=list(found.window), got=at)
    return found


def _endorse(trail: Trail, report: SnpReport, certificates: Sequence[bytes], supplied: AmdCollateral, roots: Roots,
             at: int) -> Endorsed:
    kind, line = check_header(trail, report)
    readable = read_supplied(trail, certificates, supplied.certificates)
    leaf = choose(readable, kind, report.reported_tcb, report.chip_id)
    if leaf is None:
        raise MissingCollateral(f"collateral.amd.{kind.name.lower()}",
                                f"no {kind.name} certificate came with the evidence and none was supplied")
    key = EndorsementKey.of(trail, leaf)
    trail.equal("report.signing_key.certificate", expected=kind.name, got=key.kind.name,
                detail="the report names the kind of key that signed it")
    if line is not None:
        trail.equal("report.cpuid.certificate", expected=line.value, got=key.line.value,
                    detail="the key must belong to the line of the report's processor")
    chain = verify_chain(trail, key, readable, roots, supplied.crls, at)
    _check_tcb(trail, report, key)
    _check_chip(trail, report, key)
    return Endorsed(trail.own_checks, chain.window, key, chain, _claims(report, key, chain))


def _claims(report: SnpReport, key: EndorsementKey, chain: Chain) -> Mapping[str, Any]:
    claims: dict[str, Any] = {
        "product_line": key.line.value, "product_name": key.product_name, "endorsement_key": key.kind.name,
        "chip_id_masked": not any(report.chip_id), "crl_checked": chain.crl_checked,
        "vek": MappingProxyType({
            "serial": f"{key.certificate.serial_number:x}", "struct_version": key.struct_version,
            "root_sha256": chain.anchor.sha256_certificate, "crl_number": chain.crl_number,
            "not_before": key.validity.not_before, "not_after": key.validity.not_after}),
    }
    return MappingProxyType(claims | ({"csp_id": key.csp_id} if key.hwid is None else {"hwid": key.hwid}))


def _check_tcb(trail: Trail, report: SnpReport, key: EndorsementKey) -> None:
    """Every SPL equals its byte of REPORTED_TCB: the key was derived for exactly this TCB."""
    names = TcbLayout.of(key.line).value
    for index, (name, spl, byte) in enumerate(zip(names, key.tcb, report.reported_tcb, strict=True)):
        trail.equal(f"{key.rule}.tcb.{name or f'byte{index}'}", expected=spl, got=byte)


def _check_chip(trail: Trail, report: SnpReport, key: EndorsementKey) -> None:
    """A VCEK is one chip's. A platform may mask CHIP_ID to zeros; the key still says which chip signed."""
    if key.hwid is None:
        return
    if not any(report.chip_id):
        trail.passed("vcek.chip_id", "CHIP_ID is masked", got=report.chip_id)
        return
    trail.equal("vcek.chip_id", expected=key.hwid.ljust(64, b"\x00"), got=report.chip_id)


def check_signature(trail: Trail, report: SnpReport, key: EndorsementKey) -> None:
    """Step 4: ECDSA P-384 with SHA-384 over the first 672 bytes; r and s little-endian in 1..n-1, 48 bytes of 72."""
    r, s = report.signature_r, report.signature_s
    trail.zeros(("report.signature.encoding",), (r[_SIGNIFICANT:] + s[_SIGNIFICANT:],))
    pair = int.from_bytes(r, "little"), int.from_bytes(s, "little")
    trail.require("report.signature.range", all(0 < value < _ORDER for value in pair), "r and s must lie in 1..n-1")
    try:
        key.public_key.verify(encode_dss_signature(*pair), report.signed_bytes, _ECDSA)
    except InvalidSignature:
        raise trail.fail("report.signature", f"the report is not signed by this {key.kind.name}") from None
    trail.passed("report.signature")


def check_report(trail: Trail, report: SnpReport, line: ProductLine) -> None:
    """Step 5, by the report's own version and the processor's line."""
    trail.zeros(_zero_rules(report.version, line, report.author_key_en), _zero_values(report, line))
    _check_words(trail, report)


@cache
def _zero_rules(version: int, line: ProductLine, author_key_en: bool) -> tuple[str, ...]:
    """The rules that `_zero_values` gives values for."""
    return (
        *_RESERVED_RULES,
        *(("report.reserved_188",) if version < 3 else ()),
        *(("report.reserved_1f8",) if version < 5 else ()),
        *_TCB_RULES,
        *(("report.chip_id.reserved",) if line is ProductLine.TURIN else ()),
        *(() if author_key_en else ("report.author_key_digest",)),
    )


def _zero_values(report: SnpReport, line: ProductLine) -> list[bytes]:
    """What must be zero, in the order of `_zero_rules`."""
    values, reserved = [*_reserved_of(report)], TcbLayout.of(line).reserved
    if report.version < 3:
        values.append(bytes((report.cpuid_family, report.cpuid_model, report.cpuid_stepping)))
    if report.version < 5:
        values.append((report.launch_mit_vector | report.current_mit_vector).to_bytes(8, "little"))
    values += [tcb[reserved] for tcb in report.tcbs]
    if line is ProductLine.TURIN:
        values.append(report.chip_id[8:])
    if not report.author_key_en:
        values.append(report.author_key_digest)
    return values


def _check_words(trail: Trail, report: SnpReport) -> None:
    words = report.policy, report.platform_info, report.flags, report.vmpl
    good = _good_words(trail.prefix, *words)
    if good:
        trail.extend(good)
    else:
        _judge_words(trail, *words)


@lru_cache(1024)
def _good_words(prefix: str, policy: int, platform_info: int, flags: int, vmpl: int) -> tuple[Check, ...]:
    """The checks of words that break no rule, none of others. Guests of one kind have the same few, and the same
    objects for them."""
    trail = Trail(prefix)
    try:
        _judge_words(trail, policy, platform_info, flags, vmpl)
    except CheckFailed:
        return ()
    return trail.checks


def _judge_words(trail: Trail, policy: int, platform_info: int, flags: int, vmpl: int) -> None:
    trail.require("report.policy.bit17", bool(policy & POLICY_MUST_BE_ONE), "bit 17 must be one", got=policy)
    _unknown(trail, "report.policy.reserved", policy, POLICY_KNOWN)
    _unknown(trail, "report.platform_info.reserved", platform_info, PLATFORM_KNOWN)
    _unknown(trail, "report.flags.reserved", flags, FLAGS_KNOWN)
    trail.require("report.vmpl", vmpl <= 3 or vmpl == VMPL_HOST, "there is no such privilege level",
                  expected=(0, 1, 2, 3, VMPL_HOST), got=vmpl)


def _unknown(trail: Trail, rule: str, word: int, known: int) -> None:
    trail.require(rule, word & ~known == 0, "no unknown bit may be set", got=word & ~known)
