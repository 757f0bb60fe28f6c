"""Whole verifications: `verifier.verify`, for the evidence of every TEE.

Three ways in. ``verdicts.<tee>``: the evidence is altered; it may be called authentic only if what was signed is, byte
for byte, what the maker signed. ``verdicts.<tee>_signed``: what is signed is altered and signed again by the maker's
own keys, so that what stands behind the signature is read too. ``verdicts.<tee>_collateral``: the endorsements are
altered. Whatever comes, the answer is a verdict, and never that the verifier itself failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from importlib import import_module
from itertools import islice
from typing import Any

from tests.fuzz.harness import Finding, Target, never, pack, unpack
from tests.fuzz.resigned import RESIGNED
from tests.fuzz.scenes import scene
from verifier.endorsements.collateral import (
    Collateral,
)
from verifier.errors import EvidenceError
from verifier.evidence import Evidence, Tee
from verifier.formats import az_json, nvidia_json
from verifier.formats.cca_token import CcaToken
from verifier.formats.cose import CoseSign1
from verifier.formats.csv_report import CsvReport
from verifier.formats.hcl_report import HclReport
from verifier.formats.quote import Quote
from verifier.formats.snp_report import SnpReport
from verifier.formats.spdm_report import SpdmReport
from verifier.formats.strict import json_object
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.results.verdict import Verdict
from verifier.tees.registry import RECIPES
from verifier.verify import inspect

for _home in RECIPES.values():  # what a verification loads when it is first needed, loaded now and so instrumented
    import_module(_home.partition(":")[0])

_MAX_CERTIFICATES = 16


# -- the evidence altered ---------------------------------------------------------------------------------------------


def _packed(evidence: Evidence) -> bytes:
    return pack((evidence.quote, evidence.event_log or b"", *evidence.certificates))


def _unpacked(tee: Tee, data: bytes) -> Evidence | None:
    parts = unpack(data)
    if parts is None or len(parts) < 2:
        return None
    return Evidence(tee, parts[0], tuple(parts[2:2 + _MAX_CERTIFICATES]), parts[1] or None)


def _hcl_signed(evidence: Evidence, last: str) -> object:
    told = az_json.from_text(evidence.quote, last)
    report = HclReport.from_bytes(told.hcl_report)
    quote = b"" if told.tpm_quote is None else told.tpm_quote.message
    signed = (SnpReport.from_bytes(report.hardware_report).signed_bytes if last == "vcek"
              else Quote.from_bytes(told.endorsement or b"").signed)
    return signed, report.claims, quote


def _devices(evidence: Evidence) -> object:
    found = nvidia_json.read(evidence.quote)
    return {SpdmReport.from_bytes(device.report).signed_bytes for device in found} if isinstance(found, tuple) else None


def _csv_signed(evidence: Evidence) -> bytes:
    if evidence.quote.lstrip()[:1] == b"{":
        from verifier.formats.csv_json import evidence_from_json

        evidence = evidence_from_json(json_object(evidence.quote, "evidence"))
    return CsvReport.from_bytes(evidence.quote).signed_bytes


SIGNED: Mapping[Tee, Callable[[Evidence], object]] = {
    Tee.TDX: lambda evidence: Quote.from_bytes(evidence.quote).signed,
    Tee.SGX: lambda evidence: Quote.from_bytes(evidence.quote).signed,
    Tee.SNP: lambda evidence: SnpReport.from_bytes(evidence.quote).signed_bytes,
    Tee.AZ_SNP_VTPM: lambda evidence: _hcl_signed(evidence, "vcek"),
    Tee.AZ_TDX_VTPM: lambda evidence: _hcl_signed(evidence, "td_quote"),
    Tee.TPM: lambda evidence: {quote.message for quote in TpmEvidence.from_bytes(evidence.quote).quotes},
    Tee.NITRO: lambda evidence: CoseSign1.from_bytes(evidence.quote, "nitro").signed_bytes,
    Tee.CCA: lambda evidence: [half.signed_bytes for token in [CcaToken.from_bytes(evidence.quote)]
                               for half in (token.platform, token.realm)],
    Tee.CSV: _csv_signed, Tee.NVIDIA: _devices,
}

def _evidence(tee: Tee) -> Target:
    """Altered evidence is authentic only where what is signed is the original."""
    def run(data: bytes) -> Verdict | None:
        evidence = _unpacked(tee, data)
        if evidence is None:
            return None
        verdict = scene(tee).judge(evidence)
        if verdict.authentic and tee in SIGNED:
            _compare(tee, evidence, verdict)
        return verdict

    return Target(f"verdicts.{_name(tee)}", run, never(), lambda: [_packed(scene(tee).evidence)],
                  brief_runs=60 if tee in (Tee.CSV, Tee.NVIDIA) else 150)


def _compare(tee: Tee, evidence: Evidence, verdict: Verdict) -> None:
    original = scene(tee)
    expected = original.judge().claims
    assert verdict.claims is not None
    assert expected is not None
    if set(verdict.claims.flags) - set(expected.flags):
        if verdict.accepted:
            raise Finding("something is missing, said so, and accepted")
        return  # a part was left out: a quote, or whoever vouches for the key
    if SIGNED[tee](evidence) != SIGNED[tee](original.evidence):
        raise Finding("authentic, and what is signed is not what was signed")
    if tee is not Tee.CSV and (verdict.claims.report_data, verdict.claims.init_data) != (
            expected.report_data, expected.init_data):
        raise Finding("authentic, and it binds something else than was signed")


def _name(tee: Tee) -> str:
    return tee.value.replace("-", "_")


# -- what is signed altered, and signed again -------------------------------------------------------------------------


def _signed(tee: Tee) -> Target:
    make, original = RESIGNED[tee]

    def run(data: bytes) -> Verdict | None:
        evidence = make(data)
        return None if evidence is None else scene(tee).judge(evidence)

    return Target(f"verdicts.{_name(tee)}_signed", run, never(), lambda: [original()],
                  brief_runs=50 if tee in (Tee.NVIDIA, Tee.CSV) else 150)


# -- the collateral altered -------------------------------------------------------------------------------------------

_MEMBERS = {Tee.TDX: "intel", Tee.SGX: "intel", Tee.SNP: "amd", Tee.TPM: "tpm", Tee.CSV: "hygon", Tee.NVIDIA: "nvidia"}


def _told(collateral: Collateral, member: str) -> bytes:
    """The members of one maker's collateral in order; of lists each item."""
    made = getattr(collateral, member)
    values = [getattr(made, one.name) for one in fields(made)]
    return pack(item for value in values for item in (value if isinstance(value, tuple) else (value or b"",)))


