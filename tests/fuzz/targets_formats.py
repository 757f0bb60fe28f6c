"""Structures that hardware and firmware write: `verifier.formats`, bytes to values and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography import x509

from tests.fuzz import captures, seeds
from tests.fuzz.harness import EVIDENCE, MALFORMED, Target, of_parts, pack, written_again, written_exactly
from tests.fuzz.seeds import lazily, made, many, quote, recorded, these, within
from verifier.errors import EvidenceError
from verifier.formats import cbor, cose_key, der, hygon_cert, hygon_serde, strict, tpm_captures
from verifier.formats.cca_token import CcaToken, PlatformClaims, RealmClaims
from verifier.formats.cose import CoseSign1
from verifier.formats.csv_report import CsvReport
from verifier.formats.dice import COMPOSITE_DEVICE_ID, TCB_INFO, FirmwareIdentity
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.gce_instance import OID as GCE_OID
from verifier.formats.gce_instance import GceInstance
from verifier.formats.hcl_report import HclReport
from verifier.formats.hygon_cert import CaCertificate, CsvCertificate
from verifier.formats.nitro_document import NitroDocument
from verifier.formats.protobuf import Message
from verifier.formats.quote import Quote
from verifier.formats.reader import Reader
from verifier.formats.rim import Rim, SignedRim
from verifier.formats.runtime_claims import RuntimeClaims
from verifier.formats.snp_cert_table import CertTable
from verifier.formats.snp_report import SnpReport, TcbLayout, TcbVersion
from verifier.formats.spdm_report import SpdmReport
from verifier.formats.td_report import TdReport
from verifier.formats.tdreport import TdreportStruct
from verifier.formats.tpm_attest import TpmAttest
from verifier.formats.tpm_creation import CreationData
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.formats.tpm_key_file import read_key_file, read_spki
from verifier.formats.tpm_public import TpmPublic
from verifier.formats.tpm_signature import TpmSignature
from verifier.formats.xml_subset import Element, parse

_ALL_TAGS = range(1 << 64)
_FORMS = (hygon_serde.CA_CERTIFICATE, hygon_serde.CERTIFICATE, hygon_serde.TEE_INFO_1, hygon_serde.WRAPPER)

QUOTES = many(quote("tdx", "sgx"), made("tdx/*/quote.bin", "sgx/*/quote.bin"),
              recorded("tdx/*/quote.bin", "sgx/*/quote.*", "azure/*/td_quote.bin"))
REPORTS = many(made("snp/*/report.bin"), recorded("snp/*/report*.bin"))
DOCUMENTS = many(quote("nitro"), recorded("nitro/*/attestation_doc.cbor"))
TOKENS = many(quote("cca"), recorded("cca/*/token.cbor"))
HCL_REPORTS = many(
    recorded("azure/*/hcl*.bin"), within(quote("az-tdx-vtpm"), lambda text: [strict.base64_bytes(
        strict.json_object(text, "evidence")["hcl_report"], "hcl_report", url=True)]))
RIMS = many(lambda: seeds.published("nvidia", ".xml")(), recorded("nvidia/*/*.xml"))
SPDM_REPORTS = many(recorded("nvidia/*/report*.bin"), within(quote("nvidia"), lambda text: [
    strict.base64_bytes(device["evidence"], "evidence")
    for device in strict.json_object(text, "evidence")["device_evidence_list"]]))
TPM_EVIDENCE = quote("tpm")
HYGON_CERTIFICATES = many(lambda: seeds.published("csv")(), recorded("csv/*/*.cert", "anchors/*.cert"))
SPLIT_CERTIFICATES = within(HYGON_CERTIFICATES, lambda data: [
    one.to_bytes() for one in hygon_cert.split_certificates(data)], EvidenceError)
CSV_REPORTS = many(quote("csv"), recorded("csv/*/report.*"))


def _tpm_parts(*names: str) -> seeds.Bytes:
    """Byte strings of the software TPM's evidence."""
    def take(text: bytes) -> Iterator[bytes]:
        told = TpmEvidence.from_bytes(text)
        creation = told.ak_creation
        parts = {"message": [one.message for one in told.quotes], "signature": [one.signature for one in told.quotes],
                 "area": [told.ak_public_area], "spki": [told.ak_public],
                 "creation": [] if creation is None else [creation.about],
                 "creation_message": [] if creation is None else [creation.message]}
        yield from (part for name in names for part in parts[name] if part is not None)
    return within(TPM_EVIDENCE, take)


