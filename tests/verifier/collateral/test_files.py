"""Collateral from folders and files: told by what they are; what cannot be read is an error of ours, never trust."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.collateral.files import MAX_FILE_BYTES, MAX_FOLDER_ENTRIES, load, read_bounded
from verifier.endorsements.collateral import Collateral, IntelCollateral
from verifier.endorsements.crl import read_crl
from verifier.errors import CollateralError, SetupError, VerifierError
from verifier.software_tee.certificates import pem
from verifier.software_tee.intel import collateral_json


@pytest.fixture
def loose(tmp_path, intel_case) -> Path:
    """The small Intel's collateral as separate files of every form."""
    maker, members = intel_case().maker, intel_case().maker.collateral("tdx")
    files = {
        "pck.der": maker.certificate("pck"), "ca.crt": pem(maker.certificate("platform_ca")),
        "root.pem": pem(maker.certificate("root")), "tcb-signing.cer": maker.certificate("tcb_signing"),
        "tcb.json": answer("tcbInfo", members["tcb_info"], members["tcb_info_signature"]),
        "qe.json": answer("enclaveIdentity", members["qe_identity"], members["qe_identity_signature"]),
        "root.crl": members["root_ca_crl"], "pck.crl": read_crl(members["pck_crl"], "it").public_bytes(Encoding.PEM),
    }
    folder = tmp_path / "loose"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def answer(name: str, text: bytes, signature: bytes) -> bytes:
    return b'{"%s":%s,"signature":"%s"}' % (name.encode(), text, signature.hex().encode())


def refusal(*paths: Path) -> str:
    with pytest.raises(VerifierError) as caught:
        load(paths)
    return caught.value.id


def test_loose_files_of_every_form_do_as_well_as_a_bundle(intel_case, loose, tmp_path):
    case = intel_case()
    bundle = tmp_path / "bundle.json"
    bundle.write_text(json.dumps(collateral_json(case.maker.collateral("tdx"))))
    for paths in ([loose], sorted(loose.iterdir()), [bundle]):
        found = load(paths).intel
        verdict = case.given(**{name: getattr(found, name) for name in IntelCollateral.__dataclass_fields__}).verdict()
        assert verdict.accepted, verdict.error


def test_a_folder_is_its_collateral_and_nothing_else(loose):
    expected = load([loose])
    for name, data in {"README.md": b"# hello", "notes.json": b"{not json", "key.pem": b"-----BEGIN PRIVATE KEY-----\n",
                       "empty.der": b"", "other.json": b"[]", "x.txt": b"\x30", ".hidden": b"{}"}.items():
        (loose / name).write_bytes(data)
    (loose / "folder.pem").mkdir()
    (loose / "dangling.pem").symlink_to(loose / "nowhere")
    os.mkfifo(loose / "pipe.json")
    assert load([loose]) == expected


def test_an_empty_folder_is_no_collateral(tmp_path):
    assert load([tmp_path]) == Collateral.none()
    assert load([]) == Collateral.none()


def test_the_first_file_that_has_a_member_wins(intel_case, tmp_path):
    case = intel_case()
    for name, maker in (("a.json", case.maker), ("b.json", case.other)):
        (tmp_path / name).write_text(json.dumps(collateral_json(maker.collateral("tdx"))))
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert load([first, second]).intel.tcb_info_signature == case.maker.collateral("tdx")["tcb_info_signature"]
    assert load([second, first]).intel.tcb_info_signature == case.other.collateral("tdx")["tcb_info_signature"]


@pytest.mark.parametrize("data", [b"", b"# README", b"junk", b"\x30\x00", b"-----BEGIN PRIVATE KEY-----\nQUJD\n", b"{}",
                                  b"{", b'{"tcb_info":"\\ud800"}', b"[]", b"\xff" * 100,
                                  b"-----BEGIN CERTIFICATE-----"], ids=range(11))
def test_a_file_named_by_itself_must_be_collateral(tmp_path, data):
    path = tmp_path / "file.json"
    path.write_bytes(data)
    with pytest.raises(CollateralError) as caught:
        load([path])
    assert caught.value.id in ("collateral.kind", "collateral.bundle", "collateral.certificate", "collateral.crl")


def test_what_is_missing_or_no_file_is_an_error_of_ours(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "nowhere") == "files.read"
    assert refusal(tmp_path / "pipe") == "files.kind"
    assert refusal(Path("/dev/zero")) == "files.kind"
    assert refusal(Path("/dev/null")) == "files.kind"


def test_sizes_and_numbers_are_bounded(tmp_path):
    big = tmp_path / "big.json"
    with big.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    assert refusal(big) == "files.size"
    big.unlink()
    for number in range(MAX_FOLDER_ENTRIES + 1):
        (tmp_path / f"{number}.json").touch()
    assert refusal(tmp_path) == "files.folder"


def test_a_file_is_read_whole_up_to_its_bound(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    assert read_bounded(path, 10) == bytes(10)
    with pytest.raises(SetupError) as caught:
        read_bounded(path, 9)
    assert caught.value.id == "files.size"


def test_a_folder_is_no_file_and_costs_no_descriptor(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(SetupError) as caught:
            read_bounded(tmp_path)
        assert caught.value.id == "files.read"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_may_not_be_read_is_an_error_of_ours(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert refusal(tmp_path) == "files.read"


def test_sets_stand_side_by_side_and_loose_pieces_fill_their_gaps():
    ours = Collateral(intel=IntelCollateral(tcb_info=b"1"))
    theirs = Collateral(intel=IntelCollateral(tcb_info=b"2", pck_crl=b"3"))
    loose = Collateral(intel=IntelCollateral(pck_crl=b"4", root_ca_crl=b"5"))
    assert ours.joined([theirs, loose]).intel_sets == (
        IntelCollateral(tcb_info=b"1", pck_crl=b"4", root_ca_crl=b"5"),
        IntelCollateral(tcb_info=b"2", pck_crl=b"3", root_ca_crl=b"5"))
    assert ours.joined([]) == ours
    assert Collateral.none().joined([loose, loose]).intel_sets == (loose.intel,)


def test_the_digest_names_every_member_and_its_absence():
    """Prepared trust is kept under it: moving a byte from one member to the next must give another."""
    names = list(IntelCollateral.__dataclass_fields__)
    made = [IntelCollateral()]
    made += [IntelCollateral(**{name: value}) for name in names for value in (b"", b"\x00", b"ab")]
    for first, second in pairwise(names):
        made += [IntelCollateral(**{first: b"ab", second: b"c"}), IntelCollateral(**{first: b"a", second: b"bc"})]
    assert len({collateral.digest for collateral in made}) == len(made)
