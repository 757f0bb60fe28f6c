"""What a caller demands of authentic evidence: one typed object for everything that can be pinned.

A member that is None demands nothing; an empty tuple allows nothing; a demand on a claim that the evidence lacks is a
mismatch. The defaults are the four lines under "defaults"; each can be changed by its name only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.strict import hex_bytes, json_object

DEFAULT_STATUSES = ("UpToDate", "SWHardeningNeeded")
ACCEPTABLE_STATUSES = (
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded",
)
TCB_COMPONENTS = ("fmc", "bootloader", "tee", "snp", "microcode")

OneOf = tuple[bytes, ...] | None
_LISTS = ("one_of", "integers", "names")


@dataclass(frozen=True, slots=True)
class Masked:
    """``claim & mask == value``; both as long as the claim."""

    value: bytes
    mask: bytes

    def __post_init__(self) -> None:
        if len(self.value) != len(self.mask) or any(v & ~m for v, m in zip(self.value, self.mask, strict=True)):
            raise SetupError("expect.masked", "value and mask must be equally long, and value within mask",
                             expected=self.mask, got=self.value)


def _one_of(size: int, claim: str | None = None) -> Any:
    return field(default=None, metadata={"kind": "one_of", "size": size, "claim": claim})


def _masked(size: int) -> Any:
    return field(default=None, metadata={"kind": "masked", "size": size})


def _minimum(claim: str) -> Any:
    return field(default=None, metadata={"kind": "minimum", "claim": claim})


def _integers(claim: str | None = None) -> Any:
    return field(default=None, metadata={"kind": "integers", "claim": claim})


def _names(claim: str) -> Any:
    return field(default=None, metadata={"kind": "names", "claim": claim})


def _components(claim: str) -> Any:
    return field(default=None, metadata={"kind": "components", "claim": claim})


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """Sizes are those of the makers' fields; values are byte strings in wire order.

    *defaults*

    accepted_statuses: TCB statuses that are good enough; UpToDate and SWHardeningNeeded. Revoked cannot be accepted.
    allowed_flags: none, so any of TD_DEBUG, SGX_DEBUG, DEBUG_ALLOWED (debug), MIGRATABLE, MIGRATE_MA_ALLOWED,
        MRSERVICETD_NONZERO (migration), SEPT_VE_DISABLE_NOT_SET, VMPL1 … refuses until it is allowed by name.
    accepted_advisory_ids: None, advisories are reported and judged by nobody.
    refuse_software: False; True refuses evidence that ends in a configured (software) root.
    """

    accepted_statuses: tuple[str, ...] = DEFAULT_STATUSES
    allowed_flags: tuple[str, ...] = ()
    accepted_advisory_ids: tuple[str, ...] | None = None
    refuse_software: bool = False

    # TDX
    mr_td: OneOf = _one_of(48)
    rtmr0: OneOf = _one_of(48)
    rtmr1: OneOf = _one_of(48)
    rtmr2: OneOf = _one_of(48)
    rtmr3: OneOf = _one_of(48)
    mr_seam: OneOf = _one_of(48)
    mr_signer_seam: OneOf = _one_of(48)
    mr_config_id: OneOf = _one_of(48)
    mr_owner: OneOf = _one_of(48)
    mr_owner_config: OneOf = _one_of(48)
    mr_service_td: OneOf = _one_of(48)
    td_attributes: Masked | None = _masked(8)
    xfam: Masked | None = _masked(8)
    minimum_tee_tcb_svn: bytes | None = _minimum("tee_tcb_svn")
    minimum_tee_tcb_svn2: bytes | None = _minimum("tee_tcb_svn2")

    # SGX
    mr_enclave: OneOf = _one_of(32)
    mr_signer: OneOf = _one_of(32)
    config_id: OneOf = _one_of(64)
    isv_family_id: OneOf = _one_of(16)
    isv_ext_prod_id: OneOf = _one_of(16)
    isv_prod_id: tuple[int, ...] | None = _integers()
    minimum_isv_svn: int | None = _minimum("isv_svn")
    minimum_config_svn: int | None = _minimum("config_svn")
    attributes: Masked | None = _masked(16)

    # SEV-SNP
    measurement: OneOf = _one_of(48)
    host_data: OneOf = _one_of(32)
    family_id: OneOf = _one_of(16)
    image_id: OneOf = _one_of(16)
    id_key_digest: OneOf = _one_of(48)
    author_key_digest: OneOf = _one_of(48)
    report_id_ma: OneOf = _one_of(32)
    vmpl: tuple[int, ...] | None = _integers()
    minimum_guest_svn: int | None = _minimum("guest_svn")
    minimum_reported_tcb: Mapping[str, int] | None = _components("reported_tcb_decoded")
    minimum_committed_tcb: Mapping[str, int] | None = _components("committed_tcb_decoded")
    minimum_current_tcb: Mapping[str, int] | None = _components("current_tcb_decoded")
    minimum_launch_tcb: Mapping[str, int] | None = _components("launch_tcb_decoded")
    products: tuple[str, ...] | None = _names("product_line")
    csp_ids: tuple[str, ...] | None = _names("csp_id")

    # which machines
    chip_id: OneOf = _one_of(64)
    ppid: OneOf = _one_of(16, "pck.ppid")
    platform_instance_id: OneOf = _one_of(16, "pck.platform_instance_id")
    fmspc: OneOf = _one_of(6, "pck.fmspc")
    minimum_evaluation_number: int | None = _minimum("tcb.evaluation_number")
    minimum_qe_evaluation_number: int | None = _minimum("tcb.qe_evaluation_number")

    # any TEE: the value that a guest bound, where the caller pins it here rather than per call
    report_data: OneOf = _one_of(64)

    def __post_init__(self) -> None:
        for member in fields(self):
            value = getattr(self, member.name)
            if member.metadata.get("kind", "names") in _LISTS and isinstance(value, str | bytes):
                raise SetupError(f"expect.{member.name}", "must be a tuple of values, not one value",
                                 got=type(value).__name__)
        unknown = [s for s in self.accepted_statuses if s not in ACCEPTABLE_STATUSES]
        if unknown:
            raise SetupError("expect.accepted_statuses", "not a status that can be accepted",
                             expected=list(ACCEPTABLE_STATUSES), got=unknown)

    @classmethod
    def from_file(cls, data: bytes) -> Expectations:
        """From a JSON object or a TOML document whose keys are the members' names.

        Byte strings are hexadecimal text; a single value stands for a list of one; a mask is
        ``{"value": HEX, "mask": HEX}``. Raises `SetupError` naming the member.
        """
        return cls(**{name: _member(name, value) for name, value in _document(data).items()})


def _document(data: bytes) -> dict[str, Any]:
    try:
        if data.lstrip()[:1] == b"{":
            return json_object(data, "expectations")
        return tomllib.loads(data.decode("utf-8"))
    except (MalformedEvidence, ValueError, RecursionError) as error:
        raise SetupError("expect.file", f"expectations must be a JSON object or a TOML document: {error}") from None


def _member(name: str, value: Any) -> Any:
    member = next((m for m in fields(Expectations) if m.name == name), None)
    if member is None:
        raise SetupError("expect.unknown", f"there is no expectation named {name}",
                         expected=[m.name for m in fields(Expectations)], got=name)
    kind = member.metadata.get("kind", "bool" if name == "refuse_software" else "names")
    try:
        return _READERS[kind](value, member.metadata)
    except (MalformedEvidence, TypeError, ValueError, KeyError) as error:
        raise SetupError(f"expect.{name}", f"{name} cannot be read as {kind}: {error}",
                         got=type(value).__name__) from None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read_bytes(value: Any, meta: Mapping[str, Any]) -> tuple[bytes, ...]:
    return tuple(hex_bytes(item, "value", meta["size"]) for item in _listed(value))


def _read_masked(value: Any, meta: Mapping[str, Any]) -> Masked:
    if not isinstance(value, Mapping) or set(value) != {"value", "mask"}:
        raise ValueError("needs exactly value and mask")
    return Masked(hex_bytes(value["value"], "value", meta["size"]), hex_bytes(value["mask"], "mask", meta["size"]))


def _read_minimum(value: Any, meta: Mapping[str, Any]) -> int | bytes:
    if meta["claim"].startswith("tee_tcb_svn"):
        return hex_bytes(value, "value", 16)
    return _whole(value)


def _read_components(value: Any, _: Mapping[str, Any]) -> dict[str, int]:
    if not isinstance(value, Mapping) or not value or set(value) - set(TCB_COMPONENTS):
        raise ValueError(f"needs one or more of {', '.join(TCB_COMPONENTS)}")
    return {name: _whole(item) for name, item in value.items()}


def _read_integers(value: Any, _: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(_whole(item) for item in _listed(value))


def _read_names(value: Any, _: Mapping[str, Any]) -> tuple[str, ...]:
    items = _listed(value)
    if not all(isinstance(item, str) for item in items):
        raise TypeError("must be text")
    return tuple(items)


def _read_bool(value: Any, _: Mapping[str, Any]) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise TypeError("must be a non-negative integer of at most 64 bits")
    return value


_READERS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "one_of": _read_bytes, "masked": _read_masked, "minimum": _read_minimum, "components": _read_components,
    "integers": _read_integers, "names": _read_names, "bool": _read_bool,
}
