"""Every rule of Azure's two recipes, once kept and once broken alone, with everything below it signed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.verifier.azure_cases import AMD, AT, INTEL, KINDS, AzureCase, azure_case
from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer, rules_in_source, without_a_case
from verifier.formats.hcl_report import ClaimsHash
from verifier.formats.runtime_claims import ATTESTATION_KEY
from verifier.formats.snp_report import VMPL_HOST
from verifier.formats.td_report import BASE_FIELDS
from verifier.formats.tpm import HashAlg
from verifier.formats.tpm_attest import CertifyInfo, QuoteInfo
from verifier.software_tee import certificates as x509
from verifier.software_tee.azure_parts import Jwk, hashed, select
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT

BOTH, SNP, TDX, TD15 = ("snp", "tdx"), ("snp",), ("tdx", "tdx-td15"), ("tdx-td15",)
SOURCES = ("checks/hcl.py", "checks/tdreport.py", "checks/tpm_quote.py", "tees/az_snp_vtpm.py", "tees/az_tdx_vtpm.py")

Breaks = Callable[[AzureCase], AzureCase]
Table = dict[str, tuple[tuple[str, ...], list[Breaks]]]


def bound(case: AzureCase, report_data: bytes) -> AzureCase:
    """The hardware signed other report data."""
    return case.altered(snp=lambda r: replace(r, report_data=report_data),
                        tdreport=lambda r: replace(r, report_data=report_data),
                        td=lambda b: replace(b, report_data=report_data))


def hcl_rules() -> Table:
    return {
        "hcl.request_type": (BOTH, [lambda c, n=n: c.altered(hcl=lambda h: replace(h, request_type=n))
                                    for n in (0, 1, 3, 0xFFFFFFFF)]),
        "hcl.status": (BOTH, [lambda c: c.altered(hcl=lambda h: replace(h, status=1))]),
        "hcl.report_data": (BOTH, [
            lambda c: bound(c, bytes(64)),
            lambda c: bound(c, c.hcl.claims_digest[:32] + bytes(31) + b"\x01"),
            lambda c: bound(c, c.hcl.claims_digest[:32] * 2),
            lambda c: bound(c, ClaimsHash.SHA512.digest(c.hcl.claims)),
            lambda c: c.altered(hcl=lambda h: replace(h, claims_hash=ClaimsHash.SHA384)),
            lambda c: c.altered(hcl=lambda h: replace(h, claims=h.claims + b" ")),
            lambda c: c.altered(hcl=lambda h: replace(h, claims=b" " + h.claims)),
            lambda c: c.altered(hcl=lambda h: replace(h, claims=c.other.claims)),
        ]),
        "hcl.vmpl": (SNP, [lambda c, n=n: c.altered(snp=lambda r: replace(r, vmpl=n)) for n in (1, 2, 3, VMPL_HOST)]),
        "ak.count": (BOTH, [
            lambda c: c.altered(claims=lambda m: m.with_key(m.keys[0])),
            lambda c: c.altered(claims=lambda m: m.with_key(Jwk(ATTESTATION_KEY, c.other.key("ak").modulus))),
            lambda c: c.altered(claims=lambda m: replace(m, keys=m.keys[1:])),
            lambda c: c.altered(claims=lambda m: replace(m, keys=())),
            lambda c: c.altered(claims=lambda m: replace(m, keys=(replace(m.keys[0], kid="hclakpub"), m.keys[1]))),
        ]),
        "ak.key": (BOTH, [lambda c, key=key: c.altered(claims=lambda m: replace(m, keys=(key(m.keys[0]),)))
                          for key in (
                              lambda k: replace(k, modulus=k.modulus[:128]),
                              lambda k: replace(k, modulus=k.modulus * 2),
                              lambda k: replace(k, modulus=k.modulus[:-1] + bytes((k.modulus[-1] & 0xFE,))),
                              lambda k: replace(k, modulus=b"\x7f" + k.modulus[1:]),
                              lambda k: replace(k, modulus=b"\x03"),
                              lambda k: replace(k, exponent=b"\x03"),
                              lambda k: replace(k, exponent=b"\x01"),
                              lambda k: replace(k, exponent=b"\x01\x00\x00"))]),
    }


def quote_rules() -> Table:
    return {
        "tpm_quote.signature": (BOTH, [
            lambda c: c.altered(tpm_quote=lambda q: replace(q, signer=c.other.key("ak"))),
            lambda c: c.altered(tpm_quote=lambda q: replace(q, signer=c.maker.key("ek"))),
            lambda c: c.with_parts(tpm_quote=c.other.tpm_quote(b"", b"")),
            *(lambda c, cut=cut: c.with_parts(tpm_quote=replace(c.parts.tpm_quote, signature=cut(
                c.parts.tpm_quote.signature))) for cut in (
                    lambda s: s[:-1], lambda s: s + b"\x00", lambda s: b"\x00" + s, lambda s: b"", lambda s: bytes(256),
                    lambda s: b"\x00\x14\x00\x0b\x01\x00" + s)),
        ]),
        "tpm_quote.magic": (BOTH, [lambda c: c.altered(tpm_quote=lambda q: replace(q, attest=replace(
            q.attest, magic=0xFF544346)))]),
        "tpm_quote.type": (BOTH, [
            lambda c: c.altered(tpm_quote=lambda q: replace(q, attest=replace(
                q.attest, type=0x8017, attested=CertifyInfo(b"\x00\x0b" + bytes(32), b"\x00\x0b" + bytes(32))))),
            lambda c: c.altered(tpm_quote=lambda q: replace(q, attest=replace(
                q.attest, type=0x8019, attested=b""))),
        ]),
        "tpm_quote.pcr_selection": (BOTH, [
            lambda c: c.altered(tpm_quote=lambda q: q.selecting()),
            lambda c: c.altered(tpm_quote=lambda q: q.selecting(select(()))),
            lambda c: c.altered(tpm_quote=lambda q: q.selecting(select(range(24), HashAlg.SHA1))),
            lambda c: c.altered(tpm_quote=lambda q: q.selecting(select(range(8)), select(range(8), HashAlg.SHA384))),
            lambda c: c.altered(tpm_quote=lambda q: q.selecting(select([8]), select([8]))),
        ]),
        "tpm_quote.pcr_values": (BOTH, [
            lambda c: c.altered(tpm_quote=lambda q: replace(q, pcrs=())),
            lambda c: c.altered(tpm_quote=lambda q: q.selecting(replace(select([0, 24]), size=4))),
        ]),
        "tpm_quote.pcr_digest": (BOTH, [
            lambda c: c.altered(tpm_quote=lambda q: replace(q, pcrs=(bytes(32), *q.pcrs[1:]))),
            lambda c: c.altered(tpm_quote=lambda q: replace(q, pcrs=(*q.pcrs[:23], b"\x01" * 32))),
            lambda c: c.altered(tpm_quote=lambda q: replace(q, pcrs=q.pcrs[::-1])),
            lambda c: c.altered(tpm_quote=lambda q: replace(q, attest=replace(q.attest, attested=QuoteInfo(
                q.attest.pcr_selections, b"")))),
        ]),
    }


def certificate_rules() -> Table:
    """The second path: what came along must be right. Its chain's rules are tested one by one where they live."""
    return {
        "ak_certificate.key": (BOTH, [
            lambda c: c.altered(ak=lambda p: replace(p, public_key=c.other.key("ak").public_key)),
            lambda c: c.with_certificates(*c.sent.certificates, c.other.certificate("ak")),
        ]),
        "ak_certificate.count": (TDX, [lambda c: c.with_certificates(*c.sent.certificates * 9)]),
        "vtpm.chain.root": (BOTH, [lambda c: replace(c, roots=roots_without_the_cloud(c))]),
        "vtpm.chain.intermediate.validity": (BOTH, [lambda c: c.altered(intermediate=lambda p: replace(
            p, not_after=AT))]),
        "vtpm.chain.intermediate.signature": (BOTH, [lambda c: c.altered(intermediate=lambda p: replace(
            p, signer=c.maker.key("stranger")))]),
        "vtpm.ak_certificate.validity": (BOTH, [
            lambda c: c.altered(ak=lambda p: replace(p, not_after=AT)),
            lambda c: c.altered(ak=lambda p: replace(p, not_before=AT + 100)),
        ]),
        "vtpm.ak_certificate.signature": (BOTH, [lambda c: c.altered(ak=lambda p: replace(
            p, signer=c.maker.key("stranger")))]),
        "vtpm.ak_certificate.key_usage": (BOTH, [lambda c: c.altered(ak=lambda p: p.changed(
            x509.key_usage(x509.KEY_CERT_SIGN)))]),
    }


