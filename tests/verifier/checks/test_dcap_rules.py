"""Every rule of the DCAP recipe, once kept and once broken alone.

For each rule there is evidence that breaks nothing else: whatever depends on the broken part is signed again by the
small Intel. The verdict must name that rule, and no other may have failed. Rules are found in the trails of accepted
evidence and in the source of the recipe, so that none can be added without an entry here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dcap_qvl
import pytest

from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer, rules_in_source, without_a_case
from verifier.errors import CheckFailed
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension, Revoked
from verifier.software_tee.intel import collateral_json
from verifier.software_tee.intel_levels import MODULE_IDENTITIES
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT, TD_REPORT
from verifier.software_tee.keys import EcKey

KINDS = ("tdx-v4", "tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex", "sgx-v3", "sgx-v4", "sgx-v5")
BOTH, TDX, TD15 = ("tdx-v5-td15", "sgx-v3"), ("tdx-v4", "tdx-v5-td15"), ("tdx-v5-td15",)
SOMEBODY = ((x509.COMMON_NAME, "Somebody"),)
CRITICAL = Extension("1.2.3.4", der.NULL, critical=True)
KEYLESS_AKI = Extension(x509.AUTHORITY_KEY_IDENTIFIER, der.sequence())
OFF_CURVE = bytes(63) + b"\x05"

Breaks = Callable[[Any], Any]  # from an `IntelCase` to one that breaks the rule
Table = dict[str, tuple[tuple[str, ...], list[Breaks]]]


def sha384(key: EcKey) -> EcKey:
    return replace(key, digest="sha384")





def other_identifier(tbs: bytes) -> bytes:
    """The signed part names ECDSA with SHA-384; what stands beside the signature, and the signature, are SHA-256."""
    return tbs.replace(der.oid("1.2.840.10045.4.3.2"), der.oid("1.2.840.10045.4.3.3"), 1)


def quote_rules() -> Table:
    return {
        "quote.tee": (BOTH, [lambda c: replace(c, quote=other_kind(c))]),
        "quote.vendor": (BOTH, [lambda c: c.altered(quote=lambda q: replace(
            q, header=replace(q.header, qe_vendor_id=bytes(16))))]),
        "qe_report.signature": (BOTH, [
            lambda c: c.altered(qe_report=lambda r: replace(r, signer=c.other.key("pck"))),
            lambda c: c.altered(qe_report=lambda r: replace(r, signer=c.maker.attestation_key)),
        ]),
        "qe_report.binding": (BOTH, [
            lambda c: c.altered(qe_report=lambda r: replace(r, auth_data=r.auth_data + b"\x00")),
            lambda c: c.altered(qe_report=lambda r: r.bound(c.other.attestation_key.public_xy)),
            lambda c: c.altered(qe_report=lambda r: replace(r, report=replace(
                r.report, report_data=r.report.report_data[:32] + bytes(31) + b"\x01"))),
        ]),
        "quote.attestation_key": (BOTH, [
            lambda c, key=key: c.altered(qe_report=lambda r: r.bound(key),
                                         quote=lambda q: replace(q, attestation_key=key))
            for key in (OFF_CURVE, bytes(64), b"\xff" * 64)
        ]),
        "quote.signature": (BOTH, [
            lambda c: c.altered(quote=lambda q: replace(q, signer=c.other.attestation_key)),
            lambda c: c.altered(quote=lambda q: replace(q, signer=c.maker.key("pck"))),
        ]),
        "size": (BOTH, [lambda c: replace(c, quote=c.raw + bytes(4 * 1024 * 1024))]),
    }


def other_kind(case: Any) -> bytes:
    """A genuine quote of the other TEE."""
    return case.maker.quote(TD_REPORT if case.tee == "sgx" else ENCLAVE_REPORT)


def pck_chain(case: Any, *roles: str, end: bytes = b"") -> Any:
    """The quote embeds another chain."""
    chain = case.maker.chain(*roles) + end
    return case.altered(quote=lambda q: replace(q, certification=replace(q.certification, certification_data=chain)))


def link_rules(rule: str, issuer: Callable[[Any], EcKey], stranger: Callable[[Any], EcKey],
               apply: Callable[[Any, Breaks], Any], *, leaf: bool) -> Table:
    """The rules of one certificate; ``apply`` gives the case in which that certificate alone is altered."""
    usages = ([x509.KEY_CERT_SIGN], [x509.DIGITAL_SIGNATURE, x509.KEY_CERT_SIGN], []) if leaf else (
        [x509.CRL_SIGN], [x509.DIGITAL_SIGNATURE])
    variants: dict[str, list[Callable[[Any], Breaks]]] = {
        "validity": [lambda c: lambda p: replace(p, not_after=c.at - 1), lambda c: lambda p: replace(
            p, not_before=c.at + 1)],
        "profile": [*(lambda c, oid=oid: lambda p: p.without(oid) for oid in (
            x509.AUTHORITY_KEY_IDENTIFIER, x509.SUBJECT_KEY_IDENTIFIER, x509.KEY_USAGE, x509.BASIC_CONSTRAINTS)),
            lambda c: lambda p: p.changed(KEYLESS_AKI)],
        "issuer": [lambda c: lambda p: replace(p, issuer=SOMEBODY)],
        "authority_key": [lambda c, key=key: lambda p: p.changed(x509.authority_key_identifier(key))
                          for key in (bytes(20), b"")],
        "extensions": [lambda c: lambda p: p.changed(CRITICAL)],
        "ca": [lambda c: lambda p: p.changed(x509.basic_constraints(ca=leaf))],
        "key_usage": [lambda c, bits=bits: lambda p: p.changed(x509.key_usage(*bits)) for bits in usages],
        "signature.algorithm": [
            lambda c: lambda p: replace(p, signer=sha384(issuer(c))),
            lambda c: lambda p: replace(p, signer=replace(issuer(c), digest="sha1")),
        ],
        "signature.identifier": [lambda c: lambda p: replace(p, mutate=other_identifier)],
        "signature": [lambda c: lambda p: replace(p, signer=stranger(c))],
    }
    return {f"{rule}.{name}": (BOTH, [lambda c, make=make: apply(c, make(c)) for make in makes])
            for name, makes in variants.items()}


def chain_rules() -> Table:
    table: Table = {
        "pck_chain.length": (BOTH, [
            lambda c: pck_chain(c, "pck", "platform_ca"), lambda c: pck_chain(c, "pck"),
            lambda c: pck_chain(c, "pck", "platform_ca", "root", "root"),
            lambda c: pck_chain(c, "pck", *["platform_ca"] * 8, "root"),
        ]),
        "pck_chain.root": (BOTH, [
            lambda c: pck_chain(c, "pck", "platform_ca", end=c.other.chain("root")),
            lambda c: pck_chain(c, "pck", "platform_ca", "platform_ca"),
            lambda c: pck_chain(c.altered(root=lambda p: replace(p, not_after=p.not_after - 1)),
                                "pck", "platform_ca", "root"),
        ]),
        "pck_chain.root.validity": (BOTH, [
            lambda c: trusted(c.altered(root=lambda p: replace(p, not_after=c.at - 1))),
            lambda c: trusted(c.altered(root=lambda p: replace(p, not_before=c.at + 1))),
        ]),
        "pck_chain.intermediate.name": (BOTH, [lambda c: c.altered(
            platform_ca=lambda p: replace(p, subject=SOMEBODY), pck=lambda p: replace(p, issuer=SOMEBODY),
            pck_crl=lambda p: replace(p, issuer=SOMEBODY))]),
        "pck_chain.leaf.name": (BOTH, [lambda c: c.altered(pck=lambda p: replace(p, subject=SOMEBODY))]),
        "pck_chain.same_root": (BOTH, [lambda c: c.trusting(c.other.chain("root")).given(
            **c.other.collateral(c.tee) | {"pck_crl": c.maker.pck_crl})]),
        "pck_chain.intermediate.scope": (BOTH, [second_name]),
        "pck_chain.intermediate.revoked": (BOTH, [revoked("root_crl", "platform_ca", reason)
                                                  for reason in (None, x509.REMOVE_FROM_CRL, x509.KEY_COMPROMISE)]),
        "pck_chain.leaf.revoked": (BOTH, [revoked("pck_crl", "pck", reason)
                                          for reason in (None, x509.REMOVE_FROM_CRL, x509.KEY_COMPROMISE)]),
    }
    table |= link_rules("pck_chain.intermediate", lambda c: c.maker.key("root"), lambda c: c.other.key("root"),
                        lambda c, a: c.altered(platform_ca=a), leaf=False)
    table |= link_rules("pck_chain.leaf", lambda c: c.maker.key("platform_ca"), lambda c: c.other.key("platform_ca"),
                        lambda c, a: c.altered(pck=a), leaf=True)
    return table


def trusted(case: Any) -> Any:
    """The case with its own root among the trusted ones."""
    return case.trusting(case.maker.chain("root"))


def second_name(case: Any) -> Any:
    """The root's key under two names: the collateral's is not the one that issued the PCK CA."""
    renamed = case.altered(root=lambda p: replace(p, subject=SOMEBODY, issuer=SOMEBODY),
                           tcb_signing=lambda p: replace(p, issuer=SOMEBODY),
                           root_crl=lambda p: replace(p, issuer=SOMEBODY))
    return trusted(case.given(**renamed.maker.collateral(case.tee))).trusting(renamed.maker.chain("root"))


def revoked(crl: str, role: str, reason: int | None) -> Breaks:
    def broken(case: Any) -> Any:
        entry = Revoked(case.maker.serial(role), case.at - 100, reason)
        return case.altered(**{crl: lambda p: replace(p, revoked=(entry,))})
    return broken


def signer_rules(rule: str, chain: str, *, renamed: bool) -> Table:
    """The rules of the signing chain of one document, altered without the other's."""
    def given(case: Any, maker: Any) -> Any:
        return case.given(**{chain: maker.chain("tcb_signing", "root")})

    def expired(case: Any, **change: int) -> Any:
        old = case.altered(root=lambda p: replace(p, **change))
        return given(case, old.maker).trusting(old.maker.chain("root"))

    table: Table = {
        f"{rule}.length": (BOTH, [
            lambda c: c.given(**{chain: c.maker.chain("tcb_signing")}),
            lambda c: c.given(**{chain: c.maker.chain("tcb_signing", "root", "root")}),
        ]),
        f"{rule}.root": (BOTH, [
            lambda c: c.given(**{chain: c.maker.chain("tcb_signing") + c.other.chain("root")}),
            lambda c: c.given(**{chain: c.maker.chain("root", "tcb_signing")}),
        ]),
        f"{rule}.root.validity": (BOTH, [lambda c: expired(c, not_after=c.at - 1),
                                         lambda c: expired(c, not_before=c.at + 1)]),
        f"{rule}.leaf.name": (BOTH, [
            lambda c: given(c, c.altered(tcb_signing=lambda p: replace(p, subject=SOMEBODY)).maker),
        ]),
        f"{rule}.leaf.revoked": (BOTH, [lambda c: revoked_signer(c, chain)]),
    }
    if renamed:
        table[f"{rule}.leaf.scope"] = (BOTH, [lambda c: second_name(c).given(
            **{chain: c.maker.chain("tcb_signing", "root")})])
    return table | link_rules(
        f"{rule}.leaf", lambda c: c.maker.key("root"), lambda c: c.other.key("root"),
        lambda c, a: given(c, c.altered(tcb_signing=a).maker), leaf=True)


