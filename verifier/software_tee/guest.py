"""What runs in the guests of a software TEE: the measurements and settings that their evidence tells.

They stay the same from run to run, as a real image's would, and are kept as JSON: another guest is one edit away.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from verifier.errors import SetupError
from verifier.formats import snp_report
from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.snp_report import SnpReport
from verifier.formats.td_report import TdReport, TdReport15Part
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT, TD_REPORT

_INTEGER_BITS = {"isv_prod_id": 16, "isv_svn": 16, "snp_policy": 64, "vmpl": 32, "guest_svn": 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestImage:
    """Fields by their claim names; byte strings have the makers' sizes and order.

    tdx_version 4 gives TD 1.0 reports, 5 gives TD 1.5; snp_version is 2 to 5. ``snp_policy`` is GUEST_POLICY.
    """

    tdx_version: int = 4
    tee_tcb_svn: bytes = TD_REPORT.tee_tcb_svn
    mr_seam: bytes = TD_REPORT.mr_seam
    td_attributes: bytes = TD_REPORT.td_attributes
    xfam: bytes = TD_REPORT.xfam
    mr_td: bytes = TD_REPORT.mr_td
    mr_owner: bytes = bytes(48)
    mr_owner_config: bytes = bytes(48)
    rtmr0: bytes = TD_REPORT.rtmr0
    rtmr1: bytes = TD_REPORT.rtmr1
    rtmr2: bytes = TD_REPORT.rtmr2
    rtmr3: bytes = TD_REPORT.rtmr3

    mr_enclave: bytes = ENCLAVE_REPORT.mr_enclave
    mr_signer: bytes = ENCLAVE_REPORT.mr_signer
    isv_prod_id: int = ENCLAVE_REPORT.isv_prod_id
    isv_svn: int = ENCLAVE_REPORT.isv_svn
    attributes: bytes = ENCLAVE_REPORT.attributes

    snp_version: int = 3
    measurement: bytes = hashlib.sha384(b"software launch").digest()
    snp_policy: int = 0x30000
    vmpl: int = 0
    guest_svn: int = 0
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)

    def __post_init__(self) -> None:
        if self.tdx_version not in (4, 5) or self.snp_version not in snp_report.VERSIONS:
            raise SetupError("software_tee.guest", "unknown quote or report version", expected="TDX 4 or 5, SNP 2 to 5",
                             got=f"TDX {self.tdx_version}, SNP {self.snp_version}")
        for name, bits in _INTEGER_BITS.items():
            if not 0 <= getattr(self, name) < 1 << bits:
                raise SetupError("software_tee.guest", f"{name} is out of range", expected=f"{bits} bits",
                                 got=getattr(self, name))

    def td_report(self, report_data: bytes, mr_config_id: bytes) -> TdReport:
        """This guest as a TD."""
        report = replace(
            TD_REPORT, tee_tcb_svn=self.tee_tcb_svn, mr_seam=self.mr_seam, td_attributes=self.td_attributes,
            xfam=self.xfam, mr_td=self.mr_td, mr_config_id=mr_config_id, mr_owner=self.mr_owner,
            mr_owner_config=self.mr_owner_config, rtmr0=self.rtmr0, rtmr1=self.rtmr1, rtmr2=self.rtmr2,
            rtmr3=self.rtmr3, report_data=report_data)
        return report if self.tdx_version == 4 else replace(report, v15=TdReport15Part(self.tee_tcb_svn, bytes(48)))

    def enclave_report(self, report_data: bytes, config_id: bytes) -> EnclaveReport:
        """This guest as an enclave."""
        return replace(ENCLAVE_REPORT, mr_enclave=self.mr_enclave, mr_signer=self.mr_signer, config_id=config_id,
                       isv_prod_id=self.isv_prod_id, isv_svn=self.isv_svn, attributes=self.attributes,
                       report_data=report_data)

    def snp_report(self, blank: SnpReport, report_data: bytes, host_data: bytes) -> SnpReport:
        """This guest in ``blank``, which tells the processor."""
        return replace(blank, report_data=report_data, host_data=host_data, measurement=self.measurement,
                       policy=self.snp_policy, vmpl=self.vmpl, guest_svn=self.guest_svn, family_id=self.family_id,
                       image_id=self.image_id, id_key_digest=self.id_key_digest,
                       author_key_digest=self.author_key_digest)