def roots_without_the_cloud(case: AzureCase) -> Any:
    trusted = case.trusted
    return replace(trusted, anchors=tuple(a for a in trusted.anchors if "Virtual TPM" not in a.name))


def tdx_rules() -> Table:
    table: Table = {
        "tdreport.type": (TDX, [lambda c, kind=kind: c.altered(tdreport=lambda r: replace(r, report_type=kind))
                                for kind in (bytes(4), b"\x80\0\0\0", b"\x81\1\0\0", b"\x81\0\1\0", b"\x81\0\2\0",
                                             b"\x81\0\0\1")]),
        **{f"tdreport.{name}": (TDX, [lambda c, name=name, size=size: c.altered(tdreport=lambda r: hashed(replace(
            r, **{name: bytes(size - 1) + b"\x01"})))]) for name, size in (
                ("reserved_4", 12), ("reserved_192", 32), ("reserved_400", 95), ("reserved_495", 17),
                ("reserved_960", 64))},
        "tdreport.tee_tcb_info_hash": (TDX, [
            lambda c: c.altered(tdreport=lambda r: replace(r, tee_tcb_info_hash=bytes(48))),
            lambda c: c.altered(tdreport=lambda r: replace(r, valid=bytes(8))),
        ]),
        "tdreport.td_info_hash": (TDX, [lambda c: c.altered(tdreport=lambda r: replace(r, td_info_hash=bytes(48)))]),
        "td_quote.tee": (TDX, [lambda c: c.altered(evidence=lambda e: replace(
            e, endorsement=INTEL.quote(ENCLAVE_REPORT)))]),
        "td_quote.report_data": (TDX, [lambda c: c.altered(td=lambda b: replace(b, report_data=bytes(64)))]),
    }
    table["td_quote.mr_service_td"] = (TD15, [lambda c: c.altered(td=lambda b: replace(b, v15=replace(
        b.v15, mr_service_td=b"\x01" * 48)))])
    for name in (*BASE_FIELDS, "tee_tcb_svn2"):
        if name != "report_data":
            kinds = TDX if name in BASE_FIELDS else TD15
            table[f"td_quote.{name}"] = (kinds, [lambda c, name=name: c.altered(tdreport=lambda r: hashed(replace(
                r, **{name: bytes((getattr(r, name)[0] ^ 1,)) + getattr(r, name)[1:]})))])
    return table


