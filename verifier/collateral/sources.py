"""Who is asked: the makers' services, or a site's own copies of them.

Rules of the room: sources come from the operator's configuration alone. Evidence decides which object is asked for,
never where.

A file of sources is TOML, or JSON of the same shape; what it leaves out keeps its default:

    pccs = "https://pccs.example:8081"      # instead of Intel's own service
    kds = ""                                # AMD is never asked
    update = "early"
    ca_file = "/etc/attestkit/pccs-ca.pem"
    [limits]
    total = 5
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from verifier.collateral.http import Door, Limits, Origin
from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.strict import json_object

STANDARD, EARLY = "standard", "early"
_URLS = ("pcs", "root_crl", "pccs", "kds", "rim", "ocsp")


@dataclass(frozen=True, slots=True)
class Sources:
    """URLs; an empty one is never asked.

    pcs: Intel's Provisioning Certification Service. root_crl: the whole URL of the list that it does not serve.
    pccs: a caching service of Intel's kind, which is then asked for all of Intel's, that list and PCK certificates
    included. kds: AMD's Key Distribution System. rim, ocsp: NVIDIA's. update: Intel's evaluation set: ``standard``,
    ``early`` or a tcbEvaluationDataNumber in decimal.
    """

    pcs: str = "https://api.trustedservices.intel.com"
    root_crl: str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    pccs: str = ""
    kds: str = "https://kdsintf.amd.com"
    rim: str = "https://rim.attestation.nvidia.com"
    ocsp: str = "https://ocsp.ndis.nvidia.com"
    update: str = STANDARD
    ca_file: str = ""
    proxy: str = ""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for name in _URLS:
            if getattr(self, name):
                Origin.parse(getattr(self, name))
        known = self.update in (STANDARD, EARLY) or (self.update.isascii() and self.update.isdigit()
                                                     and len(self.update) <= 9)
        if not known:
            raise SetupError("sources.update", "not an evaluation set", expected=[STANDARD, EARLY, "a number"],
                             got=self.update[:40])

    @classmethod
    def from_file(cls, data: bytes) -> Sources:
        """From TOML or JSON. Raises `SetupError` naming what is wrong."""
        return cls(**_members(_document(data), cls, "sources"))

    def door(self) -> Door:
        """A door to these."""
        return Door(self.limits, ca_file=self.ca_file or None, proxy=self.proxy or None)


def _document(data: bytes) -> dict[str, Any]:
    try:
        if data.lstrip()[:1] == b"{":
            return json_object(data, "sources")
        return tomllib.loads(data.decode("utf-8"))
    except (MalformedEvidence, ValueError, RecursionError) as error:
        raise SetupError("sources.file", f"sources must be a TOML document or a JSON object: {error}") from None


def _members(told: Mapping[str, Any], kind: type, what: str) -> dict[str, Any]:
    """``told`` as members of the dataclass ``kind``, each of the type that its default has."""
    known = {member.name: member for member in fields(kind)}
    made: dict[str, Any] = {}
    for name, value in told.items():
        if name not in known:
            raise SetupError("sources.unknown", f"there is no {what} member {name}", expected=sorted(known), got=name)
        made[name] = _limits(value) if name == "limits" else _plain(name, value, known[name].default)
    return made


def _limits(value: Any) -> Limits:
    if not isinstance(value, Mapping):
        raise SetupError("sources.type", "limits must be a table", got=type(value).__name__)
    return Limits(**_members(value, Limits, "limits"))


def _plain(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if name == "update" and type(value) is int:
        value = str(value)
    if type(value) is not type(default):
        raise SetupError("sources.type", f"{name} has the wrong type", expected=type(default).__name__,
                         got=type(value).__name__)
    return value
