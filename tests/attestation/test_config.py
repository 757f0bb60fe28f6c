"""Settings: unknown ones refused, measured ones not to be contradicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from attestation import config
from attestation.config import GuestConfig
from attestation.errors import SetupError
from kbs.protocol.init_data import parse


def refused(text: str, tmp_path: Path) -> str:
    (tmp_path / "guest.toml").write_text(text)
    with pytest.raises(SetupError) as caught:
        config.load(tmp_path / "guest.toml")
    return caught.value.id


def test_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "guest.toml").write_text('kbs_url = "https://kbs"\ntee = "snp"\ndeadline = 5\n')
    assert config.load(tmp_path / "guest.toml") == GuestConfig(kbs_url="https://kbs", tee="snp", deadline=5)


@pytest.mark.parametrize(("text", "id"), [
    ('kbs = "x"', "config.setting"), ('tee = "sample"', "config.setting"), ("kbs_url = 1", "config.setting"),
    ('insecure_http = "yes"', "config.setting"), ("deadline = 0", "config.setting"),
    ("deadline = nan", "config.setting"), ('software_kind = "cca"', "config.setting"),
    ("kbs_url", "config.toml"), ('tee="tdx"\ntee="snp"', "config.toml"),
    ("#" * (config.MAX_CONFIG_BYTES + 1), "config.size"),
])
def test_other_file_is_refused(tmp_path: Path, text: str, id: str) -> None:
    assert refused(text, tmp_path) == id


def test_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        config.load(tmp_path / "absent")
    assert caught.value.id == "config.read"


def test_options_replace_settings_and_none_leaves_them() -> None:
    told = GuestConfig(kbs_url="https://a", tee="tdx").told(kbs_url="https://b", tee=None, insecure_http=True)
    assert told == GuestConfig(kbs_url="https://b", tee="tdx", insecure_http=True)


def test_option_of_a_wrong_kind_is_refused() -> None:
    with pytest.raises(SetupError) as caught:
        GuestConfig().told(deadline=-1)
    assert caught.value.id == "config.setting"


def document(entry: str) -> bytes:
    return f'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"aa.toml" = \'\'\'\n{entry}\n\'\'\'\n'.encode()


BROKER = '[token_configs.kbs]\nurl = "https://kbs.measured"\ncert = "-----BEGIN"'


def test_broker_comes_from_measured_init_data() -> None:
    told = config.measured(GuestConfig(tee="tdx"), parse(document(BROKER)))
    assert (told.kbs_url, told.ca_pem, told.tee) == ("https://kbs.measured", "-----BEGIN", "tdx")
    assert config.measured(GuestConfig(kbs_url="https://kbs.measured"), parse(document(BROKER))) == GuestConfig(
        kbs_url="https://kbs.measured", ca_pem="-----BEGIN")


@pytest.mark.parametrize("settings", [{"kbs_url": "https://kbs.other"}, {"ca_pem": "other"}, {"ca_file": "/ca.pem"}])
def test_setting_that_contradicts_the_measured_one_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(SetupError) as caught:
        config.measured(GuestConfig(**settings), parse(document(BROKER)))  # type: ignore[arg-type]
    assert caught.value.id == "config.measured"


@pytest.mark.parametrize("entry", ["", "x = 1", "[token_configs]", "[token_configs.coco_as]\nurl = 'x'"])
def test_init_data_that_names_no_broker_leaves_the_settings(entry: str) -> None:
    given = GuestConfig(kbs_url="https://a", ca_file="/ca.pem")
    assert config.measured(given, parse(document(entry))) == given


@pytest.mark.parametrize("entry", [
    "[", "token_configs = 1", "token_configs = {kbs = 1}", "[token_configs.kbs]\nurl = 1",
    "[token_configs.kbs]\ncert = ['x']",
])
def test_malformed_entry_of_init_data_is_refused(entry: str) -> None:
    with pytest.raises(SetupError) as caught:
        config.measured(GuestConfig(), parse(document(entry)))
    assert caught.value.id == "config.measured"
