"""What a policy reads: verified claims under the names that Trustee's policies use. A public interface, version 1.

    input.tdx | input.sgx | input.snp | input["az-snp-vtpm"] | …    the attester's claims, by the TEE's name on the wire
    input.report_data, input.init_data                              the two bound fields, hexadecimal
    input.runtime_data_claims, input.init_data_claims               what is bound by them, where it was presented

Byte strings are lower-case hexadecimal text, numbers are numbers. What the evidence does not hold is absent, never null
and never zero, so a policy that needs it does not hold. Event logs are left out: a policy engine's cost grows with its
input, and a log is distilled into facts before it is judged. Within a version, names are added but never change their
meaning; the whole table is in docs/policies.md. Nothing in here is unverified: what an attester says of itself and
nobody signed (a GPU's UUID, a CSV chip's serial number, a PCR outside the signed selection) is no claim.

One file per maker; the table is below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from verifier.appraisal.inputs import amd, arm, aws, azure, hygon, intel, nvidia, sample, tpm
from verifier.appraisal.inputs.members import present
from verifier.claims import Claims
from verifier.errors import SetupError
from verifier.evidence import Tee

POLICY_INPUT_VERSION = 1

_BUILDERS: dict[Tee, Callable[[Claims], dict[str, Any]]] = {
    Tee.TDX: intel.tdx, Tee.SGX: intel.sgx, Tee.SNP: amd.snp, Tee.AZ_SNP_VTPM: azure.snp, Tee.AZ_TDX_VTPM: azure.tdx,
    Tee.TPM: tpm.tpm, Tee.NITRO: aws.nitro, Tee.CCA: arm.cca, Tee.CSV: hygon.csv, Tee.NVIDIA: nvidia.nvidia,
    Tee.SAMPLE: sample.sample,
}


def policy_input(claims: Claims, *, runtime_data: Mapping[str, Any] | None,
                 init_data: Mapping[str, Any] | None) -> dict[str, Any]:
    """The input for ``claims``; it is also the token's annotated evidence.

    runtime_data: the guest's runtime data, whose digest was found in the report data. init_data: the contents of the
    init-data document, whose digest was found in the init-data field. None for either means it was not presented.
    """
    build = _BUILDERS.get(claims.tee)
    if build is None:
        raise SetupError("policy_input.tee", "claims of this TEE have no policy input", got=claims.tee.value)
    own = {"software": claims.software, "flags": list(claims.flags)}
    return present({
        claims.tee.value: present(build(claims)) | own,
        "report_data": claims.report_data.hex() or None,
        "init_data": claims.init_data.hex() or None,
        "runtime_data_claims": None if runtime_data is None else dict(runtime_data),
        "init_data_claims": None if init_data is None else dict(init_data),
    })