def revoked_signer(case: Any, chain: str) -> Any:
    """This document's signing certificate has another serial number than the other's, and that is revoked."""
    other = case.altered(tcb_signing=lambda p: replace(p, serial=p.serial + 1)).maker
    listing = case.altered(root_crl=lambda p: p.revoking(other.serial("tcb_signing")))
    return listing.given(**{chain: other.chain("tcb_signing", "root")})


def document_rules() -> Table:
    def swapped(case: Any, name: str, document: Any) -> Any:
        return case.given(**{name: document.text, f"{name}_signature": document.signature})

    def stranger(case: Any) -> EcKey:
        return case.other.key("tcb_signing")

    table: Table = {
        "tcb_info.id": (BOTH, [lambda c: swapped(c, "tcb_info", c.maker.tcb_info(other_tee(c)))]),
        "qe_identity.id": (BOTH, [
            lambda c: c.altered(qe_identity=lambda q: replace(q, id="TD_QE" if c.tee == "sgx" else "QE")),
            lambda c: c.altered(qe_identity=lambda q: replace(q, id="QVE")),
        ]),
        "qe_identity.issuer_chain.same_root": (BOTH, [
            lambda c: swapped(c, "qe_identity", c.other.qe_identity(c.tee)).trusting(c.other.chain("root")).given(
                qe_identity_issuer_chain=c.other.chain("tcb_signing", "root")),
        ]),
        "tcb_info.fmspc": (BOTH, [lambda c: c.altered(tcb_info=lambda t: replace(t, fmspc=bytes(6)))]),
        "tcb_info.pce_id": (BOTH, [lambda c: c.altered(tcb_info=lambda t: replace(t, pce_id=b"\x01\x00"))]),
    }
    for name in ("tcb_info", "qe_identity"):
        table |= {
            f"{name}.signature": (BOTH, [
                lambda c, n=name: c.altered(**{n: lambda d: replace(d, signer=stranger(c))}),
                lambda c, n=name: c.altered(**{n: lambda d: replace(d, signer=c.maker.key("platform_ca"))}),
                lambda c, n=name: c.given(**{n: getattr(c.intel_collateral, n) + b" "}),
                lambda c, n=name: c.given(**{f"{n}_signature": bytes(64)}),
                lambda c, n=name: c.given(**{f"{n}_signature": b"\xff" * 64}),
                lambda c, n=name: c.given(**{f"{n}_signature": getattr(c.intel_collateral, f"{n}_signature")[:63]}),
            ]),
            f"{name}.issue_date": (BOTH, [lambda c, n=name: c.altered(**{n: lambda d: replace(
                d, issue_date=c.at + 1)})]),
            f"{name}.next_update": (BOTH, [lambda c, n=name: c.altered(**{n: lambda d: replace(
                d, issue_date=c.at - 2, next_update=c.at - 1)})]),
        }
    table |= signer_rules("tcb_info.issuer_chain", "tcb_info_issuer_chain", renamed=False)
    table |= signer_rules("qe_identity.issuer_chain", "qe_identity_issuer_chain", renamed=True)
    return table


