"""The small TPM: the same bytes from the same seed, of the shape that real ones have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from tests.verifier.tpm_cases import AT, NONCE, TPM
from verifier.endorsements.chain import read_certificates
from verifier.endorsements.collateral import Collateral, TpmCollateral
from verifier.endorsements.crl import read_crl
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Tee
from verifier.formats.tpm_attest import TpmAttest
from verifier.formats.tpm_evidence import TpmEvidence
from verifier.formats.tpm_public import TpmPublic
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.tpm import SmallTpm
from verifier.software_tee.tpm_guest import TpmGuest, init_data_pcr
from verifier.software_tee.tpm_keys import EK_ATTRIBUTES, TpmKey
from verifier.verify import verify

SEED = b"the small TPM of tests"


@pytest.mark.parametrize("algorithm", ["p256", "rsa"])
def test_a_seed_determines_every_byte(algorithm):
    first, second = (SmallTpm.create(SEED, at=AT, algorithm=algorithm) for _ in range(2))
    assert first.evidence(NONCE, bytes(range(32))) == second.evidence(NONCE, bytes(range(32)))
    assert (first.roots(), first.collateral_files()) == (second.roots(), second.collateral_files())
    assert SmallTpm.create(b"another seed for this", at=AT).evidence(NONCE) != first.evidence(NONCE)


def test_without_a_seed_every_maker_is_another():
    first, second = SmallTpm.create(at=AT), SmallTpm.create(at=AT)
    assert first.roots() != second.roots()
    assert first.evidence(NONCE).tee is Tee.TPM


def test_what_a_verifier_is_told_is_enough():
    maker = SmallTpm.create(SEED, at=AT)
    pcr8 = init_data_pcr(b"digest of the init data")
    evidence = maker.evidence(NONCE, pcr8)
    verdict = verify(evidence, collateral=Collateral.none(), roots=Roots.only_software(maker.roots().values()),
                     at=AT + 1, binding=Binding(NONCE, pcr8))
    assert (verdict.accepted, verdict.claims.software) == (True, True)
    files = maker.collateral_files()
    assert all(read_certificates(data, name) for name, data in files.items() if name.endswith(".pem"))
    assert [read_crl(data, name).extensions for name, data in files.items() if name.endswith(".crl")]
    supplied = TpmCollateral((files["tpm_intermediate.pem"],), tuple(
        data for name, data in files.items() if name.endswith(".crl")))
    leaf_only = replace(evidence, certificates=evidence.certificates[:1])
    checked = verify(leaf_only, collateral=Collateral(tpm=supplied), at=AT + 1, binding=Binding(NONCE, pcr8),
                     roots=Roots.only_software(maker.roots().values()))
    assert (checked.accepted, checked.claims.endorsement["crl_checked"]) == (True, True)


def test_without_init_data_pcr8_is_as_it_was():
    told = TpmEvidence.from_bytes(TPM.evidence(NONCE).quote)
    assert told.quotes[0].pcrs["sha256"][8] == bytes(32)


def test_a_guest_has_registers_that_can_be_set():
    guest = TpmGuest.booted()
    assert guest == TpmGuest.booted()
    assert guest != TpmGuest.booted(b"another system")
    changed = guest.holding("sha256", 23, b"\x07" * 32)
    assert changed.values("sha256")[23] == b"\x07" * 32
    assert changed.values("sha256") | {23: bytes(32)} == guest.values("sha256")
    assert (guest.values("sha1")[17], guest.values("sha384")[8]) == (b"\xff" * 20, bytes(48))


def test_certificates_have_a_makers_shape():
    root, intermediate, leaf = (x509.load_der_x509_certificate(TPM.certificate(role)) for role in (
        "root", "intermediate", "ak_certificate"))
    intermediate.verify_directly_issued_by(root)
    leaf.verify_directly_issued_by(intermediate)
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in purposes] == ["2.23.133.8.3"]


def test_signed_names_are_those_of_the_keys():
    told = TpmEvidence.from_bytes(TPM.evidence(NONCE).quote)
    attest = TpmAttest.from_bytes(told.quotes[0].message)
    assert attest.qualified_signer == TPM.qualified_signer
    assert TpmPublic.from_bytes(told.ak_public_area).name == TPM.ak_public.name
    ek = TpmKey.of(KeyRing(SEED), "tpm/ek").public_area(EK_ATTRIBUTES)
    assert TpmPublic.from_bytes(ek.to_bytes()) == ek
    assert ek.symmetric == (6, 128, 0x43)


@pytest.mark.parametrize("artefact", [
    "root", "intermediate", "ak_certificate", "root_crl", "intermediate_crl", "ak_public", "quote", "creation",
    "creation_data", "told"])
def test_every_artefact_can_be_altered(artefact):
    seen = []
    maker = TPM.altered(**{artefact: lambda made: seen.append(made) or made})
    maker.evidence(NONCE)
    maker.roots()
    maker.collateral_files()
    assert seen
    assert maker.altered(quote=lambda made: made).evidence(NONCE) == TPM.evidence(NONCE)


def test_a_certification_can_be_altered():
    seen = []
    maker = TPM.altered(certification=lambda made: seen.append(made) or made)
    maker.told(maker.quote(NONCE), certified=NONCE)
    assert len(seen) == 1
