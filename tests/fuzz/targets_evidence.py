"""Evidence as guests send it and as people keep it: JSON of every TEE, loose folders, descriptions of recordings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

from tests.fuzz import seeds
from tests.fuzz.harness import EVIDENCE, MALFORMED, SETUP, Finding, Property, Target, of_file, pack_files, unpack_files
from tests.fuzz.seeds import lazily, made, many, recorded, within
from verifier.errors import EvidenceError, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats import az_json, az_snp_json, coco_evidence, nvidia_json, snp_serde
from verifier.formats.hcl_report import ClaimsHash, HclReport, ReportType
from verifier.formats.strict import json_object
from verifier.loose.folder import MODULES
from verifier.recording import Recording

_LASTS = {Tee.AZ_SNP_VTPM: "vcek", Tee.AZ_TDX_VTPM: "td_quote"}
_SEEDS_PER_TEE: dict[Tee, seeds.Bytes] = {
    Tee.TDX: recorded("tdx/*/evidence.json"), Tee.SNP: recorded("snp/*/evidence*.json", "snp/*/*.json"),
    Tee.AZ_SNP_VTPM: recorded("azure/*/evidence*.json", "azure/*/milan*.json", "azure/*/attestation.json"),
    Tee.AZ_TDX_VTPM: recorded("azure/*/evidence*.json", "azure/*/live*.json"),
    Tee.TPM: recorded("tpm/*/evidence.json"), Tee.CCA: recorded("cca/*/evidence.json"),
    Tee.CSV: recorded("csv/*/evidence.json"), Tee.NVIDIA: recorded("nvidia/*/*.json"),
}


def _json(tee: Tee) -> Target:
    """The JSON form of one TEE: read, written, and read as the same evidence."""
    def parse(data: bytes) -> Evidence:
        return coco_evidence.evidence_from_json(tee, json_object(data, "evidence"))

    def same(_: bytes, found: Evidence) -> None:
        try:
            told = coco_evidence.evidence_to_json(found)
        except EvidenceError:
            return  # documented for what a form cannot carry
        again = coco_evidence.evidence_from_json(tee, json.loads(json.dumps(told)))
        if again != found and tee is not Tee.SNP:  # whose form cannot name every kind of certificate
            raise Finding("evidence that was written is read as other evidence")

    return Target(f"evidence.json_{tee.value.replace('-', '_')}", parse, EVIDENCE,
                  lazily(lambda: _forms(tee)), (same,), brief_runs=600)


def _forms(tee: Tee) -> Iterator[bytes]:
    if tee is Tee.SNP:
        for report in made("snp/*/report.bin")():
            with suppress(EvidenceError):
                yield seeds.as_json(coco_evidence.evidence_to_json(Evidence(tee, report)))
            yield seeds.as_json({"attestation_report": report, "cert_chain": None})
    elif tee is Tee.SAMPLE:
        yield b'{"svn": "1", "report_data": "AAAA"}'
    elif tee is Tee.AZ_SNP_VTPM:
        yield seeds.as_json(coco_evidence.evidence_to_json(_az_snp()))
    else:
        yield seeds.as_json(coco_evidence.evidence_to_json(seeds.evidence(tee)))
    yield from _SEEDS_PER_TEE.get(tee, tuple)()


@cache
def _az_snp() -> Evidence:
    """In the shape of Azure's on SEV-SNP: the TPM quote of the other maker's machine, whose keys are made sooner."""
    folder = seeds.RECORDINGS / "snp" / "accepted-v3-milan-vcek"
    other = az_json.from_text(seeds.evidence(Tee.AZ_TDX_VTPM).quote, "td_quote")
    claims = HclReport.from_bytes(other.hcl_report).claims
    report = HclReport(1, 2, 0, (folder / "report.bin").read_bytes(), ReportType.SNP, ClaimsHash.SHA256, claims)
    told = az_json.AzureEvidence(report.to_bytes(), other.tpm_quote, (folder / "vcek.der").read_bytes())
    return az_snp_json.evidence_of(told)


def _raw_or_json(data: bytes) -> Evidence:
    return coco_evidence.read(data)


def _assemble(tee: Tee) -> Target:
    """The files of a loose folder, by the names that its TEE's module reads."""
    room = import_module(MODULES[tee])
    errors = (*EVIDENCE, *SETUP) if tee is Tee.NITRO else EVIDENCE

    def parse(data: bytes) -> Evidence | None:
        files = unpack_files(data, room.NAMES)
        found: Evidence | None = room.assemble(files) if files else None
        return found

    return Target(f"evidence.loose_{tee.value.replace('-', '_')}", parse, errors,
                  lazily(lambda: _folders(room.NAMES, tee)), (_is(tee),), brief_runs=400)