def _extensions(chains: seeds.Bytes, *oids: str) -> seeds.Bytes:
    """Values of these extensions in certificates, DER or PEM."""
    def take(chain: bytes) -> Iterator[bytes]:
        pem = b"-----BEGIN" in chain
        found = x509.load_pem_x509_certificates(chain) if pem else [x509.load_der_x509_certificate(chain)]
        yield from (extension.value.value for one in found for extension in one.extensions
                    if isinstance(extension.value, x509.UnrecognizedExtension)
                    and extension.oid.dotted_string in oids)
    return within(chains, take, ValueError)


def _instance() -> tuple[bytes]:
    from verifier.software_tee.tpm import instance_extension

    return instance_extension(GceInstance(
        zone="zone", project_number=1, project_id="project", instance_id=1 << 60, instance_name="name",
        security_version=1, production=True)).value,


GCE_EXTENSIONS = many(lazily(_instance), _extensions(recorded("tpm/*/*.der"), GCE_OID))
DICE_EXTENSIONS = _extensions(lambda: [seeds.tee().maker("nvidia").chain()], COMPOSITE_DEVICE_ID, TCB_INFO)


def _dice(data: bytes) -> FirmwareIdentity:
    return FirmwareIdentity.from_extension(COMPOSITE_DEVICE_ID if data[:1] == b"\x01" else TCB_INFO, data[1:])


def _quote_body(data: bytes) -> Iterator[bytes]:
    yield Quote.from_bytes(data).body.to_bytes()


def _der_elements(data: bytes) -> list[Any]:
    reader, found = Reader(data, "der", order="big"), []
    while reader.remaining:
        tag, content = der.element(reader)
        found.append(der.unsigned(content, "der") if tag == der.Tag.INTEGER else content)
    return found


def _message(data: bytes) -> object:
    message = Message(data, "protobuf")
    return message.every(2), message.optional(1)


def _rewritten(data: bytes, root: Element) -> None:
    """The canonical form is read as the same document, and is its own canonical form."""
    del data
    once = root.canonical()
    if parse(once).canonical() != once:
        raise AssertionError("the canonical form is not its own canonical form")


def _pcr_file(values: bytes, message: bytes) -> object:
    return tpm_captures.pcr_file(values, message)


def _hygon_structure(data: bytes) -> tuple[bytes, Any] | None:
    form = _FORMS[data[0] % len(_FORMS)] if data else None
    return None if form is None else (hygon_serde.packed(hygon_serde.structure(data[1:], form), form, "value"), form)


def _hygon_same(data: bytes, told: tuple[bytes, Any] | None) -> None:
    if told is not None and told[0] != data[1:]:
        raise AssertionError("a structure does not stand for the bytes that it was made of")


def _cbor(data: bytes) -> Any:
    return cbor.decode(data, "cbor", max_size=1 << 20, tags=_ALL_TAGS)