def hardware_rules() -> Table:
    """A few of the makers' own rules, to see that the recipes apply them; each is tested where it lives."""
    return {
        "report.signature": (SNP, [lambda c: c.on_amd(report=lambda r: replace(r, signer=AMD.leaf_key("vlek")))]),
        "report.policy.bit17": (SNP, [lambda c: c.altered(snp=lambda r: replace(r, policy=0))]),
        "report.vmpl": (SNP, [lambda c: c.altered(snp=lambda r: replace(r, vmpl=4))]),
        "vcek.chip_id": (SNP, [lambda c: c.altered(snp=lambda r: replace(r, chip_id=b"\x01" * 64))]),
        "vcek.signature": (SNP, [lambda c: c.on_amd(vcek=lambda p: replace(p, signer=AMD.keys.rsa_pss("stranger")))]),
        "quote.signature": (TDX, [lambda c: c.on_intel(quote=lambda q: replace(q, signer=INTEL.key("pck")))]),
        "qe_report.signature": (TDX, [lambda c: c.on_intel(qe_report=lambda r: replace(
            r, signer=INTEL.attestation_key))]),
        "tcb_info.fmspc": (TDX, [lambda c: c.on_intel(tcb_info=lambda i: replace(i, fmspc=bytes(6)))]),
    }


TABLE: Table = {**hcl_rules(), **quote_rules(), **certificate_rules(), **tdx_rules(), **hardware_rules()}
BROKEN = [pytest.param(rule, kind, make, id=f"{rule}-{kind}-{number}")
          for rule, (kinds, makes) in TABLE.items() for kind in kinds for number, make in enumerate(makes)]
# Noted, and never broken: facts about what did not come along.
TOLD = {"tpm_quote.absent", "ak_certificate.absent", "ak_certificate.unjudged"}
# Out of reach: the signature of Azure's TPMs is a bare number, whose scheme is not stated but agreed.
OUT_OF_REACH = {"tpm_quote.signature.scheme"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_unaltered_case_is_accepted(kind):
    verdict = azure_case(kind).verdict()
    assert verdict.accepted, verdict.error or verdict.mismatches
    assert verdict.flags == ()


@pytest.mark.parametrize(("rule", "kind", "make"), BROKEN)
def test_each_rule_alone_refuses(rule, kind, make):
    case = make(azure_case(kind))
    verdict = case.verdict()
    assert verdict.authentic is False, verdict.error
    assert verdict.error.id == f"{case.tee}.{rule}"
    assert [check.id for check in verdict.checks if not check.ok] == [f"{case.tee}.{rule}"]


@pytest.mark.parametrize("rule", TABLE)
def test_each_rule_is_noted_where_it_holds(rule):
    for kind in TABLE[rule][0]:
        case = azure_case(kind)
        assert f"{case.tee}.{rule}" in {check.id for check in case.verdict().checks if check.ok}, kind


@pytest.mark.parametrize("kind", BOTH)
def test_prepared_trust_never_changes_an_answer(kind):
    good = azure_case(kind)
    assert_prepared_trust_never_changes_an_answer(
        good, ((rule, make(good)) for rule, of_kind, make in (param.values for param in BROKEN) if of_kind == kind))


def test_every_rule_in_the_source_is_in_the_table():
    patterns = rules_in_source(*SOURCES)
    assert len(patterns) >= 20
    known = {*TABLE, *TOLD, *OUT_OF_REACH}
    assert without_a_case(patterns, known) == []


def test_what_did_not_come_along_is_told():
    case = azure_case()
    noted = {check.id.removeprefix(f"{case.tee}.") for changed in (
        case.with_certificates(), case.with_certificates(case.maker.certificate("ak")),
        case.with_parts(tpm_quote=None)) for check in changed.verdict().checks}
    assert noted >= TOLD | OUT_OF_REACH