def _read(collateral: Collateral, member: str, data: bytes) -> Collateral | None:
    parts = unpack(data)
    if parts is None:
        return None
    made, rest = getattr(collateral, member), iter(parts)
    found: dict[str, Any] = {}
    for one in fields(made):
        value = getattr(made, one.name)
        found[one.name] = (tuple(islice(rest, len(value))) if isinstance(value, tuple)
                           else next(rest, b"") or None)
    return replace(collateral, **{member: type(made)(**found)})


def _beside(tee: Tee) -> Target:
    """Altered collateral: the evidence is then judged or not, and what is authentic stays what was signed."""
    member = _MEMBERS[tee]

    def run(data: bytes) -> Verdict | None:
        collateral = _read(scene(tee).collateral, member, data)
        return None if collateral is None else scene(tee).judge(collateral=collateral)

    return Target(f"verdicts.{_name(tee)}_collateral", run, never(), lambda: [_told(scene(tee).collateral, member)],
                  brief_runs=40 if tee in (Tee.CSV, Tee.NVIDIA) else 100)


def _inspected(data: bytes) -> object:
    """Any evidence of any TEE, inspected: its first byte chooses."""
    tee = [*Tee][data[0] % len(Tee)] if data else Tee.SAMPLE
    evidence = _unpacked(tee, data[1:])
    return None if evidence is None else inspect(evidence)


def _all_evidence() -> Iterator[bytes]:
    for number, tee in enumerate(Tee):
        yield bytes((number,)) + _packed(scene(tee).evidence)


TARGETS = (
    *map(_evidence, Tee),
    *map(_signed, RESIGNED),
    *map(_beside, _MEMBERS),
    Target("verdicts.inspect", _inspected, (EvidenceError,), _all_evidence, brief_runs=200),
)
