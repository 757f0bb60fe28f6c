"""Certificates of attestation keys: recorded chains of Google and Microsoft, pinned intermediates, lists."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from cryptography import x509 as reading
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.verifier.tpm_cases import AT, OTHER, TPM, TpmCase
from verifier.endorsements.chain import read_certificates
from verifier.endorsements.collateral import TpmCollateral
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.roots.keys import spki_digest
from verifier.endorsements.tpm_ak import certificate_of, verify_chain
from verifier.errors import CheckFailed, MissingCollateral
from verifier.formats.gce_instance import GceInstance
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension, pem
from verifier.software_tee.tpm import EXTENDED_KEY_USAGE, SUBJECT_ALTERNATIVE_NAME, instance_extension
from verifier.trail import Trail

pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be")

INSTANCE = GceInstance(zone="z", project_number=1, project_id="p", instance_id=2, instance_name="n",
                       security_version=0, production=True)


def moment(text):
    return int(datetime.fromisoformat(text).timestamp())


def load(*data):
    return tuple(certificate for item in data for certificate in read_certificates(item, "certificate"))


def chain(leaf, supplied=(), roots=None, crls=(), at=AT + 10):
    trail = Trail("tpm")
    return verify_chain(trail, load(leaf)[0], load(*supplied), roots or Roots.makers(), crls, at), trail


def refused(*args, **options):
    with pytest.raises(CheckFailed) as caught:
        chain(*args, **options)
    return caught.value.id.removeprefix("tpm.")


# -- recorded --------------------------------------------------------------------------------------------------------


def test_googles_recorded_chain_holds_in_its_window(corpus):
    case = corpus.case("tpm/gce-ak-chain-openpcc")
    leaf, intermediate = ((corpus.folder(case) / name).read_bytes() for name in ("cert-0.der", "cert-1.der"))
    first, last = (moment(case["valid_window"][name]) for name in ("not_before", "not_after"))
    found, _ = chain(leaf, (intermediate,), at=first)
    assert (found.anchor.name, found.window) == ("google-cloud-ek-ak-ca-root", (first, last))
    assert found.certificate.subject.rfc4514_string() == case["expected"]["claims"]["subjects"][0]
    assert found.anchor.subject == case["expected"]["claims"]["root"]
    assert found.instance.production is True
    assert (found.crl_checked, found.crl_number) == (False, None)
    assert refused(leaf, (intermediate,), at=first - 1) == "ak_certificate.validity"
    assert refused(leaf, (intermediate,), at=last + 1) == "ak_certificate.validity"
    root = (corpus.folder(case) / "gce_ek_ak_root.der").read_bytes()
    assert chain(leaf, (root, intermediate), at=first)[0] == found
    assert refused(leaf, (root, intermediate), Roots(()), at=first) == "chain.root"


def test_microsofts_recorded_leaf_hangs_on_the_pinned_intermediate(corpus):
    leaf = (corpus.folder("azure/tdx-flashbots-20251202") / "ak_cert.der").read_bytes()
    at = moment("2025-12-02T00:00:00+00:00")
    found, trail = chain(leaf, at=at)
    assert found.anchor.name == "azure-virtual-tpm-root-ca-2023"
    assert found.instance is None
    assert "tpm.chain.intermediate.validity" in [check.id for check in trail.checks]
    assert found.window == (moment("2025-12-01T00:00:00+00:00"), moment("2026-11-30T00:00:00+00:00"))
    only_intermediates = replace(Roots.makers(), anchors=tuple(
        anchor for anchor in Roots.makers().anchors if (anchor.maker, anchor.role) != ("microsoft", "root")))
    assert refused(leaf, roots=only_intermediates, at=at) == "chain.root"


def test_microsofts_intermediate_may_come_along_under_the_root_alone(corpus):
    leaf = (corpus.folder("azure/tdx-flashbots-20251202") / "ak_cert.der").read_bytes()
    intermediate = (corpus.root / "anchors" / "azure-vtpm-intermediate-03.der").read_bytes()
    roots = replace(Roots.makers(), anchors=tuple(
        anchor for anchor in Roots.makers().anchors if anchor.role != "intermediate"))
    at = moment("2025-12-02T00:00:00+00:00")
    assert chain(leaf, (intermediate,), roots, at=at)[0].anchor.maker == "microsoft"
    with pytest.raises(MissingCollateral):
        chain(leaf, (), roots, at=at)


def test_makers_of_other_things_are_no_anchors_for_a_tpm():
    anchors = tuple(replace(anchor_of("root", "intel"), maker=maker) for maker in ("intel", "amd", "aws", "nvidia"))
    assert refused(TPM.certificate("ak_certificate"), TPM.certificates[1:], Roots(anchors)) == "chain.root"


# -- pinned anchors --------------------------------------------------------------------------------------------------


def anchor_of(role, maker, **changes):
    """A certificate of the small CA as a pinned key: no certificate, dates as shipped."""
    certificate = reading.load_der_x509_certificate(TPM.certificate(role))
    key = certificate.public_key()
    fields = {
        "name": role, "maker": maker, "role": role, "product": None, "subject": certificate.subject.rfc4514_string(),
        "serial": certificate.serial_number, "not_before": AT, "not_after": AT + 1000,
        "sha256_certificate": bytes(32), "sha256_public_key": spki_digest(key), "public_key": key}
    return Anchor(**fields | changes)


PINNED = Roots((anchor_of("root", "microsoft"), anchor_of("intermediate", "microsoft")))
LEAF = TPM.certificate("ak_certificate")


def test_a_pinned_intermediate_needs_nothing_supplied_and_its_dates_count():
    found, _ = chain(LEAF, roots=PINNED)
    assert (found.anchor.role, found.window) == ("root", (AT, AT + 1000))
    assert refused(LEAF, roots=PINNED, at=AT - 1) == "chain.root.validity"
    early = Roots((anchor_of("root", "microsoft"), anchor_of("intermediate", "microsoft", not_after=AT + 5)))
    assert refused(LEAF, roots=early) == "chain.intermediate.validity"
    assert refused(LEAF, roots=Roots(PINNED.anchors[1:])) == "chain.root"


def test_a_list_of_the_root_may_name_the_pinned_intermediate():
    good = TPM.crl("root_crl")
    assert chain(LEAF, roots=PINNED, crls=(good,))[0].crl_checked is True
    bad = TPM.altered(root_crl=lambda crl: crl.revoking(TPM.serial("intermediate"))).crl("root_crl")
    assert refused(LEAF, roots=PINNED, crls=(bad,)) == "chain.intermediate.revoked"


def test_a_list_speaks_only_of_what_its_issuer_issued():
    """The numbers 2 (intermediate) and 3 (leaf), each on the list of the issuer that did not issue it."""
    for role, serial in (("root_crl", 3), ("intermediate_crl", 2)):
        crl = TPM.altered(**{role: lambda crl, serial=serial: crl.revoking(serial)}).crl(role)
        assert chain(LEAF, TPM.certificates[1:], trusted(), crls=(crl,))[0].crl_checked is True


def test_lists_of_others_are_not_asked(corpus):
    others = [OTHER.altered(root_crl=lambda crl: replace(crl, issuer=((x509.COMMON_NAME, "Else"),))).crl("root_crl")]
    others += [path.read_bytes() for path in sorted(corpus.root.glob("snp/*/*.crl"))[:1]]
    found, trail = chain(LEAF, TPM.certificates[1:], trusted(), crls=others)
    assert found.crl_checked is False
    assert [check.id for check in trail.checks[-len(others) - 1:]] == [
        *["tpm.crl.other_issuer"] * len(others), "tpm.crl.absent"]


# -- configured roots ------------------------------------------------------------------------------------------------


def trusted(maker=TPM):
    return Roots.only_software([pem(maker.certificate("root"))])


def test_a_leaf_may_stand_directly_below_a_configured_root():
    maker = TPM.altered(ak_certificate=lambda c: replace(
        c, issuer=TPM.name("root"), signer=TPM.ca_key("root")).without(x509.AUTHORITY_KEY_IDENTIFIER))
    found, _ = chain(maker.certificate("ak_certificate"), roots=trusted())
    assert found.anchor.software is True


def test_of_several_issuers_of_one_name_the_one_that_signed_is_taken():
    supplied = (OTHER.certificate("intermediate"), TPM.certificate("intermediate"))
    roots = Roots.only_software([pem(OTHER.certificate("root")), pem(TPM.certificate("root"))])
    assert chain(LEAF, supplied, roots)[0].anchor.sha256_certificate == trusted().anchors[0].sha256_certificate
    assert refused(LEAF, supplied[:1], roots) == "ak_certificate.authority_key"


def test_a_longer_chain_is_refused():
    """A CA below the intermediate: the intermediate would have to be a root."""
    below = TPM.altered(ak_certificate=lambda c: replace(c, extensions=(
        x509.key_usage(x509.KEY_CERT_SIGN), x509.basic_constraints(ca=True)))).certificate("ak_certificate")
    leaf = TPM.altered(ak_certificate=lambda c: replace(
        c, subject=((x509.COMMON_NAME, "leaf"),), issuer=TPM.name("ak_certificate"), signer=TPM.ak.key,
        public_key=OTHER.ak.key.public_key).without(x509.AUTHORITY_KEY_IDENTIFIER)).certificate("ak_certificate")
    assert refused(leaf, (below, TPM.certificate("intermediate")), trusted()) == "chain.root"


def test_a_self_signed_certificate_vouches_for_nothing():
    own = TPM.altered(ak_certificate=lambda c: replace(
        c, issuer=TPM.name("ak_certificate"), signer=TPM.ak.key)).certificate("ak_certificate")
    assert refused(own, (own,), trusted()) == "chain.root"


def test_purposes_may_be_missing_critical_or_among_others():
    for purposes in (None, ("2.23.133.8.1",), ("1.3.6.1.5.5.7.3.1", "2.23.133.8.3")):
        for critical in (False, True):
            maker = TPM.altered(ak_certificate=lambda c, p=purposes, k=critical: c.without(EXTENDED_KEY_USAGE)
                                if p is None else c.changed(Extension(EXTENDED_KEY_USAGE, der.sequence(
                                    *map(der.oid, p)), critical=k)))
            assert chain(maker.certificate("ak_certificate"), TPM.certificates[1:], trusted())[0]


def test_names_and_instance_come_from_the_certificate():
    directory = der.sequence(der.set_of(der.sequence(der.oid("2.23.133.2.1"), der.utf8("id:0"))),
                             der.set_of(der.sequence(der.oid("2.5.4.3"), der.utf8("other"))))
    names = Extension(SUBJECT_ALTERNATIVE_NAME, der.sequence(der.explicit(4, directory)), critical=True)
    for instance, flags in ((INSTANCE, ()), (replace(INSTANCE, production=False), ("NOT_PRODUCTION",)),
                            (replace(INSTANCE, production=None), ("NOT_PRODUCTION",))):
        case = TpmCase().altered(ak_certificate=lambda c, i=instance: c.changed(names).changed(instance_extension(i)))
        verdict = case.verdict()
        assert (verdict.authentic, verdict.flags) == (True, flags)
        claims = verdict.claims.endorsement
        assert claims["tpm"] == {"manufacturer": "id:0"}
        assert claims["gce_instance"]["production"] is instance.production


def test_an_unreadable_instance_refuses():
    case = TpmCase().altered(ak_certificate=lambda c: c.changed(Extension("1.3.6.1.4.1.11129.2.1.21", der.NULL)))
    assert case.refusal() == "format.gce_instance"


def test_certificates_of_keys_that_attest_nothing_are_passed_over():
    key = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    strange = OTHER.altered(ak_certificate=lambda c: replace(c, public_key=key)).certificate("ak_certificate")
    issuer = OTHER.altered(intermediate=lambda c: replace(c, public_key=key)).certificate("intermediate")
    case = replace(TpmCase(), certificates=(strange, issuer, *TPM.certificates))
    assert case.verdict().accepted is True
    assert certificate_of(TPM.ak.key.private.public_key(), load(strange)) is None
    bare = replace(case, certificates=(strange,), collateral=TpmCollateral()).telling(
        ak_public=None, ak_public_area=None, ak_creation=None)
    assert bare.verdict().error.id == "collateral.tpm.ak"
