"""AMD's chain: whose root, which role, when, and what the revocation list says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from verifier.endorsements.amd import MAX_SUPPLIED
from verifier.endorsements.collateral import AmdCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, MalformedCollateral, MalformedEvidence, MissingCollateral
from verifier.formats.snp_report import SigningKey
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.amd import HWID, YEAR
from verifier.software_tee.certificates import COMMON_NAME, Extension, Revoked

VLEK = SigningKey.VLEK
LEAVES = pytest.mark.parametrize(("leaf", "ca", "signing_key"),
                                 [("vcek", "ask", SigningKey.VCEK), ("vlek", "asvk", VLEK)])
USER_CERTIFICATES_ONLY = der.sequence(der.implicit(1, b"\xff"))


def named(name: x509.Name, common: str) -> x509.Name:
    return tuple((kind, common if kind == COMMON_NAME else text) for kind, text in name)


@pytest.fixture
def altered(snp_maker, snp_case):
    """``altered(vcek=..., signing_key=...)``: a case whose maker has altered artefacts."""
    def make(signing_key: SigningKey = SigningKey.VCEK, **alterations):
        return snp_case(maker=snp_maker.altered(**alterations), signing_key=signing_key)
    return make


@LEAVES
def test_a_chain_under_a_configured_root_holds_and_is_marked_software(snp_case, leaf, ca, signing_key):
    claims = snp_case(signing_key=signing_key).verify()
    assert claims.software is True
    assert claims.endorsement["endorsement_key"] == leaf.upper()


def test_the_makers_roots_do_not_vouch_for_the_small_amd(snp_case):
    case = snp_case()
    case.roots = Roots.makers()
    error = case.refusal()
    assert isinstance(error, CheckFailed)
    assert (error.id, error.got) == ("snp.chain.root", hashlib.sha256(case.maker.certificate("ark")).digest())


def test_without_its_ark_a_forged_chain_fails_at_the_leaf(snp_case):
    case = snp_case()
    case.roots = Roots.makers()
    case.amd = AmdCollateral((case.maker.certificate("vcek"), case.maker.certificate("ask")))
    assert case.refusal().id == "snp.vcek.signature"


def test_no_root_at_all_refuses(snp_case):
    case = snp_case()
    case.roots = Roots(())
    assert case.refusal().id == "snp.chain.root"


def test_a_root_of_another_small_amd_refuses(snp_maker, snp_case):
    other = snp_maker.altered(ark=lambda c: replace(c, serial=77))
    case = snp_case()
    case.roots = Roots.only_software([other.certificate("ark")])
    assert case.verify().software, "the same key under the same name: the chain verifies under either certificate"
    stranger = replace(snp_maker, keys=type(snp_maker.keys)(None))
    case.roots = Roots.only_software([stranger.certificate("ark")])
    assert case.refusal().id == "snp.chain.ask.authority_key"


def test_genuine_evidence_with_a_changed_ark_is_refused_by_the_root(corpus, snp_case):
    """The real key under other validity dates and a signature that nobody checked (attack S-01)."""
    folder = corpus.folder("snp/milan-v3-vcek-oak")
    ark = bytearray((corpus.root / "anchors" / "amd-ark-milan.der").read_bytes())
    ark[-1] ^= 1
    case = snp_case()
    case.report, case.roots = (folder / "report.bin").read_bytes(), Roots.makers()
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(), bytes(ark)))
    assert case.refusal().id == "snp.chain.root"
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(), (folder / "cert_chain.pem").read_bytes()))
    assert case.verify().software is False


def test_genuine_and_software_evidence_verify_side_by_side(corpus, snp_case):
    """Same names, same collateral, same roots: the key that signed the leaf tells which is which."""
    folder = corpus.folder("snp/milan-v3-vcek-oak")
    ours, genuine = snp_case(), snp_case()
    together = AmdCollateral((*ours.maker.certificates(), (folder / "vcek.der").read_bytes(),
                              (folder / "cert_chain.pem").read_bytes()))
    genuine.report = (folder / "report.bin").read_bytes()
    for case, software in ((ours, True), (genuine, False)):
        case.amd, case.roots = together, Roots.makers().with_software([ours.maker.certificate("ark")])
        assert case.verify().software is software


@LEAVES
def test_each_certificate_has_its_dates(altered, snp_at, leaf, ca, signing_key):
    for role in ("ark", ca, leaf):
        rule = f"snp.{role}" if role == leaf else f"snp.chain.{role}"
        case = altered(signing_key, **{role: lambda c: replace(c, not_before=snp_at + 5, not_after=snp_at + 100)})
        for at, holds in ((snp_at + 4, False), (snp_at + 5, True), (snp_at + 100, True), (snp_at + 101, False)):
            case.at = at
            if holds:
                assert case.verify().valid_until == snp_at + 100
            else:
                assert case.refusal().id == f"{rule}.validity"


def test_the_pins_have_their_dates_too(corpus, snp_case):
    folder = corpus.folder("snp/milan-v3-vcek-oak")
    makers = Roots.makers()
    for role in ("ark", "ask"):
        anchors = tuple(replace(a, not_after=1_750_000_000) if (a.role, a.product) == (role, "Milan") else a
                        for a in makers.anchors)
        case = snp_case()
        case.report, case.roots = (folder / "report.bin").read_bytes(), Roots(anchors)
        case.amd, case.at = AmdCollateral(((folder / "vcek.der").read_bytes(),)), 1_750_000_000
        assert case.verify().valid_until == 1_750_000_000
        case.at += 1
        assert case.refusal().id == f"snp.chain.{role}.validity"


def test_a_line_without_its_authority_among_the_pins_refuses(corpus, snp_case):
    folder, case = corpus.folder("snp/milan-v3-vcek-oak"), snp_case()
    case.report = (folder / "report.bin").read_bytes()
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(),))
    for role, rule in (("ask", "snp.chain.ask"), ("ark", "snp.chain.root")):
        case.roots = Roots(tuple(a for a in Roots.makers().anchors if (a.role, a.product) != (role, "Milan")))
        assert case.refusal().id == rule


@LEAVES
def test_a_link_signed_by_another_key_is_refused(snp_maker, altered, leaf, ca, signing_key):
    stranger = snp_maker.keys.rsa_pss("stranger")
    for role, rule in ((leaf, f"snp.{leaf}.signature"), (ca, f"snp.chain.{ca}.signature")):
        assert altered(signing_key, **{role: lambda c: replace(c, signer=stranger)}).refusal().id == rule


@LEAVES
def test_a_certificate_changed_after_signing_is_refused(snp_maker, snp_case, leaf, ca, signing_key):
    for role, rule in ((leaf, f"snp.{leaf}.signature"), (ca, f"snp.chain.{ca}.signature")):
        case = snp_case(signing_key=signing_key)
        kept = {name: snp_maker.certificate(name) for name in (leaf, ca, "ark")}
        kept[role] = kept[role][:-1] + bytes((kept[role][-1] ^ 1,))
        case.amd = AmdCollateral(tuple(kept.values()))
        assert case.refusal().id == rule


def test_the_unsigned_name_of_the_algorithm_is_not_ignored(snp_maker, snp_case):
    """SHA-384 made SHA-512 beside the signature only: nothing that is verified changes, and still it is refused."""
    sha384 = bytes.fromhex("0609608648016503040202")

    def changed(document: bytes) -> bytes:
        at = document.rindex(sha384) + len(sha384) - 1
        return document[:at] + b"\x03" + document[at + 1:]

    leaf, ca, root = snp_maker.certificates()
    case = snp_case()
    for certificates, rule in (((changed(leaf), ca, root), "vcek"), ((leaf, changed(ca), root), "chain.ask")):
        case.amd = AmdCollateral(certificates)
        assert case.refusal().id == f"snp.{rule}.signature.identifier"
    case.amd = AmdCollateral((leaf, ca, root), (changed(snp_maker.crl),))
    assert case.refusal().id == "collateral.crl"


@pytest.mark.parametrize(("role", "alteration", "rule"), [
    ("vcek", lambda c: replace(c, issuer=named(c.issuer, "SEV-Genoa")), "chain.root"),
    ("ask", lambda c: replace(c, subject=named(c.subject, "SEV-Genoa")), "chain.root"),
    ("ask", lambda c: c.changed(x509.basic_constraints(ca=False)), "chain.ask.ca"),
    ("ask", lambda c: c.without(x509.BASIC_CONSTRAINTS), "chain.ask.ca"),
    ("ask", lambda c: c.changed(x509.key_usage(x509.DIGITAL_SIGNATURE)), "chain.ask.key_usage"),
    ("ask", lambda c: c.without(x509.KEY_USAGE), "chain.ask.key_usage"),
    ("ask", lambda c: c.changed(Extension("1.2.3.4", b"\x05\x00", critical=True)), "chain.ask.extensions"),
    ("ask", lambda c: c.changed(x509.authority_key_identifier(bytes(20))), "chain.ask.authority_key"),
    ("ark", lambda c: c.changed(x509.basic_constraints(ca=True, path_length=0)), "chain.ark.path_length"),
    ("ark", lambda c: c.changed(x509.basic_constraints(ca=False)), "chain.ark.ca"),
    ("vcek", lambda c: c.changed(x509.basic_constraints(ca=True)), "vcek.ca"),
    ("vcek", lambda c: c.changed(x509.key_usage(x509.KEY_CERT_SIGN)), "vcek.key_usage"),
    ("vcek", lambda c: c.changed(Extension("1.2.3.4", b"\x05\x00", critical=True)), "vcek.extensions"),
    ("vcek", lambda c: c.changed(Extension(HWID, b"", critical=True)), "vcek.extension.hwid"),
])
def test_a_certificate_outside_its_role_is_refused(altered, role, alteration, rule):
    assert altered(**{role: alteration}).refusal().id == f"snp.{rule}"


def test_an_extension_of_amd_that_is_critical_refuses(altered, snp_maker):
    critical = Extension(HWID, snp_maker.chip.hwid, critical=True)
    assert altered(vcek=lambda c: c.changed(critical)).refusal().id == "snp.vcek.extensions"


def test_a_vcek_issued_by_the_vlek_authority_is_refused(snp_maker, snp_case):
    wrong = snp_maker.altered(vcek=lambda c: replace(c, issuer=snp_maker.name("asvk"), signer=snp_maker.ca_key("asvk")))
    case = snp_case(maker=wrong)
    case.amd = AmdCollateral((wrong.certificate("vcek"), wrong.certificate("asvk"), wrong.certificate("ask"),
                              wrong.certificate("ark")))
    assert case.refusal().id == "snp.chain.ask.name"


def test_an_authority_of_another_line_is_refused(snp_maker, snp_case):
    def other(certificate):
        return replace(certificate, subject=named(certificate.subject, "SEV-Turin"))

    wrong = snp_maker.altered(ask=other, vcek=lambda c: replace(c, issuer=named(c.issuer, "SEV-Turin")))
    assert snp_case(maker=wrong).refusal().id == "snp.chain.ask.name"


def test_only_rsa_authorities_are_amds(snp_maker, snp_case):
    ec = snp_maker.keys.p256("not an RSA key")
    wrong = snp_maker.altered(ask=lambda c: replace(c, public_key=ec.public_key), vcek=lambda c: replace(c, signer=ec))
    assert snp_case(maker=wrong).refusal().id == "snp.chain.ask.key"


def test_an_authority_with_a_short_key_is_refused(snp_maker, snp_case):
    short = snp_maker.keys.rsa_pss("short", 2048)
    wrong = snp_maker.altered(ask=lambda c: replace(c, public_key=short.public_key),
                              vcek=lambda c: replace(c, signer=short))
    assert snp_case(maker=wrong).refusal().id == "snp.vcek.signature.algorithm"


def test_a_leaf_without_any_supplied_authority_ends_nowhere(snp_case):
    case = snp_case()
    case.amd = AmdCollateral((case.maker.certificate("vcek"),))
    assert case.refusal().id == "snp.chain.root"


# -- what is supplied ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signing_key", [SigningKey.VCEK, VLEK])
def test_no_endorsement_key_certificate_decides_nothing(snp_case, signing_key):
    case = snp_case(signing_key=signing_key)
    for certificates in ((), (case.maker.certificate("ask"), case.maker.certificate("ark"))):
        case.amd = AmdCollateral(certificates)
        error = case.refusal()
        assert isinstance(error, MissingCollateral)
        assert error.id == f"collateral.amd.{signing_key.name.lower()}"


def test_certificates_may_come_with_the_evidence_in_any_order_and_encoding(snp_case):
    case = snp_case()
    leaf, ca, root = case.maker.certificates()
    case.amd = AmdCollateral()
    for certificates in ((leaf, ca), (root, ca, leaf), (case.maker.chain("ask", "vcek", "ark"),),
                         (case.maker.chain("ask"), leaf), (leaf, leaf, ca, ca)):
        case.certificates = certificates
        assert case.verify().software


def test_unrelated_certificates_change_nothing(corpus, snp_case, snp_maker_of):
    case = snp_case()
    intel = (corpus.root / "anchors" / "intel-sgx-root-ca.der").read_bytes()
    case.certificates = (*snp_maker_of("Genoa").certificates(), intel)
    assert case.verify().endorsement["product_line"] == "Milan"


def test_the_right_certificate_is_found_among_many(snp_maker, snp_case, snp_maker_of):
    other_chip = snp_maker.on(replace(snp_maker.chip, hwid=bytes(range(64))))
    other_tcb = snp_maker.on(replace(snp_maker.chip, tcb=replace(snp_maker.chip.tcb, snp=23)))
    case = snp_case()
    case.amd = AmdCollateral((other_chip.certificate("vcek"), case.maker.certificate("vlek"),
                              other_tcb.certificate("vcek"), *case.maker.certificates()))
    assert case.verify().endorsement["hwid"] == snp_maker.chip.hwid


@pytest.mark.parametrize("junk", [
    b"", b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", bytes(70_000),
], ids=["empty", "not one", "pem", "large"])
def test_an_unreadable_certificate_is_the_fault_of_who_supplied_it(snp_case, junk):
    case = snp_case()
    case.certificates = (junk,)
    assert isinstance(case.refusal(), MalformedEvidence)
    case.certificates, case.amd = (), AmdCollateral((*case.maker.certificates(), junk))
    assert isinstance(case.refusal(), MalformedCollateral)
    assert case.refusal().id == "collateral.certificate"


def test_an_extension_twice_breaks_a_rule_wherever_it_came_from(snp_maker, snp_case):
    twice = snp_maker.altered(vcek=lambda c: c.doubled(HWID)).certificate("vcek")
    case = snp_case()
    case.amd = AmdCollateral((twice, *snp_maker.certificates()[1:]))
    assert (case.refusal().id, case.refusal().got) == ("snp.certificates.extension_twice", HWID)
    case.amd, case.certificates = None, (twice,)
    assert case.refusal().id == "snp.certificates.extension_twice"


def test_a_flood_of_certificates_is_refused(snp_case):
    case = snp_case()
    case.certificates = (case.maker.certificate("ask"),) * (MAX_SUPPLIED + 1)
    assert case.refusal().id == "snp.certificates.count"


# -- revocation ------------------------------------------------------------------------------------------------------


def test_a_list_that_names_nobody_here_is_told_in_the_claims(snp_maker, altered, snp_at):
    claims = altered(crl=lambda c: c.revoking(0x10002, 0x20001)).verify()
    assert claims.endorsement["crl_checked"] is True
    assert claims.endorsement["vek"]["crl_number"] == 1
    assert claims.valid_until == snp_at + YEAR - 1


def test_an_absent_list_is_told_in_claims_and_trail(snp_case):
    case = snp_case()
    case.amd = AmdCollateral(case.maker.certificates())
    assert case.verify().endorsement["crl_checked"] is False
    assert [check.ok for check in case.trail.checks if check.id == "snp.crl.absent"] == [True]


@LEAVES
def test_each_certificate_can_be_revoked(snp_maker, altered, leaf, ca, signing_key):
    """AMD numbers its leaves 0: naming 0 refuses them all, which only the ARK can do."""
    for role in ("ark", ca, leaf):
        case = altered(signing_key, crl=lambda c, role=role: c.revoking(snp_maker.serial(role)))
        rule = f"snp.{role}" if role == leaf else f"snp.chain.{role}"
        assert case.refusal().id == f"{rule}.revoked"


def test_the_authority_of_the_other_kind_may_be_revoked(snp_maker, altered):
    assert altered(crl=lambda c: c.revoking(snp_maker.serial("asvk"))).verify().software
    assert altered(VLEK, crl=lambda c: c.revoking(snp_maker.serial("ask"))).verify().software


def test_a_certificate_on_hold_or_removed_counts_as_listed(snp_maker, altered, snp_at):
    for reason in (6, x509.REMOVE_FROM_CRL):
        entry = Revoked(snp_maker.serial("ask"), snp_at, reason)
        assert altered(crl=lambda c, entry=entry: replace(c, revoked=(entry,))).refusal().id == "snp.chain.ask.revoked"


@pytest.mark.parametrize(("alteration", "rule"), [
    (lambda c: replace(c, this_update=c.this_update + 11), "crl.validity"),
    (lambda c: replace(c, next_update=c.this_update + 10), "crl.validity"),
    (lambda c: replace(c, next_update=None), "crl.next_update"),
    (lambda c: c.changed(x509.authority_key_identifier(bytes(20))), "crl.authority_key"),
    (lambda c: c.changed(Extension(x509.DELTA_CRL, der.integer(1), critical=True)), "crl.scope"),
    (lambda c: c.changed(Extension(x509.ISSUING_POINT, USER_CERTIFICATES_ONLY, critical=True)), "crl.scope"),
    (lambda c: c.changed(Extension("1.2.3.4", b"\x05\x00", critical=True)), "crl.scope"),
])
def test_a_list_that_is_not_in_force_refuses(altered, alteration, rule):
    assert altered(crl=alteration).refusal().id == f"snp.{rule}"


def test_a_list_signed_by_another_key_refuses(snp_maker, altered):
    stranger = snp_maker.keys.rsa_pss("stranger")
    assert altered(crl=lambda c: replace(c, signer=stranger)).refusal().id == "snp.crl.signature"
    assert altered(crl=lambda c: replace(c, signer=snp_maker.ca_key("ask"))).refusal().id == "snp.crl.signature"


def test_a_list_of_another_line_is_not_asked(snp_maker_of, snp_case):
    case = snp_case()
    genoa = snp_maker_of("Genoa")
    genoa_list = genoa.altered(crl=lambda c: c.revoking(0x10001)).crl
    case.amd = AmdCollateral(case.maker.certificates(), (genoa_list,))
    case.roots = Roots.only_software([case.maker.certificate("ark"), genoa.certificate("ark")])
    assert case.verify().endorsement["crl_checked"] is False
    assert "snp.crl.other_issuer" in [check.id for check in case.trail.checks]


def test_a_list_of_nobody_known_is_refused(snp_maker_of, snp_case):
    case = snp_case()
    case.amd = AmdCollateral(case.maker.certificates(), (case.maker.crl, snp_maker_of("Genoa").crl))
    assert case.refusal().id == "snp.crl.issuer"


def test_every_list_of_the_line_counts(snp_maker, snp_case):
    revoking = snp_maker.altered(crl=lambda c: c.revoking(snp_maker.serial("ask"))).crl
    expired = snp_maker.altered(
        crl=lambda c: replace(c, this_update=c.this_update - YEAR, next_update=c.this_update)).crl
    for bad, rule in ((revoking, "snp.chain.ask.revoked"), (expired, "snp.crl.validity")):
        for lists in ((snp_maker.crl, bad), (bad, snp_maker.crl)):
            case = snp_case()
            case.amd = AmdCollateral(snp_maker.certificates(), lists)
            assert case.refusal().id == rule


@pytest.mark.parametrize("junk", [b"", b"\x30\x00", b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----\n"])
def test_an_unreadable_list_decides_nothing(snp_case, junk):
    case = snp_case()
    case.amd = AmdCollateral(case.maker.certificates(), (junk,))
    error = case.refusal()
    assert isinstance(error, MalformedCollateral)
    assert error.id == "collateral.crl"


@pytest.mark.parametrize(("name", "line", "number"), [("snp/milan-v3-vcek-oak", "milan", 6),
                                                      ("snp/genoa-v5-vcek-oak", "genoa", 4)])
def test_recorded_lists_are_asked_in_their_window_and_refuse_outside(corpus, snp_case, name, line, number):
    folder, case = corpus.folder(name), snp_case()
    lists = [(corpus.folder("snp/kds-crl-openpcc") / f"{each}.crl").read_bytes() for each in ("milan", "genoa")]
    case.report, case.roots = (folder / "report.bin").read_bytes(), Roots.makers()
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(),), tuple(lists))
    end = datetime(2026, 5, 12, tzinfo=UTC) if line == "milan" else datetime(2025, 11, 3, 1, tzinfo=UTC)
    case.at = int(end.timestamp()) - 1
    claims = case.verify()
    assert (claims.endorsement["crl_checked"], claims.endorsement["vek"]["crl_number"]) == (True, number)
    assert claims.valid_until == case.at
    case.at += 1
    assert case.refusal().id == "snp.crl.validity"


def test_the_first_genoa_ask_is_on_the_recorded_list(corpus, snp_case):
    """The pin is the re-issued one; with the first one's number in its place the same evidence is refused."""
    folder, case, makers = corpus.folder("snp/genoa-v5-vcek-oak"), snp_case(), Roots.makers()
    crl = (corpus.folder("snp/kds-crl-openpcc") / "genoa.crl").read_bytes()
    case.report, case.at = (folder / "report.bin").read_bytes(), int(datetime(2025, 10, 1, tzinfo=UTC).timestamp())
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(),), (crl,))
    case.roots = Roots(tuple(replace(a, serial=0x20001) if a.serial == 0x20002 else a for a in makers.anchors))
    assert case.refusal().id == "snp.chain.ask.revoked"
