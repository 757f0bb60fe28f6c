"""Every rule that the verifier notes can be broken alone.

For each rule of a trail that ended in acceptance there is an alteration below that breaks it while everything else is
right and correctly signed: the verdict must name that rule and no other. A rule without an alteration must be listed as
out of reach, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verdict
from verifier.endorsements.collateral import AmdCollateral, IntelCollateral
from verifier.formats.snp_report import SigningKey, SnpReport
from verifier.formats.td_report import TdReport
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.amd import BL_SPL, HWID, SNP_SPL, STRUCT_VERSION, TEE_SPL, UCODE_SPL, Chip, SmallAmd
from verifier.software_tee.certificates import Alteration, Certificate, Extension, RevocationList
from verifier.software_tee.intel import SmallIntel
from verifier.software_tee.intel_levels import MODULE_IDENTITIES
from verifier.software_tee.intel_platform import Platform
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT, TD_REPORT_15
from verifier.software_tee.keys import EcKey, RsaKey
from verifier.verify import verify

AT = 1_780_000_000
INTEL = SmallIntel.create(bytes(16), at=AT)
OTHER = SmallIntel.create(bytes(range(16)), at=AT)
UNKNOWN = Extension("1.2.3.4", der.NULL, critical=True)
SOMEBODY = ((x509.COMMON_NAME, "Somebody"),)


@dataclass(frozen=True)
class World:
    """All that a verdict depends on."""

    evidence: Evidence
    roots: tuple[bytes, ...]
    intel: Mapping[str, bytes] = field(default_factory=dict)
    amd: Mapping[str, Any] = field(default_factory=dict)
    report_data: bytes = bytes(64)

    def judge(self) -> Verdict:
        collateral = Collateral(intel=IntelCollateral(**self.intel) if self.intel else None,
                                amd=AmdCollateral(**self.amd) if self.amd else None)
        return verify(self.evidence, collateral=collateral, roots=Roots.only_software(self.roots), at=AT,
                      binding=Binding(self.report_data))


def tdx(maker: SmallIntel = INTEL, body: TdReport = TD_REPORT_15, roots: tuple[bytes, ...] = (),
        **collateral: bytes) -> World:
    """A TD 1.5 quote by ``maker``, with its collateral but for what is given."""
    return World(Evidence(Tee.TDX, maker.quote(body)), (maker.chain("root"), *roots),
                 intel=maker.collateral("tdx") | collateral)


def altered(**alterations: Any) -> World:
    return tdx(INTEL.altered(**alterations))


def body(**changes: Any) -> World:
    return tdx(body=replace(TD_REPORT_15, **changes))


def in_quote(chain: bytes) -> World:
    """The quote carries another PCK chain."""
    return altered(quote=lambda q: replace(q, certification=replace(q.certification, certification_data=chain)))


def qe_signed_by(maker: SmallIntel, **root_crl: Any) -> World:
    """Only the QE identity comes with this maker's signing chain."""
    ours = INTEL.altered(**root_crl)
    return tdx(ours, qe_identity_issuer_chain=maker.chain("tcb_signing", "root"))


C = TypeVar("C")


def each(rule: str, alterations: Mapping[str, Any], apply: Callable[[Any], C]) -> dict[str, C]:
    """Rule names to what ``apply`` makes of each alteration."""
    return {f"{rule}.{name}": apply(alteration) for name, alteration in alterations.items()}


def link(wrong: EcKey | RsaKey, odd: EcKey | RsaKey, *, leaf: bool) -> dict[str, Alteration[Certificate]]:
    """One alteration per rule of a certificate; ``wrong`` is a key of the right kind, ``odd`` of another."""
    return {
        "validity": lambda c: replace(c, not_after=AT - 1),
        "issuer": lambda c: replace(c, issuer=SOMEBODY),
        "authority_key": lambda c: c.changed(x509.authority_key_identifier(bytes(20))),
        "extensions": lambda c: c.changed(UNKNOWN),
        "ca": lambda c: c.changed(x509.basic_constraints(ca=leaf)),
        "key_usage": lambda c: c.changed(x509.key_usage(x509.KEY_CERT_SIGN if leaf else x509.CRL_SIGN)),
        "signature.algorithm": lambda c: replace(c, signer=odd),
        "signature.identifier": lambda c: replace(c, mutate=lambda tbs: other_algorithm(tbs, c.signer.algorithm)),
        "signature": lambda c: replace(c, signer=wrong),
    }