def other_tee(case: Any) -> str:
    return "tdx" if case.tee == "sgx" else "sgx"


def crl_rules(rule: str, name: str, signer: str) -> Table:
    def alter(change: Callable[[Any], Breaks]) -> Breaks:
        return lambda c: c.altered(**{name: change(c)})

    entry = Extension("2.5.29.29", der.sequence(), critical=True)
    return {
        f"{rule}.issuer": (BOTH, [alter(lambda c: lambda p: replace(p, issuer=SOMEBODY))]),
        f"{rule}.authority_key": (BOTH, [alter(lambda c: lambda p: p.changed(
            x509.authority_key_identifier(bytes(20))))]),
        f"{rule}.signature.algorithm": (BOTH, [alter(lambda c: lambda p: replace(p, signer=sha384(p.signer)))]),
        f"{rule}.signature": (BOTH, [alter(lambda c: lambda p: replace(p, signer=c.other.key(signer)))]),
        f"{rule}.next_update": (BOTH, [alter(lambda c: lambda p: replace(p, next_update=None))]),
        f"{rule}.validity": (BOTH, [
            alter(lambda c: lambda p: replace(p, next_update=c.at)),
            alter(lambda c: lambda p: replace(p, this_update=c.at + 1)),
        ]),
        f"{rule}.scope": (BOTH, [
            alter(lambda c, e=e: lambda p: p.changed(e)) for e in (
                Extension(x509.ISSUING_POINT, der.sequence(der.implicit(1, b"\xff")), critical=True),
                Extension(x509.ISSUING_POINT, der.sequence(der.implicit(1, b"\xff"))),
                Extension(x509.DELTA_CRL, der.integer(1), critical=True), CRITICAL)
        ]),
        f"{rule}.entry": (BOTH, [alter(lambda c: lambda p: replace(p, revoked=(
            Revoked(77, c.at - 5, extensions=(entry,)),)))]),
    }


