"""The kept recordings: remade byte for byte, replayed to the same verdict, and judged by a second implementation."""

from __future__ import annotations

import json
from pathlib import Path

import dcap_qvl
import pytest
import recordings

from verifier.recording import replay_folder

ROOT = Path(__file__).resolve().parents[3]
RECORDINGS = sorted(path.parent for path in (ROOT / "fixtures" / "recordings").glob("*/*/recording.json"))
NAMES = [str(path.relative_to(ROOT / "fixtures" / "recordings")) for path in RECORDINGS]


QUICK = [tee for tee in recordings.MAKERS if tee not in ("snp", "az-snp-vtpm")]


@pytest.mark.parametrize("tee", QUICK)
def test_recordings_are_remade_byte_for_byte(tee: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert recordings.main(["--check", "--tee", tee]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("tee", sorted(set(recordings.MAKERS) - set(QUICK)))
def test_recordings_under_amd_are_remade_byte_for_byte(tee: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Slow because RSA keys of 4096 bits are derived."""
    assert recordings.main(["--check", "--tee", tee]) == 0, capsys.readouterr().out


def test_a_changed_recording_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "kept").mkdir()
    for folder, text in (("made", "a"), ("kept", "b")):
        (tmp_path / folder / "other").write_text(text)
        (tmp_path / folder / "same").write_text("same")
    (tmp_path / "kept" / "surplus").write_text("")
    assert recordings.differences(tmp_path / "made", tmp_path / "kept") == ["other", "surplus"]


@pytest.mark.parametrize("folder", RECORDINGS, ids=NAMES)
def test_a_recording_is_replayed_to_its_verdict(folder: Path) -> None:
    replay = replay_folder(folder)
    assert replay.now is not None, replay.trouble
    assert replay.now == replay.recorded
    word = "accepted" if replay.now.accepted else "undecided" if replay.now.authentic is None else "refused"
    assert folder.name.startswith(word + "-")


def test_there_are_recordings_of_every_tee_and_verdict() -> None:
    kinds = {(folder.parent.name, folder.name.partition("-")[0]) for folder in RECORDINGS}
    assert kinds >= {(tee, verdict) for tee in recordings.MAKERS for verdict in ("accepted", "refused")}


JUDGED = [folder for folder in RECORDINGS if folder.parent.name in ("tdx", "sgx")
          and folder.name.startswith("accepted") and folder.name not in ("accepted-v4", "accepted-v5")]


@pytest.mark.parametrize("folder", JUDGED, ids=[f"{folder.parent.name}/{folder.name}" for folder in JUDGED])
def test_dcap_qvl_agrees_on_what_is_accepted(folder: Path) -> None:
    """All but SGX quotes of version 4 and 5, which it does not read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    told = json.loads((folder / "recording.json").read_text())
    root = x509.load_pem_x509_certificate((folder / "roots.pem").read_bytes()).public_bytes(Encoding.DER)
    collateral = dcap_qvl.QuoteCollateralV3.from_json((folder / "collateral.json").read_text())
    verdict = dcap_qvl.verify_with_root_ca((folder / "quote.bin").read_bytes(), collateral, root, told["at"])
    assert verdict.status == told["verdict"]["status"]