TARGETS = (
    Target("formats.cbor", _cbor, MALFORMED, many(DOCUMENTS, TOKENS), (written_exactly(cbor.encode),)),
    Target("formats.cbor_open", lambda data: cbor.decode(data, "cbor", max_size=1 << 20, indefinite_top=True),
           MALFORMED, within(DOCUMENTS, lambda data: [CoseSign1.from_bytes(data, "nitro").payload], EvidenceError)),
    Target("formats.cca_platform", PlatformClaims.from_bytes, EVIDENCE, within(
        TOKENS, lambda data: [CcaToken.from_bytes(data).platform.payload], EvidenceError),
        (written_again(PlatformClaims.from_bytes),)),
    Target("formats.cca_realm", RealmClaims.from_bytes, EVIDENCE, within(
        TOKENS, lambda data: [CcaToken.from_bytes(data).realm.payload], EvidenceError),
        (written_again(RealmClaims.from_bytes),)),
    Target("formats.cca_token", CcaToken.from_bytes, EVIDENCE, TOKENS, (written_again(CcaToken.from_bytes),)),
    Target("formats.cose", lambda data: CoseSign1.from_bytes(data, "cose"), EVIDENCE, DOCUMENTS, (
        written_exactly(), lambda _, message: (message.algorithm, message.signed_bytes))),
    Target("formats.cose_key", lambda data: cose_key.read(data, "cose_key"), MALFORMED, within(
        TOKENS, lambda data: [CcaToken.from_bytes(data).realm_claims.public_key], EvidenceError),
        (written_again(lambda data: cose_key.read(data, "cose_key"), cose_key.write),)),
    Target("formats.csv_report", CsvReport.from_bytes, EVIDENCE, CSV_REPORTS, (
        written_again(CsvReport.from_bytes), lambda _, report: (report.signed_bytes, report.maced_bytes))),
    Target("formats.der", _der_elements, MALFORMED, many(recorded("anchors/*.der"), GCE_EXTENSIONS)),
    Target("formats.dice", _dice, MALFORMED, within(DICE_EXTENSIONS,
                                                    lambda value: [b"\x01" + value, b"\x00" + value])),
    Target("formats.enclave_report", EnclaveReport.from_bytes, MALFORMED,
           within(many(quote("sgx"), recorded("sgx/*/quote.bin")), _quote_body, EvidenceError), (written_exactly(),)),
    Target("formats.gce_instance", GceInstance.from_bytes, MALFORMED, GCE_EXTENSIONS),
    Target("formats.go_attestation", tpm_captures.from_go_attestation, EVIDENCE, captures.GO_ATTESTATION),
    Target("formats.go_tpm_tools", tpm_captures.from_go_tpm_tools, EVIDENCE, captures.GO_TPM_TOOLS),
    Target("formats.hcl_report", HclReport.from_bytes, EVIDENCE, HCL_REPORTS, (
        written_exactly(of=lambda data, report: data[:len(data) - report.trailing] + bytes(report.trailing)),
        lambda _, report: report.claims_digest)),
    Target("formats.hygon_ca", CaCertificate.from_bytes, MALFORMED, SPLIT_CERTIFICATES, (
        written_exactly(), lambda _, one: (one.signed_bytes, one.user_id, one.reserved))),
    Target("formats.hygon_certificate", CsvCertificate.from_bytes, MALFORMED, SPLIT_CERTIFICATES, (
        written_exactly(), lambda _, one: (one.signed_bytes, one.user_id, one.reserved))),
    Target("formats.hygon_certificates", hygon_cert.split_certificates, MALFORMED, HYGON_CERTIFICATES,
           (written_exactly(lambda found: b"".join(one.to_bytes() for one in found)),)),
    Target("formats.hygon_structures", _hygon_structure, MALFORMED, within(
        SPLIT_CERTIFICATES, lambda data: [bytes((kind,)) + data for kind in range(2)]), (_hygon_same,)),
    Target("formats.nitro_document", NitroDocument.from_bytes, MALFORMED, within(
        DOCUMENTS, lambda data: [CoseSign1.from_bytes(data, "nitro").payload], EvidenceError),
        (written_again(NitroDocument.from_bytes), lambda _, document: document.registers)),
    Target("formats.parsec", tpm_captures.from_parsec, EVIDENCE, captures.PARSEC),
    Target("formats.pcr_file", of_parts(_pcr_file, 2), EVIDENCE, within(
        _tpm_parts("message"), lambda message: [pack((bytes(32 * 24), message)), pack((bytes(1 << 10), message))])),
    Target("formats.protobuf", _message, MALFORMED, captures.GO_TPM_TOOLS),
    Target("formats.quote", Quote.from_bytes, EVIDENCE, QUOTES, (
        written_exactly(of=lambda data, parsed: data[:len(data) - parsed.trailing]), lambda _, parsed: parsed.tee)),
    Target("formats.rim", SignedRim.from_bytes, MALFORMED, RIMS, (
        lambda _, signed: (Rim.from_bytes(signed.signed), signed.claimed.active, signed.claimed.version),),
        brief_runs=400),
    Target("formats.rim_unsigned", Rim.from_bytes, MALFORMED, within(
        RIMS, lambda data: [SignedRim.from_bytes(data).signed], EvidenceError), brief_runs=400),
    Target("formats.runtime_claims", RuntimeClaims.from_bytes, MALFORMED, within(
        HCL_REPORTS, lambda data: [HclReport.from_bytes(data).claims], EvidenceError),
        (lambda _, claims: [key.public_key() for key in claims.named("HCLAkPub")],)),
    Target("formats.snp_cert_table", CertTable.from_bytes, MALFORMED, many(
        recorded("snp/*/*auxblob*"), lambda: [seeds.cert_table(), seeds.cert_table() + bytes(64)]),
        (written_again(CertTable.from_bytes), lambda _, table: table.certificates)),
    Target("formats.snp_report", SnpReport.from_bytes, EVIDENCE, REPORTS, (
        written_exactly(), lambda _, report: (report.signed_bytes, report.cpuid, report.signing_key))),
    Target("formats.snp_response", SnpReport.from_firmware_response, EVIDENCE, within(
        made("snp/*/report.bin"), lambda report: [(1184).to_bytes(8, "big")[::-1].rjust(8) + bytes(24) + report,
                                                  bytes(4) + (1184).to_bytes(4, "little") + bytes(24) + report])),
    Target("formats.snp_tcb", lambda data: TcbVersion.from_bytes(data[1:], [*TcbLayout][data[0] % 2] if data else
                                                                 TcbLayout.TURIN), MALFORMED,
           these(bytes(9), bytes(range(9)), b"\x01" + bytes(range(8))), (
               written_exactly(of=lambda data, _: data[1:]),), brief_runs=3000),
    Target("formats.spdm_report", SpdmReport.from_bytes, EVIDENCE, SPDM_REPORTS, (
        written_exactly(), lambda _, report: (report.driver_version, report.vbios_version))),
    Target("formats.strict_json", lambda data: strict.json_value(data, "json"), MALFORMED, many(
        recorded("*/*/collateral.json", "ccel/*/*.json"), quote("tpm", "nvidia"), these(b'{"a":[1,2.5,"\\u00e9"]}'))),
    Target("formats.td_report", TdReport.from_bytes, MALFORMED, within(
        many(quote("tdx"), made("tdx/*/quote.bin")), _quote_body, EvidenceError), (written_exactly(),)),
    Target("formats.tdreport", TdreportStruct.from_bytes, MALFORMED, many(
        recorded("azure/*/tdreport.bin", "tdx/*/tdreport.bin"),
        within(HCL_REPORTS, lambda data: [HclReport.from_bytes(data).hardware_report[:1024]], EvidenceError)), (
        written_exactly(), lambda _, report: (report.tee_tcb_info, report.td_info, report.reserved))),
    Target("formats.tpm_attest", TpmAttest.from_bytes, EVIDENCE, many(
        _tpm_parts("message", "creation_message"), recorded("tpm/*/attest*.bin", "azure/*/tpm_quote.msg"),
        lazily(lambda: [seeds.tee().maker("tpm").certification(b"nonce").message])),
        (written_exactly(), lambda _, attest: (attest.pcr_selections, attest.pcr_digest))),
    Target("formats.tpm_bincode", tpm_captures.from_bincode, EVIDENCE, captures.BINCODE),
    Target("formats.tpm_creation", CreationData.from_bytes, EVIDENCE, _tpm_parts("creation"), (written_exactly(),)),
    Target("formats.tpm_evidence", TpmEvidence.from_bytes, EVIDENCE, TPM_EVIDENCE,
           (written_again(TpmEvidence.from_bytes),)),
    Target("formats.tpm_is_parsec", tpm_captures.is_parsec, (), captures.PARSEC),
    Target("formats.tpm_key_file", read_key_file, EVIDENCE, many(
        _tpm_parts("area", "spki"), recorded("tpm/*/ak*", "tpm/*/*public*")), (lambda _, found: found.spki,)),
    Target("formats.tpm_public", TpmPublic.from_bytes, EVIDENCE, many(
        _tpm_parts("area"), recorded("tpm/*/ak.tpmt_public")), (written_exactly(),)),
    Target("formats.tpm_public_sized", TpmPublic.from_sized, EVIDENCE, many(within(
        _tpm_parts("area"), lambda area: [len(area).to_bytes(2, "big") + area]), recorded("tpm/*/ak.pub")), (
        written_exactly(of=lambda data, _: data[2:]),)),
    Target("formats.tpm_signature", TpmSignature.from_bytes, EVIDENCE, many(
        _tpm_parts("signature"), recorded("tpm/*/signature*.bin")), (written_exactly(),)),
    Target("formats.tpm_spki", read_spki, MALFORMED, _tpm_parts("spki")),
    Target("formats.xml_subset", parse, MALFORMED, many(RIMS, these(
        b'<?xml version="1.0"?><a xmlns:b="urn:b" b:c="&lt;"><b:d/> text &#xD;</a>')), (
        _rewritten, lambda _, root: [element.name for element in root.descendants()])),
)