def qe(**changes: Any) -> Breaks:
    """The quoting enclave's report says something else."""
    return lambda c: c.altered(qe_report=lambda r: replace(r, report=replace(r.report, **changes)))


def identity(**changes: Any) -> Breaks:
    """The QE identity says something else."""
    return lambda c: c.altered(qe_identity=lambda q: replace(q, **changes))


def platform_rules() -> Table:
    debug = bytes.fromhex("17" + "00" * 7 + "e7" + "00" * 7)
    return {
        "qe_identity.miscselect": (BOTH, [
            qe(misc_select=1), qe(misc_select=1 << 31), identity(misc_select=b"\x00\x00\x00\x01"),
            identity(misc_select=b"\x01\x00\x00\x00", misc_select_mask=bytes(4)),
        ]),
        "qe_identity.attributes": (BOTH, [
            qe(attributes=bytes.fromhex("05" + "00" * 7 + "e7" + "00" * 7)),
            qe(attributes=bytes.fromhex("1100000000000001" + "e7" + "00" * 7)),
            identity(attributes=bytes(16)), identity(attributes=b"\x11" + bytes(14) + b"\x01"),
        ]),
        "qe_identity.debug": (BOTH, [
            lambda c: qe(attributes=debug)(identity(attributes_mask=b"\xf9" + b"\xff" * 7 + bytes(8))(c)),
            lambda c: qe(attributes=debug)(identity(attributes=b"\x13" + bytes(15))(c)),
        ]),
        "qe_identity.mrsigner": (BOTH, [qe(mr_signer=bytes(32)), identity(mr_signer=bytes(32))]),
        "qe_identity.isvprodid": (BOTH, [qe(isv_prod_id=7), identity(isv_prod_id=7)]),
        "tcb.qe_level": (BOTH, [qe(isv_svn=1), identity(levels=())]),
        "tcb.level": (BOTH, [
            lambda c: c.on(components=(0,) * 16), lambda c: c.on(pce_svn=0),
            lambda c: c.altered(tcb_info=lambda t: replace(t, levels=())),
        ]),
    }


