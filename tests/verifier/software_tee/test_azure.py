"""The small Azure: the same evidence from the same seed, in shapes that recorded evidence has."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from tests.verifier.azure_cases import AMD, AT, CLOUDS, INIT_DATA, INTEL, NONCE, azure_case
from verifier.collateral.files import load
from verifier.errors import SetupError
from verifier.evidence import Tee
from verifier.formats.hcl_report import HclReport
from verifier.formats.runtime_claims import RuntimeClaims
from verifier.formats.tpm_attest import TpmAttest
from verifier.software_tee.azure import SmallAzure

TEES = pytest.mark.parametrize("tee", CLOUDS)


def seeded() -> SmallAzure:
    return SmallAzure.create(Tee.AZ_TDX_VTPM, b"one seed for two clouds", at=AT)


def test_a_seed_determines_claims_and_quotes():
    one, two = seeded(), seeded()
    assert (one.claims, one.tpm_quote(NONCE)) == (two.claims, two.tpm_quote(NONCE))
    assert one.claims != CLOUDS[Tee.AZ_TDX_VTPM].claims


@pytest.mark.slow
def test_a_seed_determines_everything():
    one, two = seeded(), seeded()
    assert one.evidence(NONCE) == two.evidence(NONCE)
    assert one.roots() == two.roots()
    assert one.collateral_files() == two.collateral_files()


def test_it_is_of_azures_two_kinds_only():
    for tee in (Tee.SNP, Tee.TDX, Tee.TPM):
        with pytest.raises(SetupError, match=r"^software_tee\.tee: "):
            SmallAzure.create(tee, at=AT, amd=AMD, intel=INTEL)


@TEES
def test_what_it_publishes_is_collateral_and_roots(tmp_path, tee):
    azure = CLOUDS[tee]
    for name, data in azure.collateral_files().items():
        (tmp_path / name).write_bytes(data)
    found = load([tmp_path])
    assert (found.amd is not None and len(found.amd.certificates) == 2 and len(found.amd.crls) == 1) if (
        tee is Tee.AZ_SNP_VTPM) else found.intel is not None
    assert len(azure.roots()) == 2
    assert all(library.load_pem_x509_certificate(pem) for pem in azure.roots().values())


@TEES
def test_the_library_agrees_with_its_certificates_and_signatures(tee):
    azure = CLOUDS[tee]
    root, intermediate, ak = (library.load_der_x509_certificate(azure.certificate(role))
                              for role in ("root", "intermediate", "ak"))
    intermediate.verify_directly_issued_by(root)
    ak.verify_directly_issued_by(intermediate)
    quote = azure.tpm_quote(NONCE, INIT_DATA)
    ak.public_key().verify(quote.signature, quote.message, padding.PKCS1v15(), SHA256())
    assert TpmAttest.from_bytes(quote.message).extra_data == NONCE
    assert quote.pcrs[8] == INIT_DATA


@pytest.mark.parametrize(("kind", "recorded"), [("snp", "azure/snp-trustee-genoa"),
                                                ("tdx", "azure/tdx-confdotai-live")])
def test_its_claims_and_reports_have_the_shape_of_recorded_ones(corpus, kind, recorded):
    case, folder = azure_case(kind), corpus.folder(recorded)
    ours, theirs = case.hcl, HclReport.from_bytes((folder / "hcl_report.bin").read_bytes())
    assert (ours.request_type, ours.status, ours.claims_hash, ours.report_type) == (
        theirs.request_type, theirs.status, theirs.claims_hash, theirs.report_type)
    assert len(ours.to_bytes()) == len(theirs.to_bytes())
    mine, other = json.loads(ours.claims), json.loads(theirs.claims)
    assert set(mine) == set(other)
    assert [set(key) for key in mine["keys"]] == [set(key) for key in other["keys"]]
    assert [key["key_ops"] for key in mine["keys"]] == [key["key_ops"] for key in other["keys"]]
    assert RuntimeClaims.from_bytes(ours.claims).keys[0].exponent == 65537
    told = TpmAttest.from_bytes((folder / "tpm_quote.msg").read_bytes())
    made = TpmAttest.from_bytes(case.parts.tpm_quote.message)
    assert (made.pcr_selections, made.firmware_version, len(made.qualified_signer)) == (
        told.pcr_selections, told.firmware_version, len(told.qualified_signer))


@TEES
def test_an_alteration_changes_what_depends_on_it_and_nothing_else(tee):
    azure = CLOUDS[tee]
    before = azure.evidence(NONCE)
    quiet = azure.altered(claims=lambda c: c, hcl=lambda h: h, tpm_quote=lambda q: q, evidence=lambda e: e)
    assert replace(quiet, amd=azure.amd).evidence(NONCE) == before
    changed = azure.altered(claims=lambda c: replace(c, user_data=b"\x01" * 64))
    assert changed.tpm_quote(NONCE) == azure.tpm_quote(NONCE)
    assert changed.claims != azure.claims
    twice = changed.altered(claims=lambda c: replace(c, user_data=c.user_data[::-1] + b""))
    assert twice.claims == changed.claims


def test_init_data_is_pcr_8_and_is_left_alone_without():
    azure = CLOUDS[Tee.AZ_SNP_VTPM]
    assert azure.tpm_quote(NONCE).pcrs == azure.vm.pcrs
    assert azure.tpm_quote(NONCE, INIT_DATA).pcrs[8] == INIT_DATA