def other_algorithm(tbs: bytes, algorithm: bytes) -> bytes:
    """The signed part names an algorithm that differs in its last bit from the one beside the signature."""
    return tbs.replace(algorithm, algorithm[:-1] + bytes((algorithm[-1] ^ 1,)), 1)


def crl(wrong: EcKey | RsaKey, odd: EcKey | RsaKey) -> dict[str, Alteration[RevocationList]]:
    """One alteration per rule of a revocation list."""
    return {
        "issuer": lambda c: replace(c, issuer=SOMEBODY),
        "authority_key": lambda c: c.changed(x509.authority_key_identifier(bytes(20))),
        "signature.algorithm": lambda c: replace(c, signer=odd),
        "signature": lambda c: replace(c, signer=wrong),
        "next_update": lambda c: replace(c, next_update=None),
        "validity": lambda c: replace(c, next_update=AT),
    }


def named(role: str, name: str, child: str) -> dict[str, Any]:
    """A certificate under another name, which its child knows."""
    other = ((x509.COMMON_NAME, name),)
    return {role: lambda c: replace(c, subject=other), child: lambda c: replace(c, issuer=other)}


def tdx_rules() -> dict[str, World]:
    expired_root = INTEL.altered(root=lambda c: replace(c, not_after=AT - 1))
    seam = replace(TD_REPORT_15, seam_attributes=b"\x01" + bytes(7))
    open_modules = tuple(replace(identity, attributes_mask=bytes(8)) for identity in MODULE_IDENTITIES)
    v15 = TD_REPORT_15.v15
    assert v15 is not None
    qe = INTEL.altered(tcb_signing=lambda c: replace(c, serial=c.serial + 1))
    world = {
        "quote.tee": World(Evidence(Tee.TDX, INTEL.quote(ENCLAVE_REPORT)), (INTEL.chain("root"),)),
        "quote.vendor": altered(quote=lambda q: replace(q, header=replace(q.header, qe_vendor_id=bytes(16)))),
        "quote.signature": altered(quote=lambda q: replace(q, signer=OTHER.attestation_key)),
        "pck_chain.length": in_quote(INTEL.chain("pck", "platform_ca")),
        "pck_chain.root": in_quote(INTEL.chain("pck", "platform_ca") + OTHER.chain("root")),
        "pck_chain.root.validity": tdx(expired_root),
        "pck_chain.intermediate.name": altered(**named("platform_ca", "Intel SGX PCK Other CA", "pck")),
        "pck_chain.intermediate.revoked": altered(root_crl=lambda c: c.revoking(INTEL.serial("platform_ca"))),
        "pck_chain.leaf.name": altered(pck=lambda c: replace(c, subject=SOMEBODY)),
        "pck_chain.leaf.revoked": altered(pck_crl=lambda c: c.revoking(INTEL.serial("pck"))),
        "pck_chain.same_root": replace(tdx(roots=(OTHER.chain("root"),)), intel=OTHER.collateral("tdx")),
        "qe_report.signature": altered(qe_report=lambda q: replace(q, signer=OTHER.key("pck"))),
        "qe_report.binding": altered(qe_report=lambda q: replace(q, auth_data=b"")),
        "tcb_info.issuer_chain.length": tdx(tcb_info_issuer_chain=INTEL.chain("tcb_signing")),
        "tcb_info.issuer_chain.root": tdx(tcb_info_issuer_chain=INTEL.chain("tcb_signing") + OTHER.chain("root")),
        "tcb_info.issuer_chain.root.validity": tdx(
            roots=(expired_root.chain("root"),), tcb_info_issuer_chain=expired_root.chain("tcb_signing", "root")),
        "tcb_info.issuer_chain.leaf.name": altered(tcb_signing=lambda c: replace(c, subject=SOMEBODY)),
        "tcb_info.issuer_chain.leaf.revoked": altered(root_crl=lambda c: c.revoking(INTEL.serial("tcb_signing"))),
        "tcb_info.signature": altered(tcb_info=lambda t: replace(t, signer=OTHER.key("tcb_signing"))),
        "tcb_info.id": tdx(tcb_info=INTEL.tcb_info("sgx").text, tcb_info_signature=INTEL.tcb_info("sgx").signature),
        "tcb_info.issue_date": altered(tcb_info=lambda t: replace(t, issue_date=AT + 1)),
        "tcb_info.next_update": altered(tcb_info=lambda t: replace(t, issue_date=AT - 2, next_update=AT - 1)),
        "tcb_info.fmspc": altered(tcb_info=lambda t: replace(t, fmspc=bytes(6))),
        "tcb_info.pce_id": altered(tcb_info=lambda t: replace(t, pce_id=b"\x01\x00")),
        "qe_identity.issuer_chain.length": tdx(qe_identity_issuer_chain=INTEL.chain("tcb_signing")),
        "qe_identity.issuer_chain.root": tdx(
            qe_identity_issuer_chain=INTEL.chain("tcb_signing") + OTHER.chain("root")),
        "qe_identity.issuer_chain.root.validity": tdx(
            roots=(expired_root.chain("root"),), qe_identity_issuer_chain=expired_root.chain("tcb_signing", "root")),
        "qe_identity.issuer_chain.leaf.name": qe_signed_by(
            INTEL.altered(tcb_signing=lambda c: replace(c, subject=SOMEBODY))),
        "qe_identity.issuer_chain.leaf.revoked": qe_signed_by(
            qe, root_crl=lambda c: c.revoking(qe.serial("tcb_signing"))),
        "qe_identity.issuer_chain.same_root": tdx(
            roots=(OTHER.chain("root"),), qe_identity_issuer_chain=OTHER.chain("tcb_signing", "root")),
        "qe_identity.signature": altered(qe_identity=lambda q: replace(q, signer=OTHER.key("tcb_signing"))),
        "qe_identity.id": altered(qe_identity=lambda q: replace(q, id="QE")),
        "qe_identity.issue_date": altered(qe_identity=lambda q: replace(q, issue_date=AT + 1)),
        "qe_identity.next_update": altered(qe_identity=lambda q: replace(q, issue_date=AT - 2, next_update=AT - 1)),
        "qe_identity.miscselect": altered(qe_identity=lambda q: replace(q, misc_select=b"\x00\x00\x00\x01")),
        "qe_identity.attributes": altered(qe_report=lambda q: replace(q, report=replace(
            q.report, attributes=b"\x05" + q.report.attributes[1:]))),
        "qe_identity.debug": altered(
            qe_report=lambda q: replace(q, report=replace(q.report, attributes=b"\x17" + q.report.attributes[1:])),
            qe_identity=lambda q: replace(q, attributes_mask=b"\xf9" + q.attributes_mask[1:])),
        "qe_identity.mrsigner": altered(qe_identity=lambda q: replace(q, mr_signer=bytes(32))),
        "qe_identity.isvprodid": altered(qe_identity=lambda q: replace(q, isv_prod_id=7)),
        "tcb.qe_level": altered(qe_report=lambda q: replace(q, report=replace(q.report, isv_svn=1))),
        "tcb.module_level": body(tee_tcb_svn=bytes((1, 1, 8)) + bytes(13)),
        "tcb_current.module_level": body(v15=replace(v15, tee_tcb_svn2=bytes((1, 1, 8)) + bytes(13))),
        "tcb.level": tdx(INTEL.on(Platform(components=(0,) * 16))),
        "tcb_current.level": body(v15=replace(v15, tee_tcb_svn2=bytes((6, 1, 0)) + bytes(13))),
        "tdx_module.mrsigner": body(mr_signer_seam=b"\x01" * 48),
        "tdx_module.attributes": tdx(body=seam),
        "tdx_module.seam_attributes": tdx(
            INTEL.altered(tcb_info=lambda t: replace(t, module_identities=open_modules)), body=seam),
        "accept.status": tdx(INTEL.on(Platform(components=(7, 7, 2, 2, 3, 0, 0, 3) + (0,) * 8, pce_svn=11))),
        "binding.report_data": body(report_data=b"\x01" * 64),
    }
    ca_key, root_key = INTEL.key("platform_ca"), INTEL.key("root")
    by_ca = OTHER.key("platform_ca"), replace(ca_key, digest="sha1")
    by_root = OTHER.key("root"), replace(root_key, digest="sha1")
    for role, rule in (("pck", "pck_chain.leaf"), ("platform_ca", "pck_chain.intermediate"),
                       ("tcb_signing", "tcb_info.issuer_chain.leaf")):
        world[f"{rule}.profile"] = altered(**{role: lambda c: c.without(x509.AUTHORITY_KEY_IDENTIFIER)})
    world["qe_identity.issuer_chain.leaf.profile"] = qe_signed_by(
        INTEL.altered(tcb_signing=lambda c: c.without(x509.SUBJECT_KEY_IDENTIFIER)))
    world |= each("pck_chain.leaf", link(*by_ca, leaf=True), lambda a: altered(pck=a))
    world |= each("pck_chain.intermediate", link(*by_root, leaf=False), lambda a: altered(platform_ca=a))
    world |= each("tcb_info.issuer_chain.leaf", link(*by_root, leaf=True), lambda a: altered(tcb_signing=a))
    world |= each("qe_identity.issuer_chain.leaf", link(*by_root, leaf=True),
                  lambda a: qe_signed_by(INTEL.altered(tcb_signing=a)))
    profile = {"profile": lambda c: c.without(x509.SUBJECT_KEY_IDENTIFIER)}
    world |= each("pck_chain.leaf", profile, lambda a: altered(pck=a))
    world |= each("pck_chain.intermediate", profile, lambda a: altered(platform_ca=a))
    world |= each("tcb_info.issuer_chain.leaf", profile, lambda a: altered(tcb_signing=a))
    world |= each("qe_identity.issuer_chain.leaf", profile, lambda a: qe_signed_by(INTEL.altered(tcb_signing=a)))
    world |= each("root_ca_crl", crl(*by_root), lambda a: altered(root_crl=a))
    world |= each("pck_crl", crl(*by_ca), lambda a: altered(pck_crl=a))
    return world


