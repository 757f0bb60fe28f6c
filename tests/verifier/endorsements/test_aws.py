"""AWS's chain: its one shape, and that OpenSSL agrees about it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import SubjectKeyIdentifier, load_der_x509_certificate

from tests.verifier.cose_cases import AT, AWS, OTHER_AWS, roots_of
from verifier.endorsements import aws
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import Window
from verifier.errors import CheckFailed, MalformedEvidence
from verifier.formats.cose import CoseSign1
from verifier.formats.nitro_document import NitroDocument
from verifier.software_tee import certificates as x509
from verifier.trail import Trail

ROOTS = roots_of(AWS.certificate("root"))
BUNDLE = AWS.cabundle


def refusal(bundle: tuple[bytes, ...], roots: Roots = ROOTS) -> str:
    with pytest.raises(CheckFailed) as caught:
        aws.verify_bundle(Trail("nitro"), bundle, roots, AT)
    return caught.value.id


def test_the_chain_holds_while_all_of_it_does():
    bundle = aws.verify_bundle(Trail("nitro"), BUNDLE, ROOTS, AT)
    leaf = aws.verify_leaf(Trail("nitro"), AWS.certificate("leaf"), bundle, AT)
    assert bundle.window == Window(AT - 3600, AT + 24 * 3600)
    assert leaf.window == Window(AT - 3, AT + 3 * 3600)
    assert leaf.subject.startswith("CN=i-0123456789abcdef0-enc0123456789abcdef.us-east-1.aws,OU=AWS,O=Amazon")
    assert bundle.anchor.software is True


@pytest.mark.parametrize("bundle", [
    (), BUNDLE[::-1], BUNDLE[1:], (*BUNDLE[1:], BUNDLE[0]), OTHER_AWS.cabundle,
    (OTHER_AWS.certificate("root"), *BUNDLE), (AWS.certificate("root") + b"\x00", *BUNDLE[1:]),
], ids=["empty", "reversed", "without the root", "root last", "another's", "foreign root first", "longer root"])
def test_a_bundle_begins_with_a_trusted_root_byte_for_byte(bundle):
    assert refusal(bundle) == "nitro.chain.root"


@pytest.mark.parametrize("bundle", [
    BUNDLE[:1], BUNDLE[:3], (*BUNDLE, BUNDLE[3]), BUNDLE + BUNDLE, (BUNDLE[0], *BUNDLE),
    (*BUNDLE, AWS.certificate("leaf")),
])
def test_a_bundle_has_four_certificates(bundle):
    assert refusal(bundle) == "nitro.chain.length"


@pytest.mark.parametrize(("order", "role"), [
    ((0, 2, 1, 3), "region"), ((0, 1, 3, 2), "zone"), ((0, 1, 1, 3), "zone"), ((0, 1, 2, 2), "instance"),
    ((0, 0, 2, 3), "zone"), ((0, 3, 2, 1), "region")])
def test_a_bundle_is_in_order(order, role):
    """The root stands as a region's own issuer by name and signature; then the zone is not the root's."""
    assert refusal(tuple(BUNDLE[index] for index in order)) == f"nitro.chain.{role}.issuer"


def test_the_makers_root_is_pinned_by_its_certificate():
    assert [a.name for a in Roots.makers().anchors if a.maker == "aws"] == ["aws-nitro-enclaves-root-g1"]
    twin = AWS.altered(root=lambda c: replace(c, serial=c.serial + 1))
    assert refusal(twin.cabundle) == "nitro.chain.root", "same name, same key, another certificate"


def test_roots_of_other_makers_vouch_for_no_enclave():
    amd = replace(ROOTS.anchors[0], maker="amd")
    assert refusal(BUNDLE, Roots((amd,))) == "nitro.chain.root"


@pytest.mark.parametrize("role", ["region", "zone", "instance"])
@pytest.mark.parametrize("junk", [b"junk", b"0", b"\x30\x00", x509.pem(AWS.certificate("zone"))])
def test_a_certificate_that_cannot_be_read_is_the_attesters_fault(role, junk):
    index = aws.ROLES.index(role)
    with pytest.raises(MalformedEvidence) as caught:
        aws.verify_bundle(Trail("nitro"), (*BUNDLE[:index], junk, *BUNDLE[index + 1:]), ROOTS, AT)
    assert caught.value.id == "collateral.certificate"


def test_a_bundle_is_good_for_documents_of_other_enclaves_of_its_instance():
    bundle = aws.verify_bundle(Trail("nitro"), BUNDLE, ROOTS, AT)
    other = AWS.on(replace(AWS.enclave, enclave_id="encfedcba9876543210"))
    assert "encfedcba9876543210" in aws.verify_leaf(Trail("nitro"), other.certificate("leaf"), bundle, AT).subject


# -- OpenSSL ---------------------------------------------------------------------------------------------------------


def openssl_says(folder, leaf: bytes, bundle: tuple[bytes, ...], at: int) -> bool:
    files = {"root.pem": x509.pem(bundle[0]), "between.pem": x509.pem(*bundle[1:]), "leaf.pem": x509.pem(leaf)}
    for name, pem in files.items():
        (folder / name).write_bytes(pem)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(at), "-CAfile", "root.pem", "-untrusted", "between.pem",
         "leaf.pem"], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode == 0


def we_say(leaf: bytes, bundle: tuple[bytes, ...], at: int, roots: Roots = ROOTS) -> bool:
    try:
        aws.verify_leaf(Trail("nitro"), leaf, aws.verify_bundle(Trail("nitro"), bundle, roots, at), at)
    except (CheckFailed, MalformedEvidence):
        return False
    return True


def test_openssl_accepts_a_small_makers_chain(tmp_path):
    """Strictly read, which demands an authority key identifier of the leaf, as AWS's have none. OpenSSL takes the last
    second of a certificate for past; RFC 5280 does not."""
    instance = load_der_x509_certificate(BUNDLE[3]).extensions.get_extension_for_class(SubjectKeyIdentifier).value
    leaf = AWS.altered(leaf=lambda c: c.changed(x509.authority_key_identifier(instance.digest)))
    for at, good in ((AT, True), (AT + 3 * 3600 - 1, True), (AT + 3 * 3600 + 1, False), (AT - 4, False)):
        assert openssl_says(tmp_path, leaf.certificate("leaf"), BUNDLE, at) is good
        assert we_say(leaf.certificate("leaf"), BUNDLE, at) is good


CHANGES = {
    "leaf by another's key": {"leaf": lambda c: replace(c, signer=OTHER_AWS.key("instance"))},
    "instance by another's key": {"instance": lambda c: replace(c, signer=OTHER_AWS.key("zone"))},
    "zone by another's key": {"zone": lambda c: replace(c, signer=OTHER_AWS.key("region"))},
    "region by another's key": {"region": lambda c: replace(c, signer=OTHER_AWS.key("root"))},
    "zone is no CA": {"zone": lambda c: c.changed(x509.basic_constraints(ca=False))},
    "region's path too short": {"region": lambda c: c.changed(x509.basic_constraints(ca=True, path_length=1))},
    "zone may not sign": {"zone": lambda c: c.changed(x509.key_usage(x509.DIGITAL_SIGNATURE))},
    "instance has expired": {"instance": lambda c: replace(c, not_after=AT - 1)},
    "zone is not yet valid": {"zone": lambda c: replace(c, not_before=AT + 1)},
    "zone has another issuer": {"zone": lambda c: replace(c, issuer=AWS.name("root"))},
    "unknown critical extension": {"instance": lambda c: c.changed(x509.Extension("1.2.3.4", b"\x05\x00", True))},
}


@pytest.mark.parametrize("name", CHANGES)
def test_openssl_refuses_what_is_refused_here(tmp_path, name):
    made = AWS.altered(**CHANGES[name])
    assert openssl_says(tmp_path, made.certificate("leaf"), made.cabundle, AT) is False
    assert we_say(made.certificate("leaf"), made.cabundle, AT) is False


@pytest.mark.corpus("nitro")
def test_openssl_judges_recorded_chains_alike(tmp_path, corpus, case):
    message = CoseSign1.from_bytes((corpus.folder(case) / "attestation_doc.cbor").read_bytes(), "nitro_document")
    document = NitroDocument.from_bytes(message.payload)
    at = document.timestamp // 1000
    if case["case"].startswith("nitro/neg-"):
        assert we_say(document.certificate, document.cabundle, at, Roots.makers()) is (
            case["case"] == "nitro/neg-fortanix-tampered-signature"), "its chain is good"
        return
    files = {"root.pem": document.cabundle[:1], "between.pem": document.cabundle[1:],
             "leaf.pem": (document.certificate,)}
    for name, ders in files.items():
        (tmp_path / name).write_bytes(x509.pem(*ders))
    done = subprocess.run(["openssl", "verify", "-attime", str(at), "-CAfile", "root.pem", "-untrusted", "between.pem",
                           "leaf.pem"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0
    assert we_say(document.certificate, document.cabundle, at, Roots.makers()) is True


def test_a_certificate_with_a_key_of_another_kind_is_the_attesters_fault():
    ed25519 = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    made = AWS.altered(instance=lambda c: replace(c, public_key=ed25519), leaf=lambda c: replace(c, public_key=ed25519))
    bundle = aws.verify_bundle(Trail("nitro"), BUNDLE, ROOTS, AT)
    for verify in (lambda: aws.verify_bundle(Trail("nitro"), made.cabundle, ROOTS, AT),
                   lambda: aws.verify_leaf(Trail("nitro"), made.certificate("leaf"), bundle, AT)):
        with pytest.raises(MalformedEvidence) as caught:
            verify()
        assert caught.value.id == "collateral.certificate.key"
