"""Folders with a Nitro document or a CCA token."""

from __future__ import annotations

import pytest

from tests.verifier.cose_cases import AWS, CHALLENGE, CcaCase, NitroCase
from verifier.errors import EvidenceError, SetupError
from verifier.evidence import Evidence, Tee
from verifier.loose import cca, nitro
from verifier.loose.folder import read


@pytest.mark.parametrize("name", nitro.NAMES)
@pytest.mark.parametrize("tee", [None, Tee.NITRO])
def test_a_folder_with_a_document_is_nitro_evidence(tmp_path, name, tee):
    data = NitroCase().evidence.quote
    (tmp_path / name).write_bytes(data)
    (tmp_path / "notes.txt").write_text("of no interest")
    assert read(tmp_path, tee) == Evidence(Tee.NITRO, data)


@pytest.mark.parametrize("tee", [None, Tee.CCA])
def test_a_folder_with_a_token_is_cca_evidence_and_the_key_beside_it_is_not(tmp_path, tee):
    data = CcaCase().evidence.quote
    (tmp_path / "token.cbor").write_bytes(data)
    (tmp_path / "cpak.jwk.json").write_bytes(CcaCase().maker.cpak_jwk(named=False))
    assert read(tmp_path, tee) == Evidence(Tee.CCA, data)


def test_several_documents_are_no_answer(tmp_path):
    for name in nitro.NAMES[:2]:
        (tmp_path / name).write_bytes(AWS.evidence(CHALLENGE).quote)
    with pytest.raises(SetupError) as caught:
        read(tmp_path)
    assert (caught.value.id, caught.value.got) == ("folder.evidence", sorted(nitro.NAMES[:2]))


@pytest.mark.parametrize(("name", "data"), [
    ("document.cbor", b""), ("document.cbor", b"\xa0"), ("attestation_doc.bin", b"not a document"),
    ("token.cbor", b""), ("token.cbor", b"\xd9\x01\x8f\xa0"), ("token.cbor", b"{}"),
])
def test_a_file_of_the_right_name_with_other_contents_is_an_error(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EvidenceError, match=r"^(format\.cca_token|format\.nitro_document): "):
        read(tmp_path)


def test_a_folder_without_their_files_is_left_to_others():
    assert nitro.assemble({}) is None
    assert cca.assemble({}) is None
