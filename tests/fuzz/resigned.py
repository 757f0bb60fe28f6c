"""Evidence whose signed part says anything at all, truly signed by the software makers' own keys.

What stands behind a signature is read by recipes that trust it: whatever it says, they must come to a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.fuzz import seeds
from tests.fuzz.harness import pack, unpack
from tests.fuzz.scenes import scene
from verifier.errors import MalformedEvidence
from verifier.evidence import Evidence, Tee
from verifier.formats import az_json, nvidia_json
from verifier.formats.az_tdx_json import evidence_of
from verifier.formats.cca_token import CcaToken
from verifier.formats.cose import CoseSign1
from verifier.formats.csv_report import SIGNED_SIZE as CSV_SIGNED_SIZE
from verifier.formats.csv_report import CsvReport
from verifier.formats.hcl_report import HARDWARE_REPORT_SIZE, REQUEST_TYPE, ClaimsHash, HclReport, ReportType
from verifier.formats.quote import Quote
from verifier.formats.snp_report import SIGNED_SIZE as SNP_SIGNED_SIZE
from verifier.formats.spdm_report import SpdmReport
from verifier.formats.tpm_evidence import TpmEvidence


def _quote(tee: Tee) -> Callable[[bytes], Evidence]:
    def make(signed: bytes) -> Evidence:
        original = scene(tee).evidence
        quote = replace(Quote.from_bytes(original.quote), signed=signed,
                        signature=seeds.tee().intel.attestation_key.sign_raw(signed))
        return replace(original, quote=quote.to_bytes())
    return make


def _snp(signed: bytes) -> Evidence:
    original, body = scene(Tee.SNP).evidence, signed[:SNP_SIGNED_SIZE].ljust(SNP_SIGNED_SIZE, b"\0")
    raw = seeds.tee().amd.leaf_key("vcek").sign_raw(body)
    pair = b"".join(half[::-1].ljust(72, b"\0") for half in (raw[:48], raw[48:]))
    return replace(original, quote=body + pair + original.quote[SNP_SIGNED_SIZE + len(pair):])


def _nitro(payload: bytes) -> Evidence:
    from verifier.software_tee.cose import Message

    return Evidence(Tee.NITRO, Message(payload=payload, signer=seeds.tee().maker(Tee.NITRO).key("leaf")).issue())


def _cca(data: bytes) -> Evidence | None:
    from verifier.software_tee.arm import collection

    parts, maker = unpack(data) or [], seeds.tee().maker(Tee.CCA)
    if len(parts) != 2:
        return None
    signers = (("platform", maker.cpak), ("realm", maker.rak))
    return Evidence(Tee.CCA, collection(*(
        maker._message(name, payload, key) for payload, (name, key) in zip(parts, signers, strict=True))))


def _csv(signed: bytes) -> Evidence | None:
    from verifier.software_tee.sm2 import in_field

    original = scene(Tee.CSV).evidence
    body = signed[:CSV_SIGNED_SIZE].ljust(CSV_SIGNED_SIZE, b"\0")
    try:
        report = CsvReport.from_bytes(body + original.quote[CSV_SIGNED_SIZE:])
    except MalformedEvidence:
        return None
    r, s = seeds.tee().maker(Tee.CSV).key("pek").sign(body)
    info = replace(report.info, signature_r=in_field(r), signature_s=in_field(s))
    return replace(original, quote=replace(report, info=info).to_bytes())


def _tpm(message: bytes) -> Evidence:
    told = TpmEvidence.from_bytes(scene(Tee.TPM).evidence.quote)
    signature = seeds.tee().maker(Tee.TPM).ak.sign(message).to_bytes()
    quote = replace(told.quotes[0], message=message, signature=signature)
    return replace(scene(Tee.TPM).evidence, quote=replace(told, quotes=(quote,)).to_bytes())


def _nvidia(signed: bytes) -> Evidence:
    maker, devices = seeds.tee().maker(Tee.NVIDIA), nvidia_json.read(scene(Tee.NVIDIA).evidence.quote)
    assert isinstance(devices, tuple)
    return nvidia_json.evidence_of(replace(devices[0], report=signed + maker.key("leaf").sign_raw(signed)))


def _azure(data: bytes) -> Evidence | None:
    """Runtime claims in a TD's report data, and the message of the virtual TPM's quote."""
    from verifier.software_tee.azure_parts import tdreport_of

    parts, maker = unpack(data) or [], seeds.tee().maker(Tee.AZ_TDX_VTPM)
    if len(parts) != 2:
        return None
    claims, message = parts
    original = scene(Tee.AZ_TDX_VTPM).evidence
    told = az_json.from_text(original.quote, "td_quote")
    body = maker.vm.image.td_report(ClaimsHash.SHA256.digest(claims).ljust(64, b"\0"), bytes(48))
    report = tdreport_of(body, maker.intel.platform.cpu_svn).to_bytes().ljust(HARDWARE_REPORT_SIZE, b"\0")
    hcl = HclReport(2, REQUEST_TYPE, 0, report, ReportType.TDX, ClaimsHash.SHA256, claims)
    assert told.tpm_quote is not None
    quote = replace(told.tpm_quote, message=message, signature=maker.key("ak").sign(message))
    return evidence_of(az_json.AzureEvidence(
        hcl.to_bytes(), quote, maker.intel.quote(body, version=maker.vm.image.tdx_version)), original.certificates)


def _azure_original() -> bytes:
    told = az_json.from_text(scene(Tee.AZ_TDX_VTPM).evidence.quote, "td_quote")
    assert told.tpm_quote is not None
    return pack((HclReport.from_bytes(told.hcl_report).claims, told.tpm_quote.message))


def _cca_original() -> bytes:
    token = CcaToken.from_bytes(scene(Tee.CCA).evidence.quote)
    return pack((token.platform.payload, token.realm.payload))


def _nvidia_original() -> bytes:
    devices = nvidia_json.read(scene(Tee.NVIDIA).evidence.quote)
    assert isinstance(devices, tuple)
    return SpdmReport.from_bytes(devices[0].report).signed_bytes


# How evidence is made of what is to be signed (None: it cannot be), and what the makers themselves signed.
RESIGNED: dict[Tee, tuple[Callable[[bytes], Evidence | None], Callable[[], bytes]]] = {
    Tee.TDX: (_quote(Tee.TDX), lambda: Quote.from_bytes(scene(Tee.TDX).evidence.quote).signed),
    Tee.SGX: (_quote(Tee.SGX), lambda: Quote.from_bytes(scene(Tee.SGX).evidence.quote).signed),
    Tee.SNP: (_snp, lambda: scene(Tee.SNP).evidence.quote[:SNP_SIGNED_SIZE]),
    Tee.AZ_TDX_VTPM: (_azure, _azure_original),
    Tee.TPM: (_tpm, lambda: TpmEvidence.from_bytes(scene(Tee.TPM).evidence.quote).quotes[0].message),
    Tee.NITRO: (_nitro, lambda: CoseSign1.from_bytes(scene(Tee.NITRO).evidence.quote, "nitro").payload),
    Tee.CCA: (_cca, _cca_original),
    Tee.CSV: (_csv, lambda: CsvReport.from_bytes(scene(Tee.CSV).evidence.quote).signed_bytes),
    Tee.NVIDIA: (_nvidia, _nvidia_original),
}
