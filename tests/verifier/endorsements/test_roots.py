"""The pinned anchors are the makers', and nothing becomes one by arriving."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier.endorsements.roots import Roots
from verifier.endorsements.window import unix
from verifier.errors import CollateralError, SetupError
from verifier.formats.hygon_cert import CaCertificate
from verifier.software_tee.certificates import pem
from verifier.software_tee.hygon import SmallHygon

# Google's TPM root has a common name of 84 characters.
pytestmark = pytest.mark.filterwarnings("ignore:Attribute's length must be")

PINNED = [anchor.name for anchor in Roots.makers().anchors]


@pytest.mark.parametrize("name", PINNED)
def test_each_pin_is_the_makers_certificate(corpus, name):
    """Against the certificate as it was recorded: hashes, key, subject, serial number and dates."""
    anchor = next(a for a in Roots.makers().anchors if a.name == name)
    der = (corpus.root / "anchors" / f"{name}.der").read_bytes()
    certificate = x509.load_der_x509_certificate(der)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert anchor.sha256_certificate == hashlib.sha256(der).digest()
    assert anchor.sha256_public_key == hashlib.sha256(spki).digest()
    assert anchor.public_key == certificate.public_key()
    assert anchor.subject == certificate.subject.rfc4514_string()
    assert anchor.serial == certificate.serial_number
    assert (anchor.not_before, anchor.not_after) == (unix(certificate.not_valid_before_utc),
                                                     unix(certificate.not_valid_after_utc))
    assert anchor.software is False


def test_every_recorded_root_is_pinned_but_the_preproduction_one(corpus):
    """Whatever signs itself, and what of others is pinned on purpose: AMD's and Microsoft's intermediates."""
    loaded = {path.stem: x509.load_der_x509_certificate(path.read_bytes())
              for path in (corpus.root / "anchors").glob("*.der")}
    roots = {name for name, certificate in loaded.items() if certificate.issuer == certificate.subject}
    assert roots - set(PINNED) == {"intel-sgx-root-ca-pre-production"}
    assert set(PINNED) - roots == {name for name in loaded if name.startswith(("amd-sev", "azure-vtpm-intermediate"))}


def test_the_pins_are_the_makers_and_their_roles_are_known():
    assert {(a.maker, a.role) for a in Roots.makers().anchors} == {
        ("intel", "root"), ("amd", "ark"), ("amd", "ask"), ("amd", "asvk"), ("aws", "root"), ("nvidia", "root"),
        ("nvidia", "rim"), ("microsoft", "root"), ("microsoft", "intermediate"), ("google", "root")}


def test_a_pin_is_found_by_the_whole_certificate_and_for_its_maker_only(corpus):
    der = (corpus.root / "anchors" / "intel-sgx-root-ca.der").read_bytes()
    roots = Roots.makers()
    assert roots.by_certificate(der, "intel").name == "intel-sgx-root-ca"
    assert roots.by_certificate(der, "amd") is None
    assert roots.by_certificate(der + b"\x00", "intel") is None
    assert roots.by_certificate(der[:-1] + bytes((der[-1] ^ 1,)), "intel") is None
    preproduction = (corpus.root / "anchors" / "intel-sgx-root-ca-pre-production.der").read_bytes()
    assert roots.by_certificate(preproduction, "intel") is None


def test_a_configured_root_is_software_for_good(intel_case):
    case = intel_case()
    root = case.maker.certificate("root")
    added = Roots.makers().with_software([root])
    assert len(added.anchors) == len(PINNED) + 1
    assert added.by_certificate(root, "intel").software is True
    assert added.by_certificate(root, "amd").software is True
    assert Roots.makers().by_certificate(root, "intel") is None


def test_a_makers_root_stays_the_makers_when_it_is_configured_too(corpus):
    der = (corpus.root / "anchors" / "intel-sgx-root-ca.der").read_bytes()
    again = Roots.makers().with_software([der])
    assert again.anchors == Roots.makers().anchors
    alone = Roots.only_software([der])
    assert [a.software for a in alone.anchors] == [True]


def test_roots_in_pem_and_several_in_one_file(intel_case):
    case = intel_case()
    both = pem(case.maker.certificate("root"), case.other.certificate("root"))
    assert len(Roots.only_software([both]).anchors) == 2
    assert len(Roots.only_software([both, case.maker.certificate("root")]).anchors) == 2


@pytest.mark.parametrize("role", ["platform_ca", "tcb_signing", "pck"])
def test_a_certificate_that_does_not_sign_itself_is_no_root(intel_case, role):
    with pytest.raises(SetupError) as caught:
        Roots.only_software([intel_case().maker.certificate(role)])
    assert caught.value.id == "roots.self_signed"


def test_a_root_with_anothers_signature_is_no_root(intel_case):
    case = intel_case()
    forged = case.altered(root=lambda p: replace(p, signer=case.other.key("root"))).maker.certificate("root")
    with pytest.raises(SetupError) as caught:
        Roots.only_software([forged])
    assert caught.value.id == "roots.self_signed"


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n",
                                  bytes(1_000_000)])
def test_a_roots_file_without_certificates_is_refused(data):
    with pytest.raises(CollateralError) as caught:
        Roots.only_software([data])
    assert caught.value.id == "collateral.certificate"


def test_the_digest_names_what_is_trusted_and_as_what(corpus, intel_case):
    """Prepared trust is kept under it: the same certificate as a maker's and as a configured root must differ."""
    case, intel = intel_case(), Roots.makers().anchors[0]
    der = (corpus.root / "anchors" / f"{intel.name}.der").read_bytes()
    sets = [Roots.makers(), Roots((intel,)), Roots.only_software([der]), Roots(()), case.trusted,
            Roots.makers().with_software([case.maker.certificate("root")])]
    assert len({roots.digest for roots in sets}) == len(sets)
    assert Roots.makers().digest == Roots.makers().digest