TDX_OUT_OF_REACH = {
    "pck_chain.intermediate.path_length": "no CA follows, and any length allows that",
    "pck_chain.leaf.scope": "the list's issuer and the leaf's are compared with the same CA before",
    "pck_chain.intermediate.scope": "as above, with the root",
    "tcb_info.issuer_chain.leaf.scope": "as above, with the root",
    "qe_identity.issuer_chain.leaf.scope": "as above, with the root",
    "accept.flags": "a flag is refused under its own name",
}


@pytest.fixture(scope="module")
def snp_maker() -> SmallAmd:
    return SmallAmd.create(at=AT)


def snp_world(maker: SmallAmd, report: SnpReport | None = None) -> World:
    """A report by ``maker`` with its chain and revocation list."""
    evidence = Evidence(Tee.SNP, maker.report(maker.body() if report is None else report), maker.certificates())
    return World(evidence, (maker.chain("ark"),), amd={"crls": (maker.crl,)})


def snp_rules(maker: SmallAmd, other: SmallAmd) -> dict[str, Callable[[], World]]:
    """As functions, because each RSA signature takes a while."""
    def world() -> World:
        return snp_world(maker)

    def said(**changes: Any) -> Callable[[], World]:
        return lambda: snp_world(maker, replace(maker.body(), **changes))

    def alter(**alterations: Any) -> Callable[[], World]:
        return lambda: snp_world(maker.altered(**alterations))

    def spl(oid: str) -> Callable[[], World]:
        return alter(vcek=lambda c: c.changed(Extension(oid, der.integer(99))))

    def raw(offset: int, value: bytes) -> Callable[[], World]:
        """Bytes of the finished report that are not signed."""
        def make() -> World:
            good = world()
            quote = good.evidence.quote
            return replace(good, evidence=replace(
                good.evidence, quote=quote[:offset] + value + quote[offset + len(value):]))
        return make

    tcb = maker.body().reported_tcb
    genoa = Chip.of("Genoa")
    small, odd = maker.keys.rsa_pss("small", 2048), maker.leaf_key("vcek")
    rules = each("crl", crl(other.ca_key("ark"), odd), lambda a: alter(crl=a))
    rules |= each("vcek", link(other.ca_key("ask"), odd, leaf=True), lambda a: alter(vcek=a))
    rules |= each("chain.ask", link(other.ca_key("ark"), odd, leaf=False), lambda a: alter(ask=a))
    rules |= {
        "report.signature_algo": said(signature_algo=2),
        "report.signing_key": said(flags=int(SigningKey.NONE) << 2),
        "report.cpuid": said(cpuid_family=0x1F),
        "report.cpuid.certificate": said(cpuid_model=0x11),
        "report.signing_key.certificate": lambda: replace(
            world(), evidence=replace(world().evidence, certificates=maker.certificates("vlek"))),
        "certificates.count": lambda: replace(
            world(), evidence=replace(world().evidence, certificates=maker.certificates() * 6)),
        "vcek.extension.struct_version": alter(vcek=lambda c: c.changed(Extension(STRUCT_VERSION, der.integer(9)))),
        "chain.root": lambda: replace(world(), roots=(OTHER.chain("root"),)),
        "chain.ark.validity": alter(ark=lambda c: replace(c, not_after=AT - 1)),
        "chain.ark.extensions": alter(ark=lambda c: c.changed(UNKNOWN)),
        "chain.ark.ca": alter(ark=lambda c: c.changed(x509.basic_constraints(ca=False))),
        "chain.ark.path_length": alter(ark=lambda c: c.changed(x509.basic_constraints(ca=True, path_length=0))),
        "chain.ark.key_usage": alter(ark=lambda c: c.changed(x509.key_usage(x509.CRL_SIGN))),
        "chain.ark.signature.algorithm": alter(ark=lambda c: replace(c, public_key=small.public_key, signer=small)),
        "chain.ask.key": alter(ask=lambda c: replace(c, public_key=odd.public_key)),
        "chain.ask.name": alter(ask=lambda c: replace(c, subject=SOMEBODY), vcek=lambda c: replace(c, issuer=SOMEBODY)),
        "chain.ark.revoked": alter(crl=lambda c: c.revoking(maker.serial("ark"))),
        "chain.ask.revoked": alter(crl=lambda c: c.revoking(maker.serial("ask"))),
        "vcek.revoked": alter(crl=lambda c: c.revoking(0)),
        "vcek.tcb.bootloader": spl(BL_SPL), "vcek.tcb.tee": spl(TEE_SPL), "vcek.tcb.snp": spl(SNP_SPL),
        "vcek.tcb.microcode": spl(UCODE_SPL),
        "vcek.chip_id": alter(vcek=lambda c: c.changed(Extension(HWID, genoa.hwid))),
        "report.signature": alter(report=lambda r: replace(r, signer=maker.leaf_key("vlek"))),
        "report.signature.encoding": raw(0x2A0 + 48, b"\x01"),
        "report.signature.range": raw(0x2A0, bytes(72)),
        "report.reserved_330": raw(0x330, b"\x01"),
        "report.reserved_1f8": said(launch_mit_vector=1),
        "report.policy.bit17": said(policy=0x10000),
        "report.policy.reserved": said(policy=0x30000 | 1 << 40),
        "report.platform_info.reserved": said(platform_info=1 << 40),
        "report.flags.reserved": said(flags=1 << 9),
        "report.vmpl": said(vmpl=4),
        "report.author_key_digest": said(author_key_digest=b"\x01" * 48),
        "binding.report_data": said(report_data=b"\x01" * 64),
    }
    for name, size in {"04c": 4, "18b": 21, "1eb": 1, "1ef": 1, "208": 152}.items():
        rules[f"report.reserved_{name}"] = said(**{f"reserved_{name}": bytes(size - 1) + b"\x01"})
    for number in range(2, 6):
        changed = tcb[:number] + b"\x01" + tcb[number + 1:]
        rules[f"vcek.tcb.byte{number}"] = said(reported_tcb=changed)
    for name in ("current", "committed", "launch"):
        rules[f"report.{name}_tcb.reserved"] = said(**{f"{name}_tcb": tcb[:3] + b"\x01" + tcb[4:]})
    return rules