def svn(minor: int, major: int, late: int = 8) -> bytes:
    return bytes((minor, major, late)) + bytes(13)


def current(value: bytes) -> Breaks:
    return lambda c: c.says(v15=replace(c.body.v15, tee_tcb_svn2=value))


def module(**changes: Any) -> Breaks:
    """What TCB info says of every TDX module."""
    identities = tuple(replace(each, **changes) for each in MODULE_IDENTITIES)
    return lambda c: c.altered(tcb_info=lambda t: replace(
        t, module_identities=identities, module=replace(t.module, **changes)))


def tdx_rules() -> Table:
    odd = b"\x01" + bytes(7)
    return {
        "tcb.module_level": (TDX, [
            lambda c: c.says(tee_tcb_svn=svn(1, 1)), lambda c: c.says(tee_tcb_svn=svn(9, 2)),
            lambda c: c.altered(tcb_info=lambda t: replace(t, module_identities=None)),
            lambda c: c.altered(tcb_info=lambda t: replace(t, module_identities=tuple(
                replace(i, id=i.id.lower()) for i in t.module_identities))),
        ]),
        "tcb.level": (TDX, [lambda c: c.says(tee_tcb_svn=svn(6, 1, 0)), lambda c: c.says(tee_tcb_svn=svn(0, 0))]),
        "tcb_current.module_level": (TD15, [current(svn(1, 1)), current(svn(9, 2))]),
        "tcb_current.level": (TD15, [current(svn(6, 1, 0)), current(svn(0, 0))]),
        "tdx_module.mrsigner": (TDX, [
            lambda c: c.says(mr_signer_seam=bytes(47) + b"\x01"), module(mr_signer=b"\x01" + bytes(47))]),
        "tdx_module.attributes": (TDX, [lambda c: c.says(seam_attributes=odd), module(attributes=odd)]),
        "tdx_module.seam_attributes": (TDX, [
            lambda c: module(attributes_mask=b"\xfe" + b"\xff" * 7)(c).says(seam_attributes=odd),
            lambda c: module(attributes=odd)(c).says(seam_attributes=odd),
        ]),
    }


TABLES: list[Table] = [quote_rules(), chain_rules(), document_rules(), crl_rules("root_ca_crl", "root_crl", "root"),
                       crl_rules("pck_crl", "pck_crl", "platform_ca"), platform_rules(), tdx_rules()]

OUT_OF_REACH = {
    "pck_chain.intermediate.path_length": "no CA follows below, and every length allows that",
    "pck_chain.leaf.scope": "leaf and list were compared with the same CA before",
    "tcb_info.issuer_chain.leaf.scope": "leaf and list were compared with the same root before",
    "tcb.module": "a document without a module is unreadable as TDX TCB info",
    "tcb_current.module": "the same",
    "root_ca_crl.signature.identifier": "the X.509 library does not read a list with two algorithms",
    "pck_crl.signature.identifier": "the same",
    "accept.status": "an expectation; see tests/verifier/appraisal",
    "accept.flags": "an expectation; a flag is refused under its own name",
}


BROKEN = [
    pytest.param(rule, kind, make, id=f"{kind}-{rule}-{number}")
    for table in TABLES for rule, (kinds, variants) in table.items() for kind in kinds
    for number, make in enumerate(variants)
]


