"""A software TEE: both makers, one guest, and the folder that they live in.

    tee = SoftwareTee.create(at=now)
    tee.save(Path("tee"))
    evidence = SoftwareTee.load(Path("tee")).evidence("tdx", report_data)

The folder (0700):

    software-tee.json            what it is: TEEs, dates, platform, chip, guest; meant to be edited
    keys/*.pem                   private keys (0600)
    roots/                       what a verifier must be told to trust
    collateral/{tdx,sgx}/        collateral.json
    collateral/snp/              leaf and CA certificates (PEM) and the revocation list (DER)
    collateral/<tee>/            what the others' makers publish

Everything but the keys and the settings is remade from them whenever it is needed, byte for byte.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from verifier.errors import MalformedEvidence, SetupError
from verifier.evidence import Evidence, Tee
from verifier.formats.snp_report import ProductLine, TcbLayout, TcbVersion
from verifier.formats.strict import hex_bytes, json_object
from verifier.software_tee.amd import Chip, SmallAmd
from verifier.software_tee.guest import GuestImage
from verifier.software_tee.intel import SmallIntel, collateral_json
from verifier.software_tee.intel_platform import Platform
from verifier.software_tee.keys import KeyRing
from verifier.software_tee.makers import INIT_DATA_SIZES, MAKERS, REPORT_DATA_SIZES, ZEROED, Maker
from verifier.software_tee.settings import from_object, to_object

FORMAT = "attestkit-software-tee/1"
OWN = (Tee.TDX, Tee.SGX, Tee.SNP)  # with settings in the folder
TEES = (*OWN, *MAKERS)
YEAR = 365 * 24 * 3600
CLOCK_SKEW = 3600  # collateral is dated back by this much, so that a verifier whose clock is behind can use it
MAX_SETTINGS_BYTES = 64 * 1024
REPORT_DATA_SIZE = 64


@dataclass(frozen=True)
class SoftwareTee:
    """Makers and guest.

    issued: when collateral and AMD leaves were made. valid_for: how many seconds collateral is good for.
    """

    keys: KeyRing = field(repr=False)
    issued: int
    valid_for: int = YEAR
    tees: tuple[Tee, ...] = OWN
    platform: Platform = field(default_factory=Platform)
    chip: Chip = field(default_factory=lambda: Chip.of(ProductLine.MILAN))
    guest: GuestImage = field(default_factory=GuestImage)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int, tees: Iterable[str] = OWN, valid_for: int = YEAR,
               line: str = ProductLine.MILAN) -> SoftwareTee:
        """A software TEE at ``at`` (Unix seconds); ``seed`` as for `KeyRing`; ``line`` is the AMD product line."""
        return cls(KeyRing(seed), at - CLOCK_SKEW, valid_for, _tees(tees), chip=Chip.of(line))

    def refresh(self, at: int) -> SoftwareTee:
        """The same makers with collateral made at ``at``."""
        return replace(self, issued=at - CLOCK_SKEW)

    @cached_property
    def intel(self) -> SmallIntel:
        """The small Intel."""
        return SmallIntel(self.keys, self.issued, self.valid_for, self.platform)

    @cached_property
    def amd(self) -> SmallAmd:
        """The small AMD."""
        return SmallAmd(self.keys, self.issued, self.valid_for, self.chip)

    @cached_property
    def _made(self) -> dict[Tee, Maker]:
        return {}

    def maker(self, tee: str) -> Maker:
        """The maker behind a TEE that has no settings here. Raises `SetupError` for the others."""
        kind = self._of(tee)
        if kind not in MAKERS:
            raise SetupError("software_tee.tee", "this TEE's maker is another member", expected=[*MAKERS], got=kind)
        if kind not in self._made:
            self._made[kind] = MAKERS[kind](self)
        return self._made[kind]

    # -- what it hands out ---------------------------------------------------------------------------------------------

    def evidence(self, tee: str, report_data: bytes, *, init_data: bytes | None = None,
                 guest: GuestImage | None = None, event_log: bytes | None = None) -> Evidence:
        """What an attester in ``guest`` (None is the software TEE's own) would obtain from its hardware.

        report_data: 64 bytes for processors' TEEs, 32 for NVIDIA, up to 64 for TPMs. init_data: as long as the TEE's
        field (`makers.INIT_DATA_SIZES`); None is an empty one. event_log: travels beside a TD quote. Raises
        `SetupError` for other lengths and for a TEE that this was not made for.
        """
        kind = self._of(tee)
        size = INIT_DATA_SIZES[kind]
        bound = init_data if init_data is not None else bytes(size or 0) if kind in ZEROED else b""
        if init_data is not None:
            _check_size("init_data", init_data, size or 0)
        if kind in MAKERS:
            return self.maker(kind).evidence(report_data, bound)
        _check_size("report_data", report_data, REPORT_DATA_SIZE)
        image = guest or self.guest
        if kind is Tee.TDX:
            quote = self.intel.quote(image.td_report(report_data, bound), version=image.tdx_version)
            return Evidence(kind, quote, event_log=event_log)
        if kind is Tee.SGX:
            return Evidence(kind, self.intel.quote(image.enclave_report(report_data, bound)))
        blank = self.amd.body(version=image.snp_version)
        report = self.amd.report(image.snp_report(blank, report_data, bound))
        return Evidence(kind, report, certificates=self.amd.certificates())

    def _of(self, tee: str) -> Tee:
        if tee not in self.tees:
            raise SetupError("software_tee.tee", "this software TEE was not made for that", expected=[*self.tees],
                             got=str(tee))
        return Tee(tee)

    def roots(self) -> list[bytes]:
        """Each root that a verifier would have to trust, as in its file."""
        return list(self._roots().values())

    def root_names(self, tee: str) -> list[str]:
        """The files in ``roots/`` that vouch for that TEE's evidence."""
        return list(self._roots_of(self._of(tee)))

    def _roots(self) -> dict[str, bytes]:
        return {name: data for tee in self.tees for name, data in self._roots_of(tee).items()}

    def _roots_of(self, tee: Tee) -> dict[str, bytes]:
        if tee in MAKERS:
            return self.maker(tee).roots()
        if tee is Tee.SNP:
            return {f"amd-{self.chip.line}.pem": self.amd.chain("ark")}
        return {"intel.pem": self.intel.chain("root")}

    def intel_collateral(self, tee: str = "tdx") -> dict[str, bytes]:
        """Members of `IntelCollateral` for that TEE's quotes."""
        return self.intel.collateral(tee)

    def amd_collateral(self) -> dict[str, tuple[bytes, ...]]:
        """Members of `AmdCollateral`."""
        return self.amd.collateral()

    # -- the folder ----------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write a new folder, whole or not at all. Raises `SetupError` when ``folder`` exists."""
        if folder.exists() or folder.is_symlink():
            raise SetupError("software_tee.folder", f"{folder} exists already")
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            self.rewrite(making)
            for tee in self.tees:
                # brings the last keys into being
                self.evidence(tee, bytes(REPORT_DATA_SIZES.get(tee, REPORT_DATA_SIZE)))
            self.keys.save(making / "keys")
            making.rename(folder)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    def rewrite(self, folder: Path) -> None:
        """Write settings, roots and collateral of an existing folder again, each file at once; keys stay."""
        for name, data in self._files().items():
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_name(path.name + ".new")
            fresh.write_bytes(data)
            fresh.replace(path)

    def _files(self) -> dict[str, bytes]:
        files = {"software-tee.json": _json(self._settings())}
        files |= {f"roots/{name}": pem for name, pem in self._roots().items()}
        for tee in self.tees:
            if tee in MAKERS:
                published = self.maker(tee).collateral_files()
                files |= {f"collateral/{tee}/{name}": data for name, data in published.items()}
            elif tee is Tee.SNP:
                for role in ("ark", "ask", "asvk", "vcek", "vlek"):
                    files[f"collateral/snp/{role}.pem"] = self.amd.chain(role)
                files["collateral/snp/ark.crl"] = self.amd.crl
            else:
                files[f"collateral/{tee}/collateral.json"] = _json(collateral_json(self.intel.collateral(tee)))
        return files

    def _settings(self) -> dict[str, Any]:
        chip = {"line": self.chip.line.value, "hwid": self.chip.hwid.hex(), "tcb": self.chip.tcb.to_bytes().hex(),
                "csp_id": self.chip.csp_id}
        return {"format": FORMAT, "tees": [*self.tees], "issued": self.issued, "valid_for": self.valid_for,
                "platform": to_object(self.platform), "chip": chip, "guest": to_object(self.guest)}

    @classmethod
    def load(cls, folder: Path) -> SoftwareTee:
        """What `save` wrote, settings perhaps edited. Raises `SetupError` naming what is wrong with it."""
        told = _read_settings(folder / "software-tee.json")
        keys = folder / "keys"
        if not keys.is_dir() or keys.stat().st_mode & 0o077:
            raise SetupError("software_tee.keys", f"{keys} must be a folder that only its owner can read",
                             expected="0700", got=oct(keys.stat().st_mode & 0o777) if keys.is_dir() else None)
        platform = from_object(Platform(), told.get("platform"), "platform")
        guest = from_object(GuestImage(), told.get("guest"), "guest")
        try:
            return cls(KeyRing.load(keys), _seconds(told["issued"]), _seconds(told["valid_for"]), _tees(told["tees"]),
                       platform, _read_chip(told["chip"]), guest)
        except (KeyError, TypeError, ValueError, MalformedEvidence) as error:
            raise SetupError("software_tee.settings", f"{folder}/software-tee.json is incomplete: {error}") from None


def _tees(names: Iterable[str]) -> tuple[Tee, ...]:
    given = tuple(names)
    if not given or any(name not in TEES for name in given):
        raise SetupError("software_tee.tee", "not a TEE that this makes", expected=[*TEES], got=[*given])
    return tuple(tee for tee in TEES if tee in given)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            told = json_object(file.read(MAX_SETTINGS_BYTES), "software-tee.json")
    except OSError as error:
        raise SetupError("software_tee.folder", f"{path} cannot be read: {error.strerror}") from None
    except MalformedEvidence as error:
        raise SetupError("software_tee.settings", error.detail) from None
    if told.get("format") != FORMAT:
        raise SetupError("software_tee.format", f"{path} is of another format", expected=FORMAT, got=told.get("format"))
    return told


def _seconds(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 33:
        raise ValueError("issued and valid_for are whole seconds")
    return value


def _read_chip(told: dict[str, Any]) -> Chip:
    line = ProductLine(told["line"])
    default, csp_id = Chip.of(line), told["csp_id"]
    if not isinstance(csp_id, str) or not csp_id.isascii():
        raise ValueError("chip.csp_id is ASCII text")
    tcb = TcbVersion.from_bytes(hex_bytes(told["tcb"], "chip.tcb", 8), TcbLayout.of(line))
    return replace(default, hwid=hex_bytes(told["hwid"], "chip.hwid", len(default.hwid)), tcb=tcb,
                   csp_id=csp_id)


def _check_size(what: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise SetupError(f"software_tee.{what}", f"{what} has the wrong length", expected=f"{size} bytes",
                         got=f"{len(value)} bytes")


def _json(told: dict[str, Any]) -> bytes:
    return (json.dumps(told, indent=2) + "\n").encode()
