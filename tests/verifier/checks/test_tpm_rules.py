"""Every rule of the TPM recipe, once kept and once broken alone.

For each rule there is evidence that breaks nothing else: whatever depends on the broken part is signed again by the
small TPM or its CA. Rules are found in the source, so that none can be added without an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer, rules_in_source, without_a_case
from tests.verifier.tpm_cases import AT, KEYS, NONCE, OTHER, TPM, TpmCase, attest, signer, somebody
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import TpmCollateral
from verifier.endorsements.roots import Roots
from verifier.formats.tpm import HashAlg, PcrSelection
from verifier.formats.tpm_attest import AttestType, CertifyInfo, CreationInfo, QuoteInfo
from verifier.formats.tpm_public import Attributes
from verifier.formats.tpm_signature import SignatureScheme, TpmSignature
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension, Revoked, pem
from verifier.software_tee.keys import EcKey
from verifier.software_tee.tpm import EXTENDED_KEY_USAGE, YEAR
from verifier.software_tee.tpm_guest import TpmGuest
from verifier.software_tee.tpm_keys import TpmKey

Breaks = Callable[[TpmCase], TpmCase]

GOOD = TpmCase(certified=True)
CRITICAL = Extension("1.2.3.4", der.NULL, critical=True)
SHA256, SHA384 = der.oid("1.2.840.10045.4.3.2"), der.oid("1.2.840.10045.4.3.3")
P224 = TpmKey(EcKey(ec.derive_private_key(99, ec.SECP224R1())), SignatureScheme.ECDSA)
WEAK = TpmKey(KEYS.rsa_pss("weak", 1024), SignatureScheme.RSASSA)
STRANGER = TpmKey(somebody(), SignatureScheme.ECDSA)


def other_identifier(tbs: bytes) -> bytes:
    """The signed part names ECDSA with SHA-384; what stands beside the signature, and the signature, are SHA-256."""
    return tbs.replace(SHA256, SHA384, 1)


def with_root(change: Callable[[Any], Any]) -> Breaks:
    """A configured root of another shape."""
    def make(case: TpmCase) -> TpmCase:
        altered = case.altered(root=change)
        return replace(altered, roots=Roots.only_software([pem(altered.maker.certificate("root"))]))
    return make


def with_ak(key: TpmKey) -> Breaks:
    """Another attestation key, in everything."""
    return lambda case: replace(case, maker=replace(case.maker, other_ak=key))


def lists(*crls: bytes) -> Breaks:
    return lambda case: replace(case, collateral=TpmCollateral((case.maker.certificate("intermediate"),), crls))


def link_rules(rule: str, role: str) -> dict[str, list[Breaks]]:
    """A certificate under its issuer."""
    def alter(change: Callable[[Any], Any]) -> Breaks:
        return lambda case: case.altered(**{role: change})
    return {
        f"{rule}.validity": [alter(lambda c: replace(c, not_before=AT + 11)),
                             alter(lambda c: replace(c, not_after=AT + 9))],
        f"{rule}.authority_key": [alter(lambda c: c.changed(x509.authority_key_identifier(bytes(20))))],
        f"{rule}.extensions": [alter(lambda c: c.changed(CRITICAL))],
        f"{rule}.ca": [alter(lambda c: c.changed(x509.basic_constraints(ca=role != "intermediate"))),
                       *([alter(lambda c: c.without(x509.BASIC_CONSTRAINTS))] if role == "intermediate" else [])],
        f"{rule}.key_usage": [alter(lambda c: c.changed(x509.key_usage(x509.CRL_SIGN)))],
        f"{rule}.signature.identifier": [alter(lambda c: replace(c, mutate=other_identifier))],
        f"{rule}.signature.algorithm": [alter(lambda c: replace(c, signer=replace(c.signer, digest="sha384")))],
        f"{rule}.signature": [alter(lambda c: replace(c, signer=somebody()))],
        f"{rule}.revoked": [
            lambda c: c.altered(**{"root_crl" if role == "intermediate" else "intermediate_crl":
                                   lambda crl: crl.revoking(TPM.serial(role))})],
    }


def endorsement_rules() -> dict[str, list[Breaks]]:
    return {
        "ak.key": [with_ak(P224), with_ak(WEAK)],
        "certificates.count": [lambda c: replace(c, certificates=(TPM.certificate("root"),) * 17)],
        "certificates.extension_twice": [lambda c: c.altered(
            ak_certificate=lambda cert: cert.doubled(x509.KEY_USAGE))],
        "chain.root": [
            lambda c: replace(c, roots=Roots(())), lambda c: replace(c, roots=Roots.makers()),
            lambda c: c.altered(intermediate=lambda cert: replace(cert, issuer=((x509.COMMON_NAME, "Somebody"),)))],
        "chain.root.validity": [with_root(lambda c: replace(c, not_before=AT + 11)),
                                with_root(lambda c: replace(c, not_after=AT + 9))],
        "chain.root.authority_key": [with_root(lambda c: c.changed(x509.authority_key_identifier(bytes(20))))],
        "chain.root.extensions": [with_root(lambda c: c.changed(CRITICAL))],
        "chain.root.ca": [with_root(lambda c: c.changed(x509.basic_constraints(ca=False)))],
        "chain.root.path_length": [with_root(lambda c: c.changed(x509.basic_constraints(ca=True, path_length=0)))],
        "chain.root.key_usage": [with_root(lambda c: c.changed(x509.key_usage(x509.CRL_SIGN)))],
        "chain.root.signature.algorithm": [with_root(lambda c: replace(
            c, signer=replace(c.signer, digest="sha384")))],
        **link_rules("chain.intermediate", "intermediate"), **link_rules("ak_certificate", "ak_certificate"),
        "ak_certificate.purpose": [lambda c: c.altered(ak_certificate=lambda cert: cert.changed(
            Extension(EXTENDED_KEY_USAGE, der.sequence(der.oid("1.3.6.1.5.5.7.3.1")))))],
    }


def crl_rules() -> dict[str, list[Breaks]]:
    def alter(change: Callable[[Any], Any]) -> list[Breaks]:
        return [lambda c, role=role: c.altered(**{role: change}) for role in ("root_crl", "intermediate_crl")]
    return {
        "crl.authority_key": alter(lambda crl: crl.changed(x509.authority_key_identifier(bytes(20)))),
        "crl.signature.algorithm": alter(lambda crl: replace(crl, signer=replace(crl.signer, digest="sha384"))),
        "crl.signature": alter(lambda crl: replace(crl, signer=somebody())),
        "crl.next_update": alter(lambda crl: replace(crl, next_update=None)),
        "crl.validity": [*alter(lambda crl: replace(crl, next_update=AT + 10)),
                         *alter(lambda crl: replace(crl, this_update=AT + 11))],
        "crl.scope": alter(lambda crl: crl.changed(Extension(x509.DELTA_CRL, der.integer(1), critical=True))),
        "crl.entry": alter(lambda crl: replace(crl, revoked=(Revoked(77, AT, None, (CRITICAL,)),))),
    }


def reselected(*selections: PcrSelection) -> Callable[[Any], Any]:
    """A quote that says it covers other PCRs than its digest."""
    return lambda made: replace(made, attest=replace(
        made.attest, attested=QuoteInfo(selections, made.attest.attested.pcr_digest)))


def attestation_rules(rule: str, alteration: str, other: AttestType) -> dict[str, list[Breaks]]:
    """Something that the attestation key signed."""
    def alter(change: Callable[[Any], Any]) -> Breaks:
        return lambda case: case.altered(**{alteration: change})
    return {
        f"{rule}.signature.scheme": [alter(signer(lambda key: Mislabelled(key, scheme=SignatureScheme.RSASSA))),
                                     alter(signer(lambda key: Mislabelled(key, hash=HashAlg.SM3)))],
        f"{rule}.signature": [
            alter(signer(lambda _: STRANGER)), alter(signer(lambda key: Mislabelled(key, hash=HashAlg.SHA384))),
            alter(signer(lambda key: Mislabelled(key, longer=True)))],
        f"{rule}.magic": [alter(attest(magic=0xFF544346)), alter(attest(magic=0))],
        f"{rule}.type": [alter(attest(type=other)), alter(attest(type=0x8014))],
    }


class Mislabelled(TpmKey):
    """Signs rightly and says otherwise."""

    def __init__(self, key: TpmKey, longer: bool = False, **labels: Any) -> None:
        object.__setattr__(self, "inner", key)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "longer", longer)

    def sign(self, message: bytes) -> TpmSignature:
        made = replace(self.inner.sign(message), **self.labels)
        if made.scheme is SignatureScheme.RSASSA:
            return replace(made, parts=(b"".join(made.parts),))
        return replace(made, parts=tuple(bytes(33) + part for part in made.parts)) if self.longer else made


def quote_rules() -> dict[str, list[Breaks]]:
    pcr8 = PcrSelection(HashAlg.SHA256, (8,))
    found = attestation_rules("tpm_quote", "quote", AttestType.CERTIFY)
    # A type changes how the rest is read; a certification is laid out otherwise, so its own fields go along.
    found["tpm_quote.type"] = [
        lambda c: c.altered(quote=attest(type=AttestType.CERTIFY, attested=CertifyInfo(b"", b""))),
        lambda c: c.altered(quote=attest(type=AttestType.CREATION, attested=CreationInfo(b"", b""))),
        lambda c: c.altered(quote=attest(type=0x8014))]
    return found | {
        "tpm_quote.pcr_selection": [
            lambda c: c.altered(quote=reselected()), lambda c: c.altered(quote=reselected(replace(pcr8, pcrs=()))),
            lambda c: c.altered(quote=reselected(pcr8, pcr8))],
        "tpm_quote.pcr_values": [
            lambda c: c.first(lambda q: replace(q, listed=False, pcrs={})),
            lambda c: c.first(lambda q: replace(q, listed=False, pcrs={"sha256": {
                index: value for index, value in q.pcrs["sha256"].items() if index != 8}})),
            lambda c: c.altered(quote=reselected(PcrSelection(HashAlg.SHA1, (8,))))],
        "tpm_quote.pcr_digest": [
            lambda c: c.first(lambda q: replace(q, pcrs={"sha256": q.pcrs["sha256"] | {8: b"\x01" * 32}})),
            lambda c: c.altered(quote=lambda made: replace(made, attest=replace(
                made.attest, attested=replace(made.attest.attested, pcr_digest=bytes(32))))),
            lambda c: c.altered(quote=lambda made: replace(made, attest=replace(
                made.attest, attested=replace(made.attest.attested, pcr_digest=b""))))],
    }


def several(case: TpmCase) -> TpmCase:
    return case.quoting({"sha1": range(24)}, {"sha256": range(24)}, {"sha384": range(24)})


def only_second(**changes: Any) -> Breaks:
    """The quote of the SHA-256 bank has other fields."""
    def change(made: Any) -> Any:
        second = made.attest.attested.selections[0].alg is HashAlg.SHA256
        return replace(made, attest=replace(made.attest, **changes)) if second else made
    return lambda case: several(case).altered(quote=change)


def together_rules() -> dict[str, list[Breaks]]:
    other = OTHER.qualified_signer
    return {
        "quotes.signer": [only_second(qualified_signer=other),
                          *(lambda c, name=name: c.altered(quote=attest(qualified_signer=name)) for name in (
                              b"", b"\x00\x0b", other[:-1], other + b"\x00", b"\x00\x0c" + other[2:]))],
        "quotes.banks": [lambda c: c.quoting({"sha256": (0,)}, {"sha256": (8,)}),
                         lambda c: c.quoting({"sha256": (0,)}, {"sha1": (0,), "sha256": (0,)})],
        "quotes.nonce": [only_second(extra_data=NONCE + b"\x00"), only_second(extra_data=b"")],
        "quotes.boot": [only_second(reset_count=2), only_second(restart_count=1), only_second(firmware_version=1)],
    }


def key_rules() -> dict[str, list[Breaks]]:
    def attributes(change: Callable[[int], int]) -> Breaks:
        return lambda c: c.altered(ak_public=lambda public: replace(public, attributes=change(public.attributes)))
    required = (Attributes.FIXED_TPM, Attributes.SENSITIVE_DATA_ORIGIN, Attributes.RESTRICTED, Attributes.SIGN)
    found = attestation_rules("ak_creation", "creation", AttestType.CERTIFY)
    return found | {
        "ak.public.key": [lambda c: c.telling(ak_public_area=OTHER.ak_public.to_bytes()),
                          lambda c: c.altered(ak_public=lambda _: OTHER.ak_public)],
        "ak.public.attributes": [attributes(lambda bits, flag=flag: bits & ~flag) for flag in required],
        "ak.public.decrypt": [attributes(lambda bits: bits | Attributes.DECRYPT)],
        "ak.public.name_alg": [lambda c: c.telling(ak_public_area=replace(
            c.maker.ak_public, name_alg=HashAlg.SHA384).to_bytes())],
        "ak_creation.type": [
            lambda c: c.altered(creation=attest(type=AttestType.CERTIFY, attested=CertifyInfo(b"", b""))),
            lambda c: c.altered(creation=attest(type=0x8018, attested=QuoteInfo((), b"")))],
        "ak_creation.name": [lambda c: c.telling(ak_public_area=replace(
            c.maker.ak_public, auth_policy=bytes(32)).to_bytes())],
        "ak_creation.hash": [
            lambda c: c.telling(ak_creation=replace(c.maker.creation(), about=c.maker.creation().about + b"\x00")),
            lambda c: c.altered(creation=lambda made: replace(made, attest=replace(
                made.attest, attested=replace(made.attest.attested, creation_hash=bytes(32)))))],
        "ak_creation.signer": [lambda c: c.altered(creation=attest(qualified_signer=OTHER.qualified_signer))],
        "ak_creation.qualified_name": [lambda c: c.altered(creation_data=lambda data: replace(
            data, parent_qualified_name=b"\x00\x0b" + bytes(32)))],
    }


def certification_rules() -> dict[str, list[Breaks]]:
    found = attestation_rules("key_certification", "certification", AttestType.CREATION)
    return found | {
        "key_certification.name": [lambda c: c.telling(key_certification=replace(
            c.maker.certification(NONCE), about=OTHER.ak_public.to_bytes()))],
        "key_certification.nonce": [lambda c: c.altered(certification=attest(extra_data=b"another"))],
        "key_certification.signer": [lambda c: c.altered(
            certification=attest(qualified_signer=OTHER.qualified_signer))],
    }


TABLE = (endorsement_rules() | crl_rules() | quote_rules() | together_rules() | key_rules() | certification_rules())

# Noted when they hold, and by the way they are reached cannot fail: issuers and lists are chosen by name, a configured
# root has signed itself, trust is looked up for the moment, and some only say what was found.
OUT_OF_REACH = {
    "chain.root.issuer", "chain.root.signature.identifier", "chain.root.signature", "chain.intermediate.issuer",
    "chain.intermediate", "chain.intermediate.path_length", "ak_certificate.issuer", "crl.issuer",
    "endorsement.validity", "ak.provisioned", "ak.unproven", "crl.absent", "crl.other_issuer",
}

BROKEN = [pytest.param(rule, make, id=f"{rule}-{number}") for rule, makes in TABLE.items()
          for number, make in enumerate(makes)]


@pytest.mark.parametrize(("case", "flags"), [(GOOD, ()), (several(GOOD), ()), (GOOD.unendorsed, ("AK_UNPROVEN",)),
                                             (GOOD.quoting({"sha1": (0,)}), ("SHA1_PCRS",))],
                         ids=["one", "several", "unendorsed", "sha1"])
def test_with_every_rule_kept_the_evidence_is_authentic(case, flags):
    verdict = case.verdict()
    assert verdict.authentic is True, verdict.error
    assert (verdict.flags, verdict.accepted) == (flags, not flags)


@pytest.mark.parametrize(("rule", "make"), BROKEN)
def test_a_rule_broken_alone_refuses_by_its_own_name(rule, make):
    assert make(GOOD).refusal() == f"tpm.{rule}"


def test_every_broken_rule_is_also_kept_by_good_evidence():
    noted = {check.id.removeprefix("tpm.") for case in (
        GOOD, several(GOOD), GOOD.unendorsed, lists(OTHER.crl("root_crl"))(GOOD),
        lists(GOOD.maker.crl("root_crl"))(GOOD)) for check in case.verdict().checks}
    only_when_broken = {"certificates.extension_twice", "crl.scope", "crl.entry"}
    assert set(TABLE) - noted == only_when_broken


def test_every_rule_in_the_source_has_a_case():
    patterns = rules_in_source("checks/tpm_ak.py", "checks/tpm_quote.py", "endorsements/tpm_ak.py", "tees/tpm.py")
    assert len(patterns) >= 25
    assert without_a_case(patterns, set(TABLE) | OUT_OF_REACH) == []


def test_prepared_trust_never_changes_an_answer():
    assert_prepared_trust_never_changes_an_answer(
        GOOD, ((param.id or "", param.values[1](GOOD)) for param in BROKEN))


def test_warm_trust_ends_with_its_window():
    prepared = Prepared()
    assert GOOD.verdict(prepared).valid_until == AT + YEAR - 1
    late = replace(GOOD, at=AT + YEAR)
    assert late.verdict(prepared).error.id == late.verdict().error.id == "tpm.crl.validity"


# -- who vouches -----------------------------------------------------------------------------------------------------


def test_ak_trust_tells_who_vouches():
    assert GOOD.verdict().claims.endorsement["ak_trust"] == "certificate"
    bare = GOOD.unendorsed
    verdict = bare.verdict()
    assert (verdict.claims.endorsement, verdict.flags, verdict.accepted) == (
        {"ak_trust": "none"}, ("AK_UNPROVEN",), False)
    key = TPM.ak.key.public_key
    provisioned = replace(bare, roots=Roots(()).with_provisioned([key])).verdict()
    assert (provisioned.claims.endorsement["ak_trust"], provisioned.accepted, provisioned.claims.software) == (
        "provisioned", True, False)


def test_a_provisioned_key_needs_no_certificate_and_ignores_a_bad_one():
    case = replace(GOOD.altered(ak_certificate=lambda c: replace(c, signer=somebody())),
                   roots=Roots(()).with_provisioned([TPM.ak.key.public_key]))
    assert case.verdict().accepted is True


def test_a_certificate_of_another_key_vouches_for_nothing():
    case = replace(GOOD, certificates=OTHER.certificates, collateral=TpmCollateral())
    assert case.verdict().flags == ("AK_UNPROVEN",)


def test_what_nobody_supplied_leaves_the_answer_open():
    cases = {
        "collateral.tpm.intermediate": replace(GOOD, certificates=TPM.certificates[:1], collateral=TpmCollateral()),
        "collateral.tpm.ak": GOOD.unendorsed.telling(ak_public=None, ak_public_area=None, ak_creation=None),
        "evidence.tpm.signature": GOOD.first(lambda quote: replace(quote, signature=None)),
        "evidence.tpm.quote": GOOD.telling(quotes=()),
        "collateral.certificate": replace(GOOD, collateral=TpmCollateral((b"0",))),
        "collateral.crl": lists(b"0")(GOOD),
    }
    for rule, case in cases.items():
        verdict = case.verdict()
        assert (verdict.authentic, verdict.error.id) == (None, rule)


def test_a_key_may_be_taken_from_its_certificate_or_its_public_area():
    without = GOOD.telling(ak_public=None, ak_public_area=None, ak_creation=None)
    verdict = without.verdict()
    assert (verdict.accepted, verdict.claims.body["ak_attributes"]) == (True, None)
    assert GOOD.telling(ak_public=None).verdict().accepted is True


def test_creation_without_its_public_area_is_malformed():
    verdict = GOOD.telling(ak_public_area=None).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "format.tpm_json")


def test_an_event_log_must_give_the_quoted_values():
    blank = TpmGuest(sha1=bytes(480), sha256=bytes(768), sha384=bytes(1152))
    for log in (b"", b"junk", bytes(32)):
        verdict = replace(GOOD, event_log=log).verdict()
        assert verdict.authentic is False
        assert verdict.error.id.startswith("tpm.event_log.")
    assert replace(GOOD, maker=replace(TPM, guest=blank)).verdict().accepted is True


@pytest.mark.parametrize("algorithm", ["p256", "p384", "rsa"])
@pytest.mark.parametrize("primary", [True, False])
def test_keys_of_every_kind_in_both_places(algorithm, primary):
    case = replace(GOOD, maker=replace(TPM, algorithm=algorithm, primary=primary))
    claims = case.verdict().claims
    assert claims is not None
    assert (claims.body["ak_hierarchy"], claims.body["ak_name_confirmed"]) == (
        "endorsement" if primary else None, True)


@pytest.mark.parametrize("algorithm", ["p256", "p384", "rsa"])
@pytest.mark.parametrize("digest", [HashAlg.SHA1, HashAlg.SHA256, HashAlg.SHA384, HashAlg.SHA512])
def test_every_scheme_and_hash_and_sha1_is_flagged(algorithm, digest):
    for scheme in ([SignatureScheme.RSASSA, SignatureScheme.RSAPSS] if algorithm == "rsa" else [None]):
        if digest is HashAlg.SHA512 and (scheme is SignatureScheme.RSAPSS or algorithm != "rsa"):
            continue  # the maker does not sign like that
        key = replace(TpmKey.of(TPM.keys, "tpm/ak", algorithm, scheme), hash=digest)
        verdict = TpmCase(maker=replace(TPM, other_ak=key)).verdict()
        assert verdict.authentic is True, verdict.error
        assert verdict.flags == (("SHA1_SIGNATURE",) if digest is HashAlg.SHA1 else ())