@pytest.mark.parametrize(("rule", "kind", "make"), BROKEN)
def test_rule_refuses_alone(intel_case, rule, kind, make):
    verdict = make(intel_case(kind)).verdict()
    tee = kind.partition("-")[0]
    assert isinstance(verdict.error, CheckFailed), verdict.error
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (False, False, f"{tee}.{rule}")
    assert [check.id for check in verdict.mismatches] == ([f"{tee}.{rule}"] if rule != "size" else [])
    assert verdict.claims is None


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_that_keeps_every_rule_is_accepted(intel_case, kind):
    verdict = intel_case(kind).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.status, verdict.error) == (True, True, "UpToDate", None)
    assert verdict.claims.software is True


def covered() -> set[str]:
    return {rule for table in TABLES for rule in table} | set(OUT_OF_REACH)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_that_accepted_evidence_kept_is_in_the_tables(intel_case, kind):
    noted = {check.id.partition(".")[2] for check in intel_case(kind).verdict().checks}
    assert noted <= covered()


SOURCES = ("checks/dcap.py", "checks/dcap_tcb.py", "checks/intel_tcb.py", "endorsements/chain.py",
           "endorsements/crl.py", "endorsements/intel.py", "tees/tdx.py", "tees/sgx.py")


def test_every_rule_in_the_source_is_in_the_tables():
    patterns = rules_in_source(*SOURCES)
    assert len(patterns) >= 40
    assert without_a_case(patterns, covered()) == []


def test_what_is_out_of_reach_is_really_noted_or_written(intel_case):
    noted = {check.id.partition(".")[2] for kind in KINDS for check in intel_case(kind).verdict().checks}
    written = rules_in_source(*SOURCES)
    assert all(rule in noted or any(re.fullmatch(p, rule) for p in written) for rule in OUT_OF_REACH)


@pytest.mark.parametrize("kind", BOTH)
def test_prepared_trust_never_changes_an_answer(intel_case, kind):
    good = intel_case(kind)
    assert_prepared_trust_never_changes_an_answer(
        good, ((rule, make(good)) for rule, of_kind, make in (param.values for param in BROKEN) if of_kind == kind))


LINKS = ("pck_chain.intermediate", "pck_chain.leaf", "tcb_info.issuer_chain.leaf", "qe_identity.issuer_chain.leaf")
# Rules that dcap-qvl 0.7.0 does not apply in at least one variant of their breaking: there this verifier is stricter.
STRICTER_THAN_DCAP_QVL = {
    # It builds paths: names, usages and key identifiers are the builder's, surplus certificates and roots are ignored.
    *(f"{link}.{rule}" for link in LINKS for rule in ("authority_key", "key_usage", "name", "profile")),
    *(f"{chain}.{rule}" for chain in ("pck_chain", "tcb_info.issuer_chain", "qe_identity.issuer_chain")
      for rule in ("length", "root")),
    # A list from the future (docs/divergences.md), and one with another key's identifier.
    *(f"{crl}.{rule}" for crl in ("root_ca_crl", "pck_crl") for rule in ("validity", "authority_key")),
    "tcb_info.pce_id",
    "tcb.module_level",  # identities named in lower case
    "qe_identity.miscselect", "qe_identity.attributes",  # values with bits outside their own mask
    "tdx_module.seam_attributes",  # attributes that the document allows; the maker wants them all zero
    "qe_report.binding",  # bytes after the digest
    "size",
}


def dcap_qvl_says(case: Any, root: bytes) -> str | None:
    """The status by dcap-qvl, or None where it refuses."""
    members = {name: value for name in case.intel_collateral.__dataclass_fields__
               if (value := getattr(case.intel_collateral, name)) is not None}
    try:
        told = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(collateral_json(members)))
        return dcap_qvl.verify_with_root_ca(case.raw, told, root, case.at).status
    except (ValueError, UnicodeDecodeError):
        return None


def test_dcap_qvl_refuses_the_same_but_for_what_is_listed(intel_case):
    """Both on the same evidence; it reads enclave quotes of version 3 only."""
    found, root = set(), intel_case().maker.certificate("root")
    for param in BROKEN:
        rule, kind, make = param.values
        case = make(intel_case(kind))
        if case.roots == () and dcap_qvl_says(case, root) is not None:
            found.add(rule)
    assert found == STRICTER_THAN_DCAP_QVL
    for kind in KINDS:
        expected = None if kind in ("sgx-v4", "sgx-v5") else "UpToDate"
        assert dcap_qvl_says(intel_case(kind), root) == expected
