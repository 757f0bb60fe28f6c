"""What the DCAP recipe cannot read or does not have: never authentic, and each time the reason by its id.

Unreadable parts of the evidence refuse; what is missing or unreadable in the collateral leaves the verdict open,
because the evidence was not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from verifier.errors import CollateralError, EvidenceError, MissingCollateral
from verifier.formats.quote import CertificationType
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension
from verifier.software_tee.intel_platform import (
    CONFIGURATION,
    CPU_SVN,
    FMSPC,
    INSTANCE_ID,
    PCE_ID,
    PCE_SVN,
    PPID,
    SGX_EXTENSION,
    SGX_TYPE,
    TCB,
    Field,
)

KINDS = ("tdx-v4", "sgx-v3")
Breaks = Callable[[Any], Any]


def chain_of(change: Callable[[bytes], bytes]) -> Breaks:
    """The chain in the quote as other bytes."""
    return lambda c: c.altered(quote=lambda q: replace(q, certification=replace(
        q.certification, certification_data=change(q.certification.certification_data))))


def extension(change: Callable[[tuple[Field, ...]], tuple[Field, ...]]) -> Breaks:
    return lambda c: c.altered(sgx_extension=change)


def member(oid: str, value: bytes) -> Breaks:
    return extension(lambda fields: x509.changed(fields, Field(oid, value)))


def value(changed: bytes) -> Breaks:
    """The whole SGX extension as other bytes."""
    return lambda c: c.altered(pck=lambda p: p.changed(Extension(SGX_EXTENSION, changed)))


def on_p384(case: Any) -> Any:
    return case.altered(pck=lambda p: replace(p, public_key=case.maker.keys.p384("a/p384").public_key))


REQUIRED = (PPID, PCE_ID, FMSPC, SGX_TYPE, PCE_SVN, CPU_SVN, f"{TCB}.1", f"{TCB}.16")
SGX_EXTENSIONS: dict[str, Breaks] = {
    **{f"without {oid}": extension(lambda fields, oid=oid: x509.without(fields, oid)) for oid in REQUIRED},
    **{f"{oid} twice": extension(lambda fields, oid=oid: x509.doubled(fields, oid)) for oid in REQUIRED},
    **{f"{oid} as integer": member(oid, der.integer(1)) for oid in (PPID, PCE_ID, FMSPC, SGX_TYPE, CPU_SVN)},
    **{f"{oid} one byte short": member(oid, der.octet_string(bytes(size - 1)))
       for oid, size in ((PPID, 16), (PCE_ID, 2), (FMSPC, 6), (CPU_SVN, 16), (INSTANCE_ID, 16))},
    **{f"{oid} one byte long": member(oid, der.octet_string(bytes(size + 1)))
       for oid, size in ((PPID, 16), (PCE_ID, 2), (FMSPC, 6), (CPU_SVN, 16), (INSTANCE_ID, 16))},
    "component of 256": member(f"{TCB}.3", der.integer(256)),
    "negative component": member(f"{TCB}.3", der.integer(-1)),
    "component as octets": member(f"{TCB}.3", der.octet_string(b"\x01")),
    "component of no bytes": member(f"{TCB}.3", b"\x02\x00"),
    "component with a leading zero": member(f"{TCB}.3", b"\x02\x02\x00\x01"),
    "PCESVN of 65536": member(PCE_SVN, der.integer(65536)),
    "seventeenth component": member(f"{TCB}.19", der.integer(1)),
    "configuration as integer": member(f"{CONFIGURATION}.1", der.integer(1)),
    "configuration neither true nor false": member(f"{CONFIGURATION}.2", b"\x01\x01\x01"),
    "configuration of two bytes": member(f"{CONFIGURATION}.3", b"\x01\x02\xff\xff"),
    "an OID of another arc": extension(lambda fields: (*fields, Field("1.2.840.113741.1.14.1", der.integer(1)))),
    "an OID of three arcs more": extension(lambda fields: (*fields, Field(f"{SGX_EXTENSION}.300", der.integer(1)))),
    "no extension": lambda c: c.altered(pck=lambda p: p.without(SGX_EXTENSION)),
    "an empty value": value(b""), "an empty sequence": value(der.sequence()), "a NULL": value(der.NULL),
    "bytes after the sequence": value(der.sequence() + b"\x00"), "a length of four bytes": value(b"\x30\x84\0\0\0\1\0"),
    "an indefinite length": value(b"\x30\x80\x00\x00"), "a multi-byte tag": value(b"\x3f\x81\x01\x00"),
    "a length beyond the end": value(b"\x30\x7f\x00"),
}

UNREADABLE_EVIDENCE: dict[str, list[Breaks]] = {
    "pck.sgx_extensions": list(SGX_EXTENSIONS.values()),
    "pck.key": [on_p384],
    "collateral.certificate.extension_twice": [
        *(lambda c, oid=oid: c.altered(pck=lambda p: p.doubled(oid)) for oid in (
            x509.AUTHORITY_KEY_IDENTIFIER, x509.KEY_USAGE, x509.BASIC_CONSTRAINTS, SGX_EXTENSION)),
        lambda c: c.altered(platform_ca=lambda p: p.doubled(x509.BASIC_CONSTRAINTS)),
    ],
    "collateral.certificate": [
        chain_of(lambda _: b""), chain_of(lambda _: bytes(64)), chain_of(lambda pem: b"x" + pem),
        chain_of(lambda pem: pem + b"x"), chain_of(lambda pem: pem.replace(b"\n-----BEGIN", b"\n\x00-----BEGIN")),
        chain_of(lambda pem: pem[:-2]), chain_of(lambda pem: pem.replace(b"CERTIFICATE", b"X509 CRL")),
        chain_of(lambda pem: pem * 4), chain_of(lambda pem: pem * 16), chain_of(lambda pem: pem + b"\n" + pem[:200]),
        lambda c: c.altered(pck=lambda p: replace(p, mutate=lambda tbs: tbs[:-1])),
        lambda c: c.altered(platform_ca=lambda p: replace(p, mutate=lambda tbs: tbs.replace(b"\x17\x0d", b"\x17\x0c"))),
    ],
    "collateral.certificate.key": [lambda c: c.altered(platform_ca=lambda p: replace(p, public_key=ED25519))],
}
ED25519 = der.sequence(der.sequence(der.oid("1.3.101.112")), der.bit_string(bytes(32)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rule", "make"), [
    pytest.param(rule, make, id=f"{rule}-{number}")
    for rule, makes in UNREADABLE_EVIDENCE.items() for number, make in enumerate(makes)
])
def test_evidence_whose_chain_cannot_be_read_is_refused(intel_case, kind, rule, make):
    verdict = make(intel_case(kind)).verdict()
    assert isinstance(verdict.error, EvidenceError), verdict.error
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (False, False, rule)


@pytest.mark.parametrize("make", SGX_EXTENSIONS.values(), ids=list(SGX_EXTENSIONS))
def test_a_chain_that_was_supplied_and_cannot_be_read_leaves_the_verdict_open(intel_case, make):
    case = replace(make(intel_case()), certification=CertificationType.PPID_RSA3072)
    verdict = case.verdict()
    assert isinstance(verdict.error, CollateralError)
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, "pck.sgx_extensions")


MEMBERS = ("tcb_info", "tcb_info_signature", "tcb_info_issuer_chain", "qe_identity", "qe_identity_signature",
           "qe_identity_issuer_chain", "root_ca_crl", "pck_crl")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_member_leaves_the_verdict_open_and_is_named(intel_case, kind, name):
    verdict = intel_case(kind).given(**{name: None}).verdict()
    assert isinstance(verdict.error, MissingCollateral)
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, f"collateral.{name}")
    assert not verdict.mismatches


def test_what_is_not_used_may_be_missing(intel_case):
    assert intel_case().given(pck_crl_issuer_chain=None, pck_chain=None).verdict().accepted


@pytest.mark.parametrize("kind", [CertificationType.PPID_PLAIN, CertificationType.PPID_RSA2048,
                                  CertificationType.PPID_RSA3072, CertificationType.PCK_LEAF])
def test_a_quote_without_its_chain_needs_one(intel_case, kind):
    case = replace(intel_case(), certification=kind)
    assert case.verdict().accepted
    verdict = case.given(pck_chain=None).verdict()
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.pck_chain")
    assert "tdx.quote.signature" in {check.id for check in verdict.checks}


def test_a_forgery_without_its_chain_is_refused_nevertheless(intel_case):
    case = replace(intel_case(), certification=CertificationType.PPID_RSA3072).given(pck_chain=None)
    forged = bytearray(case.raw)
    forged[200] ^= 1
    verdict = replace(case, quote=bytes(forged)).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.quote.signature")


@pytest.mark.parametrize("roles", [("pck", "platform_ca", "root"), ("platform_ca", "root")])
def test_a_bare_leaf_is_completed_by_a_chain_with_or_without_its_leaf(intel_case, roles):
    case = replace(intel_case(), certification=CertificationType.PCK_LEAF)
    verdict = case.given(pck_chain=case.maker.chain(*roles)).verdict()
    assert verdict.accepted


def test_the_leaf_of_the_quote_counts_and_not_the_supplied_one(intel_case):
    """The quote brings a leaf of its own; a leaf in the supplied chain cannot replace it."""
    case = replace(intel_case(), certification=CertificationType.PCK_LEAF)
    stranger = case.altered(pck=lambda p: replace(p, signer=case.other.key("platform_ca")))
    verdict = stranger.given(pck_chain=case.maker.pck_chain).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.pck_chain.leaf.signature")


def test_a_supplied_chain_of_another_platform_does_not_vouch(intel_case):
    case = replace(intel_case(), certification=CertificationType.PPID_RSA3072)
    verdict = case.trusting(case.other.chain("root")).given(pck_chain=case.other.pck_chain).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.qe_report.signature")


UNREADABLE_COLLATERAL: dict[str, list[dict[str, bytes]]] = {
    "collateral.certificate": [{name: junk} for name in ("tcb_info_issuer_chain", "qe_identity_issuer_chain")
                               for junk in (b"", b"-----BEGIN CERTIFICATE-----", bytes(9))],
    "collateral.crl": [{name: junk} for name in ("root_ca_crl", "pck_crl")
                       for junk in (b"", b"\x30\x00", b"-----BEGIN X509 CRL-----", bytes(5 * 1024 * 1024))],
}


@pytest.mark.parametrize(("rule", "given"), [
    pytest.param(rule, given, id=f"{rule}-{number}-{next(iter(given))}")
    for rule, cases in UNREADABLE_COLLATERAL.items() for number, given in enumerate(cases)
])
def test_unreadable_collateral_leaves_the_verdict_open(intel_case, rule, given):
    verdict = intel_case().given(**given).verdict()
    assert isinstance(verdict.error, CollateralError)
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, rule)


def test_a_list_with_two_algorithms_is_not_read(intel_case):
    other = der.oid("1.2.840.10045.4.3.3")
    for name, given in (("root_crl", "root_ca_crl"), ("pck_crl", "pck_crl")):
        case = intel_case().altered(**{name: lambda p: replace(
            p, mutate=lambda tbs: tbs.replace(der.oid("1.2.840.10045.4.3.2"), other, 1))})
        verdict = case.verdict()
        assert (verdict.authentic, verdict.error.id) == (None, "collateral.crl"), given


def without(told: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != name}


ODD = (None, -1, True, 1.5, "", "x", [], {}, [None], "2026-01-01", "ff" * 40, 1 << 40)


def documents(tee: str, maker: Any) -> dict[str, dict[str, Any]]:
    return {name: json.loads(maker.collateral(tee)[name]) for name in ("tcb_info", "qe_identity")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
def test_each_member_of_a_signed_document_that_is_missing_or_mistyped_leaves_the_verdict_open(
        intel_case, kind, document):
    """Correctly signed each time. An empty list of levels or modules is readable and then reached by nobody."""
    case = intel_case(kind)
    for name in documents(case.tee, case.maker)[document]:
        changes = [lambda told, n=name: without(told, n)]
        changes += [lambda told, n=name, v=odd: told | {n: v} for odd in ODD]
        for change in changes:
            verdict = case.altered(**{document: lambda d, change=change: replace(d, document=change)}).verdict()
            assert verdict.authentic is not True, name
            assert verdict.error.id.startswith(f"collateral.{document}") or verdict.error.id in (
                f"{case.tee}.tcb.module_level", f"{case.tee}.tcb.qe_level", f"{case.tee}.tcb.level",
                f"{case.tee}.{document}.isvprodid"), (name, verdict.error)


@pytest.mark.parametrize(("document", "path"), [
    ("tcb_info", ()), ("tcb_info", ("tcbLevels", 0)), ("tcb_info", ("tcbLevels", 0, "tcb")),
    ("tcb_info", ("tcbLevels", 0, "tcb", "sgxtcbcomponents", 0)), ("tcb_info", ("tdxModule",)),
    ("tcb_info", ("tdxModuleIdentities", 1)), ("tcb_info", ("tdxModuleIdentities", 1, "tcbLevels", 0)),
    ("tcb_info", ("tdxModuleIdentities", 1, "tcbLevels", 0, "tcb")), ("qe_identity", ()),
    ("qe_identity", ("tcbLevels", 0)), ("qe_identity", ("tcbLevels", 0, "tcb")),
])
def test_an_unknown_member_anywhere_in_a_signed_document_leaves_the_verdict_open(intel_case, document, path):
    """It could be a rule that nobody applied."""
    def change(told: dict[str, Any]) -> dict[str, Any]:
        place = told
        for step in path:
            place = place[step]
        place["newRule"] = "deny"
        return told

    verdict = intel_case().altered(**{document: lambda d: replace(d, document=change)}).verdict()
    assert verdict.authentic is None
    assert verdict.error.id.startswith(f"collateral.{document}")
    assert "unknown member" in verdict.error.detail


LEVELS = {"tcb_info": ("tcbLevels",), "module": ("tdxModuleIdentities", 1, "tcbLevels"), "qe_identity": ("tcbLevels",)}


@pytest.mark.parametrize("of", LEVELS)
@pytest.mark.parametrize("status", ["FooBar", "revoked", "UpToDate ", "uptodate", "", None, 5, ["UpToDate"], {},
                                    "TDRelaunchAdvised", "NotSupported", ...])
def test_a_status_that_the_maker_never_defined_leaves_the_verdict_open(intel_case, of, status):
    """Also where the level is not the one that is matched, and where the member is missing (here: an ellipsis)."""
    document = "qe_identity" if of == "qe_identity" else "tcb_info"

    def change(told: dict[str, Any], index: int) -> dict[str, Any]:
        place: Any = told
        for step in LEVELS[of]:
            place = place[step]
        place[index] = without(place[index], "tcbStatus") if status is ... else place[index] | {"tcbStatus": status}
        return told

    for index in (0, 1):
        verdict = intel_case().altered(**{document: lambda d, i=index: replace(
            d, document=lambda told: change(told, i))}).verdict()
        assert verdict.authentic is None
        assert verdict.error.id.startswith(f"collateral.{document}")


@pytest.mark.parametrize("status", ["ConfigurationNeeded", "OutOfDateConfigurationNeeded", "SWHardeningNeeded"])
@pytest.mark.parametrize("of", ["module", "qe_identity"])
def test_a_status_that_no_component_may_have_leaves_the_verdict_open(intel_case, of, status):
    """They are stated of platforms only; of an enclave or a module nothing would take them into account."""
    test_a_status_that_the_maker_never_defined_leaves_the_verdict_open(intel_case, of, status)


@pytest.mark.parametrize("text", [
    lambda text: text.replace(b'"tcbStatus":"Revoked"', b'"tcbStatus":"Revoked","tcbStatus":"UpToDate"', 1),
    lambda text: text.replace(b'"version":', b'"version":9,"version":', 1),
    lambda text: text + b"{}", lambda text: b"\xef\xbb\xbf" + text, lambda text: text[:-1],
    lambda text: text.replace(b'"tcbEvaluationDataNumber":18', b'"tcbEvaluationDataNumber":NaN'),
    lambda text: text.replace(b'"tcbEvaluationDataNumber":18', b'"tcbEvaluationDataNumber":1e999'),
    lambda text: text.replace(b'"tcbEvaluationDataNumber":18', b'"tcbEvaluationDataNumber":18.0'),
    lambda text: text.replace(b"UpToDate", b"\\ud800", 1), lambda text: text.replace(b"UpToDate", b"\xff", 1),
    lambda _: b"[" * 100_000, lambda _: b"[]", lambda _: b"null", lambda _: b"",
], ids=range(14))
@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
def test_a_signed_text_that_is_not_strict_json_leaves_the_verdict_open(intel_case, document, text):
    verdict = intel_case().altered(**{document: lambda d: replace(d, mutate=text)}).verdict()
    assert isinstance(verdict.error, CollateralError)
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, f"collateral.{document}")
