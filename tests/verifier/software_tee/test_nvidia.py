"""The small NVIDIA: what it makes is accepted, is the same from the same seed, and has the genuine shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509 as library

from tests.verifier.nvidia_cases import AT, KINDS, NONCE, case_of
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, NvidiaCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.evidence import Binding
from verifier.formats.rim import SignedRim
from verifier.formats.spdm_report import SpdmReport
from verifier.software_tee.nvidia import DEVICE_ROLES, DeviceImage, SmallNvidia
from verifier.verify import verify

SEED = bytes(range(16))


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_makes_is_accepted(kind):
    maker = SmallNvidia.create(SEED, at=AT, kind=kind)
    verdict = verify(maker.evidence(NONCE), collateral=Collateral(nvidia=NvidiaCollateral(**maker.collateral())),
                     roots=Roots.only_software(maker.roots().values()), at=AT, binding=Binding(NONCE),
                     prepared=Prepared(0))
    assert (verdict.accepted, verdict.claims.software) == (True, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_determines_every_byte(kind):
    first, second = (SmallNvidia.create(SEED, at=AT, kind=kind) for _ in range(2))
    assert first.evidence(NONCE) == second.evidence(NONCE)
    assert first.collateral_files() == second.collateral_files()
    assert first.roots() == second.roots()
    other = SmallNvidia.create(bytes(16), at=AT, kind=kind)
    assert other.roots() != first.roots()


def test_a_device_binds_a_nonce_and_nothing_else():
    maker = case_of().maker
    for report_data, init_data in ((bytes(31), b""), (bytes(64), b""), (b"", b""), (NONCE, b"x")):
        with pytest.raises(SetupError, match=r"^software_tee\.report_data: "):
            maker.evidence(report_data, init_data)


@pytest.mark.parametrize(("kind", "genuine"), [("hopper", "hopper-590.12"), ("blackwell", "blackwell-575.32"),
                                               ("switch", "switch-ls10")])
def test_certificates_and_reports_have_the_genuine_shape(corpus, kind, genuine):
    folder, maker = corpus.folder(f"nvidia/{genuine}"), case_of(kind).maker
    theirs = library.load_pem_x509_certificates((folder / "cert_chain.pem").read_bytes())
    for role, certificate in zip(DEVICE_ROLES, theirs, strict=True):
        ours = library.load_der_x509_certificate(maker.certificate(role))
        optional = {"1.3.6.1.5.5.7.1.1", "2.5.29.31"}  # where OCSP and CRL are; nobody is there
        assert {(e.oid.dotted_string, e.critical) for e in certificate.extensions
                if e.oid.dotted_string not in optional} == {(e.oid.dotted_string, e.critical) for e in ours.extensions}
        assert certificate.signature_algorithm_oid == ours.signature_algorithm_oid
        assert {a.oid for a in ours.subject} <= {a.oid for a in certificate.subject}
    report = SpdmReport.from_bytes((folder / "report.bin").read_bytes())
    own = SpdmReport.from_bytes(maker.report(maker.body(NONCE)))
    assert len(own.blocks) == len(report.blocks)
    assert {piece.type for piece in own.opaque} <= {piece.type for piece in report.opaque} | {21}


def test_a_manifest_has_the_genuine_shape(corpus):
    theirs = SignedRim.from_bytes((corpus.folder("nvidia/rim-documents") / "NV_GPU_DRIVER_GH100_550.144.03.xml"
                                   ).read_bytes())
    ours = SignedRim.from_bytes(case_of().maker.manifest("driver"))
    assert ours.algorithms == theirs.algorithms
    assert set(ours.claimed.meta) == set(theirs.claimed.meta)
    assert set(ours.claimed.attributes) == set(theirs.claimed.attributes)
    assert (len(ours.signature), len(ours.digest), len(ours.certificates)) == (
        len(theirs.signature), len(theirs.digest), len(theirs.certificates))


def test_alterations_follow_each_other():
    maker = case_of().maker
    twice = maker.altered(leaf=lambda c: replace(c, serial=5)).altered(leaf=lambda c: replace(c, serial=c.serial + 1))
    assert library.load_der_x509_certificate(twice.certificate("leaf")).serial_number == 6
    assert maker.certificate("leaf") != twice.certificate("leaf")


def test_devices_of_one_maker_share_what_is_above_the_boot_rom():
    first = case_of().maker
    second = first.on(DeviceImage.of("hopper", 2))
    for role in DEVICE_ROLES:
        assert (first.certificate(role) == second.certificate(role)) is (role not in ("leaf", "boot_rom"))
