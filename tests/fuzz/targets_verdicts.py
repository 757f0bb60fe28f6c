"""Whole verifications: `verifier.verify`, for the evidence of every TEE.

Three ways in. ``verdicts.<tee>``: the evidence is altered; it may be called authentic only if what was signed is, byte
for byte, what the maker signed. ``verdicts.<tee>_signed``: what is signed is altered and signed again by the maker's
own keys, so that what stands behind the signature is read too. ``verdicts.<tee>_collateral``: the endorsements are
altered. Whatever comes, the answer is a verdict, and never that the verifier itself failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any

from tests.fuzz import seeds
from tests.fuzz.harness import Finding, Target, never, pack, unpack
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import (
    AmdCollateral,
    Collateral,
    HygonCollateral,
    IntelCollateral,
    NvidiaCollateral,
    TpmCollateral,
)
from verifier.endorsements.roots import Roots
from verifier.errors import EvidenceError, VerifierError
from verifier.evidence import Binding, Evidence, Tee
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
from verifier.tees.base import Context
from verifier.tees.registry import RECIPES, recipe_for
from verifier.trail import Trail
from verifier.verify import inspect, verify

for _home in RECIPES.values():  # what a verification loads when it is first needed, loaded now and so instrumented
    import_module(_home.partition(":")[0])

AT = seeds.AT + 10
_MAX_CERTIFICATES = 16


@dataclass(frozen=True)
class Scene:
    """Evidence that is authentic here, and all that it is judged by."""

    evidence: Evidence
    collateral: Collateral
    roots: Roots
    prepared: Prepared
    at: int = AT

    def judge(self, evidence: Evidence | None = None, collateral: Collateral | None = None) -> Verdict:
        """The verdict; raises `Finding` where the verifier failed, with the reason as its cause."""
        judged, beside = evidence or self.evidence, collateral or self.collateral
        prepared = self.prepared if collateral is None else Prepared(0)
        verdict = verify(judged, collateral=beside, roots=self.roots, at=self.at,
                         binding=Binding.insecure_unbound(), prepared=prepared)
        if verdict.error is not None and verdict.error.id == "verifier.internal":
            self._fail(judged, beside)
        verdict.to_dict()
        return verdict

    def _fail(self, evidence: Evidence, collateral: Collateral) -> None:
        recipe = recipe_for(evidence.tee)
        try:
            quote = recipe.parse(evidence)
            with_quote = recipe.inspect(quote)
            context = Context(collateral, self.roots, self.at, Trail(evidence.tee.value), Prepared(0))
            recipe.verify(quote, context)
        except VerifierError:
            raise Finding("the verifier failed, and does not when asked again") from None
        except Exception as error:
            raise Finding(f"the verifier itself failed: {type(error).__name__}") from error
        raise Finding(f"the verifier failed after the recipe ({sorted(with_quote)[:3]})")


@cache
def scene(tee: Tee) -> Scene:
    """One per TEE, of the software makers; SEV-SNP's is a recording of the project, whose keys take long to make."""
    if tee is Tee.SNP:
        from verifier.recording import Recording

        kept = Recording.load(seeds.RECORDINGS / "snp" / "accepted-v3-milan-vcek")
        certificates = tuple((seeds.RECORDINGS / "snp/accepted-v3-milan-vcek" / name).read_bytes()
                             for name in ("vcek.der", "ask.der"))
        assert kept.at is not None
        evidence = replace(kept.evidence, certificates=certificates)
        return Scene(evidence, kept.collateral, kept.roots, Prepared(), kept.at)
    roots = Roots.only_software(_roots(tee))
    if tee is Tee.SAMPLE:
        evidence = Evidence(tee, b'{"svn": "1", "report_data": "AAAA"}')
        return Scene(evidence, Collateral.none(), roots.with_insecure_sample(), Prepared())
    evidence = seeds.evidence(tee)
    if tee is Tee.TDX:
        evidence = _with_log()
    return Scene(evidence, _collateral(tee), roots, Prepared())


def _with_log() -> Evidence:
    """A TD with its event log."""
    from verifier.software_tee.event_log import SoftwareLog

    log = SoftwareLog()
    found: Evidence = seeds.tee().evidence("tdx", bytes(64), guest=log.guest(), event_log=log.to_bytes())
    return found


def _roots(tee: Tee) -> list[bytes]:
    if tee is Tee.SAMPLE:
        return []
    made = seeds.tee()
    return [made.intel.chain("root")] if tee in (Tee.TDX, Tee.SGX) else list(made.maker(tee).roots().values())