SNP_OUT_OF_REACH = {
    "vcek.extension.all": "each extension that is missing, doubled or mistyped is refused under its own name",
    "chain.ask.path_length": "no CA follows, and any length allows that",
    "chain.ark.issuer": "a configured root signs itself, or it is not configured",
    "chain.ark.signature": "as above",
    "chain.ark.signature.identifier": "as above: it would not verify itself with two algorithms",
    "chain.ark.key": "as above: with another kind of key the algorithm is refused first",
    "report.reported_tcb.reserved": "the certificate's reserved SPLs are compared with it before",
    "endorsement.validity": "each certificate and list is refused under its own name first",
    "accept.status": "AMD has no TCB status",
    "accept.flags": "a flag is refused under its own name",
}

# Names choose among certificates and lists, so a wrong one is not asked at all.
SNP_CHOOSES = ("vcek.issuer", "chain.ask.issuer", "crl.issuer")

TDX_RULES = tdx_rules()


def assert_only(verdict: Verdict, rule: str) -> None:
    broken = [check.id for check in verdict.mismatches]
    assert (broken, verdict.accepted) == ([rule], False), str(verdict.error)
    assert verdict.error is None or verdict.error.id == rule


@pytest.mark.parametrize("rule", TDX_RULES)
def test_tdx_rule_breaks_alone(rule: str) -> None:
    assert_only(TDX_RULES[rule].judge(), f"tdx.{rule}")


