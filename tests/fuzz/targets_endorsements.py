"""What makers vouch with: certificates, lists, answers, documents, manifests, roots. `verifier.endorsements`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from cryptography import x509

from tests.fuzz import seeds
from tests.fuzz.harness import COLLATERAL, EVIDENCE, MALFORMED, SETUP, Finding, Target, never
from tests.fuzz.seeds import Bytes, lazily, made, many, recorded, within
from verifier.endorsements import hygon, ocsp
from verifier.endorsements.amd import read_supplied
from verifier.endorsements.amd_vek import SUBJECTS, EndorsementKey, resembles
from verifier.endorsements.chain import Issuer, check_link, common_name, read_certificates
from verifier.endorsements.collateral import Family
from verifier.endorsements.crl import read_crl, verify_crl
from verifier.endorsements.nvidia_rim import judge_rim, read_rims
from verifier.endorsements.pck import SGX_EXTENSIONS, PckExtensions, check_key
from verifier.endorsements.qe_identity import QeIdentity
from verifier.endorsements.roots import Roots
from verifier.endorsements.roots.hygon import from_certificate
from verifier.endorsements.roots.keys import is_key, read_key
from verifier.endorsements.schemes import INTEL
from verifier.endorsements.sm2 import Sm2PublicKey
from verifier.endorsements.tcb_info import TcbInfo
from verifier.errors import CheckFailed
from verifier.formats.hygon_cert import CsvCertificate
from verifier.trail import Trail

AT = seeds.AT
REFUSED = (CheckFailed, *COLLATERAL)
CERTIFICATES = many(recorded("anchors/*.der", "snp/*/*.der", "*/*/cert_chain.pem", "tpm/*/*.der", "sgx/*/*.pem"),
                    made("snp/*/*.der"))
LISTS = many(recorded("*/*/*.crl", "*/*/*Crl.der"), made("snp/*/*.crl"), lambda: [
    seeds.tee().intel.root_crl, seeds.tee().intel.pck_crl, *seeds.published("tpm", ".crl")()])
ANSWERS = many(lambda: seeds.published("nvidia", ".der")(), recorded("nvidia/*/*ocsp*"))
RIMS = many(lambda: seeds.published("nvidia", ".xml")(), recorded("nvidia/*/*.xml"))
HYGON = many(lambda: seeds.published("csv")(), recorded("csv/*/*.cert", "anchors/*.cert"))
KEYS = many(lambda: seeds.published("cca")(), recorded("cca/*/*.jwk.json", "tpm/*/*.pem", "tpm/*/ak.der"))
BUNDLES = many(recorded("tdx/*/collateral*.json", "sgx/*/collateral*.json"), lambda: [
    seeds.as_json({name: seeds.tee().intel_collateral(tee)[name].decode() for name in ("tcb_info", "qe_identity")})
    for tee in ("tdx", "sgx")])


def _documents(member: str) -> Bytes:
    """One signed document of each bundle, as the text that was signed."""
    return within(BUNDLES, lambda bundle: [json.loads(bundle)[member].encode()], KeyError)


def _extension_of_pck() -> Iterator[bytes]:
    for chain in (seeds.tee().intel.pck_chain, *recorded("sgx/*/pck*.pem")()):
        certificate = x509.load_pem_x509_certificates(chain)[0]
        yield from (one.value.value for one in certificate.extensions
                    if one.oid == SGX_EXTENSIONS and isinstance(one.value, x509.UnrecognizedExtension))


def _certificates(data: bytes) -> object:
    """Every certificate, as leaf and as CA under its neighbour: whatever the rules say, they say it by their names."""
    found = read_certificates(data, "certificate")
    for certificate in found:
        for ca_depth in (None, 0):
            _link(certificate, found[-1], ca_depth)
    return found


def _link(certificate: x509.Certificate, above: x509.Certificate, ca_depth: int | None) -> None:
    try:
        check_link(Trail("fuzz"), "link", certificate, Issuer.of(above), AT, ca_depth=ca_depth)
    except (*REFUSED, *EVIDENCE):
        return


def _crl(data: bytes) -> object:
    """A list, also asked as if it were an issuer's."""
    found = read_crl(data, "CRL")
    issuer = Issuer(found.issuer.rfc4514_string(), seeds.tee().intel.key("root").private.public_key())
    try:
        return verify_crl(Trail("fuzz"), "crl", found, issuer, AT, scheme=INTEL)
    except REFUSED:
        return None


