"""The folder, the guest and the command."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from verifier import Binding, Collateral, Roots
from verifier.endorsements.collateral import AmdCollateral, IntelCollateral
from verifier.errors import SetupError
from verifier.software_tee.commands import software_tee
from verifier.software_tee.guest import GuestImage
from verifier.software_tee.maker import SoftwareTee
from verifier.verify import verify

REPORT_DATA = bytes(range(64))


@pytest.fixture(scope="module")
def tee(at: int) -> SoftwareTee:
    return SoftwareTee.create(at=at)


@pytest.fixture(scope="module")
def folder(tee: SoftwareTee, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("software-tee") / "tee"
    tee.save(path)
    return path


def judge(maker: SoftwareTee, name: str, at: int, **evidence: Any) -> Any:
    intel = IntelCollateral(**maker.intel_collateral(name)) if name != "snp" else None
    amd = AmdCollateral(**maker.amd_collateral()) if name == "snp" else None
    return verify(maker.evidence(name, REPORT_DATA, **evidence), collateral=Collateral(intel=intel, amd=amd), at=at,
                  roots=Roots.only_software(maker.roots()), binding=Binding(REPORT_DATA, evidence.get("init_data")))


@pytest.mark.parametrize(("name", "guest"), [
    ("tdx", GuestImage()), ("tdx", GuestImage(tdx_version=5)), ("sgx", GuestImage()), ("snp", GuestImage()),
    ("snp", GuestImage(snp_version=5)),
], ids=["tdx-v4", "tdx-v5", "sgx", "snp-v3", "snp-v5"])
def test_the_verifier_accepts_it_as_software(tee: SoftwareTee, at: int, name: str, guest: GuestImage) -> None:
    size = {"tdx": 48, "sgx": 64, "snp": 32}[name]
    verdict = judge(tee, name, at, guest=guest, init_data=b"i" * size)
    assert verdict.error is None
    assert verdict.accepted
    assert verdict.claims is not None
    assert verdict.claims.software


def test_makers_roots_do_not_vouch_for_it(tee: SoftwareTee, at: int) -> None:
    verdict = verify(tee.evidence("tdx", REPORT_DATA), collateral=Collateral(
        intel=IntelCollateral(**tee.intel_collateral())), roots=Roots.makers(), at=at, binding=Binding(REPORT_DATA))
    assert not verdict.accepted
    assert not verdict.authentic


def test_the_folder_is_private(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder / "keys").iterdir()} == {0o600}
    assert not any(b"PRIVATE" in path.read_bytes() for path in folder.rglob("*")
                   if path.is_file() and path.parent.name != "keys")


def test_what_is_loaded_is_what_was_saved(tee: SoftwareTee, folder: Path) -> None:
    loaded = SoftwareTee.load(folder)
    assert (loaded.tees, loaded.platform, loaded.chip, loaded.guest) == (tee.tees, tee.platform, tee.chip, tee.guest)
    assert loaded.roots() == tee.roots()
    for name in tee.tees:
        assert loaded.evidence(name, REPORT_DATA) == tee.evidence(name, REPORT_DATA)
    assert loaded.intel_collateral("sgx") == tee.intel_collateral("sgx")
    assert loaded.amd_collateral() == tee.amd_collateral()


def test_a_seed_remakes_the_folder_byte_for_byte(seed: bytes, at: int, tmp_path: Path) -> None:
    for name in ("one", "two"):
        SoftwareTee.create(seed, at=at, tees=["tdx", "sgx"]).save(tmp_path / name)
    one, two = ({path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*")
                 if path.is_file()} for name in ("one", "two"))
    assert one == two
    assert len(one) > 8


def test_an_existing_folder_is_left_alone(tee: SoftwareTee, tmp_path: Path) -> None:
    (tmp_path / "tee").mkdir()
    with pytest.raises(SetupError) as caught:
        tee.save(tmp_path / "tee")
    assert caught.value.id == "software_tee.folder"
    assert list(tmp_path.iterdir()) == [tmp_path / "tee"]


def test_a_failed_save_leaves_nothing(tee: SoftwareTee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, __: object) -> None:
        raise OSError("disk full")
    monkeypatch.setattr("verifier.software_tee.keys.KeyRing.save", fail)
    with pytest.raises(OSError, match="disk full"):
        tee.save(tmp_path / "tee")
    assert list(tmp_path.iterdir()) == []


def edited(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """A copy of the folder with other settings."""
    import shutil
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "software-tee.json").read_text())
    settings |= changes
    (copy / "software-tee.json").write_text(json.dumps(settings))
    return copy


def test_an_edited_guest_is_another_guest(folder: Path, tmp_path: Path, at: int) -> None:
    copy = edited(folder, tmp_path, guest={"mr_td": "ab" * 48, "td_attributes": "0100001000000000"})
    verdict = judge(SoftwareTee.load(copy), "tdx", at)
    assert verdict.authentic
    assert not verdict.accepted
    assert "TD_DEBUG" in verdict.flags
    assert verdict.claims is not None
    assert verdict.claims.body["mr_td"] == b"\xab" * 48


@pytest.mark.parametrize(("changes", "error"), [
    ({"format": "other"}, "software_tee.format"), ({"tees": ["vax"]}, "software_tee.tee"),
    ({"tees": []}, "software_tee.tee"), ({"tees": None}, "software_tee.settings"),
    ({"guest": {"mr_td": "ab"}}, "software_tee.settings"), ({"guest": {"rtmr4": ""}}, "software_tee.settings"),
    ({"guest": {"vmpl": True}}, "software_tee.settings"), ({"guest": {"vmpl": -1}}, "software_tee.guest"),
    ({"guest": {"snp_version": 6}}, "software_tee.guest"), ({"guest": []}, "software_tee.settings"),
    ({"platform": {"components": [1]}}, "software_tee.settings"),
    ({"platform": {"components": [256] * 16}}, "software_tee.platform"),
    ({"platform": {"ca": "other"}}, "software_tee.platform"), ({"chip": {}}, "software_tee.settings"),
    ({"chip": {"line": "Venice", "hwid": "", "tcb": "", "csp_id": ""}}, "software_tee.settings"),
    ({"chip": {"line": "Milan", "hwid": "00" * 64, "tcb": "00" * 8, "csp_id": "Ü"}}, "software_tee.settings"),
    ({"issued": "soon"}, "software_tee.settings"), ({"valid_for": True}, "software_tee.settings"),
    ({"issued": 1 << 40}, "software_tee.settings"),
])
def test_settings_that_make_no_sense_are_refused(folder: Path, tmp_path: Path, changes: dict[str, Any],
                                                 error: str) -> None:
    with pytest.raises(SetupError) as caught:
        SoftwareTee.load(edited(folder, tmp_path, **changes))
    assert caught.value.id == error


def test_keys_that_others_can_read_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = edited(folder, tmp_path)
    (copy / "keys").chmod(0o755)
    with pytest.raises(SetupError) as caught:
        SoftwareTee.load(copy)
    assert caught.value.id == "software_tee.keys"


@pytest.mark.parametrize(("arguments", "error"), [
    (("nitro", REPORT_DATA), "software_tee.tee"), (("tdx", bytes(63)), "software_tee.report_data"),
    (("tdx", bytes(65)), "software_tee.report_data"), (("snp", b""), "software_tee.report_data"),
])
def test_evidence_is_made_at_exact_length_only(tee: SoftwareTee, arguments: tuple[str, bytes], error: str) -> None:
    with pytest.raises(SetupError) as caught:
        tee.evidence(*arguments)
    assert caught.value.id == error


@pytest.mark.parametrize(("name", "size"), [("tdx", 32), ("sgx", 48), ("snp", 48)])
def test_init_data_has_the_size_of_its_field(tee: SoftwareTee, name: str, size: int) -> None:
    with pytest.raises(SetupError) as caught:
        tee.evidence(name, REPORT_DATA, init_data=bytes(size))
    assert caught.value.id == "software_tee.init_data"


def test_refreshed_collateral_keeps_the_roots(tee: SoftwareTee, at: int) -> None:
    later = tee.refresh(at + 2 * 365 * 24 * 3600)
    assert later.roots() == tee.roots()
    assert not judge(tee, "tdx", at + 2 * 365 * 24 * 3600).accepted
    assert judge(later, "tdx", at + 2 * 365 * 24 * 3600).accepted


def run(*arguments: str) -> Any:
    return CliRunner().invoke(software_tee, list(arguments))


def test_the_command_makes_a_folder_and_names_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "tee"
    done = run("init", str(target), "--tee", "sgx,tdx")
    assert done.exit_code == 0, done.output
    assert SoftwareTee.load(target).tees == ("tdx", "sgx")
    for named in ("software-tee.json", "keys", "roots/intel.pem", "collateral/tdx", "collateral/sgx"):
        assert f"{target}/{named}" in done.output
        assert (target / named).exists()
    assert run("refresh", str(target)).exit_code == 0


def test_the_command_is_reproducible_from_a_seed(tmp_path: Path, seed: bytes) -> None:
    for name in ("one", "two"):
        assert run("init", str(tmp_path / name), "--tee", "tdx", "--seed", seed.hex()).exit_code == 0
    assert SoftwareTee.load(tmp_path / "one").roots() == SoftwareTee.load(tmp_path / "two").roots()


@pytest.mark.parametrize("arguments", [("--seed", "00"), ("--seed", "zz"), ("--tee", "vax"), ("--line", "Venice")])
def test_the_command_refuses_what_it_cannot_make(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run("init", str(tmp_path / "tee"), *arguments)
    assert done.exit_code == 2
    assert not (tmp_path / "tee").exists()


def test_the_command_refuses_an_existing_folder(tmp_path: Path) -> None:
    done = run("init", str(tmp_path), "--tee", "tdx")
    assert done.exit_code == 2
    assert "exists already" in done.output
