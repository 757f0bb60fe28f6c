"""What the small Intel publishes of its platforms, quoting enclaves and TDX modules.

Every status is within reach of some platform, and the newest level is that of a `Platform` with its defaults. Figures
and advisories are of the kind Intel publishes; they describe no real machine.
"""

from __future__ import annotations

from verifier.software_tee.intel_documents import IsvLevel, ModuleIdentity, TcbLevel

# 2024-11-13, 2023-08-09, 2023-03-15, 2018-02-01
_GOOD, _OLD, _OLDER, _BROKEN = 1_731_456_000, 1_691_539_200, 1_678_838_400, 1_517_443_200
LEVELS = (
    TcbLevel(sgx=(8, 8, 2, 2, 4, 1, 0, 6), pce_svn=13, tdx=(5, 0, 8), date=_GOOD, status="UpToDate"),
    TcbLevel(sgx=(8, 8, 2, 2, 3, 1, 0, 6), pce_svn=13, tdx=(5, 0, 8), date=_GOOD, status="SWHardeningNeeded",
             advisories=("INTEL-SA-00615",)),
    TcbLevel(sgx=(8, 8, 2, 2, 3, 0, 0, 6), pce_svn=13, tdx=(5, 0, 8), date=_GOOD,
             status="ConfigurationAndSWHardeningNeeded", advisories=("INTEL-SA-00289", "INTEL-SA-00615")),
    TcbLevel(sgx=(7, 7, 2, 2, 3, 0, 0, 3), pce_svn=11, tdx=(5, 0, 7), date=_OLD, status="OutOfDate",
             advisories=("INTEL-SA-00837", "INTEL-SA-00960")),
    TcbLevel(sgx=(6, 6, 2, 2, 2, 0, 0, 3), pce_svn=11, tdx=(4, 0, 6), date=_OLDER,
             status="OutOfDateConfigurationNeeded", advisories=("INTEL-SA-00837", "INTEL-SA-00960", "INTEL-SA-00982")),
    TcbLevel(sgx=(2, 2, 1, 1), pce_svn=5, tdx=(1, 0, 2), date=_BROKEN, status="Revoked",
             advisories=("INTEL-SA-00088",)),
)
MODULE = ModuleIdentity(id=None)
MODULE_IDENTITIES = (
    ModuleIdentity(id="TDX_03", levels=(IsvLevel(3, _GOOD, "UpToDate"),)),
    ModuleIdentity(id="TDX_01", levels=(
        IsvLevel(6, _GOOD, "UpToDate"), IsvLevel(4, _OLD, "OutOfDate", ("INTEL-SA-01036", "INTEL-SA-01099")),
        IsvLevel(2, _BROKEN, "Revoked", ("INTEL-SA-01036",)))),
)
QE_LEVELS = (IsvLevel(8, _GOOD, "UpToDate"), IsvLevel(6, _OLD, "OutOfDate", ("INTEL-SA-00615",)),
             IsvLevel(2, _BROKEN, "Revoked", ("INTEL-SA-00219",)))