def _answer(data: bytes) -> object:
    """An OCSP answer, also believed as far as it goes."""
    answer = ocsp.read_answer(data, "answer")
    issuer = x509.load_pem_x509_certificates(seeds.tee().maker("nvidia").chain())[-1]
    try:
        answer.is_about(issuer, issuer)
        return ocsp.verify_answer(Trail("fuzz"), "ocsp", answer, issuer, AT, scheme=INTEL)
    except REFUSED:
        return None


def _vek(data: bytes) -> object:
    """The AMD extensions of certificates that call themselves a VCEK or VLEK."""
    found = read_supplied(Trail("fuzz"), (data,), ())
    return [(EndorsementKey.of(Trail("fuzz"), one), resembles(one, bytes(8), bytes(64)))
            for one in found if common_name(one) in SUBJECTS]


def _pck(data: bytes) -> object:
    return [(PckExtensions.of(one).claims(), check_key(one)) for one in read_certificates(data, "PCK")]


def _rim(data: bytes) -> object:
    """A manifest, read and judged: it is verified or rejected, and nothing else."""
    (document,) = read_rims([data])
    return judge_rim("nvidia", document, (), _nvidia_roots(), AT)


def _nvidia_roots() -> Roots:
    return Roots.only_software(seeds.tee().maker("nvidia").roots().values())


def _software_roots(data: bytes) -> object:
    return Roots.only_software([data]).digest


def _hygon_supplied(data: bytes) -> object:
    found = hygon.read_supplied(Trail("fuzz"), (data,), ())
    for certificate in found:
        if isinstance(certificate, CsvCertificate):
            hygon.read_pek(Trail("fuzz"), certificate)
    return found


def _same_text(data: bytes, _: object) -> None:
    """A signed document that was read has no second reading."""
    if re.search(rb'"issueDate"', data) is None:
        raise Finding("a document without its date was read")


TARGETS = (
    Target("endorsements.amd_certificates", _vek, (*EVIDENCE, CheckFailed), many(recorded("snp/*/v*ek*.der"),
                                                                                made("snp/*/v*ek.der"))),
    Target("endorsements.certificates", _certificates, COLLATERAL, CERTIFICATES, brief_runs=800),
    Target("endorsements.crl", _crl, COLLATERAL, LISTS, brief_runs=800),
    Target("endorsements.family_hint", Family.guess, never(), _documents("tcb_info")),
    Target("endorsements.hygon_root", from_certificate, SETUP, HYGON, brief_runs=400),
    Target("endorsements.hygon_supplied", _hygon_supplied, (*EVIDENCE, CheckFailed), HYGON, brief_runs=400),
    Target("endorsements.is_key", is_key, never(), KEYS),
    Target("endorsements.key", lambda data: read_key(data, software=True), SETUP, KEYS),
    Target("endorsements.ocsp_answer", _answer, COLLATERAL, ANSWERS, brief_runs=800),
    Target("endorsements.pck_certificate", _pck, COLLATERAL, many(
        recorded("sgx/*/pck*.pem"), lazily(lambda: [seeds.tee().intel.chain("pck")]))),
    Target("endorsements.pck_extensions", PckExtensions.from_der, MALFORMED, lazily(_extension_of_pck),
           (lambda _, found: found.claims(),)),
    Target("endorsements.qe_identity", QeIdentity.from_json, COLLATERAL, _documents("qe_identity"), (_same_text,)),
    Target("endorsements.rim", _rim, COLLATERAL, RIMS, brief_runs=150),
    Target("endorsements.roots_file", _software_roots, (*SETUP, *COLLATERAL), many(
        CERTIFICATES, HYGON, KEYS, made("snp/*/roots.pem")), brief_runs=800),
    Target("endorsements.sm2_spki", Sm2PublicKey.from_spki, (ValueError,), within(
        HYGON, lambda data: [from_certificate(data).public_key.spki], *SETUP)),
    Target("endorsements.tcb_info", TcbInfo.from_json, COLLATERAL, _documents("tcb_info"), (
        _same_text, lambda _, found: found.module_identity(3)), brief_runs=400),
)
