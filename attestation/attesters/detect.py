"""Which TEE this guest runs in, told by the kernel's report provider and by nothing else.

There is no way from here to the software TEE or to sample evidence: where no TEE is found, an error is raised. Only a
kernel without the report folder counts as "none"; a host that makes any step fail gets an error as well.
"""

from __future__ import annotations

from attestation.attesters.base import Attester
from attestation.attesters.configfs_tsm import SEV_GUEST, TDX_GUEST, ConfigfsTsm
from attestation.attesters.snp import SnpAttester
from attestation.attesters.tdx import TdxAttester
from attestation.errors import AttesterError


def detect(tsm: ConfigfsTsm | None = None) -> Attester:
    """The attester of the TEE at hand. Raises `AttesterError`."""
    door = tsm or ConfigfsTsm()
    provider = door.provider()
    if provider is None:
        raise AttesterError("attester.none", "no TEE was found: this is no confidential guest, or its kernel offers no "
                            "reports (is configfs mounted on /sys/kernel/config, and the guest driver loaded?)")
    if provider == TDX_GUEST:
        return TdxAttester(door)
    if provider == SEV_GUEST:
        return SnpAttester(door)
    raise AttesterError("attester.unknown", "there is no attester for this TEE", expected=f"{TDX_GUEST}, {SEV_GUEST}",
                        got=provider[:64])
