"""What a guest is told: which broker, how to know it, which TEE.

A TOML file with the members of `GuestConfig`, unknown ones refused. Whoever can write the file decides which broker the
guest believes, so in a confidential guest the broker's address and certificate belong into measured init data:
`measured` takes them from there, and a setting that contradicts the measured one is refused, not preferred.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from attestation.errors import SetupError
from kbs.protocol.init_data import InitData

MAX_CONFIG_BYTES = 64 * 1024
# The entry of init data in which Confidential Containers put the broker, and the place in it.
BROKER_ENTRY, BROKER_TABLE = "aa.toml", "token_configs"

TeeChoice = Literal["auto", "tdx", "snp", "software"]
SoftwareKind = Literal["tdx", "sgx", "snp"]


class GuestConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings, None where nothing was told.

    kbs_url: the broker, ``https://host[:port][/prefix]``. tee: which TEE gives the evidence; ``auto`` looks for
    hardware only. software_tee, software_kind: folder and kind of a software TEE. init_data: the guest's document.
    ca_file: PEM certificates that may vouch for the broker, in place of the system's; ca_pem: the same as text.
    pinned_key: the broker's key, ``sha256//`` and base64 of SHA-256 over its SubjectPublicKeyInfo. insecure_http:
    allow a broker without TLS that is not on this machine. deadline: seconds for one request with all its retries.
    """

    kbs_url: str | None = None
    tee: TeeChoice = "auto"
    software_tee: str | None = None
    software_kind: SoftwareKind = "tdx"
    init_data: str | None = None
    ca_file: str | None = None
    ca_pem: str | None = None
    pinned_key: str | None = None
    insecure_http: bool = False
    deadline: Annotated[float, Meta(ge=1, le=3600)] = 60.0

    def told(self, **settings: Any) -> GuestConfig:
        """With every setting that is not None in place of ours. Raises `SetupError` for a value of a wrong kind."""
        given = {name: value for name, value in settings.items() if value is not None}
        return _convert(msgspec.to_builtins(self) | given, "the options")


def load(path: Path) -> GuestConfig:
    """The configuration in a TOML file. Raises `SetupError`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise SetupError("config.size", f"{path} is too large", expected=f"<= {MAX_CONFIG_BYTES} bytes")
        return _convert(tomllib.loads(text.decode()), str(path))
    except OSError as error:
        raise SetupError("config.read", f"{path} could not be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError("config.toml", f"{path} is not TOML: {error}") from None


def measured(config: GuestConfig, init_data: InitData) -> GuestConfig:
    """``config`` with the broker that ``init_data`` names, if it names one. Raises `SetupError` on a contradiction."""
    told = _broker_of(init_data)
    for setting, value in told.items():
        ours = getattr(config, setting)
        if ours is not None and ours != value:
            raise SetupError("config.measured", f"{setting} is not the one in the init data this guest is bound to")
    if "ca_pem" in told and config.ca_file is not None:
        raise SetupError("config.measured", "ca_file is given, and the init data brings a certificate of its own")
    return config.told(**told)


def _broker_of(init_data: InitData) -> dict[str, str]:
    """``url`` and ``cert`` of ``[token_configs.kbs]``, under our names."""
    try:
        entry = tomllib.loads(init_data.data.get(BROKER_ENTRY, ""))
        table = entry.get(BROKER_TABLE, {}).get("kbs", {})
        told = {ours: table[theirs] for theirs, ours in (("url", "kbs_url"), ("cert", "ca_pem")) if theirs in table}
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        raise SetupError("config.measured", f"the entry {BROKER_ENTRY} of the init data is malformed") from None
    if not all(isinstance(value, str) for value in told.values()):
        raise SetupError("config.measured", f"the entry {BROKER_ENTRY} of the init data is malformed")
    return told


def _convert(value: Any, where: str) -> GuestConfig:
    try:
        return msgspec.convert(value, GuestConfig)
    except msgspec.ValidationError as error:
        raise SetupError("config.setting", f"in {where}: {error}") from None