def test_sample_evidence_is_let_through_by_name_only():
    assert Roots.makers().insecure_sample is False
    assert Roots.makers().with_insecure_sample().insecure_sample is True
    assert Roots.makers().with_insecure_sample().with_software([]).insecure_sample is True


# -- Hygon's root is not X.509 -----------------------------------------------------------------------------------------


@pytest.fixture
def hygon():
    return SmallHygon.create(b"a small Hygon for its root", at=1_780_000_000)


def test_hygons_pin_is_its_certificate(corpus):
    """Against the certificate as it was recorded, which signs itself."""
    root, = Roots.makers().hygon
    data = (corpus.root / "anchors" / f"{root.name}.cert").read_bytes()
    told = next(row for row in json.loads((corpus.root / "anchors" / "anchors.json").read_text())
                if row["sha256_der"] == root.sha256_certificate.hex())
    alone, = Roots.only_software([data]).hygon
    assert replace(alone, name=root.name, maker="hygon", published=root.published) == root
    assert root.sha256_certificate == hashlib.sha256(data).digest() == bytes.fromhex(told["sha256_der"])
    assert root.sha256_public_key == hashlib.sha256(root.public_key.spki).digest() == bytes.fromhex(told["sha256_spki"])
    certificate = CaCertificate.from_bytes(data)
    assert (root.key_id, root.user_id) == (certificate.key_id, certificate.user_id)
    assert (root.maker, root.software, alone.software) == ("hygon", False, True)
    assert root.published == "https://cert.hygon.cn/hrk"


def test_a_configured_hrk_is_software_for_good_and_hygons_own_stays_hygons(corpus, hygon, intel_case):
    genuine = (corpus.root / "anchors" / "hygon-hrk.cert").read_bytes()
    hrk = hygon.certificate("hrk")
    added = Roots.makers().with_software([genuine, hrk, hrk, intel_case().maker.certificate("root")])
    assert [(root.maker, root.software) for root in added.hygon] == [("hygon", False), (None, True)]
    assert added.hygon[0] == Roots.makers().hygon[0]
    assert len(added.anchors) == len(PINNED) + 1
    assert Roots((), hygon=Roots.makers().hygon).with_software([]).hygon == Roots.makers().hygon


def test_the_digest_names_hygons_roots_and_as_what_they_are_trusted(corpus, hygon):
    genuine = (corpus.root / "anchors" / "hygon-hrk.cert").read_bytes()
    sets = [Roots(()), Roots((), hygon=Roots.makers().hygon), Roots.only_software([genuine]),
            Roots.only_software([hygon.certificate("hrk")]), Roots.makers(), Roots(Roots.makers().anchors)]
    assert len({roots.digest for roots in sets}) == len(sets)


@pytest.mark.parametrize("alter", [
    lambda m: lambda c: replace(c, signer=m.key("hsk")),
    lambda m: lambda c: replace(c, body=replace(c.body, usage=0x13)),
    lambda m: lambda c: replace(c, body=replace(c.body, signer_key_id=bytes(16))),
    lambda m: lambda c: replace(c, body=replace(c.body, x=bytes(72))),
    lambda m: lambda c: replace(c, body=replace(c.body, x=c.body.x[:40] + b"\x01" + c.body.x[41:])),
    lambda m: lambda c: replace(c, body=replace(c.body, reserved_028=b"\x01" + bytes(23))),
    lambda m: lambda c: replace(c, finish=lambda f: replace(f, reserved_2d0=bytes(111) + b"\x01")),
    lambda m: lambda c: replace(c, finish=lambda f: replace(f, signature_s=f.signature_s[:71] + b"\x01")),
    lambda m: lambda c: replace(c, finish=lambda f: replace(f, signature_r=bytes(72))),
], ids=["another signer", "an HSK", "another issuer", "no point", "x too long", "reserved", "reserved behind",
        "s too long", "r = 0"])
def test_an_hrk_that_does_not_sign_itself_as_one_is_no_root(hygon, alter):
    forged = hygon.altered(hrk=alter(hygon)).certificate("hrk")
    with pytest.raises(SetupError) as caught:
        Roots.only_software([forged])
    assert caught.value.id == "roots.self_signed"


@pytest.mark.parametrize("role", ["hsk", "cek", "pek"])
def test_no_other_certificate_of_hygons_is_a_root(hygon, role):
    with pytest.raises((SetupError, CollateralError), match=r"^(collateral\.certificate|roots\.self_signed): "):
        Roots.only_software([hygon.certificate(role)])