def _collateral(tee: Tee) -> Collateral:
    made = seeds.tee()
    if tee in (Tee.TDX, Tee.SGX):
        return Collateral(intel=IntelCollateral(**made.intel_collateral(tee)))
    if tee is Tee.AZ_TDX_VTPM:
        return Collateral(intel=IntelCollateral(**made.intel_collateral("tdx")))
    if tee is Tee.AZ_SNP_VTPM:
        return Collateral(amd=AmdCollateral((made.amd.certificate("ask"), made.amd.certificate("ark")),
                                            (made.amd.crl,)))
    if tee is Tee.NVIDIA:
        return Collateral(nvidia=NvidiaCollateral(**made.maker(tee).collateral()))
    if tee is Tee.TPM:
        return Collateral(tpm=TpmCollateral(**made.maker(tee).collateral()))
    if tee is Tee.CSV:
        return Collateral(hygon=HygonCollateral(tuple(made.maker(tee).collateral_files().values())))
    return Collateral.none()


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
              else (report.hardware_report[:1024], Quote.from_bytes(told.endorsement or b"").signed))
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
        if verdict.authentic and tee in SIGNED and not _vouched_by_nobody(verdict):
            _compare(tee, evidence, verdict)
        return verdict

    return Target(f"verdicts.{_name(tee)}", run, never(), lambda: [_packed(scene(tee).evidence)],
                  brief_runs=60 if tee in (Tee.CSV, Tee.NVIDIA) else 150)


def _compare(tee: Tee, evidence: Evidence, verdict: Verdict) -> None:
    original = scene(tee)
    if SIGNED[tee](evidence) != SIGNED[tee](original.evidence):
        raise Finding("authentic, and what is signed is not what was signed")
    expected = original.judge().claims
    assert verdict.claims is not None
    assert expected is not None
    if tee is not Tee.CSV and (verdict.claims.report_data, verdict.claims.init_data) != (
            expected.report_data, expected.init_data):
        raise Finding("authentic, and it binds something else than was signed")


def _vouched_by_nobody(verdict: Verdict) -> bool:
    """Evidence under a key of its own making is told apart by its flag, which refuses."""
    flags = () if verdict.claims is None else verdict.claims.flags
    return any(flag.endswith("_UNPROVEN") for flag in flags)


def _name(tee: Tee) -> str:
    return tee.value.replace("-", "_")


# -- what is signed altered, and signed again -------------------------------------------------------------------------


def _resigned_nitro(payload: bytes) -> Evidence:
    from verifier.software_tee.cose import Message

    return Evidence(Tee.NITRO, Message(payload=payload, signer=seeds.tee().maker(Tee.NITRO).key("leaf")).issue())


def _resigned_cca(parts: list[bytes]) -> Evidence:
    from verifier.software_tee.arm import collection

    maker = seeds.tee().maker(Tee.CCA)
    platform, realm = (maker._message(name, payload, signer) for name, payload, signer in (
        ("platform", parts[0], maker.cpak), ("realm", parts[1], maker.rak)))
    return Evidence(Tee.CCA, collection(platform, realm))


def _resigned_quote(tee: Tee, signed: bytes) -> Evidence:
    maker = seeds.tee().intel
    original = Quote.from_bytes(scene(tee).evidence.quote)
    quote = replace(original, signed=signed, signature=maker.attestation_key.sign_raw(signed))
    return Evidence(tee, quote.to_bytes(), event_log=scene(tee).evidence.event_log)


def _resigned_tpm(message: bytes) -> Evidence:
    maker, told = seeds.tee().maker(Tee.TPM), TpmEvidence.from_bytes(scene(Tee.TPM).evidence.quote)
    quote = replace(told.quotes[0], message=message, signature=maker.ak.sign(message).to_bytes())
    return replace(scene(Tee.TPM).evidence, quote=replace(told, quotes=(quote,)).to_bytes())


def _resigned_nvidia(signed: bytes) -> Evidence:
    maker = seeds.tee().maker(Tee.NVIDIA)
    (device,) = nvidia_json.read(scene(Tee.NVIDIA).evidence.quote)
    return nvidia_json.evidence_of(replace(device, report=signed + maker.key("leaf").sign_raw(signed)))


RESIGNED: dict[Tee, tuple[Callable[[bytes], Evidence], Callable[[], Any]]] = {
    Tee.TDX: (lambda data: _resigned_quote(Tee.TDX, data), lambda: SIGNED[Tee.TDX](scene(Tee.TDX).evidence)),
    Tee.SGX: (lambda data: _resigned_quote(Tee.SGX, data), lambda: SIGNED[Tee.SGX](scene(Tee.SGX).evidence)),
    Tee.NITRO: (_resigned_nitro, lambda: CoseSign1.from_bytes(scene(Tee.NITRO).evidence.quote, "nitro").payload),
    Tee.CCA: (lambda data: _resigned_cca(((unpack(data) or []) + [b"", b""])[:2]), lambda: pack(
        half.payload for token in [CcaToken.from_bytes(scene(Tee.CCA).evidence.quote)]
        for half in (token.platform, token.realm))),
    Tee.TPM: (_resigned_tpm, lambda: TpmEvidence.from_bytes(scene(Tee.TPM).evidence.quote).quotes[0].message),
    Tee.NVIDIA: (_resigned_nvidia, lambda: SpdmReport.from_bytes(
        nvidia_json.read(scene(Tee.NVIDIA).evidence.quote)[0].report).signed_bytes),
}


def _signed(tee: Tee) -> Target:
    make, original = RESIGNED[tee]

    def run(data: bytes) -> Verdict:
        return scene(tee).judge(make(data))

    return Target(f"verdicts.{_name(tee)}_signed", run, never(), lambda: [original()],
                  brief_runs=60 if tee is Tee.NVIDIA else 150)


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
