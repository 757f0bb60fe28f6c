"""What a caller demands of authentic evidence: one typed object for everything that can be pinned.

A member that is None demands nothing; an empty tuple allows nothing; a demand on a claim that the evidence lacks is a
mismatch. The defaults are the four lines under "defaults"; each can be changed by its name only.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from verifier.appraisal import demands
from verifier.appraisal.demands import (
    LISTS,
    Masked,
    OneOf,
    Registers,
    components,
    devices,
    integers,
    masked,
    minimum,
    names,
    one_of,
    registers,
    set_bits,
)
from verifier.errors import MalformedEvidence, SetupError
from verifier.formats.strict import json_object

__all__ = ["ACCEPTABLE_STATUSES", "DEFAULT_STATUSES", "Expectations", "Masked"]

DEFAULT_STATUSES = ("UpToDate", "SWHardeningNeeded")
ACCEPTABLE_STATUSES = (
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded",
)


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """Sizes are those of the makers' fields; values are byte strings in wire order.

    *defaults*

    accepted_statuses: TCB statuses that are good enough; UpToDate and SWHardeningNeeded. Revoked cannot be accepted.
    allowed_flags: none, so any of TD_DEBUG, SGX_DEBUG, DEBUG_ALLOWED (debug), MIGRATABLE, MIGRATE_MA_ALLOWED,
        MRSERVICETD_NONZERO (migration), SEPT_VE_DISABLE_NOT_SET, VMPL1, AK_UNPROVEN … refuses until it is allowed by
        name; docs/expectations.md lists them.
    accepted_advisory_ids: None, advisories are reported and judged by nobody.
    refuse_software: False; True refuses evidence that ends in a configured (software) root.
    """

    accepted_statuses: tuple[str, ...] = DEFAULT_STATUSES
    allowed_flags: tuple[str, ...] = ()
    accepted_advisory_ids: tuple[str, ...] | None = None
    refuse_software: bool = False

    # TDX
    mr_td: OneOf = one_of(48)
    rtmr0: OneOf = one_of(48)
    rtmr1: OneOf = one_of(48)
    rtmr2: OneOf = one_of(48)
    rtmr3: OneOf = one_of(48)
    mr_seam: OneOf = one_of(48)
    mr_signer_seam: OneOf = one_of(48)
    mr_config_id: OneOf = one_of(48)
    mr_owner: OneOf = one_of(48)
    mr_owner_config: OneOf = one_of(48)
    mr_service_td: OneOf = one_of(48)
    td_attributes: Masked | None = masked(8)
    xfam: Masked | None = masked(8)
    minimum_tee_tcb_svn: bytes | None = minimum("tee_tcb_svn", 16)
    minimum_tee_tcb_svn2: bytes | None = minimum("tee_tcb_svn2", 16)

    # SGX
    mr_enclave: OneOf = one_of(32)
    mr_signer: OneOf = one_of(32)
    config_id: OneOf = one_of(64)
    isv_family_id: OneOf = one_of(16)
    isv_ext_prod_id: OneOf = one_of(16)
    isv_prod_id: tuple[int, ...] | None = integers()
    minimum_isv_svn: int | None = minimum("isv_svn")
    minimum_config_svn: int | None = minimum("config_svn")
    attributes: Masked | None = masked(16)

    # SEV-SNP
    measurement: OneOf = one_of(48)
    host_data: OneOf = one_of(32)
    family_id: OneOf = one_of(16)
    image_id: OneOf = one_of(16)
    id_key_digest: OneOf = one_of(48)
    author_key_digest: OneOf = one_of(48)
    report_id_ma: OneOf = one_of(32)
    vmpl: tuple[int, ...] | None = integers()
    minimum_guest_svn: int | None = minimum("guest_svn")
    minimum_reported_tcb: Mapping[str, int] | None = components("reported_tcb_decoded")
    minimum_committed_tcb: Mapping[str, int] | None = components("committed_tcb_decoded")
    minimum_current_tcb: Mapping[str, int] | None = components("current_tcb_decoded")
    minimum_launch_tcb: Mapping[str, int] | None = components("launch_tcb_decoded")
    required_platform_info: tuple[str, ...] | None = set_bits("platform_info_bits")
    products: tuple[str, ...] | None = names("product_line")
    csp_ids: tuple[str, ...] | None = names("csp_id")

    # AWS Nitro, TPM, Azure's virtual TPM: values of PCRs by number. pcrs is the SHA-256 bank of a TPM, and Nitro's
    # registers, which are of SHA-384; only those that the quote covers are claims.
    pcrs: Registers = registers(("pcrs.sha256", "pcrs"))
    pcrs_sha384: Registers = registers("pcrs.sha384")
    attestation_key: OneOf = one_of(32, ("ak.spki_sha256", "ak_modulus_sha256"))
    ak_trust: tuple[str, ...] | None = names("ak_trust")

    # Arm CCA
    realm_initial_measurement: OneOf = one_of((32, 48, 64), "realm.initial_measurement")
    implementation_id: OneOf = one_of(32, "platform.implementation_id")
    instance_id: OneOf = one_of(33, "platform.instance_id")
    cpak_trust: tuple[str, ...] | None = names("cpak_trust")

    # Hygon CSV
    measure: OneOf = one_of(32)
    vm_id: OneOf = one_of(16)
    vm_version: OneOf = one_of(16)
    user_pubkey_digest: OneOf = one_of(32)
    csv_policy: Masked | None = masked(4)
    csv_rtmr1: OneOf = one_of(32, "rtmr1")
    csv_rtmr2: OneOf = one_of(32, "rtmr2")
    csv_rtmr3: OneOf = one_of(32, "rtmr3")
    csv_rtmr4: OneOf = one_of(32, "rtmr4")
    minimum_build: int | None = minimum("build")

    # NVIDIA: each is about every device of the evidence, the driver about every GPU
    ueids: tuple[str, ...] | None = devices("ueid")
    vbios_versions: tuple[str, ...] | None = devices("vbios_version")
    driver_versions: tuple[str, ...] | None = devices("driver_version", besides="LS10")
    gpu_count: tuple[int, ...] | None = integers()
    switch_count: tuple[int, ...] | None = integers()

    # which machines
    chip_id: OneOf = one_of(64)
    ppid: OneOf = one_of(16, "pck.ppid")
    platform_instance_id: OneOf = one_of(16, "pck.platform_instance_id")
    fmspc: OneOf = one_of(6, "pck.fmspc")
    minimum_evaluation_number: int | None = minimum("tcb.evaluation_number")
    minimum_qe_evaluation_number: int | None = minimum("tcb.qe_evaluation_number")

    # any TEE: the value that a guest bound, where the caller pins it here rather than per call
    report_data: OneOf = one_of(64)

    def __post_init__(self) -> None:
        for member in fields(self):
            value = getattr(self, member.name)
            if member.metadata.get("kind") == "registers" and value is not None:
                _require_registers(member.name, value)
            if member.metadata.get("kind", "names") in LISTS and isinstance(value, str | bytes):
                raise SetupError(f"expect.{member.name}", "must be a tuple of values, not one value",
                                 got=type(value).__name__)
        unknown = [s for s in self.accepted_statuses if s not in ACCEPTABLE_STATUSES]
        if unknown:
            raise SetupError("expect.accepted_statuses", "not a status that can be accepted",
                             expected=list(ACCEPTABLE_STATUSES), got=unknown)

    @cached_property
    def pinned(self) -> tuple[tuple[str, Mapping[str, Any], Any], ...]:
        """What is demanded of single claims: name, how it is compared, and the value."""
        return tuple((member.name, member.metadata, wanted) for member in fields(self) if "kind" in member.metadata
                     and (wanted := getattr(self, member.name)) is not None)

    @classmethod
    def from_file(cls, data: bytes) -> Expectations:
        """From a JSON object or a TOML document whose keys are the members' names.

        Byte strings are hexadecimal text; a single value stands for a list of one; a mask is
        ``{"value": HEX, "mask": HEX}``. Raises `SetupError` naming the member.
        """
        return cls(**{name: _member(name, value) for name, value in _document(data).items()})


def _require_registers(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or any(type(number) is not int or not isinstance(values, tuple)
                                             for number, values in value.items()):
        raise SetupError(f"expect.{name}", "must map numbers of registers to tuples of values",
                         got=type(value).__name__)


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
        return demands.read(kind, value, member.metadata)
    except (MalformedEvidence, TypeError, ValueError, KeyError) as error:
        raise SetupError(f"expect.{name}", f"{name} cannot be read as {kind}: {error}",
                         got=type(value).__name__) from None


# What holds where nobody demands anything. Expectations are immutable: one is enough.
DEFAULT_EXPECTATIONS = Expectations()