def test_no_tdx_rule_is_forgotten() -> None:
    verdict = tdx().judge()
    assert verdict.accepted
    noted = {check.id.removeprefix("tdx.") for check in verdict.checks}
    assert noted - set(TDX_RULES) - set(TDX_OUT_OF_REACH) == set()
    assert set(TDX_RULES) - noted == set()
    assert set(TDX_OUT_OF_REACH) - noted == set()


def test_snp_rules_break_alone(snp_maker: SmallAmd) -> None:
    rules = snp_rules(snp_maker, SmallAmd.create(at=AT))
    for name in SNP_CHOOSES:
        del rules[name]
    told = {rule: [check.id for check in make().judge().mismatches] for rule, make in rules.items()}
    assert told == {rule: [f"snp.{rule}"] for rule in rules}


def test_no_snp_rule_is_forgotten(snp_maker: SmallAmd) -> None:
    verdict = snp_world(snp_maker).judge()
    assert verdict.accepted
    noted = {check.id.removeprefix("snp.") for check in verdict.checks}
    covered = set(snp_rules(snp_maker, snp_maker))
    out_of_reach = set(SNP_OUT_OF_REACH) | set(SNP_CHOOSES)
    assert noted - covered - out_of_reach == set()
    assert out_of_reach - noted == set()
