"""Which maker in miniature stands behind each TEE, and what one must offer.

The makers of TDX, SGX and SEV-SNP have settings of their own in `verifier.software_tee.maker`; the others are as made
here, each with one machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from verifier.evidence import Evidence, Tee
from verifier.software_tee.arm import SmallArm
from verifier.software_tee.aws import SmallAws
from verifier.software_tee.azure import SmallAzure
from verifier.software_tee.hygon import SmallHygon
from verifier.software_tee.nvidia import SmallNvidia
from verifier.software_tee.tpm import SmallTpm

if TYPE_CHECKING:
    from verifier.software_tee.maker import SoftwareTee


class Maker(Protocol):
    """One maker with one machine."""

    def evidence(self, report_data: bytes, init_data: bytes, /) -> Evidence:
        """What an attester on it would obtain. Raises `SetupError` for lengths that the TEE has no place for."""

    def roots(self) -> dict[str, bytes]:
        """What a verifier must be told to trust: file names and contents."""

    def collateral_files(self) -> dict[str, bytes]:
        """What the maker publishes: file names and contents."""


MAKERS: dict[Tee, Callable[[SoftwareTee], Maker]] = {
    Tee.AZ_SNP_VTPM: lambda tee: SmallAzure(Tee.AZ_SNP_VTPM, tee.keys, tee.issued, tee.amd, tee.intel),
    Tee.AZ_TDX_VTPM: lambda tee: SmallAzure(Tee.AZ_TDX_VTPM, tee.keys, tee.issued, tee.amd, tee.intel),
    Tee.TPM: lambda tee: SmallTpm(tee.keys, tee.issued, tee.valid_for),
    Tee.NITRO: lambda tee: SmallAws(tee.keys, tee.issued, tee.valid_for),
    Tee.CCA: lambda tee: SmallArm(tee.keys, tee.issued),
    Tee.CSV: lambda tee: SmallHygon(tee.keys, tee.issued),
    Tee.NVIDIA: lambda tee: SmallNvidia(tee.keys, tee.issued, tee.valid_for),
}

# The report data with which `verifier software-tee init` and the like try a TEE out; Arm's realm wants 64 bytes, a
# device of NVIDIA's 32, TPMs take up to 64.
REPORT_DATA_SIZES = {Tee.NVIDIA: 32}
# How much init data each has room for; None has no place for any. Hygon's version 1 has none, its version 3 has 64.
INIT_DATA_SIZES: dict[Tee, int | None] = {
    Tee.TDX: 48, Tee.SGX: 64, Tee.SNP: 32, Tee.AZ_SNP_VTPM: 32, Tee.AZ_TDX_VTPM: 32, Tee.TPM: 32, Tee.NITRO: None,
    Tee.CCA: 64, Tee.CSV: 64, Tee.NVIDIA: None}
# What absent init data is: a field of zeros, or nothing at all.
ZEROED = (Tee.TDX, Tee.SGX, Tee.SNP, Tee.CCA)