def _is(tee: Tee) -> Property:
    def check(_: bytes, found: Evidence | None) -> None:
        if found is not None and found.tee is not tee:
            raise Finding(f"a folder of {tee} holds evidence of {found.tee}")
    return check


def _folders(names: Sequence[str], tee: Tee) -> Iterator[bytes]:
    """Recorded folders, with the files of these names only; and, for a file of one piece, the software evidence."""
    room = {Tee.AZ_SNP_VTPM: "azure", Tee.AZ_TDX_VTPM: "azure"}.get(tee, tee.value)
    for folder in sorted((seeds.RECORDED / room).glob("*")):
        files = [(name, path.read_bytes()) for name in names for path in sorted(folder.glob(name))[:4]]
        if files and sum(len(data) for _, data in files) <= seeds.MAX_SEED_BYTES:
            yield pack_files(files)
    if tee in _LASTS:
        told = az_json.from_text((_az_snp() if tee is Tee.AZ_SNP_VTPM else seeds.evidence(tee)).quote, _LASTS[tee])
        assert told.tpm_quote is not None
        yield pack_files([
            ("hcl_report.bin", told.hcl_report), ("tpm_quote.msg", told.tpm_quote.message),
            ("tpm_quote.sig", told.tpm_quote.signature), ("vcek.der", told.endorsement or b""),
            ("td_quote.bin", told.endorsement or b""),
            ("pcrs_sha256.json", json.dumps([pcr.hex() for pcr in told.tpm_quote.pcrs]).encode())])
    if tee is Tee.NVIDIA:
        (device,) = nvidia_json.read(seeds.evidence(tee).quote)
        yield pack_files([("report.bin", device.report), ("cert_chain.pem", device.chain)])
    if tee in (Tee.NITRO, Tee.CCA):
        yield pack_files([(names[0], seeds.evidence(tee).quote)])
    if tee in (Tee.CSV, Tee.TPM):
        yield pack_files([("evidence.json", seeds.as_json(coco_evidence.evidence_to_json(seeds.evidence(tee))))])


def _canonical(tee: Tee) -> Target:
    """The canonical text of Azure's evidence, which is `Evidence.quote`."""
    last = _LASTS[tee]
    return Target(
        f"evidence.canonical_{tee.value.replace('-', '_')}", lambda data: az_json.from_text(data, last), MALFORMED,
        within(lazily(lambda: _forms(tee)), lambda data: [coco_evidence.evidence_from_json(
            tee, json_object(data, "evidence")).quote], EvidenceError),
        (lambda _, found: _require_equal(az_json.from_text(az_json.to_text(found, last), last), found),),
        brief_runs=400)


def _require_equal(again: object, found: object) -> None:
    if again != found:
        raise Finding("what was written is read as something else")


def _recording(description: Path) -> Recording:
    """A recording without collateral; what its description says is up to the fuzzer."""
    report = description.with_name("report.bin")
    if not report.exists():
        report.write_bytes((seeds.RECORDINGS / "snp/accepted-v3-milan-vcek/report.bin").read_bytes())
    return Recording.load(description.parent)


TARGETS = (
    *map(_json, Tee),
    *map(_assemble, MODULES),
    *map(_canonical, _LASTS),
    Target("evidence.nvidia_quote", nvidia_json.read, MALFORMED, lazily(lambda: _forms(Tee.NVIDIA))),
    Target("evidence.raw_or_json", _raw_or_json, EVIDENCE, many(
        recorded("*/*/report.bin", "*/*/quote.bin", "*/*/attestation_doc.cbor", "*/*/token.cbor", "*/*/evidence.json"),
        lazily(lambda: (form for tee in (Tee.TDX, Tee.TPM, Tee.CSV, Tee.SAMPLE) for form in _forms(tee))))),
    Target("evidence.recording", of_file("recording/recording.json", _recording), (*EVIDENCE, *SETUP),
           made("*/*/recording.json")),
    Target("evidence.snp_structure", lambda data: snp_serde.report_bytes(json_object(data, "report")), EVIDENCE,
           within(lazily(lambda: _forms(Tee.SNP)), lambda data: [seeds.as_json(
               json_object(data, "evidence")["attestation_report"])], EvidenceError, KeyError),
           (lambda _, report: _structure_again(report),), brief_runs=600),
)


def _structure_again(report: bytes) -> None:
    """A report that the modern structure carries is that structure's report."""
    try:
        told = snp_serde.report_structure(report)
    except VerifierError:
        return
    _require_equal(snp_serde.report_bytes(told), report)
